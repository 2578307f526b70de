//! `recommend run`: assesses every limit, and reconciles the stored recommendations.

use chrono::{DateTime, TimeDelta, Utc};

use crate::args::LockWait;
use crate::commands::prelude::*;
use crate::domain::recommendation::Recommendation;
use crate::domain::recommendation::assess::Assessment;
use crate::domain::recommendation::reconcile::{
    Update, moved_by_application, reconcile, reconcile_rest,
};
use crate::domain::recommendation::snapshot::Snapshot;
use crate::output::recommend::run::{Run, Unknown};
use crate::store::lock::RunKind;
use crate::store::metrics::days;
use crate::store::plans::{catalogues, limits, selections};
use crate::store::recommendation::write::{Aborted, retry, write};
use crate::store::recommendation::{inputs, recommendations};

/// Days of history that are read; forecasts use fewer.
const HISTORY: TimeDelta = TimeDelta::days(400);

/// Assess all limits, and create, refresh or expire recommendations
///
/// A limit that is critical, likely to be reached within 30 days, or likely to be exceeded in this billing period
/// gets a recommendation: the cheapest plan of the provider that is large enough in the simulated cases. A smaller
/// plan is recommended where one is certain to suffice.
///
/// A question has one open answer. Later runs refresh it and record only material changes in the history. The
/// figures of an approved recommendation are frozen. Decisions by people and by the application are kept.
///
/// Run it from cron after `usagectl collect run`, for example every 15 minutes.
#[derive(Args, Debug)]
#[command(after_help = example!("recommend run --dry-run"))]
pub struct RunArgs {
    /// Show the result without writing recommendations
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    wait: LockWait,
}

pub fn run(context: &mut Context, args: RunArgs) -> Result<Outcome> {
    let url = context.database_url(false)?;
    let mut db = context.open_migrated(&url, Access::Write)?;
    let _lock = if args.dry_run {
        None
    } else {
        let wait = args.wait.lock_wait;
        Some(context.lock(&mut db, &url, RunKind::Recommend, wait)?)
    };
    // Days derive from the measurements, so that a dry run may write them too.
    days::refresh(&mut db)?;
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
    writer.write(recommendations::all, |all| {
        Ok(moved_by_application(all, now))
    })?;
    for one in &assessed {
        let answers = |db: &mut Db| recommendations::find_by_topic(db, &one.topic);
        writer.write(answers, |answers| reconcile(one, answers, now))?;
    }
    writer.write(recommendations::all, |all| {
        Ok(reconcile_rest(all, &assessed, &snapshot, now))
    })?;
    let updates = writer.updates;
    let unknown = assessed.into_iter().filter_map(|one| match one.assessment {
        Assessment::Unknown(gap) => Some(Unknown {
            topic: one.topic,
            gap,
        }),
        _ => None,
    });
    let unknown = unknown.collect();
    if snapshot.limits.is_empty() {
        context.info("no limits are set: run usagectl limits init");
    }
    context.finish(&Run {
        dry_run: args.dry_run,
        limits: snapshot.limits.len(),
        updates,
        unknown,
    })
}

/// Reads the state of all limits. The days must be up to date.
fn load(db: &mut Db, now: DateTime<Utc>) -> Result<Snapshot> {
    let today = now.date_naive();
    let from = today.checked_sub_signed(HISTORY).unwrap_or(today);
    Ok(Snapshot::new(
        limits::limits_in_force(db, now)?,
        inputs::all(db)?,
        catalogues::active(db)?,
        selections::all(db)?,
        days::days(db, None, None, from, today)?,
        now,
    ))
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
        decide: impl Fn(&[Recommendation]) -> serde_json::Result<Vec<Update>>,
    ) -> Result<()> {
        let updates = if self.dry_run {
            self.db.read_tx(|db| Ok::<_, Aborted>(decide(&read(db)?)?))
        } else {
            retry(self.db, |db| attempt(db, &read, &decide))
        };
        self.updates.extend(updates?);
        Ok(())
    }
}

fn attempt(
    db: &mut Db,
    read: impl Fn(&mut Db) -> diesel::QueryResult<Vec<Recommendation>>,
    decide: impl Fn(&[Recommendation]) -> serde_json::Result<Vec<Update>>,
) -> Result<Vec<Update>, Aborted> {
    let updates = decide(&read(db)?)?;
    for update in &updates {
        let written = write(db, update.before.as_ref(), &update.after, &update.entries);
        written.map_err(|aborted| match aborted {
            // The application opened an answer in between: decide again.
            Aborted::OtherOpenAnswer(_) => Aborted::Conflict,
            other => other,
        })?;
    }
    Ok(updates)
}
