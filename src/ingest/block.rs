//! Blocks of records and refusals, in the order of their lines.

use std::ops::Range;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::key::EventHash;
use super::read_loop::RawLine;
use super::{LineError, Origin, Refusal};
use crate::domain::usage::batch::UsageBatch;
use crate::domain::usage::record::NewUsage;

/// Records that passed the checks, each with its line, and the lines refused between them.
#[derive(Debug, Default)]
pub struct Block {
    pub usage: UsageBatch,
    places: Vec<Place>,
    /// The lines of the records, in case the database refuses one.
    raw: Vec<u8>,
    origins: Vec<Arc<Origin>>,
    /// Refused lines, each with the number of records before it.
    refused: Vec<(usize, Refusal)>,
    refused_bytes: usize,
    /// Records whose final ids depend on the database.
    pub replayed: Vec<Replayed>,
    /// How many error messages were truncated.
    pub truncated: u64,
    /// How many records have an id that a second run would not give them.
    pub unrepeatable: u64,
}

#[derive(Clone, Debug)]
struct Place {
    /// Its index in the block.
    origin: usize,
    line: u64,
    byte: u64,
    raw: Range<usize>,
}

/// A record without an id from a rejects file.
#[derive(Clone, Copy, Debug)]
pub struct Replayed {
    /// Its index among the records.
    pub index: usize,
    /// Its time for derived ids.
    pub at: DateTime<Utc>,
    pub hash: EventHash,
    /// Its ordinal among the refused lines of its input.
    pub ordinal: u32,
    /// When its input was recorded.
    pub recorded_at: DateTime<Utc>,
}

impl Block {
    pub(super) fn record(&mut self, usage: &NewUsage<'_>, line: &RawLine<'_>) {
        if !self
            .origins
            .last()
            .is_some_and(|last| Arc::ptr_eq(last, line.origin))
        {
            self.origins.push(Arc::clone(line.origin));
        }
        let start = self.raw.len();
        self.raw.extend_from_slice(line.raw);
        self.places.push(Place {
            origin: self.origins.len() - 1,
            line: line.line,
            byte: line.byte,
            raw: start..self.raw.len(),
        });
        self.usage.push(usage);
    }

    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.refused_bytes += size_of::<Refusal>() + refusal.raw.len();
        self.refused.push((self.usage.len(), refusal));
    }

    pub fn append(&mut self, other: Block) {
        if self.lines() == 0 {
            *self = other;
            return;
        }
        let rows = self.usage.len();
        let origins = self.origins.len();
        let raw = self.raw.len();
        self.usage.append(&other.usage);
        self.raw.extend_from_slice(&other.raw);
        self.origins.extend(other.origins);
        self.places
            .extend(other.places.into_iter().map(|place| Place {
                origin: place.origin + origins,
                raw: place.raw.start + raw..place.raw.end + raw,
                ..place
            }));
        let refused = other.refused.into_iter();
        self.refused
            .extend(refused.map(|(before, refusal)| (before + rows, refusal)));
        self.refused_bytes += other.refused_bytes;
        let replayed = other.replayed.into_iter();
        self.replayed.extend(replayed.map(|replayed| Replayed {
            index: replayed.index + rows,
            ..replayed
        }));
        self.truncated += other.truncated;
        self.unrepeatable += other.unrepeatable;
    }

    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.usage.clear();
        self.places.clear();
        self.raw.clear();
        self.origins.clear();
        self.refused.clear();
        self.refused_bytes = 0;
        self.replayed.clear();
        self.truncated = 0;
        self.unrepeatable = 0;
    }

    /// The number of lines, refused ones included.
    pub fn lines(&self) -> usize {
        self.usage.len() + self.refused.len()
    }

    pub fn size_bytes(&self) -> usize {
        self.usage.size_bytes()
            + self.raw.len()
            + self.places.len() * size_of::<Place>()
            + self.refused_bytes
    }

    /// The input and line of the last record or refusal.
    pub fn last_line(&self) -> Option<(&str, u64)> {
        let place = self.places.last();
        let recorded = place.map(|place| (self.origins[place.origin].input.as_str(), place.line));
        match self.refused.last() {
            Some((before, refusal)) if *before == self.usage.len() => {
                Some((&refusal.origin.input, refusal.line))
            }
            _ => recorded,
        }
    }

    /// All refusals in the order of their lines: those of the checks, and `more`, found later for the
    /// records at these indexes, in their order.
    pub fn refusals(&self, more: Vec<(usize, LineError)>) -> Vec<Refusal> {
        let mut all = self.refused.clone();
        // Refused lines come before the record of the same index: a stable sort keeps that.
        all.extend(more.into_iter().filter_map(|(index, problem)| {
            let place = self.places.get(index)?;
            let refusal = Refusal {
                origin: Arc::clone(&self.origins[place.origin]),
                line: place.line,
                byte: place.byte,
                problem,
                raw: self.raw[place.raw.clone()].to_vec(),
                raw_is: None,
            };
            Some((index, refusal))
        }));
        all.sort_by_key(|(index, _)| *index);
        all.into_iter().map(|(_, refusal)| refusal).collect()
    }
}
