//! The findings of `status` and their verdict.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::adoption::{Origin, lost_tables};
use super::migration::{MigrationState, MigrationStatus, is_newer};
use super::objects::Difference;
use super::orphaned_triggers::OrphanedTrigger;
use crate::domain::metrics::names::Priority;
use crate::domain::metrics::point::Series;
use crate::domain::named::named;
use crate::domain::period::Window;
use crate::domain::run_lock::Holder;

/// The findings of `status`, all of one moment.
#[derive(Clone, Debug, Default)]
pub struct StatusReport {
    pub engine: &'static str,
    pub engine_version: String,
    /// In the order of versions.
    pub migrations: Vec<MigrationStatus>,
    /// The versions in the ledger that another program wrote.
    pub others: Vec<String>,
    /// The `migrate` or `rollback` that is running now.
    pub running: Option<Holder>,
    /// Differences from the objects that the applied migrations created.
    pub drift: Vec<Difference>,
    /// The folder of a restore that is not complete.
    pub restoring: Option<String>,
    /// The rows and values that it has written so far.
    pub restored: String,
    /// The command of a rollback that did not end.
    pub interrupted_rollback: Option<String>,
    /// Whether `migrate` ends all of it.
    pub is_restorable: bool,
    /// The SQL that ends it, but for triggers and functions.
    pub fix: Vec<String>,
    /// `--strict`: objects on the tables of the migrations that no migration creates.
    pub extras: Vec<Difference>,
    /// The findings of `--verify`, tables that `prisma db push` did not rename, and an object with a name that a pending
    /// migration needs; nothing without any.
    pub defects: Option<Vec<Defect>>,
    /// Existing objects that a pending migration would create.
    pub conflicts: Vec<String>,
    /// Who created them, if `migrate --adopt` must record them.
    pub origin: Option<Origin>,
    /// Triggers of ours that make writes of the application fail.
    pub orphaned_triggers: Vec<OrphanedTrigger>,
    /// This and the rest: nothing until the migration that creates their tables is applied.
    pub freshness: Option<Freshness>,
    pub alerts: Option<AlertCounts>,
    pub capacity: Option<CapacitySummary>,
    pub unknown_values: Vec<UnknownValue>,
    /// On SQLite, rows of `api_usage` with an unreadable timestamp; they are in no roll-up.
    pub unreadable_timestamps: Option<u64>,
}

/// A defect of the database that is not a difference from the migrations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Defect {
    pub object: String,
    /// A clause about the object: `is invalid`.
    pub problem: String,
    /// SQL, or the command, that removes it.
    pub fix: Option<String>,
}

/// A value of the application's enums that this version does not know; rows with it are skipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnknownValue {
    /// `InfrastructureLimit.service`.
    pub column: String,
    pub value: String,
}

/// Roll-ups that are out of date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Hours of an API with changes since the last `aggregate`.
    pub hours_waiting: i64,
    pub oldest: Option<DateTime<Utc>>,
    /// Whether another program deleted rows of roll-ups, which the next `aggregate` writes again.
    pub is_incomplete: bool,
    /// Where another program deleted the oldest rows, and the user has not decided whether their calls still count.
    pub undecided: Option<Window>,
}

/// Alert rules by state. A rule for all APIs counts once for each API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AlertCounts {
    /// Enabled rules.
    pub rules: u64,
    pub firing: u64,
    pub critical: u64,
    pub unknown: u64,
    /// Rules that were never evaluated.
    pub unchecked: u64,
    /// Undelivered notifications.
    pub notices_waiting: u64,
}

/// Open recommendations, and limits without current measurements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapacitySummary {
    /// Open recommendations by priority, the most urgent first.
    pub open: Vec<(Priority, u64)>,
    pub stale: Vec<StaleMetric>,
}

/// A series whose newest measurement is too old to be compared with its limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleMetric {
    pub series: Series,
    pub reason: String,
}

named! {
    Verdict, "verdict" {
        InSync = "in_sync",
        Pending = "pending",
        /// Migrations of a newer version are applied, and nothing else differs.
        Ahead = "ahead",
        /// Drift, or migrations that are not this program's.
        Untrustworthy = "untrustworthy",
    }
}

impl StatusReport {
    /// The verdict about the schema. Roll-ups that are out of date do not count: `aggregate` updates them.
    pub fn verdict(&self) -> Verdict {
        use MigrationState::{Modified, Partial, Unknown, Unlogged};
        let is_newer = is_newer(&self.migrations);
        let has_untrusted = self.count(&[Modified, Partial, Unlogged]) > 0
            || !is_newer && self.count(&[Unknown]) > 0
            || self
                .defects
                .as_ref()
                .is_some_and(|defects| !defects.is_empty());
        let differs = [&self.drift, &self.extras].iter().any(|it| !it.is_empty());
        let is_adopted =
            self.conflicts.is_empty() && self.origin.is_none() && self.orphaned_triggers.is_empty();
        if has_untrusted || differs || self.restoring.is_some() || !is_adopted {
            Verdict::Untrustworthy
        } else if is_newer {
            Verdict::Ahead
        } else if self.count(&[MigrationState::Pending]) > 0 {
            Verdict::Pending
        } else {
            Verdict::InSync
        }
    }

    /// Whether the ledger or another table of ours is missing.
    pub fn has_lost_tables(&self) -> bool {
        let is_ledger = |it: &Difference| it.is_of("__diesel_schema_migrations");
        self.drift.iter().any(is_ledger) || lost_tables(&self.drift).next().is_some()
    }

    /// The number of migrations in one of these states.
    pub fn count(&self, states: &[MigrationState]) -> usize {
        let migrations = self.migrations.iter();
        migrations
            .filter(|standing| states.contains(&standing.state))
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(states: &[MigrationState]) -> StatusReport {
        let standing = |state: &MigrationState| MigrationStatus {
            version: "1".to_owned(),
            name: None,
            state: *state,
            applied_at: (*state != MigrationState::Pending).then_some(DateTime::UNIX_EPOCH),
            logged: None,
            progress: None,
        };
        StatusReport {
            migrations: states.iter().map(standing).collect(),
            ..StatusReport::default()
        }
    }

    #[test]
    fn untrustworthy_outweighs_pending() {
        use MigrationState::{Applied, Modified, Partial, Pending, Unknown, Unlogged};
        assert_eq!(report(&[Applied]).verdict(), Verdict::InSync);
        assert_eq!(report(&[Applied, Pending]).verdict(), Verdict::Pending);
        for untrusted in [Modified, Partial, Unknown, Unlogged] {
            let found = report(&[Pending, untrusted]);
            assert_eq!(found.verdict(), Verdict::Untrustworthy);
        }
        let mut newer = report(&[Applied, Unknown]);
        assert_eq!(newer.verdict(), Verdict::Ahead);
        newer.defects = Some(Vec::new());
        assert_eq!(newer.verdict(), Verdict::Ahead);
        newer.defects = Some(vec![Defect {
            object: "index i".to_owned(),
            problem: "is invalid".to_owned(),
            fix: None,
        }]);
        assert_eq!(newer.verdict(), Verdict::Untrustworthy);
        let mut strict = report(&[Applied]);
        strict.extras.push(Difference::missing("column t.own"));
        assert_eq!(strict.verdict(), Verdict::Untrustworthy);
        let mut restoring = report(&[Applied]);
        restoring.restoring = Some("export".to_owned());
        assert_eq!(restoring.verdict(), Verdict::Untrustworthy);
        let mut drifted = report(&[Applied, Pending]);
        drifted.drift.push(Difference::missing("table t"));
        assert_eq!(drifted.verdict(), Verdict::Untrustworthy);
        let mut foreign = report(&[Pending]);
        foreign.conflicts.push("table t".to_owned());
        assert_eq!(foreign.verdict(), Verdict::Untrustworthy);
    }

    #[test]
    fn outdated_roll_ups_are_in_sync() {
        let mut behind = report(&[MigrationState::Applied]);
        behind.freshness = Some(Freshness {
            hours_waiting: 9,
            oldest: None,
            is_incomplete: true,
            undecided: None,
        });
        assert_eq!(behind.verdict(), Verdict::InSync);
    }
}
