//! The ids of records that have none.
//!
//! Such a record is identified by its content, its source and its ordinal among the identical ones of the
//! same input. So the same input run twice gives the same ids and adds nothing, and a call that really
//! happened twice within it is recorded twice.
//!
//! The hash covers the record after all checks and defaults: the order of the fields, the spelling of
//! their names and numbers, and the format of the input make no difference. Under a mapping it covers the
//! line instead, and in both cases the time as the line has it: so with a corrected mapping or zone a line
//! keeps its id, and its record is a conflict with the one stored before, not a second call. Any change here
//! makes inputs that were recorded look new.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::domain::id;
use crate::domain::usage::record::UsageRecord;

/// Identifies a record without an id, apart from its ordinal.
pub type EventHash = [u8; 32];

/// The id of the `ordinal`-th record (from 1) with this hash.
pub fn derived_id(at: DateTime<Utc>, hash: &EventHash, ordinal: u32) -> Uuid {
    let mut facts = [0; 36];
    facts[..32].copy_from_slice(hash);
    facts[32..].copy_from_slice(&ordinal.to_be_bytes());
    id::derived(at, &facts)
}

/// Hashes `source` and a line whose meaning depends on a mapping.
pub(super) fn line_hash(source: &str, line: &str) -> EventHash {
    let hash = Sha256::new().chain_update((source.len() as u64).to_be_bytes());
    hash.chain_update(source)
        .chain_update(line.trim())
        .finalize()
        .into()
}

/// Hashes `source` and all fields of `record` but its id, with `time` as its time. `facts` is a buffer to reuse.
pub(super) fn event_hash(
    source: &str,
    record: &UsageRecord<'_>,
    time: DateTime<Utc>,
    facts: &mut Vec<u8>,
) -> EventHash {
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
    facts.extend_from_slice(&time.timestamp_millis().to_be_bytes());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::check::check;
    use crate::ingest::csv::Dialect;
    use crate::ingest::{Mapping, TimeOptions, json};

    /// The hash of a JSON object, or of a header and a row of CSV.
    fn hash_of(text: &str) -> EventHash {
        let options = TimeOptions {
            max_future: chrono::TimeDelta::days(36_500),
            ..TimeOptions::new(DateTime::UNIX_EPOCH)
        };
        let mapping = Mapping::default();
        let event = match text.split_once('\n') {
            Some((header, row)) => {
                let header = mapping.header(header, Dialect::Delimiter(b',')).unwrap();
                header.event(row, &mapping)
            }
            None => json::parse(text, &mapping),
        };
        let event = event.unwrap();
        let checked = check(&event, &options, options.now).unwrap();
        event_hash(
            "access.log",
            &checked.usage.record,
            checked.time_for_id,
            &mut Vec::new(),
        )
    }

    #[test]
    fn field_order_and_spelling_do_not_change_hash() {
        let first = hash_of(
            r#"{"api_name":"tmdb","timestamp":"2026-01-01T01:00:00+01:00","response_time":120,"cost_credits":0.1}"#,
        );
        let second = hash_of(
            r#"{"costCredits":1e-1,"responseTime":120.0,"timestamp":"2026-01-01T00:00:00.000Z","method":"GET","apiName":"\u0074mdb","user_id":null}"#,
        );
        let third = hash_of(
            "timestamp,api_name,cost_credits,response_time,success\n2026-01-01T00:00:00Z,tmdb,0.10,120,true",
        );
        assert_eq!(first, second);
        assert_eq!(first, third);
    }

    #[test]
    fn every_field_changes_hash() {
        let base = r#""api_name":"a","timestamp":"2026-01-01T00:00:00Z""#;
        let mut hashes = vec![
            hash_of(&format!("{{{base}}}")),
            hash_of(r#"{"api_name":"b","timestamp":"2026-01-01T00:00:00Z"}"#),
            hash_of(r#"{"api_name":"a","timestamp":"2026-01-01T00:00:00.001Z"}"#),
        ];
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
            hashes.push(hash_of(&format!("{{{base},{field}}}")));
        }
        let count = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), count);
    }

    #[test]
    fn derived_id_is_stable() {
        let hash = hash_of(
            r#"{"api_name":"finnhub","endpoint":"/quote","timestamp":"2026-01-31T11:59:00Z","status_code":429}"#,
        );
        let at = DateTime::from_timestamp(1_769_860_740, 0).unwrap();
        assert_eq!(
            derived_id(at, &hash, 1).to_string(),
            "019c13eb-b3a0-74fd-8e83-94d8121b341b"
        );
        assert_ne!(derived_id(at, &hash, 1), derived_id(at, &hash, 2));
    }
}
