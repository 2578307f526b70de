//! `record`: inserts usage records from files, stdin or the command line into `api_usage`.

mod event;
mod loader;
mod mapping;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use signal_hook::consts::{SIGINT, SIGTERM};

use self::event::EventArgs;
use self::loader::Loader;
use self::mapping::MappingArgs;
use super::refused::Refusals;
use crate::args::parse_duration;
use crate::commands::prelude::*;
use crate::error::shell_word;
use crate::ingest::{
    self, Format, Input, Job, Mapping, ReadSummary, TimeOptions, TimeUnit, Zone,
};
use crate::output::record::PresetList;

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
/// id, or by its content, time, source and ordinal among identical lines of the input. Records with
/// neither id nor time get the current time, and are inserted again by each run.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  usagectl record usage.ndjson.gz --rejects refused.ndjson
  tail -F api.log | usagectl record --source api.log
  usagectl record access.log --preset combined --set api_name=shop
  usagectl record export.csv --map ts=timestamp:s --map api=api_name
  usagectl record --api finnhub --endpoint /quote --status 429 --response-time 120
  usagectl record --replay refused.ndjson")]
pub struct RecordArgs {
    /// Files to read; `-` for stdin [default: -]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Format of the input [default: detected]
    #[arg(long, value_enum, value_name = "FORMAT")]
    input_format: Option<Format>,

    #[command(flatten)]
    mapping: MappingArgs,

    /// Name of the source, part of derived ids [default: name of the file, or -]
    #[arg(long, value_name = "NAME")]
    source: Option<String>,

    /// Unit of numeric times, counted from 1970
    #[arg(long, value_enum, value_name = "UNIT")]
    time_unit: Option<TimeUnit>,

    /// Form of times that are text: clf, or strftime such as %d.%m.%Y %H:%M:%S [default: detected]
    #[arg(long, value_name = "FORMAT", value_parser = ingest::parse_time_format, allow_hyphen_values = true)]
    time_format: Option<String>,

    /// Zone of times without one: UTC, an offset such as +02:00, or a name such as Europe/Berlin
    #[arg(long, value_name = "ZONE", value_parser = ingest::parse_zone, allow_hyphen_values = true)]
    assume_tz: Option<Zone>,

    /// Reject times further in the future than this
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    max_future: Duration,

    /// Reject times further in the past than this
    #[arg(long, value_name = "DURATION", default_value = "7300d", value_parser = parse_duration)]
    max_past: Duration,

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

    #[command(flatten)]
    event: EventArgs,
}

/// Records what the arguments name.
pub fn run(context: &mut Context, args: RecordArgs) -> Result<Outcome> {
    if args.mapping.list_presets {
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
    let mut loader = Loader::new(context, job, refusals, args.atomic);
    let read = loader.load(&mut db)?;
    let (mut summary, refusals) = (loader.summary, loader.refusals);
    summary.complete = read.is_whole();
    summary.set_elapsed(began.elapsed());

    refusals.report_rest(context, &read.failures);
    context.answer(&summary)?;
    let outcome = outcome(
        &read,
        summary.refused + summary.conflict,
        refusals.close()?.as_deref(),
        args.atomic,
    );
    if let Some(path) = args.replay
        && outcome.exit == Exit::Done
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
        max_future: span(args.max_future),
        max_past: span(args.max_past),
        time_unit: args.time_unit.or(mapping.time_unit),
        assumed_zone: args.assume_tz.or(mapping.assumed_zone),
        format: args.time_format.clone().or_else(|| mapping.time_format.clone()),
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
    files
        .map(|path| Ok(open(path)?.with_source(source)))
        .collect()
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

/// The exit code and the next step; `kept` is the rejects file that has the refused lines.
fn outcome(read: &ReadSummary, refused: u64, kept: Option<&str>, is_atomic: bool) -> Outcome {
    let again = "run the same command again: recorded lines are skipped";
    if !read.failures.is_empty() {
        let next = format!("fix the input that could not be read, then {again}");
        return Outcome::with_next(Exit::Failed, next);
    }
    if !read.is_complete {
        return Outcome::with_next(Exit::Incomplete, again);
    }
    if refused == 0 {
        return Outcome::DONE;
    }
    let next = match kept {
        _ if is_atomic => {
            "correct the rejected lines, then run the same command again: nothing was recorded"
                .to_owned()
        }
        Some(path) => {
            let path = shell_word(path);
            format!("correct the lines in {path}, then usagectl record --replay {path}")
        }
        None => format!("correct the rejected lines, then {again}"),
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
        let outcome = outcome(read, refused, kept, is_atomic);
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
