//! The ids of records that have none.
//!
//! Such a record is told by what it says, by its source, and by its ordinal among the identical ones of
//! the same input. So the same input run twice gives the same ids and adds nothing, and a call that
//! truly happened twice within it is recorded twice.
//!
//! What goes into the hash is the record after all checks and defaults: the order of the fields, the
//! spelling of their names and of their numbers, and the format of the input make no difference. An
//! id that was given out stays: whatever changes here makes recorded inputs look new.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::upsert::excluded;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::domain::id;
use crate::domain::usage::record::UsageRecord;

/// What an event is told by, apart from its ordinal.
pub type EventHash = [u8; 32];

/// The id of the event of this hash that is the `ordinal`-th of its kind, from 1.
pub fn derived_id(at: DateTime<Utc>, hash: &EventHash, ordinal: u32) -> Uuid {
    let mut facts = [0; 36];
    facts[..32].copy_from_slice(hash);
    facts[32..].copy_from_slice(&ordinal.to_be_bytes());
    id::derived(at, &facts)
}

/// Hashes everything that `record` says, apart from its id, and where it came from.
///
/// `facts` is only lent, to be used again for the next record.
pub(super) fn event_hash(source: &str, record: &UsageRecord<'_>, facts: &mut Vec<u8>) -> EventHash {
    facts.clear();
    // Lengths stand before texts, so that no two records run together into the same bytes.
    let text = |facts: &mut Vec<u8>, text: Option<&str>| match text {
        Some(text) => {
            facts.extend_from_slice(&(text.len() as u64 + 1).to_be_bytes());
            facts.extend_from_slice(text.as_bytes());
        }
        None => facts.extend_from_slice(&0_u64.to_be_bytes()),
    };
    text(facts, Some(source));
    text(facts, Some(record.api_name));
    text(facts, record.endpoint);
    text(facts, record.method);
    facts.extend_from_slice(&record.timestamp.timestamp_millis().to_be_bytes());
    facts.extend_from_slice(&[u8::from(record.success), u8::from(record.cached)]);
    for number in [
        record.status_code,
        record.response_time,
        record.request_size,
        record.response_size,
    ] {
        // None of them is negative.
        facts.extend_from_slice(&number.unwrap_or(-1).to_be_bytes());
    }
    text(facts, record.error_type);
    text(facts, record.error_message);
    let cost = record.cost_credits.unwrap_or(-1.0);
    facts.extend_from_slice(&cost.to_bits().to_be_bytes());
    text(facts, record.user_id);
    Sha256::digest(facts.as_slice()).into()
}

/// How many different events are counted in memory: 9 MB of them.
const IN_MEMORY: usize = 458_752;

/// Counts identical events, exactly and in constant memory.
///
/// An event is known by 64 bits of its hash. Should two different events share them, which is not
/// to be expected among fewer than four thousand million, the later one gets a higher ordinal than
/// it needs: its id differs from all others nonetheless, and is the same in every run.
#[derive(Default)]
pub(super) struct Ordinals {
    seen: HashMap<u64, u32>,
    /// The events that came when memory was full.
    spilled: Option<Spill>,
}

impl Ordinals {
    /// The ordinal of this event among those that were asked for since the beginning, from 1.
    pub(super) fn next(&mut self, at: DateTime<Utc>, hash: &EventHash) -> QueryResult<u32> {
        let [a, b, c, d, e, f, g, h, ..] = *hash;
        let key = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        if let Some(count) = self.seen.get_mut(&key) {
            *count += 1;
            return Ok(*count);
        }
        if self.seen.len() < IN_MEMORY {
            self.seen.insert(key, 1);
            return Ok(1);
        }
        let spilled = match &mut self.spilled {
            Some(spilled) => spilled,
            None => self.spilled.insert(Spill::open()?),
        };
        spilled.next(at, key)
    }

    /// Begins anew, for another input.
    pub(super) fn restart(&mut self) {
        self.seen.clear();
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

/// Counts on disk, in a private file without a name that goes with the process.
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
    use crate::ingest::Mapping;
    use crate::ingest::check::{Rules, check};
    use crate::ingest::{csv, json};

    fn hash_of(text: &str, is_csv: bool) -> EventHash {
        let rules = Rules {
            now: DateTime::UNIX_EPOCH,
            max_future: chrono::TimeDelta::days(36_500),
            time_unit: None,
            assumed_zone: None,
        };
        let mapping = Mapping::default();
        let event = match text.split_once('\n') {
            Some((header, row)) if is_csv => {
                csv::Header::parse(header, &mapping).unwrap().event(row)
            }
            _ => json::parse(text, &mapping),
        };
        let event = event.unwrap();
        let checked = check(&event, &rules, rules.now).unwrap();
        event_hash("access.log", &checked.usage.record, &mut Vec::new())
    }

    #[test]
    fn order_and_spelling_of_fields_make_no_difference() {
        let first = hash_of(
            r#"{"api_name":"tmdb","timestamp":"2026-01-01T01:00:00+01:00","response_time":120,"cost_credits":0.1}"#,
            false,
        );
        let second = hash_of(
            r#"{"costCredits":1e-1,"responseTime":120.0,"timestamp":"2026-01-01T00:00:00.000Z","method":"GET","apiName":"\u0074mdb","user_id":null}"#,
            false,
        );
        let third = hash_of(
            "timestamp,api_name,cost_credits,response_time,success\n2026-01-01T00:00:00Z,tmdb,0.10,120,true",
            true,
        );
        assert_eq!(first, second);
        assert_eq!(first, third);
    }

    #[test]
    fn every_field_makes_a_difference() {
        let base = r#""api_name":"a","timestamp":"2026-01-01T00:00:00Z""#;
        let mut hashes = vec![hash_of(&format!("{{{base}}}"), false)];
        for field in [
            r#""endpoint":"x""#,
            r#""method":"x""#,
            r#""success":false"#,
            r#""status_code":200"#,
            r#""response_time":0"#,
            r#""request_size":0"#,
            r#""response_size":0"#,
            r#""error_type":"x""#,
            r#""error_message":"x""#,
            r#""cost_credits":0"#,
            r#""cached":true"#,
            r#""user_id":"x""#,
        ] {
            hashes.push(hash_of(&format!("{{{base},{field}}}"), false));
        }
        hashes.push(hash_of(
            r#"{"api_name":"b","timestamp":"2026-01-01T00:00:00Z"}"#,
            false,
        ));
        hashes.push(hash_of(
            r#"{"api_name":"a","timestamp":"2026-01-01T00:00:00.001Z"}"#,
            false,
        ));
        let count = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), count);
    }

    #[test]
    fn the_id_of_an_event_never_changes() {
        let hash = hash_of(
            r#"{"api_name":"finnhub","endpoint":"/quote","timestamp":"2026-01-31T11:59:00Z","status_code":429}"#,
            false,
        );
        let at = DateTime::from_timestamp(1_769_860_740, 0).unwrap();
        assert_eq!(
            derived_id(at, &hash, 1).to_string(),
            "019c13eb-b3a0-74fd-8e83-94d8121b341b"
        );
        assert_ne!(derived_id(at, &hash, 1), derived_id(at, &hash, 2));
    }

    #[test]
    fn identical_events_are_counted_beyond_what_fits_in_memory() {
        let mut ordinals = Ordinals::default();
        let event = |number: u64| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            (
                DateTime::from_timestamp((number / 1_000) as i64, 0).unwrap(),
                hash,
            )
        };
        let count = IN_MEMORY as u64 + 3_000;
        for number in 0..count {
            let (at, hash) = event(number);
            assert_eq!(ordinals.next(at, &hash), Ok(1));
        }
        for number in [0, 7, count - 1, count - 2_999] {
            let (at, hash) = event(number);
            assert_eq!(ordinals.next(at, &hash), Ok(2), "{number}");
            assert_eq!(ordinals.next(at, &hash), Ok(3), "{number}");
        }
        ordinals.restart();
        let (at, hash) = event(0);
        assert_eq!(ordinals.next(at, &hash), Ok(1));
    }
}
