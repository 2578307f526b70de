//! What a command that moves a recommendation answers.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::spelled;
use crate::domain::metrics::names::Status;
use crate::domain::recommendation::transition::Moved;
use crate::output::{Answer, printable};

/// A step that was taken.
#[derive(Debug)]
pub struct Step<'a> {
    pub from: Status,
    pub moved: &'a Moved,
}

#[derive(Serialize)]
struct StepJson<'a> {
    id: &'a str,
    from: Status,
    to: Status,
    version: i32,
    by: Option<&'a str>,
    note: Option<&'a str>,
    snoozed_until: Option<DateTime<Utc>>,
    reopened_count: Option<i32>,
}

impl Answer for Step<'_> {
    fn table(&self, _width: Option<usize>) -> String {
        let it = &self.moved.after;
        let what = if self.from == it.status {
            format!("{}, noted", it.status)
        } else {
            format!("{} -> {}", self.from, it.status)
        };
        let until = it.own.as_ref().and_then(|own| own.snoozed_until);
        let until = until.map_or(String::new(), |until| format!(" until {}", spelled(until)));
        format!(
            "{} {}: {what}{until}, version {}\n",
            it.service,
            printable(&it.id),
            self.moved.version
        )
    }

    fn json(&self) -> impl Serialize {
        let it = &self.moved.after;
        let last = self.moved.entries.last();
        StepJson {
            id: &it.id,
            from: self.from,
            to: it.status,
            version: self.moved.version,
            by: last.map(|entry| entry.actor.as_str()),
            note: last.and_then(|entry| entry.note.as_deref()),
            snoozed_until: it.own.as_ref().and_then(|own| own.snoozed_until),
            reopened_count: it.own.as_ref().map(|own| own.reopened_count),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let it = &self.moved.after;
        let header = ["id", "from", "to", "version"].map(str::to_owned);
        let row = [
            it.id.clone(),
            self.from.to_string(),
            it.status.to_string(),
            self.moved.version.to_string(),
        ];
        vec![header.to_vec(), row.to_vec()]
    }
}
