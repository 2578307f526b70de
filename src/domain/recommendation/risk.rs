//! What follows from the state of a limit: whether a recommendation is made, and its priority. The priority depends on
//! risk and remaining time, never on money.

use chrono::TimeDelta;

use crate::domain::capacity::Capacity;
use crate::domain::forecast::Forecast;
use crate::domain::metrics::names::Priority;
use crate::domain::plans::{AtLimit, LimitInForce};

/// The state of a limit. Chances are shares from 0 to 1; none if unknown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Risk {
    /// Usage in percent of the limit.
    pub used_percent: f64,
    pub critical_percent: f64,
    /// Chance of reaching the limit within 7 days, the time that a change takes, or within the horizon if that is nearer.
    pub chance_7: Option<f64>,
    /// Chance within 30 days, or within the horizon if that is nearer.
    pub soon: Option<f64>,
    pub chance_90: Option<f64>,
    /// Chance that the current billing period ends over the limit.
    pub chance_over: Option<f64>,
    /// Whether the forecast only continues the pace between the readings of a few days.
    pub is_pace: bool,
    /// The level dropped once from as high, and may do so again before it reaches the limit.
    pub may_drop: bool,
    /// Usage beyond the limit is billed: it costs money and stops nothing.
    pub is_billed: bool,
    /// The change saves money.
    pub saves: bool,
}

/// The most urgent of several limits.
pub fn most_urgent<'a>(
    limits: impl IntoIterator<Item = (&'a Capacity, &'a LimitInForce)>,
) -> Option<(&'a Capacity, &'a LimitInForce)> {
    let rank = |(capacity, limit): &(&Capacity, &LimitInForce)| {
        let risk = Risk::of(capacity, limit);
        (risk.decision(), risk.priority(), risk.used_percent)
    };
    limits.into_iter().max_by(|a, b| {
        let (a, b) = (rank(a), rank(b));
        (a.0, a.1).cmp(&(b.0, b.1)).then(a.2.total_cmp(&b.2))
    })
}

/// Points below a threshold from which on usage has clearly fallen below it.
pub const MARGIN: f64 = 5.0;

/// What follows from the state of a limit, from the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    Clear,
    /// Create nothing new, but keep an open recommendation.
    Keep,
    Recommend,
}

impl Risk {
    pub fn of(capacity: &Capacity, limit: &LimitInForce) -> Risk {
        let crossing = capacity.crossing(2);
        let chance = |index: usize| crossing.and_then(|crossing| crossing.probabilities[index]);
        Risk {
            used_percent: capacity.usage.unwrap_or(0.0) / limit.value * 100.0,
            critical_percent: limit.critical_percent,
            // A horizon of less than a week says as much as is known about it.
            chance_7: chance(0).or_else(|| crossing.map(|crossing| crossing.soon.1)),
            soon: crossing.map(|crossing| crossing.soon.1),
            chance_90: chance(2),
            chance_over: capacity.chance_over(),
            is_pace: capacity.known_forecast().is_some_and(Forecast::is_pace)
                && capacity
                    .measured
                    .is_some_and(|span| span < TimeDelta::days(7)),
            may_drop: capacity
                .known_forecast()
                .is_some_and(|it| it.basis.may_drop),
            is_billed: limit.at_limit == AtLimit::Bill,
            saves: false,
        }
    }

    fn is_over(self) -> bool {
        self.used_percent >= 100.0
    }

    fn is_critical(self) -> bool {
        self.used_percent >= self.critical_percent
    }

    fn is_nearly_critical(self) -> bool {
        self.used_percent > self.critical_percent - MARGIN
    }

    /// Of a level and a period, the greater chance counts.
    fn likely(self) -> Option<f64> {
        let chances = [self.soon, self.chance_over].into_iter();
        chances.flatten().reduce(f64::max)
    }

    pub fn priority(self) -> Priority {
        let at_least = |chance: Option<f64>, share| chance.is_some_and(|chance| chance >= share);
        // A few measurements have no forecast that could say that there is time.
        let soon = self.likely();
        let is_unknown = soon.is_none() || self.is_pace && self.chance_over.is_none();
        let no_time = self.is_critical() && is_unknown;
        let in_days = at_least(self.chance_7, 0.5) && !self.may_drop;
        let priority = if self.is_over() || no_time || in_days {
            Priority::Critical
        } else if self.is_critical() || at_least(soon, 0.5) {
            Priority::High
        } else if at_least(soon, 0.2) || at_least(self.chance_90, 0.5) || self.saves {
            Priority::Medium
        } else {
            Priority::Low
        };
        match priority {
            // A saving is about money anyway.
            Priority::Medium if self.saves => Priority::Medium,
            Priority::Critical if self.is_billed => Priority::High,
            Priority::High if self.is_billed => Priority::Medium,
            Priority::Medium if self.is_billed => Priority::Low,
            other => other,
        }
    }

    /// Below half of the limit the forecast of a level must be critical, or every new project would get a
    /// recommendation. An amount begins each period at zero, so that its share says nothing early in the period: there
    /// the forecast counts as far as the history allows, and the total of the period if it is expected to exceed the
    /// limit. A billing period that is nearly used up is no reason when it is nearly over too.
    pub fn decision(self) -> Decision {
        const LIKELY: f64 = 0.2;
        const UNLIKELY: f64 = 0.1;
        const EXPECTED: f64 = 0.5;
        const HALF: f64 = 50.0;
        // Without a forecast only the level counts.
        let chance = self.likely().unwrap_or(0.0);
        let lasts = self.chance_over.is_some_and(|chance| chance < UNLIKELY) && !self.is_over();
        let is_expected = self
            .chance_over
            .is_some_and(|over| over >= EXPECTED || self.soon.is_some_and(|soon| soon >= LIKELY));
        let forecast_counts =
            self.used_percent >= HALF || self.priority() == Priority::Critical || is_expected;
        if self.is_critical() && !lasts || chance >= LIKELY && forecast_counts {
            Decision::Recommend
        } else if self.is_nearly_critical() && !lasts || chance >= UNLIKELY {
            Decision::Keep
        } else {
            Decision::Clear
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Risk = Risk {
        used_percent: 60.0,
        critical_percent: 90.0,
        chance_7: None,
        soon: None,
        chance_90: None,
        chance_over: None,
        is_pace: false,
        may_drop: false,
        is_billed: false,
        saves: false,
    };

    fn chances(chance_7: f64, soon: f64, chance_90: f64) -> Risk {
        Risk {
            chance_7: Some(chance_7),
            soon: Some(soon),
            chance_90: Some(chance_90),
            ..CALM
        }
    }

    fn level(used_percent: f64, soon: impl Into<Option<f64>>) -> Risk {
        Risk {
            used_percent,
            soon: soon.into(),
            ..CALM
        }
    }

    #[test]
    fn priority_rises_with_chance_and_nearness_and_is_lower_if_billed() {
        use Priority::{Critical, High, Low, Medium};
        let saving = Risk {
            saves: true,
            ..CALM
        };
        let dropping = Risk {
            may_drop: true,
            ..chances(0.6, 0.6, 0.6)
        };
        let overrun = Risk {
            chance_over: Some(0.5),
            ..chances(0.0, 0.0, 0.0)
        };
        let equal_readings = Risk {
            is_pace: true,
            ..level(90.0, 0.0)
        };
        for (risk, expected, if_billed) in [
            (chances(0.5, 1.0, 1.0), Critical, High),
            (chances(0.49, 0.5, 1.0), High, Medium),
            (chances(0.0, 0.2, 0.2), Medium, Low),
            (chances(0.0, 0.19, 0.5), Medium, Low),
            (chances(0.0, 0.19, 0.49), Low, Low),
            (CALM, Low, Low),
            (dropping, High, Medium),
            // The end of the period is beyond the horizon.
            (overrun, High, Medium),
            // Without a forecast there may be no time left.
            (level(90.0, None), Critical, High),
            (level(90.0, 0.0), High, Medium),
            (equal_readings, Critical, High),
            (level(100.0, 0.0), Critical, High),
            (saving, Medium, Medium),
        ] {
            assert_eq!(risk.priority(), expected, "{risk:?}");
            let billed = Risk {
                is_billed: true,
                ..risk
            };
            assert_eq!(billed.priority(), if_billed, "{billed:?}");
        }
    }

    #[test]
    fn forecast_counts_from_half_of_a_level_and_early_of_an_amount() {
        let period = |used, over: f64| Risk {
            chance_over: Some(over),
            ..level(used, over)
        };
        // The end of the period is beyond the horizon.
        let total = |used, over: f64| Risk {
            chance_over: Some(over),
            ..level(used, 0.0)
        };
        let urgent = Risk {
            used_percent: 40.0,
            ..chances(0.5, 0.9, 1.0)
        };
        for (risk, expected) in [
            (level(60.0, 0.2), Decision::Recommend),
            (level(40.0, 0.9), Decision::Keep),
            (urgent, Decision::Recommend),
            (level(90.0, None), Decision::Recommend),
            // Clearly below is 5 points.
            (level(85.1, None), Decision::Keep),
            (level(85.0, None), Decision::Clear),
            (level(80.0, 0.19), Decision::Keep),
            (level(80.0, 0.1), Decision::Keep),
            (level(80.0, 0.09), Decision::Clear),
            // A period that ends within the limit is clear.
            (period(95.0, 0.02), Decision::Clear),
            (period(95.0, 0.3), Decision::Recommend),
            (period(101.0, 1.0), Decision::Recommend),
            (period(60.0, 0.2), Decision::Recommend),
            // The share of an amount says nothing early in its period.
            (period(3.0, 0.2), Decision::Recommend),
            (total(3.0, 0.5), Decision::Recommend),
            (total(3.0, 0.49), Decision::Keep),
            (total(60.0, 0.2), Decision::Recommend),
        ] {
            assert_eq!(risk.decision(), expected, "{risk:?}");
        }
    }
}
