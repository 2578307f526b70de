//! Turns the values of a line into a record: types, ranges, times, defaults.
//!
//! Both engines store what passes here unchanged: no NUL, which PostgreSQL's text cannot hold; no text so
//! long that PostgreSQL's indexes refuse the row; no number beyond 32 bits; no time that one of them would
//! round or wrap. The limits themselves are those of [`record`].

use std::borrow::Cow;
use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};

use super::fields::{Field, RawEvent, Value};
use super::time::{FoundTime, TimeHints, TimeOptions, duration_ms};
use super::{Code, LineError};
use crate::domain::usage::record::{
    self, DEFAULT_METHOD, Defaulted, NewUsage, UsageRecord, error_type, limits,
};

#[derive(Debug, PartialEq)]
pub(super) struct Checked<'e> {
    /// Its id is empty where the line has none.
    pub(super) usage: NewUsage<'e>,
    /// Its time for derived ids.
    pub(super) time_for_id: DateTime<Utc>,
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
    let no_api = |message| LineError::with(Code::Missing, Field::ApiName.name(), message);
    let api_name = text(event, Field::ApiName, limits::API_NAME_BYTES)?;
    let api_name = api_name.ok_or_else(|| no_api("is missing; set it with --set api_name=NAME"))?;
    if api_name.trim().is_empty() {
        return Err(no_api("is blank"));
    }
    let given_time = time(event, times)?;
    let endpoint = text(event, Field::Endpoint, limits::ENDPOINT_BYTES)?;
    let given_method = text(event, Field::Method, limits::METHOD_BYTES)?;
    let given_success = boolean(event, Field::Success)?;
    let status_code = status(event)?;
    let amount = |field, fractions| integer(event, field, limits::AMOUNTS, fractions);
    let response_time = amount(Field::ResponseTime, Fractions::Rounded)?;
    let request_size = amount(Field::RequestSize, Fractions::Refused)?;
    let response_size = amount(Field::ResponseSize, Fractions::Refused)?;
    let given_error_type = text(event, Field::ErrorType, limits::ERROR_TYPE_BYTES)?;
    // Servers log such a status for a call without a response.
    let has_no_response = status_code == Some(0);
    let status_code = status_code.filter(|_| !has_no_response);
    let full_message = text(event, Field::ErrorMessage, usize::MAX)?;
    let cost_credits = cost(event)?;
    let cached = boolean(event, Field::Cached)?;
    let user_id = text(event, Field::UserId, limits::USER_ID_BYTES)?;
    let id = text(event, Field::Id, limits::ID_BYTES)?;

    let success = given_success.unwrap_or_else(|| {
        !has_no_response && record::default_success(status_code, given_error_type.is_some())
    });
    let default_error_type = || match has_no_response {
        true => error_type::NETWORK_ERROR,
        false => record::default_error_type(status_code),
    };
    let error_type = given_error_type.or_else(|| (!success).then(default_error_type));
    let error_message = full_message.map(record::truncate_error_message);
    Ok(Checked {
        usage: NewUsage {
            record: UsageRecord {
                id: id.unwrap_or_default(),
                api_name,
                endpoint,
                method: given_method.or(Some(DEFAULT_METHOD)),
                timestamp: given_time.map_or(default_time, |time| time.at),
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
        time_for_id: given_time.map_or(default_time, |time| time.for_id),
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
        Value::Text(text) => {
            let text = storable_text(field.name(), text, max_bytes)?;
            Ok((!text.is_empty()).then_some(text))
        }
        Value::Int(_) | Value::Float(_) => {
            Err(wrong_type(field, "is a number, expected text; quote it"))
        }
        other => Err(not(other, field, "text")),
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
    const YES: [&str; 5] = ["true", "1", "t", "yes", "y"];
    const NO: [&str; 5] = ["false", "0", "f", "no", "n"];
    let is_one_of = |words: [&str; 5], text: &str| {
        words
            .iter()
            .any(|word| word.eq_ignore_ascii_case(text.trim()))
    };
    let found = match event.get(field) {
        Value::Absent => return Ok(None),
        Value::Bool(value) => return Ok(Some(*value)),
        Value::Int(0) => return Ok(Some(false)),
        Value::Int(1) => return Ok(Some(true)),
        Value::Text(text) if text.trim().is_empty() => return Ok(None),
        Value::Text(text) if is_one_of(YES, text) => return Ok(Some(true)),
        Value::Text(text) if is_one_of(NO, text) => return Ok(Some(false)),
        Value::Text(text) => shown(text),
        other => return Err(not(other, field, "true or false")),
    };
    let message = format!("is {found}, expected true or false");
    Err(wrong_type(field, message))
}

/// The status; 0 where the log says that there was no response.
fn status(event: &RawEvent<'_>) -> Result<Option<i32>, LineError> {
    match number(event, Field::StatusCode)? {
        Some(number) if number.to_f64() <= 0.0 => Ok(Some(0)),
        _ => {
            let range = limits::STATUS_CODES;
            integer(event, Field::StatusCode, range, Fractions::Refused)
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fractions {
    Rounded,
    Refused,
}

fn integer(
    event: &RawEvent<'_>,
    field: Field,
    range: RangeInclusive<i32>,
    fractions: Fractions,
) -> Result<Option<i32>, LineError> {
    let Some(number) = number(event, field)? else {
        return Ok(None);
    };
    // 120.0 and 1e3 are whole numbers; many languages write them so.
    let whole = match number {
        Number::Whole(whole) => whole,
        Number::Fraction(value) if value.fract() == 0.0 => value as i64,
        // Not below zero, which would become zero.
        Number::Fraction(value) if fractions == Fractions::Rounded && value > 0.0 => {
            value.round() as i64
        }
        Number::Fraction(value) if fractions == Fractions::Rounded => value.floor() as i64,
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
    let value = number.to_f64();
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

impl Number {
    pub(super) fn to_f64(self) -> f64 {
        match self {
            Number::Whole(whole) => whole as f64,
            Number::Fraction(value) => value,
        }
    }
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
        Value::Text(text) => match text.trim() {
            "" => return Ok(None),
            text => match text.parse() {
                Ok(whole) => return Ok(Some(Number::Whole(whole))),
                Err(_) => text
                    .parse()
                    .ok()
                    .or_else(|| duration_ms(text).filter(|_| field == Field::ResponseTime))
                    .ok_or_else(|| {
                        wrong_type(field, format!("is {}, expected a number", shown(text)))
                    })?,
            },
        },
        other => return Err(not(other, field, "a number")),
    };
    if value.is_finite() {
        Ok(Some(Number::Fraction(value)))
    } else {
        let message = format!("is {value}, expected a finite number");
        Err(LineError::with(Code::Range, field.name(), message))
    }
}

/// The time of the call, to the millisecond.
fn time(event: &RawEvent<'_>, times: &TimeOptions) -> Result<Option<FoundTime>, LineError> {
    let field = Field::Timestamp;
    let hints = TimeHints {
        unit: event.time_unit,
        is_dump: event.has(Field::CreatedAt) && event.has(Field::Id),
    };
    let found = match event.get(field) {
        Value::Absent => return Ok(None),
        Value::Text(text) if times.format.is_some() || text.trim().parse::<f64>().is_err() => {
            match text.trim() {
                "" => return Ok(None),
                text => times.find(text, hints),
            }
        }
        Value::Text(_) | Value::Int(_) | Value::Float(_) => match number(event, field)? {
            Some(number) => times.find_number(number, hints),
            None => return Ok(None),
        },
        other => return Err(not(other, field, "a time")),
    };
    found
        .map(Some)
        .map_err(|message| LineError::with(Code::Time, field.name(), message))
}

fn not(value: &Value<'_>, field: Field, expected: &str) -> LineError {
    wrong_type(field, format!("is {}, expected {expected}", value.kind()))
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
    use crate::ingest::csv::Dialect;
    use crate::ingest::json;
    use crate::ingest::mapping::Mapping;
    use crate::ingest::time::{TimeUnit, parse_zone};

    fn times() -> TimeOptions {
        TimeOptions::new(at("01-31T12:00"))
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
        let (mapping, row) = (Mapping::default(), format!("tmdb,{cell}"));
        let header = format!("api_name,{}", field.name());
        let header = mapping.header(&header, Dialect::Delimiter(b',')).unwrap();
        let event = header.event(&row, &mapping).unwrap();
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
            ("status_code", r#""2x""#, Type, "is `2x`, expected a number"),
            ("status_code", "99", Range, "expected 100 to 599"),
            ("status_code", "600", Range, "is 600"),
            ("status_code", "true", Type, "expected a number"),
            ("status_code", "200.5", Type, "expected a whole number"),
            ("request_size", "1.5", Type, "expected a whole number"),
            ("response_time", "-1", Range, "expected 0 to"),
            ("response_time", "\"5 parsecs\"", Type, "expected a number"),
            ("request_size", "\"5ms\"", Type, "expected a number"),
            ("response_time", "-0.4", Range, "expected 0 to"),
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
            (r#","user_id":1.5"#, Code::Type),
            (r#","method":7"#, Code::Type),
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
    fn value_of_another_json_type_is_read() {
        let fields = r#","status_code":"200","response_time":12.5,"request_size":"7","success":"no","cached":"True",
            "user_id":42,"id":"","cost_credits":"0.1""#;
        let record = accepted(fields).usage.record;
        let numbers = (
            record.status_code,
            record.response_time,
            record.request_size,
        );
        assert_eq!(numbers, (Some(200), Some(13), Some(7)));
        assert_eq!(record.cost_credits, Some(0.1));
        let others = (record.success, record.cached, record.user_id);
        assert_eq!(others, (false, true, Some("42")));
        for (text, time_ms) in [("0.4", 0), ("31.6ms", 32), ("45 µs", 0), ("1m2.5s", 62_500)] {
            let fields = format!(r#","response_time":"{text}""#);
            let record = accepted(&fields).usage.record;
            assert_eq!(record.response_time, Some(time_ms), "{text}");
        }
        assert_eq!(problem(r#","cached":2"#).code, Code::Type);
    }

    #[test]
    fn status_of_zero_or_below_is_a_call_without_response() {
        for status in ["0", "-1", r#""0""#, r#""-1""#] {
            let fields = format!(r#","status_code":{status}"#);
            let record = accepted(&fields).usage.record;
            let found = (record.status_code, record.success);
            assert_eq!(found, (None, false), "{status}");
            assert_eq!(record.error_type, Some("NETWORK_ERROR"), "{status}");
        }
        let given = accepted(r#","status_code":0,"error_type":"TIMEOUT""#);
        assert_eq!(given.usage.record.error_type, Some("TIMEOUT"));
    }

    #[test]
    fn times_of_a_dump_need_no_options() {
        let dump = r#","id":"a","createdAt":"2026-01-31T11:00:00.000Z","timestamp":"#;
        for timestamp in [
            r#""2026-01-31 11:00:00""#,
            r#""2026-01-31T11:00:00.000Z""#,
            "1769857200000",
        ] {
            let found = time(&format!("{dump}{timestamp}"), &times());
            assert_eq!(found, Ok(at("01-31T11:00")), "{timestamp}");
        }
        let no_zone = problem(r#","id":"a","timestamp":"2026-01-31 11:00:00""#);
        assert!(no_zone.message.contains("--assume-tz"));
    }

    #[test]
    fn api_name_is_required() {
        let of = |text: &str| check_json(text.to_owned(), &times()).unwrap_err();
        let message = of("{}").message;
        assert!(message.starts_with("is missing; set it with --set"));
        assert_eq!(of(r#"{"api_name":null}"#).code, Code::Missing);
        assert_eq!(of(r#"{"api_name":""}"#).code, Code::Missing);
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
            (Field::Success, "perhaps"),
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
