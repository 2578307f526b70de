//! Adoption of a database whose migrations are not in our ledger, because another tool created its tables or
//! because the ledger was lost.
//!
//! The evidence for each migration is the objects of its effect: found, missing or different. Its verdict
//! follows from them alone; Prisma's ledger and our log are shown beside it. Triggers and functions are not
//! evidence, since a dump of one schema and `prisma migrate reset` lose them: adoption creates them again.

use std::collections::BTreeSet;

use serde::Serialize;

use super::objects::{Difference, Effect, SchemaObject, SchemaObjects, table_of};
use super::prisma::PrismaMigration;
use crate::domain::named::named;

/// A migration of this program, as the database records it.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub version: &'static str,
    pub name: &'static str,
    pub effect: Effect,
    /// Whether it is in our ledger.
    pub is_recorded: bool,
    /// Whether the last entry of our log for it applied it.
    pub is_logged: bool,
    /// Whether a run of it was interrupted: the next run continues it.
    pub is_interrupted: bool,
    /// Its state in Prisma's ledger, if there is one.
    pub prisma: Option<PrismaMigration>,
}

named! {
    AdoptionVerdict, "adoption verdict" {
        /// Its ledger row and its log entry exist.
        Recorded = "recorded",
        /// All its objects exist: it will be recorded.
        Adopt = "adopt",
        /// None of its objects exists: it will be applied.
        Pending = "pending",
        /// Only some of its objects exist, or with other definitions.
        Partial = "partial",
    }
}

/// The evidence that a migration was applied.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evidence {
    pub version: &'static str,
    pub name: &'static str,
    pub verdict: AdoptionVerdict,
    /// The number of objects that it created and that no later migration removed.
    pub expected: usize,
    /// How many of them exist with the same definition.
    pub found: usize,
    pub differences: Vec<Difference>,
    /// Its triggers and functions that are missing or different, and our own tables that are missing; they will be
    /// created again.
    pub restored: Vec<String>,
    /// Whether it is in our ledger.
    pub in_ledger: bool,
    pub in_log: bool,
    pub prisma: Option<PrismaMigration>,
}

impl Evidence {
    /// Its folder's name: version and name.
    pub fn full_name(&self) -> String {
        format!("{}_{}", self.version, self.name)
    }

    pub fn is_adopted(&self) -> bool {
        self.verdict == AdoptionVerdict::Adopt
    }

    pub fn is_pending(&self) -> bool {
        self.verdict == AdoptionVerdict::Pending
    }

    /// The text for the log: `54 of 54 objects`, `Prisma: 20260101000000_init applied`.
    pub fn summary(&self) -> String {
        let mut text = format!("{} of {} objects", self.found, self.expected);
        if let Some(prisma) = &self.prisma {
            text.push_str(&format!("; Prisma: {prisma}"));
        }
        text
    }
}

/// The evidence for each migration, in the order given, which is that of their versions.
///
/// Our own tables are no evidence where others of a recorded or partly existing migration are missing: adoption creates
/// them again.
///
/// `last` is the version of the last migration that will be applied; all if none.
pub fn evidence(
    candidates: Vec<Candidate>,
    found: &SchemaObjects,
    last: Option<&str>,
) -> Vec<Evidence> {
    // From the last to the first, because a later migration removes objects of an earlier one.
    let mut removed_by_applied: BTreeSet<String> = BTreeSet::new();
    let mut removed_by_pending: BTreeSet<String> = BTreeSet::new();
    // Tables that existing migrations add columns or indexes to.
    let mut used_tables: BTreeSet<String> = BTreeSet::new();
    let mut result: Vec<Evidence> = Vec::with_capacity(candidates.len());
    for candidate in candidates.into_iter().rev() {
        let is_required = |object: &&SchemaObject| {
            // The runner of a pending migration removes an index whether it exists or not.
            let is_index = object.parts().0 == "index";
            let is_removed = removed_by_applied.contains(&object.what)
                || is_index && removed_by_pending.contains(&object.what);
            !is_removed
        };
        let required: Vec<&SchemaObject> =
            candidate.effect.added.iter().filter(is_required).collect();
        let own_tables = candidate.effect.tables();
        let mut own_tables = own_tables.filter(|table| table.starts_with(OWN_PREFIX));
        let has_own = candidate.is_recorded || own_tables.any(|it| has_table(found, it));
        let (restorable, required): (Vec<_>, Vec<_>) = required.into_iter().partition(|object| {
            is_restorable(object) || has_own && is_of_lost_table(object, found)
        });
        let is_lost = |it: &&&SchemaObject| !is_restorable(it);
        let lost = restorable.iter().filter(is_lost).count();
        let compare = |objects: &[&SchemaObject]| {
            let expected = objects.iter().map(|it| (it.what.clone(), it.how.clone()));
            expected.collect::<SchemaObjects>().differences(found)
        };
        let differences = compare(&required);
        let removed = candidate.effect.removed.iter();
        let changed: BTreeSet<&str> = removed.map(|it| it.what.as_str()).collect();
        let is_present = required.iter().any(|object| {
            let is_evidence = matches!(object.parts().0, "table" | "column" | "enum");
            is_evidence
                && !changed.contains(object.what.as_str())
                && found.get(&object.what).is_some()
        });
        let has_objects = required.iter().any(|object| object.parts().0 != "index");
        let verdict = match (candidate.is_recorded, candidate.is_logged) {
            (true, true) => AdoptionVerdict::Recorded,
            (false, _) if candidate.is_interrupted => AdoptionVerdict::Pending,
            // A migration of data leaves no objects. Our log is evidence; without it the migration is applied
            // again, which such a migration must allow.
            (is_recorded, is_logged) if !has_objects => match is_recorded || is_logged {
                true => AdoptionVerdict::Adopt,
                false => AdoptionVerdict::Pending,
            },
            _ if differences.is_empty() => AdoptionVerdict::Adopt,
            // A later migration exists: applying this one would create its table as it was before.
            (false, _) if candidate.effect.tables().any(|it| used_tables.contains(it)) => {
                AdoptionVerdict::Partial
            }
            (false, _) if !is_present => AdoptionVerdict::Pending,
            _ => AdoptionVerdict::Partial,
        };
        if verdict != AdoptionVerdict::Pending {
            let tables = required.iter().filter_map(|it| table_of(&it.what));
            used_tables.extend(tables.map(str::to_owned));
        }
        let removed = candidate.effect.removed.iter().map(|it| it.what.clone());
        match verdict {
            AdoptionVerdict::Pending if last.is_some_and(|last| candidate.version > last) => {}
            AdoptionVerdict::Pending => removed_by_pending.extend(removed),
            _ => removed_by_applied.extend(removed),
        }
        let restored = match verdict {
            AdoptionVerdict::Pending => Vec::new(),
            _ => {
                let restored = compare(&restorable).into_iter().map(|it| it.what);
                // A lost table brings its columns and indexes.
                restored
                    .filter(|it| table_of(it).is_none_or(|_| it.starts_with("trigger ")))
                    .collect()
            }
        };
        // Objects of several lines, such as a missing table with its columns, count as one difference.
        let missing = required.iter().filter(|it| !compare(&[**it]).is_empty());
        result.push(Evidence {
            version: candidate.version,
            name: candidate.name,
            verdict,
            expected: required.len() + lost,
            found: required.len() - missing.count(),
            differences: match verdict {
                AdoptionVerdict::Partial => differences,
                _ => Vec::new(),
            },
            restored,
            in_ledger: candidate.is_recorded,
            in_log: candidate.is_logged,
            prisma: candidate.prisma,
        });
    }
    result.reverse();
    // A migration of data is applied again after one whose tables are created again.
    for index in 1..result.len() {
        let is_pending = result[index - 1].is_pending();
        let data = &mut result[index];
        if is_pending && data.expected == 0 && data.is_adopted() && !data.in_ledger {
            data.verdict = AdoptionVerdict::Pending;
        }
    }
    result
}

fn is_restorable(object: &SchemaObject) -> bool {
    matches!(object.parts().0, "trigger" | "function")
}

/// The names of our own tables begin with it.
const OWN_PREFIX: &str = "usagectl_";

fn has_table(found: &SchemaObjects, table: &str) -> bool {
    found.get(&format!("table {table}")).is_some()
}

/// Whether it is one of our own tables that is missing, or belongs to one.
fn is_of_lost_table(object: &SchemaObject, found: &SchemaObjects) -> bool {
    let table = object.what.strip_prefix("table ");
    let table = table.or_else(|| table_of(&object.what));
    table.is_some_and(|it| it.starts_with(OWN_PREFIX) && !has_table(found, it))
}

/// The missing tables of ours among the differences.
pub fn lost_tables(differences: &[Difference]) -> impl Iterator<Item = &Difference> {
    let lost = differences.iter().filter(|it| it.found.is_none());
    lost.filter(|it| {
        let table = it.what.strip_prefix("table ");
        table.is_some_and(|it| it.starts_with(OWN_PREFIX))
    })
}

/// Who created the tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "created_by", rename_all = "snake_case")]
pub enum Origin {
    /// `prisma migrate`, by its ledger.
    PrismaMigrate {
        /// Applied migrations, the last one last.
        applied: Vec<String>,
        /// Failed or unfinished migrations.
        failed: Vec<String>,
        /// Migrations that were rolled back and not applied again.
        rolled_back: Vec<String>,
    },
    /// Prisma 8 or newer, by its schema `prisma_contract`.
    PrismaContract,
    /// usagectl, whose ledger or log is incomplete.
    Usagectl,
    /// Another program that uses Diesel, by its rows in the ledger.
    Diesel,
    /// No ledger, as after `prisma db push`.
    Other,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::PrismaMigrate {
                applied,
                failed,
                rolled_back,
            } => {
                f.write_str("prisma migrate (")?;
                match applied.last() {
                    Some(last) => write!(f, "{} applied, last {last}", applied.len())?,
                    None => f.write_str("none applied")?,
                }
                if !failed.is_empty() {
                    write!(f, "; failed: {}", failed.join(", "))?;
                }
                if !rolled_back.is_empty() {
                    write!(f, "; rolled back: {}", rolled_back.join(", "))?;
                }
                f.write_str(")")
            }
            Origin::PrismaContract => f.write_str("Prisma 8 or newer (schema prisma_contract)"),
            Origin::Usagectl => f.write_str("usagectl, whose ledger is incomplete"),
            Origin::Diesel => {
                f.write_str("another Diesel program (its migrations are in the ledger)")
            }
            Origin::Other => f.write_str("prisma db push, by hand or by another tool (no ledger)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{CREATE, ENHANCE, database};
    use super::*;

    const OWN: &str = "+ table usagectl_marks\n+ trigger usage.mark: AFTER INSERT\n";
    const DATA: &str = "";

    fn candidates(recorded: &[&str], logged: &[&str]) -> Vec<Candidate> {
        let all = [
            ("1", "create", CREATE),
            ("2", "enhance", ENHANCE),
            ("3", "own", OWN),
            ("4", "data", DATA),
        ];
        all.iter()
            .map(|(version, name, effect)| Candidate {
                version,
                name,
                effect: Effect::parse(effect),
                is_recorded: recorded.contains(version),
                is_logged: logged.contains(version),
                is_interrupted: false,
                prisma: None,
            })
            .collect()
    }

    /// The verdicts without any record.
    fn verdicts(found: &SchemaObjects) -> Vec<String> {
        let evidence = evidence(candidates(&[], &[]), found, None);
        let line = |it: &Evidence| format!("{} {}/{}", it.verdict, it.found, it.expected);
        evidence.iter().map(line).collect()
    }

    #[test]
    fn empty_database_has_only_pending_migrations() {
        let expected = ["pending 0/4", "pending 0/5", "pending 0/1", "pending 0/0"];
        assert_eq!(verdicts(&SchemaObjects::default()), expected);
    }

    #[test]
    fn migration_with_all_objects_is_adopted() {
        let expected = ["adopt 4/4", "pending 0/5", "pending 0/1", "pending 0/0"];
        assert_eq!(verdicts(&database(&[CREATE], &[])), expected);
        // The index that `enhance` replaced is not expected any more.
        let expected = ["adopt 4/4", "adopt 5/5", "pending 0/1", "pending 0/0"];
        assert_eq!(verdicts(&database(&[CREATE, ENHANCE], &[])), expected);
    }

    #[test]
    fn index_that_a_pending_migration_removes_may_be_missing() {
        let found = database(&[CREATE], &["index usage (at)"]);
        assert_eq!(verdicts(&found)[0], "adopt 4/4");
        let until_create = evidence(candidates(&[], &[]), &found, Some("1"));
        assert_eq!(until_create[0].verdict, AdoptionVerdict::Partial);
        assert_eq!(until_create[0].differences[0].what, "index usage (at)");
    }

    #[test]
    fn missing_or_different_object_makes_a_migration_partial() {
        for lost in ["column usage.cost", "table alerts", "index usage (at desc)"] {
            let found = database(&[CREATE, ENHANCE], &[lost]);
            assert!(verdicts(&found)[1].starts_with("partial 4/5"), "{lost}");
        }
        let found = database(&[CREATE, "+ column usage.cost: text\n"], &[]);
        assert_eq!(verdicts(&found)[1], "partial 0/5");
    }

    #[test]
    fn index_alone_is_no_evidence() {
        let found = database(&[CREATE, "+ index usage (at desc)\n"], &[]);
        assert_eq!(verdicts(&found)[1], "pending 1/5");
    }

    #[test]
    fn missing_table_with_later_columns_makes_its_migration_partial() {
        let of_usage = [
            "table usage",
            "column usage.id",
            "column usage.at",
            "column usage.cost",
        ];
        let found = database(&[CREATE, ENHANCE], &of_usage);
        assert_eq!(verdicts(&found)[..2], ["partial 1/4", "partial 4/5"]);
        // Nothing of it exists.
        let found = database(&["+ table other\n"], &[]);
        assert_eq!(verdicts(&found)[0], "pending 0/4");
    }

    #[test]
    fn missing_trigger_is_created_again() {
        let found = database(&[CREATE, ENHANCE, OWN], &["trigger usage.mark"]);
        let evidence = evidence(candidates(&[], &[]), &found, None);
        assert_eq!(evidence[2].verdict, AdoptionVerdict::Adopt);
        assert_eq!(evidence[2].restored, ["trigger usage.mark"]);
    }

    #[test]
    fn lost_table_of_ours_is_created_again() {
        const MORE: &str = "+ table usagectl_days\n+ column usagectl_days.at: text\n";
        let candidates = |recorded: &[&str], logged: &[&str]| {
            let mut all = candidates(recorded, logged);
            all[2].effect = Effect::parse(&format!("{OWN}{MORE}"));
            all
        };
        let lines = |recorded: &[&str], lost: &[&str]| {
            let found = database(&[CREATE, ENHANCE, OWN, MORE], lost);
            let found = evidence(candidates(recorded, recorded), &found, None);
            let restored = found[2].restored.join(", ");
            let (verdict, found, expected) = (found[2].verdict, found[2].found, found[2].expected);
            format!("{verdict} {found}/{expected} {restored}")
        };
        let all = ["1", "2", "3", "4"];
        let days = ["table usagectl_days", "column usagectl_days.at"];
        let both = [
            "table usagectl_days",
            "column usagectl_days.at",
            "table usagectl_marks",
        ];
        assert_eq!(lines(&all, &[]), "recorded 3/3 ");
        assert_eq!(lines(&all, &days), "recorded 1/3 table usagectl_days");
        assert_eq!(lines(&[], &days), "adopt 1/3 table usagectl_days");
        let restored = "recorded 0/3 table usagectl_days, table usagectl_marks";
        assert_eq!(lines(&all, &both), restored);
        assert_eq!(lines(&[], &both), "pending 0/3 ");
    }

    #[test]
    fn lost_records_are_adopted_and_complete_ones_are_not_judged() {
        let found = database(&[CREATE, ENHANCE, OWN], &["column usage.cost"]);
        let verdicts = |recorded: &[&str], logged: &[&str]| -> Vec<String> {
            let evidence = evidence(candidates(recorded, logged), &found, None);
            evidence.iter().map(|it| it.verdict.to_string()).collect()
        };
        let all = ["1", "2", "3", "4"];
        assert_eq!(verdicts(&all, &all), ["recorded"; 4]);
        // Without the log, and without the ledger.
        assert_eq!(verdicts(&all, &[]), ["adopt", "partial", "adopt", "adopt"]);
        let expected = ["adopt", "partial", "adopt", "adopt"];
        assert_eq!(verdicts(&[], &all), expected);
        assert_eq!(verdicts(&["1", "2", "4"], &all)[2], "adopt");
    }

    #[test]
    fn interrupted_migration_is_continued() {
        let mut candidates = candidates(&["1"], &["1"]);
        candidates[1].is_interrupted = true;
        let found = database(&[CREATE, "+ column usage.cost: double precision\n"], &[]);
        let evidence = evidence(candidates, &found, None);
        assert_eq!(evidence[1].verdict, AdoptionVerdict::Pending);
    }
}
