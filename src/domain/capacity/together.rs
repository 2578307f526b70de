//! The readings that a limit is compared with: those of one series, or of all resources that share the limit.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::readings::{Readings, SeriesDays, without_rounding_errors};
use super::state::UnknownReason;
use super::{MissingDays, nearest_day};
use crate::domain::forecast::{DailyValue, DayNumber, Pace};
use crate::domain::metrics::names::{Measure, MetricKind};
use crate::domain::period::Window;

/// Without a value for so long, a resource no longer exists.
const DELETED: TimeDelta = TimeDelta::days(30);

/// Days of a period without a measurement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Missing {
    /// Those of the resource with the most.
    pub days: MissingDays,
    /// The usage if they hold as much as the others of this period.
    pub at_mean: f64,
    /// Number of days of all resources together that usually hold as much.
    pub whole_days: f64,
}

fn mean<'a>(days: impl ExactSizeIterator<Item = &'a DailyValue>) -> f64 {
    let count = days.len().max(1) as f64;
    days.map(|(_, amount)| amount).sum::<f64>() / count
}

pub(super) struct Together<'a> {
    measure: Measure,
    period: Option<Window>,
    /// Those that are added up; of each, why it says nothing about the present, if so.
    parts: Vec<(Readings<'a>, Option<UnknownReason>)>,
    /// Why one of the resources says nothing about the present, if so.
    pub(super) unread: Option<UnknownReason>,
    /// Of several resources, which one.
    pub(super) unread_resource: Option<String>,
    /// Whether the usage is that of a part of the time, or of the resources.
    pub(super) is_partial: bool,
}

impl<'a> Together<'a> {
    /// A resource whose newest level is old does not count, unless all are old. An amount only grows within its period.
    /// A resource without a value for a month is taken for deleted, if others are measured.
    pub(super) fn new(
        series: &[&'a SeriesDays],
        measure: Measure,
        period: Option<Window>,
        now: DateTime<Utc>,
        stale_after: Option<TimeDelta>,
    ) -> Together<'a> {
        let parts = series.iter().map(|it| {
            let readings = Readings::new(it, now);
            let unread = readings.unknown(period, now, stale_after);
            (readings, unread)
        });
        let mut parts: Vec<_> = parts.collect();
        let is_deleted = |(readings, _): &(Readings<'_>, _)| {
            readings
                .newest()
                .is_none_or(|day| now - day.last_at > DELETED)
        };
        if !parts.iter().all(is_deleted) {
            parts.retain(|part| !is_deleted(part));
        }
        let all_unread = parts.iter().filter(|(_, unread)| unread.is_some());
        let oldest = all_unread.min_by_key(|(it, _)| it.newest().map(|day| day.last_at));
        let unread = oldest.and_then(|(_, unread)| unread.clone());
        let newest = oldest.and_then(|(readings, _)| readings.newest());
        let resource = newest.map(|day| day.series.resource.clone());
        let unread_resource = resource.filter(|_| parts.len() > 1);
        let counts = |(_, unread): &(Readings<'_>, Option<UnknownReason>)| match unread {
            Some(UnknownReason::Old(_) | UnknownReason::EarlierPeriod) => {
                measure == Measure::Amount
            }
            unread => unread.is_none(),
        };
        let any_counts = parts.iter().any(counts);
        if any_counts {
            parts.retain(counts);
        }
        Together {
            is_partial: unread.is_some() && any_counts,
            measure,
            period,
            parts,
            unread,
            unread_resource,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Readings<'a>> {
        self.parts.iter().map(|(readings, _)| readings)
    }

    pub(super) fn usage(&self) -> Option<f64> {
        // Usage of an earlier period says nothing about this one.
        let of_now = self.parts.iter();
        let of_now = of_now.filter(|(_, why)| *why != Some(UnknownReason::EarlierPeriod));
        let usages = of_now.filter_map(|(it, _)| it.usage(self.measure, self.period));
        usages.reduce(|a, b| without_rounding_errors(a + b))
    }

    /// The time of the longest history.
    pub(super) fn span(&self) -> Option<TimeDelta> {
        self.all().filter_map(Readings::span).max()
    }

    /// The highest level of the last day, at most.
    pub(super) fn peak(&self) -> Option<f64> {
        let peaks = self.all().filter_map(|it| it.peak(self.measure));
        peaks.reduce(|a, b| without_rounding_errors(a + b))
    }

    /// The time of the oldest of the newest values.
    pub(super) fn measured_at(&self) -> Option<DateTime<Utc>> {
        let newest = self.all().filter_map(|it| it.newest());
        newest.map(|day| day.last_at).min()
    }

    /// The missing days, if any, each of its own resource.
    pub(super) fn missing(&self) -> Option<Missing> {
        let from = nearest_day(self.period?.from);
        let began = self.all().filter_map(Readings::first_day).min();
        let newest = self.read_to()?.0;
        let mut longest: Option<MissingDays> = None;
        let (mut at_mean, mut usual, mut lacking) = (0.0, 0.0, 0.0);
        for (it, unread) in &self.parts {
            // Before its first value a resource is not missing, if others are measured: it did not exist.
            let own = it.first_day().filter(|first| Some(*first) != began);
            let first = own.map_or(from, |first| first.max(from));
            let days = it.missing_days(first, unread.as_ref().map(|_| newest));
            let MissingDays { missing, of } = days.unwrap_or(MissingDays { missing: 0, of: 1 });
            let known = f64::from(of.saturating_sub(missing).max(1));
            let used = match unread {
                Some(UnknownReason::EarlierPeriod) => 0.0,
                _ => it.usage(self.measure, self.period).unwrap_or(0.0),
            };
            at_mean += used * f64::from(of) / known;
            let mean = mean(it.daily(self.measure, MetricKind::Period).iter());
            usual += mean;
            lacking += mean * f64::from(missing);
            longest = [longest, days]
                .into_iter()
                .flatten()
                .max_by_key(|days| days.missing);
        }
        let days = longest?;
        let whole_days = if usual > 0.0 {
            lacking / usual
        } else {
            f64::from(days.missing)
        };
        Some(Missing {
            days,
            at_mean,
            whole_days,
        })
    }

    pub(super) fn read_to(&self) -> Option<(DayNumber, f64)> {
        let read_to = self.all().filter_map(Readings::read_to);
        read_to.reduce(|a, b| if b > a { b } else { a })
    }

    pub(super) fn pace(&self, usage: Option<f64>) -> Option<Pace> {
        let pace = |it: &Readings<'_>| {
            let own = it
                .usage(self.measure, self.period)
                .filter(|_| usage.is_some());
            it.pace(self.measure, self.period, own)
        };
        let add = |a: Pace, b: Pace| Pace {
            per_day: a.per_day + b.per_day,
            level: usage.unwrap_or(a.level + b.level),
            span: a.span.min(b.span),
        };
        self.all().filter_map(pace).reduce(add)
    }

    /// The amounts of later days that are known already.
    pub(super) fn ahead(&self) -> Vec<(DayNumber, f64)> {
        let mut ahead: BTreeMap<DayNumber, f64> = BTreeMap::new();
        for (day, amount) in self.all().flat_map(|it| &it.ahead) {
            *ahead.entry(*day).or_default() += amount;
        }
        ahead.into_iter().collect()
    }

    /// The values that forecasts are made from. A level stays until the next one; a day without an amount of one of
    /// the resources has its mean, also if it is silent since. The newest days are missing until all current ones
    /// have theirs.
    pub(super) fn daily(&self, kind: MetricKind) -> Vec<(DayNumber, f64)> {
        if let [(only, _)] = self.parts.as_slice() {
            return only.daily(self.measure, kind);
        }
        let parts = self.parts.iter().map(|(it, unread)| {
            let days = it.daily(self.measure, kind);
            let mean = mean(days.iter());
            let days: BTreeMap<DayNumber, f64> = days.into_iter().collect();
            (days, mean, unread.is_none())
        });
        let parts: Vec<_> = parts.filter(|(days, ..)| !days.is_empty()).collect();
        let is_amount = kind == MetricKind::Period;
        let current = parts
            .iter()
            .filter(|(.., is_current)| is_amount && *is_current);
        let end = current
            .filter_map(|(days, ..)| days.keys().next_back())
            .min();
        let value =
            |(days, mean, _): &(BTreeMap<DayNumber, f64>, f64, bool), day: DayNumber| match days
                .range(..=day)
                .next_back()
            {
                Some((last, value)) if *last == day || !is_amount => *value,
                Some(_) => *mean,
                None => 0.0,
            };
        let all = parts.iter().flat_map(|(days, ..)| days.keys().copied());
        let all: BTreeSet<DayNumber> = all.filter(|day| end.is_none_or(|end| day <= end)).collect();
        let sum = |day| parts.iter().map(|part| value(part, day)).sum::<f64>();
        all.into_iter().map(|day| (day, sum(day))).collect()
    }
}
