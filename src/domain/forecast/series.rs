//! The input of a forecast: daily values and a request.

use chrono::{Datelike, NaiveDate};

use super::fixed::Fixed;
pub use crate::domain::metrics::names::MetricKind;

/// A day, counted from 1970-01-01.
pub type DayNumber = i32;

pub fn day_number(day: NaiveDate) -> DayNumber {
    day.num_days_from_ce() - NaiveDate::default().num_days_from_ce()
}

/// The day of this number, or the last day of the calendar for a number beyond it.
pub fn day_date(day: DayNumber) -> NaiveDate {
    let from_epoch = NaiveDate::default().num_days_from_ce().checked_add(day);
    let date = from_epoch.and_then(NaiveDate::from_num_days_from_ce_opt);
    date.unwrap_or(NaiveDate::MAX)
}

/// A day and its value: by the kind, the level at the end of the day, the amount of the day, or the rate.
pub type DailyValue = (DayNumber, f64);

/// A series, in the order of its days.
#[derive(Clone, Debug, PartialEq)]
pub struct DailySeries {
    /// Also the seed of the simulation: the same name and data give the same forecast.
    pub name: String,
    pub kind: MetricKind,
    /// At most one value per day; days without data are missing.
    pub days: Vec<DailyValue>,
}

impl DailySeries {
    pub fn new(
        name: impl Into<String>,
        kind: MetricKind,
        days: impl IntoIterator<Item = DailyValue>,
    ) -> DailySeries {
        DailySeries {
            name: name.into(),
            kind,
            days: days.into_iter().collect(),
        }
    }

    /// The finite values up to `today`, in order, the last one for each day.
    pub fn usable(&self, today: DayNumber) -> Vec<DailyValue> {
        let mut days = self.days.clone();
        days.retain(|(day, value)| value.is_finite() && *day <= today);
        days.sort_by_key(|(day, _)| *day);
        days.reverse();
        days.dedup_by_key(|(day, _)| *day);
        days.reverse();
        days
    }
}

/// The forecast to make.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ForecastRequest {
    /// The current day.
    pub today: DayNumber,
    /// The day of the newest reading and the part of it that is measured, from 0 to 1; only for counters. Without it, all
    /// days of the series are whole, but today, of which nothing is measured.
    pub read_to: Option<(DayNumber, f64)>,
    /// Number of days to simulate, from today on.
    pub days: usize,
    /// Usually warning, critical and limit.
    pub thresholds: Vec<f64>,
    /// The first days of the billing periods, from the current one to the first that begins after the last
    /// simulated day; only for counters.
    pub periods: Vec<DayNumber>,
    /// The current level, or the usage of the current period, if it is known better than from the days.
    pub used: Option<f64>,
    /// Number of days of the current period whose amounts are not in `used`; of a sum, parts of days.
    pub missing: f64,
    /// The part of the amounts that needs no model.
    pub fixed: Fixed,
    /// The pace so far, for histories that are too short for the model.
    pub pace: Option<Pace>,
}

/// The pace between the first and the last reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    pub per_day: f64,
    /// The newest level; not used for amounts.
    pub level: f64,
    /// Days between the readings.
    pub span: f64,
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
