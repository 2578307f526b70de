//! `migrate --restore`: reads an export of `rollback --export` back.

use std::path::{self, Path};
use std::time::Instant;

use super::{Applied, COUNT_TIMEOUT, MigrateArgs, Run, warn_of_owned};
use crate::context::{Context, current_user};
use crate::domain::format;
use crate::domain::schema::dependents::DependentKind;
use crate::domain::schema::manifest::{Manifest, MigrationExport, UserObject};
use crate::domain::schema::migration::restore_message;
use crate::error::{Error, Exit, Outcome, Result};
use crate::output::migrations::{Restored, RestoredObject, RestoredTable};
use crate::store::db::{Access, Db};
use crate::store::lock::RunKind;
use crate::store::migrations::archive::ArchiveError;
use crate::store::migrations::prisma::PrismaSync;
use crate::store::migrations::{self, LogContext, Migration, RestoreLog, Retry, archive};
use crate::store::schema_objects;
use crate::store::url::DatabaseUrl;

pub(super) fn run(
    context: &mut Context,
    url: &DatabaseUrl,
    args: &MigrateArgs,
    folder: &Path,
) -> Result<Outcome> {
    let manifest = archive::read_manifest(folder)
        .map_err(|error| with_interrupted(context, url, error.into()))?;
    let mut written = manifest.migrations.iter();
    if written.any(|it| it.version == archive::PRUNE) {
        return Err(ArchiveError::OtherCommand(folder.to_owned(), "prune --restore").into());
    }
    let exports = exports(&manifest)?;
    context.detail(format_args!("verifying {}", folder.display()));
    archive::verify(folder, &manifest)?;

    let mut db = context.open_unchecked(url, Access::Create)?;
    let lock = context.lock(&mut db, url, RunKind::Migrate, args.locks.lock_wait)?;
    let entry = RestoreLog {
        migrations: exports.iter().map(|(migration, _)| *migration).collect(),
        folder: path::absolute(folder)?.display().to_string(),
    };
    let mut applied = Applied::default();
    if let Some(newest) = manifest.newest_version() {
        require_columns(&mut db, url, &exports, newest, &manifest.engine)?;
        let args = &MigrateArgs {
            to: Some(newest.to_owned()),
            ..args.clone()
        };
        let mut run = Run::new(context, &mut db, url, args);
        run.restore = Some(entry.clone());
        run.apply_pending(&mut applied)?;
    }
    if let Some(owner) = &manifest.owner {
        return_to_owner(context, &mut db, args, owner)?;
    }
    let (user, prisma) = (current_user(), PrismaSync::default());
    let log = LogContext::new(url, &user, context.now, &prisma);
    let mut restored = Restored {
        folder: folder.display().to_string(),
        applied: applied.migrations,
        tables: Vec::new(),
        objects: Vec::new(),
    };
    let mut retry = args.locks.retry(context);
    let mut create = |db: &mut Db, object: &UserObject, retry: &mut Retry<'_>| {
        let created = match migrations::restore_object(db, object, retry) {
            // The same command again creates it.
            Err(error) if error.exit() == Exit::Busy => return Err(error),
            created => created,
        };
        restored.objects.push(RestoredObject {
            object: format!("{} {}", object.kind, object.name),
            created: created.as_ref().is_ok_and(|created| *created),
            error: created.err().map(|error| error.to_string()),
        });
        Ok(())
    };
    // Rows have the values of an enum; the other objects are created after the rows.
    let objects = exports.iter().flat_map(|(_, export)| &export.objects);
    let (values, objects): (Vec<_>, Vec<_>) =
        objects.partition(|object| object.kind == DependentKind::EnumValue);
    // SQLite has no enums; a row that its columns refuse is named.
    if matches!(db, Db::Pg(_)) {
        for object in values {
            create(&mut db, object, &mut retry)?;
        }
    }
    let found = schema_objects::read(&mut db)?;
    for (_, export) in &exports {
        for table in &export.tables {
            let rows = migrations::restore_table(&mut db, folder, table, &found, &mut retry)?;
            restored.tables.push(RestoredTable {
                migration: export.name.clone(),
                table: table.table.clone(),
                written: rows.written,
                unchanged: rows.unchanged,
                kept: rows.kept,
                missing: rows.missing,
                refused: rows.refused,
                problems: rows.problems,
            });
        }
    }
    // CREATE INDEX CONCURRENTLY waits for the snapshots of other transactions, that of the lock included.
    drop(lock);
    for object in objects {
        create(&mut db, object, &mut retry)?;
    }
    entry.complete(&mut db, log, &mut retry)?;
    let complete = restored.is_complete();
    context.answer(&restored)?;
    if complete {
        return Ok(Outcome::DONE);
    }
    let command = migrations::restore_command(&restored.folder);
    let next = if restored.has_refused_rows() {
        format!("change the columns named above so that they can hold the values, then: {command}")
    } else if !restored.has_all_objects() {
        "create the objects named above by hand; manifest.json has their SQL".to_owned()
    } else if restored.has_kept_rows() {
        "compare the kept rows with the files of the export".to_owned()
    } else {
        format!(
            "nothing, if the missing rows were deleted on purpose; else insert them again, then: {command}"
        )
    };
    Ok(Outcome::with_next(Exit::Incomplete, next))
}

/// Adds the state of an interrupted restore to the error about its folder.
fn with_interrupted(context: &mut Context, url: &DatabaseUrl, error: Error) -> Error {
    let read = context
        .open_unchecked(url, Access::Read)
        .and_then(|mut db| {
            let bookkeeping = migrations::survey(&mut db)?.bookkeeping;
            let Some(folder) = bookkeeping.interrupted_restore() else {
                return Ok(None);
            };
            let deadline = Instant::now() + COUNT_TIMEOUT;
            let held = migrations::held_data(&mut db, &bookkeeping.restoring(), deadline)?;
            Ok(Some((folder.to_owned(), held)))
        });
    // The first error is reported.
    let Ok(Some((folder, held))) = read else {
        return error;
    };
    let message = format!("{}; so far: {held}", restore_message(&folder));
    error
        .context(message)
        .with_next(migrations::restore_next(&folder))
}

/// Gives the application's tables and types back to their owner, or warns with the statements that do.
fn return_to_owner(
    context: &mut Context,
    db: &mut Db,
    args: &MigrateArgs,
    owner: &str,
) -> Result<()> {
    let statements = migrations::returned_to_owner(db, owner)?;
    let given = args.locks.retry(context).transaction(db, &[], |db| {
        for sql in &statements {
            db.batch_execute(sql)?;
        }
        Ok(())
    });
    if let Err(error) = given {
        context.warn(format_args!(
            "the tables of the application belonged to {owner} ({error}); as a superuser: {};",
            statements.join("; ")
        ));
    }
    warn_of_owned(context, db)
}

/// Refuses an export with columns that neither exist nor are created by the migrations up to `newest`.
fn require_columns(
    db: &mut Db,
    url: &DatabaseUrl,
    exports: &[(&'static Migration, &MigrationExport)],
    newest: &str,
    engine: &str,
) -> Result<()> {
    let tables = exports.iter().flat_map(|(_, export)| &export.tables);
    let created = migrations::created_up_to(db, newest);
    let schema = migrations::application_schema(url);
    let statements = migrations::missing_columns(db, tables, &created, schema, engine)?;
    if statements.is_empty() {
        return Ok(());
    }
    let count = format::counted(statements.len() as u64, "column");
    let message = format!("the database lacks {count} of the export; nothing was changed");
    let next = format!(
        "first usagectl migrate --to {newest}, then {} then run the same command again",
        statements.join(" ")
    );
    Err(Error::message(Exit::Refused, message).with_next(next))
}

/// The exports in the order in which they are restored, with their migrations.
fn exports(manifest: &Manifest) -> Result<Vec<(&'static Migration, &MigrationExport)>> {
    let exports = manifest.migrations.iter().map(|export| {
        let migration = Migration::find(&export.version).ok_or_else(|| {
            let message = format!(
                "this version of usagectl has no migration {}_{}",
                export.version, export.name
            );
            let next = "use the version of usagectl that wrote the export";
            Error::message(Exit::Refused, message).with_next(next)
        })?;
        Ok((migration, export))
    });
    let mut exports: Vec<_> = exports.collect::<Result<_>>()?;
    exports.sort_by_key(|(migration, _)| migration.version);
    Ok(exports)
}
