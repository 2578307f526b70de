//! Stretches of time in which an API has no calls.
//!
//! They are found by jumps along an index, so that the calls between them are not read.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::period::Window;

/// The gaps of an API, by the least length that is asked for. A gap is from the last call before it to the next.
#[derive(Debug, Default)]
pub struct Gaps {
    of_length: BTreeMap<TimeDelta, Vec<Window>>,
}

impl Gaps {
    pub fn insert(&mut self, least: TimeDelta, gaps: Vec<Window>) {
        self.of_length.insert(least, gaps);
    }

    /// The last call before `at`, if there was none for `least`.
    pub fn last_call(&self, at: DateTime<Utc>, least: TimeDelta) -> Option<DateTime<Utc>> {
        let gaps = self.of_length.get(&least)?;
        let gap = gaps.get(gaps.partition_point(|gap| gap.to < at))?;
        (gap.from < at && at - gap.from >= least).then_some(gap.from)
    }
}

/// The gaps of at least `least` that reach into `window`, each up to its end at most. `last_before` and `first_from` look
/// up a call before, and one at or after an instant.
pub fn find<E>(
    least: TimeDelta,
    window: Window,
    mut last_before: impl FnMut(DateTime<Utc>) -> Result<Option<DateTime<Utc>>, E>,
    mut first_from: impl FnMut(DateTime<Utc>) -> Result<Option<DateTime<Utc>>, E>,
) -> Result<Vec<Window>, E> {
    let mut gaps = Vec::new();
    let Some(last) = last_before(window.to)? else {
        return Ok(gaps);
    };
    let after = |at: DateTime<Utc>| at.checked_add_signed(least).unwrap_or(window.to);
    // Between the steps of the window, if it has more than one.
    if last > window.from && after(window.from) < window.to {
        let before = last_before(window.from)?;
        let first = match before {
            Some(call) => Some(call),
            None => first_from(window.from)?,
        };
        let mut call = first.unwrap_or(last);
        while call < last {
            let end = after(call);
            let next = last_before(end)?.filter(|next| *next > call);
            let next = match next {
                Some(next) => next,
                None => {
                    let next = first_from(end)?.unwrap_or(last);
                    gaps.push(Window::new(call, next));
                    next
                }
            };
            // Calls that are deleted meanwhile must not make this endless.
            call = next.max(call + TimeDelta::milliseconds(1));
        }
    }
    if window.to - last >= least {
        gaps.push(Window::new(last, window.to));
    }
    Ok(gaps)
}

/// The same after `from`, where `active` are the parts of the time up to `to` that have calls, each shorter than the
/// interval between steps or as long. Only where a gap may be long enough calls are looked up.
pub fn find_between<E>(
    least: TimeDelta,
    Window { from, to }: Window,
    active: &[Window],
    mut last_before: impl FnMut(DateTime<Utc>) -> Result<Option<DateTime<Utc>>, E>,
    mut first_from: impl FnMut(DateTime<Utc>) -> Result<Option<DateTime<Utc>>, E>,
) -> Result<Vec<Window>, E> {
    let mut gaps = Vec::new();
    let mut before: Option<&Window> = None;
    for part in active.iter().map(Some).chain([None]) {
        let end = part.map_or(to, |part| part.to);
        let may_be_long = match before {
            Some(before) => end - before.from >= least,
            // No step lies before the end of the first part.
            None => part.is_none_or(|part| part.from > from),
        };
        if may_be_long {
            let no_calls_from = before.map_or(part.map_or(to, |part| part.from), |it| it.to);
            let last = last_before(no_calls_from)?;
            let next = match part {
                Some(part) => first_from(part.from)?.unwrap_or(part.to),
                None => to,
            };
            let gap = last.map(|last| Window::new(last, next));
            gaps.extend(gap.filter(|gap| gap.to - gap.from >= least));
        }
        before = part;
    }
    Ok(gaps)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::testing::at_minute as at;

    /// The gaps, and the number of look-ups.
    fn found(calls: &[i64], least: i64, from: i64, to: i64, steps: bool) -> (Gaps, u64) {
        let look_ups = Cell::new(0);
        let calls: Vec<DateTime<Utc>> = calls.iter().map(|minute| at(*minute)).collect();
        let look = |call: Option<&DateTime<Utc>>| {
            look_ups.set(look_ups.get() + 1);
            Ok::<_, ()>(call.copied())
        };
        let least = TimeDelta::minutes(least);
        let before = |at| look(calls.iter().filter(|call| **call < at).max());
        let first = |at| look(calls.iter().filter(|call| **call >= at).min());
        let gaps = match steps {
            false => find(least, Window::new(at(from), at(to)), before, first),
            true => {
                // Steps are five minutes apart.
                let from = at(from) + least - TimeDelta::minutes(5);
                let parts = (0..).map(|n| from + TimeDelta::minutes(5 * n));
                let parts = parts.take_while(|part| *part < at(to));
                let parts = parts.map(|part| Window::new(part, part + TimeDelta::minutes(5)));
                let is_active = |part: &Window| calls.iter().any(|call| part.contains(*call));
                let active: Vec<Window> = parts.filter(is_active).collect();
                find_between(least, Window::new(from, at(to)), &active, before, first)
            }
        };
        let mut of_length = Gaps::default();
        of_length.insert(least, gaps.unwrap());
        (of_length, look_ups.get())
    }

    #[test]
    fn one_step_takes_one_look_up() {
        let (gaps, look_ups) = found(&[0, 10], 30, 10, 40, false);
        assert_eq!(gaps.last_call(at(40), TimeDelta::minutes(30)), Some(at(10)));
        assert_eq!(look_ups, 1);
        let (gaps, look_ups) = found(&[0, 11], 30, 10, 40, false);
        assert_eq!(
            (gaps.last_call(at(40), TimeDelta::minutes(30)), look_ups),
            (None, 1)
        );
        assert_eq!(found(&[], 30, 10, 40, false).1, 1);
    }

    proptest! {
        #[test]
        fn every_step_knows_its_gap(
            calls in vec(0..2_000_i64, 0..60),
            least in 1..200_i64,
            first in 0..1_500_i64,
            steps in 0..500_i64,
        ) {
            let (gaps, look_ups) = found(&calls, least, first - least, first + steps, false);
            for step in first..=first + steps {
                let last = calls.iter().filter(|call| **call < step).max();
                let expected = last.filter(|last| step - **last >= least).map(|last| at(*last));
                prop_assert_eq!(gaps.last_call(at(step), TimeDelta::minutes(least)), expected);
            }
            prop_assert!(look_ups <= 4 + 4 * (steps as u64 / least as u64 + 2));
        }

        #[test]
        fn parts_with_calls_give_the_same_gaps(
            calls in vec(0..2_000_i64, 0..200),
            least in 1..200_i64,
            first in 0..300_i64,
            steps in 0..100_i64,
        ) {
            let (first, last) = (first * 5, (first + steps) * 5);
            let (gaps, look_ups) = found(&calls, least, first - least, last, true);
            let (expected, _) = found(&calls, least, first - least, last, false);
            for step in (first..=last).step_by(5) {
                let last_call = |gaps: &Gaps| gaps.last_call(at(step), TimeDelta::minutes(least));
                prop_assert_eq!(last_call(&gaps), last_call(&expected), "{}", step);
            }
            let is_busy = (first - 5..last).step_by(5).all(|part| calls.iter().any(|call| (part..part + 5).contains(call)));
            prop_assert!(!is_busy || least <= 10 || look_ups == 0);
        }
    }
}
