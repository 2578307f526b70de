//! Hours of a day, or days of a month, that a run counted again. The roll-up of the longer period follows from its
//! stored one and from the endpoints that changed, so that a late row costs as much in a month of a million endpoints.

use std::collections::{BTreeMap, BTreeSet};

use super::aggregate_row::Counts;
use super::aggregate_step::AggregateStep;
use super::endpoint::OTHER;
use super::rollup::{ApiPeriod, ApiRollup, Rollup};

/// What a run replaced in the parts of longer periods, by the longer period.
#[derive(Debug, Default)]
pub struct Replacements {
    /// Nothing where the period has to be merged from all its parts.
    parts: BTreeMap<ApiPeriod, Option<ReplacedParts>>,
    endpoints: usize,
}

impl Replacements {
    /// The most endpoints that are kept in memory.
    const MOST: usize = 10_000;

    /// Whether a part of the period was counted again in this run.
    pub fn contains(&self, period: &ApiPeriod) -> bool {
        self.parts.contains_key(period)
    }

    pub fn of(&self, period: &ApiPeriod) -> Option<&ReplacedParts> {
        self.parts.get(period)?.as_ref()
    }

    /// The period has to be merged from all its parts.
    pub fn give_up(&mut self, period: ApiPeriod) {
        self.parts.insert(period, None);
    }

    /// Notes the periods of a step, of which all endpoints are known.
    pub fn note(&mut self, step: &AggregateStep, counts: &Counts) {
        for period in &step.periods {
            let containing = step.containing(period);
            // How the calls of an hour changed is known, not how those of its pieces did.
            let is_whole = containing.len() == 1;
            for containing in containing {
                let parts = self.parts.entry(containing);
                let parts = parts.or_insert_with(|| Some(ReplacedParts::default()));
                let Some(known) = parts else { continue };
                let (before, after) = (counts.before.get(period), counts.after.get(period));
                self.endpoints += known.note(before, after);
                if !is_whole || self.endpoints > Replacements::MOST {
                    *parts = None;
                }
            }
        }
    }
}

/// The calls of the endpoints that changed in the parts of one period, before and after these were counted again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReplacedParts {
    removed: BTreeMap<String, Rollup>,
    added: BTreeMap<String, Rollup>,
}

/// The stored roll-ups of a period and of its parts.
#[derive(Debug, Default)]
pub struct StoredPeriod {
    /// The total, and those of [`ReplacedParts::endpoints`] that the period has.
    pub rollup: ApiRollup,
    /// The same of its parts, merged.
    pub parts: ApiRollup,
    /// The number of all its endpoints.
    pub endpoints: usize,
    /// The requests of the endpoint with the fewest, and those of all, without [`OTHER`].
    pub requests: Option<(u64, u64)>,
}

impl ReplacedParts {
    /// Notes a part; returns the number of endpoints that changed in it.
    fn note(&mut self, before: Option<&ApiRollup>, after: Option<&ApiRollup>) -> usize {
        let none = ApiRollup::default();
        let (before, after) = (before.unwrap_or(&none), after.unwrap_or(&none));
        let mut changed = 0;
        for (sums, one, other) in [
            (&mut self.removed, before, after),
            (&mut self.added, after, before),
        ] {
            for (name, rollup) in &one.endpoints {
                if other.endpoints.get(name) != Some(rollup) {
                    sums.entry(name.clone()).or_default().merge(rollup);
                    changed += 1;
                }
            }
        }
        changed
    }

    /// The endpoints to read: those that changed, the calls without one, which are stored beside the total, and
    /// [`OTHER`].
    pub fn endpoints(&self) -> BTreeSet<&str> {
        let changed = self.removed.keys().chain(self.added.keys());
        changed.map(String::as_str).chain(["", OTHER]).collect()
    }

    /// The roll-up of the period, which keeps at most `most` endpoints: its total and those that were read. The others
    /// stay as they are. Nothing if all parts have to be merged to know it.
    pub fn applied(&self, stored: &StoredPeriod, most: u32) -> Option<ApiRollup> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let (before, parts) = (&stored.rollup.endpoints, &stored.parts.endpoints);
        if stored.endpoints <= most {
            let new = parts.keys().filter(|name| !before.contains_key(*name));
            let fits = stored.endpoints + new.count() <= most;
            return fits.then(|| stored.parts.clone());
        }
        let (fewest, mut requests) = stored.requests?;
        let none = Rollup::default();
        let mut other = before.get(OTHER)?.clone();
        let mut after = stored.parts.clone();
        for name in self.endpoints() {
            let now = parts.get(name).unwrap_or(&none).total_requests;
            let is_kept = name != OTHER && before.contains_key(name);
            if is_kept {
                // With fewer requests it may have to make room for another endpoint.
                requests += now.checked_sub(before.get(name)?.total_requests)?;
                continue;
            }
            if name != OTHER && now >= fewest {
                return None;
            }
            let [removed, added] =
                [&self.removed, &self.added].map(|sums| sums.get(name).unwrap_or(&none));
            other = replaced(&other, removed, added)?;
            after.endpoints.remove(name);
        }
        requests += other.total_requests;
        after.endpoints.insert(OTHER.to_owned(), other);
        (requests == after.total.total_requests).then_some(after)
    }
}

/// A roll-up with some of its calls replaced; nothing if it takes its other calls to know it.
fn replaced(rollup: &Rollup, removed: &Rollup, added: &Rollup) -> Option<Rollup> {
    let [times, old, new] = [rollup, removed, added].map(|it| &it.response_times);
    let shortest_is_gone =
        old.min.is_some() && old.min <= times.min && new.min.is_none_or(|new| Some(new) > old.min);
    let longest_is_gone =
        old.max.is_some() && old.max >= times.max && new.max.is_none_or(|new| Some(new) < old.max);
    // Whether another call has a size is unknown, and a sum that reached the limit of its column is not exact.
    let bytes = |rollup: &Rollup| [rollup.request_bytes, rollup.response_bytes];
    let sizes_are_gone = std::iter::zip(bytes(removed), bytes(added))
        .any(|(removed, added)| removed.is_some() && added.is_none());
    let largest = [rollup, removed, added].into_iter().flat_map(bytes).max();
    let is_exact = largest.flatten() < Some(i64::MAX.unsigned_abs());
    if shortest_is_gone || longest_is_gone || sizes_are_gone || !is_exact {
        return None;
    }
    let mut after = rollup.clone();
    after.merge(added);
    after.subtract(removed);
    (after.total_requests > 0).then_some(after)
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;
    use crate::domain::usage::rollup::{Call, LeftOut};

    /// The response times of the calls of an hour, by endpoint.
    type Hour = BTreeMap<String, Vec<i64>>;

    fn rollup(hour: &Hour, most: u32) -> ApiRollup {
        let mut rollup = ApiRollup::default();
        for (name, times) in hour {
            for ms in times {
                let call = Call {
                    success: true,
                    status_code: None,
                    response_time: Some(*ms),
                    request_size: (*ms % 3 == 0).then_some(*ms),
                    response_size: None,
                    error_type: None,
                    cost_credits: Some(0.1),
                    cached: false,
                };
                rollup.total.add(&call, &mut LeftOut::default());
                rollup.endpoint(name).add(&call, &mut LeftOut::default());
            }
        }
        rollup.cap(most);
        rollup
    }

    fn day(hours: &[ApiRollup]) -> ApiRollup {
        let mut day = ApiRollup::default();
        hours.iter().for_each(|hour| day.merge(hour));
        day
    }

    fn only(rollup: &ApiRollup, names: &BTreeSet<&str>) -> ApiRollup {
        let mut rollup = rollup.clone();
        rollup
            .endpoints
            .retain(|name, _| names.contains(name.as_str()));
        rollup
    }

    /// The day of the replaced hours from its stored roll-up, and from all hours. The latter must be of at most `most`
    /// endpoints, as the former.
    fn days(before: &[Hour], after: &[Hour], most: u32) -> (Option<ApiRollup>, ApiRollup) {
        let [old, new] = [before, after].map(|hours| {
            hours
                .iter()
                .map(|hour| rollup(hour, most))
                .collect::<Vec<_>>()
        });
        let mut parts = ReplacedParts::default();
        for (old, new) in std::iter::zip(&old, &new) {
            parts.note(Some(old), Some(new));
        }
        let mut stored = day(&old);
        stored.cap(most);
        let mut expected = day(&new);
        expected.cap(most);
        let names = parts.endpoints();
        let kept = stored.endpoints.iter().filter(|(name, _)| *name != OTHER);
        let requests: Vec<u64> = kept.map(|(_, own)| own.total_requests).collect();
        let found = StoredPeriod {
            rollup: only(&stored, &names),
            parts: only(&day(&new), &names),
            endpoints: stored.endpoints.len(),
            requests: requests
                .iter()
                .min()
                .map(|min| (*min, requests.iter().sum())),
        };
        let applied = parts.applied(&found, most).map(|applied| {
            let unread = stored
                .endpoints
                .iter()
                .filter(|(name, _)| !names.contains(name.as_str()));
            let unread = unread.map(|(name, own)| (name.clone(), own.clone()));
            ApiRollup {
                endpoints: unread.chain(applied.endpoints).collect(),
                ..applied
            }
        });
        (applied, expected)
    }

    fn hour(calls: &[(&str, &[i64])]) -> Hour {
        let calls = calls.iter();
        calls
            .map(|(name, times)| ((*name).to_owned(), times.to_vec()))
            .collect()
    }

    #[test]
    fn late_call_is_added() {
        let before = [hour(&[("/a", &[5])]), hour(&[("/b", &[7])])];
        let after = [hour(&[("/a", &[5, 9])]), hour(&[("/b", &[7])])];
        let (applied, expected) = days(&before, &after, 2);
        assert_eq!(applied, Some(expected));
        let after = [hour(&[("/a", &[5]), ("/c", &[9])]), hour(&[("/b", &[7])])];
        assert_eq!(days(&before, &after, 2).0, None, "an endpoint too many");
    }

    #[test]
    fn late_call_to_one_of_many_endpoints_is_added_to_the_others() {
        let before = [
            hour(&[("/a", &[5, 6, 7, 8])]),
            hour(&[("/b", &[7]), ("/c", &[9, 9, 9])]),
        ];
        let after = |times| {
            [
                hour(&[("/a", &[5, 6, 7, 8]), ("/b", times)]),
                before[1].clone(),
            ]
        };
        let (applied, expected) = days(&before, &after(&[3]), 2);
        assert_eq!(applied.as_ref(), Some(&expected));
        assert_eq!(expected.endpoints[OTHER].total_requests, 2);
        assert_eq!(
            days(&before, &after(&[3, 3]), 2).0,
            None,
            "it may be kept now"
        );
    }

    #[test]
    fn deleted_shortest_call_of_the_others_takes_all_parts() {
        let kept = ("/a", [5, 6].as_slice());
        let before = [hour(&[kept, ("/b", &[1])]), hour(&[kept, ("/c", &[2])])];
        let after = [hour(&[kept]), hour(&[kept, ("/c", &[2])])];
        assert_eq!(days(&before, &after, 1).0, None);
    }

    proptest! {
        #[test]
        fn replaced_parts_give_the_same_as_all_parts(
            before in vec(btree_map("/[a-e]", vec(0_i64..9, 1..4), 0..5), 2),
            replaced in btree_map("/[a-e]", vec(0_i64..9, 1..4), 0..5),
            adds in any::<bool>(),
            most in 1_u32..6,
        ) {
            let mut after = before.clone();
            if adds {
                for (name, times) in replaced {
                    after[0].entry(name).or_default().extend(times);
                }
            } else {
                after[0] = replaced;
            }
            let (applied, expected) = days(&before, &after, most);
            if let Some(applied) = applied {
                prop_assert_eq!(applied, expected);
            }
        }
    }
}
