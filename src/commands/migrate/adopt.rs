//! `migrate --adopt`: records the migrations whose objects exist, then applies the others.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};

use chrono::{DateTime, Utc};

use super::{
    MigrateArgs, Run, continued, drop_orphaned, interrupt, list_external_tables, name_taken,
    not_confirmed, not_renamed, plan_error, warn_of_owned, warn_of_owner,
};
use crate::context::{Context, current_user};
use crate::domain::format::counted;
use crate::domain::schema::adoption::{AdoptionVerdict, Evidence, Origin};
use crate::domain::schema::migration;
use crate::domain::schema::migration::MigrationState;
use crate::domain::schema::objects::SchemaObjects;
use crate::domain::schema::orphaned_triggers::OrphanedTrigger;
use crate::domain::schema::status::Defect;
use crate::error::{Error, Exit, Outcome, Result};
use crate::fault;
use crate::output::Format;
use crate::output::adoption::Adoption;
use crate::output::migrations::{Applied, Script};
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
    objects: SchemaObjects,
    evidence: Vec<Evidence>,
    origin: Option<Origin>,
    /// They are dropped first; the pending migrations create them again.
    orphaned_triggers: Vec<OrphanedTrigger>,
    unrenamed: Vec<Defect>,
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
    // A run that is half way would look like a partial database.
    let wait = args.locks.lock_wait;
    let lock = match is_preview {
        true => None,
        false => Some(context.lock(&mut db, url, RunKind::Migrate, wait)?),
    };
    let findings = find_or_drop_triggers(context, &mut db, url, args)?;
    let is_partial = findings.is_partial();
    if let ([unrenamed, ..], false) = (findings.unrenamed.as_slice(), is_partial) {
        return Err(not_renamed(unrenamed));
    }
    if findings.is_complete() {
        return Ok(None);
    }
    if !is_partial {
        let expected = migrations::expected(&db, &findings.survey.statuses);
        migrations::require_tables(&mut db, &expected, &findings.objects, true)?;
        let adopted = findings.evidence.iter().filter(|it| it.is_adopted());
        let adopted: Vec<&str> = adopted.map(|it| it.version).collect();
        let prisma = &findings.prisma;
        prisma.check_others(&mut db, &findings.pending, &adopted)?;
    }
    if is_preview {
        warn_of_owner(context, &mut db, &findings.pending)?;
    }
    let recorded = findings.evidence.iter();
    let recorded = recorded.filter(|it| it.is_adopted() || it.is_pending());
    args.prisma
        .warn_of_unknown(context, &findings.prisma, recorded.map(|it| it.version))?;
    findings.warn_of_edited(context);
    let schema = migrations::application_schema(url);
    let mut closing = Vec::new();
    if is_partial {
        closing = adopt::closing_script(&mut db, &findings.evidence, schema)?;
    }
    if args.sql {
        let sql = match is_partial {
            true => closing.join("\n") + "\n",
            false => script(&mut db, url, args, &findings)?,
        };
        context.answer(&Script { sql })?;
        return match is_partial {
            true => Err(partial(&findings)),
            false => Ok(Some(Outcome::DONE)),
        };
    }
    if let Some(taken) = migrations::taken_name(&mut db, &findings.survey, &findings.pending)? {
        return Err(name_taken(taken));
    }
    // It would block other runs while the prompt waits.
    drop(lock);
    let (mut planned, mut repairs) = (Vec::new(), Vec::new());
    if args.dry_run && !is_partial {
        planned = migrations::planned_steps(&mut db, &findings.survey, &findings.pending)?;
        let orphaned = &findings.orphaned_triggers;
        let (survey, pending) = (&findings.survey, &findings.pending);
        repairs = migrations::estimate_repairs(&mut db, survey, orphaned, pending)?;
    }
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
    let (mut adopted, mut applied) = (false, Applied::default());
    let result = check_consent(context, args, &findings).and_then(|()| {
        let db = &mut db;
        Run::new(context, db, url, args).adopt(&findings, &mut adopted, &mut applied)
    });
    answer.adopted = adopted;
    let is_shown = result.is_ok() || !applied.migrations.is_empty();
    answer.applied = (adopted && is_shown).then_some(&applied);
    // Another run adopted it; the rest is as without --adopt.
    if matches!(result, Ok(false)) {
        return Ok(None);
    }
    if adopted || is_document {
        context.answer(&answer)?;
    }
    result?;
    warn_of_owned(context, &mut db)?;
    list_external_tables(context, &db)?;
    closing_outcome(context, &mut db).map(Some)
}

/// The state of the database. A run that may write first drops triggers whose tables are gone if anything is missing:
/// they may be the cause, and writes of the application fail.
fn find_or_drop_triggers(
    context: &mut Context,
    db: &mut Db,
    url: &DatabaseUrl,
    args: &MigrateArgs,
) -> Result<Findings> {
    let findings = find(db, url, args, context.now)?;
    let is_whole = !findings.is_partial() && findings.unrenamed.is_empty();
    if is_whole || args.dry_run || args.sql {
        return Ok(findings);
    }
    let dropped = drop_orphaned(db, args.locks.retry(context))?;
    if dropped.is_empty() {
        return Ok(findings);
    }
    context.info(dropped_text(&dropped));
    find(db, url, args, context.now)
}

/// As `status` judges the adopted database.
fn closing_outcome(context: &mut Context, db: &mut Db) -> Result<Outcome> {
    let survey = migrations::survey(db)?;
    let expected = migrations::expected(db, &survey.statuses);
    let found = schema_objects::read(db)?;
    let drift = migrations::drift(db, &survey.bookkeeping, &expected, &found, false)?;
    for difference in &drift {
        context.warn(difference);
    }
    Ok(match drift.is_empty() {
        true => Outcome::DONE,
        false => Outcome::with_next(
            Exit::Untrustworthy,
            "run the SQL that usagectl status prints, then usagectl status",
        ),
    })
}

fn find(
    db: &mut Db,
    url: &DatabaseUrl,
    args: &MigrateArgs,
    now: DateTime<Utc>,
) -> Result<Findings> {
    let mut survey = migrations::survey(db)?;
    survey.bookkeeping.check_application(url)?;
    // All pending ones: this checks `--to`, and that no migration is edited or unknown.
    let versions = migration::plan_up(&survey.statuses, args.to.as_deref(), true)
        .map_err(|error| continued(plan_error(error), &survey))?;
    let objects = schema_objects::read(db)?;
    let prisma = args.prisma.read(db, false)?;
    let origin = adopt::origin(db, &survey, &objects)?;
    let last = args.to.as_ref().and(versions.last()).map(String::as_str);
    let evidence = adopt::gather(db, &survey, &objects, &prisma, last);
    // A complete ledger is not lost.
    let is_complete = |it: &Evidence| it.verdict == AdoptionVerdict::Recorded;
    let origin = origin.filter(|_| !evidence.iter().all(is_complete));
    let is_adopted = |version: &str| {
        let mut adopted = evidence.iter().filter(|it| it.is_adopted());
        adopted.any(|it| it.version == version)
    };
    let mut orphaned_triggers = schema_objects::orphaned_triggers(db)?;
    let stray = adopt::stray_triggers(db, &survey, &evidence, &objects);
    orphaned_triggers.extend(stray);
    // As after the adoption.
    for status in &mut survey.statuses {
        if is_adopted(&status.version) {
            status.state = MigrationState::Applied;
            status.applied_at.get_or_insert(now);
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
        orphaned_triggers,
        unrenamed: adopt::unrenamed(db, &objects)?,
        pending: migrations::with_versions(&pending),
        survey,
        prisma,
        objects,
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
        let (name, found) = (it.full_name(), it.found);
        format!("{name} ({found} of {} objects)", it.expected)
    });
    let lines = lines.collect::<Vec<_>>().join(", ");
    let unrenamed = findings.unrenamed.iter();
    let unrenamed: String = unrenamed
        .map(|it| format!("{} {}; ", it.object, it.problem))
        .collect();
    let message = format!(
        "{unrenamed}only partly in the database: {lines}; no migration was recorded or applied"
    );
    Error::message(Exit::Refused, message).with_next(
        "run the SQL of `usagectl migrate --adopt --sql`, change by hand each object with only a comment, then: usagectl migrate --adopt",
    )
}

fn check_consent(context: &mut Context, args: &MigrateArgs, findings: &Findings) -> Result<()> {
    let adopted = findings.adopted();
    if args.yes || adopted == 0 {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        let message = "stdin is not a terminal; nothing was changed";
        let next = format!("usagectl migrate{} --yes", args.repeated(context));
        return Err(Error::message(Exit::Refused, message).with_next(next));
    }
    let question = format!(
        "Record {} as applied and apply {}? [y/N] ",
        counted(adopted as u64, "migration"),
        counted(findings.pending.len() as u64, "pending migration"),
    );
    match context.prompt(question)?.to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(not_confirmed()),
    }
}

impl Findings {
    fn is_partial(&self) -> bool {
        let mut evidence = self.evidence.iter();
        evidence.any(|it| !it.differences.is_empty())
    }

    /// Whether there is nothing to record, restore or refuse.
    fn is_complete(&self) -> bool {
        let mut evidence = self.evidence.iter();
        evidence.all(|it| !it.is_adopted() && it.differences.is_empty() && it.restored.is_empty())
            && self.orphaned_triggers.is_empty()
    }

    /// Warns of Prisma's migrations whose text is not the one that was applied.
    fn warn_of_edited(&self, context: &mut Context) {
        let prisma = self.evidence.iter().filter_map(|it| it.prisma.as_ref());
        let edited = prisma.filter(|it| it.is_edited).map(|it| it.name.as_str());
        let edited: BTreeSet<&str> = edited.collect();
        for name in edited {
            context.warn(format_args!(
                "{name} has another checksum in Prisma's ledger than its migration.sql: `prisma migrate dev` would offer a \
                 reset; after the adoption usagectl status --verify prints the SQL that corrects it"
            ));
        }
    }

    fn adopted(&self) -> usize {
        self.evidence.iter().filter(|it| it.is_adopted()).count()
    }
}

impl Run<'_> {
    /// Records and applies, if the evidence is still as shown or another run has recorded it. False if nothing is left to
    /// adopt.
    fn adopt(
        &mut self,
        shown: &Findings,
        adopted: &mut bool,
        applied: &mut Applied,
    ) -> Result<bool> {
        let Run { url, args, .. } = *self;
        let wait = args.locks.lock_wait;
        let _lock = self.context.lock(self.db, url, RunKind::Migrate, wait)?;
        let findings = find(self.db, url, args, self.context.now)?;
        if findings.evidence != shown.evidence && findings.is_complete() {
            return Ok(false);
        }
        let is_recorded = |it: &Evidence| it.verdict == AdoptionVerdict::Recorded;
        let mut evidence = findings.evidence.iter();
        if !evidence.all(|it| is_recorded(it) || shown.evidence.contains(it)) {
            let message =
                "the database changed after the evidence was printed; nothing was changed";
            return Err(Error::message(Exit::Refused, message).with_next(migrations::ADOPT));
        }
        let next = migrations::ADOPT.to_owned();
        interrupt::end_on_signals(self.context, url, self.db, next.into())?;
        let schema = migrations::application_schema(url);
        let (evidence, objects) = (&findings.evidence, &findings.objects);
        let recreated = adopt::recreation(self.db, evidence, objects, schema, false)?;
        if !findings.orphaned_triggers.is_empty() || !recreated.is_empty() {
            let tables = OrphanedTrigger::tables(&findings.orphaned_triggers).join(", ");
            let drops = schema_objects::drop_triggers(self.db, &findings.orphaned_triggers);
            args.locks
                .retry(self.context)
                .transaction(self.db, &[], |db| {
                    fault::point("trigger");
                    if !tables.is_empty() {
                        db.batch_execute(&drops)?;
                    }
                    for statement in &recreated {
                        fault::point("table");
                        db.batch_execute(statement)?;
                    }
                    Ok(())
                })?;
            if !tables.is_empty() {
                let message = dropped_text(&findings.orphaned_triggers);
                self.context.info(message);
            }
            for what in findings.evidence.iter().flat_map(|it| &it.restored) {
                if what.starts_with("table ") {
                    self.context.info(format_args!("created the {what} again"));
                }
            }
        }
        let user = current_user();
        let log = LogContext::new(url, &user, self.context.now, &findings.prisma);
        let (schema, found) = (log.application_schema, &findings.survey.bookkeeping);
        migrations::prepare(self.db, schema, found, args.locks.locks(), self.context)?;
        let mut retry = args.locks.retry(self.context);
        retry.transaction(self.db, &[], |db| {
            adopt::record(db, &findings.evidence, log)
        })?;
        *adopted = true;
        // Restores missing triggers too.
        let survey = migrations::survey(self.db)?;
        self.apply(&survey, findings.pending, &findings.prisma, applied)?;
        Ok(true)
    }
}

fn dropped_text(dropped: &[OrphanedTrigger]) -> String {
    let tables = OrphanedTrigger::tables(dropped).join(", ");
    format!("dropped the triggers that made writes to {tables} fail")
}

fn script(
    db: &mut Db,
    url: &DatabaseUrl,
    args: &MigrateArgs,
    findings: &Findings,
) -> Result<String> {
    let (survey, pending) = (&findings.survey, &findings.pending);
    let entry = LogContext::of_script(url, &findings.prisma);
    let schema = entry.application_schema;
    let evidence = &findings.evidence;
    let mut setup = vec![schema_objects::drop_triggers(
        db,
        &findings.orphaned_triggers,
    )];
    let objects = &findings.objects;
    setup.extend(adopt::recreation(db, evidence, objects, schema, true)?);
    setup.extend(migrations::setup(db, schema, &survey.bookkeeping)?);
    setup.push(adopt::script(db, evidence, entry));
    let (up, timeout) = (Direction::Up, args.locks.lock_timeout);
    let plan: Vec<_> = pending.iter().map(|it| (*it, Vec::new())).collect();
    let sql = migrations::script(db, survey, &plan, up, entry, timeout, &setup)?;
    Ok(sql)
}
