//! The fields of a usage record, and their values in one line.

use std::borrow::Cow;
use std::collections::HashMap;

use super::{Code, LineError};

macro_rules! fields {
    ($($field:ident $snake:literal $(or $camel:literal)?,)+) => {
        /// A field of a usage record.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Field {
            $(#[doc = concat!("`", $snake, "`.")] $field,)+
        }

        impl Field {
            /// All of them.
            pub const ALL: &[Field] = &[$(Field::$field,)+];

            /// Its name in the database, in messages and in most logs.
            pub fn name(self) -> &'static str {
                match self {
                    $(Field::$field => $snake,)+
                }
            }

            /// The field of that name, in snake_case or camelCase.
            pub fn named(name: &str) -> Option<Field> {
                match name {
                    $($snake $(| $camel)? => Some(Field::$field),)+
                    _ => None,
                }
            }
        }
    };
}

fields! {
    ApiName "api_name" or "apiName",
    Endpoint "endpoint",
    Method "method",
    Timestamp "timestamp",
    Success "success",
    StatusCode "status_code" or "statusCode",
    ResponseTime "response_time" or "responseTime",
    RequestSize "request_size" or "requestSize",
    ResponseSize "response_size" or "responseSize",
    ErrorType "error_type" or "errorType",
    ErrorMessage "error_message" or "errorMessage",
    CostCredits "cost_credits" or "costCredits",
    Cached "cached",
    UserId "user_id" or "userId",
    Id "id",
}

/// What to do with unknown fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum UnknownFields {
    /// Reject the line
    #[default]
    Refuse,
    /// Ignore the field
    Ignore,
}

/// How the names in the input become fields.
#[derive(Clone, Debug, Default)]
pub struct Mapping {
    /// Names of other logs; they take precedence over the fields' own names.
    pub renamed: HashMap<String, Field>,
    pub unknown: UnknownFields,
}

impl Mapping {
    /// The field that `name` stands for, if it is one.
    pub fn field(&self, name: &str) -> Option<Field> {
        if !self.renamed.is_empty()
            && let Some(field) = self.renamed.get(name)
        {
            return Some(*field);
        }
        Field::named(name)
    }
}

/// The value of one field in a line.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Value<'a> {
    /// Nothing, or `null`.
    #[default]
    Absent,
    /// Text in JSON.
    Text(Cow<'a, str>),
    /// A cell of CSV or an argument: text for a value of any type.
    Cell(Cow<'a, str>),
    Bool(bool),
    Int(i64),
    /// Any other number; also a whole one that is large or has a decimal point.
    Float(f64),
    List,
    Object,
}

impl Value<'_> {
    /// The type, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Absent => "missing",
            Value::Text(_) | Value::Cell(_) => "text",
            Value::Bool(_) => "a boolean",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::List => "a list",
            Value::Object => "an object",
        }
    }
}

/// The values of one line, unchecked.
#[derive(Debug, Default)]
pub(super) struct RawEvent<'a> {
    values: [Value<'a>; Field::ALL.len()],
    /// One bit for each field in the line, null or not.
    named: u16,
    /// The first thing that is wrong with the names.
    pub(super) problem: Option<LineError>,
}

impl<'a> RawEvent<'a> {
    pub(super) fn get(&self, field: Field) -> &Value<'a> {
        &self.values[field as usize]
    }

    /// Sets a field; setting it twice is a problem.
    pub(super) fn set(&mut self, field: Field, value: Value<'a>) {
        let bit = 1 << field as u16;
        if self.named & bit != 0 {
            self.problem.get_or_insert_with(|| {
                LineError::with(Code::DuplicateField, field.name(), "appears twice")
            });
        }
        self.named |= bit;
        self.values[field as usize] = value;
    }

    /// Records a name that is not a field.
    pub(super) fn unknown(&mut self, name: &str) {
        self.problem.get_or_insert_with(|| {
            // A name is data: it may be a whole line of some log.
            let name: String = name.chars().take(60).collect();
            LineError::with(
                Code::UnknownField,
                name,
                "is not a known field; rename it with --map, or drop it with --unknown ignore",
            )
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_is_known_in_snake_and_camel_case() {
        assert_eq!(Field::named("api_name"), Some(Field::ApiName));
        assert_eq!(Field::named("apiName"), Some(Field::ApiName));
        assert_eq!(Field::named("APIName"), None);
        for field in Field::ALL {
            assert_eq!(Field::named(field.name()), Some(*field));
        }
    }

    #[test]
    fn renamed_field_takes_precedence() {
        let mapping = Mapping {
            renamed: HashMap::from([("id".to_owned(), Field::UserId)]),
            ..Mapping::default()
        };
        assert_eq!(mapping.field("id"), Some(Field::UserId));
        assert_eq!(mapping.field("cached"), Some(Field::Cached));
    }

    #[test]
    fn repeated_field_is_a_problem_even_as_null() {
        let mut event = RawEvent::default();
        event.set(Field::Cached, Value::Absent);
        assert_eq!(event.problem, None);
        event.set(Field::Cached, Value::Bool(true));
        assert_eq!(event.problem.unwrap().code, Code::DuplicateField);
    }
}
