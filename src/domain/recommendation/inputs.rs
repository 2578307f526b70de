//! Business inputs: what only the user knows, such as the revenue of an hour.

use std::str::FromStr;

use rust_decimal::Decimal;

use super::figure::{Input, Needed, Provenance, Unit, with_unit};
use crate::domain::format;
use crate::domain::metrics::names::Service;
use crate::domain::named::{Named, named};

named! {
    /// A business input.
    InputName, "input" {
        /// Revenue of an hour of the service, in US dollars.
        RevenuePerHour = "revenue_per_hour",
        /// The share of it that is lost while the service is stopped, from 0 to 1.
        AffectedFraction = "affected_fraction",
        /// Hours until a stop is fixed, if it does not end by itself before.
        TimeToFixHours = "time_to_fix_hours",
        /// The share of simulated cases in which a plan may be too small, from 0 to 1.
        Tolerance = "tolerance",
        /// Whether a pending recommendation may be approved, without a review of its own.
        SingleReviewer = "single_reviewer",
    }
}

/// The tolerance where the user set none.
pub const DEFAULT_TOLERANCE: f64 = 0.05;

/// The same with low confidence: nothing is known beyond the 80 % band, whose upper end a plan must hold.
pub const LOW_CONFIDENCE_TOLERANCE: f64 = 0.1;

/// A value outside the range of its input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid {name} `{value}`: expected {}", .name.range())]
pub struct InvalidInput {
    pub name: InputName,
    pub value: String,
}

impl InputName {
    /// The figures or decisions that it goes into.
    pub fn used_for(self) -> &'static str {
        match self {
            InputName::RevenuePerHour => "avoided loss, net value and ROI of an upgrade",
            InputName::AffectedFraction => "share of the hourly revenue that an outage costs",
            InputName::TimeToFixHours => "length of an outage; default: to the end of the period",
            InputName::Tolerance => {
                "how often a plan may be too small; default: 0.05, with low confidence 0.1"
            }
            InputName::SingleReviewer => "whether `approve` includes the review; default: false",
        }
    }

    /// Its valid values, human-readable.
    pub fn range(self) -> &'static str {
        match self {
            InputName::RevenuePerHour => "US dollars, zero or more",
            InputName::AffectedFraction | InputName::Tolerance => "a number from 0 to 1",
            InputName::TimeToFixHours => "hours, zero or more",
            InputName::SingleReviewer => "true or false",
        }
    }

    /// Parses a value and returns its canonical spelling.
    pub fn parse(self, text: &str) -> Result<String, InvalidInput> {
        let canonical = if self == InputName::SingleReviewer {
            let value = text.trim().parse().ok();
            value.map(|value: bool| value.to_string())
        } else {
            // Far above any business, and small enough to be multiplied.
            let most = match self {
                InputName::AffectedFraction | InputName::Tolerance => Decimal::ONE,
                _ => Decimal::from(1_000_000_000_000_i64),
            };
            let is_valid = |it: &Decimal| (Decimal::ZERO..=most).contains(it) && it.scale() <= 12;
            let value = text.trim().parse().ok().filter(is_valid);
            value.map(|value| value.normalize().to_string())
        };
        canonical.ok_or_else(|| InvalidInput {
            name: self,
            value: text.to_owned(),
        })
    }

    /// Its value for a service; one for this service takes precedence over one for all.
    pub fn of<T: FromStr>(self, stored: &[StoredInput], service: Service) -> Option<T> {
        let find = |service: Option<Service>| {
            let same = |it: &&StoredInput| it.name == self.as_str() && it.service == service;
            stored.iter().find(same)
        };
        let found = find(Some(service)).or_else(|| find(None))?;
        // Another program may have written an invalid value.
        self.parse(&found.value).ok()?.parse().ok()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredInput {
    pub name: String,
    /// None: it holds for all services.
    pub service: Option<Service>,
    pub value: String,
    pub updated_by: String,
}

/// The inputs that hold for one service.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Business {
    /// In US dollars.
    pub revenue_per_hour: Option<Decimal>,
    /// From 0 to 1.
    pub affected_fraction: Option<Decimal>,
    pub time_to_fix_hours: Option<Decimal>,
    /// From 0 to 1.
    pub tolerance: Option<f64>,
}

impl Business {
    pub fn of(stored: &[StoredInput], service: Service) -> Business {
        Business {
            revenue_per_hour: InputName::RevenuePerHour.of(stored, service),
            affected_fraction: InputName::AffectedFraction.of(stored, service),
            time_to_fix_hours: InputName::TimeToFixHours.of(stored, service),
            tolerance: InputName::Tolerance.of(stored, service),
        }
    }

    /// The inputs that figures are computed from.
    pub fn inputs(&self) -> impl Iterator<Item = Input> {
        let formatted = |value: Option<Decimal>, unit| value.map(|value| with_unit(value, unit));
        let revenue = formatted(self.revenue_per_hour, Unit::UsdPerHour);
        let fraction = self.affected_fraction.map(format::decimal);
        let hours = formatted(self.time_to_fix_hours, Unit::Hours);
        let inputs = [
            (InputName::RevenuePerHour, revenue),
            (InputName::AffectedFraction, fraction),
            (InputName::TimeToFixHours, hours),
        ];
        inputs.into_iter().map(|(name, value)| Input {
            name: name.to_string(),
            provenance: match value {
                Some(_) => Provenance::User,
                None => Provenance::Unknown {
                    needs: Needed::Input,
                },
            },
            value,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(name: InputName, service: Option<Service>, value: &str) -> StoredInput {
        StoredInput {
            name: name.to_string(),
            service,
            value: value.to_owned(),
            updated_by: "ops".to_owned(),
        }
    }

    #[test]
    fn input_outside_its_range_is_invalid() {
        let revenue = InputName::RevenuePerHour.parse(" 120.50 ");
        assert_eq!(revenue.as_deref(), Ok("120.5"));
        let single = InputName::SingleReviewer.parse("true");
        assert_eq!(single.as_deref(), Ok("true"));
        for (name, value) in [
            (InputName::RevenuePerHour, "-1"),
            (InputName::RevenuePerHour, "NaN"),
            (InputName::RevenuePerHour, "1e400"),
            (InputName::RevenuePerHour, "9999999999999999999999"),
            (InputName::AffectedFraction, "1.01"),
            (InputName::Tolerance, "5 %"),
            (InputName::SingleReviewer, "maybe"),
        ] {
            assert!(name.parse(value).is_err(), "{name} {value}");
        }
        let error = InputName::Tolerance.parse("5 %").unwrap_err().to_string();
        let expected = "invalid tolerance `5 %`: expected a number from 0 to 1";
        assert_eq!(error, expected);
    }

    #[test]
    fn input_of_service_overrides_input_of_all() {
        let all = [
            stored(InputName::RevenuePerHour, None, "10"),
            stored(InputName::RevenuePerHour, Some(Service::VercelKv), "20"),
            stored(InputName::AffectedFraction, None, "much"),
        ];
        let revenue = |service| Business::of(&all, service).revenue_per_hour;
        assert_eq!(revenue(Service::VercelKv), Some(Decimal::from(20)));
        assert_eq!(revenue(Service::AiOpenai), Some(Decimal::from(10)));
        // An invalid stored value counts as missing.
        let kv = Business::of(&all, Service::VercelKv);
        assert_eq!(kv.affected_fraction, None);
        let values = kv.inputs().map(|input| input.value);
        let revenue = Some("$20.00 an hour".to_owned());
        assert_eq!(values.collect::<Vec<_>>(), [revenue, None, None]);
    }
}
