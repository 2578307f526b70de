//! When a recommendation is made, and when its condition has cleared.

use chrono::TimeDelta;

use crate::domain::metrics::names::Priority;

/// The state of a limit. Chances are shares from 0 to 1; none if unknown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Signals {
    /// Usage in percent of the limit.
    pub used_percent: f64,
    pub critical_percent: f64,
    /// Chance of reaching the limit within 30 days, or within the horizon if that is nearer.
    pub soon: Option<f64>,
    /// Chance that the current billing period ends over the limit.
    pub chance_over: Option<f64>,
    /// The priority that a recommendation would have.
    pub priority: Priority,
}

/// What follows from the state of a limit, from the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    Clear,
    /// Create nothing new, but keep an open recommendation.
    Keep,
    Recommend,
}

/// Older measurements expire the recommendation that was made from them.
pub const USABLE: TimeDelta = TimeDelta::days(14);

/// Decides from the state of a limit.
///
/// Below half of the limit a forecast must be critical, or every new project would get a recommendation. A
/// billing period that is nearly used up is no reason when it is nearly over too.
pub fn decide(signals: Signals) -> Decision {
    const LIKELY: f64 = 0.2;
    const UNLIKELY: f64 = 0.1;
    const HALF: f64 = 50.0;
    // Of a level and a period, the greater risk counts.
    let chance = match (signals.soon, signals.chance_over) {
        (Some(soon), Some(period)) => Some(soon.max(period)),
        (soon, period) => soon.or(period),
    };
    let is_critical = signals.used_percent >= signals.critical_percent;
    let lasts =
        signals.chance_over.is_some_and(|chance| chance < UNLIKELY) && signals.used_percent < 100.0;
    let forecast_counts = signals.used_percent >= HALF || signals.priority == Priority::Critical;
    if is_critical && !lasts {
        return Decision::Recommend;
    }
    match chance {
        Some(chance) if chance >= LIKELY && forecast_counts => Decision::Recommend,
        Some(chance) if chance >= UNLIKELY => Decision::Keep,
        // Without a forecast only the level counts, and it is below the critical line.
        Some(_) | None => Decision::Clear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(used_percent: f64, soon: Option<f64>) -> Signals {
        Signals {
            used_percent,
            critical_percent: 90.0,
            soon,
            chance_over: None,
            priority: Priority::High,
        }
    }

    #[test]
    fn forecast_counts_from_half_of_limit_and_critical_level_alone() {
        assert_eq!(decide(level(60.0, Some(0.2))), Decision::Recommend);
        assert_eq!(decide(level(40.0, Some(0.9))), Decision::Keep);
        assert_eq!(decide(level(90.0, None)), Decision::Recommend);
        assert_eq!(decide(level(89.0, None)), Decision::Clear);
        let urgent = Signals {
            priority: Priority::Critical,
            ..level(40.0, Some(0.9))
        };
        assert_eq!(decide(urgent), Decision::Recommend);
    }

    #[test]
    fn chance_from_10_to_20_percent_keeps_and_creates_nothing() {
        assert_eq!(decide(level(80.0, Some(0.19))), Decision::Keep);
        assert_eq!(decide(level(80.0, Some(0.1))), Decision::Keep);
        assert_eq!(decide(level(80.0, Some(0.09))), Decision::Clear);
    }

    #[test]
    fn period_that_ends_within_limit_is_clear() {
        let period = |used, over| Signals {
            chance_over: Some(over),
            ..level(used, Some(over))
        };
        assert_eq!(decide(period(95.0, 0.02)), Decision::Clear);
        assert_eq!(decide(period(95.0, 0.3)), Decision::Recommend);
        assert_eq!(decide(period(101.0, 1.0)), Decision::Recommend);
        assert_eq!(decide(period(60.0, 0.2)), Decision::Recommend);
    }
}
