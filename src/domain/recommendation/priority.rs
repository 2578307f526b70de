//! How urgent it is: by risk and by the time that is left, never by money.

use crate::domain::metrics::names::Priority;

/// What urgency depends on. Chances are shares from 0 to 1; none: further ahead than anybody can say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Signs {
    /// That the limit is reached within 7 days, in which a change must be made.
    pub chance_7: Option<f64>,
    /// Within 30 days.
    pub chance_30: Option<f64>,
    /// Within 90 days.
    pub chance_90: Option<f64>,
    /// More is used than the limit allows, now.
    pub is_over: bool,
    /// At the limit it goes on and is billed: it costs money and stops nothing.
    pub is_billed: bool,
    /// Something can be saved for certain.
    pub saves: bool,
}

/// The urgency.
pub fn priority(signs: Signs) -> Priority {
    let at_least = |chance: Option<f64>, share| chance.is_some_and(|chance| chance >= share);
    let priority = if signs.is_over || at_least(signs.chance_7, 0.5) {
        Priority::Critical
    } else if at_least(signs.chance_30, 0.5) {
        Priority::High
    } else if at_least(signs.chance_30, 0.2) || at_least(signs.chance_90, 0.5) || signs.saves {
        Priority::Medium
    } else {
        Priority::Low
    };
    match priority {
        // A saving is no less certain for being about money.
        Priority::Medium if signs.saves => Priority::Medium,
        Priority::Critical if signs.is_billed => Priority::High,
        Priority::High if signs.is_billed => Priority::Medium,
        Priority::Medium if signs.is_billed => Priority::Low,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chances(chance_7: f64, chance_30: f64, chance_90: f64) -> Signs {
        Signs {
            chance_7: Some(chance_7),
            chance_30: Some(chance_30),
            chance_90: Some(chance_90),
            ..Signs::default()
        }
    }

    #[test]
    fn urgency_grows_with_the_chance_and_its_nearness() {
        let cases = [
            (chances(0.5, 1.0, 1.0), Priority::Critical),
            (chances(0.49, 0.5, 1.0), Priority::High),
            (chances(0.0, 0.2, 0.2), Priority::Medium),
            (chances(0.0, 0.19, 0.5), Priority::Medium),
            (chances(0.0, 0.19, 0.49), Priority::Low),
            (Signs::default(), Priority::Low),
        ];
        for (signs, expected) in cases {
            assert_eq!(priority(signs), expected, "{signs:?}");
        }
    }

    #[test]
    fn what_is_over_its_limit_is_critical_and_what_is_billed_a_step_lower() {
        let over = Signs {
            is_over: true,
            ..Signs::default()
        };
        assert_eq!(priority(over), Priority::Critical);
        let billed = |signs| {
            priority(Signs {
                is_billed: true,
                ..signs
            })
        };
        assert_eq!(billed(over), Priority::High);
        assert_eq!(billed(chances(0.0, 0.9, 1.0)), Priority::Medium);
        assert_eq!(billed(chances(0.0, 0.3, 1.0)), Priority::Low);
        assert_eq!(billed(Signs::default()), Priority::Low);
    }

    #[test]
    fn a_certain_saving_can_wait_and_is_no_trifle() {
        let saves = Signs {
            saves: true,
            is_billed: true,
            ..Signs::default()
        };
        assert_eq!(priority(saves), Priority::Medium);
    }
}
