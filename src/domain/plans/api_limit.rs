//! The rate limits and quotas of APIs.

use chrono::{DateTime, Utc};

use super::source::Citation;
use crate::domain::format;
use crate::domain::named::named;
use crate::domain::period::Period;

named! {
    /// What a limit of an API counts.
    Unit, "unit" {
        /// Calls that reach the API.
        Calls = "CALLS",
        /// Credits: the cost of the calls.
        Credits = "CREDITS",
    }
}

named! {
    /// Who owns a limit of an API.
    ApiLimitOrigin, "origin" {
        /// The user. No catalogue changes it.
        User = "USER",
        Catalogue = "CATALOGUE",
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct ApiLimit {
    /// The API's name in `api_usage`.
    pub api_name: String,
    /// An API may have one limit for each period; all of them hold.
    pub period: Period,
    pub unit: Unit,
    pub value: f64,
    pub origin: ApiLimitOrigin,
    pub citation: Citation,
    pub updated_at: DateTime<Utc>,
}

/// The limit of an API for a period.
pub fn find<'a>(limits: &'a [ApiLimit], api_name: &str, period: &Period) -> Option<&'a ApiLimit> {
    let mut limits = limits.iter();
    limits.find(|limit| limit.api_name == api_name && limit.period == *period)
}

/// A larger number is a mistake, and beyond the whole numbers that a double can hold.
pub const LARGEST: f64 = 1e15;

/// A value that usage cannot be compared with.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("invalid limit {}: expected a number above 0, up to {LARGEST:e}", format::exact(*.0))]
pub struct InvalidLimit(pub f64);

/// Checks that usage can be compared with a value.
pub fn check_value(value: f64) -> Result<f64, InvalidLimit> {
    if value > 0.0 && value <= LARGEST {
        Ok(value)
    } else {
        Err(InvalidLimit(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_is_positive_and_finite() {
        for value in [f64::MIN_POSITIVE, 0.5, 60.0, LARGEST] {
            assert_eq!(check_value(value), Ok(value));
        }
        for value in [0.0, -0.0, -1.0, 1.1e15, f64::NAN, f64::INFINITY] {
            assert!(check_value(value).is_err(), "{value}");
        }
    }
}
