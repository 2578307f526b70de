//! Measurements and bills, read as usage records are: the same lines, in the same bounded memory, refused
//! in the same way.
//!
//! There are few of them: one thread reads, and what is found is handed on line by line.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::check::{Number, Rules, believable, shown, time_from_number, time_from_text};
use super::csv::Cells;
use super::fields::Unknown;
use super::json::explain;
use super::lines::{Array, Lines, Rows, Splitter, Step, Window};
use super::source::{Input, explain as explain_io};
use super::{Code, Format, MAX_RECORD_BYTES, Origin, Problem, RawIs, Refusal, Syntax};
use crate::domain::metrics::focus_bill::Charge;
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::{NewPoint, Reading, Series};

/// What one line is, once it is understood.
pub trait Line: Sized {
    /// The fields that a line may have.
    const FIELDS: &'static [&'static str];

    /// Whether a line may have others, which are left out. Bills have dozens of columns.
    const OTHERS: Unknown;

    /// Understands a line.
    fn of(said: &Said, rules: &Rules) -> Result<Self, Problem>;
}

/// What is found in an input, in the order of its lines.
#[derive(Debug)]
pub enum Found<L> {
    /// A line that was understood.
    Good(L),
    /// A line that was not.
    Refused(Refusal),
}

/// Why reading ended before the end of the input.
#[derive(Debug)]
pub enum Broken<E> {
    /// The input cannot be read on, or cannot be understood at all: the line, and what is wrong.
    Input(u64, String),
    /// Whoever took what was found gave up.
    Taker(E),
}

/// Reads an input to its end and hands on what is in it.
pub fn read_lines<L: Line, E>(
    input: Input,
    format: Option<Format>,
    rules: &Rules,
    hand_on: &mut dyn FnMut(Found<L>) -> Result<(), E>,
) -> Result<(), Broken<E>> {
    let (name, source) = (input.name.clone(), input.source.clone());
    let failed = |line, error: io::Error| Broken::Input(line, explain_io(&error));
    let stream = input.into_reader().map_err(|error| failed(1, error))?;
    let mut window = Window::new(stream);
    let format = match begin(&mut window).map_err(|error| failed(1, error))? {
        None => return Ok(()),
        Some(told) => format.unwrap_or(told),
    };
    let origin = |syntax| {
        Arc::new(Origin {
            input: name.clone(),
            source: source.clone(),
            syntax,
        })
    };
    let mut splitter = match format {
        Format::Ndjson => Splitter::Lines(Lines::default()),
        Format::Json => Splitter::Array(Array::default()),
        Format::Csv => Splitter::Rows(Rows::default()),
    };
    let mut header: Option<Header> = None;
    let mut from = origin(Syntax::Json);
    loop {
        let bytes = window.bytes();
        let mut raw_is = None;
        let (text, length, problem) = match splitter.step(bytes, window.at_end()) {
            Step::Record { text, length } => (&bytes[..text], length, None),
            Step::Broken {
                text,
                length,
                reason,
            } => (
                &bytes[..text],
                length,
                Some(Problem::new(Code::Csv, reason)),
            ),
            Step::TooLong(length) => {
                raw_is = Some(RawIs::Cut);
                let most = MAX_RECORD_BYTES / 1024 / 1024;
                let problem = Problem::new(Code::TooLong, format!("is longer than {most} MiB"));
                (&bytes[..KEPT_BYTES.min(length)], length, Some(problem))
            }
            Step::Skip(length) => {
                window.consume(length);
                continue;
            }
            Step::Wait => {
                let line = window.line();
                window.fill().map_err(|error| failed(line, error))?;
                continue;
            }
            Step::End => return Ok(()),
            Step::Unfinished(reason) => {
                return Err(Broken::Input(window.line(), reason.to_owned()));
            }
        };
        if format == Format::Csv && header.is_none() {
            let parsed = match problem {
                Some(problem) => Err(format!("the header {}", problem.message)),
                None => Header::parse::<L>(text),
            };
            let columns = parsed.map_err(|reason| Broken::Input(window.line(), reason))?;
            from = origin(Syntax::Csv {
                header: String::from_utf8_lossy(text).into_owned(),
            });
            header = Some(columns);
            window.consume(length);
            continue;
        }
        let understood = match problem {
            Some(problem) => Err(problem),
            None => Said::parse::<L>(text, header.as_ref()).and_then(|said| L::of(&said, rules)),
        };
        let found = understood.map_or_else(
            |problem| {
                Found::Refused(Refusal {
                    origin: Arc::clone(&from),
                    line: window.line(),
                    byte: window.byte(),
                    problem,
                    raw: text.to_vec(),
                    raw_is,
                })
            },
            Found::Good,
        );
        window.consume(length);
        hand_on(found).map_err(Broken::Taker)?;
    }
}

/// So much of a line that is too long is kept.
const KEPT_BYTES: usize = 1_000;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Looks at how an input begins; nothing if there is nothing in it.
fn begin(window: &mut Window<impl Read>) -> io::Result<Option<Format>> {
    while window.bytes().len() < BYTE_ORDER_MARK.len() && !window.at_end() {
        window.fill()?;
    }
    if window.bytes().starts_with(BYTE_ORDER_MARK) {
        window.consume(BYTE_ORDER_MARK.len());
    }
    loop {
        let blank = window.bytes().len() - window.bytes().trim_ascii_start().len();
        window.consume(blank);
        return Ok(match window.bytes().first() {
            Some(b'{') => Some(Format::Ndjson),
            Some(b'[') => Some(Format::Json),
            Some(_) => Some(Format::Csv),
            None if window.at_end() => None,
            None => {
                window.fill()?;
                continue;
            }
        });
    }
}

/// The columns of a file; nothing where one is left out.
struct Header {
    columns: Vec<Option<&'static str>>,
}

impl Header {
    fn parse<L: Line>(text: &[u8]) -> Result<Header, String> {
        let text = str::from_utf8(text).map_err(|_| "the header is not valid UTF-8".to_owned())?;
        let mut columns = Vec::new();
        for name in Cells::new(text) {
            let name = name.map_err(|problem| format!("the header {problem}"))?;
            let field = field::<L>(name.trim());
            if field.is_none() && L::OTHERS == Unknown::Refuse {
                let known = L::FIELDS.join(", ");
                let name = shown(name.trim()).into_owned();
                return Err(format!(
                    "the header has an unknown column {name}; there are {known}"
                ));
            }
            if field.is_some() && columns.contains(&field) {
                return Err(format!("the header has two columns `{name}`"));
            }
            columns.push(field);
        }
        Ok(Header { columns })
    }
}

/// The field of this name, in snake_case or camelCase.
fn field<L: Line>(name: &str) -> Option<&'static str> {
    let plain = |c: &char| *c != '_';
    let same = |field: &&&str| {
        let (a, b) = (field.chars().filter(plain), name.chars().filter(plain));
        **field == name
            || a.map(|c| c.to_ascii_lowercase())
                .eq(b.map(|c| c.to_ascii_lowercase()))
    };
    L::FIELDS.iter().find(same).copied()
}

/// What a line says about its fields.
#[derive(Debug, Default)]
pub struct Said {
    /// Each once. `null` and empty cells say nothing.
    fields: Vec<(&'static str, Value)>,
    /// Whether every value is a text that stands for one of any type, as in CSV.
    cells: bool,
}

impl Said {
    fn parse<L: Line>(text: &[u8], header: Option<&Header>) -> Result<Said, Problem> {
        let text = str::from_utf8(text).map_err(|error| {
            let at = error.valid_up_to() + 1;
            Problem::new(Code::Utf8, format!("is not valid UTF-8 at byte {at}"))
        })?;
        match header {
            Some(header) => Said::row(text, header),
            None => Said::object::<L>(text),
        }
    }

    fn row(text: &str, header: &Header) -> Result<Said, Problem> {
        let cells: Result<Vec<_>, _> = Cells::new(text).collect();
        let cells = cells.map_err(|problem| Problem::new(Code::Csv, problem))?;
        let (found, expected) = (cells.len(), header.columns.len());
        if found != expected {
            let message =
                format!("has not as many cells as the header: {found} and not {expected}");
            return Err(Problem::new(Code::Csv, message));
        }
        let named = header.columns.iter().zip(cells);
        let fields = named
            .filter(|(_, cell)| !cell.is_empty())
            .filter_map(|(field, cell)| Some(((*field)?, Value::String(cell.into_owned()))));
        Ok(Said {
            fields: fields.collect(),
            cells: true,
        })
    }

    fn object<L: Line>(text: &str) -> Result<Said, Problem> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let pairs = deserializer
            .deserialize_map(Pairs)
            .and_then(|pairs| deserializer.end().map(|()| pairs))
            .map_err(|error| explain(&error))?;
        let mut said = Said::default();
        for (name, value) in pairs {
            let Some(field) = field::<L>(&name) else {
                match L::OTHERS {
                    Unknown::Ignore => continue,
                    Unknown::Refuse => {
                        let known = L::FIELDS.join(", ");
                        let message = format!("is no field; there are {known}");
                        return Err(Problem::with(Code::UnknownField, shown(&name), message));
                    }
                }
            };
            if said.fields.iter().any(|(known, _)| *known == field) {
                return Err(Problem::with(Code::DuplicateField, field, "is there twice"));
            }
            said.fields.push((field, value));
        }
        said.fields.retain(|(_, value)| !value.is_null());
        Ok(said)
    }

    fn get(&self, field: &str) -> Option<&Value> {
        let found = self.fields.iter().find(|(name, _)| *name == field);
        found.map(|(_, value)| value)
    }

    /// A text.
    pub(super) fn text(&self, field: &'static str) -> Result<Option<&str>, Problem> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::String(text)) if text.contains('\0') => {
                Err(Problem::with(Code::Nul, field, "has a NUL in it"))
            }
            Some(Value::String(text)) if text.len() > TEXT_MAX_BYTES => {
                let message = format!("is longer than {TEXT_MAX_BYTES} bytes");
                Err(Problem::with(Code::TooLong, field, message))
            }
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Problem::with(Code::Type, field, "is not a text")),
        }
    }

    /// A member of a closed set.
    fn named<T: FromStr<Err: fmt::Display>>(
        &self,
        field: &'static str,
    ) -> Result<Option<T>, Problem> {
        let read = |text: &str| text.trim().parse();
        let known = self.text(field)?.map(read).transpose();
        known.map_err(|error| Problem::with(Code::Range, field, format!("is unknown: {error}")))
    }

    /// A finite number.
    pub(super) fn number(&self, field: &'static str) -> Result<Option<f64>, Problem> {
        let wrong = |code, message: &str| Err(Problem::with(code, field, message));
        let number = match self.get(field) {
            None => return Ok(None),
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::String(text)) if self.cells => match text.trim().parse::<f64>() {
                Ok(number) => Some(number),
                Err(_) => return wrong(Code::Type, "is not a number"),
            },
            Some(_) => return wrong(Code::Type, "is not a number"),
        };
        match number.filter(|number| number.is_finite()) {
            None => wrong(Code::Range, "is not a finite number"),
            Some(number) => Ok(Some(number)),
        }
    }

    /// A decimal number, as it is written.
    fn decimal(&self, field: &'static str) -> Result<Option<Decimal>, Problem> {
        let text = match self.get(field) {
            None => return Ok(None),
            Some(Value::Number(number)) => number.to_string(),
            // Some exports write money as texts, so that nobody reads it as a fraction.
            Some(Value::String(text)) => text.trim().to_owned(),
            Some(_) => return Err(Problem::with(Code::Type, field, "is not a number")),
        };
        let decimal = text.parse().or_else(|_| Decimal::from_scientific(&text));
        let wrong = |_| Problem::with(Code::Type, field, "is not a decimal number");
        decimal.map(Some).map_err(wrong)
    }

    /// A moment that can be true.
    pub(super) fn moment(
        &self,
        field: &'static str,
        rules: &Rules,
    ) -> Result<Option<DateTime<Utc>>, Problem> {
        let refused = |message| Problem::with(Code::Time, field, message);
        let number = |text: &str| text.parse().map(Number::Whole).ok();
        let at = match self.get(field) {
            None => return Ok(None),
            Some(Value::Number(said)) => match number(&said.to_string()) {
                Some(number) => time_from_number(number, rules),
                None => return Err(Problem::with(Code::Type, field, "is not a time")),
            },
            Some(Value::String(text)) => match number(text.trim()).filter(|_| self.cells) {
                Some(number) => time_from_number(number, rules),
                None => time_from_text(text.trim(), rules),
            },
            Some(_) => return Err(Problem::with(Code::Type, field, "is not a time")),
        };
        let at = at.map_err(refused)?;
        believable(at, rules).map_err(refused)?;
        Ok(Some(at))
    }

    /// A JSON object.
    fn object_at(&self, field: &'static str) -> Result<Option<Map<String, Value>>, Problem> {
        let wrong = || Problem::with(Code::Type, field, "is not a JSON object");
        let object = match self.get(field) {
            None => return Ok(None),
            Some(Value::Object(object)) => object.clone(),
            Some(Value::String(text)) if self.cells => {
                serde_json::from_str(text).map_err(|_| wrong())?
            }
            Some(_) => return Err(wrong()),
        };
        if Value::Object(object.clone())
            .to_string()
            .contains("\\u0000")
        {
            return Err(Problem::with(Code::Nul, field, "has a NUL in it"));
        }
        Ok(Some(object))
    }
}

/// Texts in a line are names; longer ones are a mistake.
const TEXT_MAX_BYTES: usize = 500;

struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<(String, Value)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(pairs)
    }
}

impl Line for NewPoint {
    const FIELDS: &'static [&'static str] = &[
        "service",
        "metric",
        "value",
        "timestamp",
        "metadata",
        "resource",
        "reading",
        "period_start",
        "id",
    ];

    const OTHERS: Unknown = Unknown::Refuse;

    fn of(said: &Said, rules: &Rules) -> Result<NewPoint, Problem> {
        let missing = |field| move || Problem::with(Code::Missing, field, "is missing");
        let service: Service = said.named("service")?.ok_or_else(missing("service"))?;
        let metric: Metric = said.named("metric")?.ok_or_else(missing("metric"))?;
        let value = said.number("value")?.ok_or_else(missing("value"))?;
        if value < 0.0 && metric != Metric::CostUsd {
            return Err(Problem::with(Code::Range, "value", "is negative"));
        }
        let at = said
            .moment("timestamp", rules)?
            .ok_or_else(missing("timestamp"))?;
        let metadata = said.object_at("metadata")?.unwrap_or_default();
        let in_metadata = metadata
            .get("resource")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let resource = said.text("resource")?.map(str::to_owned).or(in_metadata);
        let series = Series {
            service,
            metric,
            resource: resource.unwrap_or_default(),
        };
        let mut point = NewPoint::new(series, value, at);
        let told = std::mem::take(&mut point.metadata);
        point.metadata = metadata;
        point.metadata.extend(told);
        if let Some(reading) = said.named::<Reading>("reading")? {
            point = point.with_reading(reading);
        }
        if let Some(start) = said.moment("period_start", rules)? {
            if start > at {
                let message = "is after the timestamp";
                return Err(Problem::with(Code::Time, "period_start", message));
            }
            point = point.with_period_start(start);
        }
        point.id = said.text("id")?.map(str::to_owned);
        Ok(point)
    }
}

impl Line for Charge {
    const FIELDS: &'static [&'static str] = &[
        "ServiceName",
        "ChargePeriodStart",
        "BilledCost",
        "BillingCurrency",
        "ConsumedQuantity",
        "ConsumedUnit",
    ];

    const OTHERS: Unknown = Unknown::Ignore;

    fn of(said: &Said, rules: &Rules) -> Result<Charge, Problem> {
        let missing = |field| move || Problem::with(Code::Missing, field, "is missing");
        let service = said.text("ServiceName")?.unwrap_or("(no name)").to_owned();
        let start = said.moment("ChargePeriodStart", rules)?;
        let start = start.ok_or_else(missing("ChargePeriodStart"))?;
        let billed = said
            .decimal("BilledCost")?
            .ok_or_else(missing("BilledCost"))?;
        if let Some(currency) = said.text("BillingCurrency")?
            && !currency.eq_ignore_ascii_case("USD")
        {
            let message = format!("is {}, and only USD can be added up", shown(currency));
            return Err(Problem::with(Code::Range, "BillingCurrency", message));
        }
        let quantity = said.decimal("ConsumedQuantity")?;
        let unit = said.text("ConsumedUnit")?.map(str::to_owned);
        Ok(Charge {
            service,
            day: start.date_naive(),
            billed,
            consumed: quantity.zip(unit),
        })
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn rules() -> Rules {
        Rules {
            now: "2026-01-31T12:00:00Z".parse().unwrap(),
            max_future: TimeDelta::minutes(5),
            time_unit: None,
            assumed_zone: None,
        }
    }

    /// What is found: points as their values, refusals as `line: field message`.
    fn found(input: &str) -> Vec<Result<f64, String>> {
        let mut found = Vec::new();
        let input = Input::text("test", input.as_bytes().to_vec());
        let read = read_lines::<NewPoint, ()>(input, None, &rules(), &mut |line| {
            found.push(match line {
                Found::Good(point) => Ok(point.value),
                Found::Refused(Refusal { line, problem, .. }) => {
                    let field = problem.field.unwrap_or_default();
                    Err(format!("{line}: {field} {}", problem.message))
                }
            });
            Ok(())
        });
        if let Err(Broken::Input(line, reason)) = read {
            found.push(Err(format!("broken at {line}: {reason}")));
        }
        found
    }

    const GOOD: &str =
        r#""service":"VERCEL_KV","metric":"STORAGE_MB","timestamp":"2026-01-31T12:00:00Z""#;

    #[test]
    fn lines_arrays_and_rows_are_read() {
        let line = format!("{{{GOOD},\"value\":1}}");
        assert_eq!(found(&line), [Ok(1.0)]);
        assert_eq!(found(&format!("[{line},\n{line}]")), [Ok(1.0), Ok(1.0)]);
        let csv = "timestamp,value,metric,service,metadata\n\
                   2026-01-31T12:00:00Z,1.5,storage_mb,vercel_kv,\"{\"\"plan\"\":\"\"free\"\"}\"\n";
        assert_eq!(found(csv), [Ok(1.5)]);
        assert_eq!(found(" \n"), []);
    }

    #[test]
    fn a_line_that_makes_no_sense_names_its_field_and_stops_no_other() {
        let bad = [
            (r#""value":-1"#, "value is negative"),
            (r#""value":"1""#, "value is not a number"),
            (r#""metadata":{}"#, "value is missing"),
            (r#""value":null"#, "value is missing"),
            (r#""value":1,"value":2"#, "value is there twice"),
            (r#""value":1,"unit":"MB""#, "`unit` is no field"),
            (
                r#""value":1,"reading":"loud""#,
                "reading is unknown: `loud` is no reading",
            ),
            (
                r#""value":1,"metadata":[]"#,
                "metadata is not a JSON object",
            ),
            (
                r#""value":1,"metadata":{"a":"\u0000"}"#,
                "metadata has a NUL",
            ),
            (r#""value":1,"resource":7"#, "resource is not a text"),
            (r#""value":1e999"#, "is not valid JSON"),
            (
                r#""value":1,"period_start":"2026-01-31T12:00:01Z""#,
                "period_start is after",
            ),
        ];
        for (fields, message) in bad {
            let input = format!("{{{GOOD},{fields}}}\n{{{GOOD},\"value\":2}}");
            let [Err(problem), Ok(2.0)] = &found(&input)[..] else {
                panic!("{fields}: {:?}", found(&input));
            };
            assert!(problem.contains(message), "{problem}");
        }
    }

    #[test]
    fn services_and_times_are_checked() {
        let of = |service: &str, timestamp: &str| {
            let line = format!(
                r#"{{"service":"{service}","metric":"COST_USD","value":-1,"timestamp":"{timestamp}"}}"#
            );
            found(&line).remove(0)
        };
        assert_eq!(of("AI_OPENAI", "2026-01-31T12:00:00Z"), Ok(-1.0));
        assert!(
            of("AWS", "2026-01-31T12:00:00Z")
                .is_err_and(|said| said.contains("there are VERCEL_KV"))
        );
        assert!(
            of("AI_OPENAI", "2026-01-31T12:00:00").is_err_and(|said| said.contains("has no zone"))
        );
        assert!(
            of("AI_OPENAI", "2026-02-01T12:00:00Z")
                .is_err_and(|said| said.contains("24 hours ahead"))
        );
    }

    #[test]
    fn a_header_nobody_knows_is_told_at_once() {
        assert_eq!(found("day,value\n1,2")[0], Err("broken at 1: the header has an unknown column `day`; there are service, metric, value, timestamp, metadata, resource, reading, period_start, id".to_owned()));
    }
}
