//! What is handed on: records and refusals, in the order of their lines.

use std::ops::Range;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::key::EventHash;
use super::{Origin, Problem, Refusal};
use crate::domain::usage::batch::UsageBatch;
use crate::domain::usage::record::NewUsage;

/// Records that passed the checks, each with its line; and between them the lines that did not.
#[derive(Debug, Default)]
pub struct Block {
    pub usage: UsageBatch,
    /// Where each record comes from.
    places: Vec<Place>,
    /// The lines of the records, in case the database refuses one.
    raw: Vec<u8>,
    origins: Vec<Arc<Origin>>,
    /// Refused lines, each with the number of records before it.
    refused: Vec<(usize, Refusal)>,
    refused_bytes: usize,
    /// Records whose final ids the database has a say in.
    pub replayed: Vec<Replayed>,
    /// How many error messages were cut.
    pub cut: u64,
    /// How many records have an id that a second run would not give them.
    pub unrepeatable: u64,
}

/// Where a record comes from.
#[derive(Clone, Debug)]
pub struct Place {
    origin: usize,
    line: u64,
    byte: u64,
    raw: Range<usize>,
}

/// A record without an id that was refused once.
#[derive(Clone, Copy, Debug)]
pub struct Replayed {
    /// Its index among the records.
    pub index: usize,
    /// What it is told by.
    pub hash: EventHash,
    /// Its ordinal among the refused lines of its input.
    pub ordinal: u32,
    /// When its input was recorded.
    pub recorded_at: DateTime<Utc>,
}

impl Block {
    pub(super) fn record(
        &mut self,
        usage: &NewUsage<'_>,
        origin: &Arc<Origin>,
        line: u64,
        byte: u64,
        raw: &[u8],
    ) {
        if !self
            .origins
            .last()
            .is_some_and(|last| Arc::ptr_eq(last, origin))
        {
            self.origins.push(Arc::clone(origin));
        }
        let start = self.raw.len();
        self.raw.extend_from_slice(raw);
        self.places.push(Place {
            origin: self.origins.len() - 1,
            line,
            byte,
            raw: start..self.raw.len(),
        });
        self.usage.push(usage);
    }

    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.refused_bytes += size_of::<Refusal>() + refusal.raw.len();
        self.refused.push((self.usage.len(), refusal));
    }

    /// Adds what is in `other` behind what is in it.
    pub fn append(&mut self, other: Block) {
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
        self.cut += other.cut;
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
        self.cut = 0;
        self.unrepeatable = 0;
    }

    /// How many lines are in it, refused ones too.
    pub fn lines(&self) -> usize {
        self.usage.len() + self.refused.len()
    }

    /// The memory in use.
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

    /// All refusals in the order of their lines: those that the checks found, and `more`, which came
    /// up later for the records of these indexes, in their order.
    pub fn take_refusals(&mut self, more: Vec<(usize, Problem)>) -> Vec<Refusal> {
        let mut all = std::mem::take(&mut self.refused);
        self.refused_bytes = 0;
        // Refused lines stand before the record of the same index: a stable sort keeps that.
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
