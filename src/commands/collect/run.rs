//! `collect run`: asks every source that is configured, and writes what they tell.

use std::time::{Duration, Instant};

use clap::Args;

use super::import;
use super::targets::{TargetArgs, Targets};
use crate::collectors::{self, CollectContext, Finished};
use crate::context::Context;
use crate::domain::metrics::collector::{CollectorRun, MetricSource, RunResult};
use crate::domain::metrics::point::Saved;
use crate::domain::named::Named;
use crate::error::{Exit, Outcome, Result};
use crate::output::collect::{Ran, RanOne};
use crate::store::db::{Access, Db};
use crate::store::metrics::points;
use crate::store::metrics::points::Known;
use crate::store::metrics::{collector_runs, counters};

/// Collect metrics from everything that is configured
///
/// Asks all sources at once, each with a time limit of its own; one that fails does not stop the others,
/// and the exit code is then 3, or 1 if all failed. What is not configured is left out:
///
/// postgres: --postgres-url or USAGECTL_POSTGRES_URL; size, connections, latency.
///
/// redis: --redis-url or USAGECTL_REDIS_URL; memory, clients, commands of the day, latency.
///
/// upstash: UPSTASH_EMAIL, UPSTASH_API_KEY and UPSTASH_REDIS_ID for what the bill counts; or
/// UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN (also KV_REST_API_URL and KV_REST_API_TOKEN).
///
/// neon: NEON_API_KEY, NEON_ORG_ID, NEON_PROJECT_ID; data transfer of the last days. Paid plans only.
///
/// vercel: VERCEL_TOKEN, VERCEL_TEAM_ID; the last days of the bill.
///
/// openai: OPENAI_ADMIN_KEY, OPENAI_PROJECT_ID; the costs of the last days.
///
/// prometheus: --prometheus-url or USAGECTL_PROMETHEUS_URL, --map or --map-file,
/// USAGECTL_PROMETHEUS_TOKEN if it wants one.
///
/// usage: --usage-api; requests and credits recorded in this database.
///
/// Keys are taken from the environment only. The same moment is written once. In cron, with the URLs and
/// keys in the environment: `*/15 * * * * usagectl -q collect run --only postgres,redis`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  usagectl collect run --only usage --usage-api finnhub --credit-budget 500
  usagectl collect run --dry-run --usage-api finnhub -v")]
pub struct RunArgs {
    #[command(flatten)]
    targets: TargetArgs,

    /// Show what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// Collects.
pub fn run(context: &mut Context, args: RunArgs) -> Result<Outcome> {
    let access = if args.dry_run {
        Access::Read
    } else {
        Access::Write
    };
    let mut db = context.open(access)?;
    let (finished, targets) = ask(context, &mut db, &args.targets)?;
    for (source, hint) in &targets.skipped {
        context.detail(format_args!("{source} is not configured: {hint}"));
    }
    let mut ran = Ran {
        dry_run: args.dry_run,
        ..Ran::default()
    };
    for finished in &finished {
        let saved = match args.dry_run {
            true => Saved::default(),
            false => save(&mut db, finished, context)?,
        };
        ran.collectors.push(told(context, finished, saved));
    }
    if !args.dry_run {
        import::refresh(context, &mut db)?;
    }
    context.answer(&ran)?;
    Ok(outcome(&finished))
}

/// Asks all targets. This database itself is asked here, since a connection serves one thread.
pub(super) fn ask(
    context: &Context,
    db: &mut Db,
    args: &TargetArgs,
) -> Result<(Vec<Finished>, Targets)> {
    let last = collector_runs::last(db, Some(RunResult::Ok))?;
    let last = last
        .iter()
        .find(|run| run.collector == MetricSource::Postgres.as_str());
    let last_asked = last.and_then(|run| (context.now - run.started_at).to_std().ok());
    let mut targets = args.targets(last_asked)?;
    let moment = CollectContext {
        now: context.now,
        timeout: args.timeout.max(Duration::from_millis(1)),
        counters: counters::all(db)?,
    };
    let mut finished = collectors::run(std::mem::take(&mut targets.collectors), &moment);
    if let Some(prices) = targets.usage {
        let began = Instant::now();
        let found = collectors::usage(db, &args.usage_api, prices, context.now);
        let took = began.elapsed();
        finished.push(Finished {
            source: MetricSource::Usage,
            found,
            took,
        });
    }
    Ok((finished, targets))
}

/// Writes what a collector found and that it ran, in one transaction.
fn save(db: &mut Db, finished: &Finished, context: &Context) -> Result<Saved> {
    let saved = db.write_tx(|db| -> Result<Saved> {
        let saved = match &finished.found {
            Err(_) => Saved::default(),
            Ok(found) => {
                counters::remember(db, &found.counters)?;
                let known = if found.revises {
                    Known::IsReplaced
                } else {
                    Known::Stays
                };
                points::save_in(db, &found.points, known)?
            }
        };
        let run = CollectorRun {
            collector: finished.source.as_str().to_owned(),
            started_at: context.now,
            duration_ms: i64::try_from(finished.took.as_millis()).unwrap_or(i64::MAX),
            result: result(finished),
            written: i32::try_from(saved.inserted + saved.updated).unwrap_or(i32::MAX),
            error: finished.found.as_ref().err().map(ToString::to_string),
        };
        collector_runs::insert(db, &run)?;
        Ok(saved)
    })?;
    Ok(saved)
}

fn result(finished: &Finished) -> RunResult {
    match &finished.found {
        Err(_) => RunResult::Failed,
        Ok(found) if found.points.is_empty() => RunResult::Empty,
        Ok(_) => RunResult::Ok,
    }
}

/// Says what there is to say about a collector, and returns its part of the answer.
pub(super) fn told(context: &mut Context, finished: &Finished, saved: Saved) -> RanOne {
    let source = finished.source;
    let mut one = RanOne {
        source,
        result: result(finished),
        saved,
        took: finished.took,
        points: Vec::new(),
        failure: None,
    };
    match &finished.found {
        Err(failure) => one.failure = Some(failure.clone()),
        Ok(found) => {
            for note in &found.notes {
                context.detail(format_args!("{source}: {note}"));
            }
            for warning in &found.warnings {
                context.warn(format_args!(
                    "{source}: {}",
                    crate::output::printable(warning)
                ));
            }
            one.points = found.points.clone();
        }
    }
    one
}

/// How the run ends: with the hint of the first failure, if there is one.
pub(super) fn outcome(finished: &[Finished]) -> Outcome {
    let failures = finished
        .iter()
        .filter_map(|finished| finished.found.as_ref().err());
    let failed = failures.clone().count();
    match failures.clone().next() {
        None => Outcome::DONE,
        Some(first) => {
            let exit = match failed == finished.len() {
                true => Exit::Failed,
                false => Exit::Incomplete,
            };
            Outcome::with_next(exit, first.hint.clone())
        }
    }
}
