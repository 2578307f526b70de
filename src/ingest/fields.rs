//! The fields of a usage record, and their values in one line.

use std::borrow::Cow;

use super::time::TimeUnit;
use super::{Code, LineError};
use crate::domain::format::shell_word;
use crate::domain::nearest::nearest;

macro_rules! fields {
    ($($field:ident $snake:literal $(or $camel:literal)?,)+) => {
        /// A field of a usage record.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Field {
            $(#[doc = concat!("`", $snake, "`.")] $field,)+
        }

        impl Field {
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
    // In dumps of the table. A row gets the time at which it is recorded here.
    CreatedAt "created_at" or "createdAt",
}

impl Field {
    /// The field of a column: its name with any case, spaces, hyphens or underscores.
    pub(super) fn of_column(name: &str) -> Option<Field> {
        let mut fields = Field::ALL.iter().copied();
        fields.find(|field| same_name(field.name(), name))
    }

    pub(super) fn is_number(self) -> bool {
        use Field::{CostCredits, RequestSize, ResponseSize, ResponseTime, StatusCode};
        matches!(
            self,
            StatusCode | ResponseTime | RequestSize | ResponseSize | CostCredits
        )
    }

    /// A field that options and mappings may name.
    pub fn parse(name: &str) -> Result<Field, String> {
        let settable = |field: &Field| *field != Field::CreatedAt;
        Field::named(name).filter(settable).ok_or_else(|| {
            let names = Field::ALL.iter().copied().filter(settable).map(Field::name);
            let names: Vec<_> = names.collect();
            format!(
                "`{name}` is not a field; expected one of {}",
                names.join(", ")
            )
        })
    }
}

/// Whether two names of columns differ at most in case, spaces, hyphens and underscores.
pub(super) fn same_name(a: &str, b: &str) -> bool {
    fn plain(name: &str) -> impl Iterator<Item = char> {
        let letters = name.chars().filter(|c| !matches!(c, '_' | '-' | ' '));
        letters.map(|c| c.to_ascii_lowercase())
    }
    plain(a).eq(plain(b))
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

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Value<'a> {
    /// Nothing, or `null`.
    #[default]
    Absent,
    /// Text: in JSON, a cell of CSV or an argument. It may hold a value of any type.
    Text(Cow<'a, str>),
    Bool(bool),
    Int(i64),
    /// Any other number; also a whole one that is large or has a decimal point.
    Float(f64),
    List,
    Object,
}

impl Value<'_> {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Value::Absent => true,
            Value::Text(text) => text.is_empty(),
            _ => false,
        }
    }

    /// The type, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Absent => "missing",
            Value::Text(_) => "text",
            Value::Bool(_) => "a boolean",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::List => "a list",
            Value::Object => "an object",
        }
    }
}

/// What a name in the input stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Field(Field),
    /// A path of the mapping, by its number.
    Path(usize),
}

/// The values of one line, unchecked.
#[derive(Debug, Default)]
pub(super) struct RawEvent<'a> {
    values: [Value<'a>; Field::ALL.len()],
    /// One bit for each field in the line, null or not.
    named: u16,
    /// The values at the paths of the mapping.
    pub(super) paths: Vec<Value<'a>>,
    /// The unit of a numeric time, if the mapping gives it for this field.
    pub(super) time_unit: Option<TimeUnit>,
    /// The first thing that is wrong with the names.
    pub(super) problem: Option<LineError>,
}

impl<'a> RawEvent<'a> {
    pub(super) fn with_paths(count: usize) -> RawEvent<'a> {
        RawEvent {
            paths: vec![Value::Absent; count],
            ..RawEvent::default()
        }
    }

    pub(super) fn get(&self, field: Field) -> &Value<'a> {
        &self.values[field as usize]
    }

    pub(super) fn has(&self, field: Field) -> bool {
        self.named & (1 << field as u16) != 0
    }

    pub(super) fn put(&mut self, target: Target, value: Value<'a>) {
        match target {
            Target::Field(field) => self.set(field, value),
            Target::Path(path) => {
                if let Some(known) = self.paths.get_mut(path) {
                    *known = value;
                }
            }
        }
    }

    /// Sets a field; setting it twice is a problem.
    pub(super) fn set(&mut self, field: Field, value: Value<'a>) {
        if self.has(field) {
            self.problem.get_or_insert_with(|| {
                LineError::with(Code::DuplicateField, field.name(), "appears twice")
            });
        }
        self.replace(field, value);
    }

    /// Sets a field, whether or not it is set.
    pub(super) fn replace(&mut self, field: Field, value: Value<'a>) {
        self.named |= 1 << field as u16;
        self.values[field as usize] = match (field, value) {
            // Ids are numbers in most programs.
            (Field::Id | Field::UserId, Value::Int(id)) => Value::Text(id.to_string().into()),
            (_, value) => value,
        };
    }

    pub(super) fn unknown(&mut self, name: &str) {
        self.problem.get_or_insert_with(|| {
            LineError::with(Code::UnknownField, shortened(name), unknown(name))
        });
    }
}

/// A name is data: it may be a whole line of some log.
pub(super) fn shortened(name: &str) -> String {
    name.chars().take(60).collect()
}

/// What to do about an unknown name, to follow it in a sentence.
pub(super) fn unknown(name: &str) -> String {
    let name = shortened(name);
    let fields = Field::ALL.iter().map(|field| field.name());
    let nearest = nearest(&name, fields).unwrap_or("FIELD");
    let rule = shell_word(&format!("{name}={nearest}"));
    format!("is not a known field; read it with --map {rule}, or drop it with --unknown ignore")
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
        for name in ["API Name", "api-name", "APINAME", "apiName"] {
            assert_eq!(Field::of_column(name), Some(Field::ApiName), "{name}");
        }
    }

    #[test]
    fn nearest_field_is_suggested() {
        for (name, field) in [
            ("status", "status_code"),
            ("respone_time", "response_time"),
            ("time", "timestamp"),
            ("user", "user_id"),
            ("apiname", "api_name"),
        ] {
            assert!(
                unknown(name).contains(&format!("--map {name}={field},")),
                "{}",
                unknown(name)
            );
        }
        assert!(unknown("region").contains("--map region=FIELD,"));
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
