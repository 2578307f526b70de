//! Reads usage records: from inputs to blocks of checked records.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::block::{Block, Replayed};
use super::check::check;
use super::csv::{Dialect, Header};
use super::fields::{Target, Value};
use super::key::{derived_id, event_hash, line_hash};
use super::layout::Layout;
use super::mapping::Mapping;
use super::read_loop::{Consumer, InputFailure, RawLine, ReadError, read_input};
use super::rejects::{RawIs, Reject};
use super::source::Input;
use super::spill::{Ordinals, SpillError};
use super::time::TimeOptions;
use super::{Code, Format, LineError, Origin, Syntax, json};
use crate::domain::id;

#[derive(Debug)]
pub struct Job {
    pub inputs: Vec<Input>,
    /// The format of all inputs; by default each input's first lines decide.
    pub format: Option<Format>,
    pub mapping: Mapping,
    pub times: TimeOptions,
    /// Whether the inputs are rejects files.
    pub is_replay: bool,
    /// Ends reading when set; the complete lines read so far are still passed on.
    pub stop: Arc<AtomicBool>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadSummary {
    /// Whether reading was not stopped: each input was read to its end or failed.
    pub is_complete: bool,
    /// The inputs that could not be read to their ends.
    pub failures: Vec<InputFailure>,
    /// The rules of `--map` that found nothing in any input.
    pub unmatched: Vec<String>,
}

impl ReadSummary {
    /// Whether all inputs were read to their ends.
    pub fn is_whole(&self) -> bool {
        self.is_complete && self.failures.is_empty()
    }
}

/// The most lines and bytes of a block. Bytes count because a line of one letter makes a refusal, which takes far
/// more memory than the line.
///
/// A block of a file is as large as a transaction: ten thousand rows cost little more than each larger number.
pub const BLOCK_LINES: usize = 10_000;
pub const BLOCK_BYTES: usize = 6 * 1024 * 1024;

/// Reads all inputs and passes on their records, always before a read that may block.
///
/// `emit` takes a block and returns an empty one, or nothing to end reading; it also ends when the job is stopped. An
/// input that cannot be read to its end does not stop the others.
pub fn read(job: Job, emit: &mut dyn FnMut(Block) -> Option<Block>) -> ReadSummary {
    let mut layout = Layout {
        format: job.format,
        delimiter: job.mapping.delimiter,
        root: job.mapping.root.clone(),
        has_words: !job.mapping.columns.is_empty(),
    };
    if job.is_replay {
        layout = Layout {
            format: Some(Format::Ndjson),
            ..Layout::default()
        };
    }
    let mut reader = Reader {
        records: Records {
            words: job.mapping.words(),
            seen: vec![false; job.mapping.event().paths.len()],
            mapping: job.mapping,
            times: job.times,
            ordinals: Ordinals::default(),
            facts: Vec::new(),
            block: Block::default(),
        },
        header: None,
        replay: None,
        may_wait: false,
        stop: job.stop,
        emit,
    };
    let mut summary = ReadSummary::default();
    let is_new: Vec<bool> = (0..job.inputs.len())
        .map(|at| begins_source(&job.inputs[..=at]))
        .collect();
    for (input, is_new) in job.inputs.into_iter().zip(is_new) {
        if is_new || job.is_replay {
            reader.records.ordinals.restart();
        }
        reader.header = None;
        reader.may_wait = input.may_wait();
        reader.replay = job.is_replay.then(Replay::default);
        match read_input(input, &layout, &mut reader) {
            Ok(()) => {}
            Err(ReadError::Stopped(Stop::Requested)) => return summary,
            Err(ReadError::Input(failure) | ReadError::Stopped(Stop::Failed(failure))) => {
                summary.failures.push(failure);
            }
        }
    }
    summary.is_complete = reader.emit().is_ok();
    summary.unmatched = reader.records.mapping.unmatched(&reader.records.seen);
    summary
}

/// Whether the last of some inputs is the first of its source, or was read before. Otherwise its lines follow
/// those of the previous input: a rotated log is one log.
fn begins_source(inputs: &[Input]) -> bool {
    let Some((last, before)) = inputs.split_last() else {
        return true;
    };
    before
        .last()
        .is_none_or(|previous| previous.source != last.source)
        || before.iter().any(|input| input.is_same(last))
}

enum Stop {
    /// By a signal, or because no more blocks are accepted.
    Requested,
    Failed(InputFailure),
}

struct Reader<'e> {
    records: Records,
    header: Option<Header<Target>>,
    replay: Option<Replay>,
    /// Whether reading the current input may block for any length of time.
    may_wait: bool,
    stop: Arc<AtomicBool>,
    emit: &'e mut dyn FnMut(Block) -> Option<Block>,
}

impl Reader<'_> {
    fn emit(&mut self) -> Result<(), Stop> {
        if self.records.block.lines() > 0 {
            let block = std::mem::take(&mut self.records.block);
            self.records.block = (self.emit)(block).ok_or(Stop::Requested)?;
        }
        Ok(())
    }
}

impl Consumer for Reader<'_> {
    type Stop = Stop;

    fn before_wait(&mut self) -> Result<(), Stop> {
        if self.may_wait {
            self.emit()?;
        }
        if self.stop.load(Ordering::Relaxed) {
            return Err(Stop::Requested);
        }
        Ok(())
    }

    fn knows(&self, name: &str) -> bool {
        self.records.mapping.knows(name)
    }

    fn header(&mut self, header: &str, dialect: Dialect) -> Result<(), String> {
        self.header = Some(self.records.mapping.header(header, dialect)?);
        Ok(())
    }

    fn record(&mut self, line: &RawLine<'_>, text: Result<&str, LineError>) -> Result<(), Stop> {
        let added = match (text, &mut self.replay) {
            (Err(problem), _) => {
                self.records.refuse(line, problem);
                Ok(())
            }
            (Ok(text), Some(replay)) => replay.add(line, text, &mut self.records),
            (Ok(text), None) => self.records.add(line, text, self.header.as_ref(), None),
        };
        added.map_err(|error| {
            Stop::Failed(InputFailure {
                input: line.origin.input.clone(),
                line: line.line,
                reason: error.to_string(),
            })
        })?;
        let block = &self.records.block;
        if block.lines() >= BLOCK_LINES || block.size_bytes() >= BLOCK_BYTES {
            self.emit()?;
        }
        Ok(())
    }
}

/// Checks lines, gives records their ids and collects them in a block.
struct Records {
    mapping: Mapping,
    words: Header<Target>,
    /// Whether each path of the mapping had a value in any line.
    seen: Vec<bool>,
    times: TimeOptions,
    ordinals: Ordinals,
    /// A buffer for [`event_hash`].
    facts: Vec<u8>,
    block: Block,
}

impl Records {
    fn refuse(&mut self, line: &RawLine<'_>, problem: LineError) {
        self.block.refuse(line.refusal(problem));
    }

    /// Adds a line to the block, as a record or as a refusal. `refused_at` is the time at which a replayed
    /// line was refused.
    fn add(
        &mut self,
        line: &RawLine<'_>,
        text: &str,
        header: Option<&Header<Target>>,
        refused_at: Option<DateTime<Utc>>,
    ) -> Result<(), SpillError> {
        let event = match (&line.origin.syntax, header) {
            (Syntax::Text, _) => self.words.event(text, &self.mapping),
            (_, Some(header)) => header.event(text, &self.mapping),
            (_, None) => json::parse(text, &self.mapping),
        };
        if let Ok(event) = &event {
            for (seen, value) in self.seen.iter_mut().zip(&event.paths) {
                *seen |= *value != Value::Absent;
            }
        }
        let default_time = refused_at.unwrap_or(self.times.now);
        let checked = match &event {
            Ok(event) => check(event, &self.times, default_time),
            Err(problem) => Err(problem.clone()),
        };
        let checked = match checked {
            Ok(checked) => checked,
            Err(problem) => {
                self.refuse(line, problem);
                return Ok(());
            }
        };
        let mut usage = checked.usage;
        let at = checked.time_for_id;
        let mut id = Uuid::encode_buffer();
        if usage.record.id.is_empty() {
            let uuid = if usage.defaulted.timestamp && refused_at.is_none() {
                self.block.unrepeatable += 1;
                id::unique(at)
            } else {
                let source = &line.origin.source;
                let hash = if self.mapping.is_plain() {
                    event_hash(source, &usage.record, at, &mut self.facts)
                } else {
                    line_hash(source, text)
                };
                let ordinal = self.ordinals.next(at, &hash)?;
                if let Some(recorded_at) = refused_at {
                    self.block.replayed.push(Replayed {
                        index: self.block.usage.len(),
                        at,
                        hash,
                        ordinal,
                        recorded_at,
                    });
                }
                derived_id(at, &hash, ordinal)
            };
            usage.record.id = uuid.hyphenated().encode_lower(&mut id);
        }
        self.block.truncated += u64::from(checked.was_truncated);
        self.block.record(&usage, line);
        Ok(())
    }
}

/// Reads the lines of a rejects file, each as if it stood in its original input.
#[derive(Default)]
struct Replay {
    /// Of the previous line.
    origin: Option<Arc<Origin>>,
    header: Option<Header<Target>>,
    byte: u64,
}

impl Replay {
    fn add(
        &mut self,
        kept: &RawLine<'_>,
        text: &str,
        records: &mut Records,
    ) -> Result<(), SpillError> {
        let Ok(reject) = serde_json::from_str::<Reject>(text) else {
            let reason = "is not a line that `record --rejects` wrote";
            records.refuse(kept, LineError::new(Code::Json, reason));
            return Ok(());
        };
        let origin = reject.origin();
        let is_same_input = self.origin.as_ref().is_some_and(|previous| {
            (&previous.input, &previous.source) == (&origin.input, &origin.source)
        });
        // Going backwards means that the same input was recorded, and refused, once more.
        if !is_same_input || reject.byte <= self.byte {
            records.ordinals.restart();
        }
        self.byte = reject.byte;
        let origin = match &self.origin {
            Some(previous) if **previous == origin => Arc::clone(previous),
            _ => {
                self.header = None;
                Arc::clone(self.origin.insert(Arc::new(origin)))
            }
        };
        let line = RawLine {
            raw: reject.raw.as_bytes(),
            origin: &origin,
            line: reject.line,
            byte: reject.byte,
            raw_is: reject.raw_is,
        };
        if let Some(raw_is) = line.raw_is {
            let reason = match raw_is {
                RawIs::Cut => "is only the beginning of the original line",
                RawIs::Lossy => "was not valid UTF-8",
            };
            let message = format!("{reason}: correct `raw` and remove `raw_is`");
            records.refuse(&line, LineError::new(Code::Raw, message));
            return Ok(());
        }
        if let Syntax::Csv { header } = &origin.syntax
            && self.header.is_none()
        {
            let dialect = match records.mapping.delimiter {
                Some(delimiter) => Dialect::Delimiter(delimiter),
                None => Dialect::detect(header.as_bytes()),
            };
            match records.mapping.header(header, dialect) {
                Ok(header) => self.header = Some(header),
                Err(reason) => {
                    records.refuse(&line, LineError::new(Code::Csv, reason));
                    return Ok(());
                }
            }
        }
        records.add(&line, &reject.raw, self.header.as_ref(), Some(reject.at))
    }
}
