//! How much of each limit is used, and when it will be reached: the one calculation behind every command.
//!
//! A [`Capacity`] is a series of measurements beside a limit. Its usage, state, billing period, missing days and
//! forecast derive from the same days (`readings.rs`), so that no two commands can disagree.

pub mod readings;
pub mod state;
mod together;

use std::collections::BTreeSet;
use std::sync::OnceLock;

use chrono::{DateTime, NaiveDate, TimeDelta, Timelike, Utc};

use self::readings::SeriesDays;
use self::state::{LimitState, UnknownReason};
use self::together::Together;
use super::forecast::{
    self, Crossing, DailySeries, DayNumber, Fixed, Forecast, ForecastRequest, InsufficientData,
    day_number,
};
use super::format::counted;
use super::metrics::day::MetricDay;
use super::metrics::names::{Measure, Metric, MetricKind};
use super::metrics::point::Series;
use super::period::Window;
use super::plans::{Billing, LimitInForce, LimitPeriod, Origin, default_kind};

/// Days of history that are used.
pub const HISTORY_DAYS: i64 = 180;

/// Days that are simulated: the rest of a billing month and three whole ones.
pub const DAYS_AHEAD: usize = 125;

/// Days of a billing period without a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, thiserror::Error)]
#[error("{missing} of {of} days missing")]
pub struct MissingDays {
    pub missing: u32,
    /// Number of days of the period up to the newest measurement.
    pub of: u32,
}

/// A series of measurements, and a limit of it if there is one.
#[derive(Clone, Debug)]
pub struct Capacity {
    pub series: Series,
    /// Number of resources whose sum it is: those that share the limit of an account.
    pub resources: usize,
    pub limit: Option<LimitInForce>,
    pub kind: MetricKind,
    pub measure: Measure,
    /// The current period of an amount.
    pub period: Option<Window>,
    /// The part of the period that has passed, in percent.
    pub elapsed_percent: Option<f64>,
    /// The usage; `None` if it is unknown. With missing days it is at least this.
    pub usage: Option<f64>,
    /// The highest usage of the last 24 hours; of an amount, the usage.
    pub peak: Option<f64>,
    pub measured_at: Option<DateTime<Utc>>,
    /// From the first to the newest reading.
    pub measured: Option<TimeDelta>,
    pub missing: Option<MissingDays>,
    pub state: LimitState,
    /// Why the state is unknown, or the usage only a lower bound.
    pub reason: Option<UnknownReason>,
    /// Of a sum, the resource without a current value.
    pub unread_resource: Option<String>,
    is_partial: bool,
    /// The daily values that forecasts are made from.
    pub daily: DailySeries,
    request: ForecastRequest,
    forecast: OnceLock<Result<Forecast, InsufficientData>>,
}

/// The capacity of every limit, and of every series without a limit, in the order of services and metrics. A limit of the
/// account has one for all series of its metric together, another limit one for each; without measurements, one without a
/// resource.
pub fn capacities(
    limits: &[LimitInForce],
    series: Vec<SeriesDays>,
    now: DateTime<Utc>,
    stale_after: Option<TimeDelta>,
) -> Vec<Capacity> {
    let by_day = series.into_iter().map(|it| it.with_amounts_by_day(now));
    let series: Vec<SeriesDays> = by_day.collect();
    let derived: Vec<SeriesDays> = readings::monthly_commands(&series).collect();
    let series: Vec<&SeriesDays> = series.iter().chain(&derived).collect();
    let mut all = Vec::new();
    for limit in limits {
        let meter = (limit.service, limit.metric);
        let of_meter = series.iter().copied().filter(|it| it.meter() == meter);
        let of_meter: Vec<&SeriesDays> = of_meter.collect();
        if of_meter.len() == 1 || !is_shared(limit) {
            let capacity = |it: &&SeriesDays| Capacity::new(it, Some(limit), now, stale_after);
            all.extend(of_meter.iter().map(capacity));
        }
        let unmeasured = unmeasured(limit, limits, &series);
        if of_meter.is_empty() && unmeasured.is_empty() || of_meter.len() > 1 && is_shared(limit) {
            let sum = Series::new(limit.service, limit.metric, "");
            all.push(Capacity::of(sum, &of_meter, Some(limit), now, stale_after));
        }
        all.extend(unmeasured.into_iter().map(|resource| {
            let none = Series::new(limit.service, limit.metric, resource);
            Capacity::of(none, &[], Some(limit), now, stale_after)
        }));
    }
    let limited: Vec<_> = limits.iter().map(|it| (it.service, it.metric)).collect();
    let others = series.iter().filter(|it| !limited.contains(&it.meter()));
    all.extend(others.map(|it| Capacity::new(it, None, now, stale_after)));
    all.sort_by_key(|it| (it.series.service, it.series.metric));
    all
}

/// The resources of a service with a series of another limit of the plan, and none of this one.
fn unmeasured<'a>(
    limit: &LimitInForce,
    limits: &[LimitInForce],
    series: &[&'a SeriesDays],
) -> BTreeSet<&'a str> {
    let is_pace = Measure::of(limit.metric, limit.kind) == Measure::Pace;
    let is_meter = is_pace || limit.metric == Metric::UsagePercent;
    if is_shared(limit) || is_meter || limit.origin == Origin::Budget {
        return BTreeSet::new();
    }
    let of_plan = |it: &&LimitInForce| (it.service, &it.plan) == (limit.service, &limit.plan);
    let metrics: Vec<Metric> = limits.iter().filter(of_plan).map(|it| it.metric).collect();
    let of_service = series.iter().map(|it| &it.series);
    let of_service = of_service.filter(|it| it.service == limit.service);
    let measured = of_service.filter(|it| metrics.contains(&it.metric));
    let (own, others): (Vec<&Series>, Vec<&Series>) =
        measured.partition(|it| it.metric == limit.metric);
    let own: BTreeSet<&str> = own.iter().map(|it| it.resource.as_str()).collect();
    // The resource of a series without a name is unknown.
    let is_named = |it: &&&Series| !it.resource.is_empty() && it.metric != Metric::UsagePercent;
    let others = others.iter().filter(is_named);
    let others = others.map(|it| it.resource.as_str());
    others
        .filter(|it| !own.contains(it) && !own.contains(""))
        .collect()
}

/// Whether usage of all resources counts together. The resources of a percentage are meters, and peaks of several
/// resources are not at one time.
fn is_shared(limit: &LimitInForce) -> bool {
    let measure = Measure::of(limit.metric, limit.kind);
    let adds_up = matches!(measure, Measure::Level | Measure::Amount);
    limit.is_of_account && adds_up && limit.metric != Metric::UsagePercent
}

/// The billing period that contains `now`, and those that follow it.
pub fn periods(
    billing: Billing,
    length: LimitPeriod,
    now: DateTime<Utc>,
    count: usize,
) -> Vec<Window> {
    let mut periods = vec![billing.period(length, now)];
    while periods.len() < count {
        let Some(last) = periods.last() else { break };
        let next = billing.period(length, last.to);
        // Periods end with the supported years.
        if next.to <= last.to {
            break;
        }
        periods.push(next);
    }
    periods
}

impl Capacity {
    pub fn new(
        series: &SeriesDays,
        limit: Option<&LimitInForce>,
        now: DateTime<Utc>,
        stale_after: Option<TimeDelta>,
    ) -> Capacity {
        Capacity::of(series.series.clone(), &[series], limit, now, stale_after)
    }

    /// The capacity of several resources together, under the name of `series`.
    fn of(
        series: Series,
        parts: &[&SeriesDays],
        limit: Option<&LimitInForce>,
        now: DateTime<Utc>,
        stale_after: Option<TimeDelta>,
    ) -> Capacity {
        let metric = series.metric;
        let (kind, length) =
            limit.map_or_else(|| default_kind(metric), |limit| (limit.kind, limit.period));
        let measure = Measure::of(metric, kind);
        let kind = match measure {
            // The paces of whole days follow each other as levels do.
            Measure::Pace => MetricKind::Gauge,
            Measure::Level | Measure::Peak | Measure::Amount => kind,
        };
        let length = length.unwrap_or(LimitPeriod::BillingMonth);
        let billing = limit.map(|limit| limit.billing).unwrap_or_default();
        let period = (measure == Measure::Amount).then(|| billing.period(length, now));
        let none = [SeriesDays::empty(series.clone())];
        let none: Vec<&SeriesDays> = none.iter().collect();
        let parts = if parts.is_empty() { &none[..] } else { parts };
        let readings = Together::new(parts, measure, period, now, stale_after);
        let (missing, usage) = (readings.missing(), readings.usage());
        let peak = usage.map(|usage| readings.peak().unwrap_or(usage));
        let daily = DailySeries::new(series.to_string(), kind, readings.daily(kind));
        let today = now.date_naive();
        let mut request = ForecastRequest {
            today: day_number(today),
            // Usage since the newest reading is not measured yet.
            read_to: readings.read_to(),
            days: DAYS_AHEAD,
            thresholds: limit.map_or(Vec::new(), thresholds),
            used: usage,
            missing: missing.map_or(0.0, |it| it.whole_days),
            periods: period.map_or(Vec::new(), |_| period_starts(billing, length, now)),
            pace: readings.pace(usage),
            fixed: Fixed::default(),
        };
        if measure == Measure::Amount {
            let (known, until) = (
                daily.usable(request.today),
                request.today + DAYS_AHEAD as i32,
            );
            let monthly =
                (metric == Metric::CostUsd).then(|| Fixed::monthly(&known, request.today, until));
            let fixed = monthly.unwrap_or_default();
            request.fixed = fixed.with_charges(&known, &readings.ahead());
        }
        let forecast = OnceLock::new();
        let estimate = || {
            let made = forecast.get_or_init(|| forecast::forecast(&daily, &request));
            made.as_ref().ok()?.used.map(|used| used.p90)
        };
        let is_partial = readings.is_partial;
        let unread = readings.unread.clone();
        let (state, reason) = state::of(
            limit,
            measure,
            usage,
            missing,
            (unread, is_partial),
            estimate,
        );
        Capacity {
            series,
            resources: parts.len(),
            limit: limit.cloned(),
            kind,
            measure,
            period,
            elapsed_percent: period.map(|period| elapsed_percent(period, now)),
            usage,
            peak,
            measured_at: readings.measured_at(),
            measured: readings.span(),
            missing: missing.map(|it| it.days),
            state,
            reason,
            unread_resource: readings.unread_resource.clone(),
            is_partial,
            daily,
            request,
            forecast,
        }
    }

    /// The highest usage of the last days, today included; of an amount, the usage.
    pub fn highest(&self, days: DayNumber) -> Option<f64> {
        let first = self.request.today - days + 1;
        let is_level = matches!(self.measure, Measure::Level | Measure::Peak);
        let recent = self.daily.days.iter().rev();
        let recent = recent.take_while(|(day, _)| is_level && *day >= first);
        Some(recent.map(|(_, level)| *level).fold(self.peak?, f64::max))
    }

    /// The name of the database, project or team; empty where the series has no name of its own.
    pub fn resource(&self) -> &str {
        &self.series.resource
    }

    pub fn resources_text(&self) -> String {
        resources_text(self.resource(), self.resources)
    }

    /// `, over 2 resources`, of a sum.
    pub fn span(&self) -> String {
        match self.resources {
            0 | 1 => String::new(),
            _ => format!(", over {}", self.resources_text()),
        }
    }

    /// The reason, with the resource that it is of.
    pub fn reason_text(&self) -> Option<String> {
        let reason = self.reason.as_ref()?;
        Some(match &self.unread_resource {
            Some(resource) if !resource.is_empty() => format!("{resource}: {reason}"),
            _ => reason.to_string(),
        })
    }

    pub fn limit_value(&self) -> Option<f64> {
        self.limit.as_ref().map(|limit| limit.value)
    }

    /// Whether the usage is a lower bound: the rest of it is not measured.
    pub fn is_at_least(&self) -> bool {
        let is_partial = match self.reason {
            Some(UnknownReason::Missing(_)) => true,
            Some(UnknownReason::Fault(_) | UnknownReason::TooLarge(_)) | None => false,
            Some(_) => self.is_partial,
        };
        is_partial && self.usage.is_some()
    }

    /// The days from the first to the newest reading.
    pub fn measured_days(&self) -> Option<f64> {
        Some(self.measured?.num_seconds() as f64 / 86_400.0)
    }

    /// The usage in percent of the limit, a lower bound as the usage is; `None` if nothing is known of it.
    pub fn percent(&self) -> Option<f64> {
        let percent = self.usage? / self.limit_value()? * 100.0;
        (self.is_assessable() && percent.is_finite()).then_some(percent)
    }

    /// Whether a recommendation may follow: from a known state, or from a forecast, which adds the days that are missing.
    pub fn is_assessable(&self) -> bool {
        !self.state.is_unknown() || matches!(self.reason, Some(UnknownReason::Missing(_)))
    }

    /// The crossings of warning, critical and limit, and the totals of periods. Rates are compared with their limit
    /// and not forecast.
    pub fn forecast(&self) -> Result<&Forecast, InsufficientData> {
        let made = || forecast::forecast(&self.daily, &self.request);
        let forecast = self.forecast.get_or_init(made).as_ref();
        forecast.map_err(|error| *error)
    }

    /// The forecast, where the metric is one that is forecast, has enough data, and is known at present.
    pub fn known_forecast(&self) -> Option<&Forecast> {
        (self.kind != MetricKind::Rate && self.is_assessable()).then(|| self.forecast().ok())?
    }

    /// The forecast crossing of the warning line (0), the critical line (1) or the limit (2).
    pub fn crossing(&self, line: usize) -> Option<&Crossing> {
        self.known_forecast()?.crossings.get(line)
    }

    /// The chance that the current period ends over the limit.
    pub fn chance_over(&self) -> Option<f64> {
        let period = self.known_forecast()?.periods.first()?;
        Some(period.chance_over(self.limit_value()?))
    }

    /// The usage between two days on each path: the sum of an amount, the highest level otherwise. Without a
    /// forecast, a level stays and an amount is unknown.
    pub fn uses(&self, from: DayNumber, to: DayNumber) -> Option<Vec<f64>> {
        let Some(forecast) = self.known_forecast() else {
            let level = self.usage.filter(|_| self.kind != MetricKind::Period);
            return level.map(|level| vec![level]);
        };
        Some(match self.kind {
            MetricKind::Period => forecast.paths.sums(from, to),
            MetricKind::Gauge | MetricKind::Rate => {
                let highest = |levels: &mut dyn Iterator<Item = f64>| levels.fold(0.0, f64::max);
                forecast.paths.fold(from, to, highest)
            }
        })
    }

    /// On each path, the hours between two days from which on the threshold is reached.
    pub fn hours_beyond(&self, threshold: f64, from: DayNumber, to: DayNumber) -> Option<Vec<f64>> {
        let hours = f64::from(to - from) * 24.0;
        let Some(forecast) = self.known_forecast() else {
            let level = self.usage.filter(|_| self.kind != MetricKind::Period);
            return level.map(|level| vec![if level >= threshold { hours } else { 0.0 }]);
        };
        let counts = self.kind == MetricKind::Period;
        Some(forecast.paths.fold(from, to, |levels| {
            let mut sum = 0.0;
            let mut reached = levels.enumerate().filter_map(|(index, value)| {
                sum = if counts { sum + value } else { value };
                (sum >= threshold).then_some(index)
            });
            let first = reached.next();
            first.map_or(0.0, |index| (hours - index as f64 * 24.0).max(0.0))
        }))
    }
}

/// A resource, or of a sum, the number of resources.
pub fn resources_text(resource: &str, count: usize) -> String {
    match count {
        0 | 1 => resource.to_owned(),
        count => counted(count as u64, "resource"),
    }
}

fn elapsed_percent(period: Window, now: DateTime<Utc>) -> f64 {
    let all = (period.to - period.from).num_milliseconds() as f64;
    (now - period.from).num_milliseconds() as f64 / all * 100.0
}

/// The warning line, the critical line and the limit; none of an invalid limit.
fn thresholds(limit: &LimitInForce) -> Vec<f64> {
    if limit.fault.is_some() {
        return Vec::new();
    }
    let percents = [limit.warning_percent, limit.critical_percent, 100.0];
    let thresholds = percents.map(|percent| limit.value * percent / 100.0);
    thresholds.to_vec()
}

/// The first days of the current period and of those that begin within the simulated days.
fn period_starts(billing: Billing, length: LimitPeriod, now: DateTime<Utc>) -> Vec<DayNumber> {
    let count = match length {
        LimitPeriod::Day => DAYS_AHEAD + 3,
        LimitPeriod::Month | LimitPeriod::BillingMonth => 6,
    };
    let windows = periods(billing, length, now, count).into_iter();
    windows.map(|window| nearest_day(window.from)).collect()
}

/// The UTC day whose start is nearest to `at`: periods in other time zones start within a UTC day.
pub(crate) fn nearest_day(at: DateTime<Utc>) -> DayNumber {
    day_number(at.date_naive()) + DayNumber::from(at.hour() >= 12)
}

/// The UTC days whose points are needed beside the daily summaries: those that a period or the last 24 hours begin
/// within, and those with points of the future.
pub fn partial_days(
    days: &[MetricDay],
    limits: &[LimitInForce],
    now: DateTime<Utc>,
) -> Vec<NaiveDate> {
    let Some(last) = days.iter().rev().find(|day| day.day <= now.date_naive()) else {
        return Vec::new();
    };
    let metric = last.series.metric;
    let (default, _) = default_kind(metric);
    let mut needed: Vec<NaiveDate> = Vec::new();
    let mut need = |measure, starts: Option<DateTime<Utc>>| match measure {
        Measure::Level | Measure::Peak | Measure::Pace => {
            needed.push((last.last_at - readings::PEAK).date_naive());
        }
        Measure::Amount => needed.extend(starts.map(|start| start.date_naive())),
    };
    need(Measure::of(metric, default), None);
    let meter = (last.series.service, metric);
    for limit in limits.iter().filter(|it| (it.service, it.metric) == meter) {
        let length = limit.period.unwrap_or(LimitPeriod::BillingMonth);
        let start = limit.billing.period(length, now).from;
        let within = start.num_seconds_from_midnight() > 0;
        need(Measure::of(metric, limit.kind), within.then_some(start));
    }
    let is_future = |day: &&MetricDay| day.last_at > now && day.day <= now.date_naive();
    needed.extend(days.iter().filter(is_future).map(|day| day.day));
    needed.retain(|day| days.iter().any(|it| it.day == *day));
    needed.sort_unstable();
    needed.dedup();
    needed
}

#[cfg(test)]
mod tests;
