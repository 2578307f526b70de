//! Test data: a key-value store on its free plan.

use std::sync::OnceLock;

use chrono::{DateTime, TimeDelta, Utc};

use super::assess::{Assessment, Evidence, assess};
use super::facts::Facts;
use super::inputs::Business;
use super::reconcile::reconcile;
use super::snapshot::Assessed;
use super::{Recommendation, Topic};
use crate::domain::capacity;
use crate::domain::capacity::Capacity;
use crate::domain::capacity::readings::SeriesDays;
use crate::domain::metrics::day::MetricDay;
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::{Point, Reading, Series};
use crate::domain::plans::catalogue::Catalogue;
use crate::domain::plans::{Citation, LimitInForce, Origin};

pub(crate) fn now() -> DateTime<Utc> {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

pub(crate) fn topic() -> Topic {
    Topic {
        provider: "upstash".to_owned(),
        resource: String::new(),
        plan: "free".to_owned(),
        budget: None,
    }
}

pub(crate) fn limit() -> LimitInForce {
    LimitInForce {
        origin: Origin::Catalogue,
        citation: Citation {
            source: Some("https://example.com/prices".to_owned()),
            catalogue_version: Some("2026.11.21".to_owned()),
            ..Citation::default()
        },
        provider: Some("upstash".to_owned()),
        ..LimitInForce::sample()
    }
}

/// One value a day, the last one five minutes before `now`.
fn days(metric: Metric, reading: Reading, values: &[f64], now: DateTime<Utc>) -> Vec<MetricDay> {
    let last = now - TimeDelta::minutes(5);
    let series = Series::new(Service::VercelKv, metric, "");
    let day = |(index, value): (usize, &f64)| {
        let point = Point {
            at: last - TimeDelta::days((values.len() - 1 - index) as i64),
            value: *value,
            reading,
            period_start: None,
        };
        MetricDay::from_points(&series, vec![point], None)
    };
    values.iter().enumerate().filter_map(day).collect()
}

/// The assessment of a store with these daily sizes, and with this number of commands a day if measured.
pub(crate) fn assessed_with(
    limit: &LimitInForce,
    levels: &[f64],
    commands: Option<f64>,
    business: Business,
    now: DateTime<Utc>,
) -> Assessment {
    let storage = days(Metric::StorageMb, Reading::Level, levels, now);
    let amounts = |metric, amount| days(metric, Reading::Amount, &[amount; 40], now);
    let commands = commands.map(|commands| amounts(Metric::CommandsPerDay, commands));
    let transfer = amounts(Metric::BandwidthGb, 0.01);
    let series = [storage, transfer].into_iter().chain(commands);
    let series = series.filter_map(|days| SeriesDays::of_days(&days));
    let series: Vec<SeriesDays> = series.collect();
    let all = capacity::capacities(std::slice::from_ref(limit), series, now, None);
    let billed: Vec<&Capacity> = all.iter().collect();
    let limited = all.iter().filter(|it| it.limit.is_some());
    let limited: Vec<&Capacity> = limited.collect();
    assess(Evidence {
        limited: &limited,
        billed: &billed,
        catalogue: &Catalogue::embedded().unwrap(),
        seats: None,
        business,
        now,
    })
}

/// The assessment of a store with these daily sizes and 6,000 commands a day.
pub(crate) fn assessed(
    limit: &LimitInForce,
    levels: &[f64],
    business: Business,
    now: DateTime<Utc>,
) -> Assessment {
    assessed_with(limit, levels, Some(6_000.0), business, now)
}

/// The sizes of a store that began with `first` MB and grew by `daily` a day for 60 days, a little more every
/// other day.
pub(crate) fn growing(first: f64, daily: f64) -> Vec<f64> {
    let level = |day: u32| first + daily * f64::from(day) + daily * 0.3 * f64::from(day % 2);
    (0..60).map(level).collect()
}

/// The facts of a store that is full in about three weeks; computed once, as forecasts are slow without
/// optimisation.
pub(crate) fn facts() -> Facts {
    static FACTS: OnceLock<Facts> = OnceLock::new();
    let made = || match assessed(&limit(), &growing(145.0, 1.4), Business::default(), now()) {
        Assessment::Recommend(facts) => *facts,
        other => panic!("{other:?}"),
    };
    FACTS.get_or_init(made).clone()
}

/// The new recommendation for these facts.
pub(crate) fn recommendation() -> Recommendation {
    let assessed = Assessed {
        topic: topic(),
        assessment: Assessment::Recommend(Box::new(facts())),
    };
    reconcile(&assessed, &[], now()).remove(0).after
}
