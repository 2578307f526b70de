//! `record`: usage records from files, stdin or the command line into `api_usage`.
//!
//! One thread reads, checks and derives ids; this one gathers what it hands on into batches and puts
//! them into the database, each in one transaction. The channel between them is short, so whoever
//! writes into our stdin waits when the database is slow, and memory stays flat.

use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use chrono::{FixedOffset, TimeDelta};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::args::parse_duration;
use crate::context::Context;
use crate::domain::format::count;
use crate::error::{Error, Exit, Outcome, Result};
use crate::ingest::{
    self, Block, Code, Ended, Failure, Field, Format, Input, Job, Mapping, Problem, Refusal,
    RejectsFile, Rules, TimeUnit, Unknown,
};
use crate::output::printable;
use crate::output::record::Summary;
use crate::store::db::{Access, Db};
use crate::store::time::UtcTimestamp;
use crate::store::usage::insert;
use crate::store::usage::insert::{Loaded, Refused};

/// Record API usage
///
/// Reads NDJSON, a JSON array or CSV, plain or compressed with gzip or zstd; which of them, the first
/// bytes tell. Each line is one call: api_name, endpoint, method, timestamp, success, status_code,
/// response_time (ms), request_size, response_size (bytes), error_type, error_message, cost_credits,
/// cached, user_id, id; in snake_case or camelCase, all but api_name optional. In CSV an empty cell
/// is an absent value. Blank lines are not counted.
///
/// A line that is refused is named and counted and does not stop the others; the exit code is then 3.
///
/// The same call is recorded once: it is known by its id, or else by its content, its time, its source
/// and its place among identical lines of the same file. So an interrupted run is simply run again.
/// Lines with neither id nor time are recorded as of now, each time anew.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  usagectl record usage.ndjson.gz --rejects refused.ndjson
  tail -F api.log | usagectl record --source api.log
  usagectl record export.csv --map ts=timestamp --map api=api_name --time-unit s
  usagectl record --api finnhub --endpoint /quote --status 429 --response-time 120
  usagectl record --replay refused.ndjson")]
pub struct RecordArgs {
    /// Files to read; stdin if there are none, or where `-` stands
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Read this format, whatever the input begins with
    #[arg(long, value_enum, value_name = "FORMAT")]
    input_format: Option<Format>,

    /// Take the field or column COL of the input as FIELD (again for more)
    #[arg(long, value_name = "COL=FIELD", value_parser = parse_map)]
    map: Vec<(String, Field)>,

    /// What to do about fields that nobody knows
    #[arg(long, value_enum, default_value_t)]
    unknown: Unknown,

    /// Name the source of the lines, which is part of the ids derived for them
    ///
    /// By default a file's name without its directories, and `-` for stdin.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,

    /// Read times that are numbers as seconds or milliseconds since 1970
    #[arg(long, value_enum, value_name = "UNIT")]
    time_unit: Option<TimeUnit>,

    /// Read times without a zone as of this one: UTC, or an offset such as +02:00
    #[arg(long, value_name = "ZONE", value_parser = ingest::zone_from_text, allow_hyphen_values = true)]
    assume_tz: Option<FixedOffset>,

    /// Refuse times further ahead of now than this
    #[arg(long, value_name = "SPAN", default_value = "5m", value_parser = parse_duration)]
    max_future: Duration,

    /// Keep refused lines in this file, behind those that are in it
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,

    /// Read the lines that --rejects kept in this file
    ///
    /// Correct what is in `raw` of each line first, or give the options that were missing. Ids are
    /// derived as if the lines stood where they came from.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["files", "input_format", "source"])]
    replay: Option<PathBuf>,

    /// Record all lines or none
    ///
    /// Everything goes into one transaction; on SQLite nobody else can write until it ends.
    #[arg(long)]
    atomic: bool,

    #[command(flatten)]
    event: EventArgs,
}

/// The name of the input that the command line itself is. No file has an empty name.
const ARGUMENTS: &str = "";

/// One event, instead of files.
#[derive(Args, Debug)]
#[command(next_help_heading = "One event, instead of files")]
struct EventArgs {
    /// The API that was called
    #[arg(long, value_name = "NAME", conflicts_with_all = ["files", "replay", "input_format", "map", "unknown"])]
    api: Option<String>,
    /// The path that was called
    #[arg(long, value_name = "PATH", requires = "api")]
    endpoint: Option<String>,
    /// The HTTP method [default: GET]
    #[arg(long, requires = "api")]
    method: Option<String>,
    /// When it was called [default: now]
    #[arg(long, value_name = "TIME", requires = "api")]
    timestamp: Option<String>,
    /// Whether it succeeded [default: by status and error type]
    #[arg(long, value_name = "BOOL", requires = "api")]
    success: Option<String>,
    /// The HTTP status
    #[arg(long, requires = "api")]
    status: Option<String>,
    /// How long it took, in milliseconds
    #[arg(long, value_name = "MS", requires = "api")]
    response_time: Option<String>,
    /// The size of the request
    #[arg(long, value_name = "BYTES", requires = "api")]
    request_size: Option<String>,
    /// The size of the response
    #[arg(long, value_name = "BYTES", requires = "api")]
    response_size: Option<String>,
    /// What failed, in a word [default: by status]
    #[arg(long, value_name = "TYPE", requires = "api")]
    error_type: Option<String>,
    /// What failed
    #[arg(long, value_name = "TEXT", requires = "api")]
    error_message: Option<String>,
    /// What it cost, in credits
    #[arg(
        long,
        value_name = "CREDITS",
        requires = "api",
        allow_hyphen_values = true
    )]
    cost: Option<String>,
    /// It was answered from a cache
    #[arg(long, requires = "api")]
    cached: bool,
    /// On whose behalf it was called
    #[arg(long, value_name = "USER", requires = "api")]
    user_id: Option<String>,
    /// Its own id
    #[arg(long, requires = "api")]
    id: Option<String>,
}

impl EventArgs {
    /// The event as CSV, where values of any type are texts as they are on the command line.
    fn input(&self) -> Result<Option<Input>> {
        if self.api.is_none() {
            return Ok(None);
        }
        let cached = self.cached.then(|| "true".to_owned());
        let values = [
            (Field::ApiName, &self.api),
            (Field::Endpoint, &self.endpoint),
            (Field::Method, &self.method),
            (Field::Timestamp, &self.timestamp),
            (Field::Success, &self.success),
            (Field::StatusCode, &self.status),
            (Field::ResponseTime, &self.response_time),
            (Field::RequestSize, &self.request_size),
            (Field::ResponseSize, &self.response_size),
            (Field::ErrorType, &self.error_type),
            (Field::ErrorMessage, &self.error_message),
            (Field::CostCredits, &self.cost),
            (Field::Cached, &cached),
            (Field::UserId, &self.user_id),
            (Field::Id, &self.id),
        ];
        let given = values
            .iter()
            .filter_map(|(field, value)| Some((field, value.as_ref()?)));
        let mut csv = csv::Writer::from_writer(Vec::new());
        csv.write_record(given.clone().map(|(field, _)| field.name()))?;
        csv.write_record(given.map(|(_, value)| value))?;
        let csv = csv.into_inner().map_err(|error| error.into_error())?;
        Ok(Some(Input::text(ARGUMENTS, csv)))
    }
}

fn parse_map(text: &str) -> Result<(String, Field), String> {
    let (name, field) = text
        .rsplit_once('=')
        .ok_or("not of the form COL=FIELD, such as ts=timestamp")?;
    let known = Field::named(field).ok_or_else(|| {
        let names: Vec<_> = Field::ALL.iter().map(|field| field.name()).collect();
        format!("`{field}` is none of {}", names.join(", "))
    })?;
    Ok((name.to_owned(), known))
}

/// The most lines and bytes in one transaction, and the longest that a line waits for it.
///
/// Twenty thousand rows cost a quarter of what they cost in transactions of a hundred, and more gain
/// nothing. A batch waits in memory and not in an open transaction, which would keep other writers
/// of a SQLite file waiting with it.
const BATCH_LINES: usize = 20_000;
const BATCH_BYTES: usize = 10 * 1024 * 1024;
const BATCH_WAIT: Duration = Duration::from_secs(1);

/// How many blocks are read ahead: enough to go on reading while a batch goes in, and no more, since all of
/// this is memory.
const BLOCKS_AHEAD: usize = 4;

/// How often a run that waits for input looks whether it is to stop.
const POLL: Duration = Duration::from_millis(100);

/// So many refused lines are named; then they are only counted.
const NAMED_LINES: u64 = 20;

/// Records what the arguments name.
pub fn run(context: &mut Context, args: RecordArgs) -> Result<Outcome> {
    let began = Instant::now();
    let inputs = inputs(&args)?;
    let rejects = open_rejects(&args)?;
    let mut db = context.open(Access::Write)?;
    let stop = stop_on_signals()?;
    let now = UtcTimestamp::new(context.now);
    let job = Job {
        inputs,
        format: args.input_format,
        mapping: mapping(&args)?,
        rules: Rules {
            now: now.utc(),
            max_future: TimeDelta::from_std(args.max_future).unwrap_or(TimeDelta::MAX),
            time_unit: args.time_unit,
            assumed_zone: args.assume_tz,
        },
        is_replay: args.replay.is_some(),
        stop: Arc::clone(&stop),
    };
    let mut recording = Recording {
        messages: read_ahead(job),
        stop,
        pending: Block::default(),
        waiting_since: None,
        created_at: now,
        rejects,
        is_atomic: args.atomic,
        summary: Summary::default(),
        committed: None,
        progress: progress(context),
        context,
    };
    let ended = recording.record(&mut db)?;
    recording.finish(&args, ended, began)
}

/// Opens everything that is to be read, so that a missing file is found before anything is recorded.
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
    let stdin = [PathBuf::from("-")];
    let paths = match args.files.as_slice() {
        [] => &stdin,
        files => files,
    };
    paths
        .iter()
        .map(|path| Ok(open(path)?.with_source(source)))
        .collect()
}

fn open(path: &Path) -> Result<Input> {
    let opened = match path.as_os_str() == "-" {
        true => Input::stdin(),
        false => Input::open(path),
    };
    opened.map_err(|error| {
        Error::new(Exit::Failed, error)
            .with_next("name a file that can be read; nothing was recorded")
    })
}

fn open_rejects(args: &RecordArgs) -> Result<Option<RejectsFile>> {
    let Some(path) = &args.rejects else {
        return Ok(None);
    };
    let failed = |error: io::Error| {
        Error::new(Exit::Failed, error)
            .context(format!("cannot write {}", path.display()))
            .with_next("name a file that can be written; nothing was recorded")
    };
    let file = RejectsFile::open(path).map_err(failed)?;
    if let Some(replay) = &args.replay
        && file.is(replay).map_err(failed)?
    {
        let message = "--rejects and --replay are the same file, which would never end";
        return Err(Error::usage(message).with_next("name another file with --rejects"));
    }
    Ok(Some(file))
}

fn mapping(args: &RecordArgs) -> Result<Mapping> {
    let mut renamed = HashMap::new();
    for (name, field) in &args.map {
        if renamed
            .insert(name.clone(), *field)
            .is_some_and(|old| old != *field)
        {
            let message = format!("--map takes `{name}` as two different fields");
            return Err(Error::usage(message).with_next("usagectl record --help"));
        }
    }
    Ok(Mapping {
        renamed,
        unknown: args.unknown,
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

enum Message {
    Block(Block),
    Ended(Ended),
}

fn read_ahead(job: Job) -> Receiver<Message> {
    let (sender, receiver) = mpsc::sync_channel(BLOCKS_AHEAD);
    // It is not waited for: it may hang in reading stdin when everything else is over.
    thread::spawn(move || {
        let ended = ingest::read(job, &mut |block| sender.send(Message::Block(block)).is_ok());
        let _ = sender.send(Message::Ended(ended));
    });
    receiver
}

fn progress(context: &Context) -> ProgressBar {
    if !context.progress {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {human_pos} lines in {elapsed}, {per_sec}");
    let bar = ProgressBar::new_spinner();
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// A run at work.
struct Recording<'c> {
    context: &'c mut Context,
    messages: Receiver<Message>,
    stop: Arc<AtomicBool>,
    /// What was read and not yet put into the database.
    pending: Block,
    /// Since when the first of it waits.
    waiting_since: Option<Instant>,
    /// What the rows of this run carry; later than that of any row whose refused lines it replays.
    created_at: UtcTimestamp,
    rejects: Option<RejectsFile>,
    is_atomic: bool,
    summary: Summary,
    /// The input and line up to which everything is in the database.
    committed: Option<(String, u64)>,
    progress: ProgressBar,
}

/// Why a transaction of everything is undone.
enum Undo {
    /// Because something was refused, or the input did not end well; here is how it ended.
    Wanted(Ended),
    Failed(Error),
}

impl From<diesel::result::Error> for Undo {
    fn from(error: diesel::result::Error) -> Undo {
        Undo::Failed(error.into())
    }
}

impl Recording<'_> {
    /// Puts everything into the database.
    fn record(&mut self, db: &mut Db) -> Result<Ended> {
        if !self.is_atomic {
            return self.gather(db).map_err(|error| self.explain(error));
        }
        let done = db.write_tx(|db| {
            let ended = self.gather(db).map_err(Undo::Failed)?;
            let is_good = ended.is_complete && ended.failures.is_empty();
            match is_good && self.summary.refused + self.summary.conflict == 0 {
                true => Ok(ended),
                false => Err(Undo::Wanted(ended)),
            }
        });
        match done {
            Ok(ended) => Ok(ended),
            Err(Undo::Wanted(ended)) => {
                self.summary.rolled_back = std::mem::take(&mut self.summary.inserted);
                Ok(ended)
            }
            Err(Undo::Failed(error)) => {
                self.committed = None;
                Err(self.explain(error))
            }
        }
    }

    /// Says what is in the database when it fails.
    fn explain(&self, error: Error) -> Error {
        error.context(match &self.committed {
            Some((input, line)) => format!(
                "recording stopped; {} lines are recorded or refused, up to line {line} of {input}",
                count(self.summary.read.cast_signed()),
            ),
            None => "recording stopped; nothing was recorded".to_owned(),
        })
    }

    /// Gathers what is read into batches and saves each when it is due.
    fn gather(&mut self, db: &mut Db) -> Result<Ended> {
        loop {
            let waited = self.waiting_since.map(|since| since.elapsed());
            let left = waited.map_or(POLL, |waited| BATCH_WAIT.saturating_sub(waited).min(POLL));
            let ended = match self.messages.recv_timeout(left) {
                Ok(Message::Block(block)) => {
                    self.waiting_since.get_or_insert_with(Instant::now);
                    self.pending.append(block);
                    None
                }
                Ok(Message::Ended(ended)) => Some(ended),
                // Whatever was read has been handed on by now; the reader waits for more.
                Err(RecvTimeoutError::Timeout) if self.stop.load(Ordering::Relaxed) => {
                    Some(Ended::default())
                }
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::message(Exit::Failed, "reading the input broke off"));
                }
            };
            let is_due = self.pending.lines() >= BATCH_LINES
                || self.pending.size_bytes() >= BATCH_BYTES
                || self
                    .waiting_since
                    .is_some_and(|since| since.elapsed() >= BATCH_WAIT);
            if is_due || ended.is_some() {
                self.save(db)?;
            }
            if let Some(ended) = ended {
                return Ok(ended);
            }
        }
    }

    /// Puts what is pending into the database, in one transaction, and counts it.
    fn save(&mut self, db: &mut Db) -> Result<()> {
        self.waiting_since = None;
        if self.pending.lines() == 0 {
            return Ok(());
        }
        self.settle_replayed(db)?;
        let last_line = self.pending.last_line();
        let last_line = last_line.map(|(input, line)| (input.to_owned(), line));
        let (loaded, refusals) = match self.is_atomic {
            true => self.load(db)?,
            false => db.write_tx(|db| self.load(db))?,
        };
        self.committed = last_line;
        self.count(&loaded, &refusals);
        self.pending.clear();
        Ok(())
    }

    /// Gives the replayed records without an id those they would have had in their input.
    ///
    /// Identical lines of one input are told apart by their ordinals, and those that were good took the
    /// first ones. What was recorded later, by a run before this one that replayed the same lines or
    /// read the corrected input, does not count: its ids are just those that come out here.
    fn settle_replayed(&mut self, db: &mut Db) -> Result<()> {
        for replayed in &self.pending.replayed {
            let Some(usage) = self.pending.usage.get(replayed.index) else {
                continue;
            };
            let at = usage.record.timestamp;
            let id = |ordinal| ingest::derived_id(at, &replayed.hash, ordinal).to_string();
            let until = UtcTimestamp::new(replayed.recorded_at);
            let mut good = 0;
            while insert::was_recorded(db, &id(good + 1), until)? {
                good += 1;
            }
            let id = id(good + replayed.ordinal);
            self.pending.usage.replace_id(replayed.index, &id);
            // Clocks differ and may be set back: a row that is recorded now must not look older.
            let next = UtcTimestamp::new(replayed.recorded_at + TimeDelta::milliseconds(1));
            self.created_at = self.created_at.max(next);
        }
        Ok(())
    }

    /// Loads what is pending, and keeps the refused lines before anything is committed: so whatever
    /// happens, none of them is lost.
    fn load(&mut self, db: &mut Db) -> Result<(Loaded, Vec<Refusal>)> {
        let loaded = insert::load(db, &self.pending.usage, self.created_at)?;
        let problems = loaded
            .refused
            .iter()
            .map(|(index, refused)| (*index, problem(refused)));
        let refusals = self.pending.take_refusals(problems.collect());
        if let Some(rejects) = &mut self.rejects {
            refusals
                .iter()
                .try_for_each(|refusal| rejects.write(refusal, self.created_at.utc()))
                .and_then(|()| rejects.flush())
                .map_err(|error| {
                    let path = rejects.path().display();
                    Error::new(Exit::Failed, error)
                        .context(format!("cannot write {path}"))
                        .with_next(
                            "make room for the refused lines, then run the same command again",
                        )
                })?;
        }
        Ok((loaded, refusals))
    }

    fn count(&mut self, loaded: &Loaded, refusals: &[Refusal]) {
        let conflicts = refusals
            .iter()
            .filter(|refusal| refusal.problem.code == Code::Conflict)
            .count() as u64;
        let summary = &mut self.summary;
        for (index, refusal) in (summary.refused + summary.conflict..).zip(refusals) {
            if index < NAMED_LINES {
                let context = &mut *self.context;
                self.progress.suspend(|| context.warn(describe(refusal)));
            }
        }
        summary.inserted += loaded.inserted;
        summary.duplicate += loaded.duplicate;
        summary.conflict += conflicts;
        summary.refused += refusals.len() as u64 - conflicts;
        summary.read += loaded.inserted + loaded.duplicate + refusals.len() as u64;
        summary.cut += self.pending.cut;
        summary.unrepeatable += self.pending.unrepeatable;
        let mut refused = loaded.refused.iter().map(|(index, _)| *index).peekable();
        for (index, usage) in self.pending.usage.iter().enumerate() {
            if refused.next_if_eq(&index).is_none() {
                let at = usage.record.timestamp;
                let (from, to) = summary.span.unwrap_or((at, at));
                summary.span = Some((from.min(at), to.max(at)));
            }
        }
        self.progress.set_position(summary.read);
    }

    /// Answers, and says what is to be done about what is not recorded.
    fn finish(mut self, args: &RecordArgs, ended: Ended, began: Instant) -> Result<Outcome> {
        self.progress.finish_and_clear();
        self.summary.complete = ended.is_complete && ended.failures.is_empty();
        self.summary.seconds = began.elapsed().as_secs_f64();
        let unwanted = self.summary.refused + self.summary.conflict;
        if unwanted > NAMED_LINES {
            let more = count((unwanted - NAMED_LINES).cast_signed());
            self.context
                .warn(format_args!("{more} more lines are refused"));
        }
        for failure in &ended.failures {
            let Failure {
                input,
                line,
                reason,
            } = failure;
            let text = format!(
                "{}: {reason}; it was read up to line {line}",
                printable(input)
            );
            self.context.error(&text);
        }
        self.context.answer(&self.summary)?;
        let kept = match self.rejects {
            Some(rejects) => {
                let kept = (!rejects.is_empty()).then(|| rejects.path().display().to_string());
                rejects.close()?;
                kept
            }
            None => None,
        };

        let again = "run the same command again: what is recorded is not recorded twice";
        let outcome = match (&ended, unwanted, kept) {
            (Ended { failures, .. }, _, _) if !failures.is_empty() => Outcome::with_next(
                Exit::Failed,
                format!("see to the input that could not be read, then {again}"),
            ),
            (ended, _, _) if !ended.is_complete => Outcome::with_next(Exit::Incomplete, again),
            (_, 0, _) => {
                if let Some(path) = &args.replay {
                    let path = path.display();
                    self.context.info(format_args!(
                        "all of {path} is recorded now; it is needed no more"
                    ));
                }
                Outcome::DONE
            }
            (_, _, _) if args.atomic => Outcome::with_next(
                Exit::Incomplete,
                "correct the lines that are refused, then run the same command again: nothing was recorded",
            ),
            (_, _, Some(kept)) => Outcome::with_next(
                Exit::Incomplete,
                format!("correct the lines in {kept}, then usagectl record --replay {kept}"),
            ),
            (_, _, None) => Outcome::with_next(
                Exit::Incomplete,
                format!("correct the lines that are refused, then {again}"),
            ),
        };
        Ok(outcome)
    }
}

fn problem(refused: &Refused) -> Problem {
    match refused {
        Refused::Conflict(field) => Problem::with(
            Code::Conflict,
            *field,
            "differs from what is recorded under the same id",
        ),
        Refused::Database(words) => Problem::new(
            Code::Database,
            format!("is refused by the database: {words}"),
        ),
    }
}

/// A refusal on one line: `usage.csv:7: status_code is 999, which is not between 100 and 599`.
fn describe(refusal: &Refusal) -> String {
    let Refusal {
        origin,
        line,
        problem,
        ..
    } = refusal;
    let what = match &problem.field {
        Some(field) => format!("{} {}", printable(field), printable(&problem.message)),
        None => format!("the line {}", printable(&problem.message)),
    };
    match origin.input.as_str() {
        // There is only one.
        ARGUMENTS => what,
        input => format!("{}:{line}: {what}", printable(input)),
    }
}
