//! The answer of the commands that move a recommendation.

use chrono::{DateTime, Utc};

use crate::domain::metrics::names::Status;
use crate::domain::recommendation::lifecycle::transition::Transition;
use crate::output::prelude::*;

#[derive(Debug)]
pub struct Moved<'a> {
    pub from: Status,
    pub transition: &'a Transition,
}

impl Moved<'_> {
    fn snoozed_until(&self) -> Option<DateTime<Utc>> {
        self.transition.after.tracking.as_ref()?.snoozed_until
    }
}

impl Answer for Moved<'_> {
    fn table(&self, _width: Option<usize>) -> String {
        let it = &self.transition.after;
        let result = if self.from == it.status {
            format!("{}, note added", it.status)
        } else {
            format::change(Some(self.from), it.status)
        };
        let until = self.snoozed_until().map(format::time);
        let until = until.map_or(String::new(), |until| format!(" until {until}"));
        let (id, version) = (printable(&it.id), self.transition.version);
        format!("{} {id}: {result}{until}, version {version}\n", it.service)
    }

    fn json(&self) -> impl Serialize {
        let it = &self.transition.after;
        let last = self.transition.entries.last();
        object! {
            id: &it.id,
            from: self.from,
            to: it.status,
            version: self.transition.version,
            by: last.map(|entry| entry.actor.as_str()),
            note: last.and_then(|entry| entry.note.as_deref()),
            snoozed_until: self.snoozed_until().map(format::time_ms),
            reopened_count: it.tracking.as_ref().map(|own| own.reopened_count),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let it = &self.transition.after;
        let header = ["id", "from", "to", "version"].map(str::to_owned);
        let row = [
            it.id.clone(),
            self.from.to_string(),
            it.status.to_string(),
            self.transition.version.to_string(),
        ];
        vec![header.to_vec(), row.to_vec()]
    }
}
