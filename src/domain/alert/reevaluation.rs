//! Which steps of a rule a check evaluates: those since the last check, and before them those whose data changed.

use chrono::{DateTime, TimeDelta, Utc};

use super::clock::CLOCK_ERROR;
use super::evaluate::{ApiUsage, RuleTarget};
use super::event::Event;
use super::history::{apply, change_of, state_at};
use super::origin::{Origin, conditions};
use super::state::{AlertRecord, AlertState, Change};
use crate::domain::period::{Granularity, Window};

/// When steps are evaluated.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    pub now: DateTime<Utc>,
    pub last: DateTime<Utc>,
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

/// A rule that was evaluated before, with its last state, its events and the hours of late data.
struct Known<'a> {
    target: &'a RuleTarget<'a>,
    state: &'a AlertState,
    history: &'a [Event],
    late: &'a [DateTime<Utc>],
    due: Due,
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
        let Some(AlertRecord { state, origin, .. }) = record else {
            // Earlier steps are evaluated if data arrives late for them, since the rule exists.
            let newest = due.last - target.grid.step();
            let created = target.rule.updated_at.unwrap_or(newest);
            let origin = Origin {
                conditions: conditions(target),
                at: target.grid.at_or_before(created).min(newest),
                state: None,
            };
            return Plan::from(origin, None, newest, due.last);
        };
        let known = Known {
            target,
            state,
            history,
            late,
            due,
        };
        let origin = current_origin(target, origin.as_ref(), state);
        // Nearer to now, the next checks get there.
        let plan = if state.evaluated_to - due.now >= CLOCK_ERROR {
            known.plan_backwards(origin)
        } else {
            known.plan_forwards(origin)
        };
        Plan {
            evaluated_to: Some(state.evaluated_to),
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

    /// Evaluates the steps. `state` is the one up to which the rule was evaluated before, `history` as in
    /// [`Plan::new`]. Steps after the changed data are left out once their state is that of the history.
    pub fn evaluate(
        &self,
        target: &RuleTarget<'_>,
        state: Option<&AlertState>,
        history: &[Event],
        usage: &ApiUsage,
    ) -> (Option<AlertState>, Vec<Change>) {
        let grid = target.grid;
        let mut known = history
            .iter()
            .filter(|event| event.at > self.after)
            .peekable();
        let (mut before, mut after) = (self.state.clone(), self.state.clone());
        let mut changes = Vec::new();
        for at in grid.steps(self.after, self.last) {
            let (next, change) = target.step(after.take(), at, usage);
            changes.extend(change);
            let Some(evaluated) = state.filter(|state| self.may_agree(target, at, state)) else {
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
                let (after, new) = target.advance(Some(evaluated.clone()), steps, usage);
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
    ) -> bool {
        self.changed_to.is_some_and(|changed_to| {
            at >= changed_to && at < evaluated.evaluated_to && target.reach(at) >= changed_to
        })
    }
}

impl Known<'_> {
    /// From the step before the newest one, or from earlier changed data, by the history up to there.
    fn plan_backwards(&self, mut origin: Origin) -> Plan {
        let (due, grid) = (self.due, self.target.grid);
        let newest = due.last - grid.step();
        if origin.at > newest {
            origin.state = match self.history {
                [] => Some(self.state.clone()),
                history => state_at(None, history, newest, grid),
            };
            origin.at = newest;
        }
        let changed = self.restart(origin.at.max(self.reach()), due.last);
        let after = changed.map_or(newest, |(after, _)| after.min(newest));
        let state = self.state_at(&origin, after);
        Plan {
            went_back: true,
            ..Plan::from(origin, state, after, due.last)
        }
    }

    fn plan_forwards(&self, mut origin: Origin) -> Plan {
        let evaluated_to = self.state.evaluated_to;
        let last = self.due.last.max(evaluated_to);
        let step = self.target.grid.step();
        let reach = self.reach().min(last - step);
        if evaluated_to < reach {
            let gap = Window::new(evaluated_to, reach);
            let state = self.state.clone().after_gap(reach + step);
            origin.at = reach;
            origin.state = Some(state.clone());
            return Plan {
                gap: Some(gap),
                ..Plan::from(origin, Some(state), reach, last)
            };
        }
        match self.restart(origin.at.max(reach), evaluated_to) {
            None => Plan::from(origin, Some(self.state.clone()), evaluated_to, last),
            Some((after, changed_to)) => {
                let state = self.state_at(&origin, after);
                Plan {
                    changed_to: Some(changed_to),
                    ..Plan::from(origin, state, after, last)
                }
            }
        }
    }

    /// The step from which on the maximum catch-up time allows to evaluate.
    fn reach(&self) -> DateTime<Utc> {
        let reach = self.due.last.checked_sub_signed(self.due.max_catch_up);
        reach.map_or(Window::ALL.from, |at| self.target.grid.at_or_before(at))
    }

    /// The state at an earlier step: the last one, if the history has no event since.
    fn state_at(&self, origin: &Origin, at: DateTime<Utc>) -> Option<AlertState> {
        if self.history.is_empty() && at > origin.at {
            return Some(AlertState {
                evaluated_to: at,
                ..self.state.clone()
            });
        }
        state_at(Some(origin), self.history, at, self.target.grid)
    }

    /// The step after which steps up to `last` depend on changed data, and the end of that data.
    fn restart(
        &self,
        floor: DateTime<Utc>,
        last: DateTime<Utc>,
    ) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let (target, grid) = (self.target, self.target.grid);
        let end = |hour| Granularity::Hourly.end_of(hour);
        let first = |hour| grid.at_or_before(hour).max(floor);
        let matters = |hour: &DateTime<Utc>| {
            let first = first(*hour);
            first < last && target.reach(first + grid.step()) < end(*hour)
        };
        let late = self.late.iter().copied().filter(matters);
        let late: Vec<DateTime<Utc>> = late.collect();
        let after = late.iter().copied().map(first).min()?;
        let changed_to = late.iter().copied().map(end).max()?;
        Some((after, changed_to))
    }
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
