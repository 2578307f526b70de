//! Reads metric points and bills: the same lines as usage records, in the same bounded memory, refused in
//! the same way.
//!
//! There are few of them: one thread reads and passes them on line by line.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::check::{Number, shown, storable_text};
use super::csv::{Dialect, Header};
use super::fields::{UnknownFields, same_name};
use super::json::explain;
use super::layout::{Format, Layout};
use super::read_loop::{Consumer, RawLine, ReadError, read_input};
use super::source::Input;
use super::time::TimeOptions;
use super::{Code, LineError, Refusal};
use crate::domain::format;
use crate::domain::metrics::focus_bill::{Charge, Owner};
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::{LARGEST, NewPoint, Reading, Series, is_negative};
use crate::domain::zone::Zone;

pub trait FromLine: Sized {
    const FIELDS: &'static [&'static str];

    /// What to do with other fields. Bills have dozens of columns.
    const UNKNOWN: UnknownFields;

    /// Text that stands for a missing value.
    const NULL: Option<&'static str> = None;

    fn from_fields(fields: &Fields, times: &TimeOptions) -> Result<Self, LineError>;
}

/// Reads an input to its end and passes on its lines, each as its content or as a refusal.
pub fn read_lines<L: FromLine, E>(
    input: Input,
    format: Option<Format>,
    times: &TimeOptions,
    take: &mut dyn FnMut(Result<L, Refusal>) -> Result<(), E>,
) -> Result<(), ReadError<E>> {
    let mut reader = LineReader {
        times,
        header: None,
        take,
    };
    let layout = Layout {
        format,
        ..Layout::default()
    };
    read_input(input, &layout, &mut reader)
}

struct LineReader<'r, L, E> {
    times: &'r TimeOptions,
    header: Option<Header<&'static str>>,
    take: &'r mut dyn FnMut(Result<L, Refusal>) -> Result<(), E>,
}

impl<L: FromLine, E> Consumer for LineReader<'_, L, E> {
    type Stop = E;

    fn knows(&self, name: &str) -> bool {
        matches!(known_field::<L>(name), Ok(Some(_)))
    }

    fn header(&mut self, header: &str, dialect: Dialect) -> Result<(), String> {
        self.header = Some(Header::parse(header, dialect, |name| {
            known_field::<L>(name).map_err(|expected| {
                let name = shown(name);
                format!("the header has an unknown column {name}; {expected}")
            })
        })?);
        Ok(())
    }

    fn record(&mut self, line: &RawLine<'_>, text: Result<&str, LineError>) -> Result<(), E> {
        let content = text
            .and_then(|text| match &self.header {
                Some(header) => Fields::from_row(text, header),
                None => Fields::from_object::<L>(text),
            })
            .and_then(|mut fields| {
                let is_null = |value: &Value| L::NULL.is_some_and(|null| value == null);
                fields.values.retain(|(_, value)| !is_null(value));
                L::from_fields(&fields, self.times)
            });
        (self.take)(content.map_err(|problem| line.refusal(problem)))
    }
}

/// The field of this name, in any spelling; nothing for one to ignore.
fn known_field<L: FromLine>(name: &str) -> Result<Option<&'static str>, String> {
    match L::FIELDS.iter().find(|field| same_name(field, name)) {
        None if L::UNKNOWN == UnknownFields::Refuse => {
            Err(format!("expected one of {}", L::FIELDS.join(", ")))
        }
        field => Ok(field.copied()),
    }
}

/// The values of one line, unchecked.
#[derive(Debug, Default)]
pub struct Fields {
    values: Vec<(&'static str, Value)>,
    /// The fields that the line has, also those without a value.
    names: Vec<&'static str>,
    /// Whether the values are cells of CSV: text for values of any type.
    are_cells: bool,
}

impl Fields {
    fn from_row(text: &str, header: &Header<&'static str>) -> Result<Fields, LineError> {
        let mut values = Vec::new();
        header.read_row(text, |field, cell| {
            values.push((field, Value::String(cell.into_owned())));
        })?;
        Ok(Fields {
            values,
            names: header.fields().collect(),
            are_cells: true,
        })
    }

    fn from_object<L: FromLine>(text: &str) -> Result<Fields, LineError> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let pairs = deserializer
            .deserialize_map(Pairs)
            .and_then(|pairs| deserializer.end().map(|()| pairs))
            .map_err(|error| explain(&error))?;
        let mut fields = Fields::default();
        for (name, value) in pairs {
            let field = known_field::<L>(&name).map_err(|expected| {
                let message = format!("is not a known field; {expected}");
                LineError::with(Code::UnknownField, shown(&name), message)
            })?;
            let Some(field) = field else { continue };
            if fields.names.contains(&field) {
                return Err(LineError::with(
                    Code::DuplicateField,
                    field,
                    "appears twice",
                ));
            }
            fields.names.push(field);
            fields.values.push((field, value));
        }
        fields.values.retain(|(_, value)| !value.is_null());
        Ok(fields)
    }

    fn get(&self, field: &str) -> Option<&Value> {
        let mut values = self.values.iter();
        values.find_map(|(name, value)| (*name == field).then_some(value))
    }

    fn text(&self, field: &'static str) -> Result<Option<&str>, LineError> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::String(text)) => storable_text(field, text, TEXT_MAX_BYTES).map(Some),
            Some(_) => Err(wrong_type(field, "text")),
        }
    }

    /// A member of a closed set.
    fn named<T: FromStr<Err: fmt::Display>>(
        &self,
        field: &'static str,
    ) -> Result<Option<T>, LineError> {
        let known = self.text(field)?.map(|text| text.trim().parse());
        known
            .transpose()
            .map_err(|error| LineError::with(Code::Range, field, format!("has an {error}")))
    }

    fn number(&self, field: &'static str) -> Result<Option<f64>, LineError> {
        let number = match self.get(field) {
            None => return Ok(None),
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::String(text)) if self.are_cells => {
                let number = text.trim().parse::<f64>();
                Some(number.map_err(|_| wrong_type(field, "a number"))?)
            }
            Some(_) => return Err(wrong_type(field, "a number")),
        };
        match number.filter(|number| number.is_finite()) {
            None => Err(LineError::with(
                Code::Range,
                field,
                "is not a finite number",
            )),
            Some(number) => Ok(Some(number)),
        }
    }

    /// A decimal number with all its digits.
    fn decimal(&self, field: &'static str) -> Result<Option<Decimal>, LineError> {
        let text = match self.get(field) {
            None => return Ok(None),
            Some(Value::Number(number)) => number.to_string(),
            // Some exports write money as strings, so that no program reads it as a binary fraction.
            Some(Value::String(text)) => text.trim().to_owned(),
            Some(_) => return Err(wrong_type(field, "a number")),
        };
        let decimal = format::parse_decimal(&text);
        decimal
            .map(Some)
            .ok_or_else(|| wrong_type(field, "a decimal number"))
    }

    fn time(
        &self,
        field: &'static str,
        times: &TimeOptions,
    ) -> Result<Option<DateTime<Utc>>, LineError> {
        let number = |text: &str| text.parse().map(Number::Whole).ok();
        let at = match self.get(field) {
            None => return Ok(None),
            Some(Value::Number(value)) => match number(&value.to_string()) {
                Some(number) => times.parse_number(number),
                None => return Err(wrong_type(field, "a time")),
            },
            Some(Value::String(text)) => match number(text.trim()).filter(|_| self.are_cells) {
                Some(number) => times.parse_number(number),
                None => times.parse(text.trim()),
            },
            Some(_) => return Err(wrong_type(field, "a time")),
        };
        at.map(Some)
            .map_err(|message| LineError::with(Code::Time, field, message))
    }

    fn object(&self, field: &'static str) -> Result<Option<Map<String, Value>>, LineError> {
        let object = match self.get(field) {
            None => return Ok(None),
            Some(Value::Object(object)) => object.clone(),
            Some(Value::String(text)) if self.are_cells => {
                serde_json::from_str(text).map_err(|_| wrong_type(field, "a JSON object"))?
            }
            Some(_) => return Err(wrong_type(field, "a JSON object")),
        };
        let text = Value::Object(object.clone()).to_string();
        if text.contains("\\u0000") {
            let message = "contains a NUL character (U+0000)";
            return Err(LineError::with(Code::Nul, field, message));
        }
        Ok(Some(object))
    }
}

fn wrong_type(field: &str, expected: &str) -> LineError {
    LineError::with(Code::Type, field, format!("is not {expected}"))
}

fn required<T>(value: Option<T>, field: &str) -> Result<T, LineError> {
    value.ok_or_else(|| LineError::with(Code::Missing, field, "is missing"))
}

/// Text in a line is a name; longer text is a mistake.
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

impl FromLine for NewPoint {
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

    const UNKNOWN: UnknownFields = UnknownFields::Refuse;

    fn from_fields(fields: &Fields, times: &TimeOptions) -> Result<NewPoint, LineError> {
        let service: Service = required(fields.named("service")?, "service")?;
        let metric: Metric = required(fields.named("metric")?, "metric")?;
        let value = required(fields.number("value")?, "value")?;
        if is_negative(metric, value) {
            return Err(LineError::with(Code::Range, "value", "is negative"));
        }
        if value.abs() > LARGEST {
            let message = format!("is larger than {LARGEST:e}");
            return Err(LineError::with(Code::Range, "value", message));
        }
        let at = required(fields.time("timestamp", times)?, "timestamp")?;
        let metadata = fields.object("metadata")?.unwrap_or_default();
        let in_metadata = metadata
            .get("resource")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let resource = fields.text("resource")?.map(str::to_owned).or(in_metadata);
        let series = Series::new(service, metric, resource.unwrap_or_default());
        let mut point = NewPoint::new(series, value, at);
        let computed = std::mem::take(&mut point.metadata);
        point.metadata = metadata;
        point.metadata.extend(computed);
        if let Some(reading) = fields.named::<Reading>("reading")? {
            point = point.with_reading(reading);
        }
        if let Some(start) = fields.time("period_start", times)? {
            if start > at {
                let message = "is after the timestamp";
                return Err(LineError::with(Code::Time, "period_start", message));
            }
            point = point.with_period_start(start);
        }
        point.id = fields.text("id")?.map(str::to_owned);
        Ok(point)
    }
}

/// The fields of a charge that are only compared.
const ITEM: [&str; 6] = [
    "ResourceId",
    "SkuId",
    "SkuPriceId",
    "CommitmentDiscountId",
    "ChargeCategory",
    "ChargeDescription",
];

impl FromLine for Charge {
    const FIELDS: &'static [&'static str] = &[
        "ServiceName",
        "ProviderName",
        "ServiceProviderName",
        "InvoiceIssuerName",
        "BillingAccountId",
        "SubAccountId",
        "RegionId",
        ITEM[0],
        ITEM[1],
        ITEM[2],
        ITEM[3],
        ITEM[4],
        ITEM[5],
        "Tags",
        "BillingPeriodStart",
        "ChargePeriodStart",
        "ChargePeriodEnd",
        "BilledCost",
        "EffectiveCost",
        "BillingCurrency",
        "ConsumedQuantity",
        "ConsumedUnit",
    ];

    const UNKNOWN: UnknownFields = UnknownFields::Ignore;

    const NULL: Option<&'static str> = Some("NULL");

    fn from_fields(fields: &Fields, times: &TimeOptions) -> Result<Charge, LineError> {
        // FOCUS prescribes UTC, and some exports leave the zone out.
        let times = TimeOptions {
            assumed_zone: times.assumed_zone.or(Some(Zone::UTC)),
            ..times.clone()
        };
        let ends = TimeOptions {
            // A purchase may last for years.
            max_future: TimeDelta::MAX,
            ..times.clone()
        };
        let text = |field| Ok::<_, LineError>(fields.text(field)?.unwrap_or_default().to_owned());
        let from = required(
            fields.time("ChargePeriodStart", &times)?,
            "ChargePeriodStart",
        )?;
        let to = fields.time("ChargePeriodEnd", &ends)?;
        if to.is_some_and(|to| to <= from) {
            let message = "is not after ChargePeriodStart";
            return Err(LineError::with(Code::Time, "ChargePeriodEnd", message));
        }
        let billed = required(fields.decimal("BilledCost")?, "BilledCost")?;
        let currency = fields.text("BillingCurrency")?.unwrap_or_default().trim();
        if currency.is_empty() {
            let (code, message) = match fields.names.contains(&"BillingCurrency") {
                true => (Code::Range, "is empty, expected USD"),
                false => (Code::Missing, "is missing, expected USD"),
            };
            return Err(LineError::with(code, "BillingCurrency", message));
        }
        if !currency.eq_ignore_ascii_case("USD") {
            let message = format!("is {}, expected USD", shown(currency));
            return Err(LineError::with(Code::Range, "BillingCurrency", message));
        }
        let providers = ["ProviderName", "ServiceProviderName", "InvoiceIssuerName"];
        let providers = providers.map(|field| fields.text(field));
        let [provider, other, issuer] = providers;
        let provider = provider?.or(other?).or(issuer?).unwrap_or_default();
        // Vercel names the project in the tags only.
        let tags = fields.object("Tags").ok().flatten().unwrap_or_default();
        let project = tags
            .get("ProjectId")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let accounts = [text("BillingAccountId")?, text("SubAccountId")?];
        let id = |field| {
            fields
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let quantity = fields.decimal("ConsumedQuantity")?;
        let unit = fields.text("ConsumedUnit")?.map(str::to_owned);
        Ok(Charge {
            owner: Owner {
                provider: provider.to_owned(),
                account: accounts.join("/"),
                project: project.to_owned(),
                service: fields
                    .text("ServiceName")?
                    .unwrap_or("(no name)")
                    .to_owned(),
                region: text("RegionId")?,
            },
            item: ITEM.map(id).join("|"),
            is_named: ITEM[..3].iter().any(|field| !id(field).is_empty()),
            // Unreadable, it is as good as missing.
            billed_from: fields.time("BillingPeriodStart", &times).ok().flatten(),
            from,
            to,
            billed,
            effective: fields.decimal("EffectiveCost")?,
            consumed: quantity.zip(unit),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times() -> TimeOptions {
        TimeOptions::new("2026-01-31T12:00:00Z".parse().unwrap())
    }

    /// The values of points, and refusals as `line: field message`.
    fn found(input: &str) -> Vec<Result<f64, String>> {
        let mut found = Vec::new();
        let input = Input::text("test", input.as_bytes().to_vec());
        let read = read_lines::<NewPoint, ()>(input, None, &times(), &mut |line| {
            found.push(match line {
                Ok(point) => Ok(point.value),
                Err(Refusal { line, problem, .. }) => {
                    let field = problem.field.unwrap_or_default();
                    Err(format!("{line}: {field} {}", problem.message))
                }
            });
            Ok(())
        });
        if let Err(ReadError::Input(failure)) = read {
            found.push(Err(format!(
                "broken at {}: {}",
                failure.line, failure.reason
            )));
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
    fn invalid_line_names_field_and_does_not_stop_others() {
        let bad = [
            (r#""value":-1"#, "value is negative"),
            (r#""value":"1""#, "value is not a number"),
            (r#""metadata":{}"#, "value is missing"),
            (r#""value":null"#, "value is missing"),
            (r#""value":1,"value":2"#, "value appears twice"),
            (r#""value":1,"unit":"MB""#, "`unit` is not a known field"),
            (r#""value":1,"reading":"loud""#, "`loud`; expected one of"),
            (
                r#""value":1,"metadata":[]"#,
                "metadata is not a JSON object",
            ),
            (
                r#""value":1,"metadata":{"a":"\u0000"}"#,
                "metadata contains a NUL",
            ),
            (r#""value":1,"resource":7"#, "resource is not text"),
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
        for (service, timestamp, part) in [
            ("AWS", "2026-01-31T12:00:00Z", "VERCEL_KV"),
            ("AI_OPENAI", "2026-01-31T12:00:00", "has no zone"),
            ("AI_OPENAI", "2026-02-01T12:00:00Z", "1d ahead"),
        ] {
            let message = of(service, timestamp).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn unknown_column_ends_reading() {
        assert_eq!(found("day,value\n1,2")[0], Err("broken at 1: the header has an unknown column `day`; expected one of service, metric, value, timestamp, metadata, resource, reading, period_start, id (read as CSV because it starts with neither { nor [; set another format with --input-format)".to_owned()));
    }
}
