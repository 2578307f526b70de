//! Ids. Nearly all are UUIDs of version 7: a time first, so that rows which belong together in time lie
//! together in every index. Random ids cost a third of the speed of a load.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The id that the same facts always get: `at`, then as much of the SHA-256 of both as fits (74 bits).
pub fn derived(at: DateTime<Utc>, facts: &[u8]) -> Uuid {
    // The moment is hashed too: an id has no room for one before 1970.
    let hash = Sha256::new_with_prefix(at.timestamp_millis().to_be_bytes())
        .chain_update(facts)
        .finalize();
    let mut tail = [0; 10];
    tail.copy_from_slice(&hash[..10]);
    build(at, tail)
}

/// An id that nothing else has.
pub fn unique(at: DateTime<Utc>) -> Uuid {
    let random = Uuid::new_v4();
    let mut tail = [0; 10];
    tail.copy_from_slice(&random.as_bytes()[..10]);
    // The last two of these ten bytes hold two fixed bits of version 4; fold the rest in.
    for (byte, more) in tail.iter_mut().zip(&random.as_bytes()[6..]) {
        *byte ^= more.rotate_left(3);
    }
    build(at, tail)
}

/// As [`derived`], but of version 8 and without the time in front: for the few things that people name by
/// the beginning of an id, which must not be the same for all that were made within a minute.
pub fn scattered(at: DateTime<Utc>, facts: &[u8]) -> Uuid {
    let hash = Sha256::new_with_prefix(at.timestamp_millis().to_be_bytes())
        .chain_update(facts)
        .finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

fn build(at: DateTime<Utc>, tail: [u8; 10]) -> Uuid {
    // Before 1970 and after 10889 the 48 bits of time are clamped, and only the tail tells ids apart.
    let ms = u64::try_from(at.timestamp_millis())
        .unwrap_or(0)
        .min((1 << 48) - 1);
    uuid::Builder::from_unix_timestamp_millis(ms, &tail).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(ms).unwrap()
    }

    #[test]
    fn the_same_facts_have_the_same_id_and_others_another() {
        assert_eq!(derived(at(1), b"a"), derived(at(1), b"a"));
        assert_ne!(derived(at(1), b"a"), derived(at(1), b"b"));
        assert_ne!(derived(at(1), b"a"), derived(at(2), b"a"));
        assert_ne!(derived(at(-1), b"a"), derived(at(-2), b"a"));
        assert_ne!(unique(at(1)), unique(at(1)));
        assert_eq!(scattered(at(1), b"a"), scattered(at(1), b"a"));
        assert_ne!(scattered(at(1), b"a"), scattered(at(2), b"a"));
    }

    #[test]
    fn scattered_ids_of_one_moment_differ_from_the_first_characters_on() {
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
