//! Column values in an export: JSON that keeps every value exactly, and is read by either engine.
//!
//! A value without a JSON type of its own is an object with one key: bytes as `{"base64": ...}`, text of SQLite that
//! is not UTF-8 as `{"text_base64": ...}`, a number that is not finite as `{"number": "NaN"}`. Timestamps are text in
//! UTC, `2026-01-31T12:00:00.000+00:00`.

use base64::prelude::{BASE64_STANDARD, Engine};
use chrono::DateTime;
use serde_json::{Map, Number, Value};

use crate::domain::format::hex;

/// The kind of a column, by its declared type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Boolean,
    Integer,
    Float,
    Timestamp,
    Bytes,
    /// Any other type, as the engine writes it as text.
    Text,
}

impl Kind {
    /// The kind of a type as PostgreSQL's or SQLite's catalogue names it.
    pub fn of(declared: &str) -> Kind {
        let declared = declared.to_ascii_lowercase();
        let name = declared.split('(').next().unwrap_or_default().trim();
        if declared.ends_with("[]") {
            return Kind::Text;
        }
        match name {
            "boolean" => Kind::Boolean,
            "smallint" | "integer" | "bigint" | "int" => Kind::Integer,
            "real" | "double precision" | "double" | "float" => Kind::Float,
            "datetime" => Kind::Timestamp,
            name if name.starts_with("timestamp") => Kind::Timestamp,
            "bytea" | "blob" => Kind::Bytes,
            _ => Kind::Text,
        }
    }
}

/// A value as SQLite stores it. PostgreSQL's values are read and written as text.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    /// Text that is not UTF-8.
    InvalidText(Vec<u8>),
    Blob(Vec<u8>),
}

/// A value that no export contains.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid value in a column of an export")]
pub struct InvalidValue;

/// The JSON of a value that PostgreSQL wrote as text (DateStyle ISO, bytea_output hex).
pub fn from_postgres(kind: Kind, text: Option<&str>) -> Value {
    let Some(text) = text else {
        return Value::Null;
    };
    let read = match kind {
        Kind::Boolean => text.parse().map(Value::Bool).ok(),
        Kind::Integer => text.parse::<i64>().map(Value::from).ok(),
        Kind::Float => text.parse().map(float).ok(),
        Kind::Timestamp => timestamp(text).map(Value::String),
        Kind::Bytes => text.strip_prefix("\\x").and_then(unhex).map(bytes),
        Kind::Text => None,
    };
    read.unwrap_or_else(|| Value::String(text.to_owned()))
}

/// The text of a value for PostgreSQL to cast to the column's type.
pub fn to_postgres(kind: Kind, value: &Value) -> Result<Option<String>, InvalidValue> {
    Ok(match value {
        Value::Null => None,
        Value::Bool(value) => Some(value.to_string()),
        // SQLite has no booleans and, from Prisma, times in milliseconds.
        Value::Number(number) if kind == Kind::Boolean => {
            Some((number.as_f64() != Some(0.0)).to_string())
        }
        Value::Number(number) if kind == Kind::Timestamp => {
            let ms = number.as_i64().ok_or(InvalidValue)?;
            let at = DateTime::from_timestamp_millis(ms).ok_or(InvalidValue)?;
            Some(at.format("%Y-%m-%dT%H:%M:%S%.3f+00:00").to_string())
        }
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) if kind == Kind::Timestamp => Some(in_utc(text)),
        Value::String(text) => Some(text.clone()),
        Value::Object(object) => Some(match special(object)? {
            Special::Bytes(bytes) | Special::InvalidText(bytes) => format!("\\x{}", hex(&bytes)),
            Special::Number(number) => number.to_string(),
        }),
        Value::Array(_) => return Err(InvalidValue),
    })
}

/// A value of a column of type `from` for one of type `to`: a list of PostgreSQL becomes a JSON document, and the
/// reverse, as some applications declare one where others declare the other.
pub fn between_types(from: &str, to: &str, value: Value) -> Value {
    let Value::String(text) = &value else {
        return value;
    };
    let converted = match (from.strip_suffix("[]"), to.strip_suffix("[]")) {
        (Some(element), None) => list_to_json(Kind::of(element), text).map(|it| it.to_string()),
        (None, Some(_)) => match serde_json::from_str(text) {
            Ok(list @ Value::Array(_)) => Some(list_of_json(&list)),
            _ => None,
        },
        _ => None,
    };
    converted.map_or(value, Value::String)
}

/// `{a,"b c",NULL}` as JSON. Nothing if it is not a list.
fn list_to_json(element: Kind, text: &str) -> Option<Value> {
    // Bounds other than from 1: `[0:1]={a,b}`.
    let start = text.find('{')?;
    let mut lists: Vec<Vec<Value>> = Vec::new();
    let mut characters = text[start..].chars().peekable();
    while let Some(first) = characters.next() {
        match first {
            '{' => lists.push(Vec::new()),
            '}' => {
                let list = Value::Array(lists.pop()?);
                match lists.last_mut() {
                    Some(outer) => outer.push(list),
                    None => return characters.next().is_none().then_some(list),
                }
            }
            ',' => {}
            _ => {
                let is_quoted = first == '"';
                let mut word = String::new();
                let mut next = if is_quoted {
                    characters.next()
                } else {
                    Some(first)
                };
                while let Some(character) = next {
                    match character {
                        '"' if is_quoted => break,
                        '\\' => word.extend(characters.next()),
                        other => word.push(other),
                    }
                    next = match is_quoted {
                        true => characters.next(),
                        false => characters.next_if(|it| !",}".contains(*it)),
                    };
                }
                let is_null = !is_quoted && word.eq_ignore_ascii_case("null");
                let value = (!is_null).then_some(word.as_str());
                lists.last_mut()?.push(from_postgres(element, value));
            }
        }
    }
    None
}

/// A JSON list as PostgreSQL writes one.
fn list_of_json(value: &Value) -> String {
    match value {
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(list_of_json).collect();
            format!("{{{}}}", values.join(","))
        }
        Value::Null => "NULL".to_owned(),
        Value::String(text) => {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"");
            format!("\"{text}\"")
        }
        other => list_of_json(&Value::String(other.to_string())),
    }
}

/// The JSON of a value that SQLite stores.
pub fn from_sqlite(kind: Kind, value: Stored) -> Value {
    match value {
        Stored::Null => Value::Null,
        Stored::Integer(value @ (0 | 1)) if kind == Kind::Boolean => Value::Bool(value == 1),
        Stored::Integer(value) => Value::from(value),
        Stored::Real(value) => float(value),
        Stored::Text(text) => Value::String(text),
        Stored::InvalidText(text) => object("text_base64", BASE64_STANDARD.encode(text)),
        Stored::Blob(blob) => bytes(blob),
    }
}

/// The value for SQLite to store.
pub fn to_sqlite(value: &Value) -> Result<Stored, InvalidValue> {
    Ok(match value {
        Value::Null => Stored::Null,
        Value::Bool(value) => Stored::Integer(i64::from(*value)),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => Stored::Integer(integer),
            None => Stored::Real(number.as_f64().ok_or(InvalidValue)?),
        },
        Value::String(text) => Stored::Text(text.clone()),
        Value::Object(object) => match special(object)? {
            Special::Bytes(bytes) => Stored::Blob(bytes),
            Special::InvalidText(bytes) => Stored::InvalidText(bytes),
            Special::Number(number) => Stored::Real(number),
        },
        Value::Array(_) => return Err(InvalidValue),
    })
}

enum Special {
    Bytes(Vec<u8>),
    InvalidText(Vec<u8>),
    Number(f64),
}

fn special(object: &Map<String, Value>) -> Result<Special, InvalidValue> {
    let text = |name| object.get(name).and_then(Value::as_str);
    let decoded = |text| BASE64_STANDARD.decode(text).map_err(|_| InvalidValue);
    match (text("base64"), text("text_base64"), text("number")) {
        (Some(text), None, None) => decoded(text).map(Special::Bytes),
        (None, Some(text), None) => decoded(text).map(Special::InvalidText),
        (None, None, Some(text)) => text.parse().map(Special::Number).map_err(|_| InvalidValue),
        _ => Err(InvalidValue),
    }
}

fn object(name: &str, text: String) -> Value {
    Value::Object(Map::from_iter([(name.to_owned(), Value::String(text))]))
}

fn float(value: f64) -> Value {
    match Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => object("number", "NaN".to_owned()),
        None if value > 0.0 => object("number", "Infinity".to_owned()),
        None => object("number", "-Infinity".to_owned()),
    }
}

fn bytes(bytes: Vec<u8>) -> Value {
    object("base64", BASE64_STANDARD.encode(bytes))
}

/// `2026-01-31 12:00:00.5` and `2026-01-31 12:00:00.5+00` as `2026-01-31T12:00:00.500+00:00`. Nothing for infinity
/// and for years that have not four digits.
fn timestamp(text: &str) -> Option<String> {
    let text = text.strip_suffix("+00").unwrap_or(text);
    let (date, time) = text.split_once(' ')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let is_plain =
        date.len() == 10 && time.len() == 8 && fraction.bytes().all(|digit| digit.is_ascii_digit());
    is_plain.then(|| format!("{date}T{time}.{fraction:0<3}+00:00"))
}

/// A timestamp with an offset in UTC: PostgreSQL ignores the offset. SQLite keeps the text that was written.
fn in_utc(text: &str) -> String {
    match DateTime::parse_from_rfc3339(text) {
        Ok(at) => at.to_utc().format("%Y-%m-%dT%H:%M:%S%.f+00:00").to_string(),
        Err(_) => text.to_owned(),
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pair = |at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::cases;

    fn round_trip_postgres(declared: &str, text: &str) -> String {
        let kind = Kind::of(declared);
        let json = from_postgres(kind, Some(text)).to_string();
        let value = serde_json::from_str(&json).unwrap();
        let back = to_postgres(kind, &value).unwrap().unwrap();
        format!("{json} {back}")
    }

    #[test]
    fn postgres_text_becomes_json_and_back() {
        let table = r#"
            boolean | true | true true
            bigint | 9223372036854775807 | 9223372036854775807 9223372036854775807
            double precision | 0.1 | 0.1 0.1
            double precision | 5e-324 | 5e-324 5e-324
            double precision | -Infinity | {"number":"-Infinity"} -inf
            double precision | NaN | {"number":"NaN"} NaN
            timestamp(3) | 2026-01-31 12:00:00.5 | "2026-01-31T12:00:00.500+00:00" 2026-01-31T12:00:00.500+00:00
            timestamp(6) with time zone | 2026-01-31 12:00:00.000001+00 | "2026-01-31T12:00:00.000001+00:00" 2026-01-31T12:00:00.000001+00:00
            timestamp(3) without time zone | infinity | "infinity" infinity
            bytea | \x00ff | {"base64":"AP8="} \x00ff
            text | 12 | "12" 12
            text[] | {a,b} | "{a,b}" {a,b}
            jsonb | {"a": 1} | "{\"a\": 1}" {"a": 1}"#;
        for [declared, text, expected] in cases(table) {
            assert_eq!(round_trip_postgres(declared, text), expected, "{text}");
        }
        assert_eq!(from_postgres(Kind::Integer, None), Value::Null);
    }

    #[test]
    fn sqlite_value_keeps_its_storage_class() {
        const INFINITY: &str = r#"{"number":"Infinity"}"#;
        for (declared, value, json) in [
            ("BOOLEAN", Stored::Integer(1), "true"),
            ("BOOLEAN", Stored::Integer(2), "2"),
            ("REAL", Stored::Real(10.0), "10.0"),
            ("REAL", Stored::Real(f64::INFINITY), INFINITY),
            ("INTEGER", Stored::Integer(i64::MIN), "-9223372036854775808"),
            ("DATETIME", Stored::Integer(1_767_225_600), "1767225600"),
            ("DATETIME", Stored::Text("soon".to_owned()), "\"soon\""),
            ("TEXT", Stored::Blob(vec![0, 255]), "{\"base64\":\"AP8=\"}"),
            (
                "TEXT",
                Stored::InvalidText(vec![0, 255]),
                "{\"text_base64\":\"AP8=\"}",
            ),
            ("TEXT", Stored::Null, "null"),
        ] {
            let written = from_sqlite(Kind::of(declared), value.clone()).to_string();
            assert_eq!(written, json);
            let read = serde_json::from_str(&written).unwrap();
            assert_eq!(to_sqlite(&read), Ok(value), "{json}");
        }
    }

    #[test]
    fn sqlite_export_is_readable_by_postgres() {
        for (declared, json, text) in [
            (
                "timestamp(3)",
                "1767225600123",
                "2026-01-01T00:00:00.123+00:00",
            ),
            (
                "timestamp(3)",
                "\"2026-01-01T09:00:00+09:00\"",
                "2026-01-01T00:00:00+00:00",
            ),
            ("boolean", "2", "true"),
            ("double precision", "10.0", "10.0"),
        ] {
            let value = serde_json::from_str(json).unwrap();
            let written = to_postgres(Kind::of(declared), &value);
            assert_eq!(written.unwrap().unwrap(), text, "{json}");
        }
    }

    #[test]
    fn list_becomes_json_and_back() {
        let between = |from, to, text: &str| {
            let value = between_types(from, to, Value::String(text.to_owned()));
            value.as_str().unwrap_or_default().to_owned()
        };
        for (declared, list, json) in [
            ("text[]", "{}", "[]"),
            (
                "text[]",
                "{a,NULL,\"null\",\"\"}",
                r#"["a",null,"null",""]"#,
            ),
            (
                "text[]",
                r#"{"a, {\"b\"}","c\\d"}"#,
                r#"["a, {\"b\"}","c\\d"]"#,
            ),
            ("text[]", "{{a,b},{c,d}}", r#"[["a","b"],["c","d"]]"#),
            ("integer[]", "[0:1]={1,2}", "[1,2]"),
        ] {
            assert_eq!(between(declared, "jsonb", list), json);
            let back = between("jsonb", declared, json);
            assert_eq!(between(declared, "jsonb", &back), json, "{back}");
        }
        // A value of the same type, or one that is not a list, stays.
        assert_eq!(between("text[]", "text[]", "{a}"), "{a}");
        assert_eq!(between("jsonb", "text[]", r#"{"a":1}"#), r#"{"a":1}"#);
        assert_eq!(between("text", "jsonb", "{a}"), "{a}");
        assert_eq!(between("text[]", "jsonb", "{a"), "{a");
    }

    #[test]
    fn other_json_is_invalid() {
        for json in ["[]", "{}", "{\"base64\":\"?\"}", "{\"number\":\"x\"}"] {
            let value = serde_json::from_str(json).unwrap();
            assert_eq!(to_sqlite(&value), Err(InvalidValue), "{json}");
            assert_eq!(to_postgres(Kind::Text, &value), Err(InvalidValue), "{json}");
        }
    }
}
