//! Instants and windows as a user names them: `2026-01-31`, `today`, `this-month`.

use std::str::FromStr;

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};

use super::period::{Calendar, Granularity, Window};

/// An instant, or the start of a day or month in the time zone of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    At(DateTime<Utc>),
    Date(NaiveDate),
    Today,
    Yesterday,
    ThisMonth,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected an RFC 3339 time such as 2026-01-31T12:00:00Z, a date such as 2026-01-31, today, yesterday or this-month"
)]
pub struct InvalidMoment;

impl FromStr for Moment {
    type Err = InvalidMoment;

    fn from_str(text: &str) -> Result<Moment, InvalidMoment> {
        match text {
            "today" => Ok(Moment::Today),
            "yesterday" => Ok(Moment::Yesterday),
            "this-month" => Ok(Moment::ThisMonth),
            _ => match NaiveDate::from_str(text) {
                Ok(date) => Ok(Moment::Date(date)),
                Err(_) => DateTime::parse_from_rfc3339(text)
                    .map(|at| Moment::At(at.to_utc()))
                    .map_err(|_| InvalidMoment),
            },
        }
    }
}

impl Moment {
    pub fn start(self, now: DateTime<Utc>, calendar: Calendar) -> DateTime<Utc> {
        let today = calendar.date_of(now);
        match self {
            Moment::At(at) => at,
            Moment::Date(date) => calendar.midnight(date),
            Moment::Today => calendar.midnight(today),
            Moment::Yesterday => {
                calendar.midnight(today.checked_sub_days(Days::new(1)).unwrap_or(today))
            }
            Moment::ThisMonth => calendar.start_of(Granularity::Monthly, now),
        }
    }
}

/// The length of a window that ends at some instant, or a named window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    Length(TimeDelta),
    Since(Moment),
}

impl Span {
    /// The window that ends at `to`; yesterday ends with the day.
    pub fn window(self, to: DateTime<Utc>, now: DateTime<Utc>, calendar: Calendar) -> Window {
        match self {
            Span::Length(length) => {
                let from = to.checked_sub_signed(length);
                Window::new(from.unwrap_or(Window::ALL.from), to)
            }
            Span::Since(Moment::Yesterday) => {
                let end = Moment::Today.start(now, calendar);
                Window::new(Moment::Yesterday.start(now, calendar), end)
            }
            Span::Since(moment) => Window::new(moment.start(now, calendar), to),
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::domain::testing::{at, window, zone};

    #[test]
    fn dates_begin_at_local_midnight() {
        let calendar = Calendar {
            zone: zone("Asia/Seoul"),
        };
        // It is the first of February there.
        let now = at("01-31T20:00");
        let start = |text: &str| {
            text.parse()
                .map(|moment: Moment| moment.start(now, calendar))
        };
        assert_eq!(start("2026-01-30"), Ok(at("01-29T15:00")));
        assert_eq!(start("today"), Ok(at("01-31T15:00")));
        assert_eq!(start("yesterday"), Ok(at("01-30T15:00")));
        assert_eq!(start("this-month"), Ok(at("01-31T15:00")));
        assert_eq!(start("2026-01-30T01:00:00+01:00"), Ok(at("01-30T00:00")));
        for text in ["", "tomorrow", "2026-02-30", "2026-01-30 10:00", "10:00"] {
            assert_eq!(start(text), Err(InvalidMoment), "{text}");
        }
        let yesterday = Span::Since(Moment::Yesterday).window(now, now, calendar);
        assert_eq!(yesterday, window("01-30T15:00", "01-31T15:00"));
        let week = Span::Length(TimeDelta::weeks(1)).window(now, now, calendar);
        assert_eq!(week, window("01-24T20:00", "01-31T20:00"));
    }
}
