//! `migrate --adopt`: records the migrations whose objects exist, then applies the others.

use std::io::{self, IsTerminal};

use super::{
    MigrateArgs, Reported, apply, interrupt, list_external_tables, plan_error, report_retry,
};
use crate::context::{Context, current_user};
use crate::domain::format::counted;
use crate::domain::schema::adoption::{Evidence, Origin};
use crate::domain::schema::migration;
use crate::domain::schema::migration::MigrationState;
use crate::domain::schema::orphaned_triggers::OrphanedTrigger;
use crate::error::{Error, Exit, Outcome, Result};
use crate::fault;
use crate::output::Format;
use crate::output::adoption::Adoption;
use crate::output::migrations::Script;
use crate::store::db::{Access, Db};
use crate::store::lock::RunKind;
use crate::store::migrations::prisma::PrismaSync;
use crate::store::migrations::{self, Direction, LogContext, Migration, Survey, adopt};
use crate::store::schema_objects;
use crate::store::url::DatabaseUrl;

/// The state of the database.
struct Findings {
    survey: Survey,
    prisma: PrismaSync,
    evidence: Vec<Evidence>,
    origin: Option<Origin>,
    /// They are dropped first; the pending migrations create them again.
    orphaned_triggers: Vec<OrphanedTrigger>,
    /// The migrations to apply after the adoption.
    pending: Vec<&'static Migration>,
}

/// Adopts and applies; nothing if there is nothing to adopt.
pub(super) fn run(
    context: &mut Context,
    url: &DatabaseUrl,
    args: &MigrateArgs,
) -> Result<Option<Outcome>> {
    let is_preview = args.dry_run || args.sql;
    let access = if is_preview {
        Access::Read
    } else {
        Access::Write
    };
    let mut db = context.open_unchecked(url, access)?;
    // Without a lock, so that a prompt does not block other runs.
    let findings = find(&mut db, url, args)?;
    if findings.is_complete() {
        return Ok(None);
    }
    let schema = migrations::application_schema(url);
    let is_partial = findings
        .evidence
        .iter()
        .any(|it| !it.differences.is_empty());
    let closing = match is_partial {
        true => adopt::closing_script(&mut db, &findings.evidence, schema)?,
        false => Vec::new(),
    };
    if args.sql {
        let sql = match is_partial {
            true => closing.join("\n") + "\n",
            false => script(&mut db, url, args, &findings)?,
        };
        context.answer(&Script { sql })?;
        return if is_partial {
            Err(partial(&findings))
        } else {
            Ok(Some(Outcome::DONE))
        };
    }
    let is_planned = args.dry_run && !is_partial;
    let planned = match is_planned {
        true => migrations::planned_steps(&mut db, &findings.survey, &findings.pending)?,
        false => Vec::new(),
    };
    let repairs = match is_planned {
        true => migrations::estimate_repairs(&mut db, &findings.survey)?,
        false => Vec::new(),
    };
    let mut answer = Adoption {
        repairs: &repairs,
        plan: &planned,
        origin: findings.origin.as_ref(),
        evidence: &findings.evidence,
        sql: &closing,
        adopted: false,
        applied: None,
    };
    // A document is printed once, at the end; a table before the prompt.
    let is_document = context.format != Format::Table;
    let is_final = is_partial || args.dry_run;
    if is_final || !is_document {
        context.answer(&answer)?;
        context.flush()?;
    }
    if is_partial {
        return Err(partial(&findings));
    }
    if args.dry_run {
        return Ok(Some(Outcome::DONE));
    }
    let result = check_consent(context, args, &findings)
        .and_then(|()| carry_out(context, &mut db, url, args, &findings));
    match result {
        Ok((applied, result)) => {
            answer.adopted = true;
            answer.applied = (result.is_ok() || !applied.migrations.is_empty()).then_some(&applied);
            context.answer(&answer)?;
            if result.is_ok() {
                list_external_tables(context, &db)?;
            }
            result.map(|()| Some(Outcome::DONE))
        }
        Err(error) => {
            if is_document {
                context.answer(&answer)?;
            }
            Err(error)
        }
    }
}

fn find(db: &mut Db, url: &DatabaseUrl, args: &MigrateArgs) -> Result<Findings> {
    let mut survey = migrations::survey(db)?;
    survey
        .bookkeeping
        .check_application(migrations::application_schema(url))?;
    // All pending ones: this checks `--to`, and that no migration is edited or unknown.
    let versions =
        migration::plan_up(&survey.statuses, args.to.as_deref(), true).map_err(plan_error)?;
    let objects = schema_objects::read(db)?;
    let prisma = args.prisma.read(db, false)?;
    let origin = adopt::origin(db, &survey, &objects)?;
    let last = args.to.as_ref().and(versions.last()).map(String::as_str);
    let evidence = adopt::gather(db, &survey, &objects, &prisma, last);
    let is_adopted = |version: &str| {
        let mut adopted = evidence.iter().filter(|it| it.is_adopted());
        adopted.any(|it| it.version == version)
    };
    // As after the adoption.
    for status in &mut survey.statuses {
        if is_adopted(&status.version) {
            status.state = MigrationState::Applied;
        }
    }
    let is_pending = |version: &&String| {
        evidence
            .iter()
            .any(|it| it.version == **version && it.is_pending())
    };
    let pending: Vec<String> = versions.iter().filter(is_pending).cloned().collect();
    Ok(Findings {
        origin,
        orphaned_triggers: schema_objects::orphaned_triggers(db)?,
        pending: migrations::with_versions(&pending),
        survey,
        prisma,
        evidence,
    })
}

/// The error of a database in which a migration is neither missing nor complete.
fn partial(findings: &Findings) -> Error {
    let partial = findings
        .evidence
        .iter()
        .filter(|it| !it.differences.is_empty());
    let lines = partial.map(|it| {
        let Evidence {
            found, expected, ..
        } = it;
        format!("{} ({found} of {expected} objects)", it.full_name())
    });
    let lines: Vec<String> = lines.collect();
    let message = format!(
        "only partly in the database: {}; nothing was changed",
        lines.join(", ")
    );
    Error::message(Exit::Refused, message).with_next(
        "run the SQL of `usagectl migrate --adopt --sql`, then: usagectl migrate --adopt",
    )
}

fn check_consent(context: &mut Context, args: &MigrateArgs, findings: &Findings) -> Result<()> {
    let adopted = findings.adopted();
    if args.yes || adopted == 0 {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        let message = "stdin is not a terminal; nothing was changed";
        return Err(
            Error::message(Exit::Refused, message).with_next("usagectl migrate --adopt --yes")
        );
    }
    let question = format!(
        "Record {} as applied and apply {}? [y/N] ",
        counted(adopted as u64, "migration"),
        counted(findings.pending.len() as u64, "pending migration"),
    );
    match context.prompt(question)?.to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => {
            let message = "not confirmed; nothing was changed";
            Err(Error::message(Exit::Refused, message).with_next("usagectl status"))
        }
    }
}

impl Findings {
    /// Whether there is nothing to record, restore or refuse.
    fn is_complete(&self) -> bool {
        let mut evidence = self.evidence.iter();
        evidence.all(|it| !it.is_adopted() && it.differences.is_empty() && it.restored.is_empty())
    }

    fn adopted(&self) -> usize {
        self.evidence.iter().filter(|it| it.is_adopted()).count()
    }
}

/// Records and applies, if the evidence is still as shown. The second result is that of applying.
fn carry_out(
    context: &mut Context,
    db: &mut Db,
    url: &DatabaseUrl,
    args: &MigrateArgs,
    shown: &Findings,
) -> Result<(crate::output::migrations::Applied, Result<()>)> {
    let _lock = context.lock(db, url, RunKind::Migrate, args.locks.lock_wait)?;
    let findings = find(db, url, args)?;
    if findings.evidence != shown.evidence {
        let message = "the database changed after the evidence was printed; nothing was changed";
        return Err(Error::message(Exit::Refused, message).with_next(migrations::ADOPT));
    }
    interrupt::end_on_signals(context, url, db, migrations::ADOPT.to_owned().into())?;
    let application_schema = migrations::application_schema(url);
    let locks = args.locks.locks();
    if !findings.orphaned_triggers.is_empty() {
        let tables = OrphanedTrigger::tables(&findings.orphaned_triggers).join(", ");
        let drops = schema_objects::drop_triggers(&findings.orphaned_triggers);
        let on_retry = &mut |pause| report_retry(context, pause);
        migrations::with_lock_retry(db, locks.timeout, on_retry, |db| {
            fault::point("trigger");
            Ok(db.batch_execute(&drops)?)
        })?;
        context.info(format_args!(
            "dropped the triggers that made writes to {tables} fail"
        ));
    }
    let bookkeeping = &findings.survey.bookkeeping;
    let observer = &mut Reported(context);
    migrations::prepare(db, application_schema, bookkeeping, locks, observer)?;
    let log = LogContext {
        application_schema,
        done_by: &current_user(),
        at: context.now.into(),
        prisma: &findings.prisma,
    };
    let on_retry = &mut |pause| report_retry(context, pause);
    migrations::with_lock_retry(db, locks.timeout, on_retry, |db| {
        adopt::record(db, &findings.evidence, log)
    })?;
    // Restores missing triggers too.
    let survey = migrations::survey(db)?;
    Ok(apply(
        context,
        db,
        url,
        args,
        &survey,
        findings.pending,
        &findings.prisma,
    ))
}

fn script(
    db: &mut Db,
    url: &DatabaseUrl,
    args: &MigrateArgs,
    findings: &Findings,
) -> Result<String> {
    let application_schema = migrations::application_schema(url);
    let mut setup = migrations::setup(db, application_schema, &findings.survey.bookkeeping)?;
    let entry = LogContext {
        application_schema,
        done_by: "a script",
        // Unused: the script reads the engine's clock when it is run.
        at: chrono::DateTime::UNIX_EPOCH.into(),
        prisma: &findings.prisma,
    };
    setup.insert(
        0,
        schema_objects::drop_triggers(&findings.orphaned_triggers),
    );
    setup.push(adopt::script(db, &findings.evidence, entry));
    Ok(migrations::script(
        db,
        &findings.survey,
        &findings.pending,
        Direction::Up,
        application_schema,
        args.locks.lock_timeout,
        &setup,
        &findings.prisma,
    )?)
}
