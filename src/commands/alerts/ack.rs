//! `alerts ack`: somebody knows.

use clap::Args;

use super::chosen;
use crate::context::{Context, current_user};
use crate::domain::alert::event::{Event, EventKind};
use crate::error::{Error, Exit, Outcome, Result};
use crate::output::alerts::ack::{Acknowledgement, Acknowledgements};
use crate::output::printable;
use crate::store::alerting::states;
use crate::store::alerting::states::Acknowledged;
use crate::store::alerting::{events, rules};
use crate::store::db::Access;

/// Say that you know that a rule fires
///
/// It is noted, with your name, until the rule is OK again. Nobody is reminded of it meanwhile; that it
/// became critical, or is over, is told as ever.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db alerts ack \
finnhub/ERROR_SPIKE/HOUR --note 'the key was exchanged' || echo 'it does not fire'"
)]
pub struct AckArgs {
    /// Which rules: an id, the beginning of one, or API/TYPE/PERIOD
    #[arg(required = true, value_name = "RULE")]
    rules: Vec<String>,

    /// Of a rule for all APIs, only what it says of this one
    #[arg(long, value_name = "NAME")]
    api: Option<String>,

    /// What there is to say about it
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,

    /// Who knows; you, unless given
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

/// Notes it, for all or none.
pub fn run(context: &mut Context, args: AckArgs) -> Result<Outcome> {
    let known = Acknowledged {
        by: args.by.unwrap_or_else(current_user),
        at: context.now,
        note: args.note,
    };
    let mut db = context.open(Access::Write)?;
    let done = db.write_tx(|db| -> Result<Vec<Acknowledgement>> {
        let rules = chosen(&rules::rules(db)?, &args.rules)?;
        let states = states::all(db)?;
        let mut done = Vec::new();
        let mut events = Vec::new();
        for rule in &rules {
            let before = done.len();
            let mine = states.iter().filter(|stored| {
                let asked = args.api.as_ref();
                stored.concern.alert_id == rule.id
                    && asked.is_none_or(|api| *api == stored.concern.api_name)
            });
            for stored in mine {
                let Some(episode) = &stored.standing.episode else {
                    continue;
                };
                states::acknowledge(db, &episode.id, &known)?;
                let concern = stored.concern.clone();
                events.push(Event {
                    episode: Some(episode.id.clone()),
                    severity: stored.standing.severity,
                    value: stored.standing.value,
                    threshold: stored.standing.threshold,
                    limit_value: stored.standing.limit_value,
                    actor: Some(known.by.clone()),
                    note: known.note.clone(),
                    ..Event::new(concern, EventKind::Acknowledged, known.at, known.at)
                });
                done.push(Acknowledgement {
                    concern: stored.concern.clone(),
                    episode: episode.clone(),
                    by: known.by.clone(),
                    note: known.note.clone(),
                });
            }
            if done.len() == before {
                let message = format!("{rule} does not fire; nothing was changed");
                return Err(Error::message(Exit::Failed, printable(&message))
                    .with_next("usagectl alerts status"));
            }
        }
        events::insert(db, &events)?;
        Ok(done)
    })?;
    context.answer(&Acknowledgements { done })?;
    Ok(Outcome::DONE)
}
