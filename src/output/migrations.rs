//! What `migrate` and `rollback` answer: the plan, and what was done.

use std::time::Duration;

use serde::Serialize;

use super::{Answer, printable};
use crate::domain::format::count;
use crate::domain::schema::plan::{Change, Loss, Step};

/// What would be done, or is about to be.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The steps, in the order they are taken.
    pub steps: &'a [Step],
    /// They undo migrations.
    pub undoes: bool,
}

#[derive(Serialize)]
struct PlanJson<'a> {
    action: &'static str,
    data_loss: bool,
    migrations: Vec<StepJson<'a>>,
}

#[derive(Serialize)]
struct StepJson<'a> {
    version: &'a str,
    name: &'a str,
    changes: Vec<ChangeJson<'a>>,
}

#[derive(Serialize)]
struct ChangeJson<'a> {
    action: &'static str,
    object: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    made_again: Option<bool>,
}

/// A column joins a table that is there.
fn action(change: &Change) -> &'static str {
    match change.drops {
        true => "drop",
        false if change.what.starts_with("column ") => "add",
        false => "create",
    }
}

impl Answer for Plan<'_> {
    fn table(&self, _width: Option<usize>) -> String {
        if self.steps.is_empty() {
            return "nothing to do\n".to_owned();
        }
        let verb = if self.undoes { "undo" } else { "apply" };
        let mut text = String::new();
        for step in self.steps {
            text.push_str(&format!("{verb} {}\n", step.full_name()));
            let lines = || {
                step.changes
                    .iter()
                    .map(|change| format!("  {} {}", action(change), change.what))
            };
            // Losses stand in a column of their own, behind the widest object that has one.
            let width = lines()
                .zip(&step.changes)
                .filter(|(_, change)| change.loss.is_some())
                .map(|(line, _)| line.chars().count())
                .max()
                .unwrap_or_default();
            for (line, change) in lines().zip(&step.changes) {
                let loss = change
                    .loss
                    .map_or(String::new(), |loss| describe(&change.what, loss));
                let line = format!("{:width$}  {loss}", printable(&line));
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
        text
    }

    fn json(&self) -> impl Serialize {
        PlanJson {
            action: if self.undoes { "rollback" } else { "migrate" },
            data_loss: self.steps.iter().any(Step::loses),
            migrations: self
                .steps
                .iter()
                .map(|step| StepJson {
                    version: &step.version,
                    name: &step.name,
                    changes: step
                        .changes
                        .iter()
                        .map(|change| ChangeJson {
                            action: action(change),
                            object: &change.what,
                            lost: change.loss.map(|loss| loss.lost),
                            of: change.loss.map(|loss| loss.of),
                            made_again: change.loss.map(|loss| loss.made_again),
                        })
                        .collect(),
                })
                .collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = ["version", "name", "action", "object", "lost", "of"];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        for step in self.steps {
            for change in &step.changes {
                let number = |number: Option<i64>| number.map_or(String::new(), |n| n.to_string());
                rows.push(vec![
                    step.version.clone(),
                    step.name.clone(),
                    action(change).to_owned(),
                    change.what.clone(),
                    number(change.loss.map(|loss| loss.lost)),
                    number(change.loss.map(|loss| loss.of)),
                ]);
            }
        }
        rows
    }
}

/// `3 rows`, `1,509 of 1,512 values`.
fn describe(what: &str, loss: Loss) -> String {
    let Loss {
        lost,
        of,
        made_again,
    } = loss;
    let text = if what.starts_with("column ") {
        format!("{} of {} values", count(lost), count(of))
    } else {
        format!("{} {}", count(lost), if lost == 1 { "row" } else { "rows" })
    };
    if made_again && lost > 0 {
        text + ", made again by the next migrate"
    } else {
        text
    }
}

/// What `migrate` did.
#[derive(Debug, Default)]
pub struct Applied {
    /// Version, name and milliseconds of each migration that was applied.
    pub migrations: Vec<(String, String, u128)>,
    /// How many are still pending.
    pub pending: usize,
}

impl Applied {
    /// Adds one that was applied.
    pub fn push(&mut self, version: &str, name: &str, took: Duration) {
        self.migrations
            .push((version.to_owned(), name.to_owned(), took.as_millis()));
        self.pending = self.pending.saturating_sub(1);
    }
}

#[derive(Serialize)]
struct AppliedJson<'a> {
    applied: Vec<AppliedMigrationJson<'a>>,
    pending: usize,
}

#[derive(Serialize)]
struct AppliedMigrationJson<'a> {
    version: &'a str,
    name: &'a str,
    duration_ms: u128,
}

impl Answer for Applied {
    fn table(&self, _width: Option<usize>) -> String {
        let mut text = String::new();
        for (version, name, ms) in &self.migrations {
            text.push_str(&format!("applied {version}_{name} in {ms} ms\n"));
        }
        let done = match self.migrations.len() {
            0 => "nothing to do".to_owned(),
            1 => "1 migration applied".to_owned(),
            n => format!("{n} migrations applied"),
        };
        text + &format!("{done}, {} pending\n", self.pending)
    }

    fn json(&self) -> impl Serialize {
        let applied = self.migrations.iter();
        AppliedJson {
            applied: applied
                .map(|(version, name, ms)| AppliedMigrationJson {
                    version,
                    name,
                    duration_ms: *ms,
                })
                .collect(),
            pending: self.pending,
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = ["version", "name", "duration_ms"];
        let rows = self
            .migrations
            .iter()
            .map(|(version, name, ms)| vec![version.clone(), name.clone(), ms.to_string()]);
        std::iter::once(header.map(str::to_owned).to_vec())
            .chain(rows)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::objects::Effect;

    #[test]
    fn losses_stand_behind_what_is_dropped() {
        let effect = Effect::parse("- table a\n- column b.long_name: text\n- enum e: P\n");
        let mut step = Step::new("1", "one", &effect);
        for (change, lost) in step.changes.iter_mut().zip([1, 1_509]) {
            change.loss = Some(Loss {
                lost,
                of: 1_512,
                made_again: false,
            });
        }
        let plan = Plan {
            steps: &[step],
            undoes: true,
        };
        assert_eq!(
            plan.table(None),
            "undo 1_one\n  \
               drop table a             1 row\n  \
               drop column b.long_name  1,509 of 1,512 values\n  \
               drop enum e\n"
        );
    }
}
