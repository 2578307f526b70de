//! The state of a rule for one API, and how a step changes it.
//!
//! ```text
//!            over                over for `--for`
//!   OK ---------------> PENDING ---------------> FIRING <--------+
//!    ^ \___ without --for _________________________/ |  over or between
//!    |                                             | clear        |
//!    +------- clear for `--clear-for` ------ RECOVERING ----------+
//! ```
//!
//! Over is at or above the threshold, clear is below the resolve threshold. Between the two the status stays, so
//! that a value that oscillates about the threshold does not notify again and again. An episode lasts from FIRING
//! to OK. A step whose value is unknown makes the rule UNKNOWN and ends no episode; neither does a step without a
//! successful call, since a value is also low when calls are not recorded.
//!
//! During an episode the thresholds above the lowest are reached and left at once, without pending and recovery
//! periods. While the rule recovers or is UNKNOWN they stay as they are.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::origin::Origin;
use super::rule::{AlertRef, AlertType, Severity};
use crate::domain::id;
use crate::domain::named::named;

named! {
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

/// The value of a rule in a window, its threshold and its limit; null if unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Percent, credits or calls, by the type.
    pub value: Option<f64>,
    /// In the unit of `value`.
    pub threshold: Option<f64>,
    /// What the value is a percentage of: the API's limit for the period, or the calls in the window.
    pub limit_value: Option<f64>,
}

impl Observation {
    /// Whether the numbers of a rule of this type are percentages: of the limit, or of the calls in the window, which
    /// then stand in its place.
    pub fn is_percentage(&self, alert_type: &AlertType) -> bool {
        match alert_type {
            AlertType::RateLimitWarning => true,
            _ => self.limit_value.is_some(),
        }
    }
}

/// The result of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    pub at: DateTime<Utc>,
    pub observed: Observation,
    pub level: Level,
    /// Whether a recent call succeeded, see [`super::evaluate::RuleTarget::read`].
    pub succeeded: bool,
    /// Why the value is unknown during an episode.
    pub no_data: Option<String>,
    /// The severity at the lowest threshold.
    pub severity: Severity,
    /// The thresholds above the lowest that the value reaches, or has not left if it reached them before; in order.
    pub thresholds: Vec<ThresholdReading>,
}

/// A value against a threshold above the lowest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThresholdReading {
    /// As it is set.
    pub threshold: f64,
    /// As it is compared with: not below the lowest threshold.
    pub in_force: f64,
    pub severity: Severity,
    pub is_reached: bool,
}

/// A threshold above the lowest that is reached, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    pub threshold: f64,
    pub since: DateTime<Utc>,
}

/// A value against the thresholds of its rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Level {
    /// Below the resolve threshold.
    Clear,
    /// Below the threshold, but not clear.
    Between,
    /// At or above the threshold; the severity of the highest one that is reached.
    Over(Severity),
    /// Unknown, with the reason.
    Unknown(String),
}

/// An episode: from FIRING to OK.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Episode {
    pub id: String,
    /// When the rule began to fire, by the data.
    pub fired_at: DateTime<Utc>,
}

impl Episode {
    /// The same data gives the same id.
    pub fn new(alert: AlertKey<'_>, fired_at: DateTime<Utc>) -> Episode {
        Episode::of_facts(&alert.facts(), fired_at)
    }

    /// The episode of a threshold above the lowest, as the channels see it that are notified from there on.
    pub fn of_stage(alert: AlertKey<'_>, stage: Stage) -> Episode {
        let facts = format!("{}|{}", alert.facts(), stage.threshold);
        Episode::of_facts(&facts, stage.since)
    }

    fn of_facts(facts: &str, fired_at: DateTime<Utc>) -> Episode {
        Episode {
            id: id::derived(fired_at, facts.as_bytes()).to_string(),
            fired_at,
        }
    }

    /// The time since `since` in which a rule is UNKNOWN: it is notified as an episode of its own.
    pub fn of_unknown(alert: AlertKey<'_>, since: DateTime<Utc>) -> Episode {
        Episode::of_facts(&format!("unknown|{}", alert.facts()), since)
    }

    /// The episode of an id; its start is part of the id.
    pub fn of_id(id: &str) -> Option<Episode> {
        Some(Episode {
            id: id.to_owned(),
            fired_at: id::time_of(id)?,
        })
    }
}

/// The state of a rule for one API after a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertState {
    pub status: AlertStatus,
    pub since: DateTime<Utc>,
    /// Present during an episode.
    pub severity: Option<Severity>,
    /// The open episode; it stays open while the status is UNKNOWN.
    pub episode: Option<Episode>,
    /// The thresholds above the lowest that are reached, in order.
    #[serde(default)]
    pub stages: Vec<Stage>,
    pub evaluated_to: DateTime<Utc>,
    pub observed: Observation,
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AlertRecord {
    /// The rule and the API, as they were when the rule was last evaluated.
    pub alert: AlertRef,
    pub state: AlertState,
    /// Unknown if the state was not written by a check.
    pub origin: Option<Origin>,
    /// The acknowledgement of the current episode.
    pub acknowledged: Option<Acknowledgement>,
}

impl AlertRecord {
    /// The time in which the rule is UNKNOWN, if it is.
    pub fn unknown_episode(&self) -> Option<Episode> {
        unknown_episode(&self.alert, &self.state)
    }
}

/// The time in which a rule is UNKNOWN, if it is.
pub fn unknown_episode(alert: &AlertRef, state: &AlertState) -> Option<Episode> {
    let is_unknown = state.status == AlertStatus::Unknown;
    is_unknown.then(|| Episode::of_unknown(AlertKey::of(alert), state.since))
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    pub by: String,
    pub at: DateTime<Utc>,
    pub note: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub at: DateTime<Utc>,
    /// The status before; none if the rule was never evaluated.
    pub from: Option<AlertStatus>,
    /// The status after; the same if only the severity or the reached thresholds changed.
    pub to: AlertStatus,
    pub severity: Option<Severity>,
    /// The episode that began, changed or ended.
    pub episode: Option<Episode>,
    /// The thresholds above the lowest that are reached since; none if it ended.
    pub stages: Vec<Stage>,
    pub ended: bool,
    pub observed: Observation,
    pub reason: Option<String>,
}

#[derive(Clone, Copy, Debug)]
pub struct HoldTimes {
    /// The pending period.
    pub fire: TimeDelta,
    /// The recovery period.
    pub clear: TimeDelta,
    /// Whether an episode ends only with a successful call.
    pub requires_success: bool,
}

/// Why a rule still fires although its value is low.
const NO_SUCCESS: &str = "below the threshold, but no call has succeeded since";

const RESOLVED_WITHOUT_DATA: &str = "resolved for lack of data: no call has succeeded since";

#[derive(Clone, Copy, Debug)]
pub struct AlertKey<'a> {
    pub alert_id: &'a str,
    pub api_name: &'a str,
}

impl AlertRecord {
    pub fn episodes(&self) -> impl Iterator<Item = String> {
        let alert = AlertKey::of(&self.alert);
        self.state.episodes(alert).map(|episode| episode.id)
    }
}

impl<'a> AlertKey<'a> {
    pub fn of(alert: &'a AlertRef) -> AlertKey<'a> {
        AlertKey {
            alert_id: &alert.alert_id,
            api_name: &alert.api_name,
        }
    }

    /// Unambiguous for any id and any name.
    fn facts(self) -> String {
        let AlertKey { alert_id, api_name } = self;
        format!("{}:{alert_id}|{api_name}", alert_id.len())
    }
}

/// The status after a step at this level. `lasts` is how long the status before has lasted; `in_episode` holds also
/// while the rule is UNKNOWN, so that an episode continues afterwards.
fn next_status(
    level: &Level,
    state: Option<AlertStatus>,
    in_episode: bool,
    lasts: TimeDelta,
    is_evident: bool,
    holds: HoldTimes,
) -> AlertStatus {
    match (level, state, in_episode) {
        (Level::Unknown(_), ..) => AlertStatus::Unknown,
        (Level::Over(_), _, true) | (Level::Between, _, true) => AlertStatus::Firing,
        (Level::Over(_), Some(AlertStatus::Pending), false) if lasts >= holds.fire => {
            AlertStatus::Firing
        }
        (Level::Over(_), ..) if holds.fire <= TimeDelta::zero() => AlertStatus::Firing,
        (Level::Over(_), ..) => AlertStatus::Pending,
        (Level::Clear, Some(AlertStatus::Recovering), true) if !is_evident => {
            AlertStatus::Recovering
        }
        (Level::Clear, _, true) if !is_evident => AlertStatus::Firing,
        (Level::Clear, Some(AlertStatus::Recovering), true) if lasts >= holds.clear => {
            AlertStatus::Ok
        }
        (Level::Clear, _, true) if holds.clear > TimeDelta::zero() => AlertStatus::Recovering,
        (Level::Clear | Level::Between, ..) => AlertStatus::Ok,
    }
}

/// The thresholds that are reached now, each since it was first reached without interruption.
fn stages_since(before: &[Stage], reached: &[&ThresholdReading], at: DateTime<Utc>) -> Vec<Stage> {
    let since = |threshold: f64| {
        let known = before.iter().find(|stage| stage.threshold == threshold);
        known.map_or(at, |stage| stage.since)
    };
    let stage = |it: &&ThresholdReading| Stage {
        threshold: it.threshold,
        since: since(it.threshold),
    };
    reached.iter().map(stage).collect()
}

impl AlertState {
    /// Applies one step. Returns the new state, and the change if there is one.
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
        let level = match reading.no_data {
            Some(reason) if episode.is_some() => Level::Unknown(reason),
            _ => reading.level,
        };
        let is_evident = reading.succeeded || !holds.requires_success;
        let to = next_status(
            &level,
            state,
            episode.is_some(),
            at - since,
            is_evident,
            holds,
        );
        let began =
            (to == AlertStatus::Firing && episode.is_none()).then(|| Episode::new(place, at));
        let ended = to == AlertStatus::Ok && episode.is_some();
        let episode = began.or(episode);
        let stages = before.map_or(Vec::new(), |before| before.stages);
        let is_stage = |it: &&ThresholdReading| {
            it.is_reached || stages.iter().any(|stage| stage.threshold == it.threshold)
        };
        let reached: Vec<&ThresholdReading> = reading.thresholds.iter().filter(is_stage).collect();
        let highest = reached.last();
        let severity_now = match (&level, &episode) {
            (_, None) => None,
            (Level::Over(severity), _) => {
                Some(highest.map_or(*severity, |highest| highest.severity))
            }
            (Level::Between, _) => {
                Some(highest.map_or(reading.severity, |highest| highest.severity))
            }
            _ => severity,
        };
        let stages_now = match (&level, &episode) {
            (_, None) => Vec::new(),
            (Level::Over(_) | Level::Between, Some(_)) => stages_since(&stages, &reached, at),
            _ if ended => Vec::new(),
            _ => stages.clone(),
        };
        let mut observed = reading.observed;
        observed.threshold = highest.map_or(observed.threshold, |it| Some(it.in_force));
        let has_changed = match state {
            Some(state) => {
                state != to || (!ended && (severity_now != severity || stages_now != stages))
            }
            None => to != AlertStatus::Ok,
        };
        let reason = match level {
            Level::Unknown(reason) => Some(reason),
            Level::Clear if ended && !reading.succeeded => Some(RESOLVED_WITHOUT_DATA.to_owned()),
            Level::Clear if to == AlertStatus::Firing => Some(NO_SUCCESS.to_owned()),
            _ => None,
        };
        let change = has_changed.then(|| Change {
            at,
            from: state,
            to,
            severity: severity_now,
            episode: episode.clone(),
            stages: stages_now.clone(),
            ended,
            observed,
            reason: reason.clone(),
        });
        let state = AlertState {
            status: to,
            since: if state == Some(to) { since } else { at },
            severity: severity_now.filter(|_| !ended),
            episode: episode.filter(|_| !ended),
            stages: stages_now,
            evaluated_to: at,
            observed,
            reason: reason.filter(|_| !ended),
        };
        (state, change)
    }

    /// The state of a rule that has been OK since its first step.
    pub fn ok_since(first: DateTime<Utc>) -> AlertState {
        AlertState {
            status: AlertStatus::Ok,
            since: first,
            severity: None,
            episode: None,
            stages: Vec::new(),
            evaluated_to: first,
            observed: Observation::default(),
            reason: None,
        }
    }

    /// Its open episodes: that of the rule, and those of the thresholds above the lowest.
    pub fn episodes(&self, place: AlertKey<'_>) -> impl Iterator<Item = Episode> {
        let stages = self.stages.iter();
        let stages = stages.map(move |it| Episode::of_stage(place, *it));
        self.episode.clone().into_iter().chain(stages)
    }

    /// Whether the same steps lead to the same states from here on.
    pub fn continues_as(&self, other: &AlertState) -> bool {
        let facts = |it: &AlertState| (it.status, it.since, it.severity);
        facts(self) == facts(other) && self.episode == other.episode && self.stages == other.stages
    }

    #[cfg(test)]
    pub(crate) fn sample(status: AlertStatus, since: DateTime<Utc>) -> AlertState {
        AlertState {
            status,
            ..AlertState::ok_since(since)
        }
    }

    /// The state after a gap that ends at `at`: pending and recovery periods start again.
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
    use crate::domain::named::Named;
    use crate::domain::testing::at_minute as at;

    const KEY: AlertKey<'static> = AlertKey {
        alert_id: "rule",
        api_name: "finnhub",
    };

    fn holds(fire: i64, clear: i64) -> HoldTimes {
        HoldTimes {
            fire: TimeDelta::minutes(fire),
            clear: TimeDelta::minutes(clear),
            requires_success: true,
        }
    }

    /// Clear is `_` with a successful call and `.` without a call; `n` is clear and without calls for too long.
    fn level(sign: char) -> Level {
        match sign {
            '_' | '.' | 'n' => Level::Clear,
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
                observed: Observation::default(),
                level: level(sign),
                severity: Severity::Warning,
                thresholds: Vec::new(),
                succeeded: sign != '.' && sign != 'n',
                no_data: (sign == 'n').then(|| "no call".to_owned()),
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
    fn zero_periods_fire_and_resolve_at_once() {
        assert_eq!(states("__ww__w_", holds(0, 0)), "ooFFooFo");
    }

    #[test]
    fn rule_fires_after_its_pending_period() {
        assert_eq!(states("_ww_www__", holds(2, 0)), "oppoppFoo");
        // Between is not over: the pending period starts again.
        assert_eq!(states("_w-www", holds(2, 0)), "opoppF");
    }

    #[test]
    fn rule_resolves_after_its_recovery_period() {
        assert_eq!(states("w_w__-___w", holds(0, 2)), "FrFrrFrroF");
    }

    #[test]
    fn status_stays_between_the_thresholds() {
        assert_eq!(states("-w-w-_-", holds(0, 0)), "oFFFFoo");
    }

    #[test]
    fn unknown_value_ends_no_episode() {
        let (states, changes) = run("w??w_", holds(0, 0));
        assert_eq!(states, "F??Fo");
        let first = changes[0].episode.as_ref().unwrap();
        let mut episodes = changes.iter().map(|change| &change.episode);
        assert!(episodes.all(|episode| episode.as_ref() == Some(first)));
        assert!(changes.last().unwrap().ended);
        // Nor does it begin one, and the pending period starts again.
        assert_eq!(self::states("?ww?www", holds(2, 0)), "?pp?ppF");
    }

    #[test]
    fn severity_change_is_no_new_episode() {
        let (states, changes) = run("wcw_", holds(0, 0));
        assert_eq!(states, "FFFo");
        let severities: Vec<_> = changes.iter().map(|change| change.severity).collect();
        let (warning, critical) = (Some(Severity::Warning), Some(Severity::Critical));
        assert_eq!(severities, [warning, critical, warning, warning]);
        assert_eq!(changes[1].from, Some(AlertStatus::Firing));
        assert_eq!(changes[1].to, AlertStatus::Firing);
    }

    #[test]
    fn gap_restarts_pending_and_recovery_periods() {
        let after = |status| AlertState::sample(status, at(0)).after_gap(at(9));
        let since = AlertStatus::ALL.iter().map(|status| after(*status).since);
        // In the order OK, PENDING, FIRING, RECOVERING, UNKNOWN.
        let expected = [at(0), at(9), at(0), at(9), at(0)];
        assert_eq!(since.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn episode_ends_only_with_a_successful_call() {
        assert_eq!(states("w.._.", holds(0, 0)), "FFFoo");
        assert_eq!(states("w..nn._", holds(0, 0)), "FFF??Fo");
        assert_eq!(states("w_...__", holds(0, 2)), "Frrrroo");
        assert_eq!(states(".n_n", holds(0, 0)), "oooo");
        let without = HoldTimes {
            requires_success: false,
            ..holds(0, 0)
        };
        let (found, changes) = run("w.", without);
        assert_eq!(found, "Fo");
        assert_eq!(changes[1].reason.as_deref(), Some(RESOLVED_WITHOUT_DATA));
    }

    #[test]
    fn first_step_changes_unless_ok() {
        assert_eq!(run("_", holds(0, 0)).1, []);
        assert_eq!(run("w", holds(0, 0)).1.len(), 1);
        assert_eq!(run("?", holds(0, 0)).1[0].from, None);
    }

    #[test]
    fn episode_id_depends_on_rule_api_and_start() {
        let episode = |alert_id, api_name| Episode::new(AlertKey { alert_id, api_name }, at(0)).id;
        assert_eq!(episode("rule", "finnhub"), episode("rule", "finnhub"));
        assert_ne!(episode("rule", "finnhub"), episode("rule", "tmdb"));
        assert_ne!(episode("a|b", "c"), episode("a", "b|c"));
    }

    proptest! {
        #[test]
        fn episodes_begin_and_end_in_turn(
            levels in vec(proptest::sample::select(vec!['_', '-', 'w', 'c', '?', '.', 'n']), 0..200),
            fire in 0..4_i64,
            clear in 0..4_i64,
        ) {
            let levels: String = levels.into_iter().collect();
            let (states, changes) = run(&levels, holds(fire, clear));
            let mut open: Option<Episode> = None;
            // A first step that is OK is no change.
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
