//! Where a rule stands, and how a step moves it.
//!
//! ```text
//!            over                held for `for`
//!   OK ---------------> PENDING ---------------> FIRING <--------+
//!    ^ \___ for is 0 ____________________________/ |  over or between
//!    |                                             | clear        |
//!    +------- clear for `clear-for` -------- RECOVERING ----------+
//! ```
//!
//! Over is at the threshold or above it, clear is below `clear-below`; between the two a rule stays what it
//! is: that is what keeps one that oscillates about its threshold from telling of it again and again. From
//! firing to OK is one episode. What cannot be judged is UNKNOWN, and ends no episode.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};

use super::rule::Severity;
use crate::domain::id;

/// Where a rule stands, for one API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    Ok,
    /// Over it, not yet for long enough.
    Pending,
    Firing,
    /// Clear again, not yet for long enough.
    Recovering,
    /// It cannot be judged.
    Unknown,
}

impl State {
    /// All of them.
    pub const ALL: [State; 5] = [
        State::Ok,
        State::Pending,
        State::Firing,
        State::Recovering,
        State::Unknown,
    ];

    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Ok => "OK",
            State::Pending => "PENDING",
            State::Firing => "FIRING",
            State::Recovering => "RECOVERING",
            State::Unknown => "UNKNOWN",
        }
    }

    /// The state of this name.
    pub fn named(name: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a step found.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub at: DateTime<Utc>,
    /// What was measured: percent, credits or calls, as the rule's type says.
    pub value: Option<f64>,
    /// From where on it fires, if that can be said.
    pub threshold: Option<f64>,
    /// The API's limit, where the type has one.
    pub limit_value: Option<f64>,
    pub level: Level,
}

/// What a value means to its rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Level {
    /// Below where it is over.
    Clear,
    /// Below the threshold, and not clear.
    Between,
    /// At the threshold or above it.
    Over(Severity),
    /// Nobody can say, and why.
    Unknown(String),
}

/// From when a rule began to fire until it is OK again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Episode {
    /// The same for everything that is told of it.
    pub id: String,
    /// When it began, by the data.
    pub fired_at: DateTime<Utc>,
}

impl Episode {
    /// The episode of a rule and an API that begins at `fired_at`. The same data gives the same id.
    pub fn new(alert_id: &str, api_name: &str, fired_at: DateTime<Utc>) -> Episode {
        let facts = format!("{}:{alert_id}|{api_name}", alert_id.len());
        Episode {
            id: id::derived(fired_at, facts.as_bytes()).to_string(),
            fired_at,
        }
    }
}

/// Where a rule stands, for one API, after a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    pub state: State,
    pub since: DateTime<Utc>,
    /// How bad it is; while an episode lasts.
    pub severity: Option<Severity>,
    /// The episode; while it lasts, also when it is unknown how it goes on.
    pub episode: Option<Episode>,
    pub evaluated_to: DateTime<Utc>,
    /// What the last step measured.
    pub value: Option<f64>,
    /// The API's limit in the last step.
    pub limit_value: Option<f64>,
    /// The threshold in the last step.
    pub threshold: Option<f64>,
    pub reason: Option<String>,
}

/// What a step changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub at: DateTime<Utc>,
    /// The state before; none if the rule was never judged before.
    pub from: Option<State>,
    /// The state after. The same as before if only the severity changed.
    pub to: State,
    /// How bad it is, while an episode lasts.
    pub severity: Option<Severity>,
    /// The episode that began, changed or ended.
    pub episode: Option<Episode>,
    pub ended: bool,
    pub value: Option<f64>,
    /// From where on it fires.
    pub threshold: Option<f64>,
    pub limit_value: Option<f64>,
    pub reason: Option<String>,
}

/// For how long something must hold.
#[derive(Clone, Copy, Debug)]
pub struct Holds {
    /// Over the threshold before it fires.
    pub fire: TimeDelta,
    /// Clear before it is over.
    pub clear: TimeDelta,
}

/// What identifies a state: the rule and the API.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub alert_id: &'a str,
    pub api_name: &'a str,
}

impl Standing {
    /// Moves on by one step. Returns where the rule stands then and, unless all stays as it is, what changed.
    pub fn step(
        before: Option<Standing>,
        reading: Reading,
        holds: Holds,
        place: Place<'_>,
    ) -> (Standing, Option<Change>) {
        let at = reading.at;
        let state = before.as_ref().map(|before| before.state);
        let since = before.as_ref().map_or(at, |before| before.since);
        let episode = before.as_ref().and_then(|before| before.episode.clone());
        let severity = before.as_ref().and_then(|before| before.severity);
        let lasts = at - since;
        // An episode whose state was unknown goes on as if it had just been seen.
        let to = match (&reading.level, state, episode.is_some()) {
            (Level::Unknown(_), ..) => State::Unknown,
            (Level::Over(_), _, true) | (Level::Between, _, true) => State::Firing,
            (Level::Over(_), Some(State::Pending), false) if lasts >= holds.fire => State::Firing,
            (Level::Over(_), ..) if holds.fire <= TimeDelta::zero() => State::Firing,
            (Level::Over(_), ..) => State::Pending,
            (Level::Clear, Some(State::Recovering), true) if lasts >= holds.clear => State::Ok,
            (Level::Clear, _, true) if holds.clear > TimeDelta::zero() => State::Recovering,
            (Level::Clear | Level::Between, ..) => State::Ok,
        };
        let began = (to == State::Firing && episode.is_none())
            .then(|| Episode::new(place.alert_id, place.api_name, at));
        let ended = to == State::Ok && episode.is_some();
        let episode = began.or(episode);
        let severity_now = match (&reading.level, &episode) {
            (_, None) => None,
            (Level::Over(severity), _) => Some(*severity),
            _ => severity,
        };
        let worth_telling = match state {
            Some(state) => state != to || (severity_now != severity && !ended),
            None => to != State::Ok,
        };
        let reason = match reading.level {
            Level::Unknown(reason) => Some(reason),
            _ => None,
        };
        let change = worth_telling.then(|| Change {
            at,
            from: state,
            to,
            severity: severity_now,
            episode: episode.clone(),
            ended,
            value: reading.value,
            threshold: reading.threshold,
            limit_value: reading.limit_value,
            reason: reason.clone(),
        });
        let standing = Standing {
            state: to,
            since: if state == Some(to) { since } else { at },
            severity: severity_now.filter(|_| !ended),
            episode: episode.filter(|_| !ended),
            evaluated_to: at,
            value: reading.value,
            limit_value: reading.limit_value,
            threshold: reading.threshold,
            reason,
        };
        (standing, change)
    }

    /// As it stands at `at`, when nobody looked since the last step: what had held until then has not been
    /// seen to hold, and begins anew.
    #[must_use]
    pub fn after_gap(mut self, at: DateTime<Utc>) -> Standing {
        if matches!(self.state, State::Pending | State::Recovering) {
            self.since = at;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const PLACE: Place<'static> = Place {
        alert_id: "rule",
        api_name: "finnhub",
    };

    fn at(minute: i64) -> DateTime<Utc> {
        let start: DateTime<Utc> = "2026-01-31T12:00:00Z".parse().unwrap();
        start + TimeDelta::minutes(minute)
    }

    fn holds(fire: i64, clear: i64) -> Holds {
        Holds {
            fire: TimeDelta::minutes(fire),
            clear: TimeDelta::minutes(clear),
        }
    }

    fn level(sign: char) -> Level {
        match sign {
            '_' => Level::Clear,
            '-' => Level::Between,
            'w' => Level::Over(Severity::Warning),
            'c' => Level::Over(Severity::Critical),
            _ => Level::Unknown("no limit".to_owned()),
        }
    }

    /// A level a minute; the state after each, and the changes.
    fn run(levels: &str, holds: Holds) -> (String, Vec<Change>) {
        let mut standing = None;
        let mut states = String::new();
        let mut changes = Vec::new();
        for (minute, sign) in levels.chars().enumerate() {
            let reading = Reading {
                at: at(minute as i64),
                value: None,
                threshold: None,
                limit_value: None,
                level: level(sign),
            };
            let (next, change) = Standing::step(standing, reading, holds, PLACE);
            states.push(match next.state {
                State::Ok => 'o',
                State::Pending => 'p',
                State::Firing => 'F',
                State::Recovering => 'r',
                State::Unknown => '?',
            });
            changes.extend(change);
            standing = Some(next);
        }
        (states, changes)
    }

    fn states(levels: &str, holds: Holds) -> String {
        run(levels, holds).0
    }

    #[test]
    fn without_waiting_it_fires_at_once_and_is_over_at_once() {
        assert_eq!(states("__ww__w_", holds(0, 0)), "ooFFooFo");
    }

    #[test]
    fn it_fires_when_it_has_held_for_long_enough() {
        assert_eq!(states("_ww_www__", holds(2, 0)), "oppoppFoo");
        // Between is not over: what holds must hold without a break.
        assert_eq!(states("_w-www", holds(2, 0)), "opoppF");
    }

    #[test]
    fn it_is_over_when_it_was_clear_for_long_enough() {
        assert_eq!(states("w_w__-___w", holds(0, 2)), "FrFrrFrroF");
    }

    #[test]
    fn between_the_thresholds_it_stays_what_it_is() {
        assert_eq!(states("-w-w-_-", holds(0, 0)), "oFFFFoo");
    }

    #[test]
    fn what_is_unknown_ends_no_episode() {
        let (states, changes) = run("w??w_", holds(0, 0));
        assert_eq!(states, "F??Fo");
        let episodes: Vec<_> = changes
            .iter()
            .map(|change| change.episode.clone())
            .collect();
        assert!(
            episodes
                .iter()
                .all(|episode| *episode == episodes[0] && episode.is_some())
        );
        assert!(changes.last().unwrap().ended);
        // Nor does it begin one, and what was pending begins anew.
        assert_eq!(super::tests::states("?ww?www", holds(2, 0)), "?pp?ppF");
    }

    #[test]
    fn a_change_of_severity_is_told_and_is_no_new_episode() {
        let (states, changes) = run("wcw_", holds(0, 0));
        assert_eq!(states, "FFFo");
        let severities: Vec<_> = changes.iter().map(|change| change.severity).collect();
        let (warning, critical) = (Some(Severity::Warning), Some(Severity::Critical));
        assert_eq!(severities, [warning, critical, warning, warning]);
        assert_eq!(changes[1].from, Some(State::Firing));
        assert_eq!(changes[1].to, State::Firing);
    }

    #[test]
    fn the_first_look_tells_of_anything_but_ok() {
        assert_eq!(run("_", holds(0, 0)).1, []);
        assert_eq!(run("w", holds(0, 0)).1.len(), 1);
        assert_eq!(run("?", holds(0, 0)).1[0].from, None);
    }

    #[test]
    fn the_same_data_gives_the_same_episode_and_another_rule_another() {
        let episode = |alert, api| Episode::new(alert, api, at(0)).id;
        assert_eq!(episode("rule", "finnhub"), episode("rule", "finnhub"));
        assert_ne!(episode("rule", "finnhub"), episode("rule", "tmdb"));
        assert_ne!(episode("a|b", "c"), episode("a", "b|c"));
    }

    proptest! {
        #[test]
        fn whatever_happens_an_episode_begins_and_ends_in_turn(
            levels in vec(proptest::sample::select(vec!['_', '-', 'w', 'c', '?']), 0..200),
            fire in 0..4_i64,
            clear in 0..4_i64,
        ) {
            let levels: String = levels.into_iter().collect();
            let (states, changes) = run(&levels, holds(fire, clear));
            let mut open: Option<Episode> = None;
            // Of a first look that finds it well nothing is told.
            let mut state = states.starts_with('o').then_some(State::Ok);
            for change in changes {
                prop_assert_eq!(change.from, state);
                prop_assert!(change.from != Some(change.to) || change.severity.is_some());
                state = Some(change.to);
                if let Some(open) = &open {
                    prop_assert_eq!(change.episode.as_ref(), Some(open));
                }
                prop_assert_eq!(change.ended, change.to == State::Ok && change.episode.is_some());
                open = change.episode.filter(|_| !change.ended);
            }
            prop_assert_eq!(states.len(), levels.len());
            prop_assert!(open.is_none() || !states.ends_with('o'));
        }
    }
}
