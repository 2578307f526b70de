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

    fn change(sql: &str) -> IndexChange {
        script::parse(sql)[0].statements[0].index.clone().unwrap()
    }

    fn index(name: &str, object: &str) -> FoundIndex {
        FoundIndex {
            name: name.to_owned(),
            object: object.to_owned(),
            is_valid: true,
            is_building: false,
        }
    }

    fn run(name: &str) -> IndexAction {
        IndexAction::Run {
            name: name.to_owned(),
        }
    }

    const CREATE: &str = "CREATE INDEX ours ON t (a)";
    const DROP: &str = "-- index: t (a)\nDROP INDEX ours";

    #[test]
    fn index_of_same_definition_is_not_built_again() {
        let create = change(CREATE);
        assert_eq!(action(&create, &[]), run("ours"));
        let other = [index("theirs", "index t (a desc)")];
        assert_eq!(action(&create, &other), run("ours"));
        let same = [index("theirs", "index t (a)")];
        assert_eq!(action(&create, &same), IndexAction::Nothing);
    }

    #[test]
    fn only_our_invalid_index_is_rebuilt() {
        let create = change(CREATE);
        let mut ours = index("ours", "index t (a)");
        ours.is_valid = false;
        let mut theirs = ours.clone();
        theirs.name = "theirs".to_owned();
        assert_eq!(action(&create, &[theirs]), run("ours"));
        assert_eq!(
            action(&create, std::slice::from_ref(&ours)),
            IndexAction::Rebuild
        );
        ours.is_building = true;
        assert_eq!(action(&create, &[ours]), IndexAction::Wait);
    }

    #[test]
    fn index_to_drop_is_found_by_name_then_by_definition() {
        let drop = change(DROP);
        let ours = index("ours", "index t (a)");
        let theirs = index("theirs", "index t (a)");
        assert_eq!(action(&drop, &[theirs.clone(), ours]), run("ours"));
        assert_eq!(action(&drop, std::slice::from_ref(&theirs)), run("theirs"));
        let renamed = [index("ours", "index t (b)"), theirs];
        assert_eq!(action(&drop, &renamed), run("theirs"));
        assert_eq!(
            action(&drop, &[index("ours", "index t (b)")]),
            IndexAction::Nothing
        );
    }

    #[test]
    fn interrupted_drop_is_finished_and_foreign_invalid_index_stays() {
        let drop = change(DROP);
        let mut ours = index("ours", "index t (a)");
        ours.is_valid = false;
        assert_eq!(action(&drop, std::slice::from_ref(&ours)), run("ours"));
        ours.name = "theirs".to_owned();
        assert_eq!(action(&drop, &[ours]), IndexAction::Nothing);
    }

    #[test]
    fn rename_requires_a_free_name() {
        let rename = change("ALTER INDEX ours RENAME TO final");
        let ours = index("ours", "index t (a)");
        assert_eq!(action(&rename, std::slice::from_ref(&ours)), run("ours"));
        let taken = [ours, index("final", "index t (b)")];
        assert_eq!(action(&rename, &taken), IndexAction::Nothing);
        assert_eq!(action(&rename, &[]), IndexAction::Nothing);
    }

    #[test]
    fn script_of_several_changes_follows_their_effects() {
        let mut found = vec![index("theirs", "index t (a)")];
        apply(&change(DROP), &mut found);
        assert_eq!(found, []);
        apply(&change(CREATE), &mut found);
        apply(&change("ALTER INDEX ours RENAME TO final"), &mut found);
        assert_eq!(found, [index("final", "index t (a)")]);
    }
}
