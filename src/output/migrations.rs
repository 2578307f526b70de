//! The answers of `migrate` and `rollback`: the plan, the completed actions, and the SQL script.

use serde::Serialize;

use super::columns::{Cell, Column, csv};
use super::{Answer, printable};
use crate::domain::format::{count, counted, counted_as};
use crate::domain::schema::plan::{DataLoss, ObjectChange, PlanStep};

/// A plan, before or after it was carried out.
#[derive(Debug, Serialize)]
pub struct Plan<'a> {
    pub action: PlanAction,
    pub data_loss: bool,
    /// Whether it was carried out.
    pub done: bool,
    #[serde(rename = "migrations")]
    pub steps: &'a [PlanStep],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PlanAction {
    Migrate,
    Rollback,
}

impl<'a> Plan<'a> {
    pub fn new(action: PlanAction, steps: &'a [PlanStep]) -> Plan<'a> {
        Plan {
            action,
            data_loss: steps.iter().any(PlanStep::loses_data),
            done: false,
            steps,
        }
    }
}

impl Answer for Plan<'_> {
    fn table(&self, _width: Option<usize>) -> String {
        if self.steps.is_empty() {
            return "nothing to do\n".to_owned();
        }
        if self.done {
            let migrations = counted(self.steps.len() as u64, "migration");
            return format!("{migrations} reverted\n");
        }
        let verb = match self.action {
            PlanAction::Migrate => "apply",
            PlanAction::Rollback => "revert",
        };
        let mut text = String::new();
        for step in self.steps {
            text.push_str(&format!("{verb} {}\n", step.full_name()));
            let lines = step.changes.iter().map(|change| {
                let line = format!("  {} {}", change.action, change.object);
                (line, change)
            });
            let lines: Vec<(String, &ObjectChange)> = lines.collect();
            // Losses are aligned behind the widest object that has one.
            let with_loss = lines.iter().filter(|(_, change)| change.loss.is_some());
            let width = with_loss.map(|(line, _)| line.chars().count()).max();
            let width = width.unwrap_or(0);
            for (line, change) in &lines {
                let loss = change
                    .loss
                    .map_or(String::new(), |loss| describe(&change.object, loss));
                let line = format!("{:width$}  {loss}", printable(line));
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
        text
    }

    fn json(&self) -> impl Serialize {
        self
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let steps = self.steps.iter();
        let rows: Vec<(&PlanStep, &ObjectChange)> = steps
            .flat_map(|step| step.changes.iter().map(move |change| (step, change)))
            .collect();
        csv(&plan_columns(), &rows)
    }
}

type PlanRow<'a> = (&'a PlanStep, &'a ObjectChange);

fn plan_columns<'a>() -> [Column<'a, PlanRow<'a>>; 6] {
    type Col<'a> = Column<'a, PlanRow<'a>>;
    let number = |number: Option<i64>| Cell::or_missing(number, Cell::count);
    [
        Col::left("VERSION", "version", |(step, _)| Cell::text(&step.version)),
        Col::left("NAME", "name", |(step, _)| Cell::text(&step.name)),
        Col::left("ACTION", "action", |(_, change)| Cell::text(change.action)),
        Col::left("OBJECT", "object", |(_, change)| Cell::text(&change.object)),
        Col::right("LOST", "lost", move |(_, change)| {
            number(change.loss.map(|loss| loss.lost))
        }),
        Col::right("OF", "of", move |(_, change)| {
            number(change.loss.map(|loss| loss.of))
        }),
    ]
}

/// `3 rows`, `1,509 of 1,512 values`.
fn describe(object: &str, loss: DataLoss) -> String {
    let text = if object.starts_with("column ") {
        format!("{} of {} values", count(loss.lost), count(loss.of))
    } else {
        counted_as(loss.lost.unsigned_abs(), "row", "rows")
    };
    if loss.rebuilt && loss.lost > 0 {
        text + ", rebuilt by the next migrate"
    } else {
        text
    }
}

/// What `migrate` did.
#[derive(Debug, Default, Serialize)]
pub struct Applied {
    /// The tables whose triggers were created again.
    pub restored_triggers: Vec<&'static str>,
    #[serde(rename = "applied")]
    pub migrations: Vec<AppliedMigration>,
    /// The number of migrations that are still pending.
    pub pending: usize,
}

#[derive(Debug, Serialize)]
pub struct AppliedMigration {
    pub version: &'static str,
    pub name: &'static str,
    pub duration_ms: i64,
}

impl Answer for Applied {
    fn table(&self, _width: Option<usize>) -> String {
        let mut text = String::new();
        for table in &self.restored_triggers {
            text.push_str(&format!("restored the triggers on {table}\n"));
        }
        for migration in &self.migrations {
            let AppliedMigration {
                version,
                name,
                duration_ms,
            } = migration;
            text.push_str(&format!("applied {version}_{name} in {duration_ms} ms\n"));
        }
        let done = match self.migrations.len() {
            0 if self.restored_triggers.is_empty() => "nothing to do".to_owned(),
            n => format!("{} applied", counted(n as u64, "migration")),
        };
        text + &format!("{done}, {} pending\n", self.pending)
    }

    fn json(&self) -> impl Serialize {
        self
    }

    fn csv(&self) -> Vec<Vec<String>> {
        type Col<'a> = Column<'a, AppliedMigration>;
        let columns = [
            Col::left("VERSION", "version", |row| Cell::text(row.version)),
            Col::left("NAME", "name", |row| Cell::text(row.name)),
            Col::right("MS", "duration_ms", |row| Cell::count(row.duration_ms)),
        ];
        csv(&columns, &self.migrations)
    }
}

/// A plan as SQL for psql or sqlite3.
#[derive(Debug, Serialize)]
pub struct Script {
    pub sql: String,
}

impl Answer for Script {
    fn table(&self, _width: Option<usize>) -> String {
        self.sql.clone()
    }

    fn json(&self) -> impl Serialize {
        self
    }

    fn csv(&self) -> Vec<Vec<String>> {
        vec![vec!["sql".to_owned()], vec![self.sql.clone()]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::objects::Effect;

    #[test]
    fn losses_are_aligned_behind_dropped_objects() {
        let effect = Effect::parse("- table a\n- column b.long_name: text\n- enum e: P\n");
        let mut step = PlanStep::new("1", "one", &effect);
        for (change, lost) in step.changes.iter_mut().zip([1, 1_509]) {
            change.loss = Some(DataLoss {
                lost,
                of: 1_512,
                rebuilt: false,
            });
        }
        let steps = [step];
        let plan = Plan::new(PlanAction::Rollback, &steps);
        assert_eq!(
            plan.table(None),
            "revert 1_one\n  \
               drop table a             1 row\n  \
               drop column b.long_name  1,509 of 1,512 values\n  \
               drop enum e\n"
        );
    }
}
