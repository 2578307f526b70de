//! A rule: a row of the application's `api_alerts`, and what its columns cannot say.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use crate::domain::period::Period;

pub use crate::domain::api_name::ALL_APIS;

/// What is watched, in the application's words.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AlertType {
    /// `RATE_LIMIT_WARNING`: percent of the API's limit for the period.
    RateLimitWarning,
    /// `COST_THRESHOLD`: credits spent in the period.
    CostThreshold,
    /// `ERROR_SPIKE`: failed calls in the period.
    ErrorSpike,
    /// Something another program wrote; nobody here knows what it means.
    Other(String),
}

impl AlertType {
    /// The types there are.
    pub const KNOWN: [AlertType; 3] = [
        AlertType::RateLimitWarning,
        AlertType::CostThreshold,
        AlertType::ErrorSpike,
    ];

    /// The type of this name; never fails, since any program may write any name.
    pub fn named(name: &str) -> AlertType {
        let known = AlertType::KNOWN
            .into_iter()
            .find(|known| known.as_str() == name);
        known.unwrap_or_else(|| AlertType::Other(name.to_owned()))
    }

    /// The application's name of it.
    pub fn as_str(&self) -> &str {
        match self {
            AlertType::RateLimitWarning => "RATE_LIMIT_WARNING",
            AlertType::CostThreshold => "COST_THRESHOLD",
            AlertType::ErrorSpike => "ERROR_SPIKE",
            AlertType::Other(name) => name,
        }
    }
}

impl fmt::Display for AlertType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How bad it is. The order is that of badness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Look at it today.
    Warning,
    /// Look at it now.
    Critical,
}

impl Severity {
    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Warning => "WARNING",
            Severity::Critical => "CRITICAL",
        }
    }

    /// The severity of this name.
    pub fn named(name: &str) -> Option<Severity> {
        [Severity::Warning, Severity::Critical]
            .into_iter()
            .find(|severity| severity.as_str() == name)
    }
}

/// Which stretch of time of the rule's period counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeWindow {
    /// The one that ends now.
    Rolling,
    /// The calendar's: this hour, this day, this month, so far; days begin at midnight of the zone.
    Calendar,
}

impl TimeWindow {
    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            TimeWindow::Rolling => "ROLLING",
            TimeWindow::Calendar => "CALENDAR",
        }
    }
}

/// What an `ERROR_SPIKE` may be compared with instead of a count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Baseline {
    /// How far back the average is taken.
    pub over: TimeDelta,
    /// How many times the average it takes to fire.
    pub factor: f64,
}

/// What a rule has beyond the columns of `api_alerts`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub window: TimeWindow,
    /// Where the calendar's days begin.
    pub time_zone: Tz,
    /// What reaching the threshold means.
    pub severity: Severity,
    /// A second threshold above the first, that is critical.
    pub critical_threshold: Option<f64>,
    /// How long it must hold before it fires.
    pub hold: TimeDelta,
    /// Below what it is over; the threshold itself, unless given.
    pub clear_below: Option<f64>,
    /// How long it must be below before it is over.
    pub clear_hold: TimeDelta,
    /// How often a firing rule is told of again.
    pub repeat: TimeDelta,
    /// With fewer calls in the window it is ok whatever the value.
    pub min_requests: u64,
    /// Whether calls that a cache answered count against a limit.
    pub include_cached: bool,
    /// What an error spike is compared with; a count, unless given.
    pub baseline: Option<Baseline>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            window: TimeWindow::Rolling,
            time_zone: Tz::UTC,
            severity: Severity::Warning,
            critical_threshold: None,
            hold: TimeDelta::zero(),
            clear_below: None,
            clear_hold: TimeDelta::zero(),
            repeat: TimeDelta::hours(1),
            min_requests: 0,
            include_cached: false,
            baseline: None,
        }
    }
}

/// A rule as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The application's id of it.
    pub id: String,
    /// The API, or [`ALL_APIS`].
    pub api_name: String,
    pub alert_type: AlertType,
    /// From where on it fires: percent, credits or calls, as the type says.
    pub threshold: f64,
    /// How long a stretch of time it is about.
    pub period: Period,
    /// Whether it is checked at all.
    pub enabled: bool,
    /// When it last began to fire.
    pub last_triggered: Option<DateTime<Utc>>,
    /// What the columns cannot say.
    pub settings: Settings,
    /// The channels it speaks through; none means all there are.
    pub channels: Vec<String>,
    /// What of its settings nobody can read.
    pub unreadable: Option<Senseless>,
}

impl fmt::Display for Rule {
    /// What it is about: `finnhub RATE_LIMIT_WARNING per MINUTE`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (api, alert_type, period) = self.place();
        write!(f, "{api} {alert_type} per {period}")
    }
}

/// Why a rule cannot be judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Senseless {
    /// The type is none of ours.
    #[error("nobody knows the alert type {0:?}")]
    Type(String),
    /// The period is none of ours.
    #[error("nobody knows the period {0:?}")]
    Period(String),
    /// The threshold is no positive number.
    #[error("the threshold {0} is no number above zero")]
    Threshold(String),
    /// The time zone is none.
    #[error("nobody knows the time zone {0:?}")]
    Zone(String),
}

impl Rule {
    /// A rule with the settings that a rule has unless it says otherwise; it has no id yet.
    pub fn new(api_name: &str, alert_type: AlertType, period: Period, threshold: f64) -> Rule {
        Rule {
            id: String::new(),
            api_name: api_name.to_owned(),
            alert_type,
            threshold,
            period,
            enabled: true,
            last_triggered: None,
            settings: Settings::default(),
            channels: Vec::new(),
            unreadable: None,
        }
    }

    /// Whether it compares with a limit of the API.
    pub fn needs_limit(&self) -> bool {
        self.alert_type == AlertType::RateLimitWarning
    }

    /// How a person names it on the command line: `finnhub/RATE_LIMIT_WARNING/MINUTE`.
    pub fn reference(&self) -> String {
        format!("{}/{}/{}", self.api_name, self.alert_type, self.period)
    }

    /// Makes sure that the rule can be judged: any program may have written anything.
    pub fn check(&self) -> Result<(), Senseless> {
        if let AlertType::Other(name) = &self.alert_type {
            return Err(Senseless::Type(name.clone()));
        }
        if let Period::Other(name) = &self.period {
            return Err(Senseless::Period(name.clone()));
        }
        if !(self.threshold.is_finite() && self.threshold > 0.0) {
            return Err(Senseless::Threshold(self.threshold.to_string()));
        }
        self.unreadable.clone().map_or(Ok(()), Err)
    }

    /// What tells a rule from all others, in the order of lists: its API, its type and its period, the
    /// shortest first.
    pub fn place(&self) -> (&str, &AlertType, &Period) {
        (&self.api_name, &self.alert_type, &self.period)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_others_wrote_are_kept_and_said_to_be_unknown() {
        assert_eq!(AlertType::named("ERROR_SPIKE"), AlertType::ErrorSpike);
        assert_eq!(AlertType::named("LATENCY").as_str(), "LATENCY");
        assert_eq!(Period::named("WEEK").as_str(), "WEEK");
        let rule = |threshold, period: &str| {
            let period = Period::named(period);
            Rule::new("finnhub", AlertType::ErrorSpike, period, threshold)
        };
        assert_eq!(rule(10.0, "HOUR").check(), Ok(()));
        assert!(rule(10.0, "WEEK").check().is_err());
        for threshold in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(rule(threshold, "HOUR").check().is_err());
        }
    }
}
