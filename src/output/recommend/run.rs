//! The answer of `recommend run`.

use super::history::change;
use super::list::recommendation_json;
use crate::domain::format::counted;
use crate::domain::recommendation::reconcile::Update;
use crate::domain::recommendation::snapshot::Unknown;
use crate::output::prelude::*;

/// The result of a run.
#[derive(Debug)]
pub struct Run {
    pub dry_run: bool,
    /// Number of limits.
    pub limits: usize,
    pub updates: Vec<Update>,
    pub unknown: Vec<Unknown>,
}

fn columns<'a>(ids: &'a [String], updates: &[Update]) -> Vec<Column<'a, Update>> {
    let mut columns = super::columns(updates, ids, |it| &it.after);
    let action = Column::left("ACTION", "action", |it: &Update| Cell::text(it.action));
    columns.insert(2, action);
    columns
}

impl Answer for Run {
    fn table(&self, width: Option<usize>) -> String {
        let updates = self.updates.iter();
        let ids: Vec<String> = updates.map(|update| update.after.id.clone()).collect();
        let mut lines = Vec::new();
        for update in &self.updates {
            let id = format::short_id(&update.after.id, &ids);
            let changes = update.entries.iter().flat_map(|entry| &entry.changes);
            lines.extend(changes.map(|it| format!("{id}: {}", change(it))));
        }
        if !self.updates.is_empty() {
            lines.push(String::new());
        }
        lines.extend(self.unknown.iter().map(|it| {
            let Unknown {
                series,
                plan,
                reason,
            } = it;
            format!("unknown: {series} ({plan}): {reason}")
        }));
        let limits = counted(self.limits as u64, "limit");
        let updates = counted(self.updates.len() as u64, "recommendation");
        let dry = if self.dry_run {
            "; dry run, nothing was written"
        } else {
            ""
        };
        lines.push(format!("{limits} assessed, {updates} updated{dry}"));
        let mut text = String::new();
        if !self.updates.is_empty() {
            text.push_str(&columns::table(
                &columns(&ids, &self.updates),
                &self.updates,
                width,
            ));
        }
        for line in lines {
            text.push_str(&printable(&line));
            text.push('\n');
        }
        text
    }

    fn json(&self) -> impl Serialize {
        let updates = self.updates.iter().map(|update| {
            object! { action: update.action, ..recommendation_json(&update.after) }
        });
        let unknown = self.unknown.iter().map(|it| {
            let Unknown {
                series,
                plan,
                reason,
            } = it;
            object! {
                service: series.service,
                metric: series.metric,
                plan: plan,
                resource: &series.resource,
                reason: reason,
            }
        });
        object! {
            dry_run: self.dry_run,
            limits: self.limits,
            recommendations: updates.collect::<Vec<_>>(),
            unknown: unknown.collect::<Vec<_>>(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&columns(&[], &self.updates), &self.updates)
    }
}
