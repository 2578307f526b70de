//! What only the user knows, and what becomes known with it.

use rust_decimal::Decimal;

use super::figure::{Input, Provenance, Unit, spell};
use crate::domain::metrics::names::Service;
use crate::domain::named::{Named, named};

named! {
    /// An input that only the user can give.
    Name, "input" {
        /// What an hour of the service is worth, in US dollars.
        RevenuePerHour = "revenue_per_hour",
        /// Which part of that is lost while the service is stopped, from 0 to 1.
        AffectedFraction = "affected_fraction",
        /// After how many hours somebody has put a stop right, if it does not end by itself before.
        TimeToFixHours = "time_to_fix_hours",
        /// In which share of the cases a plan may turn out too small, from 0 to 1.
        Tolerance = "tolerance",
        /// Whether one person may review and approve.
        SingleReviewer = "single_reviewer",
    }
}

/// The share of cases in which a plan may turn out too small, unless the user says another.
pub const USUAL_TOLERANCE: Decimal = Decimal::from_parts(5, 0, 0, false, 2);

impl Name {
    /// What would be known with it.
    pub fn unlocks(self) -> &'static str {
        match self {
            Name::RevenuePerHour => "the loss that an upgrade avoids, its net and its ROI",
            Name::AffectedFraction => "which part of the revenue of an hour a stop costs",
            Name::TimeToFixHours => {
                "how long a stop lasts; without it, until the billing period ends"
            }
            Name::Tolerance => "how safe a plan must be; without it, too small in 5 of 100 cases",
            Name::SingleReviewer => "whether one person may review and approve; without it, not",
        }
    }

    /// What it can be, for people.
    pub fn range(self) -> &'static str {
        match self {
            Name::RevenuePerHour => "US dollars, zero or more",
            Name::AffectedFraction | Name::Tolerance => "a number from 0 to 1",
            Name::TimeToFixHours => "hours, zero or more",
            Name::SingleReviewer => "true or false",
        }
    }

    /// Reads a value, and brings it into the one spelling that is stored.
    pub fn check(self, text: &str) -> Result<String, String> {
        let refused = || format!("`{text}` is no {}: {}", self, self.range());
        if self == Name::SingleReviewer {
            let value: bool = text.trim().parse().map_err(|_| refused())?;
            return Ok(value.to_string());
        }
        // More than any business makes, and little enough to be multiplied.
        let most = match self {
            Name::AffectedFraction | Name::Tolerance => Decimal::ONE,
            _ => Decimal::from(1_000_000_000_000_i64),
        };
        let value: Decimal = text.trim().parse().map_err(|_| refused())?;
        let sound = value >= Decimal::ZERO && value <= most && value.scale() <= 12;
        sound
            .then(|| value.normalize().to_string())
            .ok_or_else(refused)
    }
}

/// The user's inputs for one service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Business {
    /// In US dollars.
    pub revenue_per_hour: Option<Decimal>,
    /// From 0 to 1.
    pub affected_fraction: Option<Decimal>,
    /// In hours.
    pub time_to_fix_hours: Option<Decimal>,
    /// From 0 to 1.
    pub tolerance: Option<Decimal>,
}

/// An input that somebody gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Which, as it is stored.
    pub name: String,
    /// For which service; for all, unless given.
    pub service: Option<Service>,
    pub value: String,
    pub updated_by: String,
}

impl Business {
    /// What holds for a service: what was given for it, else what was given for all.
    pub fn of(given: &[Given], service: Service) -> Business {
        let value = |name: Name| {
            let of = |wanted: Option<Service>| {
                let same = |it: &&Given| it.name == name.as_str() && it.service == wanted;
                given.iter().find(same)
            };
            let found = of(Some(service)).or_else(|| of(None))?;
            // Somebody else may have written what is no number.
            name.check(&found.value).ok()?.parse().ok()
        };
        Business {
            revenue_per_hour: value(Name::RevenuePerHour),
            affected_fraction: value(Name::AffectedFraction),
            time_to_fix_hours: value(Name::TimeToFixHours),
            tolerance: value(Name::Tolerance),
        }
    }

    /// The inputs that figures are made from, given or not.
    pub fn inputs(&self) -> Vec<Input> {
        let input = |name: Name, value: Option<String>| Input {
            name: name.to_string(),
            provenance: match value {
                Some(_) => Provenance::User,
                None => Provenance::Unknown {
                    cure: format!("usagectl recommend inputs set {name} VALUE"),
                },
            },
            value,
        };
        vec![
            input(
                Name::RevenuePerHour,
                self.revenue_per_hour
                    .map(|value| spell(value, Unit::UsdPerHour)),
            ),
            input(
                Name::AffectedFraction,
                self.affected_fraction.map(|value| value.to_string()),
            ),
            input(
                Name::TimeToFixHours,
                self.time_to_fix_hours
                    .map(|value| spell(value, Unit::Hours)),
            ),
        ]
    }

    /// Those of them that nobody gave.
    pub fn missing(&self) -> Vec<Name> {
        let given = [
            (Name::RevenuePerHour, self.revenue_per_hour),
            (Name::AffectedFraction, self.affected_fraction),
            (Name::TimeToFixHours, self.time_to_fix_hours),
        ];
        let missing = given.iter().filter(|(_, value)| value.is_none());
        missing.map(|(name, _)| *name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(name: Name, service: Option<Service>, value: &str) -> Given {
        Given {
            name: name.to_string(),
            service,
            value: value.to_owned(),
            updated_by: "ops".to_owned(),
        }
    }

    #[test]
    fn an_input_is_a_number_in_its_range() {
        assert_eq!(
            Name::RevenuePerHour.check(" 120.50 "),
            Ok("120.5".to_owned())
        );
        assert_eq!(Name::SingleReviewer.check("true"), Ok("true".to_owned()));
        for (name, value) in [
            (Name::RevenuePerHour, "-1"),
            (Name::RevenuePerHour, "NaN"),
            (Name::RevenuePerHour, "1e400"),
            (Name::RevenuePerHour, "9999999999999999999999"),
            (Name::AffectedFraction, "1.01"),
            (Name::Tolerance, "5 %"),
            (Name::SingleReviewer, "maybe"),
        ] {
            assert!(name.check(value).is_err(), "{name} {value}");
        }
    }

    #[test]
    fn what_is_given_for_a_service_goes_before_what_is_given_for_all() {
        let all = [
            given(Name::RevenuePerHour, None, "10"),
            given(Name::RevenuePerHour, Some(Service::VercelKv), "20"),
            given(Name::AffectedFraction, None, "much"),
        ];
        let business = |service| Business::of(&all, service);
        let revenue = |service| business(service).revenue_per_hour;
        assert_eq!(revenue(Service::VercelKv), Some(Decimal::from(20)));
        assert_eq!(revenue(Service::AiOpenai), Some(Decimal::from(10)));
        // What another program wrote there may be anything.
        let kv = business(Service::VercelKv);
        assert_eq!(kv.affected_fraction, None);
        assert_eq!(kv.missing(), [Name::AffectedFraction, Name::TimeToFixHours]);
    }
}
