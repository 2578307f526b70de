//! Flag types and groups that several commands share, so that one flag means one thing everywhere.
//!
//! A filter (`ApiFilter`) may be repeated; a command about one API takes `--api` once. `--by` is always
//! the author of a change, `<DURATION>` a length of time, `<TIME>` an instant.

use std::time::Duration;

use chrono::{DateTime, Datelike, TimeDelta, Utc};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};

use crate::context::current_user;
use crate::domain::moment::{Moment, Span};
use crate::domain::named::Named;
use crate::domain::period::{Calendar, Window};
use crate::domain::{api_name, format};
use crate::error::{Error, Exit, Result};

/// The help text with one example: a command on the database `usage.db`.
macro_rules! example {
    ($command:literal) => {
        concat!(
            "Example: usagectl --database-url sqlite:usage.db ",
            $command
        )
    };
}
pub(crate) use example;

/// Parses the name of an API as `api_usage` holds it: not empty, and not `*`.
pub fn parse_api_name(text: &str) -> Result<String, String> {
    api_name::parse(text).map_err(|error| error.to_string())
}

/// Restricts a command to some APIs.
#[derive(Args, Clone, Debug, Default)]
pub struct ApiFilter {
    /// Only this API; repeat for more
    #[arg(long = "api", value_name = "NAME", value_parser = parse_api_name)]
    pub apis: Vec<String>,
}

/// The evaluation window of a report: `--last` back from `--to`, or `--from` to `--to`.
#[derive(Args, Clone, Debug)]
pub struct Lookback {
    /// Length of the window, counted back from --to; or today, yesterday or this-month
    #[arg(long, value_name = "DURATION", value_parser = parse_span, default_value = "24h", conflicts_with = "from")]
    pub last: Span,

    /// Start of the window: RFC 3339, a date, today, yesterday or this-month
    #[arg(long, value_name = "TIME")]
    pub from: Option<Moment>,

    /// End of the window, which is not in it: as --from [default: now]
    #[arg(long, value_name = "TIME")]
    pub to: Option<Moment>,
}

impl Lookback {
    /// The window, whose dates are those of `calendar`. An empty window is a usage error.
    pub fn window(&self, now: DateTime<Utc>, calendar: Calendar) -> Result<Window> {
        let to = self.to.map_or(now, |to| to.start(now, calendar));
        let asked = match self.from {
            Some(from) => Window::new(from.start(now, calendar), to),
            None => self.last.window(to, now, calendar),
        };
        let window = Window::new(
            asked.from.max(Window::ALL.from),
            asked.to.min(Window::ALL.to),
        );
        if window.is_empty() {
            let [from, to] = [window.from, window.to].map(format::time);
            return Err(Error::usage(format!(
                "the window is empty: from {from} to {to}"
            )));
        }
        Ok(window)
    }
}

/// How long to wait for another run of the same command.
#[derive(Args, Clone, Copy, Debug)]
pub struct LockWait {
    /// Maximum time to wait for another run to finish
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "0s")]
    pub lock_wait: Duration,
}

/// The author of a change.
#[derive(Args, Clone, Debug)]
pub struct Author {
    /// Author recorded with the change (default: user@host)
    #[arg(long, value_name = "NAME", value_parser = parse_text::<200>)]
    by: Option<String>,
}

impl Author {
    /// The name given, or user@host.
    pub fn name(&self) -> String {
        self.by.clone().unwrap_or_else(current_user)
    }

    pub fn is_given(&self) -> bool {
        self.by.is_some()
    }
}

/// The state from which on a check exits non-zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Exit 10 on a warning, 11 on a critical state
    Warning,
    /// Exit 11 on a critical state only
    Critical,
}

impl FailOn {
    /// The exit code for the worst state found.
    pub fn exit(self, has_warning: bool, has_critical: bool) -> Exit {
        match self {
            _ if has_critical => Exit::Critical,
            FailOn::Warning if has_warning => Exit::Warning,
            FailOn::Warning | FailOn::Critical => Exit::Done,
        }
    }
}

/// Parses a name of a closed set, which the help lists.
pub fn one_of<T: Named + Send + Sync>() -> impl TypedValueParser<Value = T> {
    let names = T::ALL.iter().map(|member| member.as_str());
    PossibleValuesParser::new(names).try_map(|name| T::named(&name).ok_or("unknown name"))
}

/// Parses an RFC 3339 instant.
pub fn parse_instant(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|at| at.to_utc())
        .map_err(|_| "expected an RFC 3339 time such as 2026-01-31T12:00:00Z".to_owned())
}

/// Parses the current time: a later one could not be followed by a waiting period.
pub fn parse_now(text: &str) -> Result<DateTime<Utc>, String> {
    let now = parse_instant(text)?;
    let is_usable = (1970..9999).contains(&now.year());
    is_usable
        .then_some(now)
        .ok_or_else(|| "expected a year from 1970 to 9998".into())
}

/// Parses any number; commands check its range.
pub fn parse_number(text: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    number.ok_or_else(|| "expected a number without unit and separators, such as 80 or 12.5".into())
}

/// Parses a percentage, with or without the sign.
pub fn parse_percent(text: &str) -> Result<f64, String> {
    parse_number(text.strip_suffix('%').unwrap_or(text))
}

/// Parses a duration, or the name of a window.
fn parse_span(text: &str) -> Result<Span, String> {
    match text.parse() {
        Ok(moment @ (Moment::Today | Moment::Yesterday | Moment::ThisMonth)) => {
            Ok(Span::Since(moment))
        }
        _ => parse_duration(text)
            .map(|length| Span::Length(TimeDelta::from_std(length).unwrap_or(TimeDelta::MAX))),
    }
}

/// Parses a whole number with a unit: `500ms`, `90s`, `15m`, `24h`, `7d`, `1w`; at most a thousand years.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const LONGEST_MS: u64 = 365_250 * 86_400_000;
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 7 * 86_400_000,
        _ => return Err("expected a number and a unit, such as 90s, 15m, 24h or 7d".to_owned()),
    };
    let number: Option<u64> = number.parse().ok();
    number
        .and_then(|number| number.checked_mul(unit_ms))
        .filter(|ms| *ms <= LONGEST_MS)
        .map(Duration::from_millis)
        .ok_or_else(|| "expected a whole number of units, at most 365250d".to_owned())
}

/// Parses a text that is not empty and has at most `LONGEST` characters.
pub fn parse_text<const LONGEST: usize>(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.chars().count() {
        0 => Err("must not be empty".to_owned()),
        length if length > LONGEST => Err(format!("must have at most {LONGEST} characters")),
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_has_no_unit_and_percentage_may_have_its_sign() {
        assert_eq!(parse_number("12.5"), Ok(12.5));
        for text in ["", "80%", "1,000", "256MB"] {
            assert!(parse_number(text).is_err(), "{text}");
        }
        assert_eq!(
            [parse_percent("80%"), parse_percent("80")],
            [Ok(80.0), Ok(80.0)]
        );
        assert!(parse_percent("%").is_err());
    }

    #[test]
    fn current_time_leaves_room_for_waiting_periods() {
        assert!(parse_now("9998-12-31T23:59:59Z").is_ok());
        for text in ["9999-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "now"] {
            assert!(parse_now(text).is_err(), "{text}");
        }
    }

    #[test]
    fn duration_is_whole_number_and_unit() {
        let seconds = |text| parse_duration(text).map(|span| span.as_secs_f64());
        assert_eq!(seconds("500ms"), Ok(0.5));
        assert_eq!(seconds("90s"), Ok(90.0));
        assert_eq!(seconds("7d"), Ok(604_800.0));
        assert_eq!(seconds("1w"), seconds("7d"));
        for text in "|7|d|-1s|1.5h|1h30m|7 d|99999999999999999999s|400000d".split('|') {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn fail_on_critical_ignores_warnings() {
        assert_eq!(FailOn::Critical.exit(true, false), Exit::Done);
        assert_eq!(FailOn::Critical.exit(true, true), Exit::Critical);
        assert_eq!(FailOn::Warning.exit(true, false), Exit::Warning);
        assert_eq!(FailOn::Warning.exit(false, false), Exit::Done);
    }
}
