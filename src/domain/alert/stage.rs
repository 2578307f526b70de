//! The episodes of a threshold above the lowest: each lasts while the threshold is reached. They are found in the states
//! and changes of the rule, so that late data corrects them as it corrects the episodes of the rule.

use chrono::{DateTime, Utc};

use super::event::Event;
use super::history::change_of;
use super::rule::AlertRef;
use super::state::{AlertKey, AlertState, AlertStatus, Change, Episode, Stage};

fn episode(stages: &[Stage], threshold: f64, place: AlertKey<'_>) -> Option<Episode> {
    let stage = stages.iter().find(|stage| stage.threshold == threshold)?;
    Some(Episode::of_stage(place, *stage))
}

/// The thresholds that states and changes reach, from the lowest.
pub fn thresholds<'a>(
    states: impl IntoIterator<Item = &'a AlertState>,
    changes: impl IntoIterator<Item = &'a Change>,
    history: &'a [Event],
) -> Vec<f64> {
    let states = states.into_iter().map(|state| &state.stages);
    let changes = changes.into_iter().map(|change| &change.stages);
    let history = history.iter().map(|event| &event.stages);
    let stages = states.chain(changes).chain(history).flatten();
    let mut thresholds: Vec<f64> = stages.map(|stage| stage.threshold).collect();
    thresholds.sort_by(f64::total_cmp);
    thresholds.dedup();
    thresholds
}

/// The state with the episode of a threshold instead of the rule's.
pub fn state_of(state: &AlertState, threshold: f64, place: AlertKey<'_>) -> AlertState {
    AlertState {
        episode: episode(&state.stages, threshold, place),
        ..state.clone()
    }
}

/// The changes of the episodes of a threshold, from the changes of its rule after the state `before`.
pub fn changes_of<'a>(
    before: Option<&AlertState>,
    changes: impl IntoIterator<Item = &'a Change>,
    threshold: f64,
    place: AlertKey<'_>,
) -> Vec<Change> {
    let mut open = before.and_then(|before| episode(&before.stages, threshold, place));
    let mut found = Vec::new();
    for change in changes {
        let now = episode(&change.stages, threshold, place);
        let with = |episode: &Episode, from, to| Change {
            from: Some(from),
            to,
            ended: to == AlertStatus::Ok,
            episode: Some(episode.clone()),
            ..change.clone()
        };
        if let Some(ended) = open.as_ref().filter(|open| now.as_ref() != Some(open)) {
            found.push(with(ended, AlertStatus::Firing, AlertStatus::Ok));
        }
        if let Some(now) = &now {
            let is_open = open.as_ref() == Some(now);
            let from = if is_open {
                AlertStatus::Firing
            } else {
                AlertStatus::Ok
            };
            found.push(with(now, from, AlertStatus::Firing));
        }
        open = now;
    }
    found
}

/// The events after `after` of the episodes of a threshold, from the history of its rule. `before` is the state at
/// `after`.
pub fn history_of(
    alert: &AlertRef,
    before: Option<&AlertState>,
    history: &[Event],
    after: DateTime<Utc>,
    threshold: f64,
) -> Vec<Event> {
    let events = history.iter().filter(|event| event.at > after);
    let changes: Vec<Change> = events.filter_map(change_of).collect();
    let changes = changes_of(before, &changes, threshold, AlertKey::of(alert));
    let event = |change: &Change| Event::of_change(alert.clone(), change, change.at);
    changes.iter().map(event).collect()
}
