//! `recommend run`: judges every limit, and keeps the recommendations true.

use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;
use diesel::result::{DatabaseErrorKind, Error as DieselError};

use super::gather::{Gathered, Judged, gather};
use crate::args::parse_duration;
use crate::context::Context;
use crate::domain::recommendation::assess::Assessment;
use crate::domain::recommendation::reconcile;
use crate::domain::recommendation::reconcile::{
    Step, moved_by_application, outcome, plan_changed, unseen,
};
use crate::domain::recommendation::{Recommendation, is_open};
use crate::error::{Error, Exit, Outcome, Result};
use crate::output::recommend::run::{Line, Run, Silence};
use crate::store::db::{Access, Db};
use crate::store::lock::{RunKind, RunLock};
use crate::store::metrics::days;
use crate::store::recommendation::{history, recommendations};

/// Judge every limit, and make, refresh or end recommendations
///
/// Where a metric is likely to reach its limit within 30 days, or to exceed it in this billing period, or is
/// critical already, all plans of the provider are compared by what they cost in the same simulated cases, and
/// the one that costs least of those that are large enough is recommended. Where a smaller one surely does, that
/// is.
///
/// One question has one open answer: running it again refreshes what is there, and writes into the history
/// only what matters. Figures of what is approved stay as they are. What the application or a person decided
/// stands.
///
/// Cron may run it every 15 minutes, after `usagectl collect run`.
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl --database-url sqlite:usage.db recommend run --dry-run")]
pub struct RunArgs {
    /// Say what would be done, and change no recommendation
    #[arg(long)]
    dry_run: bool,

    /// How long to wait for another run to end
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "0s")]
    lock_wait: Duration,
}

/// Judges, writes and answers.
pub fn run(context: &mut Context, args: RunArgs) -> Result<Outcome> {
    let url = context.database_url(false)?;
    let mut db = context.open_migrated(&url, Access::Write)?;
    let _lock = match args.dry_run {
        true => None,
        false => Some(RunLock::acquire(&url, RunKind::Recommend, args.lock_wait)?),
    };
    // The days are made from the measurements, and are the same whoever makes them.
    days::refresh(&mut db)?;
    let now = context.now;
    let gathered = gather(&mut db, now)?;
    let judged = gathered.judge();
    if !args.dry_run {
        db.write_tx(recommendations::release_deleted)?;
    }
    let mut lines = Vec::new();
    let mut writer = Writer {
        db: &mut db,
        now,
        dry_run: args.dry_run,
        lines: &mut lines,
    };
    writer.work(|all| moved_by_application(all, now))?;
    for judged in &judged {
        let Judged { topic, assessment } = judged;
        writer.try_work(|all| reconcile::steps(topic, assessment, all, now))?;
    }
    writer.work(|all| rest(all, &judged, &gathered, now))?;
    let silent = judged
        .into_iter()
        .filter_map(|judged| match judged.assessment {
            Assessment::Unknown(why) => Some(Silence {
                topic: judged.topic,
                why,
            }),
            _ => None,
        });
    let silent: Vec<Silence> = silent.collect();
    if gathered.limits.is_empty() {
        context.info("no limit is known: usagectl limits init");
    }
    context.answer(&Run {
        dry_run: args.dry_run,
        limits: gathered.limits.len(),
        lines,
        silent,
    })?;
    Ok(Outcome::DONE)
}

/// What becomes of recommendations that no limit of now speaks of, and of those that were implemented.
fn rest(
    all: &[Recommendation],
    judged: &[Judged],
    gathered: &Gathered,
    now: DateTime<Utc>,
) -> Vec<Step> {
    let step = |it: &Recommendation| {
        let own = it.own.as_ref()?;
        let metric = it.metric?;
        if !is_open(it.status) {
            return outcome(it, gathered.newest(it.service, metric, &own.resource), now);
        }
        if judged.iter().any(|judged| judged.topic.is_of(it)) {
            return None;
        }
        let of_metric = |limit: &&crate::domain::plans::LimitInForce| {
            limit.service == it.service && limit.metric == metric
        };
        match gathered.limits.iter().find(of_metric) {
            Some(limit) if limit.plan != it.current_plan => plan_changed(it, now),
            _ => unseen(it, now),
        }
    };
    all.iter().filter_map(step).collect()
}

/// Takes steps, each question in a transaction of its own.
struct Writer<'a> {
    db: &'a mut Db,
    now: DateTime<Utc>,
    dry_run: bool,
    lines: &'a mut Vec<Line>,
}

/// Why a transaction came to nothing.
enum Stopped {
    /// Somebody else changed what was read.
    Overtaken,
    Error(Error),
}

impl From<DieselError> for Stopped {
    fn from(error: DieselError) -> Stopped {
        match error {
            // The question was answered by another run in between.
            DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => Stopped::Overtaken,
            other => Stopped::Error(other.into()),
        }
    }
}

impl Writer<'_> {
    fn work(&mut self, steps: impl Fn(&[Recommendation]) -> Vec<Step>) -> Result<()> {
        self.try_work(|all| Ok(steps(all)))
    }

    /// Decides on what is there now and writes it; again, if that changed in between.
    fn try_work(
        &mut self,
        steps: impl Fn(&[Recommendation]) -> serde_json::Result<Vec<Step>>,
    ) -> Result<()> {
        const ATTEMPTS: usize = 5;
        for _ in 0..ATTEMPTS {
            match self.attempt(&steps) {
                Ok(taken) => {
                    let now = self.now;
                    self.lines
                        .extend(taken.into_iter().map(|step| Line::of(step, now)));
                    return Ok(());
                }
                Err(Stopped::Overtaken) => {}
                Err(Stopped::Error(error)) => return Err(error),
            }
        }
        let busy = Error::message(Exit::Busy, "others keep changing the recommendations");
        Err(busy.with_next("run the same command again"))
    }

    fn attempt(
        &mut self,
        steps: &impl Fn(&[Recommendation]) -> serde_json::Result<Vec<Step>>,
    ) -> Result<Vec<Step>, Stopped> {
        let decide = |db: &mut Db| -> Result<Vec<Step>, Stopped> {
            let all = recommendations::all(db)?;
            steps(&all).map_err(|error| Stopped::Error(error.into()))
        };
        if self.dry_run {
            return self.db.read_tx(decide);
        }
        self.db.write_tx(|db| {
            let steps = decide(db)?;
            for step in &steps {
                match &step.before {
                    None => recommendations::insert(db, &step.after)?,
                    Some(before) => {
                        if !recommendations::update(db, before, &step.after)? {
                            return Err(Stopped::Overtaken);
                        }
                    }
                }
                history::append(db, &step.after.id, &step.entries)?;
            }
            Ok(steps)
        })
    }
}
