//! Tallies of the calls in many overlapping windows, each period of time read once.
//!
//! A check asks for the windows of all rules of an API in all steps since the last check: a thousand windows
//! that overlap nearly everywhere. [`Demand`] cuts time at the boundaries of all windows: an hour with a boundary inside
//! is counted from the rows, the rest is read from fresh roll-ups, each period once. If the roll-up of such an hour is
//! fresh, its longest part is the roll-up minus the other parts: an hour is the sum of its rows and of the calls whose
//! rows are gone. [`Series`] holds the running sum of the calls at each cut, so that the tally of a window is the
//! difference of two sums.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::period::{Granularity, Window};
use crate::domain::plans::Unit;
use crate::domain::usage::credits::Credits;
use crate::domain::usage::read_plan::{ReadPlan, StalePeriods};
use crate::domain::usage::settings::Mode;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub calls: u64,
    /// Answered from a cache.
    pub cached: u64,
    pub failed: u64,
    pub cost: Credits,
    /// The part of it that calls answered from a cache cost.
    pub cached_cost: Credits,
}

/// The resolution of the busiest stretch.
const SECOND: TimeDelta = TimeDelta::seconds(1);

impl Tally {
    /// One call. A cost that is not a number counts as 0, as in roll-ups.
    pub fn of_call(success: bool, cached: bool, cost: Option<f64>) -> Tally {
        let cost = cost.and_then(Credits::from_f64).unwrap_or_default();
        Tally {
            calls: 1,
            cached: u64::from(cached),
            failed: u64::from(!success),
            cost,
            cached_cost: if cached { cost } else { Credits::default() },
        }
    }

    pub fn times(self, number: u64) -> Tally {
        Tally {
            calls: self.calls.saturating_mul(number),
            cached: self.cached.saturating_mul(number),
            failed: self.failed.saturating_mul(number),
            cost: self.cost.times(number),
            cached_cost: self.cached_cost.times(number),
        }
    }

    /// What counts against a limit of the provider. A call that a cache answers never reaches it.
    pub fn counted(&self, unit: Unit) -> f64 {
        match unit {
            Unit::Calls => self.calls.saturating_sub(self.cached) as f64,
            Unit::Credits => self.cost.minus(self.cached_cost).to_f64(),
        }
    }

    fn plus(self, other: Tally) -> Tally {
        self.with(other, u64::saturating_add, Credits::plus)
    }

    fn minus(self, other: Tally) -> Tally {
        self.with(other, u64::saturating_sub, Credits::minus)
    }

    fn with(
        self,
        other: Tally,
        calls: fn(u64, u64) -> u64,
        credits: fn(Credits, Credits) -> Credits,
    ) -> Tally {
        Tally {
            calls: calls(self.calls, other.calls),
            cached: calls(self.cached, other.cached),
            failed: calls(self.failed, other.failed),
            cost: credits(self.cost, other.cost),
            cached_cost: credits(self.cached_cost, other.cached_cost),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Whole periods to be read from the roll-ups; they do not overlap.
    pub stored: Vec<(Granularity, Window)>,
    /// Periods to be counted from the rows, with the calls whose rows are gone; they do not overlap.
    pub rows: Vec<Window>,
    /// The instants between which calls are summed, in order: the boundaries of all windows, and of the hours that
    /// are counted from the rows.
    pub cuts: Vec<DateTime<Utc>>,
    /// Periods whose seconds are tallied one by one.
    pub seconds: Vec<Window>,
    /// By hour: the part that is derived, as the roll-up of the hour minus the parts in `rows`.
    remainders: BTreeMap<DateTime<Utc>, Window>,
}

impl Demand {
    /// The periods to read for the tallies of `windows` and of each second of `seconds`. Only with triggers do rows and
    /// fresh roll-ups agree at any instant, so that a part of an hour may be derived.
    pub fn new(
        windows: impl IntoIterator<Item = Window>,
        seconds: impl IntoIterator<Item = Window>,
        mode: Mode,
        stale: &StalePeriods,
    ) -> Demand {
        let (mut demand, covered) = Demand::divided(windows, seconds);
        let hour = |at: &DateTime<Utc>| Granularity::Hourly.start_of(*at);
        // An hour with a boundary inside is counted from the rows, and so is each second.
        let cuts = demand.cuts.iter();
        let divided: BTreeSet<_> = cuts.filter(|at| hour(at) != **at).map(hour).collect();
        let ends = divided.iter().map(|hour| Granularity::Hourly.end_of(*hour));
        let edges: Vec<_> = ends.chain(divided.iter().copied()).collect();
        demand.add_cuts(edges);
        let parts: Vec<Window> = demand
            .cuts
            .windows(2)
            .map(|pair| Window::new(pair[0], pair[1]))
            .collect();
        let (mut stored, mut rows) = (Vec::new(), Vec::new());
        for parts in parts.chunk_by(|a, b| hour(&a.from) == hour(&b.from)) {
            let start = hour(&parts[0].from);
            if divided.contains(&start) {
                let is_wanted = |part: &Window| is_in(&covered, part.from);
                let remainder = longest(parts, |part| {
                    is_wanted(part) && !is_in(&demand.seconds, part.from)
                });
                let unwanted = parts.iter().filter(|part| !is_wanted(part));
                let unwanted: TimeDelta = unwanted.map(length).sum();
                // The rows of the parts that no window contains are read too.
                let remainder = remainder.filter(|part| {
                    mode == Mode::Triggers
                        && length(part) > unwanted
                        && stale.is_fresh(Granularity::Hourly, start)
                });
                if let Some(part) = remainder {
                    let end = Granularity::Hourly.end_of(start);
                    stored.push((Granularity::Hourly, Window::new(start, end)));
                    rows.extend(parts.iter().filter(|other| *other != part));
                    demand.remainders.insert(start, *part);
                } else {
                    rows.extend(parts.iter().filter(|part| is_wanted(part)));
                }
                continue;
            }
            for part in parts.iter().filter(|part| is_in(&covered, part.from)) {
                if is_in(&demand.seconds, part.from) {
                    rows.push(*part);
                    continue;
                }
                let plan = ReadPlan::new(*part, Granularity::Monthly, stale);
                stored.extend(plan.stored);
                rows.extend(plan.rows);
            }
        }
        demand.rows = merged(rows);
        for granularity in Granularity::ALL {
            let of_this = stored.iter().filter(|(of, _)| *of == granularity);
            let merged = merged(of_this.map(|(_, window)| *window)).into_iter();
            demand
                .stored
                .extend(merged.map(|window| (granularity, window)));
        }
        demand
    }

    /// The same, from the rows alone.
    pub fn of_rows(
        windows: impl IntoIterator<Item = Window>,
        seconds: impl IntoIterator<Item = Window>,
    ) -> Demand {
        let (demand, rows) = Demand::divided(windows, seconds);
        Demand { rows, ..demand }
    }

    /// A demand with the boundaries of all windows, and the periods that these cover.
    fn divided(
        windows: impl IntoIterator<Item = Window>,
        seconds: impl IntoIterator<Item = Window>,
    ) -> (Demand, Vec<Window>) {
        let seconds = merged(seconds);
        let windows: Vec<Window> = windows.into_iter().chain(seconds.iter().copied()).collect();
        let mut demand = Demand {
            seconds,
            ..Demand::default()
        };
        demand.add_cuts(windows.iter().flat_map(|window| [window.from, window.to]));
        (demand, merged(windows))
    }

    fn add_cuts(&mut self, cuts: impl IntoIterator<Item = DateTime<Utc>>) {
        self.cuts.extend(cuts);
        self.cuts.sort_unstable();
        self.cuts.dedup();
    }
}

fn longest(parts: &[Window], may_be: impl Fn(&Window) -> bool) -> Option<&Window> {
    let parts = parts.iter().filter(|part| may_be(part));
    parts.max_by_key(|part| length(part))
}

fn length(part: &Window) -> TimeDelta {
    part.to - part.from
}

/// The union of `windows`, in order; no two touch.
pub fn merged(windows: impl IntoIterator<Item = Window>) -> Vec<Window> {
    let windows = windows.into_iter().filter(|window| !window.is_empty());
    let mut sorted: Vec<Window> = windows.collect();
    sorted.sort_unstable();
    Window::joined(sorted)
}

/// Whether one of `windows`, which are in order, contains `at`.
fn is_in(windows: &[Window], at: DateTime<Utc>) -> bool {
    let next = windows.partition_point(|window| window.to <= at);
    windows.get(next).is_some_and(|window| window.contains(at))
}

/// The calls of one API: made from a [`Demand`], filled while reading, then queried.
#[derive(Clone, Debug)]
pub struct Series {
    demand: Demand,
    /// The calls from each cut to the next; after [`Series::finish`], all calls before the cut.
    sums: Vec<Tally>,
    /// The calls of each second in [`Demand::seconds`].
    seconds: BTreeMap<DateTime<Utc>, Tally>,
    /// After [`Series::finish`], these seconds in order, and the calls before each; at last all calls.
    before_seconds: Vec<(DateTime<Utc>, Tally)>,
}

impl Series {
    pub fn new(demand: Demand) -> Series {
        Series {
            sums: vec![Tally::default(); demand.cuts.len()],
            demand,
            seconds: BTreeMap::new(),
            before_seconds: Vec::new(),
        }
    }

    pub fn demand(&self) -> &Demand {
        &self.demand
    }

    /// Counts the calls of a roll-up that starts at `start`, in [`Demand::stored`].
    pub fn add_stored(&mut self, start: DateTime<Utc>, tally: Tally) {
        let remainder = self.demand.remainders.get(&start);
        self.add(remainder.map_or(start, |part| part.from), tally);
    }

    /// Adds calls to the part that contains `at`, in [`Demand::rows`].
    pub fn add(&mut self, at: DateTime<Utc>, tally: Tally) {
        let after = self.demand.cuts.partition_point(|cut| *cut <= at);
        if let Some(sum) = after.checked_sub(1).and_then(|cut| self.sums.get_mut(cut)) {
            *sum = sum.plus(tally);
        }
    }

    /// Counts calls of one instant, or from there to the next cut or second, which lie in [`Demand::rows`].
    pub fn add_rows(&mut self, at: DateTime<Utc>, tally: Tally) {
        self.add(at, tally);
        if is_in(&self.demand.seconds, at) {
            let second = DateTime::from_timestamp_secs(at.timestamp()).unwrap_or(at);
            let sum = self.seconds.entry(second).or_default();
            *sum = sum.plus(tally);
        }
    }

    /// Subtracts the other parts of an hour from the derived one and computes running sums; call it after reading.
    #[must_use]
    pub fn finish(mut self) -> Series {
        let (cuts, sums) = (&self.demand.cuts, &mut self.sums);
        for (hour, part) in &self.demand.remainders {
            let place = |at| cuts.partition_point(|cut| *cut < at);
            let end = Granularity::Hourly.end_of(*hour);
            let (before, after) = (place(*hour)..place(part.from), place(part.to)..place(end));
            let others = before.chain(after).filter_map(|at| sums.get(at));
            let others = others.fold(Tally::default(), |sum, other| sum.plus(*other));
            if let Some(sum) = sums.get_mut(place(part.from)) {
                *sum = sum.minus(others);
            }
        }
        let mut sum = Tally::default();
        for of_cut in &mut self.sums {
            let next = sum.plus(*of_cut);
            *of_cut = std::mem::replace(&mut sum, next);
        }
        let mut sum = Tally::default();
        for (second, tally) in std::mem::take(&mut self.seconds) {
            self.before_seconds.push((second, sum));
            sum = sum.plus(tally);
        }
        self.before_seconds.push((DateTime::<Utc>::MAX_UTC, sum));
        self
    }

    /// The tally of a window, which must be one given to [`Demand::new`].
    pub fn tally(&self, window: Window) -> Tally {
        let before = |at| {
            let cut = self.demand.cuts.partition_point(|cut| *cut < at);
            self.sums.get(cut).copied().unwrap_or_default()
        };
        before(window.to).minus(before(window.from))
    }

    /// The tally of the stretch of `length` in `window` with the greatest `measure`. Stretches begin at full seconds.
    pub fn busiest(
        &self,
        window: Window,
        length: TimeDelta,
        measure: impl Fn(&Tally) -> f64,
    ) -> Tally {
        let place = |at| {
            self.before_seconds
                .partition_point(|(second, _)| *second < at)
        };
        let before = |at| {
            let sum = self.before_seconds.get(place(at));
            sum.map_or(Tally::default(), |(_, sum)| *sum)
        };
        let seconds = self
            .before_seconds
            .get(place(window.from)..place(window.to));
        let seconds = seconds.unwrap_or_default().iter();
        // The calls of a stretch change where it reaches a second and where it leaves one.
        let changes = seconds.flat_map(|(at, _)| [*at + SECOND, *at + SECOND + length]);
        let first = window.from + length;
        let ends = changes.filter(|end| *end > first && *end <= window.to);
        let tallies = std::iter::once(first)
            .chain(ends)
            .map(|end| before(end).minus(before(end - length)));
        let busiest = tallies.max_by(|a, b| measure(a).total_cmp(&measure(b)));
        busiest.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::testing::{at, window};

    #[test]
    fn overlapping_windows_are_read_once() {
        let windows = [
            window("01-30T12:30", "01-31T12:30"),
            window("01-30T12:31", "01-31T12:31"),
            window("01-31T12:29", "01-31T12:30"),
        ];
        let demand = Demand::new(windows, [], Mode::Triggers, &StalePeriods::default());
        let rows = [
            window("01-30T12:30", "01-30T13:00"),
            window("01-31T12:00", "01-31T12:31"),
        ];
        assert_eq!(demand.rows, rows);
        let hours = window("01-30T13:00", "01-31T12:00");
        assert_eq!(demand.stored, [(Granularity::Hourly, hours)]);
    }

    #[test]
    fn longest_part_of_a_fresh_hour_is_the_rest_of_its_roll_up() {
        let windows = [
            window("01-31T10:00", "01-31T13:00"),
            window("01-31T12:40", "01-31T13:00"),
        ];
        let demand = Demand::new(windows, [], Mode::Triggers, &StalePeriods::default());
        assert_eq!(demand.rows, [window("01-31T12:40", "01-31T13:00")]);
        let hours = window("01-31T10:00", "01-31T13:00");
        assert_eq!(demand.stored, [(Granularity::Hourly, hours)]);
        let mut stale = StalePeriods::default();
        let rows = |mode, stale: &StalePeriods| Demand::new(windows, [], mode, stale).rows;
        let whole = [window("01-31T12:00", "01-31T13:00")];
        assert_eq!(rows(Mode::Lookback, &stale), whole);
        stale.insert(Granularity::Hourly, at("01-31T12:00"));
        assert_eq!(rows(Mode::Triggers, &stale), whole);

        let calls = |number| Tally::of_call(true, false, None).times(number);
        let mut series = Series::new(demand);
        series.add_stored(at("01-31T12:00"), calls(10));
        // Without rows, from 12:45 on.
        series.add(at("01-31T12:45"), calls(3));
        let series = series.finish();
        let [whole, last] = windows.map(|window| series.tally(window).calls);
        assert_eq!((whole, last), (10, 3));
    }

    /// Aggregates calls as `aggregate` does.
    fn read(demand: Demand, calls: &[(DateTime<Utc>, Tally)]) -> Series {
        let mut series = Series::new(demand.clone());
        for (granularity, stretch) in &demand.stored {
            let mut periods: BTreeMap<DateTime<Utc>, Tally> = BTreeMap::new();
            for (at, tally) in calls.iter().filter(|(at, _)| stretch.contains(*at)) {
                let sum = periods.entry(granularity.start_of(*at)).or_default();
                *sum = sum.plus(*tally);
            }
            for (start, tally) in periods {
                series.add_stored(start, tally);
            }
        }
        for rows in &demand.rows {
            for (at, tally) in calls.iter().filter(|(at, _)| rows.contains(*at)) {
                series.add_rows(*at, *tally);
            }
        }
        series.finish()
    }

    proptest! {
        #[test]
        fn busiest_stretch_is_that_of_all_seconds(
            calls in vec((0..180_000_i64, any::<bool>()), 0..60),
            length in 1..60_i64,
            (begin, end) in (0..60_i64, 120..=180_i64),
        ) {
            let (from, length) = (at("01-31T12:00"), TimeDelta::seconds(length));
            let second = |second| from + TimeDelta::seconds(second);
            let minutes = Window::new(from, second(180));
            let window = Window::new(second(begin), second(end));
            let mut series = Series::new(Demand::of_rows([], [minutes]));
            let calls = calls.iter().map(|(ms, failed)| (from + TimeDelta::milliseconds(*ms), *failed));
            for (at, failed) in calls.clone() {
                series.add_rows(at, Tally::of_call(!failed, false, None));
            }
            let series = series.finish();
            for measure in [|t: &Tally| t.failed as f64, |t: &Tally| t.failed as f64 / t.calls.max(1) as f64] {
                let ends = (begin..=end).map(second);
                let stretches = ends.filter(|end| *end - length >= window.from).map(|end| {
                    let mut tally = Tally::default();
                    for (_, failed) in calls.clone().filter(|(at, _)| (end - length..end).contains(at)) {
                        tally = tally.plus(Tally::of_call(!failed, false, None));
                    }
                    measure(&tally)
                });
                let expected = stretches.fold(0.0, f64::max);
                prop_assert_eq!(measure(&series.busiest(window, length, measure)), expected);
            }
        }

        #[test]
        fn roll_ups_and_rows_equal_rows_alone(
            calls in vec((0..5_000_000_000_i64, any::<bool>(), any::<bool>(), proptest::option::of(0..50_i32)), 0..200),
            windows in vec((0..5_000_000_i64, 0..4_000_000_i64), 1..20),
            stale_hours in vec(0..5_000_000_000_i64, 0..10),
        ) {
            // Two months about the leap day; windows begin and end anywhere.
            let start = at("2024-02-01T00:00:00Z");
            let moment = |ms: i64| start + TimeDelta::milliseconds(ms);
            let calls: Vec<_> = calls
                .into_iter()
                .map(|(ms, success, cached, cost)| {
                    let cost = cost.map(|tenths| f64::from(tenths) / 10.0);
                    (moment(ms), Tally::of_call(success, cached, cost))
                })
                .collect();
            let windows: Vec<_> = windows
                .into_iter()
                .map(|(from, length)| Window::new(moment(from * 1_000), moment((from + length) * 1_000)))
                .collect();
            let mut stale = StalePeriods::default();
            for ms in stale_hours {
                stale.insert(Granularity::Hourly, Granularity::Hourly.start_of(moment(ms)));
            }
            let first = windows[0];
            let seconds = [Window::new(first.from, first.to.min(first.from + TimeDelta::seconds(90)))];
            let demand = Demand::new(windows.clone(), seconds, Mode::Triggers, &stale);
            let series = read(demand, &calls);
            for window in windows {
                let rows = calls.iter().filter(|(at, _)| window.contains(*at));
                let expected = rows.fold(Tally::default(), |sum, (_, tally)| sum.plus(*tally));
                prop_assert_eq!(series.tally(window), expected);
            }
        }
    }
}
