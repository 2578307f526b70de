//! The answer of `recommend run`.

use super::history::change;
use super::list::recommendation_json;
use crate::domain::format::counted;
use crate::domain::recommendation::reconcile::Update;
use crate::domain::recommendation::snapshot::Unknown;
use crate::output::prelude::*;

#[derive(Debug)]
pub struct Run {
    pub dry_run: bool,
    pub limits: usize,
    pub updates: Vec<Update>,
    pub unknown: Vec<Unknown>,
    /// The ids of all recommendations, for unique short ids.
    pub ids: Vec<String>,
}

fn columns(ids: &[String]) -> Vec<Column<'_, Update>> {
    let mut columns = super::columns(ids, |it: &Update| &it.after);
    let action = Column::left("ACTION", "action", |it: &Update| Cell::text(it.action));
    columns.insert(2, action);
    columns
}

impl Answer for Run {
    fn table(&self, width: Option<usize>) -> String {
        let mut lines = Vec::new();
        for update in &self.updates {
            let id = format::short_id(&update.after.id, &self.ids);
            let changes = update.entries.iter().flat_map(|entry| &entry.changes);
            lines.extend(changes.map(|it| format!("{id}: {}", change(it))));
        }
        if !self.updates.is_empty() {
            lines.push(String::new());
        }
        let unknown = |it: &Unknown| format!("unknown: {} ({}): {}", it.series, it.plan, it.reason);
        lines.extend(self.unknown.iter().map(unknown));
        let limits = counted(self.limits as u64, "limit");
        let updates = counted(self.updates.len() as u64, "recommendation");
        let dry = match self.dry_run {
            true => "; dry run, nothing was written",
            false => "",
        };
        lines.push(format!("{limits} assessed, {updates} updated{dry}"));
        let mut text = columns::table_or("", &columns(&self.ids), &self.updates, width);
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
            object! {
                service: it.series.service,
                metric: it.series.metric,
                plan: &it.plan,
                resource: &it.series.resource,
                reason: it.reason.to_string(),
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
        columns::csv(&columns(&[]), &self.updates)
    }
}
