//! The rows of an hour in two numbers, by which changed hours are found without the triggers.

use std::collections::{BTreeMap, BTreeSet};

use super::rollup::ApiPeriod;

/// Of all rows of an API in an hour. Those of parts of the rows add up to that of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    pub row_count: i64,
    /// The sum of a hash of each row. Of 40 bits with a sign, so that no table of this world overflows it.
    pub hash_sum: i64,
}

/// By hour.
pub type Fingerprints = BTreeMap<ApiPeriod, Fingerprint>;

/// The hours whose rows differ.
pub fn changed<'a>(stored: &'a Fingerprints, found: &'a Fingerprints) -> BTreeSet<&'a ApiPeriod> {
    let hours = stored.keys().chain(found.keys());
    hours
        .filter(|hour| stored.get(hour) != found.get(hour))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::at;

    #[test]
    fn new_changed_and_emptied_hours_differ() {
        let hour = |start: &str| ApiPeriod {
            start: at(start),
            api_name: "tmdb".to_owned(),
        };
        let print = |row_count, hash_sum| Fingerprint {
            row_count,
            hash_sum,
        };
        let stored = Fingerprints::from([
            (hour("01-30T09:00"), print(2, 7)),
            (hour("01-30T10:00"), print(2, 7)),
            (hour("01-30T11:00"), print(1, 1)),
        ]);
        let found = Fingerprints::from([
            (hour("01-30T09:00"), print(2, 7)),
            (hour("01-30T10:00"), print(2, 8)),
            (hour("01-30T12:00"), print(1, 1)),
        ]);
        let expected = [
            hour("01-30T10:00"),
            hour("01-30T11:00"),
            hour("01-30T12:00"),
        ];
        assert!(changed(&stored, &found).into_iter().eq(&expected));
    }
}
