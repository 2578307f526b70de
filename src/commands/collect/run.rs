//! `collect run`: queries every configured source and stores the values.

use std::time::{Duration, Instant};

use chrono::{DateTime, NaiveTime, Utc};

use super::import;
use super::targets::TargetArgs;
use crate::args::LockWait;
use crate::collectors::{self, CollectContext, Finished};
use crate::commands::heartbeat::{HeartbeatArgs, with_heartbeat};
use crate::commands::known_apis::warn_of_unknown;
use crate::commands::prelude::*;
use crate::domain::metrics::collector::{CollectorRun, MetricSource, RunResult, TargetName};
use crate::domain::metrics::point::Saved;
use crate::domain::plans::{VendorMeter, vendor_meters};
use crate::output::collect::{CollectReport, CollectorReport, NotConfigured};
use crate::store::lock::RunKind;
use crate::store::metrics::points::OnConflict;
use crate::store::metrics::{collector_runs, counters, points};
use crate::store::plans::{catalogues, selections};

/// Collect metrics from every configured source
///
/// Queries all sources at once, each with its own timeout. A source that fails does not stop the others; the exit
/// code is then 3, or 1 if all fail. Sources that are not configured are skipped:
///
/// postgres: --postgres-url or USAGECTL_POSTGRES_URL; size, connections, latency.
///
/// redis: --redis-url or USAGECTL_REDIS_URL; memory, clients, commands per day, latency.
///
/// upstash: UPSTASH_EMAIL, UPSTASH_API_KEY and UPSTASH_REDIS_ID for the billed counts; or
/// UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN (also KV_REST_API_URL and KV_REST_API_TOKEN).
///
/// neon: NEON_API_KEY and NEON_ORG_ID, for the days of all projects or of NEON_PROJECT_ID (paid plans); or
/// NEON_PROJECT_ID without NEON_ORG_ID, for the billing period of one project (any plan). Data transfer, and compute time
/// in percent of the plan.
///
/// vercel: VERCEL_TOKEN, VERCEL_TEAM_ID; the last days of the bill.
///
/// openai: OPENAI_ADMIN_KEY, OPENAI_PROJECT_ID; costs of the last days.
///
/// prometheus: --prometheus-url or USAGECTL_PROMETHEUS_URL, with --map or --map-file;
/// USAGECTL_PROMETHEUS_TOKEN if it requires a token.
///
/// usage: --usage-api; requests and credits recorded in this database.
///
/// USAGECTL_UPSTASH_API_URL, USAGECTL_NEON_API_URL, USAGECTL_VERCEL_API_URL and USAGECTL_OPENAI_API_URL replace the
/// address of an API, such as by that of a gateway.
///
/// Vendors are asked for the days since the last successful run, or since --since; those before that may be revised for
/// three days. Vercel has 365 past days, OpenAI 180, Neon 60.
///
/// A meter that a plan limits and no metric measures, such as CPU hours, is stored as USAGE_PERCENT of the included
/// amount, with the meter as its resource.
///
/// Several targets of a kind are listed in a file (--config), each with a resource. Keys are read from the environment
/// only. Collecting again at the same time writes nothing. In cron, with URLs and keys in the environment:
/// `*/15 * * * * usagectl -q collect run --only postgres,redis`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  usagectl collect run --only usage --usage-api finnhub --credit-budget 500
  usagectl collect run --dry-run --usage-api finnhub -v")]
pub struct RunArgs {
    #[command(flatten)]
    targets: TargetArgs,

    /// Show the values, and write nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    heartbeat: HeartbeatArgs,

    #[command(flatten)]
    wait: LockWait,
}

pub fn run(context: &mut Context, args: RunArgs) -> Result<Outcome> {
    with_heartbeat(context, &args.heartbeat, |context| {
        collect_and_save(context, &args)
    })
}

fn collect_and_save(context: &mut Context, args: &RunArgs) -> Result<Outcome> {
    let access = if args.dry_run {
        Access::Read
    } else {
        Access::Write
    };
    let url = context.database_url(false)?;
    let mut db = context.open_migrated(&url, access)?;
    let _lock = if args.dry_run {
        None
    } else {
        let wait = args.wait.lock_wait;
        Some(context.lock(&mut db, &url, RunKind::Collect, wait)?)
    };
    let (finished, not_configured) = collect(context, &mut db, &args.targets)?;
    if finished.is_empty() {
        return Err(Error::usage("no source is configured")
            .with_next("see how to configure each source: usagectl collect doctor"));
    }
    for NotConfigured { collector, next } in not_configured {
        context.detail(format_args!("{collector} is not configured: {next}"));
    }
    let outcome = outcome(&finished);
    // Every run repeats them, and cron sends mail about any output.
    let warns = !context.is_quiet() || outcome.exit != Exit::Done;
    if warns {
        warn_of_unknown(context, &mut db, &args.targets.usage_api)?;
    }
    let mut answer = CollectReport {
        dry_run: args.dry_run,
        ..CollectReport::default()
    };
    for finished in &finished {
        let saved = if args.dry_run {
            Saved::default()
        } else {
            save(&mut db, finished, context)?
        };
        if warns {
            print_warnings(context, finished);
        }
        answer.collectors.push(report(context, finished, saved));
        if let Err(error) = &finished.outcome
            && context.is_quiet()
        {
            context.error(format_args!("{}: {error}", finished.target));
        }
    }
    if !args.dry_run {
        import::refresh(context, &mut db)?;
    }
    context.answer_unless_quiet(&answer)?;
    Ok(outcome)
}

/// Queries all targets. This database is read here, since a connection serves one thread.
pub(super) fn collect(
    context: &Context,
    db: &mut Db,
    args: &TargetArgs,
) -> Result<(Vec<Finished>, Vec<NotConfigured>)> {
    let configured = args.targets()?;
    let since = args.since.map(|day| day.and_time(NaiveTime::MIN).and_utc());
    if since.is_some_and(|since| since > context.now) {
        let error = Error::usage("--since is in the future");
        return Err(error.with_next("give --since a day in the past"));
    }
    let mut collect_context = CollectContext {
        now: context.now,
        timeout: args.timeout.max(Duration::from_millis(1)),
        counters: counters::all(db)?,
        since,
        runs: collector_runs::last(db, Some(RunResult::Ok))?,
        last_collected: None,
        allow_http: args.allow_http,
        meters: meters(db, context.now)?,
    };
    let mut finished = collectors::run(configured.targets, &collect_context);
    if let Some(prices) = configured.usage {
        let began = Instant::now();
        let target = TargetName {
            source: MetricSource::Usage,
            resource: String::new(),
        };
        let mut runs = collect_context.runs.iter();
        let last = runs.find(|run| run.collector == target.to_string());
        collect_context.last_collected = last.map(|run| run.started_at);
        let outcome = collectors::usage(db, &args.usage_api, prices, &collect_context);
        finished.push(Finished {
            target,
            outcome,
            took: began.elapsed(),
        });
    }
    Ok((finished, configured.not_configured))
}

/// Meters that the plans in use limit and no metric of the application measures.
pub(super) fn meters(db: &mut Db, now: DateTime<Utc>) -> Result<Vec<VendorMeter>> {
    let (catalogue, selections) = (catalogues::active(db)?, selections::all(db)?);
    Ok(vendor_meters(&catalogue, &selections, now))
}

/// Saves the values and the run of a collector in one transaction.
fn save(db: &mut Db, finished: &Finished, context: &Context) -> Result<Saved> {
    db.write_tx(|db| -> Result<Saved> {
        let saved = match &finished.outcome {
            Err(_) => Saved::default(),
            Ok(collected) => {
                counters::save(db, &collected.counters)?;
                let on_conflict = if collected.revises {
                    OnConflict::Replace
                } else {
                    OnConflict::Keep
                };
                points::save_in(db, &collected.points, on_conflict)?
            }
        };
        let run = CollectorRun {
            collector: finished.target.to_string(),
            started_at: context.now,
            duration_ms: i64::try_from(finished.took.as_millis()).unwrap_or(i64::MAX),
            result: result(finished),
            written: i32::try_from(saved.inserted + saved.updated).unwrap_or(i32::MAX),
            error: finished.outcome.as_ref().err().map(ToString::to_string),
        };
        collector_runs::insert(db, &run)?;
        Ok(saved)
    })
}

fn result(finished: &Finished) -> RunResult {
    match &finished.outcome {
        Err(_) => RunResult::Failed,
        Ok(collected) if collected.points.is_empty() => RunResult::Empty,
        Ok(_) => RunResult::Ok,
    }
}

pub(super) fn print_warnings(context: &mut Context, finished: &Finished) {
    for warning in finished.outcome.iter().flat_map(|it| &it.warnings) {
        let target = &finished.target;
        context.warn(format_args!("{target}: {}", printable(warning)));
    }
}

/// Prints the notes of a collector, and returns its part of the answer.
pub(super) fn report(context: &mut Context, finished: &Finished, saved: Saved) -> CollectorReport {
    let target = &finished.target;
    let mut report = CollectorReport {
        collector: target.source,
        resource: target.resource.clone(),
        result: result(finished),
        saved,
        duration_ms: u64::try_from(finished.took.as_millis()).unwrap_or(u64::MAX),
        reason: None,
        error: None,
        next: None,
        values: Vec::new(),
    };
    match &finished.outcome {
        Err(error) => {
            report.error = Some(error.message.clone());
            report.next = Some(error.hint.clone());
        }
        Ok(collected) => {
            for note in &collected.notes {
                context.detail(format_args!("{target}: {note}"));
            }
            if collected.points.is_empty() {
                let reasons = collected.notes.iter().chain(&collected.warnings);
                let reasons: Vec<&str> = reasons.map(String::as_str).collect();
                report.reason = Some(match reasons.as_slice() {
                    [] => "the source has no new values".to_owned(),
                    reasons => reasons.join("; "),
                });
            }
            report.values.clone_from(&collected.points);
        }
    }
    report
}

/// The outcome of the command: the hint of the first failed collector is the next step.
pub(super) fn outcome(finished: &[Finished]) -> Outcome {
    let errors = finished.iter().filter_map(|it| it.outcome.as_ref().err());
    let failed = errors.clone().count();
    let Some(first) = errors.clone().next() else {
        return Outcome::DONE;
    };
    let exit = if failed == finished.len() {
        Exit::Failed
    } else {
        Exit::Incomplete
    };
    Outcome::with_next(exit, first.hint.clone())
}
