//! Priority of a recommendation: from risk and remaining time, never from money.

use crate::domain::metrics::names::Priority;

/// What a priority depends on. Chances are shares from 0 to 1; none if unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Risk {
    /// Chance of reaching the limit within 7 days, the time that a change takes.
    pub chance_7: Option<f64>,
    /// Chance within 30 days, or within the horizon if that is nearer.
    pub soon: Option<f64>,
    pub chance_90: Option<f64>,
    /// Usage is at the limit or beyond.
    pub is_over: bool,
    /// Usage is at the critical threshold or beyond.
    pub is_critical: bool,
    /// Usage beyond the limit is billed: it costs money and stops nothing.
    pub is_billed: bool,
    /// The change saves money.
    pub saves: bool,
}

pub fn priority(risk: Risk) -> Priority {
    let at_least = |chance: Option<f64>, share| chance.is_some_and(|chance| chance >= share);
    // A single measurement has no forecast that could say that there is time.
    let no_time = risk.is_critical && risk.soon.is_none();
    let priority = if risk.is_over || no_time || at_least(risk.chance_7, 0.5) {
        Priority::Critical
    } else if risk.is_critical || at_least(risk.soon, 0.5) {
        Priority::High
    } else if at_least(risk.soon, 0.2) || at_least(risk.chance_90, 0.5) || risk.saves {
        Priority::Medium
    } else {
        Priority::Low
    };
    match priority {
        // A saving is about money anyway.
        Priority::Medium if risk.saves => Priority::Medium,
        Priority::Critical if risk.is_billed => Priority::High,
        Priority::High if risk.is_billed => Priority::Medium,
        Priority::Medium if risk.is_billed => Priority::Low,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chances(chance_7: f64, soon: f64, chance_90: f64) -> Risk {
        Risk {
            chance_7: Some(chance_7),
            soon: Some(soon),
            chance_90: Some(chance_90),
            ..Risk::default()
        }
    }

    #[test]
    fn priority_rises_with_chance_and_nearness() {
        let cases = [
            (chances(0.5, 1.0, 1.0), Priority::Critical),
            (chances(0.49, 0.5, 1.0), Priority::High),
            (chances(0.0, 0.2, 0.2), Priority::Medium),
            (chances(0.0, 0.19, 0.5), Priority::Medium),
            (chances(0.0, 0.19, 0.49), Priority::Low),
            (Risk::default(), Priority::Low),
        ];
        for (risk, expected) in cases {
            assert_eq!(priority(risk), expected, "{risk:?}");
        }
    }

    #[test]
    fn critical_usage_without_a_forecast_is_critical() {
        let critical = Risk {
            is_critical: true,
            ..Risk::default()
        };
        assert_eq!(priority(critical), Priority::Critical);
        let steady = Risk {
            soon: Some(0.0),
            ..critical
        };
        assert_eq!(priority(steady), Priority::High);
    }

    #[test]
    fn billed_overage_is_one_step_lower() {
        let over = Risk {
            is_over: true,
            ..Risk::default()
        };
        assert_eq!(priority(over), Priority::Critical);
        let billed = |risk| {
            priority(Risk {
                is_billed: true,
                ..risk
            })
        };
        assert_eq!(billed(over), Priority::High);
        assert_eq!(billed(chances(0.0, 0.9, 1.0)), Priority::Medium);
        assert_eq!(billed(chances(0.0, 0.3, 1.0)), Priority::Low);
        assert_eq!(billed(Risk::default()), Priority::Low);
    }

    #[test]
    fn saving_is_medium() {
        let saves = Risk {
            saves: true,
            is_billed: true,
            ..Risk::default()
        };
        assert_eq!(priority(saves), Priority::Medium);
    }
}
