//! Where a published number is written, and how far it is to be trusted.

use std::fmt;
use std::str::FromStr;

use chrono::NaiveDate;
use serde::{Serialize, Serializer};

use crate::domain::named::named;

named! {
    /// How good a source is.
    Grade, "grade" {
        /// The provider's own words.
        A = "A",
        /// A dated transcription of the provider's words.
        B = "B",
        /// Disputed, undated or inferred: shown, never used.
        C = "C",
    }
}

impl Grade {
    /// Whether a number of this grade may be used.
    pub fn is_sound(self) -> bool {
        self != Grade::C
    }
}

/// The date that stands on a page, as precisely as it stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageDate {
    /// `2026-02-27`
    Day(NaiveDate),
    /// `2026-02`, the first day of which is kept.
    Month(NaiveDate),
    /// `2026`, the first day of which is kept.
    Year(NaiveDate),
    /// The page has no date. That is said, never left out.
    Undated,
}

impl PageDate {
    const UNDATED: &str = "undated";

    /// The earliest day that it can mean.
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

/// A page's date that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no date such as 2026-02-27, 2026-02 or 2026, and not `undated`")]
pub struct NoPageDate(String);

impl FromStr for PageDate {
    type Err = NoPageDate;

    fn from_str(text: &str) -> Result<PageDate, NoPageDate> {
        let first = |text: String| text.parse::<NaiveDate>().ok();
        let date = match text.len() {
            _ if text == PageDate::UNDATED => Some(PageDate::Undated),
            4 => first(format!("{text}-01-01")).map(PageDate::Year),
            7 => first(format!("{text}-01")).map(PageDate::Month),
            10 => first(text.to_owned()).map(PageDate::Day),
            _ => None,
        };
        date.ok_or_else(|| NoPageDate(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_kept_as_precisely_as_it_was_given() {
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
