//! Whether a rule that somebody wants to write makes sense. What other programs wrote is not held to
//! this: it is judged as far as [`Rule::check`] allows.

use super::rule::{AlertType, Rule, Severity, TimeWindow};
use crate::domain::period::Period;

/// Numbers are floating-point; beyond this they no longer tell one call from the next.
const MOST: f64 = 9_007_199_254_740_992.0;

/// Why a rule is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RuleError {
    /// The API has no name, or one that nobody can type.
    #[error(
        "the name of an API is not empty, and has no control characters and no space around it"
    )]
    Api,
    /// A number that nothing can reach, or that everything has reached.
    #[error("{flag} must be a number above 0 and below 2^53, not {value}")]
    Number { flag: &'static str, value: f64 },
    /// The critical threshold is the first to be reached.
    #[error("--critical {critical} must be above --threshold {threshold}")]
    Critical { critical: f64, threshold: f64 },
    /// A second threshold can say no more than the first.
    #[error("--critical is for a rule whose --threshold is a warning; this one is critical anyway")]
    CriticalAnyway,
    /// It would be over while it fires.
    #[error("--clear-below {clear_below} must not be above --threshold {threshold}")]
    ClearBelow {
        /// Below what it would be over.
        clear_below: f64,
        threshold: f64,
    },
    /// The option is for another type of rule.
    #[error("{flag} is for rules of type {type_name}")]
    OtherType {
        flag: &'static str,
        type_name: &'static str,
    },
    /// No average is exceeded by so little.
    #[error("--factor must be a number above 1, not {0}")]
    Factor(f64),
    /// The average would be taken over less than the rule looks at.
    #[error("--baseline must be at least two of the rule's periods long")]
    Baseline,
    /// Seconds come and go too quickly to be told where their minute begins.
    #[error("--window calendar is for a period of MINUTE and longer")]
    CalendarSecond,
}

impl Rule {
    /// Makes sure that the rule says what somebody can mean.
    pub fn validate(&self) -> Result<(), RuleError> {
        let (threshold, settings) = (self.threshold, &self.settings);
        let name = &self.api_name;
        if name.is_empty() || name.trim() != name || name.contains(char::is_control) {
            return Err(RuleError::Api);
        }
        number("--threshold", threshold)?;
        if let Some(critical) = settings.critical_threshold {
            number("--critical", critical)?;
            if settings.severity == Severity::Critical {
                return Err(RuleError::CriticalAnyway);
            }
            if critical <= threshold {
                return Err(RuleError::Critical {
                    critical,
                    threshold,
                });
            }
        }
        if let Some(clear_below) = settings.clear_below {
            number("--clear-below", clear_below)?;
            if clear_below > threshold {
                return Err(RuleError::ClearBelow {
                    clear_below,
                    threshold,
                });
            }
        }
        self.only_for(
            "--include-cached",
            settings.include_cached,
            AlertType::RateLimitWarning,
        )?;
        self.only_for(
            "--baseline",
            settings.baseline.is_some(),
            AlertType::ErrorSpike,
        )?;
        if let Some(baseline) = settings.baseline {
            if !(baseline.factor > 1.0 && baseline.factor < MOST) {
                return Err(RuleError::Factor(baseline.factor));
            }
            let period_s = match self.period {
                Period::Second | Period::Other(_) => 1,
                Period::Minute => 60,
                Period::Hour => 3_600,
                Period::Day => 86_400,
                Period::Month => 31 * 86_400,
            };
            if baseline.over.num_seconds() < 2 * period_s {
                return Err(RuleError::Baseline);
            }
        }
        if settings.window == TimeWindow::Calendar && self.period == Period::Second {
            return Err(RuleError::CalendarSecond);
        }
        Ok(())
    }

    fn only_for(&self, flag: &'static str, used: bool, wanted: AlertType) -> Result<(), RuleError> {
        if !used || self.alert_type == wanted {
            return Ok(());
        }
        let type_name = match wanted {
            AlertType::RateLimitWarning => "RATE_LIMIT_WARNING",
            AlertType::CostThreshold => "COST_THRESHOLD",
            AlertType::ErrorSpike | AlertType::Other(_) => "ERROR_SPIKE",
        };
        Err(RuleError::OtherType { flag, type_name })
    }

    /// What is allowed and yet most likely not meant.
    pub fn warning(&self) -> Option<String> {
        let threshold = self.threshold;
        if self.alert_type != AlertType::RateLimitWarning {
            return None;
        }
        if threshold <= 1.0 {
            let percent = (threshold * 10_000.0).round() / 100.0;
            Some(format!(
                "a threshold of {threshold} is {threshold}% of the limit; for {percent}% say --threshold {percent}"
            ))
        } else if threshold > 100.0 {
            Some(format!(
                "a threshold of {threshold}% fires only beyond the limit"
            ))
        } else {
            None
        }
    }
}

fn number(flag: &'static str, value: f64) -> Result<(), RuleError> {
    // NaN is in no range.
    if value > 0.0 && value < MOST {
        Ok(())
    } else {
        Err(RuleError::Number { flag, value })
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::domain::alert::rule::Baseline;

    fn rule() -> Rule {
        Rule::new("finnhub", AlertType::RateLimitWarning, Period::Minute, 80.0)
    }

    fn refused(change: impl FnOnce(&mut Rule)) -> String {
        let mut rule = rule();
        change(&mut rule);
        rule.validate().unwrap_err().to_string()
    }

    #[test]
    fn a_threshold_is_a_number_that_something_can_reach() {
        assert_eq!(rule().validate(), Ok(()));
        for value in [
            0.0,
            -0.0,
            -5.0,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            1e300,
        ] {
            let message = refused(|rule| rule.threshold = value);
            assert!(message.starts_with("--threshold must be"), "{message}");
            let message = refused(|rule| rule.settings.critical_threshold = Some(value));
            assert!(message.starts_with("--critical must be"), "{message}");
            let message = refused(|rule| rule.settings.clear_below = Some(value));
            assert!(message.starts_with("--clear-below must be"), "{message}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let refusals = [
            refused(|rule| rule.settings.critical_threshold = Some(80.0)),
            refused(|rule| rule.settings.clear_below = Some(80.5)),
            refused(|rule| rule.api_name = " finnhub".to_owned()),
            refused(|rule| {
                rule.settings.severity = Severity::Critical;
                rule.settings.critical_threshold = Some(95.0);
            }),
            refused(|rule| {
                rule.settings.baseline = Some(Baseline {
                    over: TimeDelta::days(7),
                    factor: 3.0,
                });
            }),
            refused(|rule| {
                rule.alert_type = AlertType::CostThreshold;
                rule.settings.include_cached = true;
            }),
        ];
        let expected = [
            "--critical 80 must be above --threshold 80",
            "--clear-below 80.5 must not be above --threshold 80",
            "the name of an API is not empty, and has no control characters and no space around it",
            "--critical is for a rule whose --threshold is a warning; this one is critical anyway",
            "--baseline is for rules of type ERROR_SPIKE",
            "--include-cached is for rules of type RATE_LIMIT_WARNING",
        ];
        assert_eq!(refusals, expected);
    }

    #[test]
    fn a_fraction_that_was_meant_as_a_percentage_is_noticed() {
        let warning = |threshold| {
            let rule = Rule {
                threshold,
                ..rule()
            };
            rule.warning()
        };
        assert_eq!(warning(80.0), None);
        assert!(warning(0.8).is_some_and(|text| text.contains("--threshold 80")));
        assert!(warning(120.0).is_some());
    }
}
