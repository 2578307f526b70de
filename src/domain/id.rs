//! Ids. Most are UUIDs of version 7, which begin with a time, so that rows of one time are neighbours in
//! every index. Random ids make a load slower by a third.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The id derived from `facts`: `at`, then 74 bits of the SHA-256 of both.
pub fn derived(at: DateTime<Utc>, facts: &[u8]) -> Uuid {
    let mut tail = [0; 10];
    tail.copy_from_slice(&hash(at, facts)[..10]);
    build(at, tail)
}

pub fn unique(at: DateTime<Utc>) -> Uuid {
    let random = Uuid::new_v4();
    let mut tail = [0; 10];
    tail.copy_from_slice(&random.as_bytes()[..10]);
    // Bytes 6 and 8 hold fixed bits of version 4: mix the other bytes in.
    for (byte, more) in tail.iter_mut().zip(&random.as_bytes()[6..]) {
        *byte ^= more.rotate_left(3);
    }
    build(at, tail)
}

pub fn time_of(id: &str) -> Option<DateTime<Utc>> {
    let time = Uuid::parse_str(id).ok()?.get_timestamp()?;
    let (seconds, nanoseconds) = time.to_unix();
    DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanoseconds)
}

/// As [`derived`], but of version 8 and without a time, for rows that users name by the first characters of
/// their id.
pub fn scattered(at: DateTime<Utc>, facts: &[u8]) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash(at, facts)[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// Includes `at`, since an id cannot hold a time before 1970.
fn hash(at: DateTime<Utc>, facts: &[u8]) -> [u8; 32] {
    Sha256::new_with_prefix(at.timestamp_millis().to_be_bytes())
        .chain_update(facts)
        .finalize()
        .into()
}

fn build(at: DateTime<Utc>, tail: [u8; 10]) -> Uuid {
    // The 48 bits of time hold the years 1970 to 10889; others are clamped.
    let ms = u64::try_from(at.timestamp_millis())
        .unwrap_or(0)
        .min((1 << 48) - 1);
    uuid::Builder::from_unix_timestamp_millis(ms, &tail).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::at_ms as at;

    #[test]
    fn derived_id_depends_on_time_and_facts() {
        assert_eq!(derived(at(1), b"a"), derived(at(1), b"a"));
        assert_ne!(derived(at(1), b"a"), derived(at(1), b"b"));
        assert_ne!(derived(at(1), b"a"), derived(at(2), b"a"));
        assert_ne!(derived(at(-1), b"a"), derived(at(-2), b"a"));
        assert_ne!(unique(at(1)), unique(at(1)));
        assert_eq!(scattered(at(1), b"a"), scattered(at(1), b"a"));
        assert_ne!(scattered(at(1), b"a"), scattered(at(2), b"a"));
    }

    #[test]
    fn scattered_ids_differ_in_first_characters() {
        let [a, b] = [b"a", b"b"].map(|facts| scattered(at(1), facts));
        assert_ne!(a.to_string()[..8], b.to_string()[..8]);
        assert_eq!(a.get_version_num(), 8);
    }

    #[test]
    fn ids_sort_by_time() {
        let ids: Vec<_> = [0, 1, 1_767_225_600_123, 1_767_225_600_124]
            .iter()
            .map(|ms| derived(at(*ms), b"x").to_string())
            .collect();
        assert!(ids.is_sorted());
        assert_eq!(derived(at(5), b"x").get_version_num(), 7);
    }
}
