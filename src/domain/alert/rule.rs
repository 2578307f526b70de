//! Alert rules: rows of the application's `api_alerts`, with the settings that its columns cannot hold.

use serde::{Deserialize, Serialize};
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use crate::domain::named::named;
use crate::domain::period::Period;

pub use crate::domain::api_name::ALL_APIS;

/// What a rule measures, by the application's names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AlertType {
    /// `RATE_LIMIT_WARNING`: percent of the API's limit for the period.
    RateLimitWarning,
    /// `COST_THRESHOLD`: credits spent in the period.
    CostThreshold,
    /// `ERROR_SPIKE`: failed calls in the period.
    ErrorSpike,
    /// A type that another program wrote and that this one does not know.
    Other(String),
}

impl AlertType {
    pub const KNOWN: [AlertType; 3] = [
        AlertType::RateLimitWarning,
        AlertType::CostThreshold,
        AlertType::ErrorSpike,
    ];

    /// The type of this name. It never fails, since any program may write any name.
    pub fn named(name: &str) -> AlertType {
        let known = AlertType::KNOWN
            .into_iter()
            .find(|known| known.as_str() == name);
        known.unwrap_or_else(|| AlertType::Other(name.to_owned()))
    }

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

named! {
    /// The severity of a firing rule, from the least.
    Severity, "severity" {
        Warning = "WARNING",
        Critical = "CRITICAL",
    }
}

named! {
    /// How the evaluation window of a rule lies.
    TimeWindow, "time window" {
        /// It ends at the evaluated step.
        Rolling = "ROLLING",
        /// The calendar hour, day or month up to the step; days begin at midnight of the rule's zone.
        Calendar = "CALENDAR",
    }
}

/// The average that an `ERROR_SPIKE` is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Baseline {
    /// How far back the average reaches.
    pub over: TimeDelta,
    /// The multiple of the average at which the rule fires.
    pub factor: f64,
}

/// A threshold of a rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// Percent, credits or calls, by the type of the rule.
    pub value: f64,
    pub severity: Severity,
    /// The channels that are notified from this threshold on; empty means those of the rule.
    pub channels: Vec<String>,
}

/// The settings of a rule beyond the columns of `api_alerts`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub window: TimeWindow,
    /// The zone of calendar days.
    pub time_zone: Tz,
    /// The severity at the lowest threshold, [`Rule::threshold`].
    pub severity: Severity,
    /// The channels that the lowest threshold names.
    pub lowest_channels: Vec<String>,
    /// The thresholds above the lowest, in order.
    pub higher: Vec<Threshold>,
    /// The pending period.
    pub hold: TimeDelta,
    /// The resolve threshold; by default the threshold itself.
    pub clear_below: Option<f64>,
    /// The recovery period: how long the value stays below the resolve threshold before the rule resolves.
    pub clear_hold: TimeDelta,
    /// The reminder interval while firing.
    pub repeat: TimeDelta,
    /// With fewer calls in the window the rule is OK at any value.
    pub min_requests: u64,
    /// Whether calls that a cache answered count against the limit.
    pub include_cached: bool,
    pub baseline: Option<Baseline>,
    /// The age of a step at which it is evaluated, if it differs from that of the check.
    pub settle: Option<TimeDelta>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            window: TimeWindow::Rolling,
            time_zone: Tz::UTC,
            severity: Severity::Warning,
            lowest_channels: Vec::new(),
            higher: Vec::new(),
            hold: TimeDelta::zero(),
            clear_below: None,
            clear_hold: TimeDelta::zero(),
            repeat: TimeDelta::hours(1),
            min_requests: 0,
            include_cached: false,
            baseline: None,
            settle: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub id: String,
    pub api_name: String,
    pub alert_type: AlertType,
    /// The lowest threshold: percent, credits or calls, by the type. All are [`Rule::thresholds`].
    pub threshold: f64,
    /// The length of the evaluation window.
    pub period: Period,
    pub enabled: bool,
    /// When it last began to fire.
    pub last_triggered: Option<DateTime<Utc>>,
    /// When the rule was created or last changed; unknown for a described one.
    pub updated_at: Option<DateTime<Utc>>,
    pub settings: Settings,
    /// The channels that are notified; empty means all.
    pub channels: Vec<String>,
    /// A stored setting that cannot be read.
    pub unreadable: Option<RuleFault>,
}

impl fmt::Display for Rule {
    /// `finnhub RATE_LIMIT_WARNING per MINUTE`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (api, alert_type, period) = self.place();
        write!(f, "{api} {alert_type} per {period}")
    }
}

/// Why a stored rule cannot be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleFault {
    #[error("unknown alert type {0:?}")]
    Type(String),
    #[error("unknown period {0:?}")]
    Period(String),
    #[error("invalid threshold {0}: expected a number above 0")]
    Threshold(String),
    #[error("unknown time zone {0:?}")]
    Zone(String),
}

impl Rule {
    /// A rule with default settings and no id.
    pub fn new(api_name: &str, alert_type: AlertType, period: Period, threshold: f64) -> Rule {
        Rule {
            id: String::new(),
            api_name: api_name.to_owned(),
            alert_type,
            threshold,
            period,
            enabled: true,
            last_triggered: None,
            updated_at: None,
            settings: Settings::default(),
            channels: Vec::new(),
            unreadable: None,
        }
    }

    /// Its thresholds, the lowest first.
    pub fn thresholds(&self) -> Vec<Threshold> {
        let lowest = Threshold {
            value: self.threshold,
            severity: self.settings.severity,
            channels: self.settings.lowest_channels.clone(),
        };
        let higher = self.settings.higher.iter().cloned();
        std::iter::once(lowest).chain(higher).collect()
    }

    /// Replaces the thresholds, in any order; an empty list changes nothing.
    pub fn set_thresholds(&mut self, mut thresholds: Vec<Threshold>) {
        thresholds.sort_by(|a, b| a.value.total_cmp(&b.value));
        let mut thresholds = thresholds.into_iter();
        if let Some(lowest) = thresholds.next() {
            self.threshold = lowest.value;
            self.settings.severity = lowest.severity;
            self.settings.lowest_channels = lowest.channels;
            self.settings.higher = thresholds.collect();
        }
    }

    /// Whether its value is a percentage of the API's limit.
    pub fn needs_limit(&self) -> bool {
        self.alert_type == AlertType::RateLimitWarning
    }

    /// The threshold from which on it fires with this severity.
    pub fn threshold_of(&self, severity: Severity) -> Option<f64> {
        let critical = self.settings.critical_threshold;
        match severity {
            Severity::Critical if self.settings.severity == Severity::Warning => critical,
            _ => (self.settings.severity == severity).then_some(self.threshold),
        }
    }

    /// Its name on the command line: `finnhub/RATE_LIMIT_WARNING/MINUTE`.
    pub fn reference(&self) -> String {
        format!("{}/{}/{}", self.api_name, self.alert_type, self.period)
    }

    /// Checks that the rule can be evaluated: any program may have written anything.
    pub fn check(&self) -> Result<(), RuleFault> {
        if let AlertType::Other(name) = &self.alert_type {
            return Err(RuleFault::Type(name.clone()));
        }
        if let Period::Other(name) = &self.period {
            return Err(RuleFault::Period(name.clone()));
        }
        if !(self.threshold.is_finite() && self.threshold > 0.0) {
            return Err(RuleFault::Threshold(self.threshold.to_string()));
        }
        self.unreadable.clone().map_or(Ok(()), Err)
    }

    /// The API, type and period, which are unique; lists are in this order.
    pub fn place(&self) -> (&str, &AlertType, &Period) {
        (&self.api_name, &self.alert_type, &self.period)
    }
}

/// A rule and an API, by names that remain readable after both are removed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AlertRef {
    pub alert_id: String,
    pub api_name: String,
    pub alert_type: String,
    pub period: String,
}

impl AlertRef {
    pub fn new(rule: &Rule, api_name: &str) -> AlertRef {
        AlertRef {
            alert_id: rule.id.clone(),
            api_name: api_name.to_owned(),
            alert_type: rule.alert_type.to_string(),
            period: rule.period.to_string(),
        }
    }

    /// See [`super::notice::sample`].
    pub(crate) fn sample() -> AlertRef {
        let mut rule = Rule::new("finnhub", AlertType::RateLimitWarning, Period::Minute, 80.0);
        rule.id = "rule-1".to_owned();
        AlertRef::new(&rule, "finnhub")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_kept_and_rejected_by_check() {
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
