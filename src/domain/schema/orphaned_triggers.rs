//! Triggers of ours whose tables are gone.
//!
//! On SQLite our tables stand among the application's, so a tool that makes the database equal to the application's
//! schema (`prisma db push`) drops them, but not the triggers, which belong to tables that stay. SQLite resolves the
//! names in a trigger when a statement fires it: every write to such a table fails from then on.

use std::collections::BTreeSet;

/// A trigger as SQLite stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriggerText {
    pub name: String,
    pub table: String,
    pub sql: String,
}

/// A trigger that makes every write to its table fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrphanedTrigger {
    pub name: String,
    pub table: String,
}

impl OrphanedTrigger {
    /// Its table and name.
    pub fn qualified(&self) -> String {
        format!("{}.{}", self.table, self.name)
    }

    /// The tables that cannot be written, each once.
    pub fn tables(triggers: &[OrphanedTrigger]) -> Vec<&str> {
        let tables: BTreeSet<&str> = triggers.iter().map(|it| it.table.as_str()).collect();
        tables.into_iter().collect()
    }
}

const PREFIX: &str = "usagectl_";

/// The triggers of ours that name a missing table of ours.
pub fn orphaned(
    triggers: impl IntoIterator<Item = TriggerText>,
    tables: &BTreeSet<String>,
) -> Vec<OrphanedTrigger> {
    let orphaned = |TriggerText { name, table, sql }: TriggerText| {
        let missing = own_names(&sql).any(|it| it != name && !tables.contains(it));
        (missing && name.starts_with(PREFIX)).then_some(OrphanedTrigger { name, table })
    };
    triggers.into_iter().filter_map(orphaned).collect()
}

/// The quoted identifiers with our prefix.
fn own_names(sql: &str) -> impl Iterator<Item = &str> {
    let quoted = sql.split('"').skip(1).step_by(2);
    quoted.filter(|name| name.starts_with(PREFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger(name: &str, sql: &str) -> TriggerText {
        TriggerText {
            name: name.to_owned(),
            table: "api_usage".to_owned(),
            sql: sql.to_owned(),
        }
    }

    #[test]
    fn own_trigger_that_names_a_missing_table_is_orphaned() {
        let sql = r#"CREATE TRIGGER "usagectl_a" AFTER INSERT ON "api_usage" BEGIN
            INSERT INTO "usagectl_marks" ("api_name") SELECT "x" FROM "usagectl_odd"; END"#;
        let orphaned = |tables: &[&str]| {
            let triggers = [
                trigger("usagectl_a", sql),
                trigger("audit", r#"INSERT INTO "usagectl_none" VALUES (1)"#),
            ];
            super::orphaned(
                triggers,
                &tables.iter().map(|it| (*it).to_owned()).collect(),
            )
        };
        assert_eq!(orphaned(&["usagectl_marks", "usagectl_odd"]), []);
        let found = orphaned(&["usagectl_odd"]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].qualified(), "api_usage.usagectl_a");
    }
}
