//! The options of a rule beyond the columns of api_alerts, for `add`, `set` and `backtest`.

use std::time::Duration;

use chrono::TimeDelta;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::check::parse_settle;
use crate::args::{parse_duration, parse_number, parse_percent};
use crate::commands::prelude::*;
use crate::domain::alert::rule::{AlertType, Baseline, Rule, Severity, Threshold, TimeWindow};
use crate::domain::alert::validate::{RuleError, RuleField};
use crate::domain::format;
use crate::domain::named::Named;
use crate::domain::period::Period;
use crate::domain::zone::Zone;

const DEFAULT_FACTOR: f64 = 3.0;

/// The settings to change; one that is not given keeps its value.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Rule options")]
pub(super) struct RuleOptions {
    /// Critical threshold, above the others: the same as --threshold N:critical
    ///
    /// Replaces the critical thresholds above the lowest; `none` removes them.
    #[arg(long, value_name = "N", value_parser = or_none(parse_number), allow_negative_numbers = true)]
    critical: Option<Setting<f64>>,

    /// Severity at the lowest threshold, and at those without one
    ///
    /// A new rule has severity warning.
    #[arg(long, value_parser = severity(), ignore_case = true)]
    severity: Option<Severity>,

    /// Pending period before the rule fires
    ///
    /// The lowest threshold must be reached for this long. 0s in a new rule, which then fires at once.
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    hold: Option<Duration>,

    /// Resolve threshold: a rule that fires resolves only below it (hysteresis)
    ///
    /// Keeps a value that oscillates around the threshold from firing again and again. Higher thresholds are left
    /// as far below them. `none` resolves below the threshold itself.
    #[arg(long, value_name = "N", value_parser = or_none(parse_number), allow_negative_numbers = true)]
    clear_below: Option<Setting<f64>>,

    /// How long it must stay below before it resolves
    ///
    /// 0s in a new rule.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, hide_short_help = true)]
    clear_for: Option<Duration>,

    /// Reminder interval while firing
    ///
    /// In a new rule 12h for days, 24h for months and 1h for shorter periods; 0s sends no reminders.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    repeat: Option<Duration>,

    /// Delay before a step is evaluated, so that its calls are complete; at most 1d
    ///
    /// `none`, as in a new rule, is the delay of `alerts check --settle`.
    #[arg(long, value_name = "DURATION", value_parser = or_none(parse_settle), hide_short_help = true)]
    settle: Option<Setting<Duration>>,

    /// Time without calls after which the rule is UNKNOWN
    ///
    /// It does not resolve then, but is UNKNOWN until a call is recorded. In a new rule, and after `none`, this applies
    /// only while the rule fires: after 30m, for hours after 1h, for days and months after 24h. With 0s the rule
    /// resolves without calls, with a note in its notice.
    #[arg(long, value_name = "DURATION", value_parser = or_none(parse_duration))]
    no_data: Option<Setting<Duration>>,

    /// Threshold of an ERROR_SPIKE rule in percent of the calls, instead of --threshold
    ///
    /// Use it with --min-requests: one failure of two calls is 50 %.
    #[arg(long, value_name = "N", value_parser = parse_percent, allow_negative_numbers = true)]
    percent: Option<f64>,

    /// Minimum calls in the window; below it the rule stays OK
    ///
    /// 0 in a new rule.
    #[arg(long, value_name = "N")]
    min_requests: Option<u32>,

    /// Count cached calls against the limit
    ///
    /// A cached call never reaches the provider, so it does not count otherwise.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, hide_short_help = true)]
    include_cached: Option<bool>,

    /// Type of the evaluation window
    ///
    /// `rolling` is the last minute, hour, ... up to now: a month is 30 days, and of rolling minutes the busiest since
    /// the previous step counts. `calendar` is the current minute, hour, ... so far. A new rule is rolling, but
    /// RATE_LIMIT_WARNING and COST_THRESHOLD of days and months follow the calendar, by which providers reset quotas.
    #[arg(long, value_parser = time_window(), ignore_case = true, hide_short_help = true)]
    window: Option<TimeWindow>,

    /// Time zone of calendar windows, such as Europe/Madrid
    ///
    /// In a new rule that of the provider's plan, see `usagectl limits plan`, or else that of `usagectl aggregate --tz`.
    #[arg(long, value_name = "ZONE", hide_short_help = true)]
    tz: Option<Zone>,

    /// First day of calendar months, 1 to 31
    ///
    /// A billing cycle; in a shorter month it begins on the last day. In a new rule that of the provider's plan, or
    /// else 1.
    #[arg(long, value_name = "DAY", value_parser = clap::value_parser!(u32).range(1..=31), hide_short_help = true)]
    month_starts: Option<u32>,

    /// Compare failed calls with their average over this time
    ///
    /// The rule then fires at --factor times the average, and never below --threshold. `none` compares with
    /// --threshold only.
    #[arg(long, value_name = "DURATION", value_parser = or_none(parse_duration), hide_short_help = true)]
    baseline: Option<Setting<Duration>>,

    /// Multiple of the --baseline average at which the rule fires
    ///
    /// 3 in a new baseline.
    #[arg(long, value_name = "N", value_parser = parse_number, allow_negative_numbers = true, hide_short_help = true)]
    factor: Option<f64>,

    /// Notify only this channel; repeat for more
    ///
    /// A rule without channels notifies all of them. A threshold that names channels notifies those instead.
    #[arg(long = "channel", value_name = "NAME", conflicts_with = "all_channels")]
    channels: Vec<String>,

    /// Notify all channels
    #[arg(long)]
    all_channels: bool,
}

/// A threshold as it is given: `N`, `N:SEVERITY` or `N:SEVERITY:CHANNEL[,CHANNEL]`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ThresholdOption {
    value: f64,
    severity: Option<Severity>,
    channels: Vec<String>,
}

pub(super) fn threshold(text: &str) -> Result<ThresholdOption, String> {
    let mut parts = text.splitn(3, ':');
    let value = parse_number(parts.next().unwrap_or_default())?;
    let severity = parts.next().map(|name| {
        let severity = Severity::named(name);
        severity.ok_or("expected N:warning or N:critical, once in each --threshold")
    });
    let names = parts
        .next()
        .map_or(Vec::new(), |names| names.split(',').collect());
    if names.iter().any(|name| name.is_empty()) {
        return Err("expected channels after the severity, separated by commas".to_owned());
    }
    Ok(ThresholdOption {
        value,
        severity: severity.transpose()?,
        channels: names.into_iter().map(str::to_owned).collect(),
    })
}

pub(super) fn names_channels(thresholds: &[ThresholdOption]) -> bool {
    thresholds.iter().any(|it| !it.channels.is_empty())
}

/// A value, or `none`, which removes it. clap takes another meaning from `Option<Option<T>>`.
type Setting<T> = Option<T>;

impl RuleOptions {
    pub(super) fn is_empty(&self) -> bool {
        let RuleOptions {
            critical: None,
            severity: None,
            hold: None,
            clear_below: None,
            clear_for: None,
            repeat: None,
            settle: None,
            no_data: None,
            percent: None,
            min_requests: None,
            include_cached: None,
            window: None,
            tz: None,
            month_starts: None,
            baseline: None,
            factor: None,
            channels,
            all_channels: false,
        } = self
        else {
            return false;
        };
        channels.is_empty()
    }

    pub(super) fn names_channels(&self) -> bool {
        !self.channels.is_empty()
    }

    /// Replaces the thresholds of `rule`. A single number changes the value of the lowest only.
    pub(super) fn set_thresholds(
        &self,
        rule: &mut Rule,
        thresholds: &[ThresholdOption],
    ) -> Result<()> {
        if let [
            ThresholdOption {
                value,
                severity: None,
                channels,
            },
        ] = thresholds
            && channels.is_empty()
        {
            rule.threshold = *value;
            return Ok(());
        }
        if self.severity.is_some() && thresholds.iter().any(|it| it.severity.is_some()) {
            return Err(Error::usage(
                "give the severity either in each --threshold or by --severity",
            ));
        }
        let is_critical = |it: &ThresholdOption| it.severity == Some(Severity::Critical);
        if self.critical.is_some() && thresholds.iter().any(is_critical) {
            return Err(Error::usage(
                "give critical thresholds either as --threshold N:critical or by --critical",
            ));
        }
        let default = self.severity.unwrap_or(rule.settings.severity);
        let threshold = |it: &ThresholdOption| Threshold {
            value: it.value,
            severity: it.severity.unwrap_or(default),
            channels: it.channels.clone(),
        };
        rule.set_thresholds(thresholds.iter().map(threshold).collect());
        Ok(())
    }

    pub(super) fn apply(&self, rule: &mut Rule) -> Result<()> {
        let settings = &mut rule.settings;
        if let Some(percent) = self.percent {
            rule.threshold = percent;
            settings.percent = true;
        }
        if let Some(no_data) = self.no_data {
            settings.no_data = no_data.map(delta);
        }
        if let Some(critical) = self.critical {
            let is_critical = |it: &Threshold| it.severity == Severity::Critical;
            let channels = match settings.higher.iter().find(|it| is_critical(it)) {
                Some(known) => known.channels.clone(),
                None => Vec::new(),
            };
            settings.higher.retain(|it| !is_critical(it));
            settings.higher.extend(critical.map(|value| Threshold {
                value,
                severity: Severity::Critical,
                channels,
            }));
        }
        if let Some(clear_below) = self.clear_below {
            settings.clear_below = clear_below;
        }
        if let Some(settle) = self.settle {
            settings.settle = settle.map(delta);
        }
        if let Some(over) = self.baseline {
            let factor = settings.baseline.map_or(DEFAULT_FACTOR, |base| base.factor);
            settings.baseline = over.map(|over| Baseline {
                over: delta(over),
                factor,
            });
        }
        match (self.factor, &mut settings.baseline) {
            (Some(factor), Some(baseline)) => baseline.factor = factor,
            (Some(_), None) => return Err(Error::usage("--factor requires --baseline")),
            (None, _) => {}
        }
        replace(&mut settings.severity, self.severity);
        replace(&mut settings.hold, self.hold.map(delta));
        replace(&mut settings.clear_hold, self.clear_for.map(delta));
        settings.repeat = self.repeat.map(delta).or(settings.repeat);
        replace(&mut settings.min_requests, self.min_requests.map(u64::from));
        replace(&mut settings.include_cached, self.include_cached);
        settings.window = self.window.or(settings.window);
        if self.tz.is_some() {
            rule.unreadable = None;
        }
        settings.time_zone = self.tz.or(settings.time_zone);
        settings.month_starts = self.month_starts.or(settings.month_starts);
        if self.all_channels || self.names_channels() {
            rule.channels.clone_from(&self.channels);
            rule.channels.sort_unstable();
            rule.channels.dedup();
        }
        rule.validate().map_err(usage_error)
    }
}

/// An invalid rule as a usage error, in terms of the options.
pub(super) fn usage_error(error: RuleError) -> Error {
    let option = |field| match field {
        RuleField::Threshold => "--threshold",
        RuleField::ClearBelow => "--clear-below",
        RuleField::IncludeCached => "--include-cached",
        RuleField::Baseline => "--baseline",
        RuleField::Percent => "--percent",
    };
    Error::usage(match error {
        RuleError::ApiName => {
            "invalid API name: expected a name without control characters and space around it"
                .to_owned()
        }
        RuleError::Number { field, value } => format!(
            "invalid {} {}: expected a number above 0 and below 2^53",
            option(field),
            format::exact(value)
        ),
        RuleError::NotAbove { below, threshold } => {
            format!(
                "invalid threshold {threshold}: expected more than the threshold below it, {below}"
            )
        }
        RuleError::SeverityFalls { below, threshold } => format!(
            "invalid threshold {threshold}: its severity is lower than that of {below}, which is below it"
        ),
        RuleError::ClearBelowAboveThreshold {
            clear_below,
            threshold,
        } => {
            format!("invalid --clear-below {clear_below}: expected at most --threshold {threshold}")
        }
        RuleError::OtherType { field, type_ } => {
            format!("{} requires a rule of type {type_}", option(field))
        }
        RuleError::Factor(factor) => {
            let factor = format::exact(factor);
            format!("invalid --factor {factor}: expected a number above 1 and below 2^53")
        }
        RuleError::ShortBaseline => {
            "invalid --baseline: expected at least two periods of the rule".to_owned()
        }
        RuleError::CalendarSecond => {
            "--window calendar requires a period of MINUTE or longer".to_owned()
        }
        RuleError::MonthStarts => {
            "--month-starts requires --period MONTH and --window calendar".to_owned()
        }
        RuleError::NotAPercentage(value) => {
            format!("invalid --percent {value}: expected at most 100")
        }
        RuleError::PercentBaseline => "--baseline requires --threshold, not --percent".to_owned(),
        RuleError::NoDataOfNoData => {
            "--no-data requires a rule of another type: --threshold of NO_DATA is the time"
                .to_owned()
        }
    })
}

fn replace<T>(setting: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *setting = value;
    }
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

fn or_none<T, E: ToString>(
    parse: fn(&str) -> Result<T, E>,
) -> impl Fn(&str) -> Result<Setting<T>, String> + Clone {
    move |text| match text {
        "none" => Ok(None),
        _ => parse(text).map(Some).map_err(|error| error.to_string()),
    }
}

pub(super) fn alert_type() -> impl TypedValueParser<Value = AlertType> {
    PossibleValuesParser::new(AlertType::NAMES)
        .map(|name| AlertType::named(&name.to_ascii_uppercase()))
}

pub(super) fn alert_period() -> impl TypedValueParser<Value = Period> {
    PossibleValuesParser::new(Period::NAMES).map(|name| Period::named(&name.to_ascii_uppercase()))
}

pub(super) fn severity() -> impl TypedValueParser<Value = Severity> {
    in_lower_case(["warning", "critical"])
}

fn time_window() -> impl TypedValueParser<Value = TimeWindow> {
    in_lower_case(["rolling", "calendar"])
}

/// Parses the names of a closed set, which the help lists in lower case.
fn in_lower_case<T: Named + Send + Sync>(
    names: [&'static str; 2],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(names).try_map(|name| T::named(&name).ok_or("unknown name"))
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches};

    use super::*;

    fn options(words: &[&str]) -> RuleOptions {
        let command = RuleOptions::augment_args(Command::new("test").no_binary_name(true));
        let matches = command.try_get_matches_from(words).unwrap();
        RuleOptions::from_arg_matches(&matches).unwrap()
    }

    fn rule() -> Rule {
        Rule::new("tmdb", AlertType::ErrorSpike, Period::Hour, 10.0)
    }

    #[test]
    fn option_that_is_not_given_keeps_its_value() {
        let mut changed = rule();
        let set = [
            "--critical",
            "20",
            "--for",
            "2m",
            "--baseline",
            "7d",
            "--severity",
            "warning",
        ];
        options(&set).apply(&mut changed).unwrap();
        assert!(options(&[]).is_empty() && !options(&set).is_empty());
        let before = changed.clone();
        options(&[]).apply(&mut changed).unwrap();
        assert_eq!(changed, before);
        options(&["--factor", "4"]).apply(&mut changed).unwrap();
        assert_eq!(changed.settings.baseline.map(|base| base.factor), Some(4.0));
        let critical = Threshold {
            value: 20.0,
            severity: Severity::Critical,
            channels: Vec::new(),
        };
        assert_eq!(changed.settings.higher, [critical]);
        assert_eq!(changed.settings.hold, TimeDelta::minutes(2));
        options(&["--critical", "none", "--baseline", "none"])
            .apply(&mut changed)
            .unwrap();
        assert_eq!(changed.settings.higher, []);
        assert_eq!(changed.settings.baseline, None);
    }

    #[test]
    fn invalid_rule_is_refused_in_terms_of_options() {
        let message = |words: &[&str]| {
            let error = options(words).apply(&mut rule()).unwrap_err();
            error.to_string()
        };
        assert_eq!(
            message(&["--critical", "10"]),
            "invalid threshold 10: expected more than the threshold below it, 10"
        );
        assert_eq!(
            message(&["--clear-below", "-1"]),
            "invalid --clear-below -1: expected a number above 0 and below 2^53"
        );
        assert_eq!(
            message(&["--include-cached"]),
            "--include-cached requires a rule of type RATE_LIMIT_WARNING"
        );
    }

    #[test]
    fn thresholds_have_severities_and_channels() {
        let set = |words: &[&str], thresholds: &[&str]| {
            let mut rule = rule();
            let thresholds: Vec<_> = thresholds.iter().map(|it| threshold(it).unwrap()).collect();
            let options = options(words);
            options.set_thresholds(&mut rule, &thresholds)?;
            options.apply(&mut rule).map(|()| rule)
        };
        let routed = ["100:critical:pager", "50:warning:slack,mail", "80"];
        let thresholds = set(&[], &routed).unwrap().thresholds();
        let shown = thresholds
            .iter()
            .map(|it| format!("{} {} {}", it.value, it.severity, it.channels.join(" ")));
        let expected = ["50 WARNING slack mail", "80 WARNING ", "100 CRITICAL pager"];
        assert_eq!(shown.collect::<Vec<_>>(), expected);
        let plain = set(&["--severity", "critical"], &["5", "7"]).unwrap();
        let severities: Vec<_> = plain.thresholds().iter().map(|it| it.severity).collect();
        assert_eq!(severities, [Severity::Critical; 2]);
        assert!(set(&["--severity", "critical"], &["5", "7:critical"]).is_err());
        assert!(set(&[], &["5", "5"]).is_err());
        assert!(set(&[], &["5:critical", "7:warning"]).is_err());
        for text in ["", "x", "5:", "5:high", "5:critical:", "5:critical:a,,b"] {
            assert!(threshold(text).is_err(), "{text}");
        }
    }
}
