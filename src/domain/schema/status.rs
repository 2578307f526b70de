//! What `status` found, and what to make of it.

use chrono::{DateTime, Utc};

use super::migration::{Standing, State};
use super::objects::Difference;
use crate::domain::metrics::names::Priority;
use crate::domain::metrics::point::Series;

/// Everything that `status` looks at, at one moment.
#[derive(Clone, Debug)]
pub struct Report {
    pub engine: &'static str,
    /// Its version, as it says itself.
    pub engine_version: String,
    /// Every migration, in the order of versions.
    pub migrations: Vec<Standing>,
    /// Where the catalogue is not what the applied migrations made.
    pub drift: Vec<Difference>,
    /// Objects that pending migrations would make and that are there already.
    pub in_the_way: Vec<String>,
    /// How far the roll-ups are behind; nothing before there are any.
    pub freshness: Option<Freshness>,
    /// How many rules fire; nothing before there is alerting.
    pub alerts: Option<AlertCounts>,
    /// What there is to decide and what is no longer measured; nothing before there are limits.
    pub capacity: Option<Capacity>,
    /// On SQLite, rows of `api_usage` whose timestamp nobody can read; they are in no roll-up.
    pub unreadable_timestamps: Option<u64>,
}

/// How far the roll-ups are behind the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Hours of an API in which something changed since they were counted.
    pub hours_waiting: i64,
    pub oldest: Option<DateTime<Utc>>,
}

/// What alert rules say, in numbers. A rule for all APIs counts for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AlertCounts {
    /// Rules that are switched on.
    pub rules: u64,
    pub firing: u64,
    pub critical: u64,
    pub unknown: u64,
    /// Rules that nobody has checked yet.
    pub unchecked: u64,
    /// Notices that wait to be delivered.
    pub notices_waiting: u64,
}

/// What capacity has to say: what waits for a decision, and what nobody can decide by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// How many recommendations are open of each priority that there is, the most urgent first.
    pub open: Vec<(Priority, u64)>,
    /// Series that have a limit and were not measured lately.
    pub stale: Vec<StaleMetric>,
}

/// A series whose newest measurement is too old to be compared with its limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleMetric {
    pub series: Series,
    pub reason: String,
}

/// What all of it comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every migration is applied and the database is as they made it.
    InSync,
    /// As it should be, but migrations are still to be applied.
    Pending,
    /// Not what this program thinks it is.
    Untrustworthy,
}

impl Verdict {
    /// As JSON spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::InSync => "in_sync",
            Verdict::Pending => "pending",
            Verdict::Untrustworthy => "untrustworthy",
        }
    }
}

impl Report {
    /// What all of it comes to. Roll-ups that are behind are no fault: `aggregate` catches up.
    pub fn verdict(&self) -> Verdict {
        let doubtful = [State::Modified, State::Unknown];
        if self.count(&doubtful) > 0 || !self.drift.is_empty() || !self.in_the_way.is_empty() {
            Verdict::Untrustworthy
        } else if self.count(&[State::Pending]) > 0 {
            Verdict::Pending
        } else {
            Verdict::InSync
        }
    }

    /// How many migrations are in one of these states.
    pub fn count(&self, states: &[State]) -> usize {
        let migrations = self.migrations.iter();
        migrations
            .filter(|standing| states.contains(&standing.state))
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(states: &[State]) -> Report {
        let standing = |state: &State| Standing {
            version: "1".to_owned(),
            name: None,
            state: *state,
            applied_at: None,
            done: None,
        };
        Report {
            engine: "sqlite",
            engine_version: "3".to_owned(),
            migrations: states.iter().map(standing).collect(),
            drift: Vec::new(),
            in_the_way: Vec::new(),
            freshness: None,
            alerts: None,
            capacity: None,
            unreadable_timestamps: None,
        }
    }

    #[test]
    fn what_cannot_be_trusted_outweighs_what_is_pending() {
        use State::{Applied, Modified, Pending, Unknown};
        assert_eq!(report(&[Applied]).verdict(), Verdict::InSync);
        assert_eq!(report(&[Applied, Pending]).verdict(), Verdict::Pending);
        for doubtful in [Modified, Unknown] {
            let found = report(&[Pending, doubtful]);
            assert_eq!(found.verdict(), Verdict::Untrustworthy);
        }
        let mut drifted = report(&[Applied, Pending]);
        drifted.drift.push(Difference {
            what: "table t".to_owned(),
            expected: String::new(),
            found: None,
        });
        assert_eq!(drifted.verdict(), Verdict::Untrustworthy);
        let mut foreign = report(&[Pending]);
        foreign.in_the_way.push("table t".to_owned());
        assert_eq!(foreign.verdict(), Verdict::Untrustworthy);
    }

    #[test]
    fn roll_ups_that_are_behind_are_no_fault() {
        let mut behind = report(&[State::Applied]);
        behind.freshness = Some(Freshness {
            hours_waiting: 9,
            oldest: None,
        });
        assert_eq!(behind.verdict(), Verdict::InSync);
    }
}
