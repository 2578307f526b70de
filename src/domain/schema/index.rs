//! Decides how a migration's index statement applies to the existing indexes.
//!
//! Indexes are found by definition, not by name: those of an adopted database have other names.

use super::script::{IndexChange, IndexChangeKind};

/// An ordinary index: a B-tree on columns, without a condition, not of a constraint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundIndex {
    pub name: String,
    /// As in `SchemaObject::what`.
    pub object: String,
    pub is_valid: bool,
    /// A server process is building it.
    pub is_building: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexAction {
    /// Done already.
    Nothing,
    /// Run the statement, on the index of this name.
    Run { name: String },
    /// Drop the invalid index that an interrupted run left, then run the statement.
    Rebuild,
    /// A server process is still building it for an interrupted run.
    Wait,
}

/// What to do for `change` where the indexes `found` exist.
pub fn action(change: &IndexChange, found: &[FoundIndex]) -> IndexAction {
    let name = &change.name;
    let named = |name: &str| found.iter().find(|index| index.name == name);
    let run = |name: &str| IndexAction::Run {
        name: name.to_owned(),
    };
    match &change.kind {
        IndexChangeKind::Create { object, .. } => {
            let mut same = found.iter().filter(|index| index.object == *object);
            if same.any(|index| index.is_valid) {
                return IndexAction::Nothing;
            }
            // An invalid index of another name was not created by this program.
            match named(name).filter(|index| index.object == *object) {
                Some(index) if index.is_building => IndexAction::Wait,
                Some(_) => IndexAction::Rebuild,
                None => run(name),
            }
        }
        IndexChangeKind::Drop { object } => {
            let same = |index: &&FoundIndex| index.object == *object;
            // A concurrent drop that was interrupted leaves an invalid index.
            let other = || found.iter().filter(same).find(|index| index.is_valid);
            let index = named(name).filter(same).or_else(other);
            index.map_or(IndexAction::Nothing, |index| run(&index.name))
        }
        IndexChangeKind::Rename { to } => match (named(name), named(to)) {
            (Some(_), None) => run(name),
            _ => IndexAction::Nothing,
        },
    }
}

/// Changes `found` as the statement would; for scripts, which are written before they are run.
pub fn apply(change: &IndexChange, found: &mut Vec<FoundIndex>) {
    let action = action(change, found);
    let (IndexAction::Run { .. } | IndexAction::Rebuild) = &action else {
        return;
    };
    match (&change.kind, action) {
        (IndexChangeKind::Create { object, .. }, _) => {
            found.retain(|index| index.name != change.name);
            found.push(FoundIndex {
                name: change.name.clone(),
                object: object.clone(),
                is_valid: true,
                is_building: false,
            });
        }
        (IndexChangeKind::Drop { .. }, IndexAction::Run { name }) => {
            found.retain(|index| index.name != name);
        }
        (IndexChangeKind::Rename { to }, _) => {
            for index in found.iter_mut().filter(|it| it.name == change.name) {
                index.name.clone_from(to);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::script;
    use crate::domain::testing::cases;

    fn change(sql: &str) -> IndexChange {
        script::parse(sql)[0].statements[0].index.clone().unwrap()
    }

    /// The indexes `NAME OBJECT`, separated by semicolons; `invalid NAME OBJECT` and `building NAME OBJECT`.
    fn indexes(text: &str) -> Vec<FoundIndex> {
        let index = |text: &str| {
            let (state, rest) = text.split_once(' ').unwrap();
            let is_valid = !matches!(state, "invalid" | "building");
            let (name, object) = match is_valid {
                true => (state, rest),
                false => rest.split_once(' ').unwrap(),
            };
            FoundIndex {
                name: name.to_owned(),
                object: object.to_owned(),
                is_valid,
                is_building: state == "building",
            }
        };
        text.split_terminator("; ").map(index).collect()
    }

    const CREATE: &str = "CREATE INDEX ours ON t (a)";
    const DROP: &str = "-- index: t (a)\nDROP INDEX ours";
    const RENAME: &str = "ALTER INDEX ours RENAME TO final";

    /// A statement, the indexes that exist, and the action or the index on which the statement is run.
    const ACTIONS: &str = "
        create | | ours
        create | theirs index t (a desc) | ours
        create | theirs index t (a) | nothing
        create | invalid theirs index t (a) | ours
        create | invalid ours index t (a) | rebuild
        create | building ours index t (a) | wait
        drop | theirs index t (a); ours index t (a) | ours
        drop | theirs index t (a) | theirs
        drop | ours index t (b); theirs index t (a) | theirs
        drop | ours index t (b) | nothing
        drop | invalid ours index t (a) | ours
        drop | invalid theirs index t (a) | nothing
        rename | ours index t (a) | ours
        rename | ours index t (a); final index t (b) | nothing
        rename | | nothing";

    #[test]
    fn action_follows_from_the_existing_indexes() {
        for [statement, found, expected] in cases(ACTIONS) {
            let statement = match statement {
                "create" => CREATE,
                "drop" => DROP,
                _ => RENAME,
            };
            let action = match action(&change(statement), &indexes(found)) {
                IndexAction::Nothing => "nothing".to_owned(),
                IndexAction::Rebuild => "rebuild".to_owned(),
                IndexAction::Wait => "wait".to_owned(),
                IndexAction::Run { name } => name,
            };
            assert_eq!(action, expected, "{statement}: {found}");
        }
    }

    #[test]
    fn script_of_several_changes_follows_their_effects() {
        let mut found = indexes("theirs index t (a)");
        apply(&change(DROP), &mut found);
        assert_eq!(found, []);
        apply(&change(CREATE), &mut found);
        apply(&change(RENAME), &mut found);
        assert_eq!(found, indexes("final index t (a)"));
    }
}
