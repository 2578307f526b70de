//! The rows of a catalogue file as they stand in its TOML.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer};
use toml::{Spanned, Value};

use super::api_limit::Unit;
use super::catalogue::{AtLimit, Included, LimitPeriod, PriceScope};
use super::source::{Grade, PageDate};
use crate::domain::metrics::names::MetricKind;

/// A larger number is a mistake.
const LARGEST_AMOUNT: Decimal = Decimal::from_parts(0xa4c6_8000, 0x0003_8d7e, 0, false, 0);

/// The value of a key, or why it is invalid; so that one fault does not hide the others.
pub(super) struct Field<T>(pub(super) Result<T, String>);

impl<T> Default for Field<T> {
    fn default() -> Field<T> {
        Field(Err("missing".to_owned()))
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Field<T>, D::Error> {
        let text = match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(text),
            Value::Integer(number) => Ok(number.to_string()),
            Value::Datetime(date) => Ok(date.to_string()),
            // A binary float is not the number that was written.
            Value::Float(number) => Err(format!("write decimals as text: \"{number}\"")),
            other => Err(format!("expected text, found {}", other.type_str())),
        };
        let parse = |text: String| text.parse().map_err(|error: T::Err| error.to_string());
        Ok(Field(text.and_then(parse)))
    }
}

/// An exact decimal from 0 to 10^15.
pub(super) struct Amount(pub(super) Decimal);

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Amount, String> {
        let is_valid = |it: &Decimal| !it.is_sign_negative() && *it <= LARGEST_AMOUNT;
        let amount = Decimal::from_str_exact(text).ok().filter(is_valid);
        let invalid = || format!("invalid amount `{text}`; expected a decimal from 0 to 10^15");
        amount.map(Amount).ok_or_else(invalid)
    }
}

impl FromStr for Included {
    type Err = String;

    fn from_str(text: &str) -> Result<Included, String> {
        match text {
            "unlimited" => Ok(Included::Unlimited),
            "unknown" => Ok(Included::Unknown),
            amount => Ok(Included::Amount(amount.parse::<Amount>()?.0)),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawFile {
    pub(super) schema: i64,
    pub(super) version: String,
    pub(super) currency: Option<String>,
    pub(super) source: Vec<Spanned<RawSource>>,
    pub(super) plan: Vec<Spanned<RawPlan>>,
    pub(super) price: Vec<Spanned<RawPrice>>,
    pub(super) budget: Vec<Spanned<RawBudget>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawSource {
    pub(super) id: String,
    pub(super) url: String,
    pub(super) page_date: Field<PageDate>,
    pub(super) read_on: Field<PageDate>,
    pub(super) confidence: Field<Grade>,
    pub(super) note: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawPlan {
    pub(super) provider: String,
    pub(super) plan: String,
    pub(super) service: Option<String>,
    pub(super) currency: Option<String>,
    pub(super) fixed_price: Option<Field<Amount>>,
    pub(super) fixed_price_scope: Option<Field<PriceScope>>,
    pub(super) credit: Option<Field<Amount>>,
    pub(super) seats_included: u32,
    pub(super) seat_price: Option<Field<Amount>>,
    pub(super) fallback: bool,
    pub(super) source: Option<String>,
    pub(super) enabled: Option<bool>,
    pub(super) note: Option<String>,
    pub(super) limit: Vec<Spanned<RawLimit>>,
    pub(super) api_limit: Vec<Spanned<RawApiLimit>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawLimit {
    pub(super) service: Option<String>,
    pub(super) metric: Option<String>,
    pub(super) vendor_metric: Option<String>,
    pub(super) unit: String,
    pub(super) each: Option<String>,
    pub(super) kind: Field<MetricKind>,
    pub(super) period: Option<Field<LimitPeriod>>,
    pub(super) included: Field<Included>,
    pub(super) ceiling: Option<Field<Amount>>,
    pub(super) at_limit: Option<Field<AtLimit>>,
    pub(super) overage: Option<RawOverage>,
    pub(super) warning_pct: Option<Field<Amount>>,
    pub(super) critical_pct: Option<Field<Amount>>,
    pub(super) source: Option<String>,
    pub(super) enabled: Option<bool>,
    pub(super) note: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawOverage {
    pub(super) unit: Field<Amount>,
    pub(super) low: Field<Amount>,
    pub(super) high: Option<Field<Amount>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawApiLimit {
    pub(super) per: String,
    pub(super) unit: Option<Field<Unit>>,
    pub(super) value: Field<Included>,
    pub(super) overage: Option<RawOverage>,
    pub(super) source: Option<String>,
    pub(super) enabled: Option<bool>,
    pub(super) note: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawPrice {
    pub(super) provider: String,
    pub(super) item: String,
    pub(super) unit: String,
    pub(super) currency: Option<String>,
    pub(super) price: RawOverage,
    pub(super) source: Option<String>,
    pub(super) enabled: Option<bool>,
    pub(super) note: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawBudget {
    pub(super) service: String,
    pub(super) metric: String,
    pub(super) amount: Field<Amount>,
    pub(super) warning_pct: Option<Field<Amount>>,
    pub(super) critical_pct: Option<Field<Amount>>,
    pub(super) note: Option<String>,
}
