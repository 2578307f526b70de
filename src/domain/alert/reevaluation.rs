//! Which steps of a rule a check evaluates: those since the last check, and before them those whose data changed.

use chrono::{DateTime, TimeDelta, Utc};

use super::clock::CLOCK_ERROR;
use super::evaluate::{ApiUsage, RuleTarget};
use super::event::Event;
use super::history::{apply, change_of, state_at};
use super::origin::{Origin, conditions};
use super::state::{AlertRecord, AlertState, Change};
use super::window::Grid;
use crate::domain::period::{Granularity, Window};

/// When steps are evaluated.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    pub now: DateTime<Utc>,
    pub last: DateTime<Utc>,
    pub grid: Grid,
    pub max_catch_up: TimeDelta,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub origin: Origin,
    /// The state from which the evaluation continues.
    pub state: Option<AlertState>,
    pub after: DateTime<Utc>,
    pub last: DateTime<Utc>,
    /// The step up to which the rule was evaluated before.
    pub evaluated_to: Option<DateTime<Utc>>,
    /// The end of the changed data, if steps are evaluated again because of it.
    changed_to: Option<DateTime<Utc>>,
    /// A period that is not evaluated, because it is too long ago.
    pub gap: Option<Window>,
    /// The clock was set back: the later part of the history is no evidence.
    pub went_back: bool,
}

impl Plan {
    /// `late` are the starts of the hours in which data changed, `history` the events of the rule and API.
    pub fn new(
        target: &RuleTarget<'_>,
        record: Option<&AlertRecord>,
        history: &[Event],
        late: &[DateTime<Utc>],
        due: Due,
    ) -> Plan {
        let newest = due.last - due.grid.step();
        let Some(AlertRecord { state, origin, .. }) = record else {
            // Earlier steps are evaluated if data arrives late for them, since the rule exists.
            let created = target.rule.updated_at.unwrap_or(newest);
            let origin = Origin {
                conditions: conditions(target),
                at: due.grid.at_or_before(created).min(newest),
                state: None,
            };
            return Plan::from(origin, None, newest, due.last);
        };
        let evaluated_to = state.evaluated_to;
        let origin = current_origin(target, origin.as_ref(), state);
        // Nearer to now, the next checks get there.
        let plan = if evaluated_to - due.now >= CLOCK_ERROR {
            Plan::backwards(target, origin, state, history, late, due)
        } else {
            Plan::forwards(target, origin, state, history, late, due)
        };
        Plan {
            evaluated_to: Some(evaluated_to),
            ..plan
        }
    }

    fn from(
        origin: Origin,
        state: Option<AlertState>,
        after: DateTime<Utc>,
        last: DateTime<Utc>,
    ) -> Plan {
        Plan {
            origin,
            state,
            after,
            last,
            evaluated_to: None,
            changed_to: None,
            gap: None,
            went_back: false,
        }
    }

    /// From the step before the newest one, or from earlier changed data, by the history up to there.
    fn backwards(
        target: &RuleTarget<'_>,
        mut origin: Origin,
        state: &AlertState,
        history: &[Event],
        late: &[DateTime<Utc>],
        due: Due,
    ) -> Plan {
        let newest = due.last - due.grid.step();
        if origin.at > newest {
            origin.state = match history {
                [] => Some(state.clone()),
                _ => state_at(None, history, newest, due.grid),
            };
            origin.at = newest;
        }
        let floor = origin.at.max(reach(due));
        let changed = restart(target, late, floor, due.last, due.grid);
        let after = changed.map_or(newest, |(after, _)| after.min(newest));
        let state = known_state(&origin, state, history, after, due.grid);
        Plan {
            went_back: true,
            ..Plan::from(origin, state, after, due.last)
        }
    }

    fn forwards(
        target: &RuleTarget<'_>,
        mut origin: Origin,
        state: &AlertState,
        history: &[Event],
        late: &[DateTime<Utc>],
        due: Due,
    ) -> Plan {
        let evaluated_to = state.evaluated_to;
        let last = due.last.max(evaluated_to);
        let reach = reach(due).min(last - due.grid.step());
        if evaluated_to < reach {
            let gap = Window::new(evaluated_to, reach);
            let state = state.clone().after_gap(reach + due.grid.step());
            origin.at = reach;
            origin.state = Some(state.clone());
            return Plan {
                gap: Some(gap),
                ..Plan::from(origin, Some(state), reach, last)
            };
        }
        let floor = origin.at.max(reach);
        match restart(target, late, floor, evaluated_to, due.grid) {
            None => Plan::from(origin, Some(state.clone()), evaluated_to, last),
            Some((after, changed_to)) => {
                let state = known_state(&origin, state, history, after, due.grid);
                Plan {
                    changed_to: Some(changed_to),
                    ..Plan::from(origin, state, after, last)
                }
            }
        }
    }

    pub fn steps(&self, grid: Grid) -> impl Iterator<Item = DateTime<Utc>> + use<> {
        grid.steps(self.after, self.last)
    }

    /// Evaluates the steps. `state` is the one up to which the rule was evaluated before, `history` as in
    /// [`Plan::new`]. Steps after the changed data are left out once their state is that of the history.
    pub fn evaluate(
        &self,
        target: &RuleTarget<'_>,
        state: Option<&AlertState>,
        history: &[Event],
        usage: &ApiUsage,
        grid: Grid,
    ) -> (Option<AlertState>, Vec<Change>) {
        let mut known = history
            .iter()
            .filter(|event| event.at > self.after)
            .peekable();
        let (mut before, mut after) = (self.state.clone(), self.state.clone());
        let mut changes = Vec::new();
        for at in self.steps(grid) {
            let (next, change) = target.step(after.take(), at, grid, usage);
            changes.extend(change);
            let Some(evaluated) = state.filter(|state| self.may_agree(target, at, state, grid))
            else {
                after = Some(next);
                continue;
            };
            while let Some(event) = known.next_if(|event| event.at <= at) {
                apply(&mut before, event);
            }
            let first = grid.at_or_before(self.after) + grid.step();
            let before = before.get_or_insert_with(|| AlertState::ok_since(first));
            if before.continues_as(&next) {
                // From here on nothing changed.
                changes.extend(known.filter_map(change_of));
                let steps = grid.steps(evaluated.evaluated_to, self.last);
                let (after, new) = target.advance(Some(evaluated.clone()), steps, grid, usage);
                changes.extend(new);
                return (after, changes);
            }
            after = Some(next);
        }
        (after, changes)
    }

    /// Whether the steps after `at` and up to those evaluated before are as they were.
    fn may_agree(
        &self,
        target: &RuleTarget<'_>,
        at: DateTime<Utc>,
        evaluated: &AlertState,
        grid: Grid,
    ) -> bool {
        self.changed_to.is_some_and(|changed_to| {
            at >= changed_to && at < evaluated.evaluated_to && target.reach(at, grid) >= changed_to
        })
    }
}

/// The step from which on the maximum catch-up time allows to evaluate.
fn reach(due: Due) -> DateTime<Utc> {
    let reach = due.last.checked_sub_signed(due.max_catch_up);
    reach.map_or(Window::ALL.from, |at| due.grid.at_or_before(at))
}

/// The state at an earlier step: the last `state`, if the history has no event since.
fn known_state(
    origin: &Origin,
    state: &AlertState,
    history: &[Event],
    at: DateTime<Utc>,
    grid: Grid,
) -> Option<AlertState> {
    if history.is_empty() && at > origin.at {
        let evaluated_to = at;
        return Some(AlertState {
            evaluated_to,
            ..state.clone()
        });
    }
    state_at(Some(origin), history, at, grid)
}

/// The origin, moved to the last evaluated step if the rule or its limit changed since.
fn current_origin(target: &RuleTarget<'_>, origin: Option<&Origin>, state: &AlertState) -> Origin {
    let conditions = conditions(target);
    match origin.filter(|origin| origin.conditions == conditions) {
        Some(origin) => origin.clone(),
        None => Origin {
            conditions,
            at: state.evaluated_to,
            state: Some(state.clone()),
        },
    }
}

/// The step after which steps depend on changed data, and the end of that data.
fn restart(
    target: &RuleTarget<'_>,
    late: &[DateTime<Utc>],
    floor: DateTime<Utc>,
    evaluated_to: DateTime<Utc>,
    grid: Grid,
) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    let end = |hour| Granularity::Hourly.end_of(hour);
    let first = |hour| grid.at_or_before(hour).max(floor);
    let matters = |hour: &DateTime<Utc>| {
        let first = first(*hour);
        first < evaluated_to && target.reach(first + grid.step(), grid) < end(*hour)
    };
    let late: Vec<DateTime<Utc>> = late.iter().copied().filter(matters).collect();
    let after = late.iter().copied().map(first).min()?;
    let changed_to = late.iter().copied().map(end).max()?;
    Some((after, changed_to))
}
