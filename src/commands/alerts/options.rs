//! The options that `add` and `set` share: what a rule says beyond the columns of api_alerts.

use std::str::FromStr;
use std::time::Duration;

use chrono::TimeDelta;
use chrono_tz::Tz;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::args::parse_duration;
use crate::domain::alert::rule::{AlertType, Baseline, Rule, Severity, TimeWindow};
use crate::domain::period::Period;
use crate::error::{Error, Result};

/// By how many times an average is exceeded, unless it is said.
const USUAL_FACTOR: f64 = 3.0;

/// What a rule can be told; what is not given stays as it is.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "What the rule says")]
pub(super) struct RuleOptions {
    /// A second threshold, above the first, that is critical; `none` takes it away
    #[arg(long, value_name = "N", value_parser = or_none(number), allow_negative_numbers = true)]
    critical: Option<Given<f64>>,

    /// What reaching the threshold means [of a new rule: warning]
    #[arg(long, value_parser = severity(), ignore_case = true)]
    severity: Option<Severity>,

    /// How long the threshold must be reached before the rule fires [of a new rule: 0s]
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    hold: Option<Duration>,

    /// Below what it is over, so that a value about the threshold does not fire again and again; `none`
    /// is the threshold itself
    #[arg(long, value_name = "N", value_parser = or_none(number), allow_negative_numbers = true)]
    clear_below: Option<Given<f64>>,

    /// How long it must be below before it is over [of a new rule: 0s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    clear_for: Option<Duration>,

    /// How often to tell again while it fires [of a new rule: 1h]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    repeat: Option<Duration>,

    /// With fewer calls in the period all is well, whatever the value [of a new rule: 0]
    #[arg(long, value_name = "N")]
    min_requests: Option<u32>,

    /// Count calls that a cache answered, which never reach the provider, against its limit
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    include_cached: Option<bool>,

    /// Which stretch of time counts: the one that ends now, or the calendar's so far [of a new rule:
    /// rolling]
    #[arg(long, value_parser = time_window(), ignore_case = true)]
    window: Option<TimeWindow>,

    /// Where the calendar's days begin, such as Europe/Madrid [of a new rule: UTC]
    #[arg(long, value_name = "ZONE", value_parser = time_zone)]
    tz: Option<Tz>,

    /// Compare failed calls with their average over this time; the threshold is then the fewest that
    /// count; `none` compares with the threshold alone
    #[arg(long, value_name = "TIME", value_parser = or_none(parse_duration))]
    baseline: Option<Given<Duration>>,

    /// How many times that average it takes [of a new baseline: 3]
    #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true)]
    factor: Option<f64>,

    /// Tell this channel only; may be given several times. A rule without any tells all
    #[arg(long = "channel", value_name = "NAME", conflicts_with = "all_channels")]
    channels: Vec<String>,

    /// Tell all channels there are
    #[arg(long)]
    all_channels: bool,
}

/// A value, or the word that takes it away.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Given<T> {
    None,
    Some(T),
}

impl<T> Given<T> {
    fn value(self) -> Option<T> {
        match self {
            Given::None => None,
            Given::Some(value) => Some(value),
        }
    }
}

impl RuleOptions {
    /// Whether nothing was said.
    pub(super) fn is_empty(&self) -> bool {
        let RuleOptions {
            critical: None,
            severity: None,
            hold: None,
            clear_below: None,
            clear_for: None,
            repeat: None,
            min_requests: None,
            include_cached: None,
            window: None,
            tz: None,
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

    /// Whether channels were named.
    pub(super) fn names_channels(&self) -> bool {
        !self.channels.is_empty()
    }

    /// Tells `rule` what was said, and makes sure that it makes sense.
    pub(super) fn apply(&self, rule: &mut Rule) -> Result<()> {
        let settings = &mut rule.settings;
        if let Some(given) = self.critical {
            settings.critical_threshold = given.value();
        }
        if let Some(given) = self.clear_below {
            settings.clear_below = given.value();
        }
        if let Some(given) = self.baseline {
            let factor = settings.baseline.map_or(USUAL_FACTOR, |base| base.factor);
            settings.baseline = given.value().map(|over| Baseline {
                over: span(over),
                factor,
            });
        }
        match (self.factor, &mut settings.baseline) {
            (Some(factor), Some(baseline)) => baseline.factor = factor,
            (Some(_), None) => return Err(Error::usage("--factor needs a --baseline")),
            (None, _) => {}
        }
        replace(&mut settings.severity, self.severity);
        replace(&mut settings.hold, self.hold.map(span));
        replace(&mut settings.clear_hold, self.clear_for.map(span));
        replace(&mut settings.repeat, self.repeat.map(span));
        replace(&mut settings.min_requests, self.min_requests.map(u64::from));
        replace(&mut settings.include_cached, self.include_cached);
        replace(&mut settings.window, self.window);
        if self.tz.is_some() {
            rule.unreadable = None;
        }
        replace(&mut settings.time_zone, self.tz);
        if self.all_channels || !self.channels.is_empty() {
            rule.channels.clone_from(&self.channels);
            rule.channels.sort_unstable();
            rule.channels.dedup();
        }
        rule.require_sound().map_err(Error::usage)
    }
}

fn replace<T>(setting: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *setting = given;
    }
}

fn span(given: Duration) -> TimeDelta {
    TimeDelta::from_std(given).unwrap_or(TimeDelta::MAX)
}

fn or_none<T, E: ToString>(
    parse: fn(&str) -> Result<T, E>,
) -> impl Fn(&str) -> Result<Given<T>, String> + Clone {
    move |text| match text {
        "none" => Ok(Given::None),
        _ => parse(text)
            .map(Given::Some)
            .map_err(|error| error.to_string()),
    }
}

/// Reads any number; whether it makes sense is for the rule to say, in its own words.
pub(super) fn number(text: &str) -> Result<f64, String> {
    f64::from_str(text).map_err(|_| "not a number".to_owned())
}

fn time_zone(text: &str) -> Result<Tz, String> {
    Tz::from_str(text).map_err(|_| "not a time zone such as UTC or Europe/Madrid".to_owned())
}

/// Reads a type of rule, whatever the case of its letters.
pub(super) fn alert_type() -> impl TypedValueParser<Value = AlertType> {
    words(AlertType::KNOWN.map(|known| match known {
        AlertType::RateLimitWarning => "RATE_LIMIT_WARNING",
        AlertType::CostThreshold => "COST_THRESHOLD",
        AlertType::ErrorSpike | AlertType::Other(_) => "ERROR_SPIKE",
    }))
    .map(|word| AlertType::named(&word.to_ascii_uppercase()))
}

/// Reads a period, whatever the case of its letters.
pub(super) fn alert_period() -> impl TypedValueParser<Value = Period> {
    words(["SECOND", "MINUTE", "HOUR", "DAY", "MONTH"])
        .map(|word| Period::named(&word.to_ascii_uppercase()))
}

fn severity() -> impl TypedValueParser<Value = Severity> {
    words(["warning", "critical"]).map(|word| match word.eq_ignore_ascii_case("critical") {
        true => Severity::Critical,
        false => Severity::Warning,
    })
}

fn time_window() -> impl TypedValueParser<Value = TimeWindow> {
    words(["rolling", "calendar"]).map(|word| match word.eq_ignore_ascii_case("calendar") {
        true => TimeWindow::Calendar,
        false => TimeWindow::Rolling,
    })
}

fn words<const N: usize>(words: [&'static str; N]) -> PossibleValuesParser {
    PossibleValuesParser::new(words)
}
