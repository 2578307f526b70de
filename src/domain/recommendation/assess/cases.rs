//! The simulated usage of every meter in each of the next billing periods.

use rust_decimal::Decimal;

use crate::domain::capacity::Capacity;
use crate::domain::forecast::{DayNumber, day_number};
use crate::domain::metrics::names::{Measure, Metric, MetricKind};
use crate::domain::metrics::point::LARGEST;
use crate::domain::period::Window;
use crate::domain::plans::catalogue::{Limited, Plan};
use crate::domain::recommendation::cost::{Case, Meter, decimal};

/// For each period, one case per path of the forecasts. A series without a forecast is the same on all paths; a
/// series of unknown usage is left out, also one whose measurements ended. A pace is derived from the usage of another
/// meter.
///
/// `plan` is the plan in use; a percentage of an included amount is a measurement of its meter.
pub(super) fn cases(
    billed: &[&Capacity],
    periods: &[Window],
    plan: Option<&Plan>,
) -> Vec<Vec<Case>> {
    let paths = |it: &&Capacity| {
        let forecast = it.known_forecast();
        forecast.map_or(1, |forecast| forecast.paths.iter().len())
    };
    let paths = billed.iter().map(paths).max().unwrap_or(1);
    let period = |(index, window): (usize, &Window)| {
        let mut cases = vec![Case::new(); paths];
        let [from, to] = [window.from, window.to].map(|at| day_number(at.date_naive()));
        let known = billed.iter();
        for capacity in known.filter(|it| it.measure != Measure::Pace && it.is_assessable()) {
            let (service, metric) = (capacity.series.service, capacity.series.metric);
            let share = plan.and_then(|plan| included(capacity, plan));
            let mut uses = uses(capacity, from, to).unwrap_or_default();
            // The new plan must hold the present level, even if the level falls.
            if let (0, Measure::Level, Some(level)) = (index, capacity.measure, capacity.usage) {
                uses.iter_mut().for_each(|it| *it = it.max(level));
            }
            for (case, used) in cases.iter_mut().zip(uses.iter().cycle()) {
                // A path may lead beyond any measurement.
                let Some(used) = decimal(used.min(LARGEST)) else {
                    continue;
                };
                let all = case.entry(Meter::Application(service, metric)).or_default();
                *all = match metric {
                    // Each resource is a meter with an allowance of its own.
                    Metric::UsagePercent => used.max(*all),
                    // A plan of all resources together holds the sum of them.
                    _ => all.saturating_add(used),
                };
                if let Some((meter, included)) = &share {
                    let used = used.saturating_mul(*included) / Decimal::ONE_HUNDRED;
                    let all = case.entry(meter.clone()).or_default();
                    *all = all.saturating_add(used);
                }
            }
        }
        cases
    };
    periods.iter().enumerate().map(period).collect()
}

/// The usage between two days on each path, of which the forecast is used within its horizon only: beyond it a level
/// stays, and an amount continues at the daily rate of the last four weeks before.
fn uses(capacity: &Capacity, from: DayNumber, to: DayNumber) -> Option<Vec<f64>> {
    const RATE_DAYS: DayNumber = 28;
    let Some(forecast) = capacity.known_forecast() else {
        return capacity.uses(from, to);
    };
    let paths = &forecast.paths;
    let end = paths.first + DayNumber::try_from(forecast.horizon).ok()?;
    if capacity.kind != MetricKind::Period {
        return capacity.uses(from.min(end - 1), to.min(end));
    }
    // The first day may have begun before the forecast.
    let whole = paths.first + DayNumber::from(forecast.basis.under_way);
    let known_to = to.min(end).max(whole + 1);
    let known_from = from.min(known_to - RATE_DAYS).max(whole);
    let scale = f64::from(to - from) / f64::from(known_to - known_from);
    let sums = paths.sums(known_from, known_to).into_iter();
    Some(sums.map(|sum| sum * scale).collect())
}

/// The meter that a percentage is of, and how much of it the plan includes.
pub(super) fn included(capacity: &Capacity, plan: &Plan) -> Option<(Meter, Decimal)> {
    let series = &capacity.series;
    // Within a resource: `main/Compute`.
    let name = series.resource.rsplit('/').next();
    let is_it = |limited: &Limited| match limited {
        Limited::Vendor {
            service, name: own, ..
        } => *service == Some(series.service) && name == Some(own),
        Limited::Application(..) => false,
    };
    let limit = plan.limits_in_use().find(|limit| is_it(&limit.limited))?;
    let included = limit.included.amount().filter(|amount| !amount.is_zero())?;
    (series.metric == Metric::UsagePercent).then(|| (limit.limited.clone(), included))
}
