//! An outage of the recorder: no API has had a call for much longer than is usual.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};

use super::gaps;
use crate::domain::format;
use crate::domain::period::Window;

/// A shorter time without calls is never an outage.
const SHORTEST: TimeDelta = TimeDelta::hours(1);

/// The time before the outage in which the usual time between calls is measured; calls must reach back that far.
const HISTORY: TimeDelta = TimeDelta::days(7);

/// The multiple of the longest usual time without calls from which on one is an outage.
const FACTOR: i32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The last call.
    pub since: DateTime<Utc>,
    /// The usual time between calls is shorter.
    pub usual: TimeDelta,
}

impl Outage {
    /// The outage that lasts at `now`. `last_before` and `first_from` look up a call to any API, as for [`gaps::find`].
    pub fn find<E>(
        now: DateTime<Utc>,
        mut last_before: impl FnMut(DateTime<Utc>) -> Result<Option<DateTime<Utc>>, E>,
        first_from: impl FnMut(DateTime<Utc>) -> Result<Option<DateTime<Utc>>, E>,
    ) -> Result<Option<Outage>, E> {
        let last = last_before(now)?.filter(|last| now - *last >= SHORTEST);
        let Some(since) = last else {
            return Ok(None);
        };
        let (usual, history) = ((now - since) / FACTOR, Window::new(since - HISTORY, since));
        if last_before(history.from)?.is_none() {
            return Ok(None);
        }
        let gaps = gaps::find(usual, history, last_before, first_from)?;
        Ok(gaps.is_empty().then_some(Outage { since, usual }))
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no call to any API was recorded since {}; in the {} before, calls were less than {} apart",
            format::time(self.since),
            format::duration(HISTORY),
            format::duration(self.usual)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::at_minute as at;

    /// The outage at a minute, by the minutes of the calls.
    fn find(now: i64, calls: &[i64]) -> Option<Outage> {
        let found = |minute: Option<&i64>| Ok::<_, ()>(minute.map(|minute| at(*minute)));
        let before = |time| found(calls.iter().rfind(|minute| at(**minute) < time));
        let from = |time| found(calls.iter().find(|minute| at(**minute) >= time));
        Outage::find(at(now), before, from).unwrap()
    }

    #[test]
    fn silence_of_three_times_the_longest_gap_is_an_outage() {
        const WEEK: i64 = 7 * 24 * 60;
        // Every 20 minutes, with a gap of 40.
        let mut calls: Vec<i64> = (-WEEK / 20 - 1..=0).map(|n| n * 20).collect();
        calls.retain(|minute| *minute != -1_000);
        assert_eq!(find(120, &calls), None);
        let outage = find(121, &calls).unwrap();
        assert_eq!(outage.since, at(0));
        assert_eq!(
            outage.to_string(),
            "no call to any API was recorded since 2026-01-31T12:00:00Z; in the 7d before, calls were less than \
             40m 20s apart"
        );
        let regular: Vec<i64> = (-WEEK - 1..=0).collect();
        assert_eq!(find(59, &regular), None);
        assert_eq!(find(60, &regular).map(|it| it.since), Some(at(0)));
        // Less than a week of calls, and none at all.
        assert_eq!(find(600, &regular[2..]), None);
        assert_eq!(find(600, &[]), None);
    }
}
