//! One JSON object as the values of its fields.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use super::fields::{RawEvent, Target, UnknownFields, Value};
use super::mapping::{Mapping, Node};
use super::{Code, LineError};

/// Reads one object.
///
/// Strings are borrowed from `text` unless they contain escapes. Values nested deeper than the paths of the
/// mapping are skipped without recursion, so depth costs no stack.
pub(super) fn parse<'a>(text: &'a str, mapping: &Mapping) -> Result<RawEvent<'a>, LineError> {
    let mut event = mapping.event();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let object = Object {
        mapping,
        node: mapping.tree(),
        is_top: true,
        event: &mut event,
    };
    let read = deserializer.deserialize_map(object);
    read.and_then(|()| deserializer.end())
        .map_err(|error| explain(&error))?;
    mapping.apply(&mut event);
    Ok(event)
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

/// Reads the members of an object into an event.
struct Object<'e, 'de, 'm> {
    mapping: &'m Mapping,
    node: &'m Node,
    is_top: bool,
    event: &'e mut RawEvent<'de>,
}

impl<'de> Visitor<'de> for Object<'_, 'de, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let name = || Name {
            mapping: self.mapping,
            node: self.node,
            is_top: self.is_top,
        };
        while let Some(name) = map.next_key_seed(name())? {
            match name {
                Named::Known(target, below) => map.next_value_seed(AnyValue {
                    mapping: self.mapping,
                    target,
                    below,
                    event: self.event,
                })?,
                Named::Unknown(name) => {
                    self.event.unknown(&name);
                    map.next_value::<IgnoredAny>()?;
                }
                Named::Ignored => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Reads a key and looks up its meaning.
struct Name<'m> {
    mapping: &'m Mapping,
    node: &'m Node,
    is_top: bool,
}

enum Named<'m> {
    Known(Option<Target>, Option<&'m Node>),
    Unknown(String),
    Ignored,
}

impl<'de, 'm> DeserializeSeed<'de> for Name<'m> {
    type Value = Named<'m>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Named<'m>, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<'m> Visitor<'_> for Name<'m> {
    type Value = Named<'m>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Named<'m>, E> {
        let known = self.mapping.resolve(self.node, self.is_top, name);
        Ok(match known {
            Some((target, below)) => Named::Known(target, below),
            None if self.is_top && self.mapping.unknown == UnknownFields::Refuse => {
                Named::Unknown(name.to_owned())
            }
            None => Named::Ignored,
        })
    }
}

/// Reads the value of a field or path, or the object that holds others.
struct AnyValue<'e, 'de, 'm> {
    mapping: &'m Mapping,
    target: Option<Target>,
    /// The names below it that have a meaning.
    below: Option<&'m Node>,
    event: &'e mut RawEvent<'de>,
}

impl<'de> AnyValue<'_, 'de, '_> {
    fn put<E>(self, value: Value<'de>) -> Result<(), E> {
        if let Some(target) = self.target {
            self.event.put(target, self.mapping.clean(value));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for AnyValue<'_, 'de, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AnyValue<'_, 'de, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.put(Value::Absent)
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.put(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.put(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        // A number that does not fit is out of every range; as a float it is still a number.
        self.put(i64::try_from(value).map_or(Value::Float(value as f64), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.put(Value::Float(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<(), E> {
        self.put(Value::Text(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.put(Value::Text(value.to_owned().into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        self.put(Value::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if let Some(node) = self.below {
            let object = Object {
                mapping: self.mapping,
                node,
                is_top: false,
                event: self.event,
            };
            return object.visit_map(map);
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        self.put(Value::Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::fields::Field;

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
        let mapping = Mapping::own(UnknownFields::Ignore);
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
