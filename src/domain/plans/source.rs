//! Where a published number comes from, and how far it can be trusted.

use std::fmt;
use std::str::FromStr;

use chrono::NaiveDate;
use serde::{Serialize, Serializer};

use crate::domain::named::named;

named! {
    /// The reliability of a source.
    Grade, "grade" {
        /// A page of the provider.
        A = "A",
        /// A dated transcription of a page of the provider.
        B = "B",
        /// Disputed, undated or inferred: shown, never used.
        C = "C",
    }
}

impl Grade {
    pub fn is_usable(self) -> bool {
        self != Grade::C
    }
}

/// The date of a page, as precise as the page states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageDate {
    /// `2026-02-27`
    Day(NaiveDate),
    /// `2026-02`, kept as its first day.
    Month(NaiveDate),
    /// `2026`, kept as its first day.
    Year(NaiveDate),
    /// The page has no date, which must be stated.
    Undated,
}

impl PageDate {
    const UNDATED: &str = "undated";

    /// The earliest day it can stand for.
    pub fn earliest(self) -> Option<NaiveDate> {
        match self {
            PageDate::Day(day) | PageDate::Month(day) | PageDate::Year(day) => Some(day),
            PageDate::Undated => None,
        }
    }
}

impl fmt::Display for PageDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            PageDate::Day(day) => day.format("%Y-%m-%d").to_string(),
            PageDate::Month(day) => day.format("%Y-%m").to_string(),
            PageDate::Year(day) => day.format("%Y").to_string(),
            PageDate::Undated => PageDate::UNDATED.to_owned(),
        };
        f.pad(&text)
    }
}

impl Serialize for PageDate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid date `{0}`; expected 2026-02-27, 2026-02, 2026 or undated")]
pub struct InvalidPageDate(String);

impl FromStr for PageDate {
    type Err = InvalidPageDate;

    fn from_str(text: &str) -> Result<PageDate, InvalidPageDate> {
        let first = |text: String| text.parse::<NaiveDate>().ok();
        let date = match text.len() {
            _ if text == PageDate::UNDATED => Some(PageDate::Undated),
            4 => first(format!("{text}-01-01")).map(PageDate::Year),
            7 => first(format!("{text}-01")).map(PageDate::Month),
            10 => first(text.to_owned()).map(PageDate::Day),
            _ => None,
        };
        date.ok_or_else(|| InvalidPageDate(text.to_owned()))
    }
}

/// Where a stored limit comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Citation {
    /// The address of a page, or the user's words.
    pub source: Option<String>,
    pub page_date: Option<PageDate>,
    pub grade: Option<Grade>,
    /// The catalogue that the value was taken from.
    pub catalogue_version: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_date_keeps_its_precision() {
        for text in ["2026-02-27", "2026-02", "2026", "undated"] {
            assert_eq!(text.parse::<PageDate>().unwrap().to_string(), text);
        }
        let month: PageDate = "2026-02".parse().unwrap();
        assert_eq!(month.earliest(), NaiveDate::from_ymd_opt(2026, 2, 1));
        for text in ["", "26", "2026-13", "2026-02-30", "27.02.2026", "soon"] {
            assert!(text.parse::<PageDate>().is_err(), "{text}");
        }
    }
}
