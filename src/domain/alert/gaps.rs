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
    /// Adds the result of [`find`].
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::testing::at_minute as at;

    /// The gaps, and the number of look-ups.
    fn found(calls: &[i64], least: i64, from: i64, to: i64) -> (Gaps, u64) {
        let look_ups = Cell::new(0);
        let calls: Vec<DateTime<Utc>> = calls.iter().map(|minute| at(*minute)).collect();
        let look = |call: Option<&DateTime<Utc>>| {
            look_ups.set(look_ups.get() + 1);
            Ok::<_, ()>(call.copied())
        };
        let least = TimeDelta::minutes(least);
        let gaps = find(
            least,
            Window::new(at(from), at(to)),
            |at| look(calls.iter().filter(|call| **call < at).max()),
            |at| look(calls.iter().filter(|call| **call >= at).min()),
        );
        let mut of_length = Gaps::default();
        of_length.insert(least, gaps.unwrap());
        (of_length, look_ups.get())
    }

    #[test]
    fn one_step_takes_one_look_up() {
        let (gaps, look_ups) = found(&[0, 10], 30, 10, 40);
        assert_eq!(gaps.last_call(at(40), TimeDelta::minutes(30)), Some(at(10)));
        assert_eq!(look_ups, 1);
        let (gaps, look_ups) = found(&[0, 11], 30, 10, 40);
        assert_eq!(
            (gaps.last_call(at(40), TimeDelta::minutes(30)), look_ups),
            (None, 1)
        );
        assert_eq!(found(&[], 30, 10, 40).1, 1);
    }

    proptest! {
        #[test]
        fn every_step_knows_its_gap(
            calls in vec(0..2_000_i64, 0..60),
            least in 1..200_i64,
            first in 0..1_500_i64,
            steps in 0..500_i64,
        ) {
            let (gaps, look_ups) = found(&calls, least, first - least, first + steps);
            for step in first..=first + steps {
                let last = calls.iter().filter(|call| **call < step).max();
                let expected = last.filter(|last| step - **last >= least).map(|last| at(*last));
                prop_assert_eq!(gaps.last_call(at(step), TimeDelta::minutes(least)), expected);
            }
            prop_assert!(look_ups <= 4 + 4 * (steps as u64 / least as u64 + 2));
        }
    }
}
