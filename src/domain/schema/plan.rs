//! The plan of a migration to be applied or reverted: created and dropped objects, and data loss.

use serde::Serialize;

use super::objects::{Effect, SchemaObject};
use crate::domain::named::named;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlanStep {
    pub version: String,
    pub name: String,
    /// Dropped objects first.
    pub changes: Vec<ObjectChange>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ObjectChange {
    pub action: Action,
    /// Named as in [`SchemaObject`].
    pub object: String,
    #[serde(flatten)]
    pub loss: Option<DataLoss>,
}

named! {
    Action, "action" {
        Drop = "drop",
        /// A column, to an existing table.
        Add = "add",
        Create = "create",
    }
}

/// The data lost with a table or a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DataLoss {
    /// The rows of the table; of a column the values that are neither null nor its default.
    pub lost: i64,
    /// The rows of the table.
    pub of: i64,
    /// The next `migrate` computes the content again.
    pub rebuilt: bool,
}

impl PlanStep {
    /// The step with this effect. Objects that belong to a created or dropped table are left out.
    pub fn new(version: &str, name: &str, effect: &Effect) -> PlanStep {
        let change = |action: Action, object: &SchemaObject| ObjectChange {
            action,
            object: object.what.clone(),
            loss: None,
        };
        let reversed = effect.clone().reversed();
        let dropped = reversed
            .outline()
            .map(|object| change(Action::Drop, object));
        let added = effect.outline().map(|object| match object.parts().0 {
            "column" => change(Action::Add, object),
            _ => change(Action::Create, object),
        });
        PlanStep {
            version: version.to_owned(),
            name: name.to_owned(),
            changes: dropped.chain(added).collect(),
        }
    }

    /// Its folder's name: version and name.
    pub fn full_name(&self) -> String {
        format!("{}_{}", self.version, self.name)
    }

    /// Whether data is lost that the next `migrate` does not rebuild.
    pub fn loses_data(&self) -> bool {
        self.losses()
            .any(|(_, loss)| loss.lost > 0 && !loss.rebuilt)
    }

    /// The objects with their data loss, zero included.
    pub fn losses(&self) -> impl Iterator<Item = (&str, DataLoss)> {
        self.changes
            .iter()
            .filter_map(|change| Some((change.object.as_str(), change.loss?)))
    }

    /// The first object with which more data is lost than in `shown`.
    pub fn exceeds(&self, shown: &PlanStep) -> Option<&str> {
        let was_shown = |object: &str| {
            let found = shown.losses().find(|(shown, _)| *shown == object);
            found.map_or(0, |(_, loss)| loss.lost)
        };
        self.losses()
            .find(|(object, loss)| !loss.rebuilt && loss.lost > was_shown(object))
            .map(|(object, _)| object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lossy(object: &str, lost: i64, rebuilt: bool) -> PlanStep {
        let mut step = PlanStep::new("1", "one", &Effect::parse(&format!("- {object}")));
        step.changes[0].loss = Some(DataLoss {
            lost,
            of: 9,
            rebuilt,
        });
        step
    }

    #[test]
    fn step_lists_dropped_objects_first_and_omits_parts_of_tables() {
        let effect =
            Effect::parse("+ column a.x: text\n+ enum e: P, Q\n+ table a\n- index b (y)\n");
        let lines = |effect: &Effect| -> Vec<String> {
            let step = PlanStep::new("1", "one", effect);
            let changes = step.changes.iter();
            changes
                .map(|change| format!("{} {}", change.action, change.object))
                .collect()
        };
        let expected = ["drop index b (y)", "create table a", "create enum e"];
        assert_eq!(lines(&effect), expected);
        let expected = ["drop table a", "drop enum e", "create index b (y)"];
        assert_eq!(lines(&effect.reversed()), expected);
        let column = Effect::parse("+ column b.y: text\n");
        assert_eq!(lines(&column), ["add column b.y"]);
    }

    #[test]
    fn rebuilt_content_is_no_data_loss() {
        assert!(lossy("table t", 1, false).loses_data());
        assert!(!lossy("table t", 0, false).loses_data());
        assert!(!lossy("table t", 1, true).loses_data());
    }

    #[test]
    fn growth_of_loss_is_detected() {
        let shown = lossy("table t", 3, false);
        assert_eq!(lossy("table t", 3, false).exceeds(&shown), None);
        assert_eq!(lossy("table t", 2, false).exceeds(&shown), None);
        assert_eq!(lossy("table t", 4, false).exceeds(&shown), Some("table t"));
        assert_eq!(lossy("table u", 1, false).exceeds(&shown), Some("table u"));
    }
}
