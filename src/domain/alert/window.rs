//! The steps at which rules are evaluated, and the evaluation window of a step.
//!
//! Steps are the multiples of `--step`, by default the full minutes of UTC. The window of a step ends before it:
//! at 12:00 the last call that counts is that of 11:59:59.999.

use chrono::{DateTime, TimeDelta, Timelike, Utc};

use super::rule::TimeWindow;
use crate::domain::period::{Period, Window, start_of_day};
use crate::domain::plans::catalogue::LimitPeriod;
use crate::domain::plans::selection::Billing;

/// The instants at which rules are evaluated: the multiples of a number of whole seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    seconds: i64,
}

impl Grid {
    pub const MINUTES: Grid = Grid { seconds: 60 };

    /// A grid of this width: whole seconds, at most a day.
    pub fn new(step: TimeDelta) -> Option<Grid> {
        let seconds = step.num_seconds();
        let fits = step == TimeDelta::seconds(seconds) && (1..=86_400).contains(&seconds);
        fits.then_some(Grid { seconds })
    }

    pub fn step(self) -> TimeDelta {
        TimeDelta::seconds(self.seconds)
    }

    pub fn at_or_before(self, at: DateTime<Utc>) -> DateTime<Utc> {
        let seconds = at.timestamp().div_euclid(self.seconds) * self.seconds;
        DateTime::from_timestamp_secs(seconds).unwrap_or(at)
    }

    /// The steps after `after`, up to and including `to`.
    pub fn steps(
        self,
        after: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> impl Iterator<Item = DateTime<Utc>> {
        let step = self.step();
        let first = self.at_or_before(after) + step;
        std::iter::successors(Some(first), move |at| at.checked_add_signed(step))
            .take_while(move |at| *at <= to)
    }
}

/// The length of the stretches of which the busiest in the evaluation window counts; none if the window counts as a
/// whole.
pub fn stretch(period: &Period, kind: TimeWindow) -> Option<TimeDelta> {
    match (period, kind) {
        (Period::Second, _) | (Period::Minute, TimeWindow::Rolling) => period.length(),
        _ => None,
    }
}

/// The evaluation window of the step `at`; none for an unknown period.
///
/// For a second or a rolling minute it holds every stretch of that length that ends after the previous step.
pub fn window(
    period: &Period,
    kind: TimeWindow,
    billing: Billing,
    at: DateTime<Utc>,
    grid: Grid,
) -> Option<Window> {
    let length = period.length()?;
    let from = match (stretch(period, kind), kind) {
        (Some(stretch), _) => at.checked_sub_signed(grid.step() + stretch - TimeDelta::seconds(1)),
        (None, TimeWindow::Rolling) => at.checked_sub_signed(length),
        (None, TimeWindow::Calendar) => Some(calendar_start(period, billing, at)),
    };
    Some(Window::new(from.unwrap_or(at).max(Window::ALL.from), at))
}

/// The start of the calendar period that contains the instant before `at`: at midnight the window is the whole day
/// that ends.
fn calendar_start(period: &Period, billing: Billing, at: DateTime<Utc>) -> DateTime<Utc> {
    let within = at - TimeDelta::milliseconds(1);
    let local = billing.zone.local(within);
    match period {
        Period::Month => billing.period(LimitPeriod::BillingMonth, within).from,
        Period::Day => start_of_day(billing.zone, local.date_naive()),
        _ => {
            let minutes = match period {
                Period::Hour => local.minute(),
                _ => 0,
            };
            let past = TimeDelta::minutes(minutes.into())
                + TimeDelta::seconds(local.second().into())
                + TimeDelta::milliseconds(within.timestamp_subsec_millis().into());
            within - past
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::testing::{at, zone, zones};
    use crate::domain::zone::Zone;

    fn months_of(zone: Zone, anchor_day: u32) -> Billing {
        Billing { anchor_day, zone }
    }

    fn from(period: Period, kind: TimeWindow, zone: Zone, end: &str) -> DateTime<Utc> {
        let window = window(&period, kind, months_of(zone, 1), at(end), Grid::MINUTES).unwrap();
        assert_eq!(window.to, at(end));
        window.from
    }

    #[test]
    fn steps_are_multiples_of_the_interval() {
        let grid = Grid::MINUTES;
        let steps = |after: &str, to: &str| grid.steps(at(after), at(to)).count();
        let last = grid.at_or_before(at("2026-01-31T12:00:59.999Z"));
        assert_eq!(last, at("01-31T12:00"));
        assert_eq!(steps("01-31T12:00", "01-31T12:03"), 3);
        assert_eq!(steps("2026-01-31T12:00:30Z", "2026-01-31T12:03:59Z"), 3);
        assert_eq!(steps("01-31T12:03", "01-31T12:00"), 0);
        assert_eq!(Grid::new(TimeDelta::milliseconds(1_500)), None);
        assert_eq!(Grid::new(TimeDelta::zero()), None);
    }

    #[test]
    fn rolling_window_is_as_long_as_its_period() {
        for (period, expected) in [
            (Period::Second, "03-31T12:33"),
            // The first stretch of 60 s that ends after 12:33.
            (Period::Minute, "2026-03-31T12:32:01Z"),
            (Period::Hour, "03-31T11:34"),
            (Period::Day, "03-30T12:34"),
            (Period::Month, "03-01T12:34"),
        ] {
            let from = from(period, TimeWindow::Rolling, Zone::UTC, "03-31T12:34");
            assert_eq!(from, at(expected));
        }
    }

    #[test]
    fn calendar_window_begins_with_its_period_in_its_zone() {
        let (utc, madrid, nepal) = (Zone::UTC, zone("Europe/Madrid"), zone("Asia/Kathmandu"));
        for (period, zone, end, expected) in [
            (Period::Hour, utc, "03-31T12:34", "03-31T12:00"),
            (Period::Hour, utc, "03-31T12:00", "03-31T11:00"),
            (Period::Day, utc, "04-01T00:00", "03-31T00:00"),
            (Period::Month, utc, "04-01T00:00", "03-01T00:00"),
            (Period::Month, utc, "04-01T00:01", "04-01T00:00"),
            (Period::Month, nepal, "03-10T00:00", "02-28T18:15"),
            (Period::Hour, nepal, "03-10T00:20", "03-10T00:15"),
            // Days of 23 and 25 hours.
            (Period::Day, madrid, "03-29T21:59", "03-28T23:00"),
            (Period::Day, madrid, "10-25T22:59", "10-24T22:00"),
            // In Cairo the clocks go from 24:00 to 01:00: the day begins at one o'clock.
            (
                Period::Day,
                zone("Africa/Cairo"),
                "04-24T12:00",
                "04-23T22:00",
            ),
            // In Havana they go from 01:00 back to 00:00: the day has two midnights.
            (
                Period::Day,
                zone("America/Havana"),
                "11-01T12:00",
                "11-01T04:00",
            ),
        ] {
            let from = from(period, TimeWindow::Calendar, zone, end);
            assert_eq!(from, at(expected), "{end} in {zone}");
        }
    }

    proptest! {
        #[test]
        fn days_of_any_zone_are_contiguous(
            minutes in 0..30_000_000_i64,
            zone in proptest::sample::select(zones()),
        ) {
            // From 1990 on. The window one step after its start begins there; the one at its start, before.
            let end = at("1990-01-01T00:00:00Z") + TimeDelta::minutes(minutes);
            let billing = months_of(zone, 1);
            let day = |end| window(&Period::Day, TimeWindow::Calendar, billing, end, Grid::MINUTES).unwrap();
            let today = day(end);
            prop_assert!(today.from < today.to && today.to - today.from <= TimeDelta::hours(26));
            prop_assert_eq!(day(today.from + TimeDelta::minutes(1)).from, today.from);
            let yesterday = day(today.from);
            prop_assert!(yesterday.from < today.from && yesterday.to == today.from);
        }
    }
}
