//! Explains an error of the database that only the whole command can explain: a full disk, a column that differs from the
//! migrations, missing rights, locks of another session.

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::context::Context;
use crate::domain::format::shell_word;
use crate::domain::named::Named;
use crate::domain::schema::closing::set_default;
use crate::domain::schema::migration::MigrationState;
use crate::domain::schema::objects::Difference;
use crate::domain::schema::rights::{self, Verb, Work};
use crate::domain::schema::status::Defect;
use crate::error::{Error, Exit, Result};
use crate::store::db::{self, Access, Db};
use crate::store::migrations;
use crate::store::schema_objects;
use crate::store::unreadable;
use crate::store::url::{DatabaseTarget, DatabaseUrl};
use crate::store::verification;

/// Adds the name of `command` to the error, or the statements that grant its missing rights, if there are any. The
/// catalogue decides, not the message: Diesel passes on no SQLSTATE, the server's language may be any, and a table in a
/// schema without USAGE is reported as one that does not exist.
pub(crate) fn explain(context: &Context, command: &str, error: Error) -> Error {
    let Some((url, access)) = context.opened() else {
        return error;
    };
    if error.exit() == Exit::Busy {
        return explain_busy(url, command, error);
    }
    if let Some(DieselError::DeserializationError(_)) = error.find() {
        return explain_unreadable(url, error);
    }
    if !error.is_of_database() {
        return error;
    }
    if db::is_full(&error.to_string()) {
        return error.context(format!("{command} failed"));
    }
    let restores = matches!(context.arguments.try_contains_id("restore"), Ok(true));
    if let Some(DieselError::DatabaseError(kind, information)) = error.find() {
        match kind {
            DatabaseErrorKind::NotNullViolation => {
                let column = error.find().and_then(db::unfilled_column);
                if let Ok(Some(difference)) = drifted_column(url, column, information.message()) {
                    return refused_by(&difference, error, url);
                }
            }
            DatabaseErrorKind::CheckViolation => {
                // A restore writes every column that the exported rows have.
                let next = match restores {
                    true => {
                        "drop that check, or change it to allow the exported rows, then run the same command again"
                    }
                    false => {
                        "give the columns of that check a default that it allows, or drop it, then run the same command again"
                    }
                };
                return error.with_exit(Exit::Untrustworthy).with_next(next);
            }
            _ => {}
        }
    }
    match missing(url, *access, command, restores) {
        Ok((role, statements)) if !statements.is_empty() => error
            .context(
                match statements.iter().all(|it| it.starts_with("CREATE POLICY")) {
                    true => format!("row security has no policy for the role `{role}`"),
                    false => format!("the role `{role}` lacks rights"),
                },
            )
            .with_next(format!("as a superuser, {}", statements.join("; "))),
        _ => error,
    }
}

/// Adds the rows of SQLite whose text is not UTF-8, and the statements that correct it.
fn explain_unreadable(url: &DatabaseUrl, error: Error) -> Error {
    let DatabaseTarget::Sqlite(_) = &url.target else {
        return error;
    };
    let message = error.to_string();
    let column = message.split('\'').nth(1).unwrap_or_default();
    let opened = db::open(url, Access::Read);
    let found = opened
        .ok()
        .and_then(|mut db| unreadable::find(&mut db, column).ok());
    match found.as_deref() {
        Some([first, ..]) => {
            let fixes = found.iter().flatten().map(|it| it.fix.as_str());
            let fixes: Vec<&str> = fixes.collect();
            let next = format!("correct the text, such as with {}; then run the same command again", fixes.join("; "));
            let rows = format!("{}, {}: the text is not UTF-8", first.table, first.condition);
            error.context(rows).with_next(next)
        }
        _ => error.with_next(format!(
            "correct the value in that column, which SELECT rowid, typeof(\"{column}\"), hex(\"{column}\") FROM its table shows"
        )),
    }
}

/// The error of a command whose rows a column refuses that differs from the migrations.
fn refused_by(difference: &Difference, error: Error, url: &DatabaseUrl) -> Error {
    let (table, column) = difference.column().unwrap_or_default();
    let next = match url.target {
        DatabaseTarget::Postgres(_) if difference.is_unfilled() => {
            format!("give it a default: {}", set_default(table, column))
        }
        _ => "see the SQL for it: usagectl status".to_owned(),
    };
    let message = match difference.is_unfilled() {
        true => format!("column {table}.{column} is required, and usagectl does not write it"),
        false => difference.to_string(),
    };
    error
        .with_exit(Exit::Untrustworthy)
        .context(message)
        .with_next(next)
}

/// How the column of a failed insert differs from the migrations. That of a domain has no name, but `message` has the
/// domain's.
fn drifted_column(
    url: &DatabaseUrl,
    column: Option<(&str, &str)>,
    message: &str,
) -> Result<Option<Difference>> {
    let mut db = db::open(url, Access::Read)?;
    let survey = migrations::survey(&mut db)?;
    let expected = migrations::expected(&db, &survey.statuses);
    let found = schema_objects::read(&mut db)?;
    let mut differences = schema_objects::unfilled_columns(&mut db, &expected, &found)?;
    let Some((table, column)) = column else {
        let words: Vec<&str> = message
            .split(|it: char| !it.is_alphanumeric() && it != '_')
            .collect();
        let is_named = |data_type: &str| {
            let name = data_type.rsplit('.').next();
            name.is_some_and(|name| words.contains(&name.trim_matches('"')))
        };
        let is_of_domain = |it: &Difference| it.data_type().is_some_and(is_named);
        return Ok(differences.into_iter().find(is_of_domain));
    };
    differences.extend(expected.differences(&found));
    differences.retain(|it| it.column().is_some_and(|(_, name)| name == column));
    // The error may name a partition.
    let exact = differences.iter().position(|it| it.is_of(table));
    Ok(differences.into_iter().nth(exact.unwrap_or(0)))
}

/// Adds the table and the session that the command waited for.
fn explain_busy(url: &DatabaseUrl, command: &str, error: Error) -> Error {
    let Some(DieselError::DatabaseError(_, information)) = error.find() else {
        return error;
    };
    // `migrate` and `rollback` have named it.
    if error.has_context::<migrations::TableHolder>() {
        return error;
    }
    let details = information.details().map(str::to_owned);
    if let DatabaseTarget::Sqlite(path) = &url.target {
        let path = shell_word(&path.display().to_string());
        let message = format!("another program is writing to {path}");
        let next = format!(
            "run the same command again; fuser {path} lists the programs that have it open"
        );
        return error.context(message).with_next(next);
    }
    let Ok(mut db) = db::open(url, Access::Read) else {
        return error;
    };
    let deadlock = details.and_then(|it| migrations::deadlock_session(&mut db, &it));
    if let Some(session) = deadlock {
        return error.context(format!("a deadlock with {session} was ended"));
    }
    let tables = rights::application_tables(command).iter();
    let tables = tables.map(|(table, _)| (*table).to_owned());
    let tables: Vec<String> = tables.chain(migrations::own_tables()).collect();
    match migrations::blocking_session(&mut db, &tables) {
        None => error.with_next(
            "run the same command again; SELECT * FROM pg_stat_activity WHERE wait_event_type = 'Lock' shows who waits",
        ),
        Some(holder) => error
            .context(holder)
            .with_next("run the same command again when that transaction has ended"),
    }
}

/// The role, and the statements that grant its missing rights. On a connection of its own, since the failed one may be
/// in a failed transaction.
fn missing(
    url: &DatabaseUrl,
    access: Access,
    command: &str,
    restores: bool,
) -> Result<(String, Vec<String>)> {
    let mut db = db::open(url, Access::Read)?;
    if matches!(db, Db::Sqlite(_)) {
        return Ok(Default::default());
    }
    let schema = migrations::application_schema(url);
    let held = crate::store::rights::held(&mut db, schema, &[])?;
    let work = match (command, access) {
        ("migrate", _) => {
            match pending(&mut db).unwrap_or(Work::Read(rights::application_tables(command))) {
                Work::Migrate { effects, .. } if effects.is_empty() && restores => {
                    Work::Write(rights::application_tables("migrate --restore"))
                }
                work => work,
            }
        }
        ("rollback", Access::Create | Access::Write) => {
            // With them it has a plan, of which it names the objects that require an owner.
            let reads = Work::Read(rights::application_tables("migrate"));
            match rights::missing(&reads, &held).is_empty() {
                true => Work::Revert,
                false => reads,
            }
        }
        (_, Access::Read) => Work::Read(rights::application_tables(command)),
        (_, Access::Create | Access::Write) => Work::Write(rights::application_tables(command)),
    };
    let mut statements = rights::missing(&work, &held);
    let (owners, grants): (Vec<_>, Vec<_>) =
        rights::memberships(&held, &statements).into_iter().unzip();
    if !owners.is_empty() {
        // A member needs no further grant of what the owner may do.
        let held = crate::store::rights::held(&mut db, schema, &owners)?;
        statements = grants;
        statements.extend(rights::missing(&work, &held));
    }
    if let Work::Write(tables) = work
        && statements.is_empty()
    {
        let named = tables
            .iter()
            .map(|(table, _)| (format!("table {table}"), String::new()));
        let defects = verification::defects(&mut db, &named.collect(), false)?;
        // Of the commands that this one runs.
        let is_required = |it: &Defect| {
            let mut tables = tables
                .iter()
                .filter(|(table, _)| it.object == format!("table {table}"));
            tables.any(|(_, verbs)| {
                let verb = |verb: &Verb| {
                    it.problem
                        .contains(&format!("no policy allows {} to", verb.as_str()))
                };
                verbs.iter().any(verb)
            })
        };
        let fixes = defects.into_iter().filter(is_required);
        statements.extend(fixes.filter_map(|it| Some(it.fix?.trim_end_matches(';').to_owned())));
    }
    Ok((held.role, statements))
}

/// Nothing if the role may not read the ledger.
fn pending(db: &mut Db) -> Option<Work> {
    let survey = migrations::survey(db).ok()?;
    let pending = survey.statuses.iter();
    let states = [MigrationState::Pending, MigrationState::Partial];
    let pending = pending.filter(|status| states.contains(&status.state));
    let versions: Vec<String> = pending.map(|status| status.version.clone()).collect();
    let plan = migrations::with_versions(&versions).into_iter();
    let effects = plan.map(|migration| migration.effect(db)).collect();
    let found = schema_objects::read(db).ok()?;
    let expected = migrations::expected(db, &survey.statuses);
    let lost = migrations::drift(db, &survey.bookkeeping, &expected, &found, false).ok()?;
    Some(Work::Migrate {
        effects,
        lost: lost.into_iter().map(|it| it.what).collect(),
        found,
    })
}
