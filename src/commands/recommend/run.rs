//! `recommend run`: assesses every limit, and reconciles the stored recommendations.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use crate::args::LockWait;
use crate::commands::delivery::{self, DeliverWithin, MAX_ATTEMPTS, Options};
use crate::commands::limits::check::{SET_LIMITS, without_limits};
use crate::commands::prelude::*;
use crate::domain::alert::condition::{self, Condition, Receiver};
use crate::domain::metrics::names::Priority;
use crate::domain::recommendation::reconcile::{
    Update, moved_by_application, outdated_approvals, present_priority, reconcile, reconcile_rest,
    still_unmeasured,
};
use crate::domain::recommendation::snapshot::Snapshot;
use crate::domain::recommendation::{Recommendation, is_open};
use crate::output::recommend::run::Run;
use crate::store::alerting::{channels, notices, silences};
use crate::store::lock::RunKind;
use crate::store::metrics::{days, readings};
use crate::store::plans::{catalogues, limits, selections};
use crate::store::recommendation::write::{Aborted, retry, write};
use crate::store::recommendation::{inputs, recommendations};

/// Assess all limits, and create, refresh or expire recommendations
///
/// The plan of a provider's resource gets a recommendation if one of its limits is critical, likely to be reached
/// within 30 days (or the horizon of a short history), or likely to be exceeded in this billing period: the cheapest
/// plan that is large enough in the simulated cases. A plan with an unmeasured price is only recommended if no other is
/// large enough. A smaller plan is recommended where one is certain to suffice.
///
/// Each resource and each budget has one open recommendation. Later runs refresh it and record only material changes
/// in the history. It expires after a day, since usage has a daily rhythm, in which each run finds usage at least 5
/// points below the critical threshold and the limit unlikely to be reached (below 10 %). Without measurements it
/// stays open. The figures of an approved recommendation are frozen; it is IMPLEMENTED once its plan is in use.
/// Decisions by people and by the application are kept.
///
/// The channels of `usagectl alerts channel` are notified of limits and recommendations, once for each change: a
/// limit is likely to be reached, or within days, it reaches its warning or critical threshold or the limit itself,
/// falls clearly below one, is no longer near, or is unknown because measurements ended a day ago; a recommendation
/// is new, becomes more urgent or is closed. Silences hold them back, by the name of the service as --api.
///
/// Run it from cron after `usagectl collect run`, for example every 15 minutes.
///
/// Exits with 12 if a notice was not delivered.
#[derive(Args, Debug)]
#[command(after_help = example!("limits init --plan upstash=free && usagectl recommend run --dry-run"))]
pub struct RunArgs {
    /// Show the result without writing recommendations
    #[arg(long)]
    dry_run: bool,

    /// Exit with 10 if a recommendation of at least this priority is open, with 11 if one is CRITICAL
    ///
    /// The priority is that of the present usage, also of an approved one. Exits with 12 if the measurements of one
    /// ended, or if no limits are set.
    #[arg(long, value_name = "PRIORITY")]
    fail_on: Option<Priority>,

    /// Store new notices without sending them, for `usagectl alerts deliver`
    #[arg(long)]
    no_send: bool,

    #[command(flatten)]
    within: DeliverWithin,

    #[command(flatten)]
    wait: LockWait,
}

pub fn run(context: &mut Context, args: RunArgs) -> Result<Outcome> {
    let url = context.database_url(false)?;
    let access = match args.dry_run {
        true => Access::Read,
        false => Access::Write,
    };
    let mut db = context.open_migrated(&url, access)?;
    let mut lock = None;
    if !args.dry_run {
        let wait = args.wait.lock_wait;
        lock = Some(context.lock(&mut db, &url, RunKind::Recommend, wait)?);
        days::refresh(&mut db)?;
    }
    let now = context.now;
    let snapshot = db.read_tx(|db| load(db, now))?;
    let assessed = snapshot.assess();
    if !args.dry_run {
        db.write_tx(recommendations::release_deleted)?;
    }
    let mut writer = Writer {
        db: &mut db,
        dry_run: args.dry_run,
        updates: Vec::new(),
    };
    writer.write(recommendations::all, |all| moved_by_application(all, now))?;
    for one in &assessed {
        let answers = |db: &mut Db| recommendations::find_by_topic(db, &one.topic);
        writer.write(answers, |answers| reconcile(one, answers, now))?;
    }
    writer.write(recommendations::all, |all| {
        reconcile_rest(all, &assessed, &snapshot, now)
    })?;
    let updates = writer.updates;
    let unknown = snapshot.unknown();
    if snapshot.limits.is_empty() && args.fail_on.is_none() {
        context.info(format_args!("no limits are set: run {SET_LIMITS}"));
    }
    let mut all = recommendations::all(&mut db)?;
    if args.dry_run {
        let ids: HashSet<&str> = updates.iter().map(|it| it.after.id.as_str()).collect();
        all.retain(|it| !ids.contains(it.id.as_str()));
        all.extend(updates.iter().map(|it| it.after.clone()));
    } else {
        let conditions = snapshot.conditions(&all);
        db.write_tx(|db| notify(db, &conditions, now))?;
    }
    let outdated = outdated_approvals(&all, &assessed).filter(|_| !context.is_quiet());
    let outdated: Vec<String> = outdated.map(|(it, plan)| outdated_text(it, plan)).collect();
    for text in outdated {
        context.warn(printable(&text));
    }
    if let Some(lock) = lock {
        lock.release(&mut db)?;
    }
    context.answer_unless_quiet(&Run {
        dry_run: args.dry_run,
        limits: snapshot.limits.len(),
        updates,
        unknown,
        ids: all.iter().map(|it| it.id.clone()).collect(),
    })?;
    if !args.dry_run && !args.no_send {
        let delivery = send(context, &mut db, args.within)?;
        if delivery.exit != Exit::Done {
            return Ok(delivery);
        }
    }
    let Some(fail_on) = args.fail_on else {
        return Ok(Outcome::DONE);
    };
    if snapshot.limits.is_empty() {
        return Ok(without_limits());
    }
    let mut unmeasured = still_unmeasured(&all, &assessed, now);
    let unmeasured = unmeasured.find(|it| it.priority >= fail_on);
    let open = all.iter().filter(|it| is_open(it.status));
    let worst = open.filter_map(|it| present_priority(it, &assessed)).max();
    Ok(
        match (unmeasured, worst.filter(|worst| *worst >= fail_on)) {
            (Some(it), _) => Outcome::with_next(Exit::Unknown, measure_or_close(it)),
            (None, None) => Outcome::DONE,
            (None, Some(Priority::Critical)) => Outcome::with_next(Exit::Critical, LIST),
            (None, Some(_)) => Outcome::with_next(Exit::Warning, LIST),
        },
    )
}

/// The next step for a recommendation whose measurements ended.
fn measure_or_close(it: &Recommendation) -> String {
    format!(
        "measure it by `usagectl collect run`, or close it: usagectl recommend dismiss {} --note TEXT",
        it.id
    )
}

const LIST: &str = "usagectl recommend list";

fn outdated_text(approved: &Recommendation, plan: &str) -> String {
    let [id, from, to] = [
        &approved.id,
        &approved.current_plan,
        &approved.recommended_plan,
    ];
    format!(
        "{id} is approved, a change from {from} to {to}, but the plan {plan} is in use: no other plan is recommended until \
         it is closed: usagectl recommend dismiss {id} --by NAME --note TEXT"
    )
}

/// Stores the notices that follow from the conditions of limits and recommendations.
fn notify(db: &mut Db, conditions: &[Condition], now: DateTime<Utc>) -> Result<()> {
    let receivers = channels::all(db)?.into_iter().map(|channel| Receiver {
        channel: channel.name,
        min_severity: channel.min_severity,
    });
    let receivers: Vec<Receiver> = receivers.collect();
    let silences = silences::find_unexpired(db, now)?;
    let stored = notices::find_of_conditions(db)?;
    let new = condition::notices(conditions, &stored, &receivers, &silences, now);
    Ok(notices::insert(db, &new)?)
}

/// Sends the due notices.
fn send(context: &mut Context, db: &mut Db, within: DeliverWithin) -> Result<Outcome> {
    let options = Options {
        max_attempts: MAX_ATTEMPTS,
        force: false,
        to_stderr: false,
        within,
    };
    let report = delivery::deliver(context, db, options).map_err(|error| {
        error.context("the recommendations were saved, but not all notices were sent")
    })?;
    // What waits since an earlier failure was reported then; with --quiet the exit code has no other reason.
    if report.has_failed() || context.is_quiet() {
        report.warn(context);
    }
    Ok(report.outcome())
}

/// Reads the state of all limits.
fn load(db: &mut Db, now: DateTime<Utc>) -> Result<Snapshot> {
    let limits = limits::limits_in_force(db, now)?;
    Ok(Snapshot {
        capacities: readings::capacities(db, (None, None), &limits, now, None)?,
        limits,
        inputs: inputs::all(db)?,
        catalogue: catalogues::active(db)?,
        selections: selections::all(db)?,
        now,
    })
}

/// Writes updates, each question in its own transaction.
struct Writer<'a> {
    db: &'a mut Db,
    dry_run: bool,
    updates: Vec<Update>,
}

impl Writer<'_> {
    /// Reads recommendations, decides on updates and writes them; again if another program wrote in between.
    fn write(
        &mut self,
        read: impl Fn(&mut Db) -> diesel::QueryResult<Vec<Recommendation>>,
        decide: impl Fn(&[Recommendation]) -> Vec<Update>,
    ) -> Result<()> {
        let attempt = |db: &mut Db| {
            let updates = decide(&read(db)?);
            for update in updates.iter().filter(|_| !self.dry_run) {
                let written = write(db, update.before.as_ref(), &update.after, &update.entries);
                written.map_err(|aborted| match aborted {
                    // The application opened an answer in between: decide again.
                    Aborted::OtherOpenAnswer(_) => Aborted::Conflict,
                    other => other,
                })?;
            }
            Ok::<_, Aborted>(updates)
        };
        let updates = if self.dry_run {
            self.db.read_tx(attempt)
        } else {
            retry(self.db, attempt)
        };
        self.updates.extend(updates?);
        Ok(())
    }
}
