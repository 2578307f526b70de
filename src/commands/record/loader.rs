//! Loads blocks of checked records into the database, batch by batch, and counts what becomes of each line.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use indicatif::{ProgressBar, ProgressStyle};

use super::interrupt::Cancel;
use crate::commands::prelude::*;
use crate::commands::refused::Refusals;
use crate::domain::format::{self, counted};
use crate::ingest::{
    self, BLOCK_BYTES, BLOCK_LINES, Block, Code, Input, Job, LineError, ReadSummary, Refusal,
};
use crate::output::record::Summary;
use crate::store::db;
use crate::store::time::UtcTimestamp;
use crate::store::usage::insert::{self, Loaded, Refused};

/// The longest that a line waits for the transaction that records it: it is visible within a second. It waits in
/// memory and not in an open transaction, which would block other writers of a SQLite file.
const BATCH_WAIT: Duration = Duration::from_millis(750);

/// The blocks of a pipe that are read ahead while a batch is inserted: they are small.
const PIPE_BLOCKS_AHEAD: usize = 20;

/// How often a run that waits for input checks whether to stop.
const POLL: Duration = Duration::from_millis(100);

/// The pauses before a batch is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A response time from which on it may be in another unit, in milliseconds.
const LONG_CALL_MS: i32 = 3_600_000;

/// A batch of fewer records takes no time that is worth a cancellation.
const LONG_BATCH: usize = 1_000;

/// The number of records that a dry run shows.
const SAMPLE: usize = 10;

enum Message {
    Block(Block),
    End(ReadSummary),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct LoadOptions {
    pub(super) is_atomic: bool,
    /// Whether every batch is rolled back.
    pub(super) is_dry_run: bool,
    /// How long to try again without a connection.
    pub(super) retry: Duration,
    /// How long to try again while the database is locked.
    pub(super) lock_wait: Duration,
}

/// Reads in a thread of its own, which takes empty blocks back.
///
/// The channel is short, so a program that writes into our stdin waits while the database is slow, and
/// memory stays bounded.
fn read_ahead(job: Job, is_parallel: bool) -> (Receiver<Message>, Sender<Block>) {
    let ahead = match job.inputs.iter().any(Input::may_wait) {
        true => PIPE_BLOCKS_AHEAD,
        // The reader itself holds the next block.
        false => usize::from(is_parallel),
    };
    let (sender, receiver) = mpsc::sync_channel(ahead);
    let (used, unused) = mpsc::channel();
    // Not joined: it may block in reading stdin when everything else has ended.
    thread::spawn(move || {
        let summary = ingest::read(job, &mut |block| {
            sender.send(Message::Block(block)).ok()?;
            Some(unused.try_recv().unwrap_or_default())
        });
        let _ = sender.send(Message::End(summary));
    });
    (receiver, used)
}

fn progress_bar(context: &Context) -> ProgressBar {
    if !context.progress {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    match ProgressStyle::with_template("{spinner} {human_pos} lines in {elapsed}, {per_sec}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Lines read and not yet in the database.
#[derive(Default)]
struct Batch {
    lines: Block,
    /// The number of its refusals that are in the rejects file.
    kept: usize,
}

/// The outcome of a batch: its rows, and all its refused lines.
type Saved = (Loaded, Vec<Refusal>);

/// What the transactions of a run share.
struct Shared {
    cancel: Cancel,
    refusals: Mutex<Refusals>,
    /// The `created_at` of the rows; later than that of the rows recorded beside replayed lines.
    created_at: UtcTimestamp,
    options: LoadOptions,
    /// Whether the last rows were stored already.
    are_known: AtomicBool,
}

/// Another connection to PostgreSQL, which takes each second batch: two of the server's processes insert nearly twice
/// as many rows as one.
enum Beside {
    /// Opened when there is more than a batch.
    Later,
    Open(Box<Db>),
    Never,
}

pub(super) struct Loader<'c> {
    context: &'c mut Context,
    messages: Receiver<Message>,
    /// Takes blocks back whose memory can be used again.
    used: Sender<Block>,
    stop: Arc<AtomicBool>,
    /// Set by SIGHUP.
    report: Arc<AtomicBool>,
    /// A full batch that waits for the next one, to be saved beside it.
    held: Option<Batch>,
    pending: Batch,
    /// When the first line of them came.
    pending_since: Option<Instant>,
    beside: Beside,
    shared: Shared,
    summary: Summary,
    /// The number of calls that took very long.
    long_calls: u64,
    /// The input and line up to which everything is committed.
    committed: Option<(String, u64)>,
    progress: ProgressBar,
}

/// Why an atomic run is rolled back.
enum Rollback {
    /// A line was refused, or reading did not end well.
    Incomplete(ReadSummary),
    Failed(Error),
}

impl From<diesel::result::Error> for Rollback {
    fn from(error: diesel::result::Error) -> Rollback {
        Rollback::Failed(error.into())
    }
}

impl<'c> Loader<'c> {
    pub(super) fn new(
        context: &'c mut Context,
        db: &Db,
        job: Job,
        refusals: Refusals,
        options: LoadOptions,
        report: Arc<AtomicBool>,
        cancel: Cancel,
    ) -> Loader<'c> {
        let created_at = UtcTimestamp::new(job.times.now);
        let is_parallel = matches!(db, Db::Pg(_)) && !options.is_atomic && !options.is_dry_run;
        let stop = Arc::clone(&job.stop);
        let (messages, used) = read_ahead(job, is_parallel);
        Loader {
            stop,
            report,
            messages,
            used,
            held: None,
            pending: Batch::default(),
            pending_since: None,
            beside: if is_parallel {
                Beside::Later
            } else {
                Beside::Never
            },
            shared: Shared {
                cancel,
                refusals: Mutex::new(refusals),
                created_at,
                options,
                are_known: AtomicBool::new(false),
            },
            summary: Summary {
                dry_run: options.is_dry_run,
                ..Summary::default()
            },
            long_calls: 0,
            committed: None,
            progress: progress_bar(context),
            context,
        }
    }

    /// Loads everything and returns how reading ended.
    pub(super) fn load(&mut self, db: &mut Db) -> Result<ReadSummary> {
        let read = if self.shared.options.is_atomic {
            self.load_all_or_nothing(db)
        } else {
            self.load_batches(db).or_else(|error| {
                self.keep_unwritten(&error)?;
                Err(error)
            })
        };
        self.progress.finish_and_clear();
        read.map_err(|error| {
            error.context(match &self.committed {
                Some((input, line)) => format!(
                    "recording stopped after {}, at line {line} of {}",
                    counted(self.summary.read - self.summary.unwritten, "line"),
                    printable(input),
                ),
                None => "recording stopped; nothing was recorded".to_owned(),
            })
        })
    }

    /// The summary, the refused lines, and the number of calls that took very long.
    pub(super) fn finish(self) -> (Summary, Refusals, u64) {
        let refusals = self.shared.refusals.into_inner();
        let refusals = refusals.unwrap_or_else(PoisonError::into_inner);
        (self.summary, refusals, self.long_calls)
    }

    fn load_all_or_nothing(&mut self, db: &mut Db) -> Result<ReadSummary> {
        let done = db.write_tx(|db| {
            let read = self.load_batches(db).map_err(Rollback::Failed)?;
            let is_refused = self.summary.refused + self.summary.conflict > 0;
            if is_refused || !read.is_whole() {
                return Err(Rollback::Incomplete(read));
            }
            Ok(read)
        });
        match done {
            Ok(read) => Ok(read),
            Err(Rollback::Incomplete(read)) => {
                self.summary.rolled_back = std::mem::take(&mut self.summary.inserted);
                Ok(read)
            }
            Err(Rollback::Failed(error)) => {
                self.committed = None;
                Err(error)
            }
        }
    }

    /// Collects blocks into batches and saves each batch when it is due.
    fn load_batches(&mut self, db: &mut Db) -> Result<ReadSummary> {
        loop {
            if self.report.swap(false, Ordering::Relaxed) {
                self.report_progress();
            }
            let waited = self.pending_since.map(|since| since.elapsed());
            let left = waited.map_or(POLL, |waited| BATCH_WAIT.saturating_sub(waited).min(POLL));
            let end = match self.messages.recv_timeout(left) {
                Ok(Message::Block(block)) => {
                    self.pending_since.get_or_insert_with(Instant::now);
                    self.pending.lines.append(block);
                    None
                }
                Ok(Message::End(summary)) => Some(summary),
                // All complete lines have arrived by now; the reader waits for more.
                Err(RecvTimeoutError::Timeout) if self.stop.load(Ordering::Relaxed) => {
                    Some(ReadSummary::default())
                }
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::message(
                        Exit::Failed,
                        "the reading thread ended early",
                    ));
                }
            };
            let is_full = self.pending.lines.lines() >= BLOCK_LINES
                || self.pending.lines.size_bytes() >= BLOCK_BYTES;
            let is_late = self
                .pending_since
                .is_some_and(|since| since.elapsed() >= BATCH_WAIT);
            if is_full && !is_late && end.is_none() && self.may_hold()? {
                self.held = Some(std::mem::take(&mut self.pending));
            } else if is_full || is_late || end.is_some() {
                match self.save(db) {
                    Err(_) if self.shared.cancel.was_sent() => return Ok(ReadSummary::default()),
                    saved => saved?,
                }
            }
            if let Some(summary) = end {
                return Ok(summary);
            }
        }
    }

    /// Whether the pending lines wait for the next ones, to be saved beside them.
    fn may_hold(&mut self) -> Result<bool> {
        if self.held.is_some() || !self.pending.lines.replayed.is_empty() {
            return Ok(false);
        }
        if matches!(self.beside, Beside::Later) {
            let opened = db::open(&self.context.database_url(false)?, Access::Write);
            // The server may have no connection left.
            self.beside = opened.map_or(Beside::Never, |db| Beside::Open(Box::new(db)));
        }
        Ok(matches!(self.beside, Beside::Open(_)))
    }

    /// Saves the held and the pending lines, and counts them.
    fn save(&mut self, db: &mut Db) -> Result<()> {
        self.pending_since = None;
        let mut second = std::mem::take(&mut self.pending);
        let Some(mut first) = self.held.take() else {
            let saved = self.insert_with_retries(db, &mut second, None);
            return self.settle(second, saved);
        };
        let (mut tried, mut beside) = (None, None);
        if let Beside::Open(other) = &mut self.beside
            && first.may_be_saved_beside(&second)
        {
            let shared = &self.shared;
            thread::scope(|scope| {
                let running = scope.spawn(|| second.insert_in_transaction(other, shared));
                tried = Some(first.insert_in_transaction(db, shared));
                beside = running.join().ok().and_then(Result::ok);
            });
            if beside.is_none() {
                // The connection may be lost.
                self.beside = Beside::Later;
            }
        }
        let saved = self.insert_with_retries(db, &mut first, tried);
        let settled = self.settle(first, saved);
        match (settled, beside) {
            (Ok(()), beside) => {
                // What failed beside the first is tried again after it.
                let saved = self.insert_with_retries(db, &mut second, beside.map(Ok));
                self.settle(second, saved)
            }
            (Err(error), Some((loaded, refusals))) => {
                self.count(&second.lines, &loaded, &refusals);
                Err(error)
            }
            (Err(error), None) => {
                self.pending.lines.append(second.lines);
                Err(error)
            }
        }
    }

    /// Counts a batch that was saved, or leaves its lines pending.
    fn settle(&mut self, mut batch: Batch, saved: Result<Saved>) -> Result<()> {
        let saved = saved.inspect(|(loaded, refusals)| {
            let Some((input, line)) = batch.lines.last_line() else {
                return;
            };
            self.committed = Some((input.to_owned(), line));
            self.count(&batch.lines, loaded, refusals);
        });
        if saved.is_ok() {
            batch.lines.clear();
            let _ = self.used.send(batch.lines);
        } else {
            self.pending = batch;
        }
        saved.map(|_| ())
    }

    /// Inserts in a transaction, and again if the connection is lost or the database locked. Meanwhile nothing
    /// more is read than fits into memory. The ids are the same in each attempt, so a batch whose commit was not
    /// confirmed is not inserted twice.
    ///
    /// `tried` is the outcome of an attempt that was made already.
    fn insert_with_retries(
        &mut self,
        db: &mut Db,
        batch: &mut Batch,
        mut tried: Option<Result<Saved>>,
    ) -> Result<Saved> {
        if batch.lines.lines() == 0 {
            return Ok(Saved::default());
        }
        if self.shared.options.is_atomic {
            self.restore_ids(db, batch)?;
            return batch.insert(db, &self.shared);
        }
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let attempt = tried.take().unwrap_or_else(|| {
                self.restore_ids(db, batch)?;
                batch.insert_in_transaction(db, &self.shared)
            });
            let error = match attempt {
                Ok(done) => return Ok(done),
                // Read-only from the beginning. Later, a server that fails over may be for a while.
                Err(error)
                    if error.exit() == Exit::Refused
                        && self.committed.is_none()
                        && pause == FIRST_PAUSE =>
                {
                    return Err(error);
                }
                Err(error) if error.exit() != Exit::Busy && !db.is_connected() => {
                    error.with_exit(Exit::Unreachable)
                }
                Err(error) => error,
            };
            let limit = match error.exit() {
                _ if self.shared.cancel.was_sent() => return Err(error),
                Exit::Unreachable => self.shared.options.retry,
                Exit::Busy => self.shared.options.lock_wait,
                _ => return Err(error),
            };
            loop {
                if began.elapsed() + pause > limit || !self.pause(pause) {
                    return Err(error);
                }
                if pause == FIRST_PAUSE {
                    let text = format!(
                        "{error}; trying again for up to {}",
                        format::duration(TimeDelta::from_std(limit).unwrap_or(TimeDelta::MAX))
                    );
                    self.progress
                        .suspend(|| self.context.info(printable(&text)));
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
                if error.exit() == Exit::Busy {
                    break;
                }
                match self.context.open_to_record() {
                    Ok(opened) => {
                        *db = opened;
                        break;
                    }
                    Err(error) if error.exit().is_retryable() => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// Waits; false if a signal ends the run.
    fn pause(&self, pause: Duration) -> bool {
        let began = Instant::now();
        while began.elapsed() < pause {
            if self.stop.load(Ordering::Relaxed) {
                return false;
            }
            thread::sleep(POLL.min(pause));
        }
        true
    }

    /// Keeps the lines that were read and could not be written in the rejects file.
    fn keep_unwritten(&mut self, error: &Error) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        while let Ok(Message::Block(block)) = self.messages.recv_timeout(2 * POLL) {
            self.pending.lines.append(block);
        }
        let lines = &self.pending.lines;
        let problem = LineError::new(Code::Database, format!("was not written: {error}"));
        let records = (0..lines.usage.len()).map(|index| (index, problem.clone()));
        let refusals = lines.refusals(records.collect());
        let unkept = refusals.get(self.pending.kept..).unwrap_or_default();
        self.shared.keep(unkept)?;
        self.summary.unwritten = refusals.len() as u64;
        self.summary.read += refusals.len() as u64;
        Ok(())
    }

    fn report_progress(&mut self) {
        let mut text = format!("{} so far", counted(self.summary.read, "line"));
        if let Some((input, line)) = &self.committed {
            text.push_str(&format!(", up to line {line} of {}", printable(input)));
        }
        let context = &mut *self.context;
        self.progress.suspend(|| context.stderr_line(text));
    }

    /// Gives replayed records without an id the ids that they would have had in their input.
    ///
    /// Identical lines of one input differ by their ordinals, and the accepted ones took the first ordinals.
    /// Rows recorded later, by an earlier replay of the same lines or from the corrected input, do not
    /// count: their ids are the ones computed here.
    fn restore_ids(&mut self, db: &mut Db, batch: &mut Batch) -> Result<()> {
        for replayed in &batch.lines.replayed {
            let id = |ordinal| ingest::derived_id(replayed.at, &replayed.hash, ordinal).to_string();
            let until = UtcTimestamp::new(replayed.recorded_at);
            let mut accepted = 0;
            while insert::was_recorded(db, &id(accepted + 1), until)? {
                accepted += 1;
            }
            let id = id(accepted + replayed.ordinal);
            batch.lines.usage.replace_id(replayed.index, &id);
            // Clocks differ and may be set back: a row recorded now must not look older.
            let next = UtcTimestamp::new(replayed.recorded_at + TimeDelta::milliseconds(1));
            self.shared.created_at = self.shared.created_at.max(next);
        }
        Ok(())
    }

    fn count(&mut self, lines: &Block, loaded: &Loaded, refusals: &[Refusal]) {
        for refusal in refusals {
            let (context, reported) = (&mut *self.context, self.shared.refusals());
            self.progress.suspend(|| reported.report(context, refusal));
        }
        let conflicts = refusals
            .iter()
            .filter(|refusal| refusal.problem.code == Code::Conflict)
            .count() as u64;
        let summary = &mut self.summary;
        summary.created_at = Some(self.shared.created_at.utc());
        summary.inserted += loaded.inserted;
        summary.duplicate += loaded.duplicate;
        summary.conflict += conflicts;
        summary.refused += refusals.len() as u64 - conflicts;
        summary.read += loaded.inserted + loaded.duplicate + refusals.len() as u64;
        summary.cut += lines.truncated;
        summary.unrepeatable += lines.unrepeatable;
        let mut refused = loaded.refused.iter().map(|(index, _)| *index).peekable();
        for (index, usage) in lines.usage.iter().enumerate() {
            if refused.next_if_eq(&index).is_none() {
                summary.extend(usage.record.timestamp);
                let is_long = usage.record.response_time > Some(LONG_CALL_MS);
                self.long_calls += u64::from(is_long);
                if summary.dry_run && summary.records.len() < SAMPLE {
                    summary.records.push(&usage);
                }
            }
        }
        self.progress.set_position(summary.read);
    }
}

impl Shared {
    fn refusals(&mut self) -> &mut Refusals {
        self.refusals
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, refusals: &[Refusal]) -> Result<()> {
        let mut kept = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        kept.keep(refusals, self.created_at.utc())
    }
}

impl Batch {
    /// Whether neither batch has to wait for the other, as it would for an id of both.
    fn may_be_saved_beside(&self, other: &Batch) -> bool {
        let (ours, theirs) = (&self.lines.usage, &other.lines.usage);
        let ids: HashSet<&str> = (0..ours.len()).map(|row| ours.id(row)).collect();
        !theirs.is_empty()
            && other.lines.replayed.is_empty()
            && !(0..theirs.len()).any(|row| ids.contains(theirs.id(row)))
    }

    fn insert_in_transaction(&mut self, db: &mut Db, shared: &Shared) -> Result<Saved> {
        let mut tried = None;
        let ended = db.write_tx(|db| {
            let done = self.insert(db, shared)?;
            if shared.options.is_dry_run {
                tried = Some(done);
                return Err(Error::message(Exit::Failed, "a dry run is rolled back"));
            }
            Ok(done)
        });
        tried.map_or(ended, Ok)
    }

    /// Inserts the records and keeps the refused lines.
    fn insert(&mut self, db: &mut Db, shared: &Shared) -> Result<Saved> {
        let usage = &self.lines.usage;
        let are_known = shared.are_known.load(Ordering::Relaxed);
        let load = |db: &mut Db| Ok(insert::load(db, usage, shared.created_at, are_known)?);
        let loaded = match usage.len() {
            ..LONG_BATCH => load(db)?,
            _ => shared.cancel.during(db, load)?,
        };
        shared
            .are_known
            .store(loaded.duplicate > 0, Ordering::Relaxed);
        let problems = loaded
            .refused
            .iter()
            .map(|(index, refused)| (*index, line_error(refused)));
        let refusals = self.lines.refusals(problems.collect());
        // An attempt that failed may have kept them.
        let unkept = refusals.get(self.kept..).unwrap_or_default();
        shared.keep(unkept)?;
        self.kept = self.kept.max(refusals.len());
        Ok((loaded, refusals))
    }
}

fn line_error(refused: &Refused) -> LineError {
    match refused {
        Refused::Conflict(field) => LineError::with(
            Code::Conflict,
            *field,
            "differs from the row stored under the same id",
        ),
        Refused::Database(message) => LineError::new(
            Code::Database,
            format!("is rejected by the database: {message}"),
        ),
    }
}
