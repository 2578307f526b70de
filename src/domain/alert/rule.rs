//! Alert rules: rows of the application's `api_alerts`, with the settings that its columns cannot hold.

use serde::{Deserialize, Serialize};
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::format;
use crate::domain::named::{named, open_named};
use crate::domain::period::Period;
use crate::domain::zone::Zone;

pub use crate::domain::api_name::ALL_APIS;

open_named! {
    /// What a rule measures, by the application's names.
    AlertType {
        /// Percent of the API's limit for the period.
        RateLimitWarning = "RATE_LIMIT_WARNING",
        /// Credits spent in the period.
        CostThreshold = "COST_THRESHOLD",
        /// Failed calls in the period, or their percentage.
        ErrorSpike = "ERROR_SPIKE",
        /// The time since the last call, in periods. The application does not have it: its rules are in our table.
        NoData = "NO_DATA",
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
    TimeWindow, "time window" {
        /// It ends at the evaluated step.
        Rolling = "ROLLING",
        /// The calendar hour, day or month up to the step; days begin at midnight of the rule's zone, months on its
        /// first day.
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

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// Percent, credits or calls, by the type of the rule.
    pub value: f64,
    pub severity: Severity,
    /// The channels that are notified from this threshold on; empty means those of the rule.
    pub channels: Vec<String>,
}

#[cfg(test)]
impl Threshold {
    pub(crate) fn sample(value: f64, severity: Severity, channels: &[&str]) -> Threshold {
        Threshold {
            value,
            severity,
            channels: channels.iter().map(ToString::to_string).collect(),
        }
    }
}

/// The settings of a rule beyond the columns of `api_alerts`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// By default that of the type and period, see [`Rule::window`].
    pub window: Option<TimeWindow>,
    /// The zone of calendar days; by default the provider's, or else that of the database.
    pub time_zone: Option<Zone>,
    /// The first day of calendar months, 1 to 31; by default the provider's.
    pub month_starts: Option<u32>,
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
    /// The reminder interval while firing; by default that of the period, see [`Rule::repeat`].
    pub repeat: Option<TimeDelta>,
    /// With fewer calls in the window the rule is OK at any value.
    pub min_requests: u64,
    /// Whether calls that a cache answered count against the limit.
    pub include_cached: bool,
    pub baseline: Option<Baseline>,
    /// The age of a step at which it is evaluated, if it differs from that of the check.
    pub settle: Option<TimeDelta>,
    /// The time without a call after which the value is unknown; zero is never. By default see [`Rule::no_data`].
    pub no_data: Option<TimeDelta>,
    /// Whether the values of an `ERROR_SPIKE` are percentages of the calls.
    pub percent: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            window: None,
            time_zone: None,
            month_starts: None,
            severity: Severity::Warning,
            lowest_channels: Vec::new(),
            higher: Vec::new(),
            hold: TimeDelta::zero(),
            clear_below: None,
            clear_hold: TimeDelta::zero(),
            repeat: None,
            min_requests: 0,
            include_cached: false,
            baseline: None,
            settle: None,
            no_data: None,
            percent: false,
        }
    }
}

/// When a rule is unknown for lack of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoData {
    /// The time without a call.
    pub after: TimeDelta,
    /// Whether also outside of an episode.
    pub always: bool,
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

    pub fn highest_threshold(&self) -> f64 {
        let higher = self.settings.higher.iter().map(|it| it.value);
        higher.fold(self.threshold, f64::max)
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

    /// The lowest threshold from which on it fires with this severity.
    pub fn threshold_of(&self, severity: Severity) -> Option<f64> {
        let thresholds = self.thresholds();
        let of_severity = thresholds.iter().find(|it| it.severity == severity);
        of_severity.map(|it| it.value)
    }

    /// Whether its values are percentages: of the limit, or of the calls.
    pub fn is_percentage(&self) -> bool {
        self.needs_limit() || self.settings.percent
    }

    /// The unit of its values and thresholds; empty for an unknown type.
    pub fn unit(&self) -> String {
        let unit = match self.alert_type {
            AlertType::RateLimitWarning => "% of limit",
            AlertType::CostThreshold => "credits",
            AlertType::ErrorSpike if self.settings.percent => "% of calls",
            AlertType::ErrorSpike => "failed calls",
            AlertType::NoData => {
                return format!("{}s without calls", self.period).to_lowercase();
            }
            AlertType::Other(_) => "",
        };
        unit.to_owned()
    }

    /// The type of its window. Quotas of days and months are reset by the calendar.
    pub fn window(&self) -> TimeWindow {
        use AlertType::{CostThreshold, RateLimitWarning};
        let is_quota = matches!(self.alert_type, RateLimitWarning | CostThreshold)
            && matches!(self.period, Period::Day | Period::Month);
        let default = if is_quota || self.settings.month_starts.is_some() {
            TimeWindow::Calendar
        } else {
            TimeWindow::Rolling
        };
        self.settings.window.unwrap_or(default)
    }

    /// The reminder interval; zero sends no reminders.
    pub fn repeat(&self) -> TimeDelta {
        let default = match self.period {
            Period::Day => TimeDelta::hours(12),
            Period::Month => TimeDelta::hours(24),
            _ => TimeDelta::hours(1),
        };
        self.settings.repeat.unwrap_or(default)
    }

    /// When it is unknown for lack of calls. By default only during an episode, which may not end because its calls
    /// are missing: an API that is seldom called is no incident.
    pub fn no_data(&self) -> Option<NoData> {
        let default = match self.period {
            Period::Hour => TimeDelta::hours(1),
            Period::Day | Period::Month => TimeDelta::hours(24),
            _ => TimeDelta::minutes(30),
        };
        let no_data = NoData {
            after: self.settings.no_data.unwrap_or(default),
            always: self.settings.no_data.is_some(),
        };
        let counts = self.alert_type != AlertType::NoData && no_data.after > TimeDelta::zero();
        counts.then_some(no_data)
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
            return Err(RuleFault::Threshold(format::exact(self.threshold)));
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

    /// What a notice is about that concerns no single rule.
    pub fn of_all_rules(alert_type: &str) -> AlertRef {
        AlertRef {
            alert_id: "usagectl".to_owned(),
            api_name: ALL_APIS.to_owned(),
            alert_type: alert_type.to_owned(),
            period: String::new(),
        }
    }

    /// See [`super::notice::sample`].
    pub(crate) fn sample() -> AlertRef {
        let mut rule = Rule::new("finnhub", AlertType::RateLimitWarning, Period::Minute, 80.0);
        rule.id = "rule-1".to_owned();
        AlertRef::new(&rule, "finnhub")
    }
}

impl fmt::Display for AlertRef {
    /// `finnhub RATE_LIMIT_WARNING per MINUTE`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (api, alert_type, period) = (&self.api_name, &self.alert_type, &self.period);
        write!(f, "{api} {alert_type} per {period}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_time_without_calls_follows_the_period() {
        for (period, minutes) in [
            (Period::Second, 30),
            (Period::Minute, 30),
            (Period::Hour, 60),
            (Period::Day, 24 * 60),
            (Period::Month, 24 * 60),
        ] {
            let rule = Rule::new("tmdb", AlertType::ErrorSpike, period, 3.0);
            let after = TimeDelta::minutes(minutes);
            let always = false;
            assert_eq!(rule.no_data(), Some(NoData { after, always }), "{rule}");
        }
    }
}
