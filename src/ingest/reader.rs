//! The loop through all inputs: from bytes to blocks.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::block::{Block, Replayed};
use super::check::{Rules, check};
use super::csv::Header;
use super::fields::Mapping;
use super::key::{Ordinals, derived_id, event_hash};
use super::lines::{Array, Lines, Rows, Splitter, Step, Window};
use super::rejects::{RawIs, Reject};
use super::source::{Input, explain};
use super::{Code, MAX_RECORD_BYTES, Origin, Problem, Refusal, Syntax, json};
use crate::domain::id;

/// How records are written in an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A JSON object on each line
    Ndjson,
    /// A JSON array of objects
    Json,
    /// Rows under a header line
    Csv,
}

/// What is to be read, and how.
#[derive(Debug)]
pub struct Job {
    /// The inputs, one after the other.
    pub inputs: Vec<Input>,
    /// The format of all of them, or nothing to tell each by how it begins.
    pub format: Option<Format>,
    /// How names become fields.
    pub mapping: Mapping,
    /// How values are checked.
    pub rules: Rules,
    /// Whether the inputs hold refused lines that were kept.
    pub is_replay: bool,
    /// Once it is true nothing more is read; what was read is still handed on.
    pub stop: Arc<AtomicBool>,
}

/// How reading ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Whether all inputs were read, to their ends or to where they fail.
    pub is_complete: bool,
    /// The inputs that could not be read to their ends.
    pub failures: Vec<Failure>,
}

/// An input that could not be read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The input.
    pub input: String,
    /// The line at which reading ended; nothing of the input was taken when it is 1.
    pub line: u64,
    /// What went wrong.
    pub reason: String,
}

/// The most lines handed on at once, and the most bytes; a thousand lines of one letter each make a
/// thousand refusals, which take far more memory than the lines.
const BLOCK_LINES: usize = 1_000;
const BLOCK_BYTES: usize = 512 * 1024;

/// So much of a line that is too long is kept.
const KEPT_BYTES: usize = 1_000;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads all inputs and hands on what is in them, always before it might have to wait for more.
///
/// It ends early when it is told to stop, and when `hand_on` returns false. An input that cannot be read
/// to its end does not stop the others.
pub fn read(job: Job, hand_on: &mut dyn FnMut(Block) -> bool) -> Ended {
    let mut reader = Reader {
        format: job.format,
        mapping: job.mapping,
        rules: job.rules,
        is_replay: job.is_replay,
        stop: job.stop,
        ordinals: Ordinals::default(),
        facts: Vec::new(),
        block: Block::default(),
        hand_on,
    };
    let mut ended = Ended::default();
    for input in job.inputs {
        let name = input.name.clone();
        match reader.read(input) {
            (_, Ok(())) => {}
            (_, Err(Stop::Told)) => return ended,
            (line, Err(Stop::Failed(reason))) => ended.failures.push(Failure {
                input: name,
                line,
                reason,
            }),
        }
    }
    ended.is_complete = reader.hand_on().is_ok();
    ended
}

/// Why reading an input ends before its end.
enum Stop {
    /// Nobody wants more.
    Told,
    /// It cannot be read on.
    Failed(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Failed(explain(&error))
    }
}

struct Reader<'h> {
    format: Option<Format>,
    mapping: Mapping,
    rules: Rules,
    is_replay: bool,
    stop: Arc<AtomicBool>,
    ordinals: Ordinals,
    /// Lent to [`event_hash`].
    facts: Vec<u8>,
    block: Block,
    hand_on: &'h mut dyn FnMut(Block) -> bool,
}

/// A line and where it stands.
struct Line<'a> {
    raw: &'a [u8],
    origin: &'a Arc<Origin>,
    line: u64,
    byte: u64,
    /// Why `raw` is not the line as it was.
    raw_is: Option<RawIs>,
    /// For a line that was refused once: when.
    refused_at: Option<DateTime<Utc>>,
}

/// How the lines of an input are understood.
enum Reading {
    Json(Arc<Origin>),
    /// CSV before its header.
    Header,
    Csv(Arc<Origin>, Header),
    /// Kept lines, in a file of this origin.
    Replay(Replay, Arc<Origin>),
}

/// The last of the kept lines that were read.
#[derive(Default)]
struct Replay {
    origin: Option<Arc<Origin>>,
    header: Option<Header>,
    byte: u64,
}

impl Reader<'_> {
    /// Reads one input; says also at which line reading ended.
    fn read(&mut self, input: Input) -> (u64, Result<(), Stop>) {
        self.ordinals.restart();
        let (name, source) = (input.name.clone(), input.source.clone());
        let mut window = match input.into_reader() {
            Ok(stream) => Window::new(stream),
            Err(error) => return (1, Err(error.into())),
        };
        let ended = self.read_window(&mut window, &name, &source);
        (window.line(), ended)
    }

    fn read_window(
        &mut self,
        window: &mut Window<impl Read>,
        name: &str,
        source: &str,
    ) -> Result<(), Stop> {
        let Some(format) = self.begin(window)? else {
            return Ok(());
        };
        let origin = |syntax| {
            Arc::new(Origin {
                input: name.to_owned(),
                source: source.to_owned(),
                syntax,
            })
        };
        let mut splitter = match format {
            Format::Ndjson => Splitter::Lines(Lines::default()),
            Format::Json => Splitter::Array(Array::default()),
            Format::Csv => Splitter::Rows(Rows::default()),
        };
        let mut reading = match format {
            _ if self.is_replay => Reading::Replay(Replay::default(), origin(Syntax::Json)),
            Format::Ndjson | Format::Json => Reading::Json(origin(Syntax::Json)),
            Format::Csv => Reading::Header,
        };
        loop {
            let bytes = window.bytes();
            let mut raw_is = None;
            let (text, length, problem) = match splitter.step(bytes, window.at_end()) {
                Step::Record { text, length } => (&bytes[..text], length, None),
                Step::Broken {
                    text,
                    length,
                    reason,
                } => (
                    &bytes[..text],
                    length,
                    Some(Problem::new(Code::Csv, reason)),
                ),
                Step::TooLong(length) => {
                    raw_is = Some(RawIs::Cut);
                    let most = MAX_RECORD_BYTES / 1024 / 1024;
                    let message = format!("is longer than {most} MiB");
                    let problem = Problem::new(Code::TooLong, message);
                    (&bytes[..KEPT_BYTES.min(length)], length, Some(problem))
                }
                Step::Skip(length) => {
                    window.consume(length);
                    continue;
                }
                Step::Wait => {
                    self.read_on(window)?;
                    continue;
                }
                Step::End => return Ok(()),
                Step::Unfinished(reason) => return Err(Stop::Failed(reason.to_owned())),
            };
            let at = |origin| Line {
                raw: text,
                origin,
                line: window.line(),
                byte: window.byte(),
                raw_is,
                refused_at: None,
            };
            match (&mut reading, problem) {
                (Reading::Header, problem) => {
                    let (header, text) = self.header(text, problem)?;
                    reading = Reading::Csv(origin(Syntax::Csv { header: text }), header);
                }
                (Reading::Json(origin) | Reading::Csv(origin, _), Some(problem)) => {
                    self.refuse(&at(origin), problem);
                }
                (Reading::Json(origin), None) => self.take(&at(origin), None)?,
                (Reading::Csv(origin, header), None) => self.take(&at(origin), Some(header))?,
                (Reading::Replay(_, origin), Some(problem)) => self.refuse(&at(origin), problem),
                (Reading::Replay(last, origin), None) => self.replay(&at(origin), last)?,
            }
            window.consume(length);
            if self.block.lines() >= BLOCK_LINES || self.block.size_bytes() >= BLOCK_BYTES {
                self.hand_on()?;
            }
        }
    }

    /// Looks at how an input begins; nothing if there is nothing in it.
    fn begin(&mut self, window: &mut Window<impl Read>) -> Result<Option<Format>, Stop> {
        while window.bytes().len() < BYTE_ORDER_MARK.len() && !window.at_end() {
            self.read_on(window)?;
        }
        if window.bytes().starts_with(BYTE_ORDER_MARK) {
            window.consume(BYTE_ORDER_MARK.len());
        }
        loop {
            let blank = window.bytes().len() - window.bytes().trim_ascii_start().len();
            window.consume(blank);
            let told = match window.bytes().first() {
                Some(b'{') => Format::Ndjson,
                Some(b'[') => Format::Json,
                Some(_) => Format::Csv,
                None if window.at_end() => return Ok(None),
                None => {
                    self.read_on(window)?;
                    continue;
                }
            };
            return Ok(match self.is_replay {
                true => Some(Format::Ndjson),
                false => Some(self.format.unwrap_or(told)),
            });
        }
    }

    fn header(&self, text: &[u8], problem: Option<Problem>) -> Result<(Header, String), Stop> {
        let hint = match self.format {
            Some(_) => "",
            None => {
                " (it is read as CSV, because it begins with neither { nor [; --input-format says otherwise)"
            }
        };
        let parsed = match (problem, std::str::from_utf8(text)) {
            (Some(problem), _) => Err(format!("the header {}", problem.message)),
            (None, Err(_)) => Err("the header is not valid UTF-8".to_owned()),
            (None, Ok(text)) => {
                Header::parse(text, &self.mapping).map(|header| (header, text.to_owned()))
            }
        };
        parsed.map_err(|reason| Stop::Failed(reason + hint))
    }

    /// Reads a kept line as if it stood where it came from.
    fn replay(&mut self, kept: &Line<'_>, last: &mut Replay) -> Result<(), Stop> {
        let reject: Reject = match serde_json::from_slice(kept.raw) {
            Ok(reject) => reject,
            Err(_) => {
                let reason = "is not a line of a file that `record --rejects` wrote";
                self.refuse(kept, Problem::new(Code::Json, reason));
                return Ok(());
            }
        };
        let origin = reject.origin();
        let same_input = last
            .origin
            .as_ref()
            .is_some_and(|last| (&last.input, &last.source) == (&origin.input, &origin.source));
        // Going backwards means that the same input was recorded, and refused, once more.
        if !same_input || reject.byte <= last.byte {
            self.ordinals.restart();
        }
        last.byte = reject.byte;
        let origin = match &last.origin {
            Some(last) if **last == origin => Arc::clone(last),
            _ => {
                last.header = None;
                Arc::clone(last.origin.insert(Arc::new(origin)))
            }
        };
        let line = Line {
            raw: reject.raw.as_bytes(),
            origin: &origin,
            line: reject.line,
            byte: reject.byte,
            raw_is: reject.raw_is,
            refused_at: Some(reject.at),
        };
        if let Some(raw_is) = line.raw_is {
            let reason = match raw_is {
                RawIs::Cut => "is only the beginning of the line",
                RawIs::Lossy => "was not UTF-8",
            };
            let message = format!("{reason}: correct `raw` and remove `raw_is`");
            self.refuse(&line, Problem::new(Code::Raw, message));
            return Ok(());
        }
        if let Syntax::Csv { header } = &origin.syntax
            && last.header.is_none()
        {
            match Header::parse(header, &self.mapping) {
                Ok(header) => last.header = Some(header),
                Err(reason) => {
                    self.refuse(&line, Problem::new(Code::Csv, reason));
                    return Ok(());
                }
            }
        }
        self.take(&line, last.header.as_ref())
    }

    /// Adds a line to the block, as a record or as a refusal.
    fn take(&mut self, line: &Line<'_>, header: Option<&Header>) -> Result<(), Stop> {
        match self.understand(line, header) {
            Ok(()) => Ok(()),
            Err(Misfit::Refused(problem)) => {
                self.refuse(line, problem);
                Ok(())
            }
            Err(Misfit::Failed(error)) => Err(Stop::Failed(format!(
                "cannot count identical events on disk: {error}"
            ))),
        }
    }

    fn understand(&mut self, line: &Line<'_>, header: Option<&Header>) -> Result<(), Misfit> {
        let text = std::str::from_utf8(line.raw).map_err(|error| {
            let at = error.valid_up_to() + 1;
            Problem::new(Code::Utf8, format!("is not valid UTF-8 at byte {at}"))
        })?;
        let event = match header {
            Some(header) => header.event(text)?,
            None => json::parse(text, &self.mapping)?,
        };
        let default_time = line.refused_at.unwrap_or(self.rules.now);
        let checked = check(&event, &self.rules, default_time)?;
        let mut usage = checked.usage;
        let at = usage.record.timestamp;
        let mut id = Uuid::encode_buffer();
        if usage.record.id.is_empty() {
            let unique = usage.defaulted.timestamp && line.refused_at.is_none();
            let uuid = match unique {
                true => {
                    self.block.unrepeatable += 1;
                    id::unique(at)
                }
                false => {
                    let hash = event_hash(&line.origin.source, &usage.record, &mut self.facts);
                    let ordinal = self.ordinals.next(at, &hash)?;
                    if let Some(recorded_at) = line.refused_at {
                        self.block.replayed.push(Replayed {
                            index: self.block.usage.len(),
                            hash,
                            ordinal,
                            recorded_at,
                        });
                    }
                    derived_id(at, &hash, ordinal)
                }
            };
            usage.record.id = uuid.hyphenated().encode_lower(&mut id);
        }
        self.block.cut += u64::from(checked.was_cut);
        self.block
            .record(&usage, line.origin, line.line, line.byte, line.raw);
        Ok(())
    }

    fn refuse(&mut self, line: &Line<'_>, problem: Problem) {
        self.block.refuse(Refusal {
            origin: Arc::clone(line.origin),
            line: line.line,
            byte: line.byte,
            raw_is: line.raw_is,
            problem,
            raw: line.raw.to_vec(),
        });
    }

    /// Reads more, which may take any time: so what is there is handed on first.
    fn read_on(&mut self, window: &mut Window<impl Read>) -> Result<(), Stop> {
        self.hand_on()?;
        if self.stop.load(Ordering::Relaxed) {
            return Err(Stop::Told);
        }
        Ok(window.fill()?)
    }

    fn hand_on(&mut self) -> Result<(), Stop> {
        if self.block.lines() == 0 {
            return Ok(());
        }
        match (self.hand_on)(std::mem::take(&mut self.block)) {
            true => Ok(()),
            false => Err(Stop::Told),
        }
    }
}

/// Why a line does not become a record.
enum Misfit {
    Refused(Problem),
    Failed(diesel::result::Error),
}

impl From<Problem> for Misfit {
    fn from(problem: Problem) -> Misfit {
        Misfit::Refused(problem)
    }
}

impl From<diesel::result::Error> for Misfit {
    fn from(error: diesel::result::Error) -> Misfit {
        Misfit::Failed(error)
    }
}
