//! The answer of `recommend history`; `recommend show` ends with the same table.

use crate::domain::recommendation::Recommendation;
use crate::domain::recommendation::lifecycle::Actor;
use crate::domain::recommendation::lifecycle::history::{Change, Entry};
use crate::output::prelude::*;

#[derive(Debug)]
pub struct History<'a> {
    pub recommendation: &'a Recommendation,
    pub entries: &'a [Entry],
}

#[derive(Debug, Serialize)]
pub struct Numbered<'a> {
    number: usize,
    #[serde(flatten)]
    entry: &'a Entry,
}

pub fn numbered(entries: &[Entry]) -> Vec<Numbered<'_>> {
    let numbered = (1..).zip(entries);
    numbered
        .map(|(number, entry)| Numbered { number, entry })
        .collect()
}

type Row<'a> = Numbered<'a>;

pub(super) fn columns<'a>() -> Vec<Column<'a, Row<'a>>> {
    type Col<'a> = Column<'a, Row<'a>>;
    vec![
        Col::right("#", "number", |it| Cell::count(it.number as u64)),
        Col::left("AT", "at", |it| Cell::Time(it.entry.at)),
        Col::table_only("BY", |it| {
            Cell::text(match it.entry.actor_kind {
                Actor::Person => &it.entry.actor,
                Actor::Engine => "recommend run",
                Actor::Application => "application",
            })
        }),
        Col::csv_only("actor", |it| Cell::text(&it.entry.actor)),
        Col::csv_only("actor_kind", |it| Cell::text(it.entry.actor_kind)),
        Col::csv_only("from", |it| Cell::maybe(it.entry.from)),
        Col::csv_only("to", |it| Cell::text(it.entry.to)),
        Col::table_only("STATUS", |it| Cell::text(status(it.entry))),
        Col::table_only("NOTE", |it| {
            let note = it.entry.note.iter().cloned();
            let all: Vec<String> = note.chain(it.entry.changes.iter().map(change)).collect();
            Cell::text(all.join("; "))
        }),
        Col::csv_only("note", |it| Cell::maybe(it.entry.note.as_ref())),
        Col::csv_only("changes", |it| {
            let changes: Vec<String> = it.entry.changes.iter().map(change).collect();
            Cell::text(changes.join("; "))
        }),
    ]
}

/// `extra cost: $0.45 -> $2.00`.
pub fn change(change: &Change) -> String {
    let values = format::change(Some(&change.from), &change.to);
    format!("{}: {values}", change.name)
}

fn status(entry: &Entry) -> String {
    match entry.from {
        Some(from) if from != entry.to => format::change(Some(from), entry.to),
        _ => entry.to.to_string(),
    }
}

impl Answer for History<'_> {
    fn table(&self, width: Option<usize>) -> String {
        let entries = numbered(self.entries);
        columns::table_or("no history yet\n", &columns(), &entries, width)
    }

    fn json(&self) -> impl Serialize {
        object! {
            id: &self.recommendation.id,
            status: self.recommendation.status,
            history: numbered(self.entries),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&columns(), &numbered(self.entries))
    }
}
