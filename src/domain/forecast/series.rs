//! What a forecast is made from: a series' daily values, and the request that is asked about it.

use chrono::{Datelike, NaiveDate};

pub use crate::domain::metrics::names::MetricKind;

/// A day, counted from 1970-01-01.
pub type DayNumber = i32;

/// The number of a day.
pub fn day_number(day: NaiveDate) -> DayNumber {
    day.num_days_from_ce() - NaiveDate::default().num_days_from_ce()
}

/// The day of this number, or the last day of the calendar for a number beyond it.
pub fn day_date(day: DayNumber) -> NaiveDate {
    let from_epoch = NaiveDate::default().num_days_from_ce().checked_add(day);
    from_epoch
        .and_then(NaiveDate::from_num_days_from_ce_opt)
        .unwrap_or(NaiveDate::MAX)
}

/// The value of one day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DailyValue {
    pub day: DayNumber,
    /// The level at its end, the amount of it, or how slow it was.
    pub value: f64,
}

/// A series, in the order of its days.
#[derive(Clone, Debug, PartialEq)]
pub struct DailySeries {
    /// Its name, which also decides the chance in its simulated paths: same name, same data, same answer.
    pub name: String,
    /// How its values are read: the level at the end of each day, the amount of each day, or how slow it was.
    pub kind: MetricKind,
    /// One value a day, each day at most once; days without data are missing.
    pub days: Vec<DailyValue>,
}

impl DailySeries {
    /// The days that can be used: in order, each once (the later value counts), finite and not after `today`.
    pub fn usable(&self, today: DayNumber) -> Vec<(DayNumber, f64)> {
        let mut days: Vec<(DayNumber, f64)> = Vec::with_capacity(self.days.len());
        for day in &self.days {
            if day.value.is_finite() && day.day <= today {
                days.push((day.day, day.value));
            }
        }
        days.sort_by_key(|(day, _)| *day);
        days.reverse();
        days.dedup_by_key(|(day, _)| *day);
        days.reverse();
        days
    }
}

/// What is asked about a series.
#[derive(Clone, Debug, PartialEq)]
pub struct ForecastRequest {
    /// The day that is under way.
    pub today: DayNumber,
    /// Which part of it is over, from 0 to 1. Only amounts need it: what the rest of the day will add.
    pub elapsed: f64,
    /// How many days to simulate from `today` on; answers about dates look ahead no further than they may.
    pub days: usize,
    /// The values whose reaching is asked about: warning, critical, limit.
    pub thresholds: Vec<f64>,
    /// The first days of the billing periods, from the one under way to one that begins after the last
    /// simulated day. Only for [`MetricKind::Period`].
    pub periods: Vec<DayNumber>,
    /// What was used in the period under way, where that is known better than the sum of its days.
    pub used: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn day_number_and_date_are_inverse() {
        assert_eq!(day_number(NaiveDate::from_ymd_opt(1970, 1, 2).unwrap()), 1);
        for day in [-1, 0, 20_484] {
            assert_eq!(day_number(day_date(day)), day);
        }
        assert_eq!(day_date(i32::MAX), NaiveDate::MAX);
    }
}
