//! When something is recommended at all, and when its reason has gone.

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::metrics::names::Priority;

/// What is known of a limit. Chances are shares from 0 to 1; none: nobody can say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Signs {
    /// Used, in percent of the limit.
    pub used_percent: f64,
    /// From how many percent on it is critical.
    pub critical_percent: f64,
    /// That the limit is reached within 30 days.
    pub chance_30: Option<f64>,
    /// That this billing period ends over it, of what is counted by the period.
    pub chance_over: Option<f64>,
    /// How urgent it would be.
    pub priority: Priority,
}

/// Whether there is a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Holds,
    /// Not enough of one to begin with, too much of one to take back what was said.
    Weak,
    Gone,
}

/// Measurements older than this say nothing about today.
pub const FRESH: TimeDelta = TimeDelta::hours(24);

/// Measurements older than this end a recommendation that was made from them.
pub const USABLE: TimeDelta = TimeDelta::days(14);

/// Whether something measured at `measured` says anything about `now`.
pub fn is_fresh(measured: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    now - measured <= FRESH
}

/// Whether the plan in use is a reason to recommend something.
///
/// A forecast alone is none: below half of the limit it must be critical, or every new project would have one.
/// Neither is a billing period that is nearly used up where it is nearly over too.
pub fn reason(signs: Signs) -> Reason {
    const LIKELY: f64 = 0.2;
    const UNLIKELY: f64 = 0.1;
    const HALF: f64 = 50.0;
    // What the period comes to is the better question where there is an answer.
    let chance = match (signs.chance_30, signs.chance_over) {
        (Some(soon), Some(period)) => Some(soon.max(period)),
        (soon, period) => soon.or(period),
    };
    let is_critical = signs.used_percent >= signs.critical_percent;
    let lasts =
        signs.chance_over.is_some_and(|chance| chance < UNLIKELY) && signs.used_percent < 100.0;
    let may_be_forecast = signs.used_percent >= HALF || signs.priority == Priority::Critical;
    if is_critical && !lasts {
        return Reason::Holds;
    }
    match chance {
        Some(chance) if chance >= LIKELY && may_be_forecast => Reason::Holds,
        Some(chance) if chance >= UNLIKELY => Reason::Weak,
        Some(_) => Reason::Gone,
        // Without a forecast there is the level alone, and that is below the critical line.
        None => Reason::Gone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(used_percent: f64, chance_30: Option<f64>) -> Signs {
        Signs {
            used_percent,
            critical_percent: 90.0,
            chance_30,
            chance_over: None,
            priority: Priority::High,
        }
    }

    #[test]
    fn a_forecast_needs_a_level_and_a_level_needs_no_forecast() {
        assert_eq!(reason(level(60.0, Some(0.2))), Reason::Holds);
        assert_eq!(reason(level(40.0, Some(0.9))), Reason::Weak);
        assert_eq!(reason(level(90.0, None)), Reason::Holds);
        assert_eq!(reason(level(89.0, None)), Reason::Gone);
        let urgent = Signs {
            priority: Priority::Critical,
            ..level(40.0, Some(0.9))
        };
        assert_eq!(reason(urgent), Reason::Holds);
    }

    #[test]
    fn between_one_in_ten_and_one_in_five_nothing_begins_and_nothing_ends() {
        assert_eq!(reason(level(80.0, Some(0.19))), Reason::Weak);
        assert_eq!(reason(level(80.0, Some(0.1))), Reason::Weak);
        assert_eq!(reason(level(80.0, Some(0.09))), Reason::Gone);
    }

    #[test]
    fn a_period_that_ends_in_time_is_no_reason() {
        let period = |used, over| Signs {
            chance_over: Some(over),
            ..level(used, Some(over))
        };
        assert_eq!(reason(period(95.0, 0.02)), Reason::Gone);
        assert_eq!(reason(period(95.0, 0.3)), Reason::Holds);
        assert_eq!(reason(period(101.0, 1.0)), Reason::Holds);
        assert_eq!(reason(period(60.0, 0.2)), Reason::Holds);
    }

    #[test]
    fn yesterday_is_fresh_and_the_day_before_is_not() {
        let now: DateTime<Utc> = "2026-01-31T12:00:00Z".parse().unwrap();
        assert!(is_fresh(now - TimeDelta::hours(24), now));
        assert!(!is_fresh(now - TimeDelta::hours(25), now));
        assert!(is_fresh(now + TimeDelta::minutes(1), now));
    }
}
