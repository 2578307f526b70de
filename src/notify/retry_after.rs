//! `Retry-After`: how long a receiver asks not to be called.

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};

use crate::domain::alert::delivery::LONGEST_RETRY_AFTER;
use crate::http::Response;

/// The wait that an answer asks for, in seconds or as a date, at most [`LONGEST_RETRY_AFTER`]. A date is relative to
/// the `Date` of the answer, since the clocks may differ; without one to `now`.
pub(super) fn wait(response: &Response, now: DateTime<Utc>) -> Option<TimeDelta> {
    let text = response.header("retry-after")?.trim();
    let wait = match text.parse::<f64>() {
        // Some services send fractions. A number out of range becomes the nearest one in it.
        Ok(seconds) if seconds.is_finite() => {
            TimeDelta::milliseconds((seconds * 1e3).ceil() as i64)
        }
        _ => {
            let answered = response.header("date").and_then(http_date);
            http_date(text)? - answered.unwrap_or(now)
        }
    };
    Some(wait.clamp(TimeDelta::zero(), LONGEST_RETRY_AFTER))
}

/// A date in one of the three forms of HTTP.
fn http_date(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    if let Ok(date) = DateTime::parse_from_rfc2822(text) {
        return Some(date.to_utc());
    }
    let obsolete = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let mut dates = obsolete
        .iter()
        .map(|form| NaiveDateTime::parse_from_str(text, form));
    Some(dates.find_map(Result::ok)?.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(headers: &[(&str, &str)]) -> Option<i64> {
        let headers = headers.iter();
        let response = Response {
            status: 429,
            headers: headers
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            body: Vec::new(),
        };
        let now = http_date("Sat, 31 Jan 2026 12:00:00 GMT")?;
        wait(&response, now).map(|wait| wait.num_seconds())
    }

    #[test]
    fn wait_is_in_seconds_or_until_a_date() {
        let date = ("retry-after", "Sat, 31 Jan 2026 12:10:00 GMT");
        assert_eq!(seconds(&[("retry-after", " 90 ")]), Some(90));
        assert_eq!(seconds(&[date]), Some(600));
        let answered = ("date", "Sat, 31 Jan 2026 12:09:50 GMT");
        assert_eq!(seconds(&[date, answered]), Some(10));
        for obsolete in [
            "Saturday, 31-Jan-26 12:10:00 GMT",
            "Sat Jan 31 12:10:00 2026",
        ] {
            assert_eq!(seconds(&[("retry-after", obsolete)]), Some(600));
        }
        assert_eq!(seconds(&[("retry-after", "1.5")]), Some(1));
    }

    #[test]
    fn wait_is_limited_and_unreadable_wait_is_none() {
        assert_eq!(seconds(&[("retry-after", "7200")]), Some(7_200));
        for text in ["86401", "99999999999999999999"] {
            assert_eq!(seconds(&[("retry-after", text)]), Some(86_400));
        }
        assert_eq!(seconds(&[("retry-after", "-5")]), Some(0));
        let past = ("retry-after", "Fri, 30 Jan 2026 12:00:00 GMT");
        assert_eq!(seconds(&[past]), Some(0));
        for text in ["", "soon", "NaN", "5, 10"] {
            assert_eq!(seconds(&[("retry-after", text)]), None, "{text}");
        }
        assert_eq!(seconds(&[]), None);
    }
}
