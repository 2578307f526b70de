//! What a line says to a record: types, ranges, times, defaults.
//!
//! What passes here is stored by both engines as it is: no NUL, which PostgreSQL's text cannot hold; no
//! text so long that PostgreSQL's indexes refuse the row; no number beyond 32 bits; no moment that
//! one of them would round, wrap or spell in another way.

use std::borrow::Cow;

use chrono::{DateTime, Datelike, FixedOffset, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};

use super::fields::{Field, RawEvent, Value};
use super::{Code, Problem};
use crate::domain::usage::record;
use crate::domain::usage::record::{
    DEFAULT_METHOD, Defaulted, ERROR_MESSAGE_MAX_CHARS, NewUsage, UsageRecord,
};

/// What a run is told about its input.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Now: the time of an event that names none.
    pub now: DateTime<Utc>,
    /// How far ahead of now a time is believed.
    pub max_future: TimeDelta,
    /// The unit of times that are numbers.
    pub time_unit: Option<TimeUnit>,
    /// The zone of times that name none.
    pub assumed_zone: Option<FixedOffset>,
}

/// The unit of times that are numbers since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TimeUnit {
    /// Seconds
    S,
    /// Milliseconds
    Ms,
}

/// Reads a zone from the command line: `UTC`, or an offset such as `+02:00`.
///
/// Zones with names are not among them: their hours of change make some times ambiguous and others
/// impossible, and a log that was written without its zone does not say which was meant.
pub fn zone_from_text(text: &str) -> Result<FixedOffset, String> {
    if ["UTC", "Z"]
        .iter()
        .any(|utc| text.eq_ignore_ascii_case(utc))
    {
        return Ok(Utc.fix());
    }
    text.parse()
        .map_err(|_| "not UTC or an offset such as +02:00".to_owned())
}

/// The longest text of each field, in bytes.
///
/// PostgreSQL refuses an index entry beyond 2,704 bytes. The longest is that of (api_name, endpoint,
/// timestamp); these limits keep it well below, however little the text can be compressed.
const ID_MAX_BYTES: usize = 200;
const API_NAME_MAX_BYTES: usize = 200;
const ENDPOINT_MAX_BYTES: usize = 2_048;
const METHOD_MAX_BYTES: usize = 40;
const ERROR_TYPE_MAX_BYTES: usize = 200;
const USER_ID_MAX_BYTES: usize = 500;

/// The most a single call may cost. More is a mistake, and would swallow the cents of every sum.
const COST_MAX: f64 = 1e15;

/// A record that passed.
#[derive(Debug, PartialEq)]
pub(super) struct Checked<'e> {
    /// Its id is empty where the line has none.
    pub(super) usage: NewUsage<'e>,
    /// Whether its error message was cut.
    pub(super) was_cut: bool,
}

/// Turns what a line says into a record, or says the first thing that is wrong with it.
///
/// A line that names no time happened at `default_time`.
pub(super) fn check<'e>(
    event: &'e RawEvent<'_>,
    rules: &Rules,
    default_time: DateTime<Utc>,
) -> Result<Checked<'e>, Problem> {
    if let Some(problem) = &event.problem {
        return Err(problem.clone());
    }
    let api_name = text(event, Field::ApiName, API_NAME_MAX_BYTES)?
        .ok_or_else(|| Problem::with(Code::Missing, Field::ApiName.name(), "is missing"))?;
    if api_name.trim().is_empty() {
        return Err(Problem::with(
            Code::Missing,
            Field::ApiName.name(),
            "is blank",
        ));
    }
    let given_time = time(event, rules)?;
    let endpoint = text(event, Field::Endpoint, ENDPOINT_MAX_BYTES)?;
    let given_method = text(event, Field::Method, METHOD_MAX_BYTES)?;
    let given_success = boolean(event, Field::Success)?;
    let status_code = integer(event, Field::StatusCode, 100, 599)?;
    let response_time = integer(event, Field::ResponseTime, 0, i32::MAX)?;
    let request_size = integer(event, Field::RequestSize, 0, i32::MAX)?;
    let response_size = integer(event, Field::ResponseSize, 0, i32::MAX)?;
    let given_error_type = text(event, Field::ErrorType, ERROR_TYPE_MAX_BYTES)?;
    let full_message = text(event, Field::ErrorMessage, usize::MAX)?;
    let cost_credits = cost(event)?;
    let cached = boolean(event, Field::Cached)?;
    let user_id = text(event, Field::UserId, USER_ID_MAX_BYTES)?;
    let id = text(event, Field::Id, ID_MAX_BYTES)?;

    let success = given_success
        .unwrap_or_else(|| record::default_success(status_code, given_error_type.is_some()));
    let error_type =
        given_error_type.or_else(|| (!success).then(|| record::default_error_type(status_code)));
    let error_message = full_message.map(shortened);
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
        was_cut: error_message.map(str::len) != full_message.map(str::len),
    })
}

/// The beginning of a message, as long as the application keeps it.
fn shortened(message: &str) -> &str {
    // Most are far shorter; a text has at least as many bytes as characters.
    if message.len() <= ERROR_MESSAGE_MAX_CHARS {
        return message;
    }
    match message.char_indices().nth(ERROR_MESSAGE_MAX_CHARS) {
        Some((end, _)) => &message[..end],
        None => message,
    }
}

/// A text. An empty one says nothing, in JSON as in CSV.
fn text<'e>(
    event: &'e RawEvent<'_>,
    field: Field,
    max_bytes: usize,
) -> Result<Option<&'e str>, Problem> {
    let text: &str = match event.get(field) {
        Value::Absent => return Ok(None),
        Value::Text(text) | Value::Cell(text) => text,
        Value::Int(_) | Value::Float(_) => {
            return Err(wrong_type(
                field,
                "is a number and not text; put it in quotes",
            ));
        }
        other => {
            return Err(wrong_type(
                field,
                format!("is {} and not text", other.kind()),
            ));
        }
    };
    if text.len() > max_bytes {
        return Err(Problem::with(
            Code::TooLong,
            field.name(),
            format!("has {} bytes; at most {max_bytes} are kept", text.len()),
        ));
    }
    if text.as_bytes().contains(&0) {
        return Err(Problem::with(
            Code::Nul,
            field.name(),
            "has a NUL character (U+0000) in it",
        ));
    }
    Ok((!text.is_empty()).then_some(text))
}

fn boolean(event: &RawEvent<'_>, field: Field) -> Result<Option<bool>, Problem> {
    let spelled = |cell: &str| match cell.trim() {
        // The last are what psql writes.
        "1" | "t" => Some(true),
        "0" | "f" => Some(false),
        word if word.eq_ignore_ascii_case("true") => Some(true),
        word if word.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    };
    match event.get(field) {
        Value::Absent => Ok(None),
        Value::Bool(value) => Ok(Some(*value)),
        Value::Cell(cell) => match spelled(cell) {
            Some(value) => Ok(Some(value)),
            None => Err(wrong_type(
                field,
                format!("is {} and not true or false", shown(cell)),
            )),
        },
        other => Err(wrong_type(
            field,
            format!("is {} and not true or false", other.kind()),
        )),
    }
}

fn integer(
    event: &RawEvent<'_>,
    field: Field,
    least: i32,
    most: i32,
) -> Result<Option<i32>, Problem> {
    let Some(number) = number(event, field)? else {
        return Ok(None);
    };
    // 120.0 and 1e3 are whole numbers; many languages write them so.
    let whole = match number {
        Number::Whole(whole) => Some(whole),
        Number::Fraction(value) if value.fract() == 0.0 => Some(value as i64),
        Number::Fraction(_) => None,
    };
    let Some(whole) = whole else {
        return Err(wrong_type(
            field,
            format!("is {number} and not a whole number"),
        ));
    };
    match i32::try_from(whole) {
        Ok(value) if (least..=most).contains(&value) => Ok(Some(value)),
        _ => Err(Problem::with(
            Code::Range,
            field.name(),
            format!("is {number}, which is not between {least} and {most}"),
        )),
    }
}

fn cost(event: &RawEvent<'_>) -> Result<Option<f64>, Problem> {
    let field = Field::CostCredits;
    let Some(number) = number(event, field)? else {
        return Ok(None);
    };
    let value = match number {
        Number::Whole(whole) => whole as f64,
        Number::Fraction(value) => value,
    };
    if !(0.0..=COST_MAX).contains(&value) {
        return Err(Problem::with(
            Code::Range,
            field.name(),
            format!("is {number}, which is not between 0 and 1e15"),
        ));
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

fn number(event: &RawEvent<'_>, field: Field) -> Result<Option<Number>, Problem> {
    let finite = |value: f64| match value.is_finite() {
        true => Ok(Some(Number::Fraction(value))),
        false => Err(Problem::with(
            Code::Range,
            field.name(),
            format!("is {value}, which is not a finite number"),
        )),
    };
    match event.get(field) {
        Value::Absent => Ok(None),
        Value::Int(whole) => Ok(Some(Number::Whole(*whole))),
        Value::Float(value) => finite(*value),
        Value::Cell(cell) => {
            let cell = cell.trim();
            match cell.parse() {
                Ok(whole) => Ok(Some(Number::Whole(whole))),
                Err(_) => match cell.parse() {
                    Ok(value) => finite(value),
                    Err(_) => Err(wrong_type(
                        field,
                        format!("is {} and not a number", shown(cell)),
                    )),
                },
            }
        }
        Value::Text(_) => Err(wrong_type(
            field,
            "is text and not a number; write it without quotes",
        )),
        other => Err(wrong_type(
            field,
            format!("is {} and not a number", other.kind()),
        )),
    }
}

/// When it happened, to the millisecond; nothing where the line does not say.
fn time(event: &RawEvent<'_>, rules: &Rules) -> Result<Option<DateTime<Utc>>, Problem> {
    let field = Field::Timestamp;
    let refused = |message: String| Problem::with(Code::Time, field.name(), message);
    let at = match event.get(field) {
        Value::Absent => return Ok(None),
        Value::Text(text) => time_from_text(text, rules).map_err(refused)?,
        Value::Cell(cell) if cell.trim().parse::<f64>().is_err() => {
            time_from_text(cell.trim(), rules).map_err(refused)?
        }
        Value::Cell(_) | Value::Int(_) | Value::Float(_) => {
            let Some(number) = number(event, field)? else {
                return Ok(None);
            };
            time_from_number(number, rules).map_err(refused)?
        }
        other => {
            return Err(wrong_type(
                field,
                format!("is {} and not a time", other.kind()),
            ));
        }
    };
    believable(at, rules).map_err(refused)?;
    Ok(Some(at))
}

/// Refuses times that cannot be true.
pub(super) fn believable(at: DateTime<Utc>, rules: &Rules) -> Result<(), String> {
    if !(1970..=9999).contains(&at.year()) {
        return Err(format!(
            "is in the year {}, which is not between 1970 and 9999; the unit of numbers is said with --time-unit",
            at.year()
        ));
    }
    let ahead = at - rules.now;
    if ahead > rules.max_future {
        return Err(format!(
            "is {} ahead of now; more is allowed with --max-future",
            span(ahead)
        ));
    }
    Ok(())
}

pub(super) fn time_from_text(text: &str, rules: &Rules) -> Result<DateTime<Utc>, String> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(to_millisecond(at.to_utc()));
    }
    let forms = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"];
    let naive = forms
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    match (naive, rules.assumed_zone) {
        (Some(naive), Some(zone)) => match zone.from_local_datetime(&naive).single() {
            Some(at) => Ok(to_millisecond(at.to_utc())),
            None => Err(format!("is {}, which no calendar holds", shown(text))),
        },
        (Some(_), None) => Err(
            "has no zone; say which one is meant, with --assume-tz UTC or --assume-tz +02:00"
                .to_owned(),
        ),
        (None, _) => Err(format!(
            "is {} and not a time such as 2026-01-31T12:00:00Z (RFC 3339)",
            shown(text)
        )),
    }
}

pub(super) fn time_from_number(number: Number, rules: &Rules) -> Result<DateTime<Utc>, String> {
    let unit_ms = match rules.time_unit {
        Some(TimeUnit::S) => 1_000,
        Some(TimeUnit::Ms) => 1,
        None => {
            return Err(
                "is a number; say what it counts since 1970, with --time-unit s or --time-unit ms"
                    .to_owned(),
            );
        }
    };
    let ms = match number {
        Number::Whole(whole) => whole.checked_mul(unit_ms),
        // `as` saturates, and chrono refuses what lies outside its years.
        Number::Fraction(value) => Some((value * unit_ms as f64).round() as i64),
    };
    ms.and_then(DateTime::from_timestamp_millis)
        .ok_or_else(|| format!("is {number}, which no calendar holds"))
}

/// Cuts to the millisecond. A leap second, 23:59:60, becomes the second after it: databases know none.
fn to_millisecond(at: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(at.timestamp_millis()).unwrap_or(at)
}

fn span(span: TimeDelta) -> String {
    match (span.num_days(), span.num_hours(), span.num_minutes()) {
        (2.., _, _) => format!("{} days", span.num_days()),
        (_, 2.., _) => format!("{} hours", span.num_hours()),
        (_, _, 2..) => format!("{} minutes", span.num_minutes()),
        _ => format!("{} s", span.num_seconds()),
    }
}

fn wrong_type(field: Field, message: impl Into<String>) -> Problem {
    Problem::with(Code::Type, field.name(), message)
}

/// A text from the line, short enough for a message.
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
    use crate::ingest::fields::Mapping;
    use crate::ingest::{csv, json};

    fn rules() -> Rules {
        Rules {
            now: at("2026-01-31T12:00:00Z"),
            max_future: TimeDelta::minutes(5),
            time_unit: None,
            assumed_zone: None,
        }
    }

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    /// The record of a JSON object, whose `api_name` need not be written; or its problem.
    fn of_json<T>(
        fields: &str,
        rules: &Rules,
        then: impl FnOnce(Result<Checked<'_>, Problem>) -> T,
    ) -> T {
        let text = format!(r#"{{"api_name":"tmdb"{fields}}}"#);
        let event = json::parse(&text, &Mapping::default()).unwrap();
        then(check(&event, rules, rules.now))
    }

    fn problem(fields: &str) -> Problem {
        of_json(fields, &rules(), |checked| checked.unwrap_err())
    }

    fn of_cell(field: Field, cell: &str, rules: &Rules) -> Result<(), Problem> {
        let header = format!("api_name,{}", field.name());
        let header = csv::Header::parse(&header, &Mapping::default()).unwrap();
        let row = format!("tmdb,{cell}");
        let event = header.event(&row).unwrap();
        check(&event, rules, rules.now).map(|_| ())
    }

    #[test]
    fn defaults_fill_in_what_a_line_leaves_out() {
        of_json("", &rules(), |checked| {
            let usage = checked.unwrap().usage;
            assert_eq!(usage.record.method, Some("GET"));
            assert_eq!(usage.record.timestamp, rules().now);
            assert!(usage.record.success && !usage.record.cached);
            assert_eq!(usage.record.error_type, None);
            assert!(usage.defaulted.timestamp && usage.defaulted.method);
        });
        of_json(r#","status_code":429"#, &rules(), |checked| {
            let record = checked.unwrap().usage.record;
            assert!(!record.success);
            assert_eq!(record.error_type, Some("RATE_LIMIT"));
        });
        of_json(r#","errorType":"PARSE""#, &rules(), |checked| {
            assert!(!checked.unwrap().usage.record.success);
        });
    }

    #[test]
    fn given_values_win_over_defaults() {
        let fields = r#","status_code":500,"success":true,"error_type":"","method":"POST""#;
        of_json(fields, &rules(), |checked| {
            let record = checked.unwrap().usage.record;
            assert!(record.success);
            assert_eq!((record.error_type, record.method), (None, Some("POST")));
        });
        let fields = r#","status_code":200,"success":false,"error_type":"TIMEOUT""#;
        of_json(fields, &rules(), |checked| {
            assert_eq!(checked.unwrap().usage.record.error_type, Some("TIMEOUT"));
        });
    }

    #[test]
    fn a_number_must_be_a_number_and_whole_and_in_range() {
        for (fields, code, said) in [
            (r#","status_code":"200""#, Code::Type, "without quotes"),
            (r#","status_code":99"#, Code::Range, "between 100 and 599"),
            (r#","status_code":600"#, Code::Range, "is 600"),
            (r#","status_code":true"#, Code::Type, "not a number"),
            (r#","response_time":1.5"#, Code::Type, "not a whole number"),
            (r#","response_time":-1"#, Code::Range, "between 0 and"),
            (r#","response_time":2147483648"#, Code::Range, "2147483647"),
            (
                r#","request_size":99999999999999999999"#,
                Code::Range,
                "1e20",
            ),
            (r#","response_size":[1]"#, Code::Type, "a list"),
            (
                r#","cost_credits":-0.01"#,
                Code::Range,
                "between 0 and 1e15",
            ),
            (r#","cost_credits":1e16"#, Code::Range, "1e16"),
            (r#","cost_credits":{}"#, Code::Type, "an object"),
        ] {
            let problem = problem(fields);
            assert_eq!(problem.code, code, "{fields}: {}", problem.message);
            assert!(problem.message.contains(said), "{}", problem.message);
        }
        let fields =
            r#","status_code":2e2,"response_time":120.0,"request_size":-0,"cost_credits":-0.0"#;
        of_json(fields, &rules(), |checked| {
            let record = checked.unwrap().usage.record;
            assert_eq!(record.status_code, Some(200));
            assert_eq!(
                (record.response_time, record.request_size),
                (Some(120), Some(0))
            );
            assert!(record.cost_credits.is_some_and(f64::is_sign_positive));
        });
    }

    #[test]
    fn texts_are_texts_without_nul_and_not_too_long() {
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
    fn an_api_must_be_named() {
        let of = |text: &str| {
            let event = json::parse(text, &Mapping::default()).unwrap();
            check(&event, &rules(), rules().now).unwrap_err()
        };
        assert_eq!(of("{}").message, "is missing");
        assert_eq!(of(r#"{"api_name":null}"#).code, Code::Missing);
        assert_eq!(of(r#"{"api_name":""}"#).message, "is missing");
        assert_eq!(of(r#"{"api_name":" \t"}"#).message, "is blank");
    }

    #[test]
    fn a_long_error_message_is_cut_between_characters() {
        let message = |count| format!(r#","error_message":"{}""#, "é".repeat(count));
        of_json(&message(5_000), &rules(), |checked| {
            assert!(!checked.unwrap().was_cut);
        });
        of_json(&message(5_001), &rules(), |checked| {
            let checked = checked.unwrap();
            assert!(checked.was_cut);
            let kept = checked.usage.record.error_message.unwrap();
            assert_eq!(kept.chars().count(), 5_000);
        });
    }

    #[test]
    fn a_time_has_a_zone_or_is_told_one() {
        let zoneless = r#","timestamp":"2026-01-31 12:00:00.5""#;
        assert!(problem(zoneless).message.contains("--assume-tz"));
        let told = Rules {
            assumed_zone: Some(zone_from_text("+02:00").unwrap()),
            ..rules()
        };
        of_json(zoneless, &told, |checked| {
            let record = checked.unwrap().usage.record;
            assert_eq!(record.timestamp, at("2026-01-31T10:00:00.500Z"));
        });
        // A zone that is written wins.
        of_json(
            r#","timestamp":"2026-01-31T12:00:00+01:00""#,
            &told,
            |checked| {
                assert_eq!(
                    checked.unwrap().usage.record.timestamp,
                    at("2026-01-31T11:00:00Z")
                );
            },
        );
    }

    #[test]
    fn a_number_is_a_time_only_with_its_unit() {
        let number = r#","timestamp":1769860800"#;
        assert!(problem(number).message.contains("--time-unit s"));
        let seconds = Rules {
            time_unit: Some(TimeUnit::S),
            ..rules()
        };
        let milliseconds = Rules {
            time_unit: Some(TimeUnit::Ms),
            ..rules()
        };
        let time = |fields: &str, rules: &Rules| {
            of_json(fields, rules, |checked| {
                checked.map(|checked| checked.usage.record.timestamp)
            })
        };
        assert_eq!(time(number, &seconds), Ok(at("2026-01-31T12:00:00Z")));
        assert_eq!(
            time(r#","timestamp":1769860800.123"#, &seconds),
            Ok(at("2026-01-31T12:00:00.123Z"))
        );
        assert_eq!(
            time(r#","timestamp":1769860800123"#, &milliseconds),
            Ok(at("2026-01-31T12:00:00.123Z"))
        );
        // Milliseconds taken for seconds lie in a far year.
        let mistaken = time(r#","timestamp":1769860800123"#, &seconds).unwrap_err();
        assert!(mistaken.message.contains("--time-unit"));
        for far in ["9223372036854775807", "-9223372036854775808", "1e300"] {
            let fields = format!(r#","timestamp":{far}"#);
            assert_eq!(time(&fields, &seconds).unwrap_err().code, Code::Time);
        }
        assert!(of_cell(Field::Timestamp, "1769860800", &seconds).is_ok());
        assert!(of_cell(Field::Timestamp, "NaN", &seconds).is_err());
    }

    #[test]
    fn a_time_that_cannot_be_true_is_refused() {
        for (time, said) in [
            ("2026-01-31T12:05:00.001Z", "5 minutes ahead"),
            ("2026-02-05T12:00:00Z", "5 days ahead"),
            ("1969-12-31T23:59:59Z", "year 1969"),
            ("2026-02-30T00:00:00Z", "not a time such as"),
            ("yesterday", "`yesterday`"),
            ("2026-01-31", "RFC 3339"),
            ("2026-01-31T25:00:00Z", "RFC 3339"),
        ] {
            let problem = problem(&format!(r#","timestamp":"{time}""#));
            assert_eq!(problem.code, Code::Time);
            assert!(problem.message.contains(said), "{}", problem.message);
        }
        for time in [
            "2026-01-31T12:05:00Z",
            "2016-12-31T23:59:60Z",
            "1970-01-01T00:00:00Z",
        ] {
            let fields = format!(r#","timestamp":"{time}""#);
            assert!(
                of_json(&fields, &rules(), |checked| checked.is_ok()),
                "{time}"
            );
        }
    }

    #[test]
    fn a_leap_second_becomes_the_second_after_it() {
        of_json(
            r#","timestamp":"2016-12-31T23:59:60.5Z""#,
            &rules(),
            |checked| {
                let time = checked.unwrap().usage.record.timestamp;
                assert_eq!(time, at("2017-01-01T00:00:00.500Z"));
            },
        );
    }

    #[test]
    fn a_cell_stands_for_a_value_of_any_type() {
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
            assert_eq!(of_cell(field, cell, &rules()), Ok(()), "{cell}");
        }
        for (field, cell) in [
            (Field::Success, "yes"),
            (Field::StatusCode, "2x"),
            (Field::ResponseTime, "NaN"),
            (Field::CostCredits, "inf"),
            (Field::CostCredits, "0x10"),
            (Field::Timestamp, "now"),
        ] {
            assert!(of_cell(field, cell, &rules()).is_err(), "{cell}");
        }
    }
}
