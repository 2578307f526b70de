//! The forecast of the metric, as figures.

use rust_decimal::Decimal;

use super::Assessor;
use crate::domain::forecast::Confidence;
use crate::domain::recommendation::cost::decimal;
use crate::domain::recommendation::facts::{Outlook, PeriodOutlook};
use crate::domain::recommendation::figure::{Figure, Unit};

const INPUTS: [&str; 3] = ["usage", "history", "limit"];

impl Assessor<'_> {
    pub(super) fn outlook(&self) -> Outlook {
        let forecast = self.capacity.known_forecast();
        let horizon = forecast.map_or(0, |forecast| forecast.horizon);
        let chance = |index: usize| {
            let crossing = self.capacity.crossing(2);
            let chance = crossing.and_then(|crossing| crossing.probabilities[index]);
            percent(chance).from_inputs(INPUTS)
        };
        Outlook {
            low_confidence: forecast.is_none_or(|it| it.confidence == Confidence::Low),
            horizon: Figure::exact(Decimal::from(horizon), Unit::Days),
            days_to_warning: self.days_to(0),
            days_to_critical: self.days_to(1),
            days_to_limit: self.days_to(2),
            chance_7: chance(0),
            chance_30: chance(1),
            chance_90: chance(2),
            period: self.period_outlook(),
        }
    }

    fn days_to(&self, line: usize) -> Figure {
        let figure = || {
            let [early, middle, late] = self.capacity.crossing(line)?.days;
            // Where the latest paths do not cross, the interval has no end.
            let [middle, early] = [middle?, early?].map(Decimal::from);
            let late = late.map(Decimal::from);
            Some(Figure::between(middle, early, late, Unit::Days))
        };
        // Without a forecast, a threshold that is reached is known.
        let limit = self.in_force;
        let from = [limit.warning_percent, limit.critical_percent, 100.0][line];
        let is_reached = self.capacity.percent().is_some_and(|used| used >= from);
        let reached = is_reached.then_some(Decimal::ZERO);
        let figure = figure().unwrap_or_else(|| Figure::new(reached, Unit::Days));
        figure.from_inputs(INPUTS)
    }

    fn period_outlook(&self) -> Option<PeriodOutlook> {
        let capacity = self.capacity;
        let total = capacity.known_forecast()?.periods.first()?;
        let window = capacity.period?;
        let [low, middle, high] = [total.total.p10, total.total.p50, total.total.p90].map(decimal);
        let overage = decimal(total.expected_overage(self.in_force.value))?;
        Some(PeriodOutlook {
            from: window.from,
            to: window.to,
            elapsed: percent(capacity.elapsed_percent.map(|it| it / 100.0)),
            total: Figure::between(middle?, low?, high?, self.unit).from_inputs(INPUTS),
            chance_over: percent(capacity.chance_over()).from_inputs(INPUTS),
            overage: Figure::exact(overage, self.unit).from_inputs(INPUTS),
        })
    }
}

/// A share from 0 to 1 in percent.
pub(super) fn percent(share: Option<f64>) -> Figure {
    let value = share.and_then(|share| decimal(share * 100.0));
    Figure::new(value.map(|value| value.round_dp(1)), Unit::Percent)
}
