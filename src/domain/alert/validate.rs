//! Validation of rules that are added or changed. Rules that other programs wrote need not be valid: they are
//! evaluated as far as [`Rule::check`] allows.

use chrono::TimeDelta;

use super::rule::{AlertType, Rule, TimeWindow};
use crate::domain::period::Period;

/// From here on floating-point numbers no longer distinguish consecutive whole numbers: 2^53.
pub const NUMBER_LIMIT: f64 = 9_007_199_254_740_992.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleField {
    Threshold,
    ClearBelow,
    IncludeCached,
    Baseline,
    Percent,
}

#[derive(Clone, Debug, PartialEq)]
pub enum RuleError {
    /// The API name is empty, or has control characters or space around it.
    ApiName,
    /// Not above 0 and below [`NUMBER_LIMIT`].
    Number { field: RuleField, value: f64 },
    /// A threshold is not above the one below it.
    NotAbove { below: f64, threshold: f64 },
    /// A threshold has a lower severity than the one below it.
    SeverityFalls { below: f64, threshold: f64 },
    /// The rule would resolve while it fires.
    ClearBelowAboveThreshold { clear_below: f64, threshold: f64 },
    /// The setting belongs to rules of another type.
    OtherType { field: RuleField, type_: AlertType },
    /// Not above 1.
    Factor(f64),
    /// The baseline is shorter than two periods.
    ShortBaseline,
    /// Windows of a second cannot be calendar seconds.
    CalendarSecond,
    /// The window has no first day of the month.
    MonthStarts,
    /// A threshold above 100 percent of the calls.
    NotAPercentage(f64),
    /// A baseline is an average of counts.
    PercentBaseline,
    /// The threshold of a `NO_DATA` rule is the time without calls.
    NoDataOfNoData,
}

/// A surprising threshold of a valid rule, in percent of the limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RuleWarning {
    /// At most 1: probably a fraction.
    Fraction(f64),
    AboveLimit(f64),
}

impl Rule {
    pub fn validate(&self) -> Result<(), RuleError> {
        let (threshold, settings) = (self.threshold, &self.settings);
        let name = &self.api_name;
        if name.is_empty() || name.trim() != name || name.contains(char::is_control) {
            return Err(RuleError::ApiName);
        }
        let thresholds = self.thresholds();
        for threshold in &thresholds {
            number(RuleField::Threshold, threshold.value)?;
        }
        for pair in thresholds.windows(2) {
            if let [below, above] = pair {
                if above.value <= below.value {
                    return Err(RuleError::NotAbove {
                        below: below.value,
                        threshold: above.value,
                    });
                }
                if above.severity < below.severity {
                    return Err(RuleError::SeverityFalls {
                        below: below.value,
                        threshold: above.value,
                    });
                }
            }
        }
        if let Some(clear_below) = settings.clear_below {
            number(RuleField::ClearBelow, clear_below)?;
            if clear_below > threshold {
                return Err(RuleError::ClearBelowAboveThreshold {
                    clear_below,
                    threshold,
                });
            }
        }
        if settings.include_cached {
            self.require_type(RuleField::IncludeCached, AlertType::RateLimitWarning)?;
        }
        if let Some(baseline) = settings.baseline {
            self.require_type(RuleField::Baseline, AlertType::ErrorSpike)?;
            if !(baseline.factor > 1.0 && baseline.factor < NUMBER_LIMIT) {
                return Err(RuleError::Factor(baseline.factor));
            }
            let period = self.period.length().unwrap_or(TimeDelta::seconds(1));
            if baseline.over < period * 2 {
                return Err(RuleError::ShortBaseline);
            }
            if settings.percent {
                return Err(RuleError::PercentBaseline);
            }
        }
        if settings.percent {
            self.require_type(RuleField::Percent, AlertType::ErrorSpike)?;
            let highest = self.highest_threshold();
            if highest > 100.0 {
                return Err(RuleError::NotAPercentage(highest));
            }
        }
        if settings.no_data.is_some() && self.alert_type == AlertType::NoData {
            return Err(RuleError::NoDataOfNoData);
        }
        if self.window() == TimeWindow::Calendar && self.period == Period::Second {
            return Err(RuleError::CalendarSecond);
        }
        let is_calendar_month =
            self.window() == TimeWindow::Calendar && self.period == Period::Month;
        if settings.month_starts.is_some() && !is_calendar_month {
            return Err(RuleError::MonthStarts);
        }
        Ok(())
    }

    fn require_type(&self, field: RuleField, type_: AlertType) -> Result<(), RuleError> {
        if self.alert_type == type_ {
            Ok(())
        } else {
            Err(RuleError::OtherType { field, type_ })
        }
    }

    pub fn warning(&self) -> Option<RuleWarning> {
        let threshold = self.threshold;
        if self.alert_type != AlertType::RateLimitWarning {
            None
        } else if threshold <= 1.0 {
            Some(RuleWarning::Fraction(threshold))
        } else if threshold > 100.0 {
            Some(RuleWarning::AboveLimit(threshold))
        } else {
            None
        }
    }
}

fn number(field: RuleField, value: f64) -> Result<(), RuleError> {
    // NaN is in no range.
    if value > 0.0 && value < NUMBER_LIMIT {
        Ok(())
    } else {
        Err(RuleError::Number { field, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::rule::{Severity, Threshold};

    fn rule() -> Rule {
        Rule::new("finnhub", AlertType::RateLimitWarning, Period::Minute, 80.0)
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        assert_eq!(rule().validate(), Ok(()));
        type Set = (RuleField, fn(&mut Rule, f64));
        let fields: [Set; 3] = [
            (RuleField::Threshold, |rule, value| rule.threshold = value),
            (RuleField::Threshold, |rule, value| {
                rule.settings.higher = vec![Threshold::sample(value, Severity::Critical, &[])];
            }),
            (RuleField::ClearBelow, |rule, value| {
                rule.settings.clear_below = Some(value);
            }),
        ];
        for value in [0.0, -0.0, -5.0, f64::NEG_INFINITY, NUMBER_LIMIT, f64::NAN] {
            for (expected, set) in fields {
                let mut rule = rule();
                set(&mut rule, value);
                let refused = rule.validate();
                assert!(
                    matches!(refused, Err(RuleError::Number { field, .. }) if field == expected),
                    "{value}: {refused:?}"
                );
            }
        }
    }

    #[test]
    fn contradictory_settings_are_refused() {
        type Case = (RuleError, fn(&mut Rule));
        let (below, threshold) = (80.0, 95.0);
        let cases: [Case; 3] = [
            (RuleError::ApiName, |rule| {
                rule.api_name = " finnhub".to_owned()
            }),
            (RuleError::SeverityFalls { below, threshold }, |rule| {
                rule.settings.severity = Severity::Critical;
                rule.settings.higher = vec![Threshold::sample(95.0, Severity::Warning, &[])];
            }),
            (RuleError::MonthStarts, |rule| {
                rule.period = Period::Month;
                rule.settings.month_starts = Some(17);
                rule.settings.window = Some(TimeWindow::Rolling);
            }),
        ];
        for (expected, change) in cases {
            let mut rule = rule();
            change(&mut rule);
            assert_eq!(rule.validate(), Err(expected));
        }
    }

    #[test]
    fn fraction_and_threshold_above_limit_are_warned_of() {
        let warning = |threshold| {
            let rule = Rule {
                threshold,
                ..rule()
            };
            rule.warning()
        };
        assert_eq!(warning(80.0), None);
        assert_eq!(warning(0.8), Some(RuleWarning::Fraction(0.8)));
        assert_eq!(warning(120.0), Some(RuleWarning::AboveLimit(120.0)));
    }
}
