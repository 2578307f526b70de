//! Loads blocks of checked records into the database, batch by batch, and counts what becomes of each line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use indicatif::{ProgressBar, ProgressStyle};

use super::interrupt::Cancel;
use crate::commands::prelude::*;
use crate::commands::refused::Refusals;
use crate::domain::format::{self, counted};
use crate::ingest::{self, Block, Code, Job, LineError, ReadSummary, Refusal};
use crate::output::record::Summary;
use crate::store::time::UtcTimestamp;
use crate::store::usage::insert::{self, Loaded, Refused};

/// The most lines and bytes in one transaction, and the longest that a line waits for it.
///
/// Twenty thousand rows cost a quarter of what they cost in transactions of a hundred, and more gain
/// nothing. A batch waits in memory and not in an open transaction, which would block other writers of a
/// SQLite file.
const BATCH_LINES: usize = 20_000;
const BATCH_BYTES: usize = 10 * 1024 * 1024;
const BATCH_WAIT: Duration = Duration::from_secs(1);

/// Blocks read ahead: enough to go on reading while a batch is inserted, and no more, to save memory.
const BLOCKS_AHEAD: usize = 4;

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

/// What becomes of batches.
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

/// Reads in a thread of its own.
///
/// The channel is short, so a program that writes into our stdin waits while the database is slow, and
/// memory stays bounded.
fn read_ahead(job: Job) -> Receiver<Message> {
    let (sender, receiver) = mpsc::sync_channel(BLOCKS_AHEAD);
    // Not joined: it may block in reading stdin when everything else has ended.
    thread::spawn(move || {
        let summary = ingest::read(job, &mut |block| sender.send(Message::Block(block)).is_ok());
        let _ = sender.send(Message::End(summary));
    });
    receiver
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

/// Loads what a job reads.
pub(super) struct Loader<'c> {
    context: &'c mut Context,
    messages: Receiver<Message>,
    stop: Arc<AtomicBool>,
    cancel: Cancel,
    /// Set by SIGHUP.
    report: Arc<AtomicBool>,
    /// Lines read and not yet in the database.
    pending: Block,
    /// The number of its refusals that are in the rejects file.
    kept: usize,
    /// When the first pending line came.
    pending_since: Option<Instant>,
    /// The `created_at` of the rows; later than that of the rows recorded beside replayed lines.
    created_at: UtcTimestamp,
    pub(super) refusals: Refusals,
    options: LoadOptions,
    pub(super) summary: Summary,
    /// The number of calls that took very long.
    pub(super) long_calls: u64,
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

impl Loader<'_> {
    pub(super) fn new(
        context: &mut Context,
        job: Job,
        refusals: Refusals,
        options: LoadOptions,
        report: Arc<AtomicBool>,
        cancel: Cancel,
    ) -> Loader<'_> {
        let created_at = UtcTimestamp::new(job.times.now);
        Loader {
            stop: Arc::clone(&job.stop),
            cancel,
            report,
            created_at,
            messages: read_ahead(job),
            pending: Block::default(),
            kept: 0,
            pending_since: None,
            refusals,
            options,
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
        let read = if self.options.is_atomic {
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
                    self.pending.append(block);
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
            let is_due = self.pending.lines() >= BATCH_LINES
                || self.pending.size_bytes() >= BATCH_BYTES
                || self
                    .pending_since
                    .is_some_and(|since| since.elapsed() >= BATCH_WAIT);
            if is_due || end.is_some() {
                match self.save(db) {
                    Err(_) if self.cancel.was_sent() => return Ok(ReadSummary::default()),
                    saved => saved?,
                }
            }
            if let Some(summary) = end {
                return Ok(summary);
            }
        }
    }

    /// Saves the pending lines in one transaction, and counts them.
    fn save(&mut self, db: &mut Db) -> Result<()> {
        self.pending_since = None;
        if self.pending.lines() == 0 {
            return Ok(());
        }
        let last_line = self.pending.last_line();
        let last_line = last_line.map(|(input, line)| (input.to_owned(), line));
        let (loaded, refusals) = if self.options.is_atomic {
            self.insert(db)?
        } else {
            self.insert_with_retries(db)?
        };
        self.committed = last_line;
        self.count(&loaded, &refusals);
        self.pending.clear();
        self.kept = 0;
        Ok(())
    }

    /// Inserts in a transaction, and again if the connection is lost or the database locked. Meanwhile nothing
    /// more is read than fits into memory. The ids are the same in each attempt, so a batch whose commit was not
    /// confirmed is not inserted twice.
    fn insert_with_retries(&mut self, db: &mut Db) -> Result<(Loaded, Vec<Refusal>)> {
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.insert_in_transaction(db) {
                Ok(done) => return Ok(done),
                Err(error) if error.exit() != Exit::Busy && !db.is_connected() => {
                    error.with_exit(Exit::Unreachable)
                }
                Err(error) => error,
            };
            let limit = match error.exit() {
                Exit::Unreachable => self.options.retry,
                Exit::Busy => self.options.lock_wait,
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

    fn insert_in_transaction(&mut self, db: &mut Db) -> Result<(Loaded, Vec<Refusal>)> {
        self.restore_ids(db)?;
        let mut tried = None;
        let ended = db.write_tx(|db| {
            let done = self.insert(db)?;
            if self.options.is_dry_run {
                tried = Some(done);
                return Err(Error::message(Exit::Failed, "a dry run is rolled back"));
            }
            Ok(done)
        });
        tried.map_or(ended, Ok)
    }

    /// Keeps the lines that were read and could not be written in the rejects file.
    fn keep_unwritten(&mut self, error: &Error) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        while let Ok(Message::Block(block)) = self.messages.recv_timeout(2 * POLL) {
            self.pending.append(block);
        }
        let problem = LineError::new(Code::Database, format!("was not written: {error}"));
        let records = (0..self.pending.usage.len()).map(|index| (index, problem.clone()));
        let refusals = self.pending.refusals(records.collect());
        let unkept = refusals.get(self.kept..).unwrap_or_default();
        self.refusals.keep(unkept, self.created_at.utc())?;
        self.summary.unwritten = refusals.len() as u64;
        self.summary.read += refusals.len() as u64;
        Ok(())
    }

    /// Prints how far the run is.
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
    fn restore_ids(&mut self, db: &mut Db) -> Result<()> {
        for replayed in &self.pending.replayed {
            let id = |ordinal| ingest::derived_id(replayed.at, &replayed.hash, ordinal).to_string();
            let until = UtcTimestamp::new(replayed.recorded_at);
            let mut accepted = 0;
            while insert::was_recorded(db, &id(accepted + 1), until)? {
                accepted += 1;
            }
            let id = id(accepted + replayed.ordinal);
            self.pending.usage.replace_id(replayed.index, &id);
            // Clocks differ and may be set back: a row recorded now must not look older.
            let next = UtcTimestamp::new(replayed.recorded_at + TimeDelta::milliseconds(1));
            self.created_at = self.created_at.max(next);
        }
        Ok(())
    }

    /// Inserts the pending records and keeps the refused lines.
    fn insert(&mut self, db: &mut Db) -> Result<(Loaded, Vec<Refusal>)> {
        let (usage, created_at) = (&self.pending.usage, self.created_at);
        let load = |db: &mut Db| Ok(insert::load(db, usage, created_at)?);
        let loaded = match usage.len() {
            ..LONG_BATCH => load(db)?,
            _ => self.cancel.during(db, load)?,
        };
        let problems = loaded
            .refused
            .iter()
            .map(|(index, refused)| (*index, line_error(refused)));
        let refusals = self.pending.refusals(problems.collect());
        // An attempt that failed may have kept them.
        let unkept = refusals.get(self.kept..).unwrap_or_default();
        self.refusals.keep(unkept, self.created_at.utc())?;
        self.kept = self.kept.max(refusals.len());
        Ok((loaded, refusals))
    }

    fn count(&mut self, loaded: &Loaded, refusals: &[Refusal]) {
        for refusal in refusals {
            let (context, lines) = (&mut *self.context, &mut self.refusals);
            self.progress.suspend(|| lines.report(context, refusal));
        }
        let conflicts = refusals
            .iter()
            .filter(|refusal| refusal.problem.code == Code::Conflict)
            .count() as u64;
        let summary = &mut self.summary;
        summary.created_at = Some(self.created_at.utc());
        summary.inserted += loaded.inserted;
        summary.duplicate += loaded.duplicate;
        summary.conflict += conflicts;
        summary.refused += refusals.len() as u64 - conflicts;
        summary.read += loaded.inserted + loaded.duplicate + refusals.len() as u64;
        summary.cut += self.pending.truncated;
        summary.unrepeatable += self.pending.unrepeatable;
        let mut refused = loaded.refused.iter().map(|(index, _)| *index).peekable();
        for (index, usage) in self.pending.usage.iter().enumerate() {
            if refused.next_if_eq(&index).is_none() {
                summary.extend(usage.record.timestamp);
                let is_long = usage.record.response_time > Some(LONG_CALL_MS);
                self.long_calls += u64::from(is_long);
                if self.options.is_dry_run && summary.records.len() < SAMPLE {
                    summary.records.push(&usage);
                }
            }
        }
        self.progress.set_position(summary.read);
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
