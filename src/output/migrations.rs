//! The answers of `migrate` and `rollback`: the plan, the completed actions, and the SQL script.

use chrono::TimeDelta;
use serde::Serialize;

use super::columns::{Cell, Column, csv, table};
use super::{Answer, wrap};
use crate::domain::format::printable;
use crate::domain::format::{self, at_least, count, counted, counted_as};
use crate::domain::named::Named;
use crate::domain::schema::dependents::DependentKind;
use crate::domain::schema::locks::{StepEstimate, TableEstimate};
use crate::domain::schema::place::Place;
use crate::domain::schema::plan::{DataLoss, ObjectChange, PlanStep, Repair};

#[derive(Debug, Serialize)]
pub struct Plan<'a> {
    pub action: PlanAction,
    pub database: &'a Place,
    pub data_loss: bool,
    pub done: bool,
    pub export: Option<Exported>,
    /// Done before the migrations.
    pub repairs: Vec<Repair>,
    #[serde(rename = "migrations")]
    pub steps: &'a [PlanStep],
}

#[derive(Debug, Serialize)]
pub struct Exported {
    pub folder: String,
    pub rows: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PlanAction {
    Migrate,
    Rollback,
}

impl<'a> Plan<'a> {
    pub fn new(action: PlanAction, database: &'a Place, steps: &'a [PlanStep]) -> Plan<'a> {
        Plan {
            action,
            database,
            data_loss: steps.iter().any(PlanStep::loses_data),
            done: false,
            export: None,
            repairs: Vec::new(),
            steps,
        }
    }
}

impl Answer for Plan<'_> {
    fn table(&self, _width: Option<usize>) -> String {
        let exported = self.export.as_ref().map_or(String::new(), |export| {
            let rows = counted_as(export.rows, "row", "rows");
            format!("; {rows} exported to {}", printable(&export.folder))
        });
        if self.steps.is_empty() && self.repairs.is_empty() {
            return format!("nothing to do{exported}\n");
        }
        if self.done {
            let migrations = counted(self.steps.len() as u64, "migration");
            return format!("{migrations} reverted{exported}\n");
        }
        let verb = match self.action {
            PlanAction::Migrate => "apply",
            PlanAction::Rollback => "revert",
        };
        format!("{}\n", printable(&self.database.to_string()))
            + &plan_text(verb, &self.repairs, self.steps)
    }

    fn json(&self) -> impl Serialize {
        self
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let steps = self.steps.iter();
        let rows: Vec<PlanRow<'_>> = steps.flat_map(plan_rows).collect();
        csv(&plan_columns(), &rows)
    }
}

/// The repair of triggers, then the migrations: their changes, their steps and the objects that depend on them; then the
/// triggers of partitions.
pub(super) fn plan_text(verb: &str, repairs: &[Repair], steps: &[PlanStep]) -> String {
    let (last, first): (Vec<_>, Vec<_>) = repairs.iter().partition(|it| it.is_partition);
    let mut text = repairs_text(&first);
    for step in steps {
        text.push_str(&format!("{verb} {}\n", step.full_name()));
        text.push_str(&changes(step));
        text.push_str(&steps_table(&step.steps));
    }
    text + &repairs_text(&last)
}

fn repairs_text(repairs: &[&Repair]) -> String {
    let mut text = String::new();
    for repair in repairs {
        let table = &repair.table;
        let line = match (&repair.dropped_trigger, &repair.index) {
            (Some(name), _) => format!("drop trigger {table}.{name}, whose tables are missing"),
            (None, None) if repair.is_partition => {
                format!("create the triggers on the partition {table}")
            }
            (None, None) => format!("restore the triggers on {table}"),
            (None, Some(index)) => format!("rebuild the invalid index {index} on {table}"),
        };
        text += &printable(&line);
        text.push('\n');
        text.push_str(&steps_table(&repair.steps));
    }
    text
}

/// The changed objects with their data loss, and the objects that depend on them.
fn changes(step: &PlanStep) -> String {
    let mut text = String::new();
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
    for dependent in &step.dependents {
        let object = dependent.object();
        let line = if dependent.blocks {
            format!("blocked by {object}, which uses {}", dependent.depends_on)
        } else {
            let is_restored = dependent.kind != DependentKind::Setting || dependent.sql.is_some();
            let kept = if is_restored {
                ""
            } else {
                " and no restore brings back"
            };
            format!("drop {object}, which no migration created{kept}")
        };
        text.push_str(&format!("  {}\n", printable(&line)));
    }
    for mention in &step.mentions {
        text.push_str(&format!("  {}: it may fail\n", printable(mention)));
    }
    text
}

/// The widest table of steps; longer titles are wrapped.
const STEPS_WIDTH: usize = 98;

/// One line for each step and each existing table that it uses, and for each further line of the title.
fn steps_table(steps: &[StepEstimate]) -> String {
    if steps.is_empty() {
        return String::new();
    }
    let wrapped = |width: usize| {
        let lines: Vec<StepLine<'_>> = steps
            .iter()
            .flat_map(|step| step_lines(step, width))
            .collect();
        table(&step_columns(), &lines, None)
    };
    let text = (6..=48).rev().map(wrapped);
    let is_narrow = |text: &String| text.lines().all(|line| line.chars().count() <= STEPS_WIDTH);
    let mut widest = text.peekable();
    let first = widest.peek().cloned().unwrap_or_default();
    let text = widest.find(is_narrow).unwrap_or(first);
    text.lines().map(|line| format!("  {line}\n")).collect()
}

/// A line of the table: a part of the title, and on the first line the step and a table.
type StepLine<'a> = (
    String,
    Option<(&'a StepEstimate, Option<&'a TableEstimate>)>,
);

fn step_lines(step: &StepEstimate, width: usize) -> Vec<StepLine<'_>> {
    let number = step.number.to_string();
    let indent = number.len() + 1;
    let title = wrap(&step.title, width.saturating_sub(indent));
    let first = format!("{number} {}", title[0]);
    let mut tables = step.tables.iter();
    let mut lines = vec![(first.trim_end().to_owned(), Some((step, tables.next())))];
    let mut rest = title[1..]
        .iter()
        .map(|part| format!("{:indent$}{part}", ""));
    lines.extend(tables.map(|table| (rest.next().unwrap_or_default(), Some((step, Some(table))))));
    lines.extend(rest.map(|part| (part, None)));
    lines
}

fn step_columns<'a>() -> [Column<'a, StepLine<'a>>; 7] {
    type Col<'a> = Column<'a, StepLine<'a>>;
    fn known(value: Option<String>) -> Cell {
        Cell::text(value.unwrap_or_else(|| "unknown".to_owned()))
    }
    // The further lines of a title have no other cells.
    let of_table = move |line: &StepLine<'_>, cell: fn(&TableEstimate) -> Cell| {
        line.1
            .map_or(Cell::text(""), |(_, table)| Cell::or_missing(table, cell))
    };
    fn duration(ms: i64) -> String {
        match ms {
            ..1_000 => "<1s".to_owned(),
            _ => format::duration(TimeDelta::milliseconds(ms)),
        }
    }
    [
        Col::left("STEP", "step", |(title, _)| Cell::text(title)),
        Col::left("TABLE", "table", move |line| {
            of_table(line, |it| Cell::text(&it.table))
        }),
        Col::left("LOCK", "lock", move |line| {
            let lock = |(step, it): (&StepEstimate, Option<&TableEstimate>)| {
                Cell::text(it.map_or(step.lock, |it| it.lock))
            };
            line.1.map_or(Cell::text(""), lock)
        }),
        Col::left("WORK", "work", move |line| {
            of_table(line, |it| Cell::text(it.work))
        }),
        Col::right("ROWS", "rows", move |line| {
            of_table(line, |it| known(it.rows.map(count)))
        }),
        Col::right("SIZE", "bytes", move |line| {
            of_table(line, |it| known(it.bytes.map(format::bytes)))
        }),
        Col::right("TIME", "duration_ms", move |line| {
            of_table(line, |it| known(it.duration_ms.map(duration)))
        }),
    ]
}

impl Plan<'_> {
    /// What the plan loses, as comments of an SQL script.
    pub fn as_comment(&self) -> String {
        if !self.data_loss {
            return String::new();
        }
        let mut steps = self.steps.to_vec();
        // They have lines of their own in the script.
        steps.iter_mut().for_each(|step| step.steps.clear());
        let plan = Plan::new(self.action, self.database, &steps);
        let lines = plan.table(None);
        let lines = lines.lines().map(|line| format!("-- {line}\n"));
        "-- This script loses data.\n".to_owned() + &lines.collect::<String>()
    }
}

/// A step, and the change of an object: action, object and data loss.
type PlanRow<'a> = (&'a PlanStep, &'static str, String, Option<DataLoss>);

/// The changes of a step, then the objects that depend on them.
fn plan_rows(step: &PlanStep) -> Vec<PlanRow<'_>> {
    let changes = step.changes.iter();
    let changes = changes.map(|it| (step, it.action.as_str(), it.object.clone(), it.loss));
    let dependents = step.dependents.iter().map(|it| {
        let action = if it.blocks { "blocked" } else { "drop" };
        (step, action, it.object(), None)
    });
    changes.chain(dependents).collect()
}

fn plan_columns<'a>() -> [Column<'a, PlanRow<'a>>; 6] {
    type Col<'a> = Column<'a, PlanRow<'a>>;
    let number = |loss: &Option<DataLoss>, number: fn(DataLoss) -> Option<i64>| {
        Cell::or_missing(loss.and_then(number), Cell::count)
    };
    [
        Col::left("VERSION", "version", |row| Cell::text(&row.0.version)),
        Col::left("NAME", "name", |row| Cell::text(&row.0.name)),
        Col::left("ACTION", "action", |row| Cell::text(row.1)),
        Col::left("OBJECT", "object", |row| Cell::text(&row.2)),
        Col::right("LOST", "lost", move |row| number(&row.3, |loss| loss.lost)),
        Col::right("OF", "of", move |row| number(&row.3, |loss| loss.of)),
    ]
}

/// `3 rows`, `1,509 of 1,512 values`, `at least 1,509 values`.
fn describe(object: &str, loss: DataLoss) -> String {
    let is_column = object.starts_with("column ");
    let text = match (loss.lost, loss.of) {
        (Some(lost), Some(of)) if is_column && loss.exact => {
            format!("{} of {} values", count(lost), count(of))
        }
        (Some(lost), _) => {
            let lost = match is_column {
                true => counted_as(lost.unsigned_abs(), "value", "values"),
                false => counted_as(lost.unsigned_abs(), "row", "rows"),
            };
            at_least(lost, !loss.exact)
        }
        (None, _) if is_column => "unknown number of values".to_owned(),
        (None, _) => "unknown number of rows".to_owned(),
    };
    if loss.rebuilt && loss.lost != Some(0) {
        text + ", rebuilt by the next migrate"
    } else {
        text
    }
}

/// What `migrate` did.
#[derive(Debug, Default, Serialize)]
pub struct Applied {
    /// The triggers that made every write to their table fail.
    pub dropped_triggers: Vec<String>,
    /// The tables whose triggers were created again.
    pub restored_triggers: Vec<String>,
    /// The names of the invalid indexes that were built again.
    pub rebuilt_indexes: Vec<String>,
    #[serde(rename = "applied")]
    pub migrations: Vec<AppliedMigration>,
    pub pending: usize,
}

#[derive(Debug, Serialize)]
pub struct AppliedMigration {
    pub version: &'static str,
    pub name: &'static str,
    pub duration_ms: i64,
}

impl AppliedMigration {
    fn full_name(&self) -> String {
        format!("{}_{}", self.version, self.name)
    }
}

impl Applied {
    pub fn has_changes(&self) -> bool {
        !self.dropped_triggers.is_empty()
            || !self.restored_triggers.is_empty()
            || !self.rebuilt_indexes.is_empty()
            || !self.migrations.is_empty()
    }
}

impl Answer for Applied {
    fn table(&self, _width: Option<usize>) -> String {
        let mut text = String::new();
        for name in &self.dropped_triggers {
            let line = format!("dropped the trigger {name}, which made writes fail");
            text += &printable(&line);
            text.push('\n');
        }
        for table in &self.restored_triggers {
            text.push_str(&format!("restored the triggers on {table}\n"));
        }
        for name in &self.rebuilt_indexes {
            text += &printable(&format!("rebuilt the invalid index {name}"));
            text.push('\n');
        }
        for migration in &self.migrations {
            let duration_ms = migration.duration_ms;
            text += &format!("applied {} in {duration_ms} ms\n", migration.full_name());
        }
        let done = match self.migrations.len() {
            0 if !self.has_changes() => "nothing to do".to_owned(),
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

/// What `migrate --restore` did.
#[derive(Debug, Serialize)]
pub struct Restored {
    pub folder: String,
    pub applied: Vec<AppliedMigration>,
    pub tables: Vec<RestoredTable>,
    pub objects: Vec<RestoredObject>,
}

#[derive(Debug, Serialize)]
pub struct RestoredTable {
    pub migration: String,
    pub table: String,
    pub written: u64,
    pub unchanged: u64,
    /// Written since the rollback, and different.
    pub kept: u64,
    /// Rows that were deleted since the rollback, so that their values cannot be written.
    pub missing: u64,
    /// Rows with a value that the table cannot hold.
    pub refused: u64,
    /// The first of them.
    pub problems: Vec<String>,
}

/// An index or trigger of the user.
#[derive(Debug, Serialize)]
pub struct RestoredObject {
    pub object: String,
    /// False if it exists already, or cannot be created.
    pub created: bool,
    pub error: Option<String>,
}

impl Restored {
    /// Whether the database has everything that was exported.
    pub fn is_complete(&self) -> bool {
        let mut tables = self.tables.iter();
        let is_complete = tables.all(|table| table.missing == 0);
        is_complete && !self.has_kept_rows() && !self.has_refused_rows() && self.has_all_objects()
    }

    pub fn has_kept_rows(&self) -> bool {
        self.tables.iter().any(|table| table.kept > 0)
    }

    pub fn has_refused_rows(&self) -> bool {
        self.tables.iter().any(|table| table.refused > 0)
    }

    pub fn has_all_objects(&self) -> bool {
        self.objects.iter().all(|object| object.error.is_none())
    }
}

impl RestoredTable {
    fn has_rows(&self) -> bool {
        self.written + self.unchanged + self.kept + self.missing + self.refused > 0
    }
}

fn restored_columns<'a>() -> [Column<'a, &'a RestoredTable>; 7] {
    type Col<'a> = Column<'a, &'a RestoredTable>;
    [
        Col::left("MIGRATION", "migration", |row| Cell::text(&row.migration)),
        Col::left("TABLE", "table", |row| Cell::text(&row.table)),
        Col::right("WRITTEN", "written", |row| Cell::count(row.written)),
        Col::right("UNCHANGED", "unchanged", |row| Cell::count(row.unchanged)),
        Col::right("KEPT", "kept", |row| Cell::count(row.kept)),
        Col::right("MISSING", "missing", |row| Cell::count(row.missing)),
        Col::right("REFUSED", "refused", |row| Cell::count(row.refused)),
    ]
}

impl Answer for Restored {
    fn table(&self, width: Option<usize>) -> String {
        let mut text = String::new();
        for migration in &self.applied {
            text += &format!("applied {}\n", migration.full_name());
        }
        let with_rows = self.tables.iter().filter(|table| table.has_rows());
        let with_rows: Vec<&RestoredTable> = with_rows.collect();
        if !with_rows.is_empty() {
            text.push_str(&table(&restored_columns(), &with_rows, width));
        }
        for table in &self.tables {
            for problem in &table.problems {
                text.push_str(&format!("cannot restore {}\n", printable(problem)));
            }
            let others = table.refused.saturating_sub(table.problems.len() as u64);
            if others > 0 {
                let others = counted_as(others, "other row", "other rows");
                text.push_str(&format!("cannot restore {others} of {}\n", table.table));
            }
            if table.missing > 0 {
                let rows = counted_as(table.missing, "row", "rows");
                text += &printable(&format!(
                    "missing: {rows} of {} deleted since the rollback; the exported values of such rows were not written \
                     and remain in {}",
                    table.table, self.folder
                ));
                text.push('\n');
            }
        }
        for object in &self.objects {
            let name = &object.object;
            let line = match (object.created, &object.error) {
                (true, _) => format!("created {name}"),
                (false, None) => format!("{name} exists"),
                (false, Some(error)) => format!("cannot create {name}: {error}"),
            };
            text.push_str(&format!("{}\n", printable(&line)));
        }
        let written = self.tables.iter().map(|table| table.written).sum::<u64>();
        let written = counted_as(written, "row", "rows");
        text + &format!("restored {written} from {}\n", printable(&self.folder))
    }

    fn json(&self) -> impl Serialize {
        self
    }

    fn csv(&self) -> Vec<Vec<String>> {
        csv(&restored_columns(), &self.tables.iter().collect::<Vec<_>>())
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

/// The part of prisma.config.ts that keeps `prisma db push` from deleting these tables.
pub fn external_tables(names: &[String]) -> String {
    let mut text = "usagectl's tables are among the application's: list them in prisma.config.ts, since \
                    `prisma db push` deletes tables that it does not know\n  experimental: { externalTables: true },\n  \
                    tables: {\n    external: [\n"
        .to_owned();
    for line in names.chunks(3) {
        let line: Vec<String> = line.iter().map(|name| format!("\"{name}\",")).collect();
        text.push_str(&format!("      {}\n", line.join(" ")));
    }
    text + "    ],\n  },"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::dependents::Dependent;
    use crate::domain::schema::objects::Effect;

    #[test]
    fn losses_are_aligned_behind_dropped_objects() {
        let effect = Effect::parse("- table a\n- column b.long_name: text\n- enum e: P\n");
        let mut step = PlanStep::new("1", "one", &effect);
        for (change, lost) in step.changes.iter_mut().zip([1, 1_509]) {
            change.loss = Some(DataLoss {
                lost: Some(lost),
                of: Some(1_512),
                exact: true,
                rebuilt: false,
            });
        }
        step.dependents = [(DependentKind::Index, false), (DependentKind::View, true)]
            .map(|(kind, blocks)| Dependent {
                kind,
                name: "mine".to_owned(),
                depends_on: "table a".to_owned(),
                blocks,
                sql: None,
                removal: Default::default(),
            })
            .to_vec();
        let steps = [step];
        let place = Place {
            host: Some("db:5432".to_owned()),
            name: "shop".to_owned(),
            schema: Some("public".to_owned()),
        };
        let mut plan = Plan::new(PlanAction::Rollback, &place, &steps);
        assert_eq!(
            plan.table(None),
            "database shop at db:5432, schema public\n\
             revert 1_one\n  \
               drop table a             1 row\n  \
               drop column b.long_name  1,509 of 1,512 values\n  \
               drop enum e\n  \
               drop index mine, which no migration created\n  \
               blocked by view mine, which uses table a\n"
        );
        plan.done = true;
        plan.export = Some(Exported {
            folder: "dir".to_owned(),
            rows: 1_510,
        });
        let result = "1 migration reverted; 1,510 rows exported to dir\n";
        assert_eq!(plan.table(None), result);
    }

    #[test]
    fn uncounted_loss_is_at_least_or_unknown() {
        let loss = |lost| DataLoss {
            lost,
            of: lost,
            exact: false,
            rebuilt: false,
        };
        assert_eq!(describe("table t", loss(Some(5))), "at least 5 rows");
        assert_eq!(describe("column t.c", loss(Some(1))), "at least 1 value");
        let unknown = describe("column t.c", loss(None));
        assert_eq!(unknown, "unknown number of values");
    }
}
