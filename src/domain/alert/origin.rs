//! The origin of a rule's evaluation: the step after which its current conditions apply.
//!
//! Steps after it are evaluated again when their data changes. Those before it were evaluated by another threshold,
//! setting or limit, or not at all.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::evaluate::RuleTarget;
use super::rule::Settings;
use super::state::AlertState;
use crate::domain::format::hex;

#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// See [`conditions`].
    pub conditions: String,
    pub at: DateTime<Utc>,
    /// The state at `at`; none if the rule was never evaluated.
    pub state: Option<AlertState>,
}

/// A hash of everything except usage that decides the result of a step.
pub fn conditions(target: &RuleTarget<'_>) -> String {
    let rule = target.rule;
    let mut settings = Settings {
        repeat: None,
        settle: None,
        lowest_channels: Vec::new(),
        ..rule.settings.clone()
    };
    for threshold in &mut settings.higher {
        threshold.channels.clear();
    }
    let facts = format!(
        "{:?}|{:?}|{}|{settings:?}|{:?}|{:?}|{:?}",
        rule.alert_type, rule.period, rule.threshold, rule.unreadable, target.limit, target.billing
    );
    hex(&Sha256::digest(facts.as_bytes())[..8])
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::domain::alert::evaluate::Allowance;
    use crate::domain::alert::rule::{AlertType, Rule};
    use crate::domain::period::Period;

    #[test]
    fn conditions_depend_on_threshold_settings_and_limit_but_not_on_reminders() {
        let rule = Rule::new("tmdb", AlertType::ErrorSpike, Period::Minute, 3.0);
        let of = |rule: &Rule, limit| {
            conditions(&RuleTarget {
                limit,
                ..RuleTarget::sample(rule)
            })
        };
        let before = of(&rule, None);
        let mut changed = rule.clone();
        changed.settings.repeat = Some(TimeDelta::hours(7));
        assert_eq!(of(&changed, None), before);
        changed.settings.hold = TimeDelta::minutes(1);
        assert_ne!(of(&changed, None), before);
        let higher = Rule {
            threshold: 4.0,
            ..rule.clone()
        };
        assert_ne!(of(&higher, None), before);
        let limit = Allowance {
            value: 60.0,
            of_credits: false,
        };
        assert_ne!(of(&rule, Some(limit)), before);
    }
}
