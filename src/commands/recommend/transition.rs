//! Moves of a recommendation by a person, each in one transaction with its history entries.

use chrono::{DateTime, Utc};

use super::{IdArg, one};
use crate::args::{Author, parse_text};
use crate::commands::prelude::*;
use crate::domain::format;
use crate::domain::metrics::names::Status;
use crate::domain::recommendation::facts::Choice;
use crate::domain::recommendation::inputs::InputName;
use crate::domain::recommendation::lifecycle::transition::{
    Request, Transition, carry_out, version,
};
use crate::domain::recommendation::lifecycle::{Actor, Refusal, actions};
use crate::domain::recommendation::{Recommendation, is_open};
use crate::output::recommend::transition::Moved;
use crate::store::recommendation::write::{Aborted, retry, write};
use crate::store::recommendation::{history, inputs, recommendations};

/// The arguments of every move. A command that requires a note makes `note` required.
#[derive(Args, Debug)]
pub struct MoveArgs {
    #[command(flatten)]
    target: IdArg,

    #[command(flatten)]
    author: Author,

    /// Note recorded with the change
    #[arg(long, value_name = "TEXT", value_parser = parse_text::<2000>)]
    note: Option<String>,

    /// Fail unless the recommendation is at this version
    #[arg(long, value_name = "N")]
    if_version: Option<i32>,
}

/// Moves a recommendation to `to`, or without it only adds a note, and answers. A dismissal may end.
pub(super) fn run(
    context: &mut Context,
    args: &MoveArgs,
    to: impl Into<Option<Status>>,
    until: Option<DateTime<Utc>>,
) -> Result<Outcome> {
    let to = to.into();
    let by = args.author.name();
    let mut db = context.open(Access::Write)?;
    let now = context.now;
    let request = Request {
        to,
        by: &by,
        note: args.note.as_deref(),
        until,
        single_reviewer: false,
    };
    let (id, if_version) = (&args.target.id, args.if_version);
    let attempt = |db: &mut Db| attempt(db, id, if_version, request.clone(), now);
    let (from, transition) = match retry(&mut db, attempt) {
        Err(aborted @ Aborted::OtherOpenAnswer(_)) => {
            return Err(explain(&mut db, id, aborted));
        }
        settled => settled?,
    };
    let mut entries = transition.entries.iter();
    if let Some(seen) = entries.find(|entry| entry.actor_kind == Actor::Application) {
        context.info(format_args!(
            "changed by the application before: {}",
            format::change(seen.from, seen.to)
        ));
    }
    context.answer(&Moved {
        from,
        transition: &transition,
    })?;
    // On a terminal the answer stands before the next steps.
    context.flush()?;
    let allowed: Vec<&str> = actions(transition.after.status).collect();
    if let (Some(Status::Implemented), Some(facts)) = (to, transition.after.facts())
        && let (Choice::Change { plan }, Some(provider)) = (&facts.target, &facts.provider)
    {
        context.info(format_args!(
            "select the new plan: usagectl limits plan {provider} {plan}"
        ));
    }
    if to.is_some() && !allowed.is_empty() {
        context.info(format_args!("next actions: {}", allowed.join(", ")));
    }
    Ok(Outcome::DONE)
}

fn attempt(
    db: &mut Db,
    id: &str,
    if_version: Option<i32>,
    mut request: Request<'_>,
    now: DateTime<Utc>,
) -> Result<(Status, Transition), Aborted> {
    let before = one(db, id)?;
    let entries = history::find(db, &before.id)?.len();
    let version = version(&before, entries);
    if if_version.is_some_and(|expected| expected != version) {
        return Err(stale(&before, version).into());
    }
    let single_reviewer = InputName::SingleReviewer.of(&inputs::all(db)?, before.service);
    request.single_reviewer = single_reviewer.unwrap_or(false);
    let transition =
        carry_out(&before, version, &request, now).map_err(|refusal| refused(&before, refusal))?;
    write(db, Some(&before), &transition.after, &transition.entries)?;
    Ok((before.status, transition))
}

fn stale(it: &Recommendation, version: i32) -> Error {
    let (id, status) = (printable(&it.id), it.status);
    let message = format!("{id} is {status} at version {version}; nothing was changed");
    Error::message(Exit::Untrustworthy, message)
        .with_next(format!("usagectl recommend show {}", it.id))
}

fn refused(it: &Recommendation, refusal: Refusal) -> Error {
    let by_application = match &it.tracking {
        Some(tracking) if tracking.status != it.status => " (changed by the application)",
        _ => "",
    };
    let message = format!("{}{by_application} {refusal}", printable(&it.id));
    let action = actions(it.status).next().unwrap_or("show");
    Error::message(Exit::Refused, message)
        .with_next(format!("usagectl recommend {action} {}", it.id))
}

/// Names the other open recommendation that answers the same question.
fn explain(db: &mut Db, id: &str, aborted: Aborted) -> Error {
    match other_open_answer(db, id) {
        Ok(Some(other)) => {
            let (id, status) = (printable(&other.id), other.status);
            let message = format!("{id} is {status} and answers the same question");
            Error::message(Exit::Refused, message)
                .with_next(format!("usagectl recommend show {}", other.id))
        }
        _ => aborted.into(),
    }
}

fn other_open_answer(db: &mut Db, id: &str) -> Result<Option<Recommendation>> {
    let it = one(db, id)?;
    let question = |it: &Recommendation| it.tracking.as_ref().map(|own| own.question.clone());
    let mut all = recommendations::all(db)?.into_iter();
    Ok(all.find(|other| {
        other.id != it.id && is_open(other.status) && question(other) == question(&it)
    }))
}
