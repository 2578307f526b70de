//! One call to an API, as it is recorded and counted.

use chrono::{DateTime, Utc};

/// A usage record with all defaults filled in.
///
/// The names are those of the columns of `api_usage`. Text is borrowed, so that a run over a million
/// records makes no million allocations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UsageRecord<'a> {
    /// Stable and unique, so that each call is recorded once.
    pub id: &'a str,
    /// The API that was called, such as `finnhub`.
    pub api_name: &'a str,
    pub endpoint: Option<&'a str>,
    pub method: Option<&'a str>,
    /// When, to the millisecond.
    pub timestamp: DateTime<Utc>,
    pub success: bool,
    /// The HTTP status, 100 to 599.
    pub status_code: Option<i32>,
    /// Milliseconds.
    pub response_time: Option<i32>,
    /// Bytes.
    pub request_size: Option<i32>,
    /// Bytes.
    pub response_size: Option<i32>,
    /// The application's class of the error; see [`error_type`].
    pub error_type: Option<&'a str>,
    /// At most [`limits::ERROR_MESSAGE_CHARS`] characters.
    pub error_message: Option<&'a str>,
    /// Credits the provider charges for this call.
    pub cost_credits: Option<f64>,
    /// Answered from a cache: the request did not reach the provider.
    pub cached: bool,
    pub user_id: Option<&'a str>,
}

/// Which values of a record are defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Defaulted {
    /// The time is the moment of recording.
    pub timestamp: bool,
    /// The method is [`DEFAULT_METHOD`].
    pub method: bool,
    /// The error type follows from the status.
    pub error_type: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewUsage<'a> {
    pub record: UsageRecord<'a>,
    pub defaulted: Defaulted,
}

impl NewUsage<'_> {
    /// The first field in which the row stored under this id differs.
    ///
    /// A default does not conflict with a value that could be a default too: with any time, and with a
    /// missing method or error type, which other programs leave out.
    pub fn first_difference(&self, stored: &UsageRecord<'_>) -> Option<&'static str> {
        let new = &self.record;
        let method_agrees =
            new.method == stored.method || self.defaulted.method && stored.method.is_none();
        let error_type_agrees = new.error_type == stored.error_type
            || self.defaulted.error_type && stored.error_type.is_none();
        let fields = [
            ("api_name", new.api_name == stored.api_name),
            (
                "timestamp",
                self.defaulted.timestamp || new.timestamp == stored.timestamp,
            ),
            ("endpoint", new.endpoint == stored.endpoint),
            ("method", method_agrees),
            ("success", new.success == stored.success),
            ("status_code", new.status_code == stored.status_code),
            ("response_time", new.response_time == stored.response_time),
            ("request_size", new.request_size == stored.request_size),
            ("response_size", new.response_size == stored.response_size),
            ("error_type", error_type_agrees),
            ("error_message", new.error_message == stored.error_message),
            ("cost_credits", new.cost_credits == stored.cost_credits),
            ("cached", new.cached == stored.cached),
            ("user_id", new.user_id == stored.user_id),
        ];
        fields
            .into_iter()
            .find_map(|(field, agrees)| (!agrees).then_some(field))
    }
}

pub const DEFAULT_METHOD: &str = "GET";

/// The limits of each field: within them both engines store a record unchanged.
///
/// PostgreSQL refuses an index entry beyond 2,704 bytes. The longest is that of (api_name, endpoint,
/// timestamp); the limits keep it well below, even if the text does not compress.
pub mod limits {
    use std::ops::RangeInclusive;

    use crate::domain::usage::credits::LARGEST_COST;

    pub const ID_BYTES: usize = 200;
    pub const API_NAME_BYTES: usize = 200;
    pub const ENDPOINT_BYTES: usize = 2_048;
    pub const METHOD_BYTES: usize = 40;
    pub const ERROR_TYPE_BYTES: usize = 200;
    pub const USER_ID_BYTES: usize = 500;
    /// Longer error messages are truncated, as the application truncates them.
    pub const ERROR_MESSAGE_CHARS: usize = 5_000;
    pub const STATUS_CODES: RangeInclusive<i32> = 100..=599;
    /// Milliseconds and bytes.
    pub const AMOUNTS: RangeInclusive<i32> = 0..=i32::MAX;
    pub const COSTS: RangeInclusive<f64> = 0.0..=LARGEST_COST;
    /// Years that both engines write with four digits.
    pub const YEARS: RangeInclusive<i32> = 1970..=9999;
}

/// The beginning of an error message, as long as the application keeps it.
pub fn truncate_error_message(message: &str) -> &str {
    // Most are far shorter, and text has at least as many bytes as characters.
    if message.len() <= limits::ERROR_MESSAGE_CHARS {
        return message;
    }
    message
        .char_indices()
        .nth(limits::ERROR_MESSAGE_CHARS)
        .map_or(message, |(end, _)| &message[..end])
}

/// The application's values of `error_type`.
pub mod error_type {
    pub const RATE_LIMIT: &str = "RATE_LIMIT";
    pub const TIMEOUT: &str = "TIMEOUT";
    pub const SERVER_ERROR: &str = "SERVER_ERROR";
    pub const CLIENT_ERROR: &str = "CLIENT_ERROR";
    pub const NETWORK_ERROR: &str = "NETWORK_ERROR";
    pub const UNKNOWN: &str = "UNKNOWN";
}

/// The default of `success`: the status is below 400 and there is no error type.
pub fn default_success(status_code: Option<i32>, has_error_type: bool) -> bool {
    !has_error_type && status_code.is_none_or(|status| status < 400)
}

/// The default of `error_type` of a failed call, by its status.
pub fn default_error_type(status_code: Option<i32>) -> &'static str {
    match status_code {
        Some(429) => error_type::RATE_LIMIT,
        Some(408 | 504) => error_type::TIMEOUT,
        Some(500..) => error_type::SERVER_ERROR,
        Some(400..) => error_type::CLIENT_ERROR,
        _ => error_type::UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> UsageRecord<'static> {
        UsageRecord {
            id: "a",
            api_name: "finnhub",
            endpoint: None,
            method: Some(DEFAULT_METHOD),
            timestamp: DateTime::UNIX_EPOCH,
            success: false,
            status_code: Some(429),
            response_time: None,
            request_size: None,
            response_size: None,
            error_type: Some(error_type::RATE_LIMIT),
            error_message: None,
            cost_credits: Some(0.1),
            cached: false,
            user_id: None,
        }
    }

    #[test]
    fn first_differing_field_is_found() {
        let new = NewUsage {
            record: record(),
            defaulted: Defaulted::default(),
        };
        assert_eq!(new.first_difference(&record()), None);
        let stored = UsageRecord {
            cost_credits: Some(0.2),
            ..record()
        };
        assert_eq!(new.first_difference(&stored), Some("cost_credits"));
        let stored = UsageRecord {
            endpoint: Some("/quote"),
            ..record()
        };
        assert_eq!(new.first_difference(&stored), Some("endpoint"));
    }

    #[test]
    fn default_does_not_conflict_with_missing_value() {
        let stored = UsageRecord {
            timestamp: DateTime::from_timestamp_millis(1).unwrap(),
            method: None,
            error_type: None,
            ..record()
        };
        let mut new = NewUsage {
            record: record(),
            defaulted: Defaulted {
                timestamp: true,
                method: true,
                error_type: true,
            },
        };
        assert_eq!(new.first_difference(&stored), None);
        // A default is not a wildcard: another value is another call.
        let post = UsageRecord {
            method: Some("POST"),
            ..stored
        };
        assert_eq!(new.first_difference(&post), Some("method"));
        new.defaulted.method = false;
        assert_eq!(new.first_difference(&stored), Some("method"));
    }

    #[test]
    fn success_defaults_by_status_and_error_type() {
        assert!(default_success(None, false));
        assert!(default_success(Some(399), false));
        assert!(!default_success(Some(400), false));
        assert!(!default_success(Some(200), true));
    }

    #[test]
    fn error_type_defaults_by_status() {
        let types = [
            (Some(429), "RATE_LIMIT"),
            (Some(408), "TIMEOUT"),
            (Some(504), "TIMEOUT"),
            (Some(500), "SERVER_ERROR"),
            (Some(599), "SERVER_ERROR"),
            (Some(404), "CLIENT_ERROR"),
            (Some(200), "UNKNOWN"),
            (None, "UNKNOWN"),
        ];
        for (status, expected) in types {
            assert_eq!(default_error_type(status), expected, "{status:?}");
        }
    }
}
