//! The answer of `migrate --adopt`.

use serde::Serialize;

use super::Answer;
use super::columns::{Cell, Column, csv, table};
use super::json::object;
use super::migrations::{Applied, plan_text};
use crate::domain::format::printable;
use crate::domain::schema::adoption::{Evidence, Origin};
use crate::domain::schema::plan::{PlanStep, Repair};

#[derive(Debug)]
pub struct Adoption<'a> {
    /// Nothing if there are no tables.
    pub origin: Option<&'a Origin>,
    pub evidence: &'a [Evidence],
    /// The statements that close the differences.
    pub sql: &'a [String],
    /// The pending migrations, and the repair of triggers before them; both with `--dry-run` only.
    pub plan: &'a [PlanStep],
    pub repairs: &'a [Repair],
    /// Whether the migrations were recorded.
    pub adopted: bool,
    /// The migrations applied afterwards; nothing if the first one failed.
    pub applied: Option<&'a Applied>,
}

fn columns() -> [Column<'static, Evidence>; 6] {
    type Col<'a> = Column<'a, Evidence>;
    [
        Col::left("VERSION", "version", |it| Cell::text(it.version)),
        Col::left("NAME", "name", |it| Cell::text(it.name)),
        Col::right("FOUND", "found", |it| Cell::count(it.found as i64)),
        Col::right("OF", "of", |it| Cell::count(it.expected as i64)),
        Col::left("PRISMA", "prisma", |it| {
            Cell::maybe(it.prisma.as_ref().map(|prisma| prisma.beside(it.name)))
        }),
        Col::left("VERDICT", "verdict", |it| Cell::text(it.verdict)),
    ]
}

impl Answer for Adoption<'_> {
    fn table(&self, width: Option<usize>) -> String {
        if self.adopted {
            let recorded = self.evidence.iter().filter(|it| it.is_adopted());
            let recorded: String = recorded
                .map(|it| format!("adopted {}\n", it.full_name()))
                .collect();
            return recorded + &self.applied.map_or(String::new(), |it| it.table(width));
        }
        let mut text = table(&columns(), self.evidence, width);
        let mut line = |line: &str| {
            text.push_str(&printable(line));
            text.push('\n');
        };
        if let Some(origin) = self.origin {
            line(&format!("created by {origin}"));
        }
        for found in self.evidence {
            for what in &found.restored {
                line(&format!("restore: {what}"));
            }
            for difference in &found.differences {
                line(&format!("difference: {difference}"));
            }
        }
        for statement in self.sql {
            text.push_str(statement);
            text.push('\n');
        }
        text + &plan_text("apply", self.repairs, self.plan)
    }

    fn json(&self) -> impl Serialize {
        object! {
            origin: self.origin,
            migrations: self.evidence,
            sql: self.sql,
            repairs: self.repairs,
            plan: self.plan,
            adopted: self.adopted,
            applied: self.applied.map(|it| &it.migrations),
            pending: self.applied.map(|it| it.pending),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        csv(&columns(), self.evidence)
    }
}
