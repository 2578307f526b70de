//! Exports the data that a migration's revert drops, without blocking the application.
//!
//! 1. Triggers begin to record the keys of rows that are inserted, changed and deleted (the capture). Creating one
//!    waits for the open transactions that write the table, so every later write is recorded.
//! 2. The first part of each table is written from one snapshot.
//! 3. While the application writes, further parts follow, each with the rows recorded since the last, until few are
//!    left.
//! 4. In the transaction that drops, under its locks, the last rows are written, files and manifest are synced to
//!    disk, and the capture is dropped. So the export has exactly the rows that are dropped.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use diesel::sql_types::Text;
use diesel::{QueryResult, sql_query};
use serde_json::Value;

use super::archive::{self, ArchiveError, PartWriter};
use super::losses::{REBUILT, WRITTEN_BACK};
use super::rows::{self, TableColumns, fix_text_forms, selected};
use super::run::{Retry, lock_limit};
use super::{Bookkeeping, Migration, owners};
use crate::domain::schema::dependents::Dropped;
use crate::domain::schema::manifest::{
    self, Line, Manifest, MigrationExport, TableExport, UserObject,
};
use crate::domain::schema::objects::SchemaObjects;
use crate::domain::schema::plan::PlanStep;
use crate::domain::schema::status::Defect;
use crate::domain::schema::value::Kind;
use crate::error::{Error, Exit, Result};
use crate::fault;
use crate::store::db::{Db, on, quote_identifier};
use crate::store::tuples::LoadTuples;

/// Names of the capture's tables, functions and triggers begin with it.
pub(super) const CAPTURE: &str = "usagectl_export_";

/// Recorded rows that may be left for the transaction that drops: a few milliseconds under its locks.
const FEW_ROWS: u64 = 500;

/// Rounds of catching up with a writer, if each leaves more than [`FEW_ROWS`].
const MAX_ROUNDS: usize = 20;

/// An export in progress.
pub struct Export {
    folder: PathBuf,
    manifest: Manifest,
    created: Option<Created>,
}

/// What an export that did not begin earlier has created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Created {
    Files,
    Folder,
}

/// Identifies an export in its manifest.
#[derive(Clone, Debug)]
pub struct ExportOrigin {
    /// The database without its password.
    pub database: String,
    pub application_schema: String,
    pub at: String,
}

impl Export {
    /// Begins an export, or continues one that was interrupted.
    pub fn open(folder: &Path, db: &mut Db, origin: ExportOrigin) -> Result<Export> {
        let ExportOrigin {
            database,
            application_schema,
            at,
        } = origin;
        let mut new = Manifest::new(db.engine(), database, application_schema, at);
        new.owner = owners::owner(db)?;
        let created = match fs::read_dir(folder) {
            Err(_) => Some(Created::Folder),
            Ok(mut files) => files.next().is_none().then_some(Created::Files),
        };
        Ok(Export {
            folder: folder.to_owned(),
            manifest: archive::open(folder, new)?,
            created,
        })
    }

    /// Removes its files and folder after a failure, if the rows still exist.
    pub fn discard(self) {
        // Once its rows are complete, the transaction that drops them may have been committed.
        let Some(created) = self.created.filter(|_| self.manifest.migrations.is_empty()) else {
            return;
        };
        // The first error is reported; the next run continues an export that is left.
        let files = fs::read_dir(&self.folder).into_iter().flatten();
        for file in files.flatten() {
            let _ = fs::remove_file(file.path());
        }
        if created == Created::Folder {
            let _ = fs::remove_dir(&self.folder);
        }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Marks an export as complete whose run was killed after the last migration was reverted. Nothing if `folder`
    /// is no such export of `database`.
    pub fn complete_interrupted(folder: &Path, database: &str) -> Result<Option<Export>> {
        let Ok(Some(manifest)) = archive::interrupted(folder, database) else {
            return Ok(None);
        };
        let mut export = Export {
            folder: folder.to_owned(),
            manifest,
            created: None,
        };
        export.complete()?;
        Ok(Some(export))
    }

    /// Refuses to replace rows that were dropped: an interrupted run exported and reverted the migration, and it
    /// was applied again since.
    pub fn check_replaced(&self, plan: &[&Migration], found: &Bookkeeping) -> Result<()> {
        let exported = self.manifest.migrations.iter();
        let mut exported = exported.filter(|it| plan.iter().any(|step| step.version == it.version));
        let since = &self.manifest.exported_at;
        let Some(kept) = exported.find(|it| found.is_reverted_since(&it.version, since)) else {
            return Ok(());
        };
        let (folder, name) = (
            self.folder.display(),
            format!("{}_{}", kept.version, kept.name),
        );
        let message = format!(
            "{folder} has the rows of {name}, which was applied again since; nothing was changed"
        );
        Err(Error::message(Exit::Refused, message).with_next("name a new folder"))
    }

    /// The rows exported so far, rows that changed meanwhile counted again.
    pub fn rows(&self) -> u64 {
        let migrations = self.manifest.migrations.iter();
        migrations.map(MigrationExport::rows).sum()
    }

    /// Exports what reverting `step` drops: installs the capture, writes the snapshot, and catches up.
    pub fn begin(
        &mut self,
        db: &mut Db,
        step: &PlanStep,
        found: &SchemaObjects,
        retry: &mut Retry<'_>,
    ) -> Result<MigrationExporter> {
        // An interrupted run exported it and did not revert it. The manifest first, which has checksums of the files.
        let exported = self.manifest.migrations.len();
        self.manifest
            .migrations
            .retain(|it| it.version != step.version);
        if self.manifest.migrations.len() < exported {
            archive::write_manifest(&self.folder, &self.manifest)?;
        }
        archive::remove_parts(&self.folder, &step.version)?;
        remove_capture(db, retry)?;
        let mut tables = Vec::new();
        for table in exported_tables(db, step, found)? {
            let capture = Capture {
                name: format!("{CAPTURE}{}", tables.len() + 1),
                table,
                read_to: 0,
            };
            let on = std::slice::from_ref(&capture.table.table);
            retry.transaction(db, on, |db| capture.install(db))?;
            tables.push(capture);
        }
        let objects = step.dependents.iter().filter_map(|dependent| {
            Some(UserObject {
                kind: dependent.kind,
                name: dependent.name.clone(),
                table: dependent.table().to_owned(),
                sql: dependent.sql.clone()?,
            })
        });
        let export = MigrationExport {
            version: step.version.clone(),
            name: step.name.clone(),
            tables: Vec::new(),
            objects: objects.collect(),
        };
        let mut exporter = MigrationExporter { export, tables };
        let folder = &self.folder;
        db.read_tx(|db| {
            fix_text_forms(db)?;
            for capture in &mut exporter.tables {
                capture.export_all(db, folder, &step.version)?;
            }
            Ok::<(), Error>(())
        })?;
        exporter.catch_up(db, folder, None)?;
        Ok(exporter)
    }

    /// Writes the rows recorded since, inside the transaction that drops them and has locked their tables, and drops
    /// the capture. May be called again if that transaction is rolled back.
    pub fn finish(&mut self, db: &mut Db, exporter: &MigrationExporter) -> Result<()> {
        fix_text_forms(db)?;
        let mut export = exporter.export.clone();
        for capture in &exporter.tables {
            let mut last = capture.clone();
            last.export_changes(db, &self.folder, &export.version)?;
            export.tables.push(last.table);
            fault::point("capture");
            capture.remove(db)?;
        }
        let migrations = &mut self.manifest.migrations;
        migrations.retain(|it| it.version != export.version);
        migrations.push(export);
        archive::write_manifest(&self.folder, &self.manifest)?;
        Ok(())
    }

    /// Marks the export as complete.
    pub fn complete(&mut self) -> Result<()> {
        self.manifest.complete = true;
        archive::write_manifest(&self.folder, &self.manifest)?;
        Ok(())
    }
}

/// The export of one migration's data.
pub struct MigrationExporter {
    /// Without its tables.
    export: MigrationExport,
    tables: Vec<Capture>,
}

impl MigrationExporter {
    /// Writes the rows recorded so far, until few are left to be written under a lock. Waits at most `lock_timeout` for
    /// a table.
    pub fn catch_up(
        &mut self,
        db: &mut Db,
        folder: &Path,
        lock_timeout: Option<Duration>,
    ) -> Result<()> {
        let limit = lock_timeout.map(|timeout| lock_limit(db, timeout));
        for _ in 0..MAX_ROUNDS {
            let mut changes = 0;
            for capture in &mut self.tables {
                let mut work = |db: &mut Db| {
                    fix_text_forms(db)?;
                    capture.export_changes(db, folder, &self.export.version)
                };
                fault::point("catch up");
                changes += match db {
                    // It deletes the keys that it reads, hence no read-only transaction.
                    Db::Pg(_) => db.write_tx(|db| {
                        db.batch_execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")?;
                        if let Some(limit) = &limit {
                            db.batch_execute(limit)?;
                        }
                        work(db)
                    })?,
                    Db::Sqlite(_) => db.read_tx(work)?,
                };
            }
            if changes <= FEW_ROWS {
                break;
            }
        }
        Ok(())
    }
}

/// A table that is exported, and where the keys of its changed rows are recorded.
#[derive(Clone)]
struct Capture {
    /// Of the table, the function and the triggers.
    name: String,
    table: TableExport,
    /// SQLite: the last sequence number that was exported.
    read_to: i64,
}

impl Capture {
    fn kinds(&self) -> Vec<Kind> {
        let columns = self.table.columns.iter();
        columns.map(|column| Kind::of(&column.declared)).collect()
    }

    /// The key columns' names, quoted.
    fn key(&self) -> Vec<String> {
        let names = self.table.key.iter();
        names.map(|name| quote_identifier(name)).collect()
    }

    /// Where the keys are recorded.
    fn recorded(&self, db: &Db) -> String {
        match db {
            Db::Pg(_) => format!("usagectl.{}", self.name),
            Db::Sqlite(_) => self.name.clone(),
        }
    }

    fn install(&self, db: &mut Db) -> Result<()> {
        let Capture { name, .. } = self;
        let table = quote_identifier(&self.table.table);
        let recorded = self.recorded(db);
        let key = self.key();
        let of = |row: &str| {
            let columns = key.iter().map(|column| format!("{row}.{column}"));
            columns.collect::<Vec<_>>().join(", ")
        };
        let names = key.join(", ");
        let sql = match db {
            Db::Pg(_) => {
                let columns = self.table.columns.iter().zip(&key);
                let columns = columns.map(|(column, name)| format!("{name} {}", column.declared));
                let columns: Vec<String> = columns.collect();
                // Dropped after a crash of the server, as the export begins again. SECURITY DEFINER, since the
                // application may have no right on our schema. ALWAYS: also for rows that replication writes.
                let columns = columns.join(", ");
                let tables = with_partitions(db, &table)?;
                let trigger = |event: &str, rows: &str| {
                    let trigger = format!("{name}_{}", event.to_lowercase());
                    let on_each = tables.iter().map(|table| {
                        format!(
                            "CREATE TRIGGER {trigger} AFTER {event} ON {table} {rows}
                                 FOR EACH STATEMENT EXECUTE FUNCTION usagectl.{name}();
                             ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger};\n"
                        )
                    });
                    on_each.collect::<String>()
                };
                let old = "OLD TABLE AS old_rows";
                let new = "NEW TABLE AS new_rows";
                let triggers = [
                    trigger("INSERT", &format!("REFERENCING {new}")),
                    trigger("UPDATE", &format!("REFERENCING {old} {new}")),
                    trigger("DELETE", &format!("REFERENCING {old}")),
                    trigger("TRUNCATE", ""),
                ];
                format!(
                    "CREATE UNLOGGED TABLE {recorded} ({columns}, usagectl_truncated boolean);
                     CREATE FUNCTION usagectl.{name}() RETURNS trigger
                     LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $usagectl$
                     BEGIN
                         IF TG_OP = 'TRUNCATE' THEN
                             INSERT INTO {recorded} (usagectl_truncated) VALUES (true);
                         END IF;
                         IF TG_OP IN ('UPDATE', 'DELETE') THEN
                             INSERT INTO {recorded} ({names}) SELECT {old} FROM old_rows;
                         END IF;
                         IF TG_OP IN ('INSERT', 'UPDATE') THEN
                             INSERT INTO {recorded} ({names}) SELECT {new} FROM new_rows;
                         END IF;
                         RETURN NULL;
                     END $usagectl$;
                     {triggers}",
                    old = of("old_rows"),
                    new = of("new_rows"),
                    triggers = triggers.concat(),
                )
            }
            Db::Sqlite(_) => {
                // A single writer: rows become visible in the order of their sequence numbers.
                let insert = |row| {
                    let values = of(row);
                    format!("INSERT INTO {recorded} ({names}) VALUES ({values});")
                };
                let trigger = |event: &str, body: String| {
                    let trigger = format!("{name}_{}", event.to_lowercase());
                    format!("CREATE TRIGGER {trigger} AFTER {event} ON {table} BEGIN {body} END;\n")
                };
                format!(
                    "CREATE TABLE {recorded} (usagectl_seq INTEGER PRIMARY KEY, {names});\n{}{}{}",
                    trigger("INSERT", insert("NEW")),
                    trigger("UPDATE", insert("OLD") + &insert("NEW")),
                    trigger("DELETE", insert("OLD")),
                )
            }
        };
        fault::point("capture");
        Ok(db.batch_execute(&sql)?)
    }

    /// Drops triggers and table; the table that they are on must be locked.
    fn remove(&self, db: &mut Db) -> QueryResult<()> {
        db.batch_execute(&drop_sql(db, &self.name).concat())
    }

    fn writer(&self, folder: &Path, version: &str) -> Result<PartWriter, ArchiveError> {
        let part = self.table.parts.len();
        let file = manifest::file_name(version, &self.table.table, part);
        PartWriter::create(folder, &file)
    }

    /// Writes all rows of the table.
    fn export_all(&mut self, db: &mut Db, folder: &Path, version: &str) -> Result<()> {
        let mut writer = self.writer(folder, version)?;
        self.write_all_rows(db, &mut writer)?;
        self.table.parts.extend(writer.finish()?);
        Ok(())
    }

    fn write_all_rows(&self, db: &mut Db, writer: &mut PartWriter) -> Result<()> {
        let columns = self.table.columns.iter();
        let columns = columns.map(|column| selected(db, &quote_identifier(&column.name)));
        let columns: Vec<String> = columns.collect();
        let query = format!(
            "SELECT {} FROM {}",
            columns.join(", "),
            quote_identifier(&self.table.table)
        );
        rows::for_each(db, query, &self.kinds(), |values| {
            Ok(writer.write(&Line::Row(values), &self.table)?)
        })
    }

    /// Writes the rows whose keys were recorded since the last part; returns their number.
    fn export_changes(&mut self, db: &mut Db, folder: &Path, version: &str) -> Result<u64> {
        let recorded = self.recorded(db);
        let mut writer = self.writer(folder, version)?;
        let read_to = match db {
            Db::Pg(_) => 0,
            Db::Sqlite(_) => {
                let last = format!("SELECT coalesce(max(usagectl_seq), 0) FROM {recorded}");
                rows::number(db, last)?
            }
        };
        let truncated = match db {
            Db::Pg(_) => {
                let count = format!("SELECT count(*) FROM {recorded} WHERE usagectl_truncated");
                rows::number(db, count)? > 0
            }
            // SQLite has no TRUNCATE.
            Db::Sqlite(_) => false,
        };
        if truncated {
            writer.write(&Line::Truncated, &self.table)?;
            self.write_all_rows(db, &mut writer)?;
            db.batch_execute(&format!("DELETE FROM {recorded}"))?;
        } else {
            self.write_recorded(db, read_to, &mut writer)?;
        }
        self.read_to = read_to;
        let part = writer.finish()?;
        let changes = part.as_ref().map_or(0, |part| part.rows + part.deleted);
        self.table.parts.extend(part);
        Ok(changes)
    }

    fn write_recorded(&self, db: &mut Db, to: i64, writer: &mut PartWriter) -> Result<()> {
        let recorded = self.recorded(db);
        let key = self.key();
        let names = key.join(", ");
        let keys = match db {
            Db::Pg(_) => format!(
                "WITH gone AS (DELETE FROM {recorded} RETURNING *), keys AS (SELECT DISTINCT {names} FROM gone)"
            ),
            Db::Sqlite(_) => format!(
                "WITH keys AS (
                     SELECT DISTINCT {names} FROM {recorded} WHERE usagectl_seq > {} AND usagectl_seq <= {to}
                 )",
                self.read_to
            ),
        };
        let columns = self.table.columns.iter().enumerate();
        let columns = columns.map(|(place, column)| {
            let from = if place < key.len() { "keys" } else { "t" };
            selected(db, &format!("{from}.{}", quote_identifier(&column.name)))
        });
        let columns: Vec<String> = columns.collect();
        let same = key.iter().map(|name| format!("t.{name} = keys.{name}"));
        let same: Vec<String> = same.collect();
        let exists = selected(
            db,
            &format!("(t.{} IS NOT NULL)", key.first().map_or("", |it| it)),
        );
        let query = format!(
            "{keys} SELECT {}, {exists} FROM keys LEFT JOIN {} t ON {}",
            columns.join(", "),
            quote_identifier(&self.table.table),
            same.join(" AND ")
        );
        rows::for_each(db, query, &self.kinds(), |mut values| {
            let exists = values.pop();
            let line = if exists == Some(Value::from("true")) || exists == Some(Value::from(1)) {
                Line::Row(values)
            } else {
                values.truncate(key.len());
                Line::Deleted(values)
            };
            Ok(writer.write(&line, &self.table)?)
        })
    }
}

/// Whether rows and values of a dropped object are exported: not those that are computed again or written back.
fn is_exported(object: &str) -> bool {
    let table = object.strip_prefix("table ");
    !WRITTEN_BACK.contains(&object) && !table.is_some_and(|table| REBUILT.contains(&table))
}

/// The tables of which `step` drops rows or values, with the columns to export.
pub fn exported_tables(
    db: &mut Db,
    step: &PlanStep,
    found: &SchemaObjects,
) -> Result<Vec<TableExport>> {
    let objects = step.losses().map(|(object, _)| object);
    let objects = objects.filter(|object| is_exported(object) && found.get(object).is_some());
    let Dropped {
        tables, columns, ..
    } = Dropped::new(objects);
    let mut of_columns: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (table, column) in &columns {
        of_columns.entry(table).or_default().push(column);
    }
    let of_columns = of_columns
        .into_iter()
        .map(|(table, columns)| (table, Some(columns)));
    let whole = tables.iter().map(|table| (table.as_str(), None));
    let mut exported = Vec::new();
    for (table, columns) in of_columns.chain(whole) {
        let Some(found) = TableColumns::read(db, table)? else {
            continue;
        };
        if found.key.is_empty() {
            let message =
                format!("cannot export table {table}: it has no primary key; nothing was changed");
            return Err(Error::message(Exit::Refused, message)
                .with_next("add a primary key, or copy the table and use --accept-data-loss"));
        }
        let key = found.key.iter().filter_map(|name| found.get(name));
        let others = found.columns.iter().filter(|column| {
            let names = columns.as_ref();
            let wanted = names.is_none_or(|names| names.contains(&column.name.as_str()));
            wanted && !found.key.contains(&column.name)
        });
        let definitions = match columns {
            None => rows::definitions(db, table)?,
            Some(_) => Vec::new(),
        };
        exported.push(TableExport {
            table: table.to_owned(),
            definitions,
            dropped: columns.is_none(),
            columns: key.chain(others).cloned().collect(),
            key: found.key.clone(),
            parts: Vec::new(),
        });
    }
    Ok(exported)
}

/// The quoted table and, on PostgreSQL, its partitions: its triggers do not fire for rows written to one by its name.
fn with_partitions(db: &mut Db, table: &str) -> QueryResult<Vec<String>> {
    let mut tables = vec![table.to_owned()];
    if let Db::Pg(postgres) = db {
        let query = sql_query(
            "SELECT relid::regclass::text FROM pg_partition_tree(to_regclass($1)) WHERE level > 0",
        )
        .bind::<Text, _>(table);
        let partitions: Vec<String> = postgres.run(|conn| query.rows(conn))?;
        tables.extend(partitions);
    }
    Ok(tables)
}

/// The captures of interrupted exports: their names, and a table of their triggers.
fn captures(db: &mut Db) -> QueryResult<Vec<(String, Option<String>)>> {
    let query = match db {
        Db::Pg(_) => {
            "SELECT p.proname::text, min(t.relname::text)
             FROM pg_proc p
             LEFT JOIN pg_trigger g ON g.tgfoid = p.oid
             LEFT JOIN pg_class t ON t.oid = g.tgrelid
             WHERE p.pronamespace = to_regnamespace('usagectl') AND p.proname LIKE 'usagectl\\_export\\_%'
             GROUP BY p.proname"
        }
        // Its triggers are found by name.
        Db::Sqlite(_) => {
            "SELECT name, NULL FROM sqlite_master
             WHERE type = 'table' AND name LIKE 'usagectl\\_export\\_%' ESCAPE '\\'"
        }
    };
    on!(db, |conn| sql_query(query).rows(conn))
}

/// Whether an interrupted export left triggers.
pub fn has_capture(db: &mut Db) -> QueryResult<bool> {
    Ok(!captures(db)?.is_empty())
}

/// Drops what an interrupted export left: its triggers would record rows for ever.
pub fn remove_capture(db: &mut Db, retry: &mut Retry<'_>) -> Result<()> {
    for (name, table) in captures(db)? {
        let drop = drop_sql(db, &name).concat();
        fault::point("capture");
        retry.transaction(db, table.as_slice(), |db| Ok(db.batch_execute(&drop)?))?;
    }
    Ok(())
}

/// The triggers that an interrupted export left, or that a running one uses.
pub fn capture_defects(db: &mut Db) -> QueryResult<Vec<Defect>> {
    let captures = captures(db)?.into_iter();
    let defect = |(name, _): (String, _)| {
        Defect {
        object: format!("capture {name}"),
        problem: "records each change for an export: unless `usagectl rollback` is running, it was left by an \
                  interrupted one"
            .to_owned(),
        fix: Some(drop_sql(db, &name).join(" ")),
    }
    };
    Ok(captures.map(defect).collect())
}

/// The statements that drop a capture.
fn drop_sql(db: &Db, name: &str) -> Vec<String> {
    match db {
        // With the triggers that call it.
        Db::Pg(_) => vec![
            format!("DROP FUNCTION IF EXISTS usagectl.{name}() CASCADE;"),
            format!("DROP TABLE IF EXISTS usagectl.{name};"),
        ],
        Db::Sqlite(_) => {
            let triggers = ["insert", "update", "delete"].into_iter();
            let triggers = triggers.map(|it| format!("DROP TRIGGER IF EXISTS {name}_{it};"));
            triggers
                .chain([format!("DROP TABLE IF EXISTS {name};")])
                .collect()
        }
    }
}
