//! Hours, days and months, in UTC or in a time zone, and windows of time.

use std::str::FromStr;

use chrono::{
    DateTime, Datelike, DurationRound, Months, NaiveDate, NaiveTime, TimeDelta, Timelike, Utc,
};

use super::named::{UnknownName, named, open_named};
use super::zone::Zone;

named! {
    /// The period of a roll-up; its name in `aggregation_type`.
    Granularity, "granularity" {
        Hourly = "HOURLY",
        Daily = "DAILY",
        Monthly = "MONTHLY",
    }
}

impl Granularity {
    /// From the shortest, in the order in which they are rolled up.
    pub const ALL: [Granularity; 3] = [
        Granularity::Hourly,
        Granularity::Daily,
        Granularity::Monthly,
    ];

    /// The unit, in the plural.
    pub fn unit(self) -> &'static str {
        match self {
            Granularity::Hourly => "hours",
            Granularity::Daily => "days",
            Granularity::Monthly => "months",
        }
    }

    pub fn below(self) -> Option<Granularity> {
        match self {
            Granularity::Hourly => None,
            Granularity::Daily => Some(Granularity::Hourly),
            Granularity::Monthly => Some(Granularity::Daily),
        }
    }

    pub fn above(self) -> Option<Granularity> {
        match self {
            Granularity::Hourly => Some(Granularity::Daily),
            Granularity::Daily => Some(Granularity::Monthly),
            Granularity::Monthly => None,
        }
    }

    /// The start of the period that contains `at`.
    pub fn start_of(self, at: DateTime<Utc>) -> DateTime<Utc> {
        let (date, hour) = match self {
            Granularity::Hourly => (at.date_naive(), at.hour()),
            Granularity::Daily => (at.date_naive(), 0),
            Granularity::Monthly => (at.date_naive().with_day(1).unwrap_or(at.date_naive()), 0),
        };
        let time = NaiveTime::from_hms_opt(hour, 0, 0).unwrap_or(NaiveTime::MIN);
        date.and_time(time).and_utc()
    }

    /// The end of the period that starts at `start`: the start of the next.
    pub fn end_of(self, start: DateTime<Utc>) -> DateTime<Utc> {
        let end = match self {
            Granularity::Hourly => start.checked_add_signed(TimeDelta::hours(1)),
            Granularity::Daily => start.checked_add_signed(TimeDelta::days(1)),
            Granularity::Monthly => start.checked_add_months(Months::new(1)),
        };
        // Time ends in the year 262142.
        end.unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// The number of periods from the start `from` to the start `to`.
    pub fn count_between(self, from: DateTime<Utc>, to: DateTime<Utc>) -> usize {
        let months = |at: DateTime<Utc>| i64::from(at.year()) * 12 + i64::from(at.month0());
        let count = match self {
            Granularity::Hourly => (to - from).num_hours(),
            Granularity::Daily => (to - from).num_days(),
            Granularity::Monthly => months(to) - months(from),
        };
        usize::try_from(count).unwrap_or(0)
    }
}

/// The shortest part of an hour that is kept apart: every time zone in use today is a multiple of it away from UTC.
const QUARTER: TimeDelta = TimeDelta::minutes(15);

/// The start of the quarter of an hour that contains `at`.
pub fn quarter_of(at: DateTime<Utc>) -> DateTime<Utc> {
    at.duration_trunc(QUARTER).unwrap_or(at)
}

/// The periods of roll-ups: hours in UTC, and the days and months of a time zone.
///
/// A day begins at local midnight, rounded down to a quarter of an hour, so days of 23 and 25 hours are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    pub zone: Zone,
}

impl Default for Calendar {
    fn default() -> Calendar {
        Calendar::UTC
    }
}

impl Calendar {
    pub const UTC: Calendar = Calendar { zone: Zone::UTC };

    fn is_utc(self, granularity: Granularity) -> bool {
        granularity == Granularity::Hourly || self.zone == Zone::UTC
    }

    /// The start of a local day.
    pub fn midnight(self, date: NaiveDate) -> DateTime<Utc> {
        quarter_of(start_of_day(self.zone, date))
    }

    pub fn date_of(self, at: DateTime<Utc>) -> NaiveDate {
        let date = self.zone.local(at).date_naive();
        // Midnight is rounded down.
        match date.succ_opt() {
            Some(next) if self.midnight(next) <= at => next,
            _ => date,
        }
    }

    /// The start of the period that contains `at`.
    pub fn start_of(self, granularity: Granularity, at: DateTime<Utc>) -> DateTime<Utc> {
        if self.is_utc(granularity) {
            return granularity.start_of(at);
        }
        let date = self.date_of(at);
        self.midnight(match granularity {
            Granularity::Monthly => date.with_day(1).unwrap_or(date),
            Granularity::Hourly | Granularity::Daily => date,
        })
    }

    /// The end of the period that contains `at`: the start of the next.
    pub fn end_of(self, granularity: Granularity, at: DateTime<Utc>) -> DateTime<Utc> {
        if self.is_utc(granularity) {
            return granularity.end_of(granularity.start_of(at));
        }
        let date = self.date_of(at);
        let first = match granularity {
            Granularity::Monthly => date
                .with_day(1)
                .and_then(|it| it.checked_add_months(Months::new(1))),
            Granularity::Hourly | Granularity::Daily => date.succ_opt(),
        };
        // A change of zone may skip a date.
        let mut next = first.into_iter().flat_map(|date| date.iter_days().take(3));
        let end = next.find_map(|date| Some(self.midnight(date)).filter(|start| *start > at));
        end.unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// The number of periods from the start `from` to the start `to`.
    pub fn count_between(
        self,
        granularity: Granularity,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> usize {
        if self.is_utc(granularity) {
            return granularity.count_between(from, to);
        }
        let local = |at| self.date_of(at).and_time(NaiveTime::MIN).and_utc();
        granularity.count_between(local(from), local(to))
    }

    /// The starts of the pieces of a window of whole hours, in order.
    pub fn pieces(self, window: Window) -> Vec<DateTime<Utc>> {
        let hour = Granularity::Hourly;
        let hours = std::iter::successors(Some(window.from), |start| Some(hour.end_of(*start)));
        let hours = hours.take_while(|start| *start < window.to);
        let pieces = hours.flat_map(|start| std::iter::once(start).chain(self.cut_of(start)));
        pieces.collect()
    }

    /// The start of the first period that begins at `at` or later.
    fn start_from(self, granularity: Granularity, at: DateTime<Utc>) -> DateTime<Utc> {
        let start = self.start_of(granularity, at);
        if start == at {
            start
        } else {
            self.end_of(granularity, start)
        }
    }

    /// The periods that overlap `window`.
    pub fn widened(self, granularity: Granularity, window: Window) -> Window {
        let start = self.start_of(granularity, window.from);
        Window::new(start, self.start_from(granularity, window.to))
    }

    /// The whole periods in `window`.
    pub fn narrowed(self, granularity: Granularity, window: Window) -> Window {
        let end = self.start_of(granularity, window.to);
        Window::new(self.start_from(granularity, window.from), end)
    }

    /// The local midnight inside an hour, if there is one.
    pub fn cut_of(self, hour: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if self.zone == Zone::UTC {
            return None;
        }
        let next = self.end_of(Granularity::Daily, hour);
        (next < Granularity::Hourly.end_of(hour)).then_some(next)
    }

    /// The start of the hour that contains `at`, or the midnight inside it if that is not after `at`.
    pub fn piece_of(self, at: DateTime<Utc>) -> DateTime<Utc> {
        let hour = Granularity::Hourly.start_of(at);
        self.cut_of(hour).filter(|cut| *cut <= at).unwrap_or(hour)
    }
}

open_named! {
    /// The period of an alert rule or of an API's limit, in the application's words. Any other has an unknown length.
    Period {
        Second = "SECOND",
        Minute = "MINUTE",
        Hour = "HOUR",
        Day = "DAY",
        Month = "MONTH",
    }
}

impl Period {
    /// Its length; a month has 30 days.
    pub fn length(&self) -> Option<TimeDelta> {
        match self {
            Period::Second => Some(TimeDelta::seconds(1)),
            Period::Minute => Some(TimeDelta::minutes(1)),
            Period::Hour => Some(TimeDelta::hours(1)),
            Period::Day => Some(TimeDelta::days(1)),
            Period::Month => Some(TimeDelta::days(30)),
            Period::Other(_) => None,
        }
    }
}

impl FromStr for Period {
    type Err = UnknownName;

    /// Parses a period of known length, in upper or lower case.
    fn from_str(name: &str) -> Result<Period, UnknownName> {
        match Period::named(&name.to_ascii_uppercase()) {
            Period::Other(_) => Err(UnknownName {
                name: name.to_owned(),
                set: "period",
                known: Period::NAMES.join(", "),
            }),
            known => Ok(known),
        }
    }
}

/// The time from `from`, up to but not including `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Window {
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
}

impl Window {
    pub const fn new(from: DateTime<Utc>, to: DateTime<Utc>) -> Window {
        Window { from, to }
    }

    /// The years 1 to 9999, which can be rolled up: SQLite's text form has four digits for a year.
    pub const ALL: Window = match (
        DateTime::from_timestamp_secs(-62_135_596_800),
        DateTime::from_timestamp_secs(253_402_300_800),
    ) {
        (Some(from), Some(to)) => Window { from, to },
        _ => Window::new(DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC),
    };

    pub fn contains(&self, at: DateTime<Utc>) -> bool {
        self.from <= at && at < self.to
    }

    pub fn is_empty(&self) -> bool {
        self.from >= self.to
    }

    /// The whole periods of UTC in the window.
    pub fn narrowed(&self, granularity: Granularity) -> Window {
        Calendar::UTC.narrowed(granularity, *self)
    }

    /// The window before and after `middle`, which is a part of it or empty.
    pub fn without(&self, middle: Window) -> [Window; 2] {
        let (before, after) = if middle.is_empty() {
            (self.to, self.to)
        } else {
            (middle.from, middle.to)
        };
        [Window::new(self.from, before), Window::new(after, self.to)]
    }

    /// Joins each window to the one before it if there is no gap between them. They are given in their order.
    pub fn joined(windows: impl IntoIterator<Item = Window>) -> Vec<Window> {
        let mut joined: Vec<Window> = Vec::new();
        for window in windows {
            match joined.last_mut() {
                Some(last) if window.from <= last.to => last.to = last.to.max(window.to),
                _ => joined.push(window),
            }
        }
        joined
    }

    /// The periods of UTC that overlap the window.
    pub fn widened(&self, granularity: Granularity) -> Window {
        Calendar::UTC.widened(granularity, *self)
    }
}

/// The start of a day in a time zone: of a midnight that occurs twice the first; where a change of clocks skips it,
/// the first instant after.
pub fn start_of_day(zone: Zone, date: NaiveDate) -> DateTime<Utc> {
    let midnight = date.and_time(NaiveTime::MIN);
    let minutes = (0..=24 * 60).map(|minutes| midnight + TimeDelta::minutes(minutes));
    let mut instants = minutes.filter_map(|local| zone.instant(local).earliest());
    let first = instants.next();
    first.unwrap_or_else(|| midnight.and_utc())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::testing::{at, cases, window, zone, zones};

    #[test]
    fn instant_is_in_one_hour_one_day_and_one_month() {
        let instant = at("2024-02-29T23:59:59.999Z");
        let periods = Granularity::ALL.map(|granularity| {
            let start = granularity.start_of(instant);
            (start, granularity.end_of(start))
        });
        let next = at("2024-03-01T00:00:00Z");
        assert_eq!(
            periods,
            [
                (at("2024-02-29T23:00:00Z"), next),
                (at("2024-02-29T00:00:00Z"), next),
                (at("2024-02-01T00:00:00Z"), next),
            ]
        );
    }

    #[test]
    fn all_windows_are_in_years_of_four_digits() {
        assert_eq!(Window::ALL.from, at("0001-01-01T00:00:00Z"));
        assert_eq!(Window::ALL.to, at("+10000-01-01T00:00:00Z"));
    }

    #[test]
    fn windows_without_gaps_are_joined() {
        let day = |from: u32, to: u32| {
            let at = |day: u32| at(&format!("2026-01-{day:02}T00:00:00Z"));
            Window::new(at(from), at(to))
        };
        let joined = Window::joined([day(1, 2), day(2, 3), day(4, 5)]);
        assert_eq!(joined, [day(1, 3), day(4, 5)]);
    }

    #[test]
    fn months_have_calendar_lengths() {
        let lengths: Vec<_> = (1..=12)
            .map(|month| {
                let start = at(&format!("2025-{month:02}-01T00:00:00Z"));
                (Granularity::Monthly.end_of(start) - start).num_days()
            })
            .collect();
        assert_eq!(lengths, [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]);
        let december = at("2025-12-01T00:00:00Z");
        let expected = at("2026-01-01T00:00:00Z");
        assert_eq!(Granularity::Monthly.end_of(december), expected);
        assert_eq!(
            Granularity::Monthly.count_between(december, at("2027-02-01T00:00:00Z")),
            14
        );
    }

    #[test]
    fn window_splits_into_whole_days_and_edges() {
        let asked = window("2026-01-30T22:30:00Z", "2026-02-02T01:15:00Z");
        let hours = asked.narrowed(Granularity::Hourly);
        let days = asked.narrowed(Granularity::Daily);
        let expected = window("2026-01-30T23:00:00Z", "2026-02-02T01:00:00Z");
        assert_eq!(hours, expected);
        assert_eq!(days, window("2026-01-31T00:00:00Z", "2026-02-02T00:00:00Z"));
        let edges = [
            window("2026-01-30T23:00:00Z", "2026-01-31T00:00:00Z"),
            window("2026-02-02T00:00:00Z", "2026-02-02T01:00:00Z"),
        ];
        assert_eq!(hours.without(days), edges);
        let months = asked.narrowed(Granularity::Monthly);
        assert!(months.is_empty() && hours.without(months)[1].is_empty());
        assert_eq!(hours.without(months)[0], hours);
    }

    #[test]
    fn local_days_have_23_to_25_hours() {
        let hours = |zone: Zone, at_noon: &str| {
            let calendar = Calendar { zone };
            let start = calendar.start_of(Granularity::Daily, at(at_noon));
            let length = calendar.end_of(Granularity::Daily, start) - start;
            (start, length.num_minutes())
        };
        // The 30th of December 2011 did not exist in Apia.
        let table = "
            Europe/Madrid       | 2026-03-29T12:00:00Z | 2026-03-28T23:00:00Z | 1380
            Europe/Madrid       | 2026-10-25T12:00:00Z | 2026-10-24T22:00:00Z | 1500
            America/New_York    | 2026-03-08T12:00:00Z | 2026-03-08T05:00:00Z | 1380
            Asia/Kathmandu      | 2026-01-31T12:00:00Z | 2026-01-30T18:15:00Z | 1440
            Asia/Seoul          | 2026-01-31T12:00:00Z | 2026-01-30T15:00:00Z | 1440
            Australia/Lord_Howe | 2026-04-05T06:00:00Z | 2026-04-04T13:00:00Z | 1470
            Australia/Lord_Howe | 2026-10-04T06:00:00Z | 2026-10-03T13:30:00Z | 1410
            Pacific/Apia        | 2011-12-29T22:00:00Z | 2011-12-29T10:00:00Z | 1440";
        for [name, noon, start, minutes] in cases(table) {
            let expected = (at(start), minutes.parse().unwrap());
            assert_eq!(hours(zone(name), noon), expected, "{name} {noon}");
        }
        let kathmandu = Calendar {
            zone: zone("Asia/Kathmandu"),
        };
        assert_eq!(kathmandu.cut_of(at("01-30T18:00")), Some(at("01-30T18:15")));
        assert_eq!(kathmandu.piece_of(at("01-30T18:14")), at("01-30T18:00"));
        assert_eq!(kathmandu.piece_of(at("01-30T18:40")), at("01-30T18:15"));
        assert_eq!(kathmandu.cut_of(at("01-30T19:00")), None);
        let pieces = ["17:00", "18:00", "18:15", "19:00"].map(|time| at(&format!("01-30T{time}")));
        let hours = Window::new(at("01-30T17:00"), at("01-30T20:00"));
        assert_eq!(kathmandu.pieces(hours), pieces);
        let month = kathmandu.start_of(Granularity::Monthly, at("01-31T18:14"));
        assert_eq!(month, at("2025-12-31T18:15:00Z"));
        assert_eq!(
            kathmandu.end_of(Granularity::Monthly, month),
            at("01-31T18:15")
        );
    }

    proptest! {
        #[test]
        fn local_periods_are_contiguous_and_nested(
            ms in -62_100_000_000_000..253_400_000_000_000_i64,
            zone in proptest::sample::select(zones()),
        ) {
            let instant = DateTime::from_timestamp_millis(ms).unwrap();
            let calendar = Calendar { zone };
            for granularity in Granularity::ALL {
                let start = calendar.start_of(granularity, instant);
                let end = calendar.end_of(granularity, start);
                prop_assert!(start <= instant && instant < end, "{} {} {}", zone, start, end);
                prop_assert_eq!(calendar.start_of(granularity, start), start);
                prop_assert_eq!(calendar.start_of(granularity, end), end);
                prop_assert_eq!(calendar.end_of(granularity, instant), end);
                prop_assert_eq!(quarter_of(start), start);
            }
            prop_assert!(calendar.piece_of(instant) <= instant);
            let day = calendar.start_of(Granularity::Daily, instant);
            prop_assert_eq!(calendar.start_of(Granularity::Daily, calendar.piece_of(instant)), day);
        }

        #[test]
        fn periods_are_contiguous_and_nested(ms in -62_135_596_800_000..253_402_300_800_000_i64) {
            let instant = DateTime::from_timestamp_millis(ms).unwrap();
            prop_assert!(Window::ALL.contains(instant));
            for granularity in Granularity::ALL {
                let start = granularity.start_of(instant);
                let end = granularity.end_of(start);
                prop_assert!(start <= instant && instant < end);
                prop_assert_eq!(granularity.start_of(start), start);
                prop_assert_eq!(granularity.start_of(end), end);
                prop_assert_eq!(Calendar::UTC.start_from(granularity, start), start);
                prop_assert_eq!(granularity.count_between(start, end), 1);
                if let Some(above) = granularity.above() {
                    prop_assert_eq!(above.start_of(start), above.start_of(instant));
                    prop_assert!(end <= above.end_of(above.start_of(instant)));
                }
            }
        }
    }
}
