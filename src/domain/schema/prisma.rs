//! Prisma's migration ledger, `_prisma_migrations`: the state of a migration, and which of its migrations are
//! ours.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::domain::named::named;

/// A row of the ledger. A migration has several if it failed or was rolled back and then applied again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrismaRow {
    pub name: String,
    pub checksum: String,
    pub is_finished: bool,
    pub is_rolled_back: bool,
}

named! {
    PrismaState, "state in Prisma's ledger" {
        Applied = "applied",
        /// Failed or still running: Prisma applies nothing until this is resolved.
        Failed = "failed",
        RolledBack = "rolled back",
        /// No row; `prisma migrate deploy` would apply it.
        Absent = "not recorded",
    }
}

/// The migration of Prisma that corresponds to one of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PrismaMigration {
    pub name: String,
    pub state: PrismaState,
    /// Whether it corresponds to nothing but migrations of ours; false if it also creates other tables, or if
    /// this is unknown.
    #[serde(skip)]
    pub is_ours: bool,
    /// The other tables that its `migration.sql` creates or alters.
    #[serde(skip)]
    pub others: Vec<String>,
    /// Of its `migration.sql`.
    #[serde(skip)]
    pub checksum: String,
    /// Whether its `migration.sql` was changed after it was applied, or the row has a checksum of another file.
    #[serde(skip)]
    pub is_edited: bool,
    /// Whether the ledger also has a row of our name for it, which is in no folder.
    #[serde(skip)]
    pub has_stray_row: bool,
}

impl PrismaMigration {
    /// Its text beside a migration of ours, whose name is not repeated.
    pub fn beside(&self, name: &str) -> String {
        let timestamp = self
            .name
            .strip_suffix(name)
            .map(|it| it.trim_end_matches('_'));
        let timestamp = timestamp.filter(|it| !it.is_empty());
        format!("{} {}", timestamp.unwrap_or(&self.name), self.state)
    }
}

impl std::fmt::Display for PrismaMigration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.state)
    }
}

/// A folder of `prisma/migrations`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrismaFolder {
    pub name: String,
    /// The SHA-256 of the bytes of its `migration.sql`.
    pub checksum: String,
    /// Those with the line ends of either system, which Prisma accepts too.
    pub other_checksums: Vec<String>,
    /// The tables that it creates.
    pub tables: Vec<String>,
    pub altered_tables: Vec<String>,
}

/// One of our migrations, as it is matched with Prisma's.
#[derive(Clone, Debug)]
pub struct OwnMigration<'a> {
    pub version: &'a str,
    pub name: &'a str,
    /// The tables that it creates.
    pub tables: Vec<&'a str>,
}

impl OwnMigration<'_> {
    fn folder_name(&self) -> String {
        format!("{}_{}", self.version, self.name)
    }
}

impl PrismaFolder {
    /// Whether an applied row has the checksum of another text.
    fn is_edited(&self, rows: &[PrismaRow]) -> bool {
        let mut rows = rows.iter();
        rows.any(|row| {
            let is_applied = row.is_finished && !row.is_rolled_back;
            let is_same =
                self.checksum == row.checksum || self.other_checksums.contains(&row.checksum);
            row.name == self.name && is_applied && !is_same
        })
    }
}

/// The state of the migration `name`.
pub fn state(rows: &[PrismaRow], name: &str) -> PrismaState {
    let of_name: Vec<&PrismaRow> = rows.iter().filter(|row| row.name == name).collect();
    let is_applied = |row: &&PrismaRow| row.is_finished && !row.is_rolled_back;
    if of_name.iter().any(is_applied) {
        PrismaState::Applied
    } else if of_name.iter().any(|row| !row.is_rolled_back) {
        PrismaState::Failed
    } else if of_name.is_empty() {
        PrismaState::Absent
    } else {
        PrismaState::RolledBack
    }
}

/// The names of the migrations in this state, in the order in which they were started.
pub fn names_in_state(rows: &[PrismaRow], wanted: PrismaState) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for row in rows {
        if !names.contains(&row.name) && state(rows, &row.name) == wanted {
            names.push(row.name.clone());
        }
    }
    names
}

/// The migration of Prisma for each of ours: the one of the same name, with any timestamp or none, else the one
/// that creates our tables. Nothing for one that has neither a folder nor a row: Prisma may have it under any name.
///
/// `rows` are in the order in which they were started; `folders` is nothing if `prisma/migrations` was not
/// found.
pub fn matching(
    own: &[OwnMigration<'_>],
    rows: &[PrismaRow],
    folders: Option<&[PrismaFolder]>,
) -> Vec<Option<PrismaMigration>> {
    let all_tables: Vec<&str> = own
        .iter()
        .flat_map(|it| it.tables.iter().copied())
        .collect();
    let known = folders.unwrap_or_default();
    let found = own.iter().enumerate().map(|(index, own)| {
        let has_name = |name: &str| without_timestamp(name) == own.name;
        let creates = |folder: &&PrismaFolder| {
            own.tables
                .iter()
                .any(|table| folder.tables.iter().any(|it| it == table))
        };
        let folder = known.iter().find(|folder| has_name(&folder.name));
        let folder = folder.or_else(|| known.iter().find(creates));
        let row = rows.iter().find(|row| has_name(&row.name));
        let mut applied = names_in_state(rows, PrismaState::Applied).into_iter();
        // On SQLite Prisma copies a table that it cannot alter.
        let is_other = |it: &&String| !all_tables.contains(&it.strip_prefix("new_").unwrap_or(it));
        let others = folder.map_or(Vec::new(), |folder| {
            let touched = folder.tables.iter().chain(&folder.altered_tables);
            let others: BTreeSet<&String> = touched.filter(is_other).collect();
            others.into_iter().cloned().collect()
        });
        let (name, checksum, is_ours) = if let Some(folder) = folder {
            let mut tables = own.tables.iter();
            let creates = |table: &&str| folder.tables.iter().any(|it| it == table);
            let is_ours = others.is_empty() && tables.all(creates);
            (folder.name.clone(), folder.checksum.clone(), is_ours)
        } else if let Some(row) = row {
            (row.name.clone(), row.checksum.clone(), true)
        } else if let (0, None, Some(first)) = (index, folders, applied.next()) {
            // Without its folder the application's first migration, of any name, counts as the one that created
            // the first table.
            (first, String::new(), false)
        } else {
            return None;
        };
        let own_name = own.folder_name();
        let is_stray = |row: &PrismaRow| row.name == own_name && row.name != name;
        Some(PrismaMigration {
            state: state(rows, &name),
            is_ours,
            others,
            is_edited: folder.is_some_and(|folder| folder.is_edited(rows)),
            has_stray_row: !known.iter().any(|it| it.name == own_name) && rows.iter().any(is_stray),
            checksum,
            name,
        })
    });
    found.collect()
}

/// The recorded migrations, except rolled back ones, without a folder.
pub fn without_folder(rows: &[PrismaRow], folders: &[PrismaFolder]) -> Vec<String> {
    let mut names = names_in_state(rows, PrismaState::Applied);
    names.extend(names_in_state(rows, PrismaState::Failed));
    names.retain(|name| folders.iter().all(|folder| folder.name != *name));
    names
}

/// The name of a migration without the timestamp before it.
fn without_timestamp(name: &str) -> &str {
    name.trim_start_matches(|c: char| c.is_ascii_digit())
        .trim_start_matches('_')
}

/// The tables that a `migration.sql` changes by this verb: CREATE or ALTER.
pub fn tables_after(verb: &str, sql: &str) -> Vec<String> {
    let names = sql.lines().filter_map(|line| {
        let mut words = line.split([' ', '(']).filter(|word| !word.is_empty());
        for keyword in [verb, "TABLE"] {
            words
                .next()
                .filter(|word| word.eq_ignore_ascii_case(keyword))?;
        }
        let is_keyword = |word: &&str| {
            ["IF", "NOT", "EXISTS", "ONLY"]
                .iter()
                .any(|it| word.eq_ignore_ascii_case(it))
        };
        // Prisma writes "schema"."table" for a model with @@schema.
        let name = words.find(|word| !is_keyword(word))?.rsplit('.').next()?;
        Some(name.trim_matches('"').to_owned())
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, is_finished: bool, is_rolled_back: bool) -> PrismaRow {
        PrismaRow {
            name: name.to_owned(),
            checksum: format!("checksum of {name}"),
            is_finished,
            is_rolled_back,
        }
    }

    fn folder(name: &str, tables: &[&str]) -> PrismaFolder {
        PrismaFolder {
            name: name.to_owned(),
            checksum: format!("checksum of {name}"),
            other_checksums: vec![format!("other checksum of {name}")],
            tables: tables.iter().map(|it| (*it).to_owned()).collect(),
            altered_tables: Vec::new(),
        }
    }

    fn own() -> [OwnMigration<'static>; 2] {
        [("1", "create", "usage"), ("2", "enhance", "alerts")].map(|(version, name, table)| {
            OwnMigration {
                version,
                name,
                tables: vec![table],
            }
        })
    }

    /// Name, state and whether it is ours.
    fn matched(rows: &[PrismaRow], folders: Option<&[PrismaFolder]>) -> Vec<String> {
        let found = matching(&own(), rows, folders);
        found
            .iter()
            .map(|it| match it {
                Some(it) => format!("{it} {}", it.is_ours),
                None => "unknown".to_owned(),
            })
            .collect()
    }

    #[test]
    fn any_applied_row_makes_a_migration_applied() {
        let failed = row("a", false, false);
        let rolled_back = row("a", true, true);
        let rows = [failed.clone(), rolled_back.clone()];
        assert_eq!(state(&rows, "a"), PrismaState::Failed);
        assert_eq!(state(&rows[1..], "a"), PrismaState::RolledBack);
        assert_eq!(state(&rows, "b"), PrismaState::Absent);
        let rows = [failed, rolled_back, row("a", true, false)];
        assert_eq!(state(&rows, "a"), PrismaState::Applied);
    }

    #[test]
    fn migration_is_matched_by_name_with_any_timestamp() {
        let rows = [
            row("0_init", true, false),
            row("20260123_enhance", false, false),
        ];
        let expected = ["0_init applied false", "20260123_enhance failed true"];
        assert_eq!(matched(&rows, None), expected);
        let rows = [row("0_init", true, false), row("enhance", true, true)];
        assert_eq!(matched(&rows, None)[1], "enhance rolled back true");
    }

    #[test]
    fn migration_is_matched_by_the_tables_of_its_folder() {
        let folders = [
            folder("0_init", &["usage", "User"]),
            folder("5_more", &["alerts"]),
        ];
        let rows = [row("0_init", true, false)];
        let expected = ["0_init applied false", "5_more not recorded true"];
        assert_eq!(matched(&rows, Some(&folders)), expected);
        // The name counts more than the tables, but without them it is a part of ours.
        let folders = [folder("3_alerts", &["alerts"]), folder("4_enhance", &[])];
        assert_eq!(
            matched(&[], Some(&folders))[1],
            "4_enhance not recorded false"
        );
        let found = matching(&own(), &[], Some(&folders));
        let checksum = found[1].as_ref().map(|it| it.checksum.as_str());
        assert_eq!(checksum, Some("checksum of 4_enhance"));
    }

    #[test]
    fn row_of_another_text_and_row_without_a_folder_are_found() {
        let folders = [
            folder("0_init", &["usage"]),
            folder("4_enhance", &["alerts"]),
        ];
        let found = |checksum: &str| {
            let mut rows = [row("4_enhance", true, false), row("2_enhance", true, false)];
            rows[0].checksum = checksum.to_owned();
            let found = matching(&own(), &rows, Some(&folders));
            let found = found[1].clone().unwrap();
            (found.name, found.is_edited, found.has_stray_row)
        };
        let expected = |is_edited| ("4_enhance".to_owned(), is_edited, true);
        assert_eq!(found("checksum of 4_enhance"), expected(false));
        assert_eq!(found("other checksum of 4_enhance"), expected(false));
        assert_eq!(found("ours"), expected(true));
    }

    #[test]
    fn migration_without_folder_and_row_is_unknown() {
        let other = [folder("0_users", &["User"])];
        for folders in [None, Some([].as_slice()), Some(&other)] {
            assert_eq!(matched(&[], folders), ["unknown"; 2]);
        }
        let rows = [row("0_users", true, false)];
        assert_eq!(matched(&rows, Some(&other)), ["unknown"; 2]);
    }

    #[test]
    fn recorded_migrations_without_a_folder_are_named() {
        let rows = [
            row("0_init", true, false),
            row("1_gone", true, false),
            row("2_undone", true, true),
        ];
        let folders = [folder("0_init", &[])];
        assert_eq!(without_folder(&rows, &folders), ["1_gone"]);
    }

    #[test]
    fn tables_are_read_from_prisma_sql() {
        let sql = "-- CreateTable\nCREATE TABLE \"public\".\"a\" (\n  id TEXT);\n\
                   create table if not exists b(\nALTER TABLE \"c\" ADD";
        assert_eq!(tables_after("CREATE", sql), ["a", "b"]);
        assert_eq!(tables_after("ALTER", sql), ["c"]);
    }
}
