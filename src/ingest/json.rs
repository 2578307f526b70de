//! One JSON object as the values of its fields.

use std::borrow::Cow;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::error::Category;

use super::fields::{Field, Mapping, RawEvent, UnknownFields, Value};
use super::{Code, LineError};

/// Reads one object.
///
/// Strings are borrowed from `text` unless they contain escapes. Nested values are skipped without
/// recursion, so depth costs no stack.
pub(super) fn parse<'a>(text: &'a str, mapping: &Mapping) -> Result<RawEvent<'a>, LineError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let event = Event { mapping }.deserialize(&mut deserializer);
    event
        .and_then(|event| deserializer.end().map(|()| event))
        .map_err(|error| explain(&error))
}

/// The reason, without the content of the line.
pub(super) fn explain(error: &serde_json::Error) -> LineError {
    let message = match error.classify() {
        // An object is the only type requested.
        Category::Data => "is not a JSON object".to_owned(),
        Category::Eof => {
            "is not valid JSON: unexpected end of input; write each object on one line (`jq -c`)"
                .to_owned()
        }
        Category::Syntax | Category::Io => {
            let text = error.to_string();
            let reason = text.split(" at line ").next().unwrap_or_default();
            match error.line() {
                0 | 1 => format!("is not valid JSON at byte {}: {reason}", error.column()),
                line => format!("is not valid JSON in line {line} of the record: {reason}"),
            }
        }
    };
    LineError::new(Code::Json, message)
}

struct Event<'m> {
    mapping: &'m Mapping,
}

impl<'de> DeserializeSeed<'de> for Event<'_> {
    type Value = RawEvent<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Event<'_> {
    type Value = RawEvent<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut event = RawEvent::default();
        while let Some(name) = map.next_key_seed(Name(self.mapping))? {
            match name {
                Named::Field(field) => event.set(field, map.next_value()?),
                Named::Unknown(name) => {
                    event.unknown(&name);
                    map.next_value::<IgnoredAny>()?;
                }
                Named::Ignored => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(event)
    }
}

/// Reads a key as a field.
struct Name<'m>(&'m Mapping);

enum Named {
    Field(Field),
    Unknown(String),
    Ignored,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Named;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Named, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Named;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Named, E> {
        Ok(match (self.0.field(name), self.0.unknown) {
            (Some(field), _) => Named::Field(field),
            (None, UnknownFields::Refuse) => Named::Unknown(name.to_owned()),
            (None, UnknownFields::Ignore) => Named::Ignored,
        })
    }
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Value::Absent)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        // A number that does not fit is out of every range; as a float it is still a number.
        Ok(i64::try_from(value).map_or(Value::Float(value as f64), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> RawEvent<'_> {
        parse(text, &Mapping::default()).unwrap()
    }

    fn refused(text: &str) -> String {
        parse(text, &Mapping::default()).unwrap_err().message
    }

    #[test]
    fn spellings_may_be_mixed() {
        let event =
            event(r#"{"apiName":"tmdb","status_code":200,"cached":null,"costCredits":1e-1}"#);
        assert_eq!(*event.get(Field::ApiName), Value::Text("tmdb".into()));
        assert_eq!(*event.get(Field::StatusCode), Value::Int(200));
        assert_eq!(*event.get(Field::Cached), Value::Absent);
        assert_eq!(*event.get(Field::CostCredits), Value::Float(0.1));
        assert_eq!(event.problem, None);
    }

    #[test]
    fn escapes_are_resolved_in_names_and_texts() {
        let event = event(r#"{"api_\u006eame":"a\tb\u00e9"}"#);
        assert_eq!(*event.get(Field::ApiName), Value::Text("a\tbé".into()));
    }

    #[test]
    fn field_in_both_spellings_is_duplicate() {
        let problem = event(r#"{"api_name":"a","apiName":"a"}"#).problem.unwrap();
        assert_eq!(problem.code, Code::DuplicateField);
        assert_eq!(problem.field.as_deref(), Some("api_name"));
    }

    #[test]
    fn unknown_field_is_a_problem_unless_ignored() {
        let text = r#"{"api_name":"a","region":{"x":[1]},"region":2}"#;
        let problem = event(text).problem.unwrap();
        assert_eq!(problem.field.as_deref(), Some("region"));
        let mapping = Mapping {
            unknown: UnknownFields::Ignore,
            ..Mapping::default()
        };
        assert_eq!(parse(text, &mapping).unwrap().problem, None);
    }

    #[test]
    fn input_other_than_object_is_refused_with_reason() {
        for text in ["1", "\"a\"", "[]", "null", "true"] {
            assert_eq!(refused(text), "is not a JSON object");
        }
        assert!(refused("{\"api_name\":\"a\"} {}").contains("trailing characters"));
        assert!(refused("{").contains("unexpected end"));
        assert!(refused("{'a':1}").contains("at byte 2"));
        assert!(refused(r#"{"api_name":"\ud800"}"#).contains("at byte"));
        assert!(refused(r#"{"cost_credits":1e999}"#).contains("number out of range"));
        assert!(refused(r#"{"cost_credits":NaN}"#).contains("expected value"));
        // The message does not repeat the line.
        assert!(!refused(r#"["secret"]"#).contains("secret"));
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = "[".repeat(300_000);
        assert!(parse(&deep, &Mapping::default()).is_err());
        let value = format!(
            r#"{{"endpoint":{}{}}}"#,
            "[".repeat(300_000),
            "]".repeat(300_000)
        );
        assert_eq!(*event(&value).get(Field::Endpoint), Value::List);
    }
}
