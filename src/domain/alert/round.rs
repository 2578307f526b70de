//! An evaluation round: every enabled rule, for each of its APIs, at every step that is due.
//!
//! [`Round::new`] takes the stored alerts and determines which windows of which APIs must be read;
//! [`Round::evaluate`] takes the usage in them and returns everything to save.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};

use super::delivery::Notice;
use super::evaluate::{Allowance, ApiUsage, Due, RequiredWindows, RuleTarget};
use super::event::{Event, EventKind};
use super::notification_policy::{self, NotificationPolicy, Notifications};
use super::rule::{ALL_APIS, AlertRef, Rule};
use super::silence::{Silence, matching};
use super::state::{AlertRecord, AlertState, AlertStatus};
use super::window::Grid;
use crate::domain::format;
use crate::domain::period::Period;

/// When a round takes place, and how far it looks back.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    pub now: DateTime<Utc>,
    pub grid: Grid,
    /// The age of a step at which its calls are complete.
    pub settle: TimeDelta,
    pub max_catch_up: TimeDelta,
}

impl Schedule {
    /// The last step that is evaluated.
    fn last(&self) -> DateTime<Utc> {
        self.grid.at_or_before(self.now - self.settle)
    }
}

/// Everything stored that a round depends on, except usage.
#[derive(Clone, Debug, Default)]
pub struct StoredAlerts {
    pub rules: Vec<Rule>,
    pub records: Vec<AlertRecord>,
    /// The silences that have not ended.
    pub silences: Vec<Silence>,
    /// The names of all channels.
    pub channels: Vec<String>,
    pub limits: HashMap<(String, Period), Allowance>,
    /// The APIs that a rule for all APIs is about.
    pub known_apis: BTreeSet<String>,
    /// The notices of the episodes in `records`.
    pub notices: Vec<Notice>,
}

/// The state of a rule for one API after a round.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluatedAlert {
    pub record: AlertRecord,
    /// The rule is UNKNOWN because its API has no limit for the period.
    pub lacks_limit: bool,
}

/// What a round found, to be saved in one transaction.
#[derive(Debug, Default)]
pub struct RoundResult {
    /// The number of enabled rules.
    pub rules: usize,
    /// By rule and API.
    pub alerts: Vec<EvaluatedAlert>,
    /// In order of time.
    pub events: Vec<Event>,
    pub notifications: Notifications,
    /// Alerts whose rule was removed, disabled or changed.
    pub removed: Vec<AlertRef>,
    /// The rules that began to fire, and when they last did.
    pub fired: BTreeMap<String, DateTime<Utc>>,
    /// The latest step evaluated before the clock was set back.
    pub evaluated_ahead_to: Option<DateTime<Utc>>,
    /// A rule fired without a channel to notify.
    pub has_no_channel: bool,
}

/// A rule and API in a round.
#[derive(Debug)]
struct Turn<'a> {
    target: RuleTarget<'a>,
    alert: AlertRef,
    record: Option<&'a AlertRecord>,
    /// The state from which the evaluation continues.
    before: Option<AlertState>,
    due: Due,
}

/// A round that has been prepared.
#[derive(Debug)]
pub struct Round<'a> {
    stored: &'a StoredAlerts,
    schedule: Schedule,
    turns: Vec<Turn<'a>>,
    evaluated: BTreeSet<AlertRef>,
    result: RoundResult,
}

impl<'a> Round<'a> {
    /// Determines the due steps of each rule and API.
    pub fn new(stored: &'a StoredAlerts, schedule: Schedule) -> Round<'a> {
        let mut round = Round {
            stored,
            schedule,
            turns: Vec::new(),
            evaluated: BTreeSet::new(),
            result: RoundResult::default(),
        };
        for rule in stored.rules.iter().filter(|rule| rule.enabled) {
            round.result.rules += 1;
            if rule.api_name == ALL_APIS {
                for api in &stored.known_apis {
                    round.prepare(rule, api);
                }
            } else {
                round.prepare(rule, &rule.api_name);
            }
        }
        round
    }

    /// The windows of each API whose calls must be read.
    pub fn required_windows(&self) -> BTreeMap<&'a str, Vec<RequiredWindows>> {
        let mut required: BTreeMap<&str, Vec<RequiredWindows>> = BTreeMap::new();
        for turn in &self.turns {
            let windows = required.entry(turn.target.api_name).or_default();
            let grid = self.schedule.grid;
            windows.extend(self.steps(turn).map(|at| turn.target.needs(at, grid)));
        }
        required
    }

    /// Evaluates all due steps.
    pub fn evaluate(mut self, usage: &HashMap<&str, ApiUsage>) -> RoundResult {
        for turn in std::mem::take(&mut self.turns) {
            if let Some(usage) = usage.get(turn.target.api_name) {
                self.evaluate_turn(turn, usage);
            }
        }
        self.settle_removed();
        let events = &mut self.result.events;
        events.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
        self.result
    }

    fn prepare(&mut self, rule: &'a Rule, api_name: &'a str) {
        let key = (api_name.to_owned(), rule.period.clone());
        let target = RuleTarget {
            rule,
            api_name,
            limit: self.stored.limits.get(&key).copied(),
        };
        let (alert, schedule) = (AlertRef::new(target.rule, target.api_name), self.schedule);
        let mut records = self.stored.records.iter();
        let record = records.find(|record| record.alert == alert);
        let mut before = record.map(|record| record.state.clone());
        let due = Due::new(
            before.as_ref().map(|state| state.evaluated_to),
            schedule.last(),
            schedule.grid,
            schedule.max_catch_up,
        );
        let skipped = match due {
            Due::AfterGap(gap) => {
                let reason = "longer ago than the maximum catch-up time";
                Some(Event::skipped(alert.clone(), gap, reason, schedule.now))
            }
            Due::Reset { evaluated_to, .. } => {
                let (at, now) = (schedule.last(), schedule.now);
                let mut event = Event::new(alert.clone(), EventKind::Skipped, at, now);
                event.note = Some(format!(
                    "the clock was wrong: already evaluated up to {}",
                    format::time(evaluated_to)
                ));
                Some(event)
            }
            Due::NotBefore(at) if at > schedule.now => {
                let ahead = &mut self.result.evaluated_ahead_to;
                *ahead = (*ahead).max(Some(at));
                None
            }
            Due::After(_) | Due::NotBefore(_) => None,
        };
        if skipped.is_some() {
            let first = due.after() + schedule.grid.step();
            before = before.map(|state| state.after_gap(first));
        }
        self.result.events.extend(skipped);
        self.evaluated.insert(alert.clone());
        self.turns.push(Turn {
            target,
            alert,
            record,
            before,
            due,
        });
    }

    fn steps(&self, turn: &Turn<'_>) -> impl Iterator<Item = DateTime<Utc>> + use<> {
        let last = match turn.due {
            Due::NotBefore(after) => after,
            _ => self.schedule.last(),
        };
        self.schedule.grid.steps(turn.due.after(), last)
    }

    fn evaluate_turn(&mut self, turn: Turn<'_>, usage: &ApiUsage) {
        let (stored, now, rule) = (self.stored, self.schedule.now, turn.target.rule);
        let (after, changes) = turn.target.advance(
            turn.before.clone(),
            self.steps(&turn),
            self.schedule.grid,
            &usage.series,
            usage.begins,
        );
        let Some(after) = after else {
            return;
        };
        let events = changes
            .iter()
            .map(|change| Event::of_change(turn.alert.clone(), change, now));
        self.result.events.extend(events);
        let acknowledged = turn.record.and_then(|record| record.acknowledged.clone());
        let channels = if rule.channels.is_empty() {
            &stored.channels
        } else {
            &rule.channels
        };
        let silence = matching(&stored.silences, rule, turn.target.api_name, now);
        let before = turn.before.as_ref();
        for progress in notification_policy::episode_progress(before, &changes, Some(&after)) {
            self.result.has_no_channel |= channels.is_empty();
            if progress.began {
                let fired_at = progress.episode.fired_at;
                let last = self.result.fired.entry(rule.id.clone()).or_insert(fired_at);
                *last = fired_at.max(*last);
            }
            let policy = NotificationPolicy {
                now,
                channels,
                silenced: silence.is_some(),
                acknowledged: acknowledged.is_some() && !progress.began,
                repeat: rule.settings.repeat,
            };
            let notifications = &mut self.result.notifications;
            notifications.add(&turn.alert, &progress, policy, &stored.notices);
        }
        let is_unknown = after.status == AlertStatus::Unknown;
        self.result.alerts.push(EvaluatedAlert {
            lacks_limit: is_unknown && rule.needs_limit() && turn.target.limit.is_none(),
            record: AlertRecord {
                acknowledged,
                alert: turn.alert,
                state: after,
            },
        });
    }

    /// Closes the alerts whose rule was removed, disabled or changed.
    fn settle_removed(&mut self) {
        let (stored, now) = (self.stored, self.schedule.now);
        for AlertRecord { alert, state, .. } in &stored.records {
            let rule = stored.rules.iter().find(|rule| rule.id == alert.alert_id);
            if self.evaluated.contains(alert) {
                continue;
            }
            let is_known = stored.known_apis.contains(&alert.api_name);
            let reason = match rule {
                None => "the rule was removed",
                Some(rule) if !rule.enabled => "the rule is disabled",
                Some(rule) if rule.api_name == ALL_APIS && !is_known => {
                    "the API is not known any more"
                }
                Some(_) => "the rule was changed",
            };
            if let Some(mut progress) = notification_policy::open_episode(state) {
                progress.ended_at = Some(now);
                self.result.events.push(Event {
                    from_state: Some(state.status),
                    severity: state.severity,
                    episode: Some(progress.episode.id.clone()),
                    observed: state.observed,
                    note: Some(reason.to_owned()),
                    ..Event::new(alert.clone(), EventKind::Settled, now, now)
                });
                // Only channels that were notified of it are notified of the end.
                let policy = NotificationPolicy {
                    now,
                    channels: &[],
                    silenced: false,
                    acknowledged: false,
                    repeat: TimeDelta::zero(),
                };
                let notifications = &mut self.result.notifications;
                notifications.add(alert, &progress, policy, &stored.notices);
            }
            self.result.removed.push(alert.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::delivery::Delivery;
    use super::super::notice::NoticeKind;
    use super::super::rule::AlertType;
    use super::super::series::{Demand, Series, Tally};
    use super::super::state::Acknowledgement;
    use super::*;
    use crate::domain::testing::at_minute as at;

    fn spike(id: &str, api: &str) -> Rule {
        Rule {
            id: id.to_owned(),
            ..Rule::new(api, AlertType::ErrorSpike, Period::Minute, 3.0)
        }
    }

    /// A database of one rule on tmdb and the channel `ops`.
    fn stored() -> StoredAlerts {
        StoredAlerts {
            rules: vec![spike("rule", "tmdb")],
            channels: vec!["ops".to_owned()],
            known_apis: BTreeSet::from(["tmdb".to_owned()]),
            ..StoredAlerts::default()
        }
    }

    /// The round at `minute`, with five failures in each of `failing` minutes, saved into `stored`.
    fn run(stored: &mut StoredAlerts, minute: i64, failing: std::ops::Range<i64>) -> RoundResult {
        let schedule = Schedule {
            now: at(minute) + TimeDelta::seconds(20),
            grid: Grid::MINUTES,
            settle: TimeDelta::seconds(10),
            max_catch_up: TimeDelta::hours(24),
        };
        let round = Round::new(stored, schedule);
        let mut usage = HashMap::new();
        for (api, required) in round.required_windows() {
            let windows = required.iter().filter_map(|required| required.window);
            let mut series = Series::new(Demand::of_rows(windows, []));
            for minute in failing.clone() {
                for _ in 0..5 {
                    series.add_rows(at(minute), Tally::of_call(false, false, None));
                }
            }
            let begins = Some(at(-1_000));
            let series = series.finish();
            usage.insert(api, ApiUsage { series, begins });
        }
        let result = round.evaluate(&usage);
        let records = result.alerts.iter().map(|alert| alert.record.clone());
        stored.records = records.collect();
        for notice in &mut stored.notices {
            if result.notifications.released.contains(&notice.content.key) {
                notice.delivery = Delivery::Waiting;
            }
        }
        stored.notices.extend(result.notifications.new.clone());
        // Everything that is waiting arrives.
        for notice in &mut stored.notices {
            if notice.delivery == Delivery::Waiting {
                notice.delivery = Delivery::Delivered;
                notice.delivered_at = Some(schedule.now);
            }
        }
        result
    }

    fn acknowledge(record: &mut AlertRecord) {
        record.acknowledged = Some(Acknowledgement {
            by: "me".to_owned(),
            at: at(1),
            note: None,
        });
    }

    fn sent(result: &RoundResult) -> Vec<(NoticeKind, &str)> {
        let new = result.notifications.new.iter();
        let waiting = new.filter(|notice| notice.delivery == Delivery::Waiting);
        waiting
            .map(|notice| (notice.content.kind, notice.channel.as_str()))
            .collect()
    }

    fn notes(result: &RoundResult) -> Vec<&str> {
        let events = result.events.iter();
        events.filter_map(|event| event.note.as_deref()).collect()
    }

    #[test]
    fn firing_rule_notifies_all_channels_or_its_own() {
        let mut all = stored();
        all.channels.push("mail".to_owned());
        let result = run(&mut all, 1, 0..1);
        let firing = [(NoticeKind::Firing, "mail"), (NoticeKind::Firing, "ops")];
        assert_eq!(sent(&result), firing);
        assert_eq!(result.fired["rule"], at(1));

        let mut own = stored();
        own.channels.push("mail".to_owned());
        own.rules[0].channels = vec!["ops".to_owned()];
        assert_eq!(sent(&run(&mut own, 1, 0..1)), firing[1..]);
    }

    #[test]
    fn silence_holds_notifications_back_until_it_ends() {
        let mut stored = stored();
        stored.silences.push(Silence {
            api_name: Some("tmdb".to_owned()),
            ..Silence::sample(at(0), at(10))
        });
        assert_eq!(sent(&run(&mut stored, 1, 0..20)), []);
        assert_eq!(stored.notices[0].delivery, Delivery::Silenced);
        let after = run(&mut stored, 10, 0..20);
        let key = stored.notices[0].content.key.clone();
        assert_eq!(after.notifications.released, [key]);
    }

    #[test]
    fn reminder_follows_repeat_interval_unless_acknowledged() {
        let reminders = |acknowledged: bool| {
            let mut stored = stored();
            stored.rules[0].settings.repeat = TimeDelta::minutes(30);
            run(&mut stored, 1, 0..100);
            if acknowledged {
                acknowledge(&mut stored.records[0]);
            }
            let early = run(&mut stored, 30, 0..100);
            let late = run(&mut stored, 31, 0..100);
            assert_eq!(sent(&early), []);
            sent(&late).len()
        };
        assert_eq!([reminders(false), reminders(true)], [1, 0]);
    }

    #[test]
    fn acknowledgement_ends_with_its_episode() {
        let mut stored = stored();
        run(&mut stored, 1, 0..1);
        acknowledge(&mut stored.records[0]);
        let expected = [(NoticeKind::Resolved, "ops"), (NoticeKind::Firing, "ops")];
        assert_eq!(sent(&run(&mut stored, 5, 3..5)), expected);
    }

    #[test]
    fn gap_beyond_catch_up_is_skipped_and_reported() {
        let mut stored = stored();
        run(&mut stored, 0, 0..0);
        let result = run(&mut stored, 1_500, 0..0);
        let skipped = "2026-01-31T12:00:00Z to 2026-01-31T13:00:00Z: longer ago than the maximum catch-up time";
        assert_eq!(notes(&result), [skipped]);
    }

    #[test]
    fn clock_set_back_repeats_nothing() {
        let mut stored = stored();
        run(&mut stored, 100, 99..100);
        let back = run(&mut stored, 50, 99..100);
        assert_eq!(back.evaluated_ahead_to, Some(at(100)));
        assert_eq!((back.events.len(), sent(&back).len()), (0, 0));
    }

    #[test]
    fn removed_disabled_and_changed_rules_resolve_once() {
        type Case = (&'static str, fn(&mut StoredAlerts));
        let cases: [Case; 4] = [
            ("the rule was removed", |stored| stored.rules.clear()),
            ("the rule is disabled", |stored| {
                stored.rules[0].enabled = false
            }),
            ("the rule was changed", |stored| {
                stored.rules[0].period = Period::Hour
            }),
            ("the API is not known any more", |stored| {
                stored.rules[0].api_name = ALL_APIS.to_owned();
                stored.known_apis.clear();
            }),
        ];
        for (reason, change) in cases {
            let mut stored = stored();
            run(&mut stored, 1, 0..100);
            change(&mut stored);
            let result = run(&mut stored, 2, 0..100);
            assert!(notes(&result).contains(&reason), "{reason}");
            let resolved = (NoticeKind::Resolved, "ops");
            assert!(sent(&result).contains(&resolved), "{reason}");
            assert_eq!(result.removed.len(), 1, "{reason}");
        }
    }

    #[test]
    fn rule_without_limit_is_unknown() {
        let mut stored = stored();
        stored.rules[0].alert_type = AlertType::RateLimitWarning;
        assert!(run(&mut stored, 1, 0..1).alerts[0].lacks_limit);
        let allowance = Allowance {
            value: 60.0,
            of_credits: false,
        };
        stored.limits = HashMap::from([(("tmdb".to_owned(), Period::Minute), allowance)]);
        assert!(!run(&mut stored, 2, 0..1).alerts[0].lacks_limit);
    }

    #[test]
    fn firing_without_channel_is_reported() {
        let mut stored = stored();
        stored.channels.clear();
        assert!(run(&mut stored, 1, 0..1).has_no_channel);
    }
}
