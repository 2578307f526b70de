//! One call to an API, as it is recorded and counted.

use chrono::{DateTime, Utc};

/// A usage record, complete: every default has been filled in.
///
/// The names are those of the columns of `api_usage`. It borrows its texts, so that the million of
/// them that a run may see cost no million allocations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UsageRecord<'a> {
    /// Stable and unique; what makes recording exactly once.
    pub id: &'a str,
    /// The API that was called, such as `finnhub`.
    pub api_name: &'a str,
    /// The path that was called.
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
    /// The application's word for what failed; see [`error_type`].
    pub error_type: Option<&'a str>,
    /// At most [`ERROR_MESSAGE_MAX_CHARS`] characters.
    pub error_message: Option<&'a str>,
    /// Credits the provider charges for this call.
    pub cost_credits: Option<f64>,
    /// Answered from a cache: the provider never saw it.
    pub cached: bool,
    pub user_id: Option<&'a str>,
}

/// Which values of a record nobody gave, so that they were filled in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Defaulted {
    /// The time is the moment of recording.
    pub timestamp: bool,
    /// The method is [`DEFAULT_METHOD`].
    pub method: bool,
    /// The error type follows from the status.
    pub error_type: bool,
}

/// A record on its way into the database.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewUsage<'a> {
    pub record: UsageRecord<'a>,
    /// What of it nobody said.
    pub defaulted: Defaulted,
}

impl NewUsage<'_> {
    /// The first field in which the row that is stored under this id says something else, if any does.
    ///
    /// What was filled in contradicts nothing that could have been filled in at another time: no
    /// time at all, and no missing method or error type, which other programs leave out.
    pub fn contradiction(&self, stored: &UsageRecord<'_>) -> Option<&'static str> {
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
        let different = fields.iter().find(|(_, agrees)| !agrees);
        different.map(|(field, _)| *field)
    }
}

/// The method of a call that names none.
pub const DEFAULT_METHOD: &str = "GET";

/// Longer error messages are cut, as the application cuts them.
pub const ERROR_MESSAGE_MAX_CHARS: usize = 5_000;

/// The application's words in `error_type`.
pub mod error_type {
    /// The provider refused because of its rate limit.
    pub const RATE_LIMIT: &str = "RATE_LIMIT";
    /// No answer in time.
    pub const TIMEOUT: &str = "TIMEOUT";
    /// The provider failed.
    pub const SERVER_ERROR: &str = "SERVER_ERROR";
    /// The provider refused the request as wrong.
    pub const CLIENT_ERROR: &str = "CLIENT_ERROR";
    /// The provider was not reached.
    pub const NETWORK_ERROR: &str = "NETWORK_ERROR";
    /// Failed, and nobody said why.
    pub const UNKNOWN: &str = "UNKNOWN";
}

/// Whether a call without a word about it succeeded: its status is below 400 and it has no error type.
pub fn default_success(status_code: Option<i32>, has_error_type: bool) -> bool {
    !has_error_type && status_code.is_none_or(|status| status < 400)
}

/// The error type of a failed call that names none, from its status.
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
    fn a_stored_row_contradicts_in_the_field_that_differs() {
        let new = NewUsage {
            record: record(),
            defaulted: Defaulted::default(),
        };
        assert_eq!(new.contradiction(&record()), None);
        let stored = UsageRecord {
            cost_credits: Some(0.2),
            ..record()
        };
        assert_eq!(new.contradiction(&stored), Some("cost_credits"));
        let stored = UsageRecord {
            endpoint: Some("/quote"),
            ..record()
        };
        assert_eq!(new.contradiction(&stored), Some("endpoint"));
    }

    #[test]
    fn what_was_filled_in_contradicts_nothing_that_was_left_out() {
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
        assert_eq!(new.contradiction(&stored), None);
        // But a default is no wild card: another word in its place is another call.
        let post = UsageRecord {
            method: Some("POST"),
            ..stored
        };
        assert_eq!(new.contradiction(&post), Some("method"));
        new.defaulted.method = false;
        assert_eq!(new.contradiction(&stored), Some("method"));
    }

    #[test]
    fn a_call_succeeds_unless_its_status_or_its_error_type_says_otherwise() {
        assert!(default_success(None, false));
        assert!(default_success(Some(399), false));
        assert!(!default_success(Some(400), false));
        assert!(!default_success(Some(200), true));
    }

    #[test]
    fn the_status_gives_a_failure_its_type() {
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
