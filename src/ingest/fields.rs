//! The names of the fields, and what a line says about each.

use std::borrow::Cow;
use std::collections::HashMap;

use super::{Code, Problem};

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

/// What happens to a field that nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Unknown {
    /// The line is refused
    #[default]
    Refuse,
    /// The field is left out
    Ignore,
}

/// How the names in the input become fields.
#[derive(Clone, Debug, Default)]
pub struct Mapping {
    /// Names of foreign logs; they come before our own.
    pub renamed: HashMap<String, Field>,
    /// What happens to other names.
    pub unknown: Unknown,
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

/// What a line says about one field.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Value<'a> {
    /// Nothing, or `null`.
    #[default]
    Absent,
    /// A text in JSON.
    Text(Cow<'a, str>),
    /// A cell of CSV or an argument: a text that stands for a value of any type.
    Cell(Cow<'a, str>),
    Bool(bool),
    Int(i64),
    /// Any other number; whole numbers too, if they are large or were written with a point.
    Float(f64),
    List,
    Object,
}

impl Value<'_> {
    /// What it is, for a sentence that begins with "is".
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Absent => "missing",
            Value::Text(_) | Value::Cell(_) => "text",
            Value::Bool(_) => "true or false",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::List => "a list",
            Value::Object => "an object",
        }
    }
}

/// What a line says.
#[derive(Debug, Default)]
pub(super) struct RawEvent<'a> {
    values: [Value<'a>; Field::ALL.len()],
    /// One bit for each field that was named, be it with `null`.
    named: u16,
    /// The first thing that is wrong with the names.
    pub(super) problem: Option<Problem>,
}

impl<'a> RawEvent<'a> {
    pub(super) fn get(&self, field: Field) -> &Value<'a> {
        &self.values[field as usize]
    }

    /// Notes what the line says about `field`; saying it twice is a problem.
    pub(super) fn set(&mut self, field: Field, value: Value<'a>) {
        let bit = 1 << field as u16;
        if self.named & bit != 0 {
            self.problem.get_or_insert_with(|| {
                Problem::with(Code::DuplicateField, field.name(), "is there twice")
            });
        }
        self.named |= bit;
        self.values[field as usize] = value;
    }

    /// Notes a name that stands for no field.
    pub(super) fn unknown(&mut self, name: &str) {
        self.problem.get_or_insert_with(|| {
            // A name is data: it may be a whole line of somebody's log.
            let name: String = name.chars().take(60).collect();
            Problem::with(
                Code::UnknownField,
                name,
                "is not a field; rename it with --map, or leave it out with --unknown ignore",
            )
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_known_in_snake_and_in_camel_case() {
        assert_eq!(Field::named("api_name"), Some(Field::ApiName));
        assert_eq!(Field::named("apiName"), Some(Field::ApiName));
        assert_eq!(Field::named("APIName"), None);
        for field in Field::ALL {
            assert_eq!(Field::named(field.name()), Some(*field));
        }
    }

    #[test]
    fn a_foreign_name_comes_before_our_own() {
        let mapping = Mapping {
            renamed: HashMap::from([("id".to_owned(), Field::UserId)]),
            ..Mapping::default()
        };
        assert_eq!(mapping.field("id"), Some(Field::UserId));
        assert_eq!(mapping.field("cached"), Some(Field::Cached));
    }

    #[test]
    fn a_field_that_is_there_twice_is_a_problem_even_as_null() {
        let mut event = RawEvent::default();
        event.set(Field::Cached, Value::Absent);
        assert_eq!(event.problem, None);
        event.set(Field::Cached, Value::Bool(true));
        assert_eq!(event.problem.unwrap().code, Code::DuplicateField);
    }
}
