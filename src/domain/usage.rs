//! One call to an API, as it is recorded and counted.

use chrono::{DateTime, Utc};

/// A usage record, complete: every default has been filled in.
///
/// The names are those of the columns of `api_usage`.
#[derive(Clone, Debug, PartialEq)]
pub struct UsageRecord {
    /// Stable and unique; what makes recording exactly once.
    pub id: String,
    /// The API that was called, such as `finnhub`.
    pub api_name: String,
    /// The path that was called.
    pub endpoint: Option<String>,
    /// The HTTP method.
    pub method: Option<String>,
    /// When, to the millisecond.
    pub timestamp: DateTime<Utc>,
    /// Whether the call succeeded.
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
    pub error_type: Option<String>,
    /// At most [`ERROR_MESSAGE_MAX_CHARS`] characters.
    pub error_message: Option<String>,
    /// Credits the provider charges for this call.
    pub cost_credits: Option<f64>,
    /// Answered from a cache: the provider never saw it.
    pub cached: bool,
    /// On whose behalf.
    pub user_id: Option<String>,
}

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
#[must_use]
pub fn default_success(status_code: Option<i32>, has_error_type: bool) -> bool {
    !has_error_type && status_code.is_none_or(|status| status < 400)
}

/// The error type of a failed call that names none, from its status.
#[must_use]
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
