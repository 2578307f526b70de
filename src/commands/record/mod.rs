//! `record`: inserts usage records from files, stdin or the command line into `api_usage`.

mod event;
mod interrupt;
mod loader;
mod mapping;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use self::event::EventArgs;
use self::interrupt::Cancel;
use self::loader::{LoadOptions, Loader};
use self::mapping::{FOREIGN_LOGS, MappingArgs};
use super::refused::{Refusals, option_in};
use crate::args::parse_duration;
use crate::commands::prelude::*;
use crate::domain::format::counted;
use crate::domain::zone::Zone;
use crate::error::shell_word;
use crate::ingest::{self, Format, Input, Job, Mapping, ReadSummary, TimeOptions, TimeUnit};
use crate::output::record::PresetList;
use crate::store::usage::rollups;

/// Record API usage
///
/// Reads NDJSON, a JSON array or CSV, plain or compressed with gzip or zstd, detected from the first
/// bytes. Each record is one call. Its fields are api_name (required), endpoint, method, timestamp,
/// success, status_code, response_time (ms), request_size, response_size (bytes), error_type,
/// error_message, cost_credits, cached, user_id and id, in snake_case or camelCase. An empty CSV cell
/// is an absent value. Blank lines are ignored. Other logs are read with a preset, a mapping file or --map.
///
/// A rejected line is reported, counted as refused and skipped; the exit code is then 3.
///
/// Each call is recorded once, so an interrupted command can be run again. A call is identified by its
/// id, or by its content, time, source and ordinal among identical lines of the input. The source is the
/// name of the file without directories, .gz, .zst, .1 or a date, so a rotated log stays the same source.
/// Records with neither id nor time get the current time, and are inserted again by each run.
///
/// A line that is recorded again with another mapping, zone or unit is a conflict: the earlier row stays.
/// To undo a run, delete its rows by the created_at that its answer has under `--format json`, then run the
/// corrected command: DELETE FROM api_usage WHERE created_at = '2026-01-31T12:00:00.000+00:00'
///
/// While the server restarts or the database is locked, reading pauses and the batch is tried again. SIGINT
/// and SIGTERM record the complete lines read so far; SIGHUP prints the progress.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  usagectl record usage.ndjson.gz --rejects refused.ndjson
  tail -n +1 -F api.log | usagectl record --source api.log
  usagectl record access.log --preset combined --set api_name=shop
  usagectl record export.csv --map ts=timestamp:s --map api=api_name
  usagectl record --api finnhub --endpoint /quote --status 429 --response-time 120
  usagectl record --replay refused.ndjson")]
pub struct RecordArgs {
    /// Files to read; `-` for stdin [default: -]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Format of the input [default: detected]
    #[arg(long, value_enum, value_name = "FORMAT", hide_short_help = true)]
    input_format: Option<Format>,

    /// Name of the source, part of derived ids [default: name of the file, or -]
    #[arg(long, value_name = "NAME")]
    source: Option<String>,

    #[command(flatten)]
    times: TimeArgs,

    /// Append rejected lines to this file
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,

    /// Read a file written by --rejects
    ///
    /// Correct `raw` in each line first, or add the options that were missing. Ids are derived as if the
    /// lines stood in their original input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["files", "input_format", "source"])]
    replay: Option<PathBuf>,

    /// Record all lines or none
    ///
    /// Everything is one transaction; on SQLite it blocks all other writers until it ends.
    #[arg(long)]
    atomic: bool,

    /// Check everything, print the first ten records and the counts, and write nothing
    #[arg(long, conflicts_with_all = ["atomic", "rejects"])]
    dry_run: bool,

    /// How long to reconnect when the server restarts or fails over; not with --atomic
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration, hide_short_help = true)]
    retry: Duration,

    /// How long to wait while another program locks the database; not with --atomic
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = parse_duration, hide_short_help = true)]
    lock_wait: Duration,

    /// List the presets
    #[arg(long, conflicts_with_all = ["files", "replay"], help_heading = FOREIGN_LOGS)]
    list_presets: bool,

    #[command(flatten)]
    mapping: MappingArgs,

    #[command(flatten)]
    event: EventArgs,
}

/// How the input writes its times, and which of them are accepted.
#[derive(Args, Debug)]
struct TimeArgs {
    /// Unit of numeric times, counted from 1970
    #[arg(long, value_enum, value_name = "UNIT", hide_short_help = true)]
    time_unit: Option<TimeUnit>,

    /// Form of times that are text: clf, or strftime such as %d.%m.%Y %H:%M:%S [default: detected]
    #[arg(long, value_name = "FORMAT", value_parser = ingest::parse_time_format, allow_hyphen_values = true, hide_short_help = true)]
    time_format: Option<String>,

    /// Zone of times without one: UTC, an offset such as +02:00, or a name such as Europe/Berlin
    #[arg(long, value_name = "ZONE", value_parser = ingest::parse_zone, allow_hyphen_values = true, hide_short_help = true)]
    assume_tz: Option<Zone>,

    /// Reject times further in the future than this
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration, hide_short_help = true)]
    max_future: Duration,

    /// Reject times further in the past than this
    #[arg(long, value_name = "DURATION", default_value = "7300d", value_parser = parse_duration, hide_short_help = true)]
    max_past: Duration,
}

/// Records what the arguments name.
pub fn run(context: &mut Context, args: RecordArgs) -> Result<Outcome> {
    if args.list_presets {
        let presets = ingest::presets().map_err(|reason| Error::message(Exit::Failed, reason))?;
        return context.finish(&PresetList(presets));
    }
    let began = Instant::now();
    let mapping = args.mapping.mapping()?;
    let inputs = inputs(&args)?;
    let refusals = Refusals::open(args.rejects.as_deref(), &inputs)?;
    let mut db = context.open_to_record()?;
    let job = Job {
        inputs,
        format: args.input_format,
        times: times(context, &args, &mapping),
        mapping,
        is_replay: args.replay.is_some(),
        stop: stop_on_signals()?,
    };
    let report = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGHUP, Arc::clone(&report))?;
    let options = LoadOptions {
        is_atomic: args.atomic,
        is_dry_run: args.dry_run,
        retry: args.retry,
        lock_wait: args.lock_wait,
    };
    let cancel = Cancel::when(&job.stop, context.database_url(false)?);
    let mut loader = Loader::new(context, &db, job, refusals, options, report, cancel);
    let loaded = loader.load(&mut db);
    let (mut summary, refusals, long_calls) = loader.finish();
    let (read, error) = match loaded {
        Ok(read) => (read, None),
        Err(error) => (ReadSummary::default(), Some(error)),
    };
    summary.complete = read.is_whole();
    summary.set_elapsed(began.elapsed());

    refusals.report_rest(context, &read.failures);
    warn(context, &read, long_calls);
    if summary.inserted > 0
        && let Some((from, to)) = summary.from.zip(summary.to)
        // A role may lack the right to read this.
        && rollups::is_pruned(&mut db, from, to).unwrap_or(false)
    {
        context.warn(
            "some calls are as old as rows that `usagectl prune` deleted: a call that was recorded before is counted twice",
        );
    }
    context.answer(&summary)?;
    let option = refusals.missing_option().map(str::to_owned);
    let kept = refusals.close()?;
    // For another command on the same lines.
    let options = context.repeated::<MappingArgs>() + &context.repeated::<TimeArgs>();
    if let Some(error) = error {
        return Err(match (summary.unwritten, kept) {
            (1.., Some(path)) => {
                let path = shell_word(&path);
                error.with_next(format!("usagectl record --replay {path}{options}"))
            }
            _ => error,
        });
    }
    let ended = Ended {
        refused: summary.refused,
        conflict: summary.conflict,
        kept: kept.as_deref(),
        option: option.as_deref(),
        repeat: &options,
        is_atomic: args.atomic,
        is_dry_run: args.dry_run,
    };
    let outcome = outcome(&read, &ended);
    if let Some(path) = args.replay
        && outcome.exit == Exit::Done
        && !args.dry_run
    {
        let path = path.display();
        context.info(format_args!(
            "{path}: all lines recorded; you can delete it"
        ));
    }
    Ok(outcome)
}

fn times(context: &Context, args: &RecordArgs, mapping: &Mapping) -> TimeOptions {
    let span = |span| TimeDelta::from_std(span).unwrap_or(TimeDelta::MAX);
    TimeOptions {
        max_future: span(args.times.max_future),
        max_past: span(args.times.max_past),
        time_unit: args.times.time_unit.or(mapping.time_unit),
        assumed_zone: args.times.assume_tz.or(mapping.assumed_zone),
        format: args
            .times
            .time_format
            .clone()
            .or_else(|| mapping.time_format.clone()),
        takes_format: true,
        ..TimeOptions::new(context.now)
    }
}

/// Opens all inputs, so that a missing file is found before anything is recorded.
fn inputs(args: &RecordArgs) -> Result<Vec<Input>> {
    let source = args.source.as_deref();
    if let Some(event) = args.event.input()? {
        return Ok(vec![event.with_source(source)]);
    }
    if let Some(path) = &args.replay {
        return Ok(vec![open(path)?]);
    }
    if args.files.is_empty() && io::stdin().is_terminal() {
        let message = "nothing to record: no file is named, and stdin is a terminal";
        return Err(Error::usage(message).with_next("usagectl record FILE"));
    }
    if args.files.is_empty() {
        return Ok(vec![open(Path::new("-"))?.with_source(source)]);
    }
    let files = args.files.iter();
    let mut inputs: Vec<Input> = files
        .map(|path| Ok(open(path)?.with_source(source)))
        .collect::<Result<_>>()?;
    if source.is_none() {
        for at in 0..inputs.len() {
            // A link to another of the files.
            let same = inputs[..at].iter().find(|other| other.is_same(&inputs[at]));
            if let Some(source) = same.map(|other| other.source.clone()) {
                inputs[at].source = source;
            }
        }
        one_log_each(&args.files, &inputs)?;
    }
    Ok(inputs)
}

/// Refuses files of one name in several directories: the calls of one host would be taken for those of another.
fn one_log_each(paths: &[PathBuf], inputs: &[Input]) -> Result<()> {
    let directory = |path: &Path| match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new(".").canonicalize().ok(),
        Some(parent) => parent.canonicalize().ok(),
        None => None,
    };
    for (at, input) in inputs.iter().enumerate() {
        let other = (0..at).find(|other| {
            inputs[*other].source == input.source
                && !inputs[*other].is_same(input)
                && directory(&paths[*other]) != directory(&paths[at])
        });
        if let Some(other) = other {
            let message = format!(
                "{} and {} have one source, `{}`",
                printable(&inputs[other].name),
                printable(&input.name),
                printable(&input.source)
            );
            let next =
                "run the command once for each, with its own --source NAME; the same in every run";
            return Err(Error::usage(message).with_next(next));
        }
    }
    Ok(())
}

/// Warns of options that had no effect, and of values that may be in another unit.
fn warn(context: &mut Context, read: &ReadSummary, long_calls: u64) {
    for rule in &read.unmatched {
        context.warn(format_args!("--map {rule} matched nothing"));
    }
    if long_calls > 0 {
        context.warn(format_args!(
            "{} took more than an hour; if the input has another unit, read it with --map PATH=response_time:ns",
            counted(long_calls, "call")
        ));
    }
}

fn open(path: &Path) -> Result<Input> {
    let opened = if path.as_os_str() == "-" {
        Input::stdin()
    } else {
        Input::open(path)
    };
    opened.map_err(|error| {
        Error::new(Exit::Failed, error).with_next("give a readable file; nothing was recorded")
    })
}

/// The flag that SIGINT and SIGTERM set. A second signal ends the program at once, as usual.
fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// What the exit code and the next step depend on.
#[derive(Clone, Copy, Default)]
struct Ended<'a> {
    refused: u64,
    conflict: u64,
    /// The rejects file that has the refused lines.
    kept: Option<&'a str>,
    /// The option that would make most of them valid.
    option: Option<&'a str>,
    /// The options of this run that a replay needs too.
    repeat: &'a str,
    is_atomic: bool,
    is_dry_run: bool,
}

/// The exit code and the next step.
fn outcome(read: &ReadSummary, ended: &Ended<'_>) -> Outcome {
    let again = "run the same command again: recorded lines are skipped";
    if let Some(failure) = read.failures.first() {
        let reason = printable(&failure.reason);
        let or_correct = match option_in(&reason) {
            Some(option) => format!(", or add or correct {option}"),
            None => String::new(),
        };
        let next = format!("fix the input that could not be read{or_correct}, then {again}");
        return Outcome::with_next(Exit::Failed, next);
    }
    if !read.is_complete {
        return Outcome::with_next(Exit::Incomplete, again);
    }
    if ended.refused + ended.conflict == 0 {
        return Outcome::DONE;
    }
    let or_add = match ended.option {
        Some(option) => format!(" or add {option}"),
        None => String::new(),
    };
    let next = match ended.kept {
        _ if ended.is_atomic || ended.is_dry_run => {
            format!("correct the rejected lines{or_add}, then run the same command again: nothing was recorded")
        }
        _ if ended.refused == 0 => {
            "if the options or the input were corrected, delete the rows of the earlier run first: usagectl record --help"
                .to_owned()
        }
        Some(path) => {
            let (path, repeat) = (shell_word(path), ended.repeat);
            format!("correct the lines in {path}{or_add}, then usagectl record --replay {path}{repeat}")
        }
        None => format!("correct the rejected lines{or_add}, then {again}"),
    };
    Outcome::with_next(Exit::Incomplete, next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::InputFailure;

    fn next(
        read: &ReadSummary,
        refused: u64,
        kept: Option<&str>,
        is_atomic: bool,
    ) -> (Exit, String) {
        let ended = Ended {
            refused,
            kept,
            is_atomic,
            ..Ended::default()
        };
        let outcome = outcome(read, &ended);
        (outcome.exit, outcome.next.unwrap_or_default())
    }

    #[test]
    fn next_step_names_rejects_file_or_same_command() {
        let whole = ReadSummary {
            is_complete: true,
            ..ReadSummary::default()
        };
        assert_eq!(next(&whole, 0, None, true), (Exit::Done, String::new()));
        let (exit, text) = next(&whole, 1, Some("my file"), false);
        assert_eq!(exit, Exit::Incomplete);
        assert!(
            text.ends_with("usagectl record --replay 'my file'"),
            "{text}"
        );
        let (exit, text) = next(&whole, 1, Some("kept"), true);
        assert_eq!(exit, Exit::Incomplete);
        assert!(text.ends_with("nothing was recorded"), "{text}");
        let (exit, text) = next(&whole, 1, None, false);
        assert_eq!(exit, Exit::Incomplete);
        assert!(text.starts_with("correct the rejected lines"), "{text}");
        let ended = Ended {
            refused: 1,
            kept: Some("kept"),
            option: Some("--assume-tz"),
            repeat: " --preset combined",
            ..Ended::default()
        };
        let text = outcome(&whole, &ended).next.unwrap_or_default();
        let expected = "correct the lines in kept or add --assume-tz, then usagectl record --replay kept --preset combined";
        assert_eq!(text, expected);
        let conflict = Ended {
            conflict: 1,
            ..Ended::default()
        };
        let text = outcome(&whole, &conflict).next.unwrap_or_default();
        assert!(text.contains("delete the rows"), "{text}");
    }

    #[test]
    fn unread_input_outranks_refused_lines() {
        let stopped = ReadSummary::default();
        let (exit, text) = next(&stopped, 1, Some("kept"), false);
        assert_eq!(exit, Exit::Incomplete);
        assert!(text.starts_with("run the same command again"), "{text}");
        let failed = ReadSummary {
            is_complete: true,
            failures: vec![InputFailure {
                input: "a".to_owned(),
                line: 1,
                reason: "is broken".to_owned(),
            }],
            ..ReadSummary::default()
        };
        let (exit, text) = next(&failed, 1, Some("kept"), false);
        assert_eq!(exit, Exit::Failed);
        assert!(text.starts_with("fix the input"), "{text}");
    }
}
