//! The measurements that capacities are made from: days, and the points of the days that begin or end within.

use chrono::{DateTime, TimeDelta, Utc};

use super::{days, points};
use crate::domain::capacity::readings::SeriesDays;
use crate::domain::capacity::{self, Capacity, DAYS_AHEAD, HISTORY_DAYS};
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::plans::LimitInForce;
use crate::error::Result;
use crate::store::prelude::*;

/// The series of all metrics, or of one service or metric, as of `now`. Only reads.
fn series(
    db: &mut Db,
    (service, metric): (Option<Service>, Option<Metric>),
    limits: &[LimitInForce],
    now: DateTime<Utc>,
) -> Result<Vec<SeriesDays>> {
    let today = now.date_naive();
    let from = today - TimeDelta::days(HISTORY_DAYS);
    // The charges of a month are known ahead, and a clock that is ahead may have written the first minutes of tomorrow.
    let to = today + TimeDelta::days(DAYS_AHEAD as i64);
    let all = days::current_days(db, service, metric, from, to)?;
    let mut found = Vec::new();
    for days in all.chunk_by(|a, b| a.series == b.series) {
        let Some(mut series) = SeriesDays::of_days(days) else {
            continue;
        };
        for day in capacity::partial_days(days, limits, now) {
            let (service, metric) = (series.series.service, series.series.metric);
            let of_day = points::points(db, service, metric, day, day)?.into_iter();
            let of_series = of_day.filter(|(of, _)| *of == series.series);
            series.points.extend(of_series.map(|(_, point)| point));
        }
        series.points.sort_by_key(|point| point.at);
        found.push(series);
    }
    Ok(found)
}

/// The capacities of all metrics, or of one service or metric.
pub fn capacities(
    db: &mut Db,
    of: (Option<Service>, Option<Metric>),
    limits: &[LimitInForce],
    now: DateTime<Utc>,
    stale_after: Option<TimeDelta>,
) -> Result<Vec<Capacity>> {
    let (service, metric) = of;
    // One of the two may be derived from the other.
    let wanted = metric.filter(|it| !matches!(it, Metric::RequestCount | Metric::CommandsPerDay));
    let series = series(db, (service, wanted), limits, now)?;
    let mut all = capacity::capacities(limits, series, now, stale_after);
    all.retain(|it| metric.is_none_or(|metric| it.series.metric == metric));
    Ok(all)
}
