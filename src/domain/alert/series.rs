//! Tallies of the calls in many overlapping windows, each period of time read once.
//!
//! A check asks for the windows of all rules of an API in all steps since the last check: a thousand windows
//! that overlap nearly everywhere. [`Demand`] lists the periods to read: whole months, days and hours from
//! fresh roll-ups, the rest from the rows, each period once. [`Series`] holds running sums of the calls, so
//! that the tally of a window is the difference of two sums.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use crate::domain::period::{Granularity, Window};
use crate::domain::usage::credits::Credits;
use crate::domain::usage::read_plan::{ReadPlan, StalePeriods};

/// The sums of some calls that rules use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub calls: u64,
    /// Answered from a cache.
    pub cached: u64,
    pub failed: u64,
    pub cost: Credits,
}

impl Tally {
    /// One call. A cost that is not a number counts as 0, as in roll-ups.
    pub fn of_call(success: bool, cached: bool, cost: Option<f64>) -> Tally {
        Tally {
            calls: 1,
            cached: u64::from(cached),
            failed: u64::from(!success),
            cost: cost.and_then(Credits::from_f64).unwrap_or_default(),
        }
    }

    fn plus(self, other: Tally) -> Tally {
        Tally {
            calls: self.calls.saturating_add(other.calls),
            cached: self.cached.saturating_add(other.cached),
            failed: self.failed.saturating_add(other.failed),
            cost: self.cost.plus(other.cost),
        }
    }

    fn minus(self, other: Tally) -> Tally {
        Tally {
            calls: self.calls.saturating_sub(other.calls),
            cached: self.cached.saturating_sub(other.cached),
            failed: self.failed.saturating_sub(other.failed),
            cost: self.cost.minus(other.cost),
        }
    }
}

/// The periods of one API that must be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    plans: BTreeMap<Window, ReadPlan>,
    /// Whole periods to be read from the roll-ups; those of one granularity do not overlap.
    pub stored: Vec<(Granularity, Window)>,
    /// Periods to be counted from the rows; they do not overlap.
    pub rows: Vec<Window>,
    /// The boundaries of all windows within `rows`.
    cuts: Vec<DateTime<Utc>>,
    /// Periods whose seconds are tallied one by one.
    seconds: Vec<Window>,
}

impl Demand {
    /// The periods to read for the tallies of `windows` and of each second of `seconds`.
    pub fn new(
        windows: impl IntoIterator<Item = Window>,
        seconds: impl IntoIterator<Item = Window>,
        stale: &StalePeriods,
    ) -> Demand {
        Demand::planned(windows, seconds, |window| {
            ReadPlan::new(window, Granularity::Monthly, stale)
        })
    }

    /// The same, from the rows alone.
    pub fn of_rows(
        windows: impl IntoIterator<Item = Window>,
        seconds: impl IntoIterator<Item = Window>,
    ) -> Demand {
        Demand::planned(windows, seconds, |window| ReadPlan {
            stored: Vec::new(),
            rows: vec![window],
        })
    }

    fn planned(
        windows: impl IntoIterator<Item = Window>,
        seconds: impl IntoIterator<Item = Window>,
        plan: impl Fn(Window) -> ReadPlan,
    ) -> Demand {
        let mut plans = BTreeMap::new();
        for window in windows {
            plans.entry(window).or_insert_with(|| plan(window));
        }
        let seconds = merged(seconds);
        let pieces = plans
            .values()
            .flat_map(|plan: &ReadPlan| plan.rows.iter().copied());
        let pieces: BTreeSet<Window> = pieces.chain(seconds.iter().copied()).collect();
        let cuts: BTreeSet<_> = pieces
            .iter()
            .flat_map(|rows| [rows.from, rows.to])
            .collect();
        let mut stored = Vec::new();
        for granularity in Granularity::ALL {
            let of_all = plans.values().flat_map(|plan| &plan.stored);
            let of_this = of_all.filter(|(of, _)| *of == granularity);
            let stretches = merged(of_this.map(|(_, window)| *window));
            stored.extend(stretches.into_iter().map(|window| (granularity, window)));
        }
        Demand {
            stored,
            rows: merged(pieces),
            cuts: cuts.into_iter().collect(),
            seconds,
            plans,
        }
    }
}

/// The union of `windows`, in order; no two touch.
pub fn merged(windows: impl IntoIterator<Item = Window>) -> Vec<Window> {
    let sorted: BTreeSet<Window> = windows.into_iter().collect();
    let mut merged: Vec<Window> = Vec::new();
    for window in sorted.into_iter().filter(|window| !window.is_empty()) {
        match merged.last_mut() {
            Some(last) if window.from <= last.to => last.to = last.to.max(window.to),
            _ => merged.push(window),
        }
    }
    merged
}

/// The calls of one API: made from a [`Demand`], filled while reading, then queried.
#[derive(Clone, Debug)]
pub struct Series {
    demand: Demand,
    stored: BTreeMap<Granularity, BTreeMap<DateTime<Utc>, Tally>>,
    /// The calls from each cut to the next; after [`Series::finish`], all calls before the cut.
    rows: Vec<Tally>,
    seconds: BTreeMap<DateTime<Utc>, Tally>,
    running: BTreeMap<Granularity, Vec<(DateTime<Utc>, Tally)>>,
}

impl Series {
    pub fn new(demand: Demand) -> Series {
        Series {
            rows: vec![Tally::default(); demand.cuts.len()],
            demand,
            stored: BTreeMap::new(),
            seconds: BTreeMap::new(),
            running: BTreeMap::new(),
        }
    }

    pub fn demand(&self) -> &Demand {
        &self.demand
    }

    pub fn add_stored(&mut self, granularity: Granularity, start: DateTime<Utc>, tally: Tally) {
        self.stored
            .entry(granularity)
            .or_default()
            .insert(start, tally);
    }

    /// Counts calls of one instant, which lies in [`Demand::rows`].
    pub fn add_rows(&mut self, at: DateTime<Utc>, tally: Tally) {
        let after = self.demand.cuts.partition_point(|cut| *cut <= at);
        if let Some(sum) = after.checked_sub(1).and_then(|cut| self.rows.get_mut(cut)) {
            *sum = sum.plus(tally);
        }
        let after = self
            .demand
            .seconds
            .partition_point(|seconds| seconds.from <= at);
        let stretch = after
            .checked_sub(1)
            .and_then(|n| self.demand.seconds.get(n));
        if stretch.is_some_and(|seconds| seconds.contains(at)) {
            let second = DateTime::from_timestamp_secs(at.timestamp()).unwrap_or(at);
            let sum = self.seconds.entry(second).or_default();
            *sum = sum.plus(tally);
        }
    }

    /// Computes running sums; call it after reading.
    #[must_use]
    pub fn finish(mut self) -> Series {
        let mut sum = Tally::default();
        for of_cut in &mut self.rows {
            let next = sum.plus(*of_cut);
            *of_cut = std::mem::replace(&mut sum, next);
        }
        for (granularity, periods) in std::mem::take(&mut self.stored) {
            let mut sum = Tally::default();
            let mut running = Vec::with_capacity(periods.len() + 1);
            for (start, tally) in periods {
                running.push((start, sum));
                sum = sum.plus(tally);
            }
            running.push((DateTime::<Utc>::MAX_UTC, sum));
            self.running.insert(granularity, running);
        }
        self
    }

    /// The tally of a window, which must be one given to [`Demand::new`].
    pub fn tally(&self, window: Window) -> Tally {
        let mut tally = Tally::default();
        let Some(plan) = self.demand.plans.get(&window) else {
            return tally;
        };
        for rows in &plan.rows {
            let before = |at| {
                let cut = self.demand.cuts.partition_point(|cut| *cut < at);
                self.rows.get(cut).copied().unwrap_or_default()
            };
            tally = tally.plus(before(rows.to).minus(before(rows.from)));
        }
        for (granularity, stretch) in &plan.stored {
            let Some(running) = self.running.get(granularity) else {
                continue;
            };
            let before = |at| {
                let period = running.partition_point(|(start, _)| *start < at);
                running
                    .get(period)
                    .map_or(Tally::default(), |(_, sum)| *sum)
            };
            tally = tally.plus(before(stretch.to).minus(before(stretch.from)));
        }
        tally
    }

    /// The tally of the second of `window` with the greatest `measure`; zero without calls.
    pub fn busiest_second(&self, window: Window, measure: impl Fn(&Tally) -> f64) -> Tally {
        let seconds = self.seconds.range(window.from..window.to);
        let busiest = seconds.max_by(|(_, a), (_, b)| measure(a).total_cmp(&measure(b)));
        busiest.map_or(Tally::default(), |(_, tally)| *tally)
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
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
        let demand = Demand::new(windows, [], &StalePeriods::default());
        let rows = [
            window("01-30T12:30", "01-30T13:00"),
            window("01-31T12:00", "01-31T12:31"),
        ];
        assert_eq!(demand.rows, rows);
        let hours = window("01-30T13:00", "01-31T12:00");
        assert_eq!(demand.stored, [(Granularity::Hourly, hours)]);
    }

    #[test]
    fn busiest_second_lies_in_the_window() {
        let minute = window("01-31T12:00", "01-31T12:01");
        let mut series = Series::new(Demand::new([], [minute], &StalePeriods::default()));
        let call = |failed: bool| Tally::of_call(!failed, false, None);
        for (time, failed) in [
            ("2026-01-31T12:00:07.000Z", true),
            ("2026-01-31T12:00:08.999Z", false),
            ("2026-01-31T12:00:09.000Z", false),
            ("2026-01-31T12:00:09.999Z", false),
            ("2026-01-31T12:01:00.000Z", true),
        ] {
            series.add_rows(at(time), call(failed));
        }
        let series = series.finish();
        assert_eq!(series.busiest_second(minute, |t| t.calls as f64).calls, 2);
        assert_eq!(series.busiest_second(minute, |t| t.failed as f64).failed, 1);
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
                series.add_stored(*granularity, start, tally);
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
            let series = read(Demand::new(windows.clone(), [], &stale), &calls);
            for window in windows {
                let rows = calls.iter().filter(|(at, _)| window.contains(*at));
                let expected = rows.fold(Tally::default(), |sum, (_, tally)| sum.plus(*tally));
                prop_assert_eq!(series.tally(window), expected);
            }
        }
    }
}
