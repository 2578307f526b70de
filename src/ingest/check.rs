//! Turns the values of a line into a record: types, ranges, times, defaults.
//!
//! Both engines store what passes here unchanged: no NUL, which PostgreSQL's text cannot hold; no text so
//! long that PostgreSQL's indexes refuse the row; no number beyond 32 bits; no time that one of them would
//! round or wrap. The limits themselves are those of [`record`].

use std::borrow::Cow;
use std::ops::RangeInclusive;

use chrono::{DateTime, Datelike, FixedOffset, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};

use super::fields::{Field, RawEvent, Value};
use super::{Code, LineError};
use crate::domain::format;
use crate::domain::usage::record::{
    self, DEFAULT_METHOD, Defaulted, NewUsage, UsageRecord, limits,
};

/// How times are read.
#[derive(Clone, Debug)]
pub struct TimeOptions {
    /// The time of a record without one.
    pub now: DateTime<Utc>,
    /// Times further ahead of `now` are refused.
    pub max_future: TimeDelta,
    /// The unit of numeric times.
    pub time_unit: Option<TimeUnit>,
    /// The zone of times without one.
    pub assumed_zone: Option<FixedOffset>,
}

/// The unit of numeric times, counted since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TimeUnit {
    /// Seconds
    S,
    /// Milliseconds
    Ms,
}

/// Parses `UTC` or an offset such as `+02:00`.
///
/// Named zones are not supported: around their clock changes some local times are ambiguous and others do
/// not exist.
pub fn parse_zone(text: &str) -> Result<FixedOffset, String> {
    if text.eq_ignore_ascii_case("UTC") || text.eq_ignore_ascii_case("Z") {
        return Ok(Utc.fix());
    }
    text.parse()
        .map_err(|_| "expected UTC or an offset such as +02:00".to_owned())
}

/// A record that passed.
#[derive(Debug, PartialEq)]
pub(super) struct Checked<'e> {
    /// Its id is empty where the line has none.
    pub(super) usage: NewUsage<'e>,
    /// Whether its error message was truncated.
    pub(super) was_truncated: bool,
}

/// Turns the values of a line into a record, or returns the first problem. A line without a time gets
/// `default_time`.
pub(super) fn check<'e>(
    event: &'e RawEvent<'_>,
    times: &TimeOptions,
    default_time: DateTime<Utc>,
) -> Result<Checked<'e>, LineError> {
    if let Some(problem) = &event.problem {
        return Err(problem.clone());
    }
    let api_name = text(event, Field::ApiName, limits::API_NAME_BYTES)?
        .ok_or_else(|| LineError::with(Code::Missing, Field::ApiName.name(), "is missing"))?;
    if api_name.trim().is_empty() {
        return Err(LineError::with(
            Code::Missing,
            Field::ApiName.name(),
            "is blank",
        ));
    }
    let given_time = time(event, times)?;
    let endpoint = text(event, Field::Endpoint, limits::ENDPOINT_BYTES)?;
    let given_method = text(event, Field::Method, limits::METHOD_BYTES)?;
    let given_success = boolean(event, Field::Success)?;
    let status_code = integer(event, Field::StatusCode, limits::STATUS_CODES)?;
    let response_time = integer(event, Field::ResponseTime, limits::AMOUNTS)?;
    let request_size = integer(event, Field::RequestSize, limits::AMOUNTS)?;
    let response_size = integer(event, Field::ResponseSize, limits::AMOUNTS)?;
    let given_error_type = text(event, Field::ErrorType, limits::ERROR_TYPE_BYTES)?;
    let full_message = text(event, Field::ErrorMessage, usize::MAX)?;
    let cost_credits = cost(event)?;
    let cached = boolean(event, Field::Cached)?;
    let user_id = text(event, Field::UserId, limits::USER_ID_BYTES)?;
    let id = text(event, Field::Id, limits::ID_BYTES)?;

    let success = given_success
        .unwrap_or_else(|| record::default_success(status_code, given_error_type.is_some()));
    let error_type =
        given_error_type.or_else(|| (!success).then(|| record::default_error_type(status_code)));
    let error_message = full_message.map(record::truncate_error_message);
    Ok(Checked {
        usage: NewUsage {
            record: UsageRecord {
                id: id.unwrap_or_default(),
                api_name,
                endpoint,
                method: given_method.or(Some(DEFAULT_METHOD)),
                timestamp: given_time.unwrap_or(default_time),
                success,
                status_code,
                response_time,
                request_size,
                response_size,
                error_type,
                error_message,
                cost_credits,
                cached: cached.unwrap_or(false),
                user_id,
            },
            defaulted: Defaulted {
                timestamp: given_time.is_none(),
                method: given_method.is_none(),
                error_type: given_error_type.is_none(),
            },
        },
        was_truncated: error_message.map(str::len) != full_message.map(str::len),
    })
}

/// A string. An empty one counts as absent, in JSON as in CSV.
fn text<'e>(
    event: &'e RawEvent<'_>,
    field: Field,
    max_bytes: usize,
) -> Result<Option<&'e str>, LineError> {
    match event.get(field) {
        Value::Absent => Ok(None),
        Value::Text(text) | Value::Cell(text) => {
            let text = storable_text(field.name(), text, max_bytes)?;
            Ok((!text.is_empty()).then_some(text))
        }
        Value::Int(_) | Value::Float(_) => {
            Err(wrong_type(field, "is a number, expected text; quote it"))
        }
        other => Err(wrong_type(
            field,
            format!("is {}, expected text", other.kind()),
        )),
    }
}

/// Refuses text that is too long or that PostgreSQL cannot store.
pub(super) fn storable_text<'t>(
    field: &str,
    text: &'t str,
    max_bytes: usize,
) -> Result<&'t str, LineError> {
    if text.len() > max_bytes {
        let message = format!("has {} bytes, expected at most {max_bytes}", text.len());
        return Err(LineError::with(Code::TooLong, field, message));
    }
    if text.as_bytes().contains(&0) {
        let message = "contains a NUL character (U+0000)";
        return Err(LineError::with(Code::Nul, field, message));
    }
    Ok(text)
}

fn boolean(event: &RawEvent<'_>, field: Field) -> Result<Option<bool>, LineError> {
    let found = match event.get(field) {
        Value::Absent => return Ok(None),
        Value::Bool(value) => return Ok(Some(*value)),
        Value::Cell(cell) => match cell.trim() {
            // psql writes t and f.
            "1" | "t" => return Ok(Some(true)),
            "0" | "f" => return Ok(Some(false)),
            word if word.eq_ignore_ascii_case("true") => return Ok(Some(true)),
            word if word.eq_ignore_ascii_case("false") => return Ok(Some(false)),
            _ => shown(cell),
        },
        other => other.kind().into(),
    };
    Err(wrong_type(
        field,
        format!("is {found}, expected true or false"),
    ))
}

fn integer(
    event: &RawEvent<'_>,
    field: Field,
    range: RangeInclusive<i32>,
) -> Result<Option<i32>, LineError> {
    let Some(number) = number(event, field)? else {
        return Ok(None);
    };
    // 120.0 and 1e3 are whole numbers; many languages write them so.
    let whole = match number {
        Number::Whole(whole) => whole,
        Number::Fraction(value) if value.fract() == 0.0 => value as i64,
        Number::Fraction(_) => {
            let message = format!("is {number}, expected a whole number");
            return Err(wrong_type(field, message));
        }
    };
    match i32::try_from(whole) {
        Ok(value) if range.contains(&value) => Ok(Some(value)),
        _ => {
            let (least, most) = range.into_inner();
            let message = format!("is {number}, expected {least} to {most}");
            Err(LineError::with(Code::Range, field.name(), message))
        }
    }
}

fn cost(event: &RawEvent<'_>) -> Result<Option<f64>, LineError> {
    let field = Field::CostCredits;
    let Some(number) = number(event, field)? else {
        return Ok(None);
    };
    let value = match number {
        Number::Whole(whole) => whole as f64,
        Number::Fraction(value) => value,
    };
    if !limits::COSTS.contains(&value) {
        let message = format!("is {number}, expected 0 to {:e}", limits::COSTS.end());
        return Err(LineError::with(Code::Range, field.name(), message));
    }
    // Adding zero turns -0.0 into 0.0, so that equal costs are equal to the bit.
    Ok(Some(value + 0.0))
}

/// A finite number.
#[derive(Clone, Copy)]
pub(super) enum Number {
    Whole(i64),
    Fraction(f64),
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Number::Whole(whole) => write!(f, "{whole}"),
            // Debug uses an exponent where the digits would be hundreds.
            Number::Fraction(value) => write!(f, "{value:?}"),
        }
    }
}

fn number(event: &RawEvent<'_>, field: Field) -> Result<Option<Number>, LineError> {
    let value = match event.get(field) {
        Value::Absent => return Ok(None),
        Value::Int(whole) => return Ok(Some(Number::Whole(*whole))),
        Value::Float(value) => *value,
        Value::Cell(cell) => {
            let cell = cell.trim();
            if let Ok(whole) = cell.parse() {
                return Ok(Some(Number::Whole(whole)));
            }
            cell.parse()
                .map_err(|_| wrong_type(field, format!("is {}, expected a number", shown(cell))))?
        }
        Value::Text(_) => {
            let message = "is text, expected a number; remove the quotes";
            return Err(wrong_type(field, message));
        }
        other => {
            let message = format!("is {}, expected a number", other.kind());
            return Err(wrong_type(field, message));
        }
    };
    if value.is_finite() {
        Ok(Some(Number::Fraction(value)))
    } else {
        let message = format!("is {value}, expected a finite number");
        Err(LineError::with(Code::Range, field.name(), message))
    }
}

/// The time of the call, to the millisecond.
fn time(event: &RawEvent<'_>, times: &TimeOptions) -> Result<Option<DateTime<Utc>>, LineError> {
    let field = Field::Timestamp;
    let at = match event.get(field) {
        Value::Absent => return Ok(None),
        Value::Text(text) => times.parse(text),
        Value::Cell(cell) if cell.trim().parse::<f64>().is_err() => times.parse(cell.trim()),
        Value::Cell(_) | Value::Int(_) | Value::Float(_) => match number(event, field)? {
            Some(number) => times.parse_number(number),
            None => return Ok(None),
        },
        other => {
            return Err(wrong_type(
                field,
                format!("is {}, expected a time", other.kind()),
            ));
        }
    };
    at.map(Some)
        .map_err(|message| LineError::with(Code::Time, field.name(), message))
}

impl TimeOptions {
    /// Reads a time that is text: RFC 3339, or without a zone if one is assumed.
    pub(super) fn parse(&self, text: &str) -> Result<DateTime<Utc>, String> {
        if let Ok(at) = DateTime::parse_from_rfc3339(text) {
            return self.plausible(at.to_utc());
        }
        let forms = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"];
        let naive = forms
            .iter()
            .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
        match (naive, self.assumed_zone) {
            (Some(naive), Some(zone)) => match zone.from_local_datetime(&naive).single() {
                Some(at) => self.plausible(at.to_utc()),
                None => Err(format!("is {}, out of range", shown(text))),
            },
            (Some(_), None) => {
                Err("has no zone; set one with --assume-tz UTC or --assume-tz +02:00".to_owned())
            }
            (None, _) => Err(format!(
                "is {}, expected an RFC 3339 time such as 2026-01-31T12:00:00Z",
                shown(text)
            )),
        }
    }

    /// Reads a time that is a number.
    pub(super) fn parse_number(&self, number: Number) -> Result<DateTime<Utc>, String> {
        let unit_ms = match self.time_unit {
            Some(TimeUnit::S) => 1_000,
            Some(TimeUnit::Ms) => 1,
            None => {
                return Err(
                    "is a number; set its unit with --time-unit s or --time-unit ms".to_owned(),
                );
            }
        };
        let ms = match number {
            Number::Whole(whole) => whole.checked_mul(unit_ms),
            // `as` saturates, and chrono refuses what lies outside its years.
            Number::Fraction(value) => Some((value * unit_ms as f64).round() as i64),
        };
        let at = ms.and_then(DateTime::from_timestamp_millis);
        self.plausible(at.ok_or_else(|| format!("is {number}, out of range"))?)
    }

    /// Cuts a time to the millisecond, and refuses one that cannot be true.
    fn plausible(&self, at: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
        // A leap second, 23:59:60, becomes the second after it: databases have none.
        let at = DateTime::from_timestamp_millis(at.timestamp_millis()).unwrap_or(at);
        if !limits::YEARS.contains(&at.year()) {
            let (first, last) = limits::YEARS.into_inner();
            return Err(format!(
                "is in the year {}, expected {first} to {last}; set the unit of numeric times with --time-unit",
                at.year()
            ));
        }
        let ahead = at - self.now;
        if ahead > self.max_future {
            return Err(format!(
                "is {} ahead of now; allow more with --max-future",
                format::duration(ahead)
            ));
        }
        Ok(at)
    }
}

fn wrong_type(field: Field, message: impl Into<String>) -> LineError {
    LineError::with(Code::Type, field.name(), message)
}

/// Text from the line, quoted and shortened for a message.
pub(super) fn shown(text: &str) -> Cow<'_, str> {
    const MOST: usize = 40;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("`{}…`", &text[..end]).into(),
        None => format!("`{text}`").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::at;
    use crate::ingest::fields::Mapping;
    use crate::ingest::json;

    fn times() -> TimeOptions {
        TimeOptions {
            now: at("01-31T12:00"),
            max_future: TimeDelta::minutes(5),
            time_unit: None,
            assumed_zone: None,
        }
    }

    /// Checks a JSON object.
    fn check_json(text: String, times: &TimeOptions) -> Result<Checked<'static>, LineError> {
        let event = json::parse(text.leak(), &Mapping::default()).unwrap();
        check(Box::leak(Box::new(event)), times, times.now)
    }

    /// Checks a JSON object with an `api_name` and `fields`.
    fn of_json(fields: &str, times: &TimeOptions) -> Result<Checked<'static>, LineError> {
        check_json(format!(r#"{{"api_name":"tmdb"{fields}}}"#), times)
    }

    fn accepted(fields: &str) -> Checked<'static> {
        of_json(fields, &times()).unwrap()
    }

    fn problem(fields: &str) -> LineError {
        of_json(fields, &times()).unwrap_err()
    }

    fn time(fields: &str, times: &TimeOptions) -> Result<DateTime<Utc>, LineError> {
        of_json(fields, times).map(|checked| checked.usage.record.timestamp)
    }

    fn of_cell(field: Field, cell: &str, times: &TimeOptions) -> Result<(), LineError> {
        let header = Mapping::default().header(&format!("api_name,{}", field.name()));
        let (header, row) = (header.unwrap(), format!("tmdb,{cell}"));
        let event = header.event(&row).unwrap();
        check(&event, times, times.now).map(|_| ())
    }

    #[test]
    fn missing_fields_get_defaults() {
        let usage = accepted("").usage;
        assert_eq!(usage.record.method, Some("GET"));
        assert_eq!(usage.record.timestamp, times().now);
        assert!(usage.record.success && !usage.record.cached);
        assert_eq!(usage.record.error_type, None);
        assert!(usage.defaulted.timestamp && usage.defaulted.method);
        let record = accepted(r#","status_code":429"#).usage.record;
        assert!(!record.success);
        assert_eq!(record.error_type, Some("RATE_LIMIT"));
        assert!(!accepted(r#","errorType":"PARSE""#).usage.record.success);
    }

    #[test]
    fn given_values_override_defaults() {
        let fields = r#","status_code":500,"success":true,"error_type":"","method":"POST""#;
        let record = accepted(fields).usage.record;
        assert!(record.success);
        assert_eq!((record.error_type, record.method), (None, Some("POST")));
        let fields = r#","status_code":200,"success":false,"error_type":"TIMEOUT""#;
        assert_eq!(accepted(fields).usage.record.error_type, Some("TIMEOUT"));
    }

    #[test]
    fn number_must_have_type_and_range_of_field() {
        use Code::{Range, Type};
        for (field, value, code, part) in [
            ("status_code", r#""200""#, Type, "remove the quotes"),
            ("status_code", "99", Range, "expected 100 to 599"),
            ("status_code", "600", Range, "is 600"),
            ("status_code", "true", Type, "expected a number"),
            ("response_time", "1.5", Type, "expected a whole number"),
            ("response_time", "-1", Range, "expected 0 to"),
            ("response_time", "2147483648", Range, "2147483647"),
            ("request_size", "99999999999999999999", Range, "1e20"),
            ("response_size", "[1]", Type, "a list"),
            ("cost_credits", "-0.01", Range, "expected 0 to 1e15"),
            ("cost_credits", "1e16", Range, "1e16"),
            ("cost_credits", "{}", Type, "an object"),
        ] {
            let problem = problem(&format!(r#","{field}":{value}"#));
            assert_eq!(problem.code, code, "{field}: {}", problem.message);
            assert!(problem.message.contains(part), "{}", problem.message);
        }
        let fields =
            r#","status_code":2e2,"response_time":120.0,"request_size":-0,"cost_credits":-0.0"#;
        let record = accepted(fields).usage.record;
        assert_eq!(record.status_code, Some(200));
        let (time, size) = (record.response_time, record.request_size);
        assert_eq!((time, size), (Some(120), Some(0)));
        assert!(record.cost_credits.is_some_and(f64::is_sign_positive));
    }

    #[test]
    fn text_with_nul_or_too_long_is_refused() {
        for (fields, code) in [
            (r#","user_id":7"#, Code::Type),
            (r#","endpoint":false"#, Code::Type),
            (r#","endpoint":"a\u0000b""#, Code::Nul),
            (r#","error_message":"\u0000""#, Code::Nul),
        ] {
            assert_eq!(problem(fields).code, code, "{fields}");
        }
        for field in ["id", "endpoint", "method", "error_type", "user_id"] {
            let long = format!(r#","{field}":"{}""#, "é".repeat(1_025));
            let problem = problem(&long);
            assert_eq!(problem.code, Code::TooLong, "{field}");
            assert_eq!(problem.field.as_deref(), Some(field));
        }
    }

    #[test]
    fn api_name_is_required() {
        let of = |text: &str| check_json(text.to_owned(), &times()).unwrap_err();
        assert_eq!(of("{}").message, "is missing");
        assert_eq!(of(r#"{"api_name":null}"#).code, Code::Missing);
        assert_eq!(of(r#"{"api_name":""}"#).message, "is missing");
        assert_eq!(of(r#"{"api_name":" \t"}"#).message, "is blank");
    }

    #[test]
    fn long_error_message_is_truncated_between_characters() {
        let message = |count| format!(r#","error_message":"{}""#, "é".repeat(count));
        assert!(!accepted(&message(5_000)).was_truncated);
        let checked = accepted(&message(5_001));
        assert!(checked.was_truncated);
        let kept = checked.usage.record.error_message.unwrap();
        assert_eq!(kept.chars().count(), 5_000);
    }

    #[test]
    fn time_without_zone_requires_assumed_zone() {
        let zoneless = r#","timestamp":"2026-01-31 12:00:00.5""#;
        assert!(problem(zoneless).message.contains("--assume-tz"));
        let assumed = TimeOptions {
            assumed_zone: Some(parse_zone("+02:00").unwrap()),
            ..times()
        };
        let expected = at("2026-01-31T10:00:00.500Z");
        assert_eq!(time(zoneless, &assumed), Ok(expected));
        // A zone in the text takes precedence.
        let zoned = r#","timestamp":"2026-01-31T12:00:00+01:00""#;
        assert_eq!(time(zoned, &assumed), Ok(at("01-31T11:00")));
    }

    #[test]
    fn numeric_time_requires_unit() {
        let number = r#","timestamp":1769860800"#;
        assert!(problem(number).message.contains("--time-unit s"));
        let [seconds, milliseconds] = [TimeUnit::S, TimeUnit::Ms].map(|unit| TimeOptions {
            time_unit: Some(unit),
            ..times()
        });
        assert_eq!(time(number, &seconds), Ok(at("01-31T12:00")));
        let exact = Ok(at("2026-01-31T12:00:00.123Z"));
        assert_eq!(time(r#","timestamp":1769860800.123"#, &seconds), exact);
        let number = r#","timestamp":1769860800123"#;
        assert_eq!(time(number, &milliseconds), exact);
        // Milliseconds taken for seconds lie in a far year.
        let mistaken = time(number, &seconds).unwrap_err();
        assert!(mistaken.message.contains("--time-unit"));
        for far in ["9223372036854775807", "-9223372036854775808", "1e300"] {
            let fields = format!(r#","timestamp":{far}"#);
            assert_eq!(time(&fields, &seconds).unwrap_err().code, Code::Time);
        }
        assert!(of_cell(Field::Timestamp, "1769860800", &seconds).is_ok());
        assert!(of_cell(Field::Timestamp, "NaN", &seconds).is_err());
    }

    #[test]
    fn implausible_time_is_refused() {
        for (time, part) in [
            ("2026-01-31T12:05:00.001Z", "5m ahead"),
            ("2026-02-05T12:00:00Z", "5d ahead"),
            ("1969-12-31T23:59:59Z", "year 1969"),
            ("2026-02-30T00:00:00Z", "time such as"),
            ("yesterday", "`yesterday`"),
            ("2026-01-31", "RFC 3339"),
            ("2026-01-31T25:00:00Z", "RFC 3339"),
        ] {
            let problem = problem(&format!(r#","timestamp":"{time}""#));
            assert_eq!(problem.code, Code::Time);
            assert!(problem.message.contains(part), "{}", problem.message);
        }
        for time in [
            "2026-01-31T12:05:00Z",
            "2016-12-31T23:59:60Z",
            "1970-01-01T00:00:00Z",
        ] {
            accepted(&format!(r#","timestamp":"{time}""#));
        }
    }

    #[test]
    fn leap_second_becomes_next_second() {
        let leap = time(r#","timestamp":"2016-12-31T23:59:60.5Z""#, &times());
        assert_eq!(leap, Ok(at("2017-01-01T00:00:00.500Z")));
    }

    #[test]
    fn cell_holds_value_of_any_type() {
        for (field, cell) in [
            (Field::Success, "TRUE"),
            (Field::Cached, "0"),
            (Field::Cached, " t "),
            (Field::StatusCode, " 200 "),
            (Field::ResponseTime, "120.0"),
            (Field::CostCredits, "1e-3"),
            (Field::UserId, "7"),
            (Field::Timestamp, "2026-01-31T12:00:00Z"),
        ] {
            assert_eq!(of_cell(field, cell, &times()), Ok(()), "{cell}");
        }
        for (field, cell) in [
            (Field::Success, "yes"),
            (Field::StatusCode, "2x"),
            (Field::ResponseTime, "NaN"),
            (Field::CostCredits, "inf"),
            (Field::CostCredits, "0x10"),
            (Field::Timestamp, "now"),
        ] {
            assert!(of_cell(field, cell, &times()).is_err(), "{cell}");
        }
    }
}
