//! The insert triggers of `api_usage` beside a large batch on SQLite.
//!
//! SQLite runs them for each row, and copies the pages that each statement changes in case one of them fails: a sixth
//! of the time. A batch drops them, marks its hours once, and creates them again, all in its transaction: no other
//! connection sees the table without them, and an interrupted run leaves them. The triggers of other programs stay in
//! place.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};

use super::dirty;
use crate::domain::period::Granularity;
use crate::store::migrations::TriggerSet;
use crate::store::prelude::*;

/// Fewer rows are not worth that other connections read the schema again.
const FEWEST_ROWS: usize = 5_000;

/// The triggers that a batch does without, and the hours that it marks instead.
#[derive(Debug)]
pub(super) struct Bulk {
    /// The statements that create them.
    triggers: Vec<String>,
    /// The APIs with new rows in each hour.
    hours: HashMap<DateTime<Utc>, BTreeSet<String>>,
}

impl Bulk {
    /// Drops the triggers, if all of them are there as we create them; in a write transaction.
    pub(super) fn begin(db: &mut Db, rows: usize) -> QueryResult<Option<Bulk>> {
        if rows < FEWEST_ROWS || matches!(db, Db::Pg(_)) {
            return Ok(None);
        }
        let Some(triggers) = TriggerSet::Usage.of_new_rows(db)? else {
            return Ok(None);
        };
        let (names, statements): (Vec<String>, _) = triggers.into_iter().unzip();
        for name in names {
            db.batch_execute(&format!("DROP TRIGGER {name}"))?;
        }
        Ok(Some(Bulk {
            triggers: statements,
            hours: HashMap::new(),
        }))
    }

    /// Notes a new row.
    pub(super) fn add(&mut self, api_name: &str, at: DateTime<Utc>) {
        let apis = self
            .hours
            .entry(Granularity::Hourly.start_of(at))
            .or_default();
        if !apis.contains(api_name) {
            apis.insert(api_name.to_owned());
        }
    }

    /// Marks the hours and creates the triggers again.
    pub(super) fn end(self, db: &mut Db) -> QueryResult<()> {
        if let Db::Sqlite(conn) = db {
            let hours = self.hours.iter().flat_map(|(hour, apis)| {
                let hour = *hour;
                apis.iter().map(move |api| (api.as_str(), hour))
            });
            dirty::mark(conn, hours)?;
        }
        db.batch_execute(&self.triggers.join(";\n"))
    }
}
