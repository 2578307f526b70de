//! The answers of `prune` and `prune --restore`.

use chrono::{DateTime, Utc};

use crate::domain::format::{count, counted};
use crate::output::prelude::*;

#[derive(Clone, Debug, Default, Serialize)]
pub struct PruneAnswer {
    /// Rows before it are old enough.
    #[serde(serialize_with = "super::json::time")]
    pub before: DateTime<Utc>,
    pub dry_run: bool,
    pub rows_deleted: u64,
    /// Old rows that are left; with `--dry-run` those that would be deleted.
    pub rows_remaining: u64,
    pub rows_archived: u64,
    pub hours_pruned: u64,
    /// Hours left out because they changed since they were rolled up.
    pub hours_changed: u64,
    /// On disk: the table with its indexes on PostgreSQL, the file on SQLite.
    pub bytes_before: u64,
    pub bytes_after: u64,
}

fn columns() -> Vec<Column<'static, PruneAnswer>> {
    type Col = Column<'static, PruneAnswer>;
    vec![
        Col::csv_only("before", |it| Cell::Time(it.before)),
        Col::csv_only("dry_run", |it| Cell::Bool(it.dry_run)),
        Col::csv_only("rows_deleted", |it| Cell::count(it.rows_deleted)),
        Col::csv_only("rows_remaining", |it| Cell::count(it.rows_remaining)),
        Col::csv_only("rows_archived", |it| Cell::count(it.rows_archived)),
        Col::csv_only("hours_pruned", |it| Cell::count(it.hours_pruned)),
        Col::csv_only("hours_changed", |it| Cell::count(it.hours_changed)),
        Col::csv_only("bytes_before", |it| Cell::count(it.bytes_before)),
        Col::csv_only("bytes_after", |it| Cell::count(it.bytes_after)),
    ]
}

fn size(bytes: u64) -> String {
    format::bytes(i64::try_from(bytes).unwrap_or(i64::MAX))
}

impl Answer for PruneAnswer {
    fn table(&self, _width: Option<usize>) -> String {
        let before = format::time(self.before);
        let mut text = match self.dry_run {
            true => format!(
                "would delete {} before {before}\n",
                counted(self.rows_remaining, "row")
            ),
            false => format!(
                "deleted {} of {} before {before}; their roll-ups are kept\n",
                counted(self.rows_deleted, "row"),
                counted(self.hours_pruned, "hour"),
            ),
        };
        if self.rows_archived > 0 {
            text += &format!("archived {}\n", counted(self.rows_archived, "row"));
        }
        if self.rows_remaining > 0 && !self.dry_run {
            text += &format!("{} to delete\n", counted(self.rows_remaining, "more row"));
        }
        if self.hours_changed > 0 {
            let hours = counted(self.hours_changed, "hour");
            text += &format!("left out {hours} that changed since the last roll-up\n");
        }
        if self.dry_run {
            return text;
        }
        text + &format!(
            "{} on disk before, {} after\n",
            size(self.bytes_before),
            size(self.bytes_after)
        )
    }

    fn json(&self) -> impl Serialize {
        self
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&columns(), std::slice::from_ref(self))
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct RestoreAnswer {
    pub rows_restored: u64,
    /// Rows whose id exists already.
    pub rows_existing: u64,
    /// Rows left out: archived and not pruned, or put back before, and deleted since.
    pub rows_deleted_since: u64,
}

impl Answer for RestoreAnswer {
    fn table(&self, _width: Option<usize>) -> String {
        let restored = counted(self.rows_restored, "row");
        let existing = match self.rows_existing {
            0 => String::new(),
            existing => format!("; {} existed", count(existing)),
        };
        let deleted = match self.rows_deleted_since {
            0 => String::new(),
            deleted => format!("; left out {} that were deleted since", count(deleted)),
        };
        format!("restored {restored}{existing}{deleted}\n")
    }

    fn json(&self) -> impl Serialize {
        self
    }

    fn csv(&self) -> Vec<Vec<String>> {
        type Col = Column<'static, RestoreAnswer>;
        let columns = [
            Col::csv_only("rows_restored", |it| Cell::count(it.rows_restored)),
            Col::csv_only("rows_existing", |it| Cell::count(it.rows_existing)),
            Col::csv_only("rows_deleted_since", |it| {
                Cell::count(it.rows_deleted_since)
            }),
        ];
        columns::csv(&columns, std::slice::from_ref(self))
    }
}
