//! `alerts ack`: acknowledges firing rules.

use super::RuleRefs;
use crate::args::{ApiFilter, Author, parse_text};
use crate::commands::known_apis::warn_of_unknown;
use crate::commands::prelude::*;
use crate::domain::alert::event::{Event, EventKind};
use crate::domain::alert::state::Acknowledgement;
use crate::output::alerts::ack::{AcknowledgedAlert, Acknowledgements};
use crate::store::alerting::{events, rules, states};

/// Acknowledge firing rules
///
/// An acknowledged rule sends no reminders until it is OK again. A higher threshold and the resolution are
/// still sent. The acknowledgement is recorded in the history.
#[derive(Args, Debug)]
#[command(after_help = example!("alerts ack finnhub/ERROR_SPIKE/HOUR --note 'the key was exchanged' || echo 'it is not firing'"))]
pub struct AckArgs {
    #[command(flatten)]
    rules: RuleRefs,

    #[command(flatten)]
    filter: ApiFilter,

    /// Note recorded in the history
    #[arg(long, value_name = "TEXT", value_parser = parse_text::<1_000>)]
    note: Option<String>,

    #[command(flatten)]
    author: Author,
}

/// Acknowledges all of the rules or none.
pub fn run(context: &mut Context, args: AckArgs) -> Result<Outcome> {
    let acknowledged = Acknowledgement {
        by: args.author.name(),
        at: context.now,
        note: args.note,
    };
    let apis = &args.filter.apis;
    let mut db = context.open(Access::Write)?;
    warn_of_unknown(context, &mut db, apis)?;
    let acknowledged = db.write_tx(|db| -> Result<Vec<AcknowledgedAlert>> {
        let rules = args.rules.find(&rules::all(db)?)?;
        let states = states::all(db)?;
        let mut acknowledgements = Vec::new();
        let mut events = Vec::new();
        for rule in &rules {
            let firing = states.iter().filter_map(|stored| {
                let (id, api) = (&stored.alert.alert_id, &stored.alert.api_name);
                let is_asked_for = *id == rule.id && (apis.is_empty() || apis.contains(api));
                let episode = stored.state.episode.as_ref();
                Some((stored, episode.filter(|_| is_asked_for)?))
            });
            let before = acknowledgements.len();
            for (stored, episode) in firing {
                states::acknowledge(db, &episode.id, &acknowledged)?;
                let (alert, at) = (stored.alert.clone(), acknowledged.at);
                events.push(Event {
                    episode: Some(episode.id.clone()),
                    severity: stored.state.severity,
                    observed: stored.state.observed,
                    actor: Some(acknowledged.by.clone()),
                    note: acknowledged.note.clone(),
                    ..Event::new(alert.clone(), EventKind::Acknowledged, at, at)
                });
                acknowledgements.push(AcknowledgedAlert {
                    alert,
                    episode: episode.id.clone(),
                    fired_at: episode.fired_at,
                    acknowledged_by: acknowledged.by.clone(),
                    note: acknowledged.note.clone(),
                });
            }
            if acknowledgements.len() == before {
                let message = format!("{rule} is not firing; nothing was changed");
                return Err(Error::message(Exit::Refused, printable(&message))
                    .with_next("usagectl alerts status"));
            }
        }
        events::insert(db, &events)?;
        Ok(acknowledgements)
    })?;
    context.finish(&Acknowledgements { acknowledged })
}
