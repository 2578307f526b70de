//! Amounts that need no model: charges that are known ahead, and fees or credits that recur each month.

use std::collections::BTreeMap;

use chrono::{Datelike, Months, NaiveDate};

use super::paths::Paths;
use super::robust::{median_of, spread};
use super::series::{DailyValue, DayNumber, Pace, day_date, day_number};

/// The fixed part of each day's amount, past and future.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fixed {
    days: BTreeMap<DayNumber, f64>,
    /// The part of every day: a charge for a month or longer.
    daily: f64,
}

impl Fixed {
    /// Fees and credits that came on the same day of each month, at least twice, up to the day `until`. That of `today`
    /// may not be posted yet.
    pub fn monthly(known: &[DailyValue], today: DayNumber, until: DayNumber) -> Fixed {
        const FEWEST: usize = 2;
        const SPREADS: f64 = 6.0;
        let values: Vec<f64> = known.iter().map(|(_, value)| *value).collect();
        let usual = median_of(&mut values.clone());
        let least = (SPREADS * spread(&values)).max(usual.abs());
        let all: BTreeMap<DayNumber, f64> = known.iter().copied().collect();
        let (Some(first), Some(last)) = (known.first(), known.last()) else {
            return Fixed::default();
        };
        let begin = day_date(first.0).with_day(1).unwrap_or_default();
        let months = (0..).map_while(|month| begin.checked_add_months(Months::new(month)));
        let months = months.take_while(|month| day_number(*month) <= until);
        let months: Vec<NaiveDate> = months.collect();
        let mut fixed = Fixed::default();
        // Zero is the last day.
        for of_month in 0..=28 {
            let days = months.iter().filter_map(|month| match of_month {
                0 => month.checked_add_months(Months::new(1))?.pred_opt(),
                day => month.with_day(day),
            });
            let days = days
                .map(day_number)
                .filter(|day| (first.0..=until).contains(day));
            let (past, ahead): (Vec<DayNumber>, Vec<_>) = days.partition(|day| *day <= last.0);
            let excess = |day: &DayNumber| all.get(day).map(|value| value - usual);
            let is_due =
                |day: &DayNumber| *day < today || excess(day).is_some_and(|it| it.abs() > least);
            let past: Vec<DayNumber> = past.into_iter().filter(is_due).collect();
            let amounts: Option<Vec<f64>> = past.iter().map(excess).collect();
            let amounts = amounts.unwrap_or_default();
            let recurs = amounts.len() >= FEWEST
                && amounts
                    .iter()
                    .all(|it| it.abs() > least && it * amounts[0] > 0.0);
            if let (true, Some(newest)) = (recurs, amounts.last().copied()) {
                fixed.days.extend(past.into_iter().zip(amounts));
                fixed
                    .days
                    .extend(ahead.into_iter().map(|day| (day, newest)));
            }
        }
        fixed
    }

    /// Adds charges for days `ahead`, if the amounts of the `known` days contain them. They go on as they are.
    #[must_use]
    pub fn with_charges(mut self, known: &[DailyValue], ahead: &[DailyValue]) -> Fixed {
        const ROUNDING: f64 = 1e-9;
        let Some((_, daily)) = ahead.first().copied() else {
            return self;
        };
        let fixed = |day: DayNumber| self.days.get(&day).copied().unwrap_or(0.0);
        let mut rest = known.iter().map(|(day, value)| value - fixed(*day));
        if daily > 0.0 && rest.all(|rest| rest >= daily * (1.0 - ROUNDING)) {
            self.daily = daily;
            for (day, amount) in ahead {
                *self.days.entry(*day).or_default() += amount - daily;
            }
        }
        self
    }

    /// Leaves the fixed part out of known days.
    pub(super) fn leave_out(&self, known: &mut [DailyValue]) {
        for (day, value) in known {
            *value -= self.on(*day);
        }
    }

    pub(super) fn of_pace(&self, pace: Pace) -> Pace {
        let per_day = pace.per_day - self.daily;
        Pace { per_day, ..pace }
    }

    /// Adds the fixed part to the simulated days after `read`.
    pub(super) fn add_to(&self, paths: &mut Paths, read: DayNumber) {
        if *self != Fixed::default() {
            paths.add(|day| if day > read { self.on(day) } else { 0.0 });
        }
    }

    fn on(&self, day: DayNumber) -> f64 {
        self.daily + self.days.get(&day).copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> DayNumber {
        day_number(text.parse().unwrap())
    }

    fn days(from: &str, to: &str, amount: impl Fn(NaiveDate) -> f64) -> Vec<DailyValue> {
        let days = day(from)..=day(to);
        days.map(|day| (day, amount(day_date(day)))).collect()
    }

    #[test]
    fn amount_on_the_same_day_of_each_month_recurs() {
        let last = |day: NaiveDate| {
            if day.succ_opt().unwrap().day() == 1 {
                -20.0
            } else {
                0.0
            }
        };
        let first = |day: NaiveDate| if day.day() == 1 { 30.0 } else { 0.0 };
        let usage = |day: NaiveDate| 2.0 + f64::from(day.day() % 3) * 0.2;
        let until = day("2027-01-05");
        for (event, expected) in [
            (
                &last as &dyn Fn(NaiveDate) -> f64,
                vec!["2026-11-30", "2026-12-31"],
            ),
            (&first, vec!["2026-12-01", "2027-01-01"]),
        ] {
            let known = days("2026-09-25", "2026-11-25", |day| usage(day) + event(day));
            let fixed = Fixed::monthly(&known, day("2026-11-26"), until);
            let ahead = fixed.days.range(day("2026-11-26")..);
            let dates: Vec<String> = ahead.map(|(day, _)| day_date(*day).to_string()).collect();
            assert_eq!(dates, expected);
            let mut rest = known;
            fixed.leave_out(&mut rest);
            assert!(
                rest.iter().all(|(_, value)| (1.9..2.5).contains(value)),
                "{rest:?}"
            );
        }
        // Once is no pattern, and neither are days that differ.
        for missing in ["2026-10-31", "2026-11-30"] {
            let event = |at: NaiveDate| {
                if day_number(at) == day(missing) {
                    0.0
                } else {
                    last(at)
                }
            };
            let known = days("2026-10-25", "2026-12-25", |day| usage(day) + event(day));
            let fixed = Fixed::monthly(&known, day("2026-12-26"), until);
            assert_eq!(fixed, Fixed::default());
        }
        // On its day it may not be posted yet.
        let known = days("2026-09-25", "2026-12-01", |day| {
            usage(day) + if day.month() == 12 { 0.0 } else { first(day) }
        });
        let fixed = Fixed::monthly(&known, day("2026-12-01"), until);
        let ahead: Vec<_> = fixed.days.range(day("2026-11-26")..).collect();
        assert_eq!(ahead.len(), 1);
        assert_eq!(*ahead[0].0, day("2027-01-01"));
    }

    #[test]
    fn charge_that_is_known_ahead_is_fixed_if_all_days_have_it() {
        let ahead = days("2026-11-06", "2026-11-30", |_| 2.0);
        let known = days("2026-11-01", "2026-11-05", |day| 2.0 + f64::from(day.day()));
        let fixed = Fixed::default().with_charges(&known, &ahead);
        assert_eq!(
            [fixed.on(day("2026-11-02")), fixed.on(day("2026-12-02"))],
            [2.0, 2.0]
        );
        let known = days("2026-10-31", "2026-11-05", |day| {
            if day.month() == 10 { 0.5 } else { 2.0 }
        });
        assert_eq!(
            Fixed::default().with_charges(&known, &ahead),
            Fixed::default()
        );
    }
}
