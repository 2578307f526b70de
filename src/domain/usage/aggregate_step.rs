//! A step of `aggregate`: stale periods of one granularity that are brought up to date in one transaction.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::aggregate_row::Counts;
use super::rollup::ApiPeriod;
use crate::domain::period::{Calendar, Granularity, Window};

#[derive(Debug)]
pub struct AggregateStep {
    pub granularity: Granularity,
    calendar: Calendar,
    /// Ordered by start and API.
    pub periods: Vec<ApiPeriod>,
    pub last: ApiPeriod,
    /// From the start of the first period to the end of the last.
    pub window: Window,
    /// Periods of which rows were deleted, each with the time of the newest of these.
    pub deleted_to: BTreeMap<ApiPeriod, DateTime<Utc>>,
}

impl AggregateStep {
    /// The most periods of a step: enough that a transaction is worth it, few enough that their roll-ups,
    /// one for each endpoint, fit into little memory.
    pub const MOST: usize = 500;

    /// The first step of `stale`, which is ordered by start and API; nothing if nothing is stale.
    ///
    /// Each stale period is given with the time of its newest deleted row.
    pub fn first(
        granularity: Granularity,
        calendar: Calendar,
        mut stale: Vec<(ApiPeriod, Option<DateTime<Utc>>)>,
    ) -> Option<AggregateStep> {
        // All that is stored between the periods of a step is read to compare.
        let longest = match granularity {
            Granularity::Hourly => TimeDelta::days(3),
            Granularity::Daily => TimeDelta::days(62),
            Granularity::Monthly => TimeDelta::days(732),
        };
        let from = stale.first()?.0.start;
        stale.retain(|(period, _)| period.start < from + longest);
        let last = stale.last()?.0.clone();
        let deleted = stale.iter();
        let deleted = deleted.filter_map(|(period, to)| Some((period.clone(), (*to)?)));
        Some(AggregateStep {
            granularity,
            calendar,
            window: Window::new(from, calendar.end_of(granularity, last.start)),
            deleted_to: deleted.collect(),
            periods: stale.into_iter().map(|(period, _)| period).collect(),
            last,
        })
    }

    pub fn apis(&self) -> BTreeSet<&str> {
        let apis = self.periods.iter().map(|period| period.api_name.as_str());
        apis.collect()
    }

    pub fn changed(&self, counts: &Counts) -> BTreeSet<&ApiPeriod> {
        let changed = self
            .periods
            .iter()
            .filter(|period| counts.before.get(period) != counts.after.get(period));
        changed.collect()
    }

    /// The longer periods that contain those of the step, which become stale with it.
    pub fn above(&self) -> Option<(Granularity, BTreeSet<ApiPeriod>)> {
        let above = self.granularity.above()?;
        let containing = self.periods.iter().flat_map(|it| self.containing(it));
        Some((above, containing.collect()))
    }

    /// The longer periods that contain one of the step.
    pub fn containing(&self, period: &ApiPeriod) -> Vec<ApiPeriod> {
        period.within(self.granularity, self.calendar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::at;

    fn hours(starts: &[(&str, &str)]) -> Vec<ApiPeriod> {
        let period = |(api_name, start): &(&str, &str)| ApiPeriod {
            start: at(start),
            api_name: (*api_name).to_owned(),
        };
        starts.iter().map(period).collect()
    }

    fn first(granularity: Granularity, stale: &[ApiPeriod]) -> Option<AggregateStep> {
        let stale = stale.iter().map(|period| (period.clone(), None));
        AggregateStep::first(granularity, Calendar::UTC, stale.collect())
    }

    #[test]
    fn step_ends_before_a_gap_of_days() {
        let stale = hours(&[
            ("finnhub", "2026-01-30T23:00:00Z"),
            ("tmdb", "2026-01-30T23:00:00Z"),
            ("tmdb", "2026-02-02T22:00:00Z"),
            ("tmdb", "2026-02-02T23:00:00Z"),
        ]);
        let step = first(Granularity::Hourly, &stale).unwrap();
        assert_eq!(step.periods, stale[..3]);
        assert_eq!(step.last, stale[2]);
        assert_eq!(step.window.from, stale[0].start);
        assert_eq!(step.window.to, stale[3].start);
        assert_eq!(step.apis(), BTreeSet::from(["finnhub", "tmdb"]));
        assert!(first(Granularity::Hourly, &[]).is_none());
    }

    #[test]
    fn containing_periods_follow() {
        let starts = |starts: &[&'static str]| {
            let starts: Vec<_> = starts.iter().map(|start| ("tmdb", *start)).collect();
            hours(&starts)
        };
        let stale = starts(&["01-31T22:00", "01-31T23:00", "02-01T00:00"]);
        let step = first(Granularity::Hourly, &stale).unwrap();
        let days = starts(&["01-31T00:00", "02-01T00:00"])
            .into_iter()
            .collect();
        assert_eq!(step.above(), Some((Granularity::Daily, days)));
        let month = starts(&["01-01T00:00"]);
        let step = first(Granularity::Monthly, &month).unwrap();
        assert_eq!(step.above(), None);
    }
}
