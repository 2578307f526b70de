//! One migration about to be applied or undone: what comes, what goes, and what is lost with it.

use super::objects::{Effect, Object};

/// A migration to be applied or undone, and what that does to the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The stamp that orders migrations.
    pub version: String,
    pub name: String,
    /// What is dropped and created.
    pub changes: Vec<Change>,
}

/// One object that a step drops or creates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub drops: bool,
    /// The object, as `domain::catalogue` names it.
    pub what: String,
    pub loss: Option<Loss>,
}

/// What is lost with a table or a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The rows of the table; or the values of the column that are neither null nor its default.
    pub lost: i64,
    /// The rows of the table.
    pub of: i64,
    /// The next `migrate` makes the content again, so nothing is lost for good.
    pub made_again: bool,
}

impl Step {
    /// The step that has this effect. What belongs to a table that comes or goes as a whole is not
    /// named beside it; what is dropped comes first.
    pub fn new(version: &str, name: &str, effect: &Effect) -> Step {
        let change = |drops: bool| {
            move |object: &Object| Change {
                drops,
                what: object.what.clone(),
                loss: None,
            }
        };
        let undone = effect.clone().reversed();
        let changes = undone
            .outline()
            .map(change(true))
            .chain(effect.outline().map(change(false)))
            .collect();
        Step {
            version: version.to_owned(),
            name: name.to_owned(),
            changes,
        }
    }

    /// Version and name, as its folder spells them.
    pub fn full_name(&self) -> String {
        format!("{}_{}", self.version, self.name)
    }

    /// Whether something is lost for good.
    pub fn loses(&self) -> bool {
        self.losses()
            .any(|(_, loss)| loss.lost > 0 && !loss.made_again)
    }

    /// The objects with which something goes.
    pub fn losses(&self) -> impl Iterator<Item = (&str, Loss)> {
        self.changes
            .iter()
            .filter_map(|change| Some((change.what.as_str(), change.loss?)))
    }

    /// The first object with which more would go than the user was shown.
    pub fn exceeds(&self, shown: &Step) -> Option<&str> {
        let was_shown = |what: &str| {
            let found = shown.losses().find(|(shown, _)| *shown == what);
            found.map_or(0, |(_, loss)| loss.lost)
        };
        self.losses()
            .find(|(what, loss)| !loss.made_again && loss.lost > was_shown(what))
            .map(|(what, _)| what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lossy(what: &str, lost: i64, made_again: bool) -> Step {
        let mut step = Step::new("1", "one", &Effect::parse(&format!("- {what}")));
        step.changes[0].loss = Some(Loss {
            lost,
            of: 9,
            made_again,
        });
        step
    }

    #[test]
    fn a_step_names_tables_first_and_not_what_belongs_to_them() {
        let effect =
            Effect::parse("+ column a.x: text\n+ enum e: P, Q\n+ table a\n- index b (y)\n");
        let said = |effect: &Effect| -> Vec<String> {
            let step = Step::new("1", "one", effect);
            step.changes
                .iter()
                .map(|change| {
                    format!(
                        "{} {}",
                        if change.drops { "drop" } else { "create" },
                        change.what
                    )
                })
                .collect()
        };
        assert_eq!(
            said(&effect),
            ["drop index b (y)", "create table a", "create enum e"]
        );
        assert_eq!(
            said(&effect.reversed()),
            ["drop table a", "drop enum e", "create index b (y)"]
        );
    }

    #[test]
    fn only_what_cannot_be_made_again_is_lost() {
        assert!(lossy("table t", 1, false).loses());
        assert!(!lossy("table t", 0, false).loses());
        assert!(!lossy("table t", 1, true).loses());
    }

    #[test]
    fn a_loss_that_grew_since_it_was_shown_is_noticed() {
        let shown = lossy("table t", 3, false);
        assert_eq!(lossy("table t", 3, false).exceeds(&shown), None);
        assert_eq!(lossy("table t", 2, false).exceeds(&shown), None);
        assert_eq!(lossy("table t", 4, false).exceeds(&shown), Some("table t"));
        assert_eq!(lossy("table u", 1, false).exceeds(&shown), Some("table u"));
    }
}
