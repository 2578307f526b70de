//! How much an API lets its callers do in a period.

use chrono::{DateTime, Utc};

use super::source::{Grade, PageDate};
use crate::domain::named::named;
use crate::domain::period::Period;

named! {
    /// What an API counts.
    Unit, "unit" {
        /// Calls that reach it.
        Calls = "CALLS",
        /// Its credits: the cost of the calls.
        Credits = "CREDITS",
    }
}

named! {
    /// Who says how much it is.
    ApiLimitOrigin, "origin" {
        /// The user. No catalogue changes it.
        User = "USER",
        /// The provider, by the catalogue.
        Catalogue = "CATALOGUE",
    }
}

/// One limit of one API.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiLimit {
    /// The API, by its name in `api_usage`.
    pub api_name: String,
    /// In how long a time; of two periods of one API both hold.
    pub period: Period,
    pub unit: Unit,
    /// How many of it; finite and above zero.
    pub value: f64,
    pub origin: ApiLimitOrigin,
    /// Where it is written: an address, or the user's words.
    pub source: Option<String>,
    /// The date on that page.
    pub page_date: Option<PageDate>,
    /// How good the source is.
    pub grade: Option<Grade>,
    /// The catalogue that it came from.
    pub catalogue_version: Option<String>,
    /// When it was written down here.
    pub updated_at: DateTime<Utc>,
}

/// Above this a number is a mistake, and a double no longer counts in ones.
pub const LARGEST: f64 = 1e15;

/// A value that no limit can have.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0} is no limit: a number above zero, up to {LARGEST:e}")]
pub struct NoLimit(pub String);

/// Makes sure that a limit can be compared with.
pub fn sound(value: f64) -> Result<f64, NoLimit> {
    if value > 0.0 && value <= LARGEST {
        Ok(value)
    } else {
        Err(NoLimit(value.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_that_something_can_be_compared_with() {
        for value in [f64::MIN_POSITIVE, 0.5, 60.0, LARGEST] {
            assert_eq!(sound(value), Ok(value));
        }
        for value in [0.0, -0.0, -1.0, 1.1e15, f64::NAN, f64::INFINITY] {
            assert!(sound(value).is_err(), "{value}");
        }
    }
}
