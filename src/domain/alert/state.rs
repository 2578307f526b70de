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

use chrono::{DateTime, TimeDelta, Utc};

use super::event::AlertRef;
use super::rule::Severity;
use crate::domain::id;
use crate::domain::named::named;

named! {
    /// The status of a rule for one API.
    AlertStatus, "alert status" {
        Ok = "OK",
        /// At the threshold, but the pending period is not over.
        Pending = "PENDING",
        Firing = "FIRING",
        /// Below the resolve threshold, but not yet for the recovery period.
        Recovering = "RECOVERING",
        /// The rule cannot be evaluated.
        Unknown = "UNKNOWN",
    }
}

/// What a step found.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
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
pub struct AlertState {
    pub status: AlertStatus,
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

/// The stored state of a rule for one API.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRecord {
    /// The rule and the API, as they were when the rule was last evaluated.
    pub alert: AlertRef,
    pub state: AlertState,
    /// The acknowledgement of the current episode.
    pub acknowledged: Option<Acknowledgement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    pub by: String,
    pub at: DateTime<Utc>,
    pub note: Option<String>,
}

/// What a step changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub at: DateTime<Utc>,
    /// The state before; none if the rule was never judged before.
    pub from: Option<AlertStatus>,
    /// The state after. The same as before if only the severity changed.
    pub to: AlertStatus,
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
pub struct HoldTimes {
    /// Over the threshold before it fires.
    pub fire: TimeDelta,
    /// Clear before it is over.
    pub clear: TimeDelta,
}

/// What identifies a state: the rule and the API.
#[derive(Clone, Copy, Debug)]
pub struct AlertKey<'a> {
    pub alert_id: &'a str,
    pub api_name: &'a str,
}

impl AlertState {
    /// Moves on by one step. Returns where the rule stands then and, unless all stays as it is, what changed.
    pub fn step(
        before: Option<AlertState>,
        reading: Measurement,
        holds: HoldTimes,
        place: AlertKey<'_>,
    ) -> (AlertState, Option<Change>) {
        let at = reading.at;
        let state = before.as_ref().map(|before| before.status);
        let since = before.as_ref().map_or(at, |before| before.since);
        let episode = before.as_ref().and_then(|before| before.episode.clone());
        let severity = before.as_ref().and_then(|before| before.severity);
        let lasts = at - since;
        // An episode whose state was unknown goes on as if it had just been seen.
        let to = match (&reading.level, state, episode.is_some()) {
            (Level::Unknown(_), ..) => AlertStatus::Unknown,
            (Level::Over(_), _, true) | (Level::Between, _, true) => AlertStatus::Firing,
            (Level::Over(_), Some(AlertStatus::Pending), false) if lasts >= holds.fire => {
                AlertStatus::Firing
            }
            (Level::Over(_), ..) if holds.fire <= TimeDelta::zero() => AlertStatus::Firing,
            (Level::Over(_), ..) => AlertStatus::Pending,
            (Level::Clear, Some(AlertStatus::Recovering), true) if lasts >= holds.clear => {
                AlertStatus::Ok
            }
            (Level::Clear, _, true) if holds.clear > TimeDelta::zero() => AlertStatus::Recovering,
            (Level::Clear | Level::Between, ..) => AlertStatus::Ok,
        };
        let began = (to == AlertStatus::Firing && episode.is_none())
            .then(|| Episode::new(place.alert_id, place.api_name, at));
        let ended = to == AlertStatus::Ok && episode.is_some();
        let episode = began.or(episode);
        let severity_now = match (&reading.level, &episode) {
            (_, None) => None,
            (Level::Over(severity), _) => Some(*severity),
            _ => severity,
        };
        let worth_telling = match state {
            Some(state) => state != to || (severity_now != severity && !ended),
            None => to != AlertStatus::Ok,
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
        let state = AlertState {
            status: to,
            since: if state == Some(to) { since } else { at },
            severity: severity_now.filter(|_| !ended),
            episode: episode.filter(|_| !ended),
            evaluated_to: at,
            value: reading.value,
            limit_value: reading.limit_value,
            threshold: reading.threshold,
            reason,
        };
        (state, change)
    }

    /// As it stands at `at`, when nobody looked since the last step: what had held until then has not been
    /// seen to hold, and begins anew.
    #[must_use]
    pub fn after_gap(mut self, at: DateTime<Utc>) -> AlertState {
        if matches!(self.status, AlertStatus::Pending | AlertStatus::Recovering) {
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

    const KEY: AlertKey<'static> = AlertKey {
        alert_id: "rule",
        api_name: "finnhub",
    };

    fn at(minute: i64) -> DateTime<Utc> {
        let start: DateTime<Utc> = "2026-01-31T12:00:00Z".parse().unwrap();
        start + TimeDelta::minutes(minute)
    }

    fn holds(fire: i64, clear: i64) -> HoldTimes {
        HoldTimes {
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
    fn run(levels: &str, holds: HoldTimes) -> (String, Vec<Change>) {
        let mut state = None;
        let mut states = String::new();
        let mut changes = Vec::new();
        for (minute, sign) in levels.chars().enumerate() {
            let reading = Measurement {
                at: at(minute as i64),
                value: None,
                threshold: None,
                limit_value: None,
                level: level(sign),
            };
            let (next, change) = AlertState::step(state, reading, holds, KEY);
            states.push(match next.status {
                AlertStatus::Ok => 'o',
                AlertStatus::Pending => 'p',
                AlertStatus::Firing => 'F',
                AlertStatus::Recovering => 'r',
                AlertStatus::Unknown => '?',
            });
            changes.extend(change);
            state = Some(next);
        }
        (states, changes)
    }

    fn states(levels: &str, holds: HoldTimes) -> String {
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
        assert_eq!(changes[1].from, Some(AlertStatus::Firing));
        assert_eq!(changes[1].to, AlertStatus::Firing);
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
            let mut state = states.starts_with('o').then_some(AlertStatus::Ok);
            for change in changes {
                prop_assert_eq!(change.from, state);
                prop_assert!(change.from != Some(change.to) || change.severity.is_some());
                state = Some(change.to);
                if let Some(open) = &open {
                    prop_assert_eq!(change.episode.as_ref(), Some(open));
                }
                prop_assert_eq!(change.ended, change.to == AlertStatus::Ok && change.episode.is_some());
                open = change.episode.filter(|_| !change.ended);
            }
            prop_assert_eq!(states.len(), levels.len());
            prop_assert!(open.is_none() || !states.ends_with('o'));
        }
    }
}
