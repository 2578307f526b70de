//! Simulated paths of gauges and counters.
//!
//! A gauge is modelled by its levels, without isolated spikes and with lasting drops, such as a clean-up, closed:
//! earlier levels are lowered by the drop, so that the pace before and after it is estimated together. A counter is
//! modelled by the logarithms of its daily amounts, since weekends, growth and bursts are proportional; a counter
//! that is often zero, by the amounts.

use super::doubt::{Growth, Recurrence, Trend};
use super::math::{exp, ln, normal_quantile};
use super::random::Random;
use super::robust::{mean, median_of, quantile_of, slope, spikes, spread};
use super::rules::{mean_28d, of_weekday, regression, slope_error};
use super::series::{DayNumber, MetricKind, Pace};
use super::smooth::{Fit, Point, Shape, fit, increments};

/// Equally likely paths of future daily values: levels of a gauge, amounts of a counter.
///
/// All results for one series come from the same paths, so that the noise cancels when they are compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Paths {
    pub first: DayNumber,
    /// Number of days.
    pub days: usize,
    values: Vec<f64>,
}

impl Paths {
    /// The paths, each as its daily values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        self.values.chunks_exact(self.days.max(1))
    }

    /// The values of one day on all paths; empty for a day that is not simulated.
    pub fn on(&self, day: DayNumber) -> Vec<f64> {
        match self.index(day) {
            Some(at) if at < self.days => self.iter().map(|path| path[at]).collect(),
            _ => Vec::new(),
        }
    }

    /// The sum of each path from `from` to `to`, exclusive.
    pub fn sums(&self, from: DayNumber, to: DayNumber) -> Vec<f64> {
        self.fold(from, to, |days| days.sum())
    }

    /// A value of each path, made from its days from `from` to `to`, exclusive.
    pub fn fold(
        &self,
        from: DayNumber,
        to: DayNumber,
        fold: impl Fn(&mut dyn Iterator<Item = f64>) -> f64,
    ) -> Vec<f64> {
        let at = |day| self.index(day).unwrap_or(0).min(self.days);
        let (from, to) = (at(from), at(to).max(at(from)));
        let folded = |path: &[f64]| fold(&mut path[from..to].iter().copied());
        self.iter().map(folded).collect()
    }

    /// Paths that continue with a pace, which may as well be less than half or more than twice as fast. Two readings
    /// say no more.
    pub(super) fn at_pace(
        kind: MetricKind,
        pace: Pace,
        first: DayNumber,
        days: usize,
        count: usize,
    ) -> Paths {
        const SPREAD: f64 = 0.7;
        let mut values = Vec::with_capacity(count * days);
        for path in 0..count {
            let share = (path as f64 + 0.5) / count as f64;
            let per_day = pace.per_day * exp(SPREAD * normal_quantile(share));
            values.extend((0..days).map(|day| match kind {
                MetricKind::Period => per_day,
                MetricKind::Gauge | MetricKind::Rate => {
                    (pace.level + per_day * (day + 1) as f64).max(0.0)
                }
            }));
        }
        Paths {
            first,
            days,
            values,
        }
    }

    /// Changes a share of the paths. `change` takes the index of a day, the value and the place of the path among those
    /// changed, from 0 to 1.
    fn change_some(&mut self, share: f64, change: impl Fn(usize, f64, f64) -> f64) {
        /// The fraction of its multiples is spread evenly.
        const GOLDEN: f64 = 0.618_034;
        let mut changed = 0.0;
        for (index, path) in self.values.chunks_exact_mut(self.days.max(1)).enumerate() {
            if (index as f64 + 1.0) * share >= changed + 1.0 {
                let place = ((changed + 0.5) * GOLDEN).fract();
                changed += 1.0;
                for (day, value) in path.iter_mut().enumerate() {
                    *value = change(day, *value, place);
                }
            }
        }
    }

    /// The index of a day in each path; `None` before the first.
    pub(super) fn index(&self, day: DayNumber) -> Option<usize> {
        usize::try_from(day - self.first).ok()
    }

    /// Leaves out the amounts up to a day, of which this part is measured: they are counted already.
    pub(super) fn begin_after(&mut self, day: DayNumber, part: f64) {
        let first = if part < 1.0 { day } else { day + 1 };
        let passed = self.index(first).unwrap_or(0).min(self.days);
        let paths = self.values.chunks_exact(self.days.max(1));
        self.values = paths.flat_map(|path| path[passed..].to_vec()).collect();
        (self.first, self.days) = (self.first.max(first), self.days - passed);
        if part < 1.0 && self.first == day {
            for path in self.values.chunks_exact_mut(self.days.max(1)) {
                path[0] *= 1.0 - part.max(0.0);
            }
        }
    }

    /// Adds to every path an amount for each day.
    pub(super) fn add(&mut self, amount: impl Fn(DayNumber) -> f64) {
        for path in self.values.chunks_exact_mut(self.days.max(1)) {
            for (day, value) in (self.first..).zip(path) {
                *value += amount(day);
            }
        }
    }

    /// The mean of all paths in the week around each day.
    fn weekly_means(&self) -> Vec<f64> {
        const WEEK: usize = 7;
        let mut means = vec![0.0; self.days];
        for path in self.iter() {
            let share = path.iter().map(|value| value / self.iter().len() as f64);
            means
                .iter_mut()
                .zip(share)
                .for_each(|(mean, it)| *mean += it);
        }
        let week = |day: usize| {
            let first = day.saturating_sub(WEEK / 2);
            let first = first.min(self.days.saturating_sub(WEEK));
            mean(&means[first..(first + WEEK).min(self.days)]).max(f64::MIN_POSITIVE)
        };
        (0..self.days).map(week).collect()
    }

    /// Scales the distance of every level from the median of its day.
    fn scale_levels(&mut self, factor: f64) {
        // A few days at a time: the values of one day are scattered in memory.
        const AT_ONCE: usize = 8;
        for from in (0..self.days).step_by(AT_ONCE) {
            let to = (from + AT_ONCE).min(self.days);
            let mut columns: [Vec<f64>; AT_ONCE] = Default::default();
            for path in self.iter() {
                for (column, value) in columns.iter_mut().zip(&path[from..to]) {
                    column.push(*value);
                }
            }
            let middles = columns.map(|mut column| median_of(&mut column));
            for path in self.values.chunks_exact_mut(self.days) {
                for (value, middle) in path[from..to].iter_mut().zip(middles) {
                    *value = middle + factor * (*value - middle);
                }
            }
        }
    }

    /// Scales the distance of every path's first month from the median month. The whole path is scaled by one
    /// factor, so that amounts stay positive.
    fn scale_sums(&mut self, factor: f64) {
        let month = DayNumber::try_from(self.days.min(30)).unwrap_or(0);
        let sums = self.sums(self.first, self.first + month);
        let middle = median_of(&mut sums.clone());
        for (path, sum) in self.values.chunks_exact_mut(self.days.max(1)).zip(sums) {
            if sum > 0.0 {
                let wanted = (middle + factor * (sum - middle)).max(sum * 0.1);
                path.iter_mut().for_each(|value| *value *= wanted / sum);
            }
        }
    }
}

/// A series as the model fits it.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub kind: MetricKind,
    scale: Scale,
    pub points: Vec<Point>,
    /// Number of spikes removed.
    pub spikes: usize,
    /// Days of the closed drops and steps.
    pub resets: Vec<DayNumber>,
    /// A level that drops again and again, as with a retention.
    cycle: Option<Cycle>,
    /// Growth that may compound.
    growth: Option<Growth>,
    /// A drop that may recur.
    pub recurrence: Option<Recurrence>,
    /// The size of a drop on the newest day, which may as well be a wrong reading.
    fresh_drop: Option<f64>,
    /// By how much the level grew faster per day than usual since a drop of the last days.
    excess_since_drop: Option<f64>,
    /// No value was negative, so no path will be.
    not_negative: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Scale {
    Plain,
    /// The logarithm of the value plus a small offset, for zeros.
    Log {
        plus: f64,
    },
}

/// Distance of a spike from the days around it, in spreads.
const SPIKE: f64 = 5.0;
/// Size of a drop, in spreads of the increments.
const DROP: f64 = 6.0;
/// More drops than this are regular and part of the forecast.
const MOST_RESETS: usize = 2;

pub(super) fn prepare(kind: MetricKind, days: &[Point]) -> Prepared {
    let prepared = Prepared {
        kind,
        scale: Scale::Plain,
        points: days.to_vec(),
        spikes: 0,
        resets: Vec::new(),
        cycle: None,
        growth: None,
        recurrence: None,
        fresh_drop: None,
        excess_since_drop: None,
        not_negative: days.iter().all(|(_, value)| *value >= 0.0),
    };
    match kind {
        MetricKind::Gauge | MetricKind::Rate => prepare_gauge(prepared),
        MetricKind::Period => prepare_period(prepared),
    }
}

fn prepare_gauge(mut prepared: Prepared) -> Prepared {
    let all = prepared.points.clone();
    let values: Vec<f64> = all.iter().map(|(_, value)| *value).collect();
    let mut spikes = spikes(&values, SPIKE).into_iter();
    prepared.points.retain(|_| !spikes.next().unwrap_or(false));
    prepared.spikes = all.len() - prepared.points.len();
    if let Some(cycle) = Cycle::of(&prepared.points) {
        for (day, value) in &mut prepared.points {
            *value -= cycle.offset(*day);
        }
        prepared.cycle = Some(cycle);
        return prepared;
    }
    if let Some((at, drop)) = step(&prepared.points).filter(|(_, drop)| *drop < 0.0) {
        prepared.close(at, drop);
    }
    let newest = prepared.points.len().saturating_sub(1);
    let fresh = fresh_drop(&all, &prepared.points);
    prepared.fresh_drop = fresh;
    let settled = match fresh {
        Some(_) => &prepared.points[..newest],
        None => &prepared.points[..],
    };
    let growth = Growth::of(settled);
    let is_positive = prepared.points.iter().all(|(_, value)| *value > 0.0);
    if is_positive && growth.as_ref().is_some_and(Growth::compounds) {
        prepared.take_logarithms(0.0);
        if fresh.is_some() {
            let drop = drop_at(&prepared.points, newest);
            prepared.close(newest, drop);
        }
        return prepared;
    }
    let mut resets = resets(&prepared.points);
    if resets.len() > MOST_RESETS {
        resets.clear();
    } else if resets.is_empty() && fresh.is_none() {
        prepared.growth = growth;
    }
    resets.extend(fresh.map(|drop| (newest, drop)));
    if !resets.is_empty() {
        prepared.recurrence = Recurrence::of(&prepared.points, &resets);
        let last = resets.last().map_or(0, |(at, _)| *at);
        for (at, drop) in resets {
            prepared.close(at, drop);
        }
        prepared.excess_since_drop = excess_since(&prepared.points, last);
    }
    prepared
}

/// A level that grows and drops at regular intervals.
#[derive(Clone, Debug, PartialEq)]
struct Cycle {
    /// Days of the drops.
    drops: Vec<DayNumber>,
    /// The usual days between drops.
    length: DayNumber,
    /// The offset from the mean on each day since the drop.
    offsets: Vec<f64>,
}

impl Cycle {
    /// The cycle, after three drops of similar size and distance.
    fn of(points: &[Point]) -> Option<Cycle> {
        const DROPS: usize = 2;
        let steps: Vec<f64> = increments(points).map(|(_, gain)| gain).collect();
        // Where most rises are equal, the drops would make up the spread.
        let rises: Vec<f64> = steps.iter().copied().filter(|step| *step >= 0.0).collect();
        let noise = spread(&steps).min(2.0 * spread(&rises));
        // The newest day may not be over: its small rise is no drop.
        let far = (median_of(&mut steps.clone()) - DROP * noise).min(0.0);
        let fell = (1..points.len()).filter(|at| steps[at - 1] < far);
        let drops: Vec<(DayNumber, f64)> = fell.map(|at| (points[at].0, -steps[at - 1])).collect();
        if drops.len() < DROPS {
            return None;
        }
        let gaps = drops.windows(2).map(|two| f64::from(two[1].0 - two[0].0));
        let gaps: Vec<f64> = gaps.collect();
        let length = median_of(&mut gaps.clone());
        let size = median_of(&mut drops.iter().map(|(_, size)| *size).collect::<Vec<f64>>());
        let is_usual = |gap: &f64| (gap - length).abs() <= (0.15 * length).max(1.5);
        let regular = gaps.iter().all(is_usual)
            && drops.iter().all(|(_, of)| (of - size).abs() <= 0.35 * size);
        let last = f64::from(points.last()?.0 - drops.last()?.0);
        let first = f64::from(drops[0].0 - points.first()?.0);
        let level_at = |day: DayNumber| points[points.partition_point(|(at, _)| *at < day)].1;
        let bottoms = [drops.first()?.0, drops.last()?.0].map(level_at);
        // One gap must be followed by as long a cycle before or after it, or the levels after both drops are alike.
        let seen = drops.len() > DROPS
            || first >= 0.6 * length
            || last >= 0.6 * length
            || (bottoms[0] - bottoms[1]).abs() <= 0.2 * size;
        if !regular || length < 3.0 || last > 1.3 * length || !seen {
            return None;
        }
        let mut cycle = Cycle {
            drops: drops.into_iter().map(|(day, _)| day).collect(),
            length: length.round() as DayNumber,
            offsets: Vec::new(),
        };
        let levels: Vec<f64> = points.iter().map(|(_, value)| *value).collect();
        let centre = mean(&levels);
        let mut by_phase: Vec<Vec<f64>> = Vec::new();
        for (day, value) in points {
            let phase = cycle.phase(*day);
            by_phase.resize(by_phase.len().max(phase + 1), Vec::new());
            by_phase[phase].push(value - centre);
        }
        let mut before = 0.0;
        for mut values in by_phase {
            if !values.is_empty() {
                before = median_of(&mut values);
            }
            cycle.offsets.push(before);
        }
        Some(cycle)
    }

    /// The factor on the band for the few values of each phase: of two, the mean differs from the third by more than
    /// from either.
    fn width(&self, points: &[Point]) -> f64 {
        const FEWEST: f64 = 1.4;
        let (Some((first, _)), Some((last, _))) = (points.first(), points.last()) else {
            return 1.0;
        };
        let cycles = (f64::from(last - first + 1) / f64::from(self.length)).max(FEWEST);
        ((cycles + 1.0) / (cycles - 1.0)).sqrt()
    }

    /// Days since the last drop.
    fn phase(&self, day: DayNumber) -> usize {
        let at = self.drops.partition_point(|drop| *drop <= day);
        let phase = match at.checked_sub(1) {
            Some(last) if last + 1 == self.drops.len() => (day - self.drops[last]) % self.length,
            Some(last) => day - self.drops[last],
            None => (day - self.drops[0]).rem_euclid(self.length),
        };
        usize::try_from(phase).unwrap_or(0)
    }

    fn offset(&self, day: DayNumber) -> f64 {
        let phase = self.phase(day).min(self.offsets.len().saturating_sub(1));
        self.offsets.get(phase).copied().unwrap_or(0.0)
    }
}

/// The usual increase per day, and the size of a drop from which on it is no noise.
fn usual_and_far(points: &[Point]) -> (f64, f64) {
    let rates: Vec<f64> = increments(points).map(|(gap, gain)| gain / gap).collect();
    (median_of(&mut rates.clone()), DROP * spread(&rates))
}

/// By how much a value is below the one before it and the usual increase.
fn drop_from(points: &[Point], at: usize, usual: f64) -> f64 {
    let gap = f64::from(points[at].0 - points[at - 1].0);
    points[at - 1].1 + usual * gap - points[at].1
}

fn drop_at(points: &[Point], at: usize) -> f64 {
    drop_from(points, at, usual_and_far(points).0)
}

/// Drops that are no noise: the index of the first lower value, the size, and whether the level stayed below.
fn drops(points: &[Point]) -> Vec<(usize, f64, bool)> {
    let (usual, far) = usual_and_far(points);
    let fell = |at: usize| {
        let gap = f64::from(points[at].0 - points[at - 1].0);
        let before = points[at - 1].1;
        let drop = drop_from(points, at, usual);
        let after = &points[at..(at + 4).min(points.len())];
        let stayed = after.len() > 1 && after.iter().all(|(_, value)| *value < before - drop / 2.0);
        (points[at].1 < before && drop > far * gap.sqrt()).then_some((at, drop, stayed))
    };
    (1..points.len()).filter_map(fell).collect()
}

/// Lasting drops: the index of the first lower value, and the size.
fn resets(points: &[Point]) -> Vec<(usize, f64)> {
    let lasting = drops(points).into_iter().filter(|(.., stayed)| *stayed);
    lasting.map(|(at, drop, _)| (at, drop)).collect()
}

/// The only lasting change of a level that is flat beside it, which is a step and no trend: the index of the first
/// new value, and by how much it is lower, negative for a rise.
fn step(points: &[Point]) -> Option<(usize, f64)> {
    const WEEK: usize = 7;
    /// The change of the level beside it, as a share of it.
    const FLAT: f64 = 0.1;
    let negated = points.iter().map(|(day, value)| (*day, -value));
    let negated: Vec<Point> = negated.collect();
    let changes = [resets(points), resets(&negated)].concat();
    let [(at, _)] = changes[..] else {
        return None;
    };
    let level = |points: &[Point]| {
        let values = points.iter().map(|(_, value)| *value);
        median_of(&mut values.collect::<Vec<f64>>())
    };
    let after = &points[at..(at + WEEK).min(points.len())];
    let drop = level(&points[at.saturating_sub(WEEK)..at]) - level(after);
    let mut flat = points.to_vec();
    flat[..at].iter_mut().for_each(|(_, value)| *value -= drop);
    let days = f64::from(points.last()?.0 - points.first()?.0);
    (slope(&flat).abs() * days <= FLAT * drop.abs()).then_some((at, drop))
}

/// The size of a drop on the newest day, unless the level came back from most drops of its size before. `points` are
/// those of `all` without spikes.
fn fresh_drop(all: &[Point], points: &[Point]) -> Option<f64> {
    let newest = points.len().checked_sub(1)?;
    let (_, drop, _) = drops(points).pop().filter(|(at, ..)| *at == newest)?;
    let earlier = drops(all).into_iter();
    let earlier = earlier.filter(|(at, size, _)| *at + 1 < all.len() && *size >= drop / 2.0);
    let (lasting, others): (Vec<_>, Vec<_>) = earlier.partition(|(.., stayed)| *stayed);
    (others.len() <= lasting.len()).then_some(drop)
}

/// By how much the level grew faster per day than usual since the drop at this index: too fast for noise, and too short
/// for [`Fit::recent_drift`].
fn excess_since(points: &[Point], at: usize) -> Option<f64> {
    const LONGEST: usize = 7;
    let (first, last) = (points.get(at)?, points.last()?);
    let days = f64::from(last.0 - first.0);
    if days <= 0.0 || points.len() - at > LONGEST {
        return None;
    }
    let (usual, far) = usual_and_far(points);
    let excess = (last.1 - first.1) / days - usual;
    (excess * days > far * days.sqrt()).then_some(excess)
}

fn prepare_period(mut prepared: Prepared) -> Prepared {
    // A few negative amounts are credits, and no usage that returns.
    let days = prepared.points.len();
    let usage = prepared.points.iter().filter(|(_, value)| *value >= 0.0);
    let credits = days - usage.count();
    if credits * 10 < days {
        prepared.points.retain(|(_, value)| *value >= 0.0);
        prepared.spikes = credits;
        prepared.not_negative = true;
    }
    let amounts = prepared.points.iter().map(|(_, value)| *value);
    let mut positive: Vec<f64> = amounts.filter(|value| *value > 0.0).collect();
    let often_zero = positive.len() * 10 < prepared.points.len() * 9;
    if !often_zero && prepared.not_negative {
        prepared.take_logarithms(0.01 * median_of(&mut positive));
        if let Some((at, drop)) = step(&prepared.points) {
            prepared.close(at, drop);
        }
    }
    prepared
}

impl Prepared {
    /// Replaces the values by their logarithms, of each plus an offset.
    fn take_logarithms(&mut self, plus: f64) {
        self.scale = Scale::Log { plus };
        for (_, value) in &mut self.points {
            *value = ln(*value + plus);
        }
    }

    /// Moves the points before a drop, or a negative one, so that the level goes on from there as before.
    fn close(&mut self, at: usize, drop: f64) {
        let before = self.points[..at].iter_mut();
        before.for_each(|(_, value)| *value -= drop);
        self.resets.push(self.points[at].0);
    }

    pub(super) fn fit(&self) -> Fit {
        fit(&self.points, self.shape())
    }

    fn shape(&self) -> Shape {
        // One percent a day is a fast growth.
        let percent = match self.scale {
            Scale::Log { .. } if self.kind == MetricKind::Gauge => 0.05,
            Scale::Log { .. } => 0.01,
            Scale::Plain => {
                let sizes: Vec<f64> = self.points.iter().map(|(_, value)| value.abs()).collect();
                0.01 * mean(&sizes)
            }
        };
        match self.kind {
            MetricKind::Gauge | MetricKind::Rate => Shape {
                most_alpha: 1.0,
                clip: f64::INFINITY,
                damping: 1.0,
                usual_drift: percent,
                unseen: 0.0,
                unseen_errors: 1.2,
                widen_errors: true,
            },
            MetricKind::Period => Shape {
                // Usage changes slowly; bursts are no new level.
                most_alpha: 0.2,
                clip: 3.0,
                // Half of the growth is left after 60 days.
                damping: 0.988_514,
                usual_drift: percent,
                unseen: 2.8 * percent,
                unseen_errors: 0.0,
                widen_errors: self.scale == Scale::Plain,
            },
        }
    }

    pub(super) fn is_logarithmic(&self) -> bool {
        self.scale != Scale::Plain
    }

    /// The series up to its first `count` points, with drops still closed.
    pub(super) fn known_at(&self, count: usize) -> Prepared {
        Prepared {
            points: self.points[..count].to_vec(),
            resets: Vec::new(),
            cycle: self.cycle.clone(),
            growth: None,
            recurrence: None,
            fresh_drop: None,
            excess_since_drop: None,
            ..*self
        }
    }

    /// The sum of the amounts from the point `known` to the day `to`, exclusive; `None` unless all days are measured.
    pub(super) fn sum(&self, known: usize, to: DayNumber, days: usize) -> Option<f64> {
        let end = self.points.partition_point(|(day, _)| *day < to);
        let is_whole = end.checked_sub(known).is_some_and(|count| count >= days);
        is_whole.then(|| (known..end).map(|at| self.value(at)).sum())
    }

    /// The amount of a day by plain rules: between the mean of the last 28 days and that of the same weekdays.
    pub(super) fn plain_amount(&self, day: DayNumber) -> f64 {
        let measured = |at: usize| (self.points[at].0, self.value(at));
        let known: Vec<Point> = (0..self.points.len()).map(measured).collect();
        let all = mean_28d(&known);
        let weekday = of_weekday(&known, day);
        // One or two weekdays say little.
        let share = weekday.len() as f64 / (weekday.len() as f64 + 1.0);
        all + share * (mean(&weekday) - all)
    }

    /// Whether a line through the weeks says beyond doubt that amounts grow or fall; below five weeks, see
    /// [`Trend`].
    pub(super) fn trends(&self) -> bool {
        const WEEKS: usize = 8;
        const FEWEST: usize = 5;
        /// In standard errors.
        const SURE: f64 = 2.5;
        let values: Vec<f64> = self.points.iter().map(|(_, value)| *value).collect();
        let weeks = values.rchunks_exact(7).take(WEEKS).map(mean).enumerate();
        let weeks = weeks.map(|(week, mean)| (-(week as DayNumber), mean));
        let weeks: Vec<Point> = weeks.rev().collect();
        if weeks.len() < FEWEST {
            return Trend::of(&self.points).is_sure();
        }
        let line = regression(&weeks);
        line.1.abs() > SURE * slope_error(&weeks, line)
    }

    /// Moves the amounts of each day towards the plain rules.
    pub(super) fn shrink(&self, paths: &mut Paths, weight: f64) {
        if self.kind != MetricKind::Period || weight <= 0.0 {
            return;
        }
        let days = paths.days.max(1);
        for index in 0..days {
            let day = paths.first + index as DayNumber;
            // A burst that returns on a few paths must not lower all of them.
            let mut amounts = paths.on(day);
            let [least, most] = [0.05, 0.95].map(|share| quantile_of(&mut amounts, share));
            amounts
                .iter_mut()
                .for_each(|it| *it = it.clamp(least, most));
            let own = mean(&amounts);
            let plain = self.plain_amount(day);
            if own > 0.0 && plain > 0.0 {
                let factor = exp(weight * ln(plain / own)).clamp(0.1, 10.0);
                for path in paths.values.chunks_exact_mut(days) {
                    path[index] *= factor;
                }
            }
        }
    }

    /// The measured value of a point.
    pub(super) fn value(&self, index: usize) -> f64 {
        let (day, value) = self.points[index];
        self.measured(day, value)
    }

    fn measured(&self, day: DayNumber, value: f64) -> f64 {
        let value = value + self.cycle.as_ref().map_or(0.0, |cycle| cycle.offset(day));
        match self.scale {
            Scale::Plain if self.not_negative => value.max(0.0),
            Scale::Plain => value,
            Scale::Log { plus } => (exp(value) - plus).max(0.0),
        }
    }

    /// `count` paths of `days` days from the day after the newest.
    pub(super) fn simulate(
        &self,
        fit: &Fit,
        days: usize,
        count: usize,
        random: &mut Random,
    ) -> Paths {
        /// In a logarithm: twentyfold.
        const MOST_GROWTH: f64 = 3.0;
        let futures = fit.simulate(count, days, random);
        let (factor, max) = match self.scale {
            Scale::Plain => (1.0, f64::INFINITY),
            // Growth is not made up by a single large error.
            Scale::Log { .. } if self.kind == MetricKind::Gauge => (1.0, 20.0 * self.max_amount()),
            Scale::Log { .. } => (bias(fit, &self.points), self.max_amount()),
        };
        let first = fit.last + 1;
        let ahead = (0..days).map(|day| first + day as DayNumber).cycle();
        // Growth beyond doubt passes it.
        let drift = if self.trends() { fit.drift } else { 0.0 };
        let measured = |(value, day): (f64, DayNumber)| {
            let growth = (drift * f64::from(day - fit.last)).clamp(0.0, MOST_GROWTH);
            (self.measured(day, value) * factor).min(max * exp(growth))
        };
        Paths {
            first,
            days,
            values: futures.into_iter().zip(ahead).map(measured).collect(),
        }
    }

    /// The largest simulated amount of a day without growth: 1.5 times the largest one seen. Without it, errors of
    /// logarithms sometimes add up to absurd amounts.
    fn max_amount(&self) -> f64 {
        let amounts = (0..self.points.len()).map(|index| self.value(index));
        1.5 * amounts.fold(0.0, f64::max)
    }

    /// Lets a share of the paths continue as the data so far leaves open; after [`Prepared::scale`].
    pub(super) fn doubt(&self, paths: &mut Paths) {
        /// The share on which the newest level was a wrong reading.
        const WRONG: f64 = 0.08;
        /// The share on which the pace since a drop continues.
        const LASTING: f64 = 0.5;
        /// Days below which the trend of amounts is doubtful.
        const SHORT: usize = 35;
        if let Some(excess) = self.excess_since_drop {
            paths.change_some(LASTING, |day, level, _| level + excess * (day + 1) as f64);
        }
        if let Some(drop) = self.fresh_drop {
            paths.change_some(WRONG, |_, level, _| level + drop);
        }
        if let Some(growth) = &self.growth {
            paths.change_some(growth.share(), |day, level, _| {
                level + growth.excess(day + 1)
            });
        }
        if self.points.len() < SHORT && self.kind == MetricKind::Period && self.is_logarithmic() {
            let trend = Trend::of(&self.points);
            if trend.share() > 0.0 {
                let means = paths.weekly_means();
                paths.change_some(trend.share(), |day, amount, place| {
                    amount * trend.amount(day + 1, place) / means[day]
                });
            }
        }
        if let Some(recurrence) = &self.recurrence {
            let first = paths.first;
            paths.change_some(Recurrence::SHARE, |day, level, place| {
                recurrence.level(first + day as DayNumber, level, place)
            });
        }
    }

    /// Scales the distance of the paths from their median.
    pub(super) fn scale(&self, paths: &mut Paths, factor: f64) {
        let cycle = self.cycle.as_ref();
        let factor = factor * cycle.map_or(1.0, |cycle| cycle.width(&self.points));
        match self.kind {
            MetricKind::Gauge | MetricKind::Rate => paths.scale_levels(factor),
            MetricKind::Period => paths.scale_sums(factor),
        }
        if self.not_negative {
            let values = paths.values.iter_mut();
            values.for_each(|value| *value = value.max(0.0));
        }
    }
}

/// The factor that corrects the mean of amounts forecast in logarithms.
///
/// Transformed back, positive errors of logarithms weigh more than negative ones, and those of a change of level
/// too much. The factor brings the mean of recent one-day forecasts to the mean of the actual amounts, to the
/// degree that the errors are large.
fn bias(fit: &Fit, points: &[Point]) -> f64 {
    let grown: Vec<f64> = fit.residuals.iter().map(|error| exp(*error)).collect();
    let smear = mean(&grown).max(1.0);
    let (mut predicted_sum, mut actual_sum, mut weight) = (0.0, 0.0, 1.0);
    for (predicted, (_, value)) in fit.predicted.iter().zip(points.iter().skip(1)).rev() {
        predicted_sum += weight * exp(*predicted) * smear;
        actual_sum += weight * exp(*value);
        // Half the weight two weeks earlier.
        weight *= 0.951_7;
    }
    if predicted_sum <= 0.0 || actual_sum <= 0.0 {
        return 1.0;
    }
    exp(ln(actual_sum / predicted_sum) * (1.0 - 1.0 / smear)).clamp(1.0 / 3.0, 3.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_up_is_closed_and_sawtooth_is_not() {
        let level = |day: i32| 100.0 + 2.0 * f64::from(day) + f64::from(day % 3);
        let drop = |day: i32| if day < 40 { 0.0 } else { 60.0 };
        let cleaned: Vec<Point> = (0..60).map(|day| (day, level(day) - drop(day))).collect();
        let prepared = prepare(MetricKind::Gauge, &cleaned);
        assert_eq!(prepared.resets, [40]);
        assert_eq!(prepared.points[59].1, cleaned[59].1);
        assert!((prepared.fit().drift - 2.0).abs() < 0.2);
        let sawtooth = (0..60).map(|day| (day, 100.0 + f64::from(day % 12) * 8.0));
        let sawtooth: Vec<Point> = sawtooth.collect();
        assert!(prepare(MetricKind::Gauge, &sawtooth).resets.is_empty());
        let weekly = (0..21).map(|day| (day, 200.0 + f64::from(day % 7) * 30.0));
        let mut weekly: Vec<Point> = weekly.collect();
        assert!(prepare(MetricKind::Gauge, &weekly[..15]).cycle.is_some());
        // A day that is not over has risen less.
        weekly[20].1 -= 15.0;
        assert!(prepare(MetricKind::Gauge, &weekly).cycle.is_some());
    }

    #[test]
    fn amounts_of_few_weeks_grow_beyond_doubt() {
        let mut random = Random::named("growth");
        let noise: Vec<f64> = (0..28).map(|_| random.below(101) as f64 / 1000.0).collect();
        for (pace, days, expected) in [
            (0.02, 14, true),
            (0.03, 21, true),
            (0.03, 13, true),
            (0.0, 10, false),
            (0.0, 14, false),
            (0.0, 28, false),
        ] {
            let amount = |day: i32| exp(pace * f64::from(day)) * (1.0 + noise[day as usize]);
            let amounts: Vec<Point> = (0..days).map(|day| (day, amount(day))).collect();
            let trends = prepare(MetricKind::Period, &amounts).trends();
            assert_eq!(trends, expected, "{pace} {days}");
        }
    }

    #[test]
    fn step_beside_a_flat_level_is_no_trend() {
        let mut random = Random::named("step");
        let noise: Vec<f64> = (0..56).map(|_| random.below(101) as f64 / 100.0).collect();
        for kind in [MetricKind::Gauge, MetricKind::Period] {
            for flat in [10, 14, 20, 28] {
                let step = |day: i32| if day < 56 - flat { 100.0 } else { 200.0 };
                let of = |pace: f64| -> Vec<Point> {
                    let value = |day| step(day) + noise[day as usize] + pace * f64::from(day);
                    (0..56).map(|day| (day, value(day))).collect()
                };
                let prepared = prepare(kind, &of(0.0));
                assert_eq!(prepared.resets, [56 - flat], "{kind} {flat}");
                let fit = prepared.fit();
                let grown = fit.drift.abs() * 30.0 / prepared.points[55].1;
                assert!(
                    grown < 0.01 && fit.recent_share < 0.5,
                    "{kind} {flat}: {fit:?}"
                );
                // A level that also grows is left as it is.
                assert!(prepare(kind, &of(2.0)).resets.is_empty());
            }
        }
    }

    #[test]
    fn drop_of_the_newest_day_is_closed_unless_levels_come_back() {
        let noise = |day: i32| f64::from(day * 7919 % 101) / 100.0;
        let level = |day: i32| 100.0 + 4.0 * f64::from(day) + noise(day);
        let drop = |last: i32, depth: f64| -> Vec<Point> {
            let of_day = |day| {
                if day < last {
                    level(day)
                } else {
                    level(day) - depth
                }
            };
            (0..=last).map(|day| (day, of_day(day))).collect()
        };
        for days in [10, 15, 30, 60] {
            let prepared = prepare(MetricKind::Gauge, &drop(days, 80.0));
            assert_eq!(prepared.resets, [days]);
            let fit = prepared.fit();
            assert!((fit.drift - 4.0).abs() < 0.5, "{}", fit.drift);
            assert!(
                (fit.level - level(days) + 80.0).abs() < 2.0,
                "{}",
                fit.level
            );
        }
        let compounding = (0..40).map(|day| 100.0 * exp(0.03 * f64::from(day)));
        let mut compounding: Vec<Point> = (0..).zip(compounding).collect();
        compounding[39].1 = 80.0;
        let prepared = prepare(MetricKind::Gauge, &compounding);
        assert!(prepared.is_logarithmic() && prepared.resets == [39]);
        assert!((prepared.value(39) - 80.0).abs() < 1e-6);
        // A level that comes back from its drops is expected to do so again.
        let mut dips = drop(40, 80.0);
        for day in [12, 25] {
            dips[day].1 -= 80.0;
        }
        assert!(prepare(MetricKind::Gauge, &dips).resets.is_empty());
    }

    #[test]
    fn fast_growth_after_a_drop_is_seen_on_the_next_day() {
        let level = |day: i32, pace: f64| match day {
            0..30 => 100.0 + 4.0 * f64::from(day),
            _ => 60.0 + pace * f64::from(day - 30),
        };
        let of = |pace: f64, days: i32| {
            let points: Vec<Point> = (0..days).map(|day| (day, level(day, pace))).collect();
            prepare(MetricKind::Gauge, &points).excess_since_drop
        };
        assert_eq!((of(4.0, 32), of(30.0, 31)), (None, None));
        assert_eq!((of(30.0, 32), of(30.0, 33)), (Some(26.0), Some(26.0)));
        assert_eq!(of(4.0, 36), None);
    }

    #[test]
    fn paths_are_finite_and_not_negative() {
        let falling: Vec<Point> = (0..30).map(|day| (day, f64::from(30 - day))).collect();
        for kind in [MetricKind::Gauge, MetricKind::Period] {
            let prepared = prepare(kind, &falling);
            let mut paths = prepared.simulate(&prepared.fit(), 60, 50, &mut Random::named("x"));
            prepared.scale(&mut paths, 2.5);
            let mut values = paths.iter().flatten();
            assert!(values.all(|value| *value >= 0.0 && value.is_finite()));
        }
    }

    #[test]
    fn sums_cover_the_days_between() {
        let paths = Paths {
            first: 10,
            days: 3,
            values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        };
        assert_eq!(paths.sums(10, 13), [6.0, 15.0]);
        assert_eq!(paths.sums(11, 12), [2.0, 5.0]);
        assert_eq!(paths.sums(5, 11), [1.0, 4.0]);
        assert_eq!(paths.sums(12, 10), [0.0, 0.0]);
        assert_eq!((paths.on(12), paths.on(13)), (vec![3.0, 6.0], vec![]));
    }

    #[test]
    fn amounts_that_are_often_zero_are_not_logarithmic() {
        let logarithmic = |zeros| {
            let amount = |day: i32| if day % 10 < zeros { 0.0 } else { 50.0 };
            let amounts: Vec<Point> = (0..40).map(|day| (day, amount(day))).collect();
            prepare(MetricKind::Period, &amounts).is_logarithmic()
        };
        assert!(logarithmic(0) && !logarithmic(2));
    }
}
