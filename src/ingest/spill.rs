//! Ordinals of identical records: exact counts in constant memory.
//!
//! What exceeds memory is counted in a temporary SQLite file. It has nothing to do with the database that
//! the records go to.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::upsert::excluded;

use super::key::EventHash;

/// The temporary file cannot be made or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot count identical records in a temporary file: {0}")]
pub(super) struct SpillError(#[from] diesel::result::Error);

/// How many different records are counted in memory: 9 MB of them. Of one in eight the count may exceed one.
const IN_MEMORY: usize = 917_504;

/// Counts identical records.
///
/// A record is identified by 64 bits of its hash. Should two different ones share them, which is not
/// expected among fewer than four thousand million, the later one gets a higher ordinal than it
/// needs: its id still differs from all others, and is the same in every run.
pub(super) struct Ordinals {
    in_memory: usize,
    seen: HashSet<u64>,
    /// The counts of those seen more than once.
    repeated: HashMap<u64, u32>,
    /// Records and repeats that came when memory was full.
    spilled: Option<Spill>,
}

impl Default for Ordinals {
    fn default() -> Ordinals {
        Ordinals::with_limit(IN_MEMORY)
    }
}

impl Ordinals {
    /// Counts that spill to disk after `in_memory` different records.
    fn with_limit(in_memory: usize) -> Ordinals {
        Ordinals {
            in_memory,
            seen: HashSet::new(),
            repeated: HashMap::new(),
            spilled: None,
        }
    }

    /// The ordinal of this record among its equals since the last restart, from 1.
    pub(super) fn next(&mut self, at: DateTime<Utc>, hash: &EventHash) -> Result<u32, SpillError> {
        let [a, b, c, d, e, f, g, h, ..] = *hash;
        let key = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let is_seen = self.seen.contains(&key);
        if !is_seen && self.seen.len() < self.in_memory {
            self.seen.insert(key);
            return Ok(1);
        }
        if let Some(count) = self.repeated.get_mut(&key) {
            *count += 1;
            return Ok(*count);
        }
        if is_seen && self.repeated.len() < self.in_memory / 8 {
            self.repeated.insert(key, 2);
            return Ok(2);
        }
        let spilled = match &mut self.spilled {
            Some(spilled) => spilled,
            None => self.spilled.insert(Spill::open()?),
        };
        Ok(spilled.next(at, key)? + u32::from(is_seen))
    }

    pub(super) fn restart(&mut self) {
        self.seen.clear();
        self.repeated.clear();
        self.spilled = None;
    }
}

diesel::table! {
    seen (second, hash) {
        second -> BigInt,
        hash -> BigInt,
        count -> Integer,
    }
}

/// Counts on disk, in a private file without a name that is deleted with the process.
struct Spill(SqliteConnection);

impl Spill {
    fn open() -> QueryResult<Spill> {
        // The empty name is SQLite's own for such a file.
        let mut conn = SqliteConnection::establish("")
            .map_err(|error| diesel::result::Error::QueryBuilderError(error.into()))?;
        // Nothing is worth a log or a flush. Most inputs are nearly in the order of time, so with the
        // second before the hash new rows land on pages that are in the cache.
        conn.batch_execute(
            "PRAGMA journal_mode = OFF;
             PRAGMA synchronous = OFF;
             PRAGMA cache_size = -2048;
             CREATE TABLE seen (
                 second INTEGER NOT NULL,
                 hash INTEGER NOT NULL,
                 count INTEGER NOT NULL,
                 PRIMARY KEY (second, hash)
             ) WITHOUT ROWID;
             BEGIN;",
        )?;
        Ok(Spill(conn))
    }

    fn next(&mut self, at: DateTime<Utc>, key: u64) -> QueryResult<u32> {
        let row = (
            seen::second.eq(at.timestamp()),
            seen::hash.eq(key.cast_signed()),
            seen::count.eq(1),
        );
        let count: i32 = diesel::insert_into(seen::table)
            .values(row)
            .on_conflict((seen::second, seen::hash))
            .do_update()
            .set(seen::count.eq(seen::count + excluded(seen::count)))
            .returning(seen::count)
            .get_result(&mut self.0)?;
        Ok(count.cast_unsigned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for the ordinals of records with these numbers.
    fn ordinals(counts: &mut Ordinals, numbers: impl IntoIterator<Item = u64>) -> Vec<u32> {
        let next = |number: u64| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            let at = DateTime::from_timestamp((number / 1_000) as i64, 0).unwrap();
            counts.next(at, &hash).unwrap()
        };
        numbers.into_iter().map(next).collect()
    }

    #[test]
    fn identical_records_are_counted_in_memory_and_on_disk() {
        let mut counts = Ordinals::with_limit(1_000);
        assert_eq!(ordinals(&mut counts, 0..4_000), [1; 4_000]);
        for number in [0, 7, 999, 1_000, 3_999] {
            assert_eq!(ordinals(&mut counts, [number, number]), [2, 3], "{number}");
        }
        for number in 0..200 {
            let first = if [0, 7].contains(&number) { 4 } else { 2 };
            let expected = [first, first + 1];
            assert_eq!(
                ordinals(&mut counts, [number, number]),
                expected,
                "{number}"
            );
        }
    }

    #[test]
    fn restart_forgets_counts_in_memory_and_on_disk() {
        let mut counts = Ordinals::with_limit(2);
        assert_eq!(ordinals(&mut counts, [1, 2, 3, 3]), [1, 1, 1, 2]);
        counts.restart();
        assert_eq!(ordinals(&mut counts, [4, 5, 3, 1]), [1, 1, 1, 1]);
    }
}
