//! Loads blocks of checked records into the database, batch by batch, and counts what becomes of each line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use indicatif::{ProgressBar, ProgressStyle};

use crate::commands::prelude::*;
use crate::commands::refused::Refusals;
use crate::domain::format::counted;
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

enum Message {
    Block(Block),
    End(ReadSummary),
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
    /// Lines read and not yet in the database.
    pending: Block,
    /// When the first pending line came.
    pending_since: Option<Instant>,
    /// The `created_at` of the rows; later than that of the rows recorded beside replayed lines.
    created_at: UtcTimestamp,
    pub(super) refusals: Refusals,
    is_atomic: bool,
    pub(super) summary: Summary,
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
        is_atomic: bool,
    ) -> Loader<'_> {
        Loader {
            stop: Arc::clone(&job.stop),
            created_at: UtcTimestamp::new(job.times.now),
            messages: read_ahead(job),
            pending: Block::default(),
            pending_since: None,
            refusals,
            is_atomic,
            summary: Summary::default(),
            committed: None,
            progress: progress_bar(context),
            context,
        }
    }

    /// Loads everything and returns how reading ended.
    pub(super) fn load(&mut self, db: &mut Db) -> Result<ReadSummary> {
        let read = if self.is_atomic {
            self.load_all_or_nothing(db)
        } else {
            self.load_batches(db)
        };
        self.progress.finish_and_clear();
        read.map_err(|error| {
            error.context(match &self.committed {
                Some((input, line)) => format!(
                    "recording stopped after {}, at line {line} of {}",
                    counted(self.summary.read, "line"),
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
                self.save(db)?;
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
        self.restore_ids(db)?;
        let last_line = self.pending.last_line();
        let last_line = last_line.map(|(input, line)| (input.to_owned(), line));
        let (loaded, refusals) = if self.is_atomic {
            self.insert(db)?
        } else {
            db.write_tx(|db| self.insert(db))?
        };
        self.committed = last_line;
        self.count(&loaded, &refusals);
        self.pending.clear();
        Ok(())
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
        let loaded = insert::load(db, &self.pending.usage, self.created_at)?;
        let problems = loaded
            .refused
            .iter()
            .map(|(index, refused)| (*index, line_error(refused)));
        let refusals = self.pending.take_refusals(problems.collect());
        self.refusals.keep(&refusals, self.created_at.utc())?;
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
