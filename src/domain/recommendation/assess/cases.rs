//! The simulated usage of every meter in each of the next billing periods.

use crate::domain::capacity::trend::Trend;
use crate::domain::forecast::day_number;
use crate::domain::metrics::names::{Metric, MetricKind};
use crate::domain::period::Window;
use crate::domain::recommendation::cost::{Case, decimal};

/// For each period, one case per path of the forecasts. A series without a forecast is the same on all paths; a
/// series of unknown usage is left out.
pub(super) fn cases(trends: &[&Trend], periods: &[Window]) -> Vec<Vec<Case>> {
    let paths = |trend: &&Trend| {
        let forecast = trend.forecast.as_ref();
        forecast.map_or(1, |forecast| forecast.paths.iter().len())
    };
    let paths = trends.iter().map(paths).max().unwrap_or(1);
    let period = |window: &Window| {
        let mut cases = vec![Case::new(); paths];
        let [from, to] = [window.from, window.to].map(|at| day_number(at.date_naive()));
        for trend in trends {
            let uses = trend.uses(from, to).unwrap_or_default();
            for (case, used) in cases.iter_mut().zip(uses.iter().cycle()) {
                let Some(used) = decimal(*used) else { continue };
                // Plans count commands by the month, and the application by the day.
                let by_day =
                    trend.meter.1 == Metric::CommandsPerDay && trend.kind == MetricKind::Period;
                if by_day {
                    let by_month = (trend.meter.0, Metric::RequestCount);
                    case.entry(by_month).or_insert(used);
                } else {
                    case.insert(trend.meter, used);
                }
            }
        }
        cases
    };
    periods.iter().map(period).collect()
}
