//! The simulated usage of every meter in each of the next billing periods.

use crate::domain::capacity::Capacity;
use crate::domain::forecast::day_number;
use crate::domain::metrics::names::{Measure, Metric};
use crate::domain::period::Window;
use crate::domain::recommendation::cost::{Case, decimal};

/// For each period, one case per path of the forecasts. A series without a forecast is the same on all paths; a
/// series of unknown usage is left out. A pace is derived from the usage of another meter.
pub(super) fn cases(billed: &[&Capacity], periods: &[Window]) -> Vec<Vec<Case>> {
    let paths = |it: &&Capacity| {
        let forecast = it.known_forecast();
        forecast.map_or(1, |forecast| forecast.paths.iter().len())
    };
    let paths = billed.iter().map(paths).max().unwrap_or(1);
    let period = |window: &Window| {
        let mut cases = vec![Case::new(); paths];
        let [from, to] = [window.from, window.to].map(|at| day_number(at.date_naive()));
        for capacity in billed.iter().filter(|it| it.measure != Measure::Pace) {
            let meter = (capacity.series.service, capacity.series.metric);
            let uses = capacity.uses(from, to).unwrap_or_default();
            for (case, used) in cases.iter_mut().zip(uses.iter().cycle()) {
                let Some(used) = decimal(*used) else { continue };
                let all = case.entry(meter).or_default();
                *all = match meter.1 {
                    // Each resource is a meter with an allowance of its own.
                    Metric::UsagePercent => used.max(*all),
                    // A plan of all resources together holds the sum of them.
                    _ => *all + used,
                };
            }
        }
        cases
    };
    periods.iter().map(period).collect()
}
