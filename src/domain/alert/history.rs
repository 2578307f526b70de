//! The state of a rule at an earlier step, reconstructed from its events.

use chrono::{DateTime, Utc};

use super::event::{Event, EventKind};
use super::origin::Origin;
use super::state::{AlertState, AlertStatus, Change, Episode};
use super::window::Grid;

/// The state after the step `at`; none if the rule was not evaluated up to then. `events` are those of the rule and
/// API in order, at least from the last change of state before `at` on. Events before the origin do not count.
pub fn state_at(
    origin: Option<&Origin>,
    events: &[Event],
    at: DateTime<Utc>,
    grid: Grid,
) -> Option<AlertState> {
    let origin = origin.filter(|origin| origin.at <= at);
    let mut state = origin.and_then(|origin| origin.state.clone());
    if let Some(origin) = origin.filter(|origin| origin.at < at && origin.state.is_none()) {
        let first = grid.at_or_before(origin.at) + grid.step();
        state = Some(AlertState::ok_since(first));
    }
    let is_after_origin = |event: &&Event| origin.is_none_or(|origin| event.at > origin.at);
    let events = events.iter().filter(is_after_origin);
    for event in events.take_while(|event| event.at <= at) {
        apply(&mut state, event);
    }
    state.map(|state| AlertState {
        evaluated_to: at,
        ..state
    })
}

pub fn apply(state: &mut Option<AlertState>, event: &Event) {
    match (event.kind, event.to_state, &mut *state) {
        (EventKind::State, Some(status), _) => {
            let is_open = status != AlertStatus::Ok;
            let episode = event.episode.as_deref().filter(|_| is_open);
            *state = Some(AlertState {
                status,
                since: event.at,
                severity: event.severity.filter(|_| is_open),
                episode: episode.map(|id| episode_of(id, event)),
                stages: event.stages.clone(),
                evaluated_to: event.at,
                observed: event.observed,
                reason: event
                    .note
                    .clone()
                    .filter(|_| status == AlertStatus::Unknown),
            });
        }
        (EventKind::Severity, _, Some(state)) => {
            state.severity = event.severity;
            state.stages.clone_from(&event.stages);
            state.observed = event.observed;
        }
        (EventKind::Settled, ..) => *state = None,
        _ => {}
    }
}

fn episode_of(id: &str, event: &Event) -> Episode {
    Episode::of_id(id).unwrap_or_else(|| Episode {
        id: id.to_owned(),
        fired_at: event.at,
    })
}

pub fn begins_episode(event: &Event) -> bool {
    let episode = event.episode.as_deref();
    event.kind == EventKind::State
        && event.to_state == Some(AlertStatus::Firing)
        && episode.is_some_and(|id| episode_of(id, event).fired_at == event.at)
}

pub fn ends_episode(event: &Event) -> bool {
    event.kind == EventKind::State
        && event.to_state == Some(AlertStatus::Ok)
        && event.episode.is_some()
}

/// The change that an event records; none for other events.
pub fn change_of(event: &Event) -> Option<Change> {
    let is_change = matches!(event.kind, EventKind::State | EventKind::Severity);
    let to = event.to_state.filter(|_| is_change)?;
    Some(Change {
        at: event.at,
        from: event.from_state,
        to,
        severity: event.severity,
        episode: event.episode.as_deref().map(|id| episode_of(id, event)),
        stages: event.stages.clone(),
        ended: ends_episode(event),
        observed: event.observed,
        reason: event.note.clone(),
    })
}
