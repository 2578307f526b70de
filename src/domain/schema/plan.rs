//! The plan of a migration to be applied or reverted: created and dropped objects, and data loss.

use serde::Serialize;

use super::dependents::{Dependent, Dropped};
use super::locks::StepEstimate;
use super::objects::{Effect, SchemaObject, SchemaObjects};
use crate::domain::named::named;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlanStep {
    pub version: String,
    pub name: String,
    /// Dropped objects first.
    pub changes: Vec<ObjectChange>,
    /// Objects of the user that depend on dropped ones.
    pub dependents: Vec<Dependent>,
    /// `function f() mentions column api_usage.method`, for functions of the user whose text has the names of dropped objects.
    /// They stay, and may fail: the engine knows no dependency of a text.
    pub mentions: Vec<String>,
    /// The steps to be run.
    pub steps: Vec<StepEstimate>,
}

/// The creation of missing or changed triggers on a table or a partition, or of an invalid index, or the drop of a
/// trigger without its tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repair {
    pub table: String,
    /// The name of the invalid index.
    pub index: Option<String>,
    /// The name of the dropped trigger.
    pub dropped_trigger: Option<String>,
    /// Whether the table is a partition; its triggers are created after the migrations.
    #[serde(rename = "partition")]
    pub is_partition: bool,
    /// Those of an index and of a drop are not estimated.
    pub steps: Vec<StepEstimate>,
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
    /// The rows of the table; of a column the values that are neither null nor its default. Nothing if none was
    /// counted in time.
    pub lost: Option<i64>,
    /// The rows of the table.
    pub of: Option<i64>,
    /// False if counting was stopped: there may be more.
    pub exact: bool,
    /// The next `migrate` computes the content again.
    pub rebuilt: bool,
}

impl DataLoss {
    /// Whether data is, or may be, lost that the next `migrate` does not rebuild.
    pub fn is_loss(&self) -> bool {
        !self.rebuilt && (!self.exact || self.lost != Some(0))
    }
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
            dependents: Vec::new(),
            mentions: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// The tables, columns and types that it drops and that exist.
    pub fn dropped(&self, found: &SchemaObjects) -> Dropped {
        let changes = self.changes.iter();
        let dropped = changes.filter(|change| change.action == Action::Drop);
        let names = dropped.map(|change| change.object.as_str());
        Dropped::new(names.filter(|name| found.get(name).is_some()))
    }

    /// Its folder's name: version and name.
    pub fn full_name(&self) -> String {
        format!("{}_{}", self.version, self.name)
    }

    /// Whether data is lost that the next `migrate` does not rebuild, or an object of the user.
    pub fn loses_data(&self) -> bool {
        self.losses().any(|(_, loss)| loss.is_loss()) || self.dependents.iter().any(|it| !it.blocks)
    }

    /// The objects with their data loss, zero included.
    pub fn losses(&self) -> impl Iterator<Item = (&str, DataLoss)> {
        self.changes
            .iter()
            .filter_map(|change| Some((change.object.as_str(), change.loss?)))
    }

    /// The first object that is lost, or that prevents the step, and was not in `shown`.
    pub fn new_loss(&self, shown: &PlanStep) -> Option<String> {
        let dependents = self.dependents.iter();
        let dependent = dependents
            .filter(|it| !shown.dependents.contains(it))
            .map(Dependent::object);
        let objects = self.losses().map(|(object, _)| object);
        let object = objects.filter(|object| shown.losses().all(|(shown, _)| shown != *object));
        dependent.chain(object.map(str::to_owned)).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::dependents::{DependentKind, blockers};

    fn lossy(object: &str, loss: DataLoss) -> PlanStep {
        let mut step = PlanStep::new("1", "one", &Effect::parse(&format!("- {object}")));
        step.changes[0].loss = Some(loss);
        step
    }

    const ONE_ROW: DataLoss = DataLoss {
        lost: Some(1),
        of: Some(9),
        exact: true,
        rebuilt: false,
    };

    fn index(blocks: bool) -> Dependent {
        Dependent {
            kind: DependentKind::Index,
            name: "i".to_owned(),
            depends_on: "table t".to_owned(),
            blocks,
            sql: None,
            removal: Default::default(),
        }
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
        let loses = |lost, exact, rebuilt| {
            let loss = DataLoss {
                lost,
                exact,
                rebuilt,
                ..ONE_ROW
            };
            lossy("table t", loss).loses_data()
        };
        assert!(loses(Some(1), true, false));
        assert!(!loses(Some(0), true, false));
        assert!(!loses(Some(1), true, true));
        // Uncounted data counts as loss.
        assert!(loses(Some(0), false, false) && loses(None, false, false));
    }

    #[test]
    fn object_of_the_user_is_data_loss_unless_it_blocks() {
        let mut step = PlanStep::new("1", "one", &Effect::default());
        step.dependents.push(index(true));
        assert!(!step.loses_data());
        assert!(blockers(&step.dependents).is_some());
        step.dependents.push(index(false));
        assert!(step.loses_data());
    }

    #[test]
    fn more_rows_are_no_new_loss_and_another_object_is() {
        let shown = lossy("table t", ONE_ROW);
        let more = DataLoss {
            lost: Some(5),
            ..ONE_ROW
        };
        assert_eq!(lossy("table t", more).new_loss(&shown), None);
        let other = lossy("table u", ONE_ROW);
        assert_eq!(other.new_loss(&shown).as_deref(), Some("table u"));
        let mut indexed = lossy("table t", ONE_ROW);
        indexed.dependents.push(index(false));
        assert_eq!(indexed.new_loss(&shown).as_deref(), Some("index i"));
        assert_eq!(indexed.new_loss(&indexed), None);
    }
}
