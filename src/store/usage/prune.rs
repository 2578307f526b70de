//! Deletes rows that are rolled up, and keeps their calls: they are added to the sealed calls of their quarter of an hour
//! in the transaction that deletes them. Archives them before, and puts them back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use diesel::sql_types::Timestamp;
use serde_json::Value;

use super::rollups::{self, Level};
use super::{dirty, lookback, read};
use crate::domain::period::{Granularity, Window, quarter_of};
use crate::domain::schema::manifest::{self, Line, Manifest, MigrationExport, Part, TableExport};
use crate::domain::schema::value::Kind;
use crate::domain::usage::endpoint::EndpointNames;
use crate::domain::usage::rollup::{ApiPeriod, ApiRollup, Tally};
use crate::error::{Error, Exit, Result};
use crate::fault;
use crate::store::db::{OWN_SCHEMA, is_canceled};
use crate::store::migrations::archive::{self, ArchiveError, PartWriter};
use crate::store::migrations::rows::{self, TableColumns, fix_text_forms, selected};
use crate::store::migrations::{ExportOrigin, Target};
use crate::store::postgres::Postgres;
use crate::store::prelude::*;
use crate::store::schema::api_usage;
use crate::store::schema_objects;
use crate::store::time::TimeBoundary;

const TABLE: &str = "api_usage";

/// What became of some rows of an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slice {
    /// The number of deleted rows, 0 if none is left, and for how long the deletion may have delayed writers.
    Deleted(usize, Duration),
    /// A row of the hour changed since it was rolled up.
    Changed,
}

/// Rolls the transaction back: a row of the hour changed meanwhile.
#[derive(Debug)]
enum Undone {
    Changed,
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Undone {
    fn from(error: E) -> Undone {
        Undone::Failed(error.into())
    }
}

/// Deletes at most `most` rows of an hour that is rolled up and did not change since, in one transaction.
pub fn prune_some(
    db: &mut Db,
    names: EndpointNames,
    hour: DateTime<Utc>,
    most: i64,
) -> Result<Slice> {
    let window = Window::new(hour, Granularity::Hourly.end_of(hour));
    let began = Instant::now();
    let done = db.write_tx(|db| -> Result<(usize, Duration), Undone> {
        if let Db::Pg(postgres) = db {
            // Or each commit of the application would wait for the disk behind one of ours. A crash of the server may
            // undo the last slices, whole: the next run deletes their rows again.
            postgres.batch_execute("SET LOCAL synchronous_commit = off")?;
        }
        dirty::lock_for_taking(db)?;
        if is_changed(db, window)? {
            return Err(Undone::Changed);
        }
        let started = Instant::now();
        let mut tally = Tally::new(names);
        let deleted = read::delete_some(db, window, most, |row| {
            tally.add(row.api_name, row.endpoint, quarter_of(row.at), [row.call]);
        })?;
        let took = started.elapsed();
        dirty::forget_own(db, window)?;
        // On PostgreSQL a row may have changed after the first look, before it was deleted.
        if is_changed(db, window)? {
            return Err(Undone::Changed);
        }
        let calls = tally.finish();
        rollups::change_calls_without_rows(db, Level::Sealed, &calls, ApiRollup::merge)?;
        fault::point("step");
        Ok((deleted, took))
    });
    fault::point("step");
    match done {
        Ok((deleted, took)) => Ok(match db {
            // No writer waits while the marks are read.
            Db::Pg(_) => Slice::Deleted(deleted, took),
            Db::Sqlite(_) => Slice::Deleted(deleted, began.elapsed()),
        }),
        Err(Undone::Changed) => Ok(Slice::Changed),
        Err(Undone::Failed(error)) => Err(error),
    }
}

fn is_changed(db: &mut Db, window: Window) -> QueryResult<bool> {
    Ok(!changed_hours(db, window)?.is_empty())
}

/// The hours of a window that changed since they were rolled up.
fn changed_hours(db: &mut Db, window: Window) -> QueryResult<BTreeSet<DateTime<Utc>>> {
    let stale = rollups::stale_in(db, window)?.into_iter();
    let stale = stale.filter(|(of, _)| *of == Granularity::Hourly);
    let dirty = dirty::dirty_hours(db, window)?.into_iter();
    let hours = stale.map(|(_, hour)| hour.start);
    Ok(hours.chain(dirty.map(|hour| hour.start)).collect())
}

/// The number of rows of a window.
pub fn count_rows(db: &mut Db, window: Window) -> QueryResult<u64> {
    let query = dirty::count_query(db, "$1", "$2", None);
    let found: i64 = on!(db, |conn| diesel::sql_query(query)
        .bind::<Timestamp, _>(TimeBoundary(window.from))
        .bind::<Timestamp, _>(TimeBoundary(window.to))
        .row(conn))?;
    Ok(u64::try_from(found).unwrap_or(0))
}

/// The hours of a window that have rows and changed since they were rolled up, those of `unmarked` too, and the number of
/// their rows.
pub fn count_changed(
    db: &mut Db,
    window: Window,
    unmarked: &BTreeSet<ApiPeriod>,
) -> QueryResult<(u64, u64)> {
    let mut hours = changed_hours(db, window)?;
    hours.extend(unmarked.iter().map(|hour| hour.start));
    let (mut count, mut rows) = (0, 0);
    for hour in hours {
        let found = count_rows(db, Window::new(hour, Granularity::Hourly.end_of(hour)))?;
        count += u64::from(found > 0);
        rows += found;
    }
    Ok((count, rows))
}

/// The bytes on disk: of the table with its indexes on PostgreSQL, of the file on SQLite.
pub fn size_bytes(db: &mut Db) -> QueryResult<u64> {
    let query = match db {
        Db::Pg(_) => "SELECT pg_total_relation_size('api_usage')",
        Db::Sqlite(_) => {
            "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
        }
    };
    let found: i64 = on!(db, |conn| diesel::sql_query(query).row(conn))?;
    Ok(u64::try_from(found).unwrap_or(0))
}

/// Returns the space of deleted rows: to the table on PostgreSQL, to the file system on SQLite.
pub fn vacuum(db: &mut Db, application_schema: &str) -> QueryResult<()> {
    match db {
        Db::Pg(postgres) => {
            let schema = crate::store::db::quote_identifier(application_schema);
            vacuum_table(postgres, &format!("{schema}.{TABLE}"))
        }
        Db::Sqlite(_) => db.batch_execute("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)"),
    }
}

/// Removes the marks of the deletions, which on PostgreSQL every slice would read again: it locks their table, so that
/// autovacuum does not come.
pub fn vacuum_marks(db: &mut Db) -> QueryResult<()> {
    match db {
        Db::Pg(postgres) => {
            let table = format!("(SKIP_LOCKED) {OWN_SCHEMA}.usagectl_dirty_hours");
            match vacuum_table(postgres, &table) {
                // By a time limit of the role.
                Err(error) if is_canceled(&error) => Ok(()),
                done => done,
            }
        }
        Db::Sqlite(_) => Ok(()),
    }
}

fn vacuum_table(postgres: &mut Postgres, table: &str) -> QueryResult<()> {
    let vacuum = diesel::sql_query(format!("VACUUM {table}"));
    match postgres.connect_without_time_limit() {
        Ok(mut conn) => vacuum.execute(&mut conn)?,
        Err(_) => postgres.outside_transaction(|conn| vacuum.execute(conn))?,
    };
    Ok(())
}

/// An archive folder: a file for each day, and a manifest.
pub struct Archive<'a> {
    folder: &'a Path,
    manifest: Manifest,
}

impl<'a> Archive<'a> {
    /// Opens a new folder, or one with earlier days of this database.
    pub fn open(db: &mut Db, folder: &'a Path, origin: ExportOrigin) -> Result<Archive<'a>> {
        let columns = TableColumns::read(db, TABLE)?;
        let columns =
            columns.ok_or_else(|| Error::message(Exit::Failed, "there is no table api_usage"))?;
        let key = columns.key.iter().filter_map(|name| columns.get(name));
        let others = columns
            .columns
            .iter()
            .filter(|it| !columns.key.contains(&it.name));
        let table = TableExport {
            definitions: Vec::new(),
            table: TABLE.to_owned(),
            dropped: true,
            columns: key.chain(others).cloned().collect(),
            key: columns.key.clone(),
            parts: Vec::new(),
        };
        let mut new = Manifest::new(
            db.engine(),
            origin.database,
            origin.application_schema,
            origin.at,
        );
        new.migrations.push(MigrationExport {
            version: archive::PRUNE.to_owned(),
            name: TABLE.to_owned(),
            tables: vec![table],
            objects: Vec::new(),
        });
        let mut manifest = archive::open(folder, new)?;
        if table_of(&mut manifest).is_none() {
            return Err(ArchiveError::NotEmpty(folder.to_owned()).into());
        }
        Ok(Archive { folder, manifest })
    }

    /// Writes the rows of a window of one day to disk; returns their number. Not those of hours that changed since they
    /// were rolled up, which are not pruned: the application may delete them, and they must not come back.
    pub fn write(&mut self, db: &mut Db, window: Window) -> Result<u64> {
        let Some(table) = table_of(&mut self.manifest) else {
            return Ok(0);
        };
        let day = window.from.date_naive().to_string();
        let parts = table
            .parts
            .iter()
            .filter(|part| part.file.starts_with(&day))
            .count();
        let kinds: Vec<Kind> = table
            .columns
            .iter()
            .map(|it| Kind::of(&it.declared))
            .collect();
        let columns = table.columns.iter();
        let columns = columns.map(|it| selected(db, &crate::store::db::quote_identifier(&it.name)));
        let columns: Vec<String> = columns.collect();
        let changed = changed_hours(db, window)?;
        let mut ranges: Vec<Window> = Vec::new();
        let mut hour = window.from;
        while hour < window.to {
            let end = Granularity::Hourly.end_of(hour);
            match ranges.last_mut() {
                _ if changed.contains(&hour) => {}
                Some(last) if last.to == hour => last.to = end,
                _ => ranges.push(Window::new(hour, end)),
            }
            hour = end;
        }
        if ranges.is_empty() {
            return Ok(0);
        }
        let ranges = ranges.into_iter().map(|range| rows_within(db, range));
        let ranges: Vec<String> = ranges.collect();
        let mut writer = PartWriter::create(self.folder, &manifest::file_name(&day, TABLE, parts))?;
        let query = format!(
            "SELECT {} FROM api_usage WHERE {} ORDER BY timestamp, id",
            columns.join(", "),
            ranges.join(" OR ")
        );
        let table = &*table;
        db.read_tx(|db| {
            fix_text_forms(db)?;
            rows::for_each(db, query, &kinds, |values| -> Result<()> {
                Ok(writer.write(&Line::Row(values), table)?)
            })
        })?;
        let Some(part) = writer.finish()? else {
            return Ok(0);
        };
        let rows = part.rows;
        if let Some(table) = table_of(&mut self.manifest) {
            table.parts.push(part);
        }
        archive::write_manifest(self.folder, &self.manifest)?;
        Ok(rows)
    }
}

fn table_of(manifest: &mut Manifest) -> Option<&mut TableExport> {
    let export = manifest
        .migrations
        .iter_mut()
        .find(|it| it.version == archive::PRUNE)?;
    export.tables.first_mut()
}

/// A condition for the rows of a window.
fn rows_within(db: &Db, window: Window) -> String {
    // The canonical form of an instant has no character to escape.
    let [from, to] = [window.from, window.to].map(|at| at.format("%Y-%m-%dT%H:%M").to_string());
    match db {
        Db::Pg(_) => format!("timestamp >= '{from}' AND timestamp < '{to}'"),
        Db::Sqlite(_) => format!(
            "(timestamp >= '{from}' AND timestamp < '{to}' AND timestamp {} OR id IN (
                 SELECT usage_id FROM usagectl_odd_timestamps WHERE hour >= '{from}' AND hour < '{to}'
             ))",
            dirty::CANONICAL
        ),
    }
}

/// The numbers of rows put back, of those that exist, and of those that no pruned hour lacks: they were archived and not
/// pruned, or put back before, and are deleted since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoredRows {
    pub restored: u64,
    pub existing: u64,
    pub deleted_since: u64,
}

/// Rows of one transaction.
const BATCH_ROWS: usize = 500;

/// Puts the rows of an archive back, the newest files first: of a row that is in several, the newest version counts.
pub fn restore(db: &mut Db, folder: &Path) -> Result<RestoredRows> {
    let mut manifest = archive::read_manifest(folder)?;
    archive::verify(folder, &manifest)?;
    let found = schema_objects::read(db)?;
    let Some(table) = table_of(&mut manifest) else {
        return Err(ArchiveError::OtherCommand(folder.to_owned(), "migrate --restore").into());
    };
    let target = Target::new(db, table, &found)?;
    let marks_at_once = lookback::marks_at_once(db)?;
    let mut sum = RestoredRows::default();
    let parts: Vec<Part> = table.parts.iter().rev().cloned().collect();
    for part in &parts {
        let mut batch = Vec::new();
        let mut flush = |db: &mut Db, batch: &mut Vec<Vec<Value>>| -> Result<()> {
            let rows = std::mem::take(batch);
            let done = db.write_tx(|db| restore_some(db, &target, rows, marks_at_once))?;
            fault::point("step");
            sum.restored += done.restored;
            sum.existing += done.existing;
            sum.deleted_since += done.deleted_since;
            Ok(())
        };
        archive::for_each_line(folder, table, part, |line| -> Result<()> {
            if let Line::Row(values) = line {
                batch.push(values);
            }
            match batch.len() {
                BATCH_ROWS => flush(db, &mut batch),
                _ => Ok(()),
            }
        })?;
        flush(db, &mut batch)?;
    }
    Ok(sum)
}

fn restore_some(
    db: &mut Db,
    target: &Target,
    mut rows: Vec<Vec<Value>>,
    marks_at_once: bool,
) -> Result<RestoredRows> {
    let all = rows.len() as u64;
    if rows.is_empty() {
        return Ok(RestoredRows::default());
    }
    let id = |row: &Vec<Value>| {
        row.first()
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let ids: Vec<String> = rows.iter().map(id).collect();
    let existing: Vec<String> = on!(db, |conn| api_usage::table
        .filter(api_usage::id.eq_any(&ids))
        .select(api_usage::id)
        .load(conn))?;
    let existing: BTreeSet<String> = existing.into_iter().collect();
    rows.retain(|row| !existing.contains(&id(row)));
    if rows.is_empty() {
        return Ok(RestoredRows {
            existing: all,
            ..RestoredRows::default()
        });
    }
    let written = target.write(db, &rows)?.written;
    if written != rows.len() as u64 {
        return Err(Error::message(
            Exit::Busy,
            "another program inserted the same rows meanwhile",
        )
        .with_next("run the same command again"));
    }
    let ids: Vec<String> = rows.iter().map(id).collect();
    dirty::list_odd_timestamps(db, &ids)?;
    // Subtraction finds the names under which they were counted.
    let mut tally = Tally::new(EndpointNames::Raw);
    let mut ids_of: BTreeMap<ApiPeriod, Vec<String>> = BTreeMap::new();
    read::for_ids(db, &ids, |id, row| {
        let period = ApiPeriod {
            start: quarter_of(row.at),
            api_name: row.api_name.to_owned(),
        };
        tally.add(row.api_name, row.endpoint, period.start, [row.call]);
        ids_of.entry(period).or_default().push(id.to_owned());
    })?;
    let mut calls = tally.finish();
    let sealed = rollups::calls_without_rows(db, Level::Sealed, &calls)?;
    let requests = |calls: Option<&ApiRollup>| calls.map_or(0, |calls| calls.total.total_requests);
    ids_of.retain(|period, _| requests(sealed.get(period)) < requests(calls.get(period)));
    calls.retain(|period, _| !ids_of.contains_key(period));
    let deleted_since: Vec<String> = ids_of.into_values().flatten().collect();
    on!(db, |conn| diesel::delete(api_usage::table)
        .filter(api_usage::id.eq_any(&deleted_since))
        .execute(conn))?;
    rollups::change_calls_without_rows(db, Level::Sealed, &calls, ApiRollup::subtract)?;
    // A row that goes again before the next look would not be missed.
    if !marks_at_once {
        let hours = calls.keys().map(|period| ApiPeriod {
            start: Granularity::Hourly.start_of(period.start),
            api_name: period.api_name.clone(),
        });
        let hours: BTreeSet<ApiPeriod> = hours.collect();
        dirty::mark_compared(db, &hours.iter().collect::<Vec<_>>())?;
    }
    let deleted_since = deleted_since.len() as u64;
    Ok(RestoredRows {
        restored: written - deleted_since,
        existing: all - written,
        deleted_since,
    })
}
