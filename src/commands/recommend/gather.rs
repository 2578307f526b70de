//! What is known at this moment, gathered: every limit in force with where its metric is trend.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::capacity::trend::{Trend, TrendRequest};
use crate::domain::metrics::day::MetricDay;
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::Series;
use crate::domain::plans::catalogue::{Catalogue, usual_kind};
use crate::domain::plans::{LimitInForce, selection};
use crate::domain::recommendation::assess::{Assessment, Subject, assess};
use crate::domain::recommendation::inputs::{Business, Given};
use crate::domain::recommendation::reconcile::Topic;
use crate::error::Result;
use crate::store::db::Db;
use crate::store::metrics::days;
use crate::store::plans::{catalogues, limits, selections};
use crate::store::recommendation::inputs;

/// Days before these say little about those to come, and forecasts use fewer.
const HISTORY: TimeDelta = TimeDelta::days(400);

/// Everything that recommendations are made from.
pub(super) struct Gathered {
    /// The limits that hold.
    pub limits: Vec<LimitInForce>,
    /// What was given by the user.
    pub given: Vec<Given>,
    catalogue: Catalogue,
    choices: Vec<selection::PlanChoice>,
    days: BTreeMap<Series, Vec<MetricDay>>,
    /// Where every series is trend, as it is billed.
    trends: BTreeMap<Series, Trend>,
    now: DateTime<Utc>,
}

/// A limit, one series of its metric, and what is to be said of them.
pub(super) struct Judged {
    /// Which.
    pub topic: Topic,
    /// What is to be said.
    pub assessment: Assessment,
}

/// Reads it all. The days must have been brought up to date before.
pub(super) fn gather(db: &mut Db, now: DateTime<Utc>) -> Result<Gathered> {
    let today = now.date_naive();
    let from = today.checked_sub_signed(HISTORY).unwrap_or(today);
    let mut days: BTreeMap<Series, Vec<MetricDay>> = BTreeMap::new();
    for day in days::days(db, None, None, from, today)? {
        days.entry(day.series.clone()).or_default().push(day);
    }
    let mut gathered = Gathered {
        limits: limits::limits_in_force(db, now)?,
        given: inputs::all(db)?,
        catalogue: catalogues::active(db)?,
        choices: selections::all(db)?,
        days,
        trends: BTreeMap::new(),
        now,
    };
    gathered.trends = gathered
        .days
        .iter()
        .filter_map(|(series, days)| {
            let (kind, period) = usual_kind(series.metric);
            let provider = gathered.catalogue.provider_of(series.service);
            let choice = provider.and_then(|it| selection::current(&gathered.choices, it, now));
            let request = TrendRequest {
                kind,
                period,
                billing: choice.map(|choice| choice.billing).unwrap_or_default(),
                thresholds: &[],
                now,
            };
            Some((series.clone(), Trend::of(days, request)?))
        })
        .collect();
    Ok(gathered)
}

impl Gathered {
    /// Judges every limit, in the order of services and metrics.
    pub(super) fn judge(&self) -> Vec<Judged> {
        let limits = self.limits.iter();
        limits.flat_map(|limit| self.judge_limit(limit)).collect()
    }

    /// The newest measurement of a series.
    pub(super) fn newest(
        &self,
        service: Service,
        metric: Metric,
        resource: &str,
    ) -> Option<(DateTime<Utc>, f64)> {
        let series = Series {
            service,
            metric,
            resource: resource.to_owned(),
        };
        let trend = self.trends.get(&series)?;
        Some((trend.measured_at, trend.usage))
    }

    fn judge_limit(&self, limit: &LimitInForce) -> Vec<Judged> {
        let of_metric =
            |series: &&Series| series.service == limit.service && series.metric == limit.metric;
        let topic = |resource: &str| Topic {
            service: limit.service,
            metric: limit.metric,
            resource: resource.to_owned(),
            plan: limit.plan.clone(),
        };
        let thresholds = [limit.warning_percent, limit.critical_percent, 100.0]
            .map(|percent| limit.value * percent / 100.0);
        let request = TrendRequest {
            kind: limit.kind,
            period: limit.period,
            billing: limit.billing,
            thresholds: &thresholds,
            now: self.now,
        };
        let judged: Vec<Judged> = self
            .days
            .keys()
            .filter(of_metric)
            .filter_map(|series| {
                let trend = Trend::of(self.days.get(series)?, request)?;
                Some(Judged {
                    topic: topic(&series.resource),
                    assessment: self.judge_series(limit, series, &trend),
                })
            })
            .collect();
        if !judged.is_empty() {
            return judged;
        }
        vec![Judged {
            topic: topic(""),
            assessment: Assessment::Unknown("nothing was measured".to_owned()),
        }]
    }

    fn judge_series(&self, limit: &LimitInForce, series: &Series, trend: &Trend) -> Assessment {
        let provider = limit.provider.as_deref();
        // What the same provider bills: of this database or project, and what there is only one of.
        let billed_together = |other: &&Series| {
            let alone = || {
                let same = |it: &&Series| (it.service, it.metric) == (other.service, other.metric);
                self.trends.keys().filter(same).count() == 1
            };
            self.catalogue.provider_of(other.service) == provider
                && (other.resource == series.resource || alone())
        };
        let together = self
            .trends
            .iter()
            .filter(|(other, _)| billed_together(other));
        let trends: Vec<&Trend> = together.map(|(_, trend)| trend).collect();
        let choice = provider.and_then(|it| selection::current(&self.choices, it, self.now));
        assess(Subject {
            limit,
            resource: &series.resource,
            trend,
            trends: &trends,
            catalogue: &self.catalogue,
            seats: choice.and_then(|choice| choice.seats),
            business: Business::of(&self.given, limit.service),
            now: self.now,
        })
    }
}
