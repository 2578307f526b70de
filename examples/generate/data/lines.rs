//! Usage records as lines of NDJSON or CSV.

use chrono::{DateTime, SecondsFormat, Utc};
use clap::ValueEnum;
use serde_json::{Value, json};

use super::usage::Call;

/// The spelling of field names.
#[derive(Clone, Copy, ValueEnum)]
pub enum Case {
    Snake,
    Camel,
}

const FIELDS: [&str; 14] = [
    "id",
    "api_name",
    "endpoint",
    "timestamp",
    "success",
    "status_code",
    "response_time",
    "request_size",
    "response_size",
    "error_type",
    "error_message",
    "cost_credits",
    "cached",
    "user_id",
];

fn values(call: &Call) -> [Value; FIELDS.len()] {
    [
        json!(call.id),
        json!(call.api_name),
        json!(call.endpoint),
        json!(instant(call.timestamp)),
        json!(call.success()),
        json!(call.status_code),
        json!(call.response_time),
        json!(call.request_size),
        json!(call.response_size),
        json!(call.error_type),
        json!(call.error_message),
        json!(call.cost_credits()),
        json!(call.cached),
        json!(call.user_id),
    ]
}

impl Case {
    fn name(self, snake: &str) -> String {
        match self {
            Case::Snake => snake.to_owned(),
            Case::Camel => {
                let mut words = snake.split('_');
                let first = words.next().unwrap_or_default().to_owned();
                words.fold(first, |name, word| {
                    let (initial, rest) = word.split_at(1);
                    name + &initial.to_uppercase() + rest
                })
            }
        }
    }
}

/// One line of NDJSON, without absent values.
pub fn ndjson(call: &Call, case: Case) -> String {
    // By hand, to keep the order of the fields.
    let fields = FIELDS.iter().zip(values(call));
    let present = fields.filter(|(_, value)| !value.is_null());
    let members: Vec<String> = present
        .map(|(name, value)| format!("\"{}\":{value}", case.name(name)))
        .collect();
    format!("{{{}}}", members.join(","))
}

pub fn csv_header(case: Case) -> String {
    FIELDS.map(|name| case.name(name)).join(",")
}

/// One line of CSV; absent values are empty cells.
pub fn csv(call: &Call) -> String {
    let cells = values(call).map(|value| match value {
        Value::Null => String::new(),
        Value::String(text) if text.contains([',', '"']) => {
            format!("\"{}\"", text.replace('"', "\"\""))
        }
        Value::String(text) => text,
        other => other.to_string(),
    });
    cells.join(",")
}

pub fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
