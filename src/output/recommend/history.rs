//! What `recommend history` answers; `recommend show` ends with the same table.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::spelled;
use crate::domain::metrics::names::Status;
use crate::domain::named::Named;
use crate::domain::recommendation::Recommendation;
use crate::domain::recommendation::history::{Change, Entry};
use crate::domain::recommendation::lifecycle::Actor;
use crate::output::Answer;
use crate::output::table::{Side, layout};

/// The steps of a recommendation.
#[derive(Debug)]
pub struct History<'a> {
    pub recommendation: &'a Recommendation,
    pub entries: &'a [Entry],
}

/// A step for programs.
#[derive(Debug, Serialize)]
pub struct EntryJson<'a> {
    number: usize,
    at: DateTime<Utc>,
    actor: &'a str,
    actor_kind: Actor,
    from: Option<Status>,
    to: Status,
    note: Option<&'a str>,
    changes: &'a [Change],
    catalogue_version: &'a str,
    facts_hash: &'a str,
}

#[derive(Serialize)]
struct HistoryJson<'a> {
    id: &'a str,
    status: Status,
    history: Vec<EntryJson<'a>>,
}

/// The steps for programs.
pub fn entries_json(entries: &[Entry]) -> Vec<EntryJson<'_>> {
    (1..)
        .zip(entries)
        .map(|(number, entry)| EntryJson {
            number,
            at: entry.at,
            actor: &entry.actor,
            actor_kind: entry.actor_kind,
            from: entry.from,
            to: entry.to,
            note: entry.note.as_deref(),
            changes: &entry.changes,
            catalogue_version: &entry.catalogue_version,
            facts_hash: &entry.facts_hash,
        })
        .collect()
}

/// The steps for people.
pub fn entries_table(entries: &[Entry]) -> String {
    let columns = [
        ("#", Side::Right),
        ("AT", Side::Left),
        ("BY", Side::Left),
        ("STATUS", Side::Left),
        ("NOTE", Side::Left),
    ];
    let rows = (1..).zip(entries).map(|(number, entry)| {
        let number: usize = number;
        vec![
            number.to_string(),
            spelled(entry.at),
            by(entry),
            status(entry),
            said(entry),
        ]
    });
    layout(&columns, rows)
}

fn by(entry: &Entry) -> String {
    match entry.actor_kind {
        Actor::Person => entry.actor.clone(),
        Actor::Engine => "recommend run".to_owned(),
        Actor::Application => "the application".to_owned(),
    }
}

fn status(entry: &Entry) -> String {
    match entry.from {
        Some(from) if from != entry.to => format!("{from} -> {}", entry.to),
        _ => entry.to.to_string(),
    }
}

fn said(entry: &Entry) -> String {
    let change = |change: &Change| format!("{}: {} -> {}", change.name, change.from, change.to);
    let note = entry.note.iter().cloned();
    note.chain(entry.changes.iter().map(change))
        .collect::<Vec<_>>()
        .join("; ")
}

impl Answer for History<'_> {
    fn table(&self, _width: Option<usize>) -> String {
        match self.entries {
            [] => "nothing has happened to it yet\n".to_owned(),
            entries => entries_table(entries),
        }
    }

    fn json(&self) -> impl Serialize {
        HistoryJson {
            id: &self.recommendation.id,
            status: self.recommendation.status,
            history: entries_json(self.entries),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = [
            "number",
            "at",
            "actor",
            "actor_kind",
            "from",
            "to",
            "note",
            "changes",
        ];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        for (number, entry) in (1..).zip(self.entries) {
            let number: usize = number;
            let changes = entry.changes.iter();
            let changes = changes.map(|one| format!("{}: {} -> {}", one.name, one.from, one.to));
            rows.push(vec![
                number.to_string(),
                spelled(entry.at),
                entry.actor.clone(),
                entry.actor_kind.as_str().to_owned(),
                entry.from.map_or(String::new(), |from| from.to_string()),
                entry.to.to_string(),
                entry.note.clone().unwrap_or_default(),
                changes.collect::<Vec<_>>().join("; "),
            ]);
        }
        rows
    }
}
