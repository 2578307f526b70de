//! The days of a series, as far as they were measured at a moment, and the usage that follows from them.

use chrono::{DateTime, NaiveDate, TimeDelta, Timelike, Utc};

use super::MissingDays;
use super::state::UnknownReason;
use crate::domain::forecast::{DailyValue, DayNumber, Pace, day_number};
use crate::domain::metrics::day::MetricDay;
use crate::domain::metrics::names::{Measure, Metric, MetricKind, Service};
use crate::domain::metrics::point::{Point, Reading, Series, midnight};
use crate::domain::period::Window;

/// The shortest time that a value counts, so that a late run raises no alarm.
const SHORTEST: TimeDelta = TimeDelta::hours(1);

/// How long a value counts where the interval between values is unknown.
const DEFAULT: TimeDelta = TimeDelta::hours(24);

/// The number of expected values that may be missing.
const MISSED: i32 = 3;

/// A peak is the highest value of this time.
pub(super) const PEAK: TimeDelta = TimeDelta::hours(24);

/// After a longer gap, in days, a value says nothing about single days.
const LONGEST: i32 = 31;

/// A value this far in the future comes from a clock that is ahead.
const AHEAD: TimeDelta = TimeDelta::minutes(5);

/// The daily summaries of a series, in order, and the points of the days of [`super::partial_days`].
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesDays {
    pub series: Series,
    pub days: Vec<MetricDay>,
    pub points: Vec<Point>,
}

impl SeriesDays {
    pub fn empty(series: Series) -> SeriesDays {
        SeriesDays {
            series,
            days: Vec::new(),
            points: Vec::new(),
        }
    }

    /// Days without points, which are sufficient for calendar periods of UTC.
    pub fn of_days(days: &[MetricDay]) -> Option<SeriesDays> {
        Some(SeriesDays {
            days: days.to_vec(),
            ..SeriesDays::empty(days.first()?.series.clone())
        })
    }

    pub(super) fn meter(&self) -> (Service, Metric) {
        (self.series.service, self.series.metric)
    }

    /// With amounts by day: where single readings are more than a day apart, each is the usage since the one before.
    /// After a gap that is longer than those near it, days are missing. A charge belongs to its day, and so does an
    /// amount of the future.
    pub(super) fn with_amounts_by_day(mut self, now: DateTime<Utc>) -> SeriesDays {
        let mut days = Vec::with_capacity(self.days.len());
        for (at, day) in self.days.iter().enumerate() {
            let is_usage = day.reading == Reading::Amount && day.series.metric != Metric::CostUsd;
            let is_usage = is_usage && day.points == 1 && day.first_at <= now + AHEAD;
            let span = if is_usage { self.days_since(at) } else { 1 };
            let each = day.used.map(|used| used / f64::from(span));
            days.extend((1..span).rev().map(|back| {
                let end = midnight(day.first_at) - TimeDelta::days(i64::from(back) - 1);
                let end = end - TimeDelta::milliseconds(1);
                MetricDay {
                    day: end.date_naive(),
                    points: 0,
                    used: each,
                    first_at: end,
                    last_at: end,
                    ..day.clone()
                }
            }));
            if span > 1 {
                self.points.retain(|it| it.at.date_naive() != day.day);
            }
            days.push(MetricDay {
                used: each,
                ..day.clone()
            });
        }
        self.days = days;
        self
    }

    /// Number of days that the amount of a day with readings covers, up to that day.
    fn days_since(&self, at: usize) -> i32 {
        const NEAR: usize = 5;
        let gap = |at: usize| {
            let (before, day) = (self.days.get(at.checked_sub(1)?)?, self.days.get(at)?);
            Some(day_number(day.day) - day_number(before.day))
        };
        // That before the first reading is as long as the next.
        let own = if at == 0 { 1 } else { at };
        let near = own.saturating_sub(NEAR)..=own + NEAR;
        let others = near.filter(|it| *it != own);
        let mut usual: Vec<i32> = others.filter_map(gap).collect();
        usual.sort_unstable();
        let usual = usual.get(usual.len() / 2);
        let span = match (gap(own), usual) {
            (Some(own), Some(usual)) if own >= 2 * usual => *usual,
            (Some(own), Some(_)) => own,
            _ => 1,
        };
        if span > LONGEST { 1 } else { span }
    }
}

/// The month's commands of series that are only measured by the day: plans limit and bill them by the month.
pub(super) fn monthly_commands(series: &[SeriesDays]) -> impl Iterator<Item = SeriesDays> {
    let is_measured = |wanted: &Series| series.iter().any(|it| it.series == *wanted);
    let of_day = |it: &&SeriesDays| it.series.metric == Metric::CommandsPerDay;
    series.iter().filter(of_day).filter_map(move |it| {
        let monthly = Series {
            metric: Metric::RequestCount,
            ..it.series.clone()
        };
        let day = |day: &MetricDay| MetricDay {
            series: monthly.clone(),
            reading: Reading::Amount,
            period_start: None,
            ..day.clone()
        };
        let days = it.days.iter().filter(|day| day.used.is_some()).map(day);
        (!is_measured(&monthly)).then(|| SeriesDays {
            days: days.collect(),
            ..SeriesDays::empty(monthly.clone())
        })
    })
}

/// The days of a series up to a moment.
pub(super) struct Readings<'a> {
    days: Vec<MetricDay>,
    points: &'a [Point],
    today: NaiveDate,
    /// The amounts of later days that are known already.
    pub(super) ahead: Vec<(DayNumber, f64)>,
}

impl<'a> Readings<'a> {
    pub(super) fn new(series: &'a SeriesDays, now: DateTime<Utc>) -> Readings<'a> {
        let latest = now + AHEAD;
        let mut days: Vec<MetricDay> = Vec::with_capacity(series.days.len());
        for day in series.days.iter().filter(|day| day.first_at <= latest) {
            if day.last_at <= latest {
                days.push(day.clone());
                continue;
            }
            let seen = series.points.iter();
            let seen = seen.filter(|it| it.at.date_naive() == day.day && it.at <= latest);
            let seen = MetricDay::from_points(&day.series, seen.cloned().collect(), days.last());
            days.extend(seen);
        }
        let ahead = series.days.iter();
        let ahead = ahead.filter(|day| day.first_at > latest && day.reading == Reading::Amount);
        let ahead = ahead.filter_map(|day| Some((day_number(day.day), day.used?)));
        Readings {
            ahead: ahead.collect(),
            days,
            points: &series.points,
            today: now.date_naive(),
        }
    }

    pub(super) fn newest(&self) -> Option<&MetricDay> {
        self.days.last()
    }

    /// The points of a day from `from` on; `None` if they are not known one by one.
    fn points_from(&self, day: &MetricDay, from: DateTime<Utc>) -> Option<Vec<&'a Point>> {
        let points = self.points.iter();
        let mut of_day = points.filter(|it| it.at.date_naive() == day.day).peekable();
        of_day.peek()?;
        let upto = day.last_at;
        Some(of_day.filter(|it| it.at >= from && it.at <= upto).collect())
    }

    /// From the first to the newest reading.
    pub(super) fn span(&self) -> Option<TimeDelta> {
        let first = self.days.iter().find(|day| day.points > 0)?;
        Some(self.newest()?.last_at - first.first_at)
    }

    /// The usage: the newest level, the peak or pace of the last day, or the amount of the period.
    pub(super) fn usage(&self, measure: Measure, period: Option<Window>) -> Option<f64> {
        let newest = self.newest()?;
        match (measure, newest.reading) {
            (Measure::Level, _) => Some(newest.last_value),
            (Measure::Peak, _) | (Measure::Pace, Reading::Level) => {
                Some(self.highest(newest, |day| day.max_value))
            }
            (Measure::Pace, _) => {
                Some(self.highest(newest, |day| day.used.unwrap_or(day.max_value)))
            }
            (Measure::Amount, Reading::Amount) => Some(self.sum_from(period?.from)),
            (Measure::Amount, _) => Some(newest.last_value),
        }
    }

    /// The highest level of the last day.
    pub(super) fn peak(&self, measure: Measure) -> Option<f64> {
        let newest = self.newest().filter(|_| measure == Measure::Level)?;
        Some(self.highest(newest, |day| day.max_value))
    }

    /// The highest value of the 24 hours before the newest one.
    fn highest(&self, newest: &MetricDay, of_day: impl Fn(&MetricDay) -> f64) -> f64 {
        let after = newest.last_at - PEAK;
        let recent = self.days.iter().rev().take_while(|day| day.last_at > after);
        let from = after + TimeDelta::milliseconds(1);
        let value = |day: &MetricDay| match self.points_from(day, from) {
            Some(points) if day.first_at <= after && day.reading != Reading::Amount => {
                points.iter().map(|it| it.value).fold(f64::MIN, f64::max)
            }
            _ => of_day(day),
        };
        recent.map(value).fold(f64::MIN, f64::max)
    }

    /// The amounts since `from`.
    fn sum_from(&self, from: DateTime<Utc>) -> f64 {
        let since = self.days.iter().filter(|day| day.last_at >= from);
        let amounts = since.filter(|day| day.reading == Reading::Amount);
        let amount = |day: &MetricDay| {
            let begin = midnight(day.last_at);
            let used = day.used.unwrap_or(0.0);
            if begin >= from {
                return used;
            }
            match self.points_from(day, from) {
                Some(points) => points.iter().map(|it| it.value).sum(),
                // The points were pruned: the part of the day counts.
                None => used * (1.0 - (from - begin).num_seconds() as f64 / 86_400.0),
            }
        };
        without_rounding_errors(amounts.map(amount).sum())
    }

    pub(super) fn first_day(&self) -> Option<DayNumber> {
        Some(day_number(self.days.first()?.day))
    }

    /// The days without an amount from `first` to the newest one, or to `last`. A counter has none: it counts while it is
    /// not read.
    pub(super) fn missing_days(
        &self,
        first: DayNumber,
        last: Option<DayNumber>,
    ) -> Option<MissingDays> {
        let newest = self.newest().filter(|day| day.reading == Reading::Amount)?;
        let last = last.unwrap_or(day_number(newest.day));
        let of = u32::try_from(last - first + 1).ok();
        let of = of.filter(|days| *days > 0)?;
        let inside = |day: &&MetricDay| day_number(day.day) >= first && day.used.is_some();
        let known = self.days.iter().filter(inside).count();
        let missing = of.saturating_sub(u32::try_from(known).unwrap_or(u32::MAX));
        (missing > 0).then_some(MissingDays { missing, of })
    }

    /// The day of the newest reading, and the part of it that is measured.
    pub(super) fn read_to(&self) -> Option<(DayNumber, f64)> {
        let newest = self.newest()?;
        let seconds = newest.last_at.num_seconds_from_midnight();
        // The amount of a whole day is dated at its start.
        let is_daily = self.days.len() == 1 || self.interval() > TimeDelta::hours(20);
        let is_whole = newest.reading == Reading::Amount && seconds == 0 && is_daily;
        let part = if is_whole {
            1.0
        } else {
            f64::from(seconds) / 86_400.0
        };
        Some((day_number(newest.day), part))
    }

    /// Why the readings say nothing about the present, if so.
    pub(super) fn unknown(
        &self,
        period: Option<Window>,
        now: DateTime<Utc>,
        stale_after: Option<TimeDelta>,
    ) -> Option<UnknownReason> {
        let Some(newest) = self.newest() else {
            return Some(UnknownReason::NoData);
        };
        if period.is_some_and(|period| is_before(newest, period.from)) {
            return Some(UnknownReason::EarlierPeriod);
        }
        let longest = stale_after.unwrap_or_else(|| (self.interval() * MISSED).max(SHORTEST));
        let age = now - newest.last_at;
        (age > longest).then_some(UnknownReason::Old(age))
    }

    /// The usual time between two values: the median of the newest.
    fn interval(&self) -> TimeDelta {
        const DAYS: usize = 5;
        const NEWEST: usize = 20;
        let read = self.days.iter().filter(|day| day.points > 0);
        let mut recent: Vec<&MetricDay> = read.rev().take(DAYS).collect();
        recent.reverse();
        let mut gaps: Vec<TimeDelta> = Vec::new();
        for (index, day) in recent.iter().enumerate().rev() {
            let inside = day.points.saturating_sub(1);
            let gap = (day.last_at - day.first_at) / i32::try_from(inside.max(1)).unwrap_or(1);
            gaps.extend(std::iter::repeat_n(gap, (inside as usize).min(NEWEST)));
            let before = index.checked_sub(1).and_then(|before| recent.get(before));
            gaps.extend(before.map(|before| day.first_at - before.last_at));
        }
        gaps.retain(|gap| *gap > TimeDelta::zero());
        gaps.truncate(NEWEST);
        gaps.sort_unstable();
        let median = gaps.get(gaps.len() / 2);
        median.copied().unwrap_or(DEFAULT / MISSED)
    }

    /// The values that forecasts are made from.
    pub(super) fn daily(&self, measure: Measure, kind: MetricKind) -> Vec<(DayNumber, f64)> {
        let mut values = Vec::with_capacity(self.days.len());
        let mut before: Option<&MetricDay> = None;
        for day in &self.days {
            let number = day_number(day.day);
            // The peak and the pace of the current day are not known yet.
            let is_whole = day.day < self.today;
            match measure {
                Measure::Peak if kind == MetricKind::Rate => values.push((number, day.p95_value)),
                Measure::Level => values.push((number, day.last_value)),
                Measure::Peak if is_whole => values.push((number, day.max_value)),
                Measure::Pace if is_whole => {
                    let value = match day.reading {
                        Reading::Level => Some(day.max_value),
                        Reading::Cumulative | Reading::Amount => day.used,
                    };
                    values.extend(value.map(|value| (number, value)));
                }
                Measure::Peak | Measure::Pace => {}
                Measure::Amount => {
                    let amounts = spread(before, day);
                    let first = amounts.first().map(|(day, _)| *day);
                    values.pop_if(|(day, _)| Some(*day) == first);
                    values.extend(amounts);
                }
            }
            before = Some(day);
        }
        values
    }

    /// The pace between the first and the last reading, for histories too short for the model. Days without an amount
    /// do not count.
    pub(super) fn pace(
        &self,
        measure: Measure,
        period: Option<Window>,
        usage: Option<f64>,
    ) -> Option<Pace> {
        const SHORTEST_DAYS: f64 = 1.0 / 24.0;
        let (first, last) = (self.days.first()?, self.newest()?);
        let days = |from: DateTime<Utc>| (last.last_at - from).num_seconds() as f64 / 86_400.0;
        let (gain, days) = match (measure, last.reading) {
            (Measure::Level, _) => (last.last_value - first.first_value, days(first.first_at)),
            (Measure::Peak, _) => (last.max_value - first.max_value, days(first.last_at)),
            (Measure::Pace, _) => return None,
            // The services of one day of a bill are amounts of one time.
            (Measure::Amount, Reading::Amount) if days(first.first_at) < SHORTEST_DAYS => {
                return None;
            }
            (Measure::Amount, Reading::Amount) => {
                let from = midnight(first.first_at);
                let (day, part) = self.read_to()?;
                let first = day_number(first.day);
                let missing = self.missing_days(first, None);
                let missing = missing.map_or(0, |days| days.missing);
                let days = f64::from(day - first) - f64::from(missing);
                (self.sum_from(from), days + part)
            }
            // The period's usage, since it began.
            (Measure::Amount, _) if first.last_at == last.last_at => return None,
            (Measure::Amount, _) => (usage?, days(period?.from)),
        };
        let readings: u32 = self.days.iter().map(|day| day.points).sum();
        (readings > 1 && days >= SHORTEST_DAYS).then(|| Pace {
            per_day: gain / days,
            level: usage.unwrap_or(last.last_value),
            span: days,
        })
    }
}

/// A sum of amounts with at most eleven digits, which binary fractions do not hold exactly: ten times 0.1 is 1.
pub(super) fn without_rounding_errors(sum: f64) -> f64 {
    format!("{sum:.11e}").parse().unwrap_or(sum)
}

fn is_before(newest: &MetricDay, start: DateTime<Utc>) -> bool {
    // A provider's period may begin some hours before or after the one that is configured.
    let earliest = start - TimeDelta::days(1);
    newest.last_at < start || newest.period_start.is_some_and(|since| since < earliest)
}

/// The amounts of a day and of the days without a reading before it. The growth of a counter over such days belongs
/// to no single one: it is spread over the time between both readings, of which a part may be of the earlier day. If the
/// counter restarted in between, it is unknown.
fn spread(before: Option<&MetricDay>, day: &MetricDay) -> Vec<(DayNumber, f64)> {
    let Some(used) = day.used else {
        return Vec::new();
    };
    let number = day_number(day.day);
    let before = before.filter(|_| day.reading == Reading::Cumulative);
    let Some((gap, before)) = before.map(|it| (number - day_number(it.day), it)) else {
        return vec![(number, used)];
    };
    if gap <= 1 {
        return vec![(number, used)];
    }
    let restarted = before.period_start != day.period_start || day.first_value < before.last_value;
    if restarted || gap > LONGEST {
        return Vec::new();
    }
    let span = (day.last_at - before.last_at).num_seconds() as f64 / 86_400.0;
    let each = used / span.max(1.0);
    let earlier = used - each * f64::from(gap);
    // The day of the earlier reading ends as late as this one.
    let rest = before.used.filter(|_| earlier > 0.0);
    let rest = rest.map(|used| (number - gap, used + earlier));
    let days = (1..gap).rev().map(|back| (number - back, each));
    let newest = (number, each + earlier.min(0.0));
    rest.into_iter().chain(days).chain([newest]).collect()
}

/// Daily values from single values: the last level of each day, or the sum of its amounts.
///
/// A day with fewer than 60 % of the usual number of amounts is incomplete and left out.
pub fn days_of(kind: MetricKind, values: &[(DateTime<Utc>, f64)]) -> Vec<DailyValue> {
    use std::collections::BTreeMap;
    let mut by_day: BTreeMap<DayNumber, Vec<(DateTime<Utc>, f64)>> = BTreeMap::new();
    for (at, value) in values {
        let day = by_day.entry(day_number(at.date_naive())).or_default();
        day.push((*at, *value));
    }
    let mut counts: Vec<usize> = by_day.values().map(Vec::len).collect();
    counts.sort_unstable();
    let usual = counts.get(counts.len() / 2).copied().unwrap_or(0);
    let day = |(day, values): (DayNumber, Vec<(DateTime<Utc>, f64)>)| {
        let value = match kind {
            MetricKind::Period if values.len() * 5 < usual * 3 => return None,
            MetricKind::Period => values.iter().map(|(_, value)| value).sum(),
            MetricKind::Gauge | MetricKind::Rate => values.iter().max_by_key(|(at, _)| *at)?.1,
        };
        Some((day, value))
    };
    by_day.into_iter().filter_map(day).collect()
}
