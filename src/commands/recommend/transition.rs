//! The one transaction in which a person moves a recommendation: the application's row, ours and the history
//! change together, or nothing does.

use chrono::{DateTime, Utc};
use clap::Args;
use diesel::result::{DatabaseErrorKind, Error as DieselError};

use super::one;
use crate::context::{Context, current_user};
use crate::domain::metrics::names::Status;
use crate::domain::recommendation::lifecycle::{self, Actor, Refusal};
use crate::domain::recommendation::transition::{self, Moved, Wish};
use crate::domain::recommendation::{Recommendation, is_open};
use crate::error::{Error, Exit, Outcome, Result};
use crate::output::printable;
use crate::output::recommend::step::Step;
use crate::store::db::{Access, Db};
use crate::store::recommendation::{history, inputs, recommendations};

/// What every move is told.
#[derive(Args, Debug)]
pub struct MoveArgs {
    /// Which recommendation: its id, or as much of the beginning as no other has
    #[arg(value_name = "ID")]
    pub id: String,

    /// Who decides; user@host, unless given. A record, and no proof
    #[arg(long, value_name = "WHO", value_parser = parse_words::<200>)]
    pub by: Option<String>,

    /// Only if it is still at this version
    #[arg(long, value_name = "N")]
    pub if_version: Option<i32>,
}

/// A note, where none is needed.
#[derive(Args, Debug)]
pub struct WhyArgs {
    /// Why
    #[arg(long, value_name = "TEXT", value_parser = parse_words::<2000>)]
    pub note: Option<String>,
}

/// A note, where one is needed.
#[derive(Args, Debug)]
pub struct RequiredWhyArgs {
    /// Why
    #[arg(long, value_name = "TEXT", value_parser = parse_words::<2000>)]
    pub note: String,
}

/// Reads a text that says something and is no longer than `LONGEST` characters.
fn parse_words<const LONGEST: usize>(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.chars().count() {
        0 => Err("nothing is said".to_owned()),
        length if length > LONGEST => Err(format!("longer than {LONGEST} characters")),
        _ => Ok(text.to_owned()),
    }
}

/// How many times a move is tried again that another one came before.
const ATTEMPTS: usize = 5;

/// Why an attempt came to nothing; nothing was written.
enum Stopped {
    /// Somebody else was quicker: what was read is not so any more.
    Overtaken,
    Database(DieselError),
    Error(Error),
}

impl From<DieselError> for Stopped {
    fn from(error: DieselError) -> Stopped {
        Stopped::Database(error)
    }
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Stopped {
        Stopped::Error(error)
    }
}

/// Moves a recommendation to `to`, or with none only notes something, and answers.
pub(super) fn run(
    context: &mut Context,
    args: &MoveArgs,
    to: Option<Status>,
    note: Option<&str>,
    until: Option<DateTime<Utc>>,
) -> Result<Outcome> {
    let by = args.by.clone().unwrap_or_else(current_user);
    let mut db = context.open(Access::Write)?;
    let now = context.now;
    let mut attempts = 0;
    let (before, moved) = loop {
        attempts += 1;
        let wish = Wish {
            to,
            by: &by,
            note,
            until,
            single_reviewer: false,
        };
        match db.write_tx(|db| attempt(db, args, wish, now)) {
            Ok(made) => break made,
            Err(Stopped::Overtaken) if attempts < ATTEMPTS => {}
            Err(Stopped::Overtaken) => {
                let busy = Error::message(Exit::Busy, "others keep changing this recommendation");
                return Err(busy.with_next("run the same command again"));
            }
            Err(Stopped::Error(error)) => return Err(error),
            Err(Stopped::Database(error)) => return Err(explain(&mut db, &args.id, error)),
        }
    };
    if let Some(seen) = moved
        .entries
        .iter()
        .find(|entry| entry.actor_kind == Actor::Application)
    {
        let from = seen.from.unwrap_or(seen.to);
        context.info(format_args!(
            "the application had moved it from {from} to {}",
            seen.to
        ));
    }
    context.answer(&Step {
        from: before.status,
        moved: &moved,
    })?;
    // On a terminal what was done stands before what can be done next.
    context.flush()?;
    let allowed: Vec<&str> = lifecycle::verbs(moved.after.status).collect();
    if to.is_some() && !allowed.is_empty() {
        context.info(format_args!("now it can be: {}", allowed.join(", ")));
    }
    Ok(Outcome::DONE)
}

fn attempt(
    db: &mut Db,
    args: &MoveArgs,
    mut wish: Wish,
    now: DateTime<Utc>,
) -> Result<(Recommendation, Moved), Stopped> {
    let before = one(db, &args.id)?;
    let steps = history::of(db, &before.id)?.len();
    let standing = transition::standing(&before, steps);
    if args
        .if_version
        .is_some_and(|version| version != standing.version)
    {
        return Err(stale(&before, standing.version).into());
    }
    let single_reviewer = inputs::value(db, "single_reviewer", before.service)?;
    wish.single_reviewer = single_reviewer.is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let moved = transition::make(&before, standing, &wish, now)
        .map_err(|refusal| refused(&before, refusal))?;
    if !recommendations::update(db, &before, &moved.after)? {
        return Err(Stopped::Overtaken);
    }
    history::append(db, &before.id, &moved.entries)?;
    Ok((before, moved))
}

fn stale(it: &Recommendation, version: i32) -> Error {
    let message = format!(
        "{} is {} and at version {version}; nothing was changed",
        printable(&it.id),
        it.status
    );
    Error::message(Exit::Untrustworthy, message)
        .with_next(format!("usagectl recommend show {}", it.id))
}

fn refused(it: &Recommendation, refusal: Refusal) -> Error {
    let moved = it.own.as_ref().is_some_and(|own| own.status != it.status);
    let whose = if moved {
        " (moved by the application)"
    } else {
        ""
    };
    let message = format!("{}{whose}: {refusal}", printable(&it.id));
    let next = match lifecycle::verbs(it.status).next() {
        Some(verb) => format!("usagectl recommend {verb} {}", it.id),
        None => format!("usagectl recommend show {}", it.id),
    };
    Error::message(Exit::Refused, message).with_next(next)
}

/// A unique violation is that another open recommendation answers the same question.
fn explain(db: &mut Db, id: &str, error: DieselError) -> Error {
    let DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _) = error else {
        return error.into();
    };
    match other_open_answer(db, id) {
        Ok(Some(other)) => {
            let message = format!(
                "{} is {} and answers the same question: only one may be open",
                printable(&other.id),
                other.status
            );
            Error::message(Exit::Refused, message)
                .with_next(format!("usagectl recommend show {}", other.id))
        }
        _ => error.into(),
    }
}

fn other_open_answer(db: &mut Db, id: &str) -> Result<Option<Recommendation>> {
    let it = one(db, id)?;
    let question = |it: &Recommendation| it.own.as_ref().map(|own| own.question.clone());
    let others = recommendations::all(db)?.into_iter();
    let mut same = others.filter(|other| {
        other.id != it.id && is_open(other.status) && question(other) == question(&it)
    });
    Ok(same.next())
}
