//! An evaluation round: every enabled rule, for each of its APIs, at every step that is due.
//!
//! [`Round::new`] takes the stored alerts and determines which windows of which APIs must be read;
//! [`Round::evaluate`] takes the usage in them and returns everything to save.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};

use super::correction::Correction;
use super::delivery::Notice;
use super::evaluate::{ApiUsage, Providers, RequiredWindows, RuleTarget};
use super::event::{Event, EventKind};
use super::notice::EndReason;
use super::notification_policy::{self, EpisodeProgress, NotificationPolicy, Notifications};
use super::outage::Outage;
use super::reevaluation::{Due, Plan};
use super::route::{Route, is_muted, routes};
use super::rule::{ALL_APIS, AlertRef, Rule, Severity};
use super::silence::{Silence, matching};
use super::stage;
use super::state::{
    Acknowledgement, AlertKey, AlertRecord, AlertState, AlertStatus, Change, Episode,
};
use super::window::Grid;
use crate::domain::period::Window;

/// When a round takes place, and how far it looks back.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    pub now: DateTime<Utc>,
    pub grid: Grid,
    /// The age of a step at which its calls are complete, unless a rule has its own.
    pub settle: TimeDelta,
    pub max_catch_up: TimeDelta,
}

impl Schedule {
    /// The settle time of rules and checks that set none.
    pub const SETTLE: TimeDelta = TimeDelta::seconds(10);

    pub fn last(&self, settle: Option<TimeDelta>) -> DateTime<Utc> {
        let settle = settle.unwrap_or(self.settle);
        let last = self.now.checked_sub_signed(settle);
        self.grid.at_or_before(last.unwrap_or(Window::ALL.from))
    }

    fn due(&self, rule: &Rule) -> Due {
        Due {
            now: self.now,
            last: self.last(rule.settings.settle),
            max_catch_up: self.max_catch_up,
        }
    }
}

/// Everything stored that a round depends on, except usage.
#[derive(Clone, Debug, Default)]
pub struct StoredAlerts {
    pub rules: Vec<Rule>,
    pub records: Vec<AlertRecord>,
    /// The silences that have not ended.
    pub silences: Vec<Silence>,
    pub channels: Vec<String>,
    /// The channels that are notified of this severity and higher ones only.
    pub min_severities: BTreeMap<String, Severity>,
    pub providers: Providers,
    /// The APIs that a rule for all APIs is about.
    pub known_apis: BTreeSet<String>,
    /// The starts of the hours of each API in which data changed since the last check.
    pub late_hours: BTreeMap<String, Vec<DateTime<Utc>>>,
    /// The events from the last change of state before the first of these hours on, in order; by rule and API. Rules
    /// without an event since are left out.
    pub history: HashMap<(String, String), Vec<Event>>,
    pub outage: Option<Outage>,
    /// The notices of the episodes in `records` and `history`, and of the outage, in order.
    pub notices: Vec<Notice>,
}

impl StoredAlerts {
    /// The channels that are notified of warnings about all rules.
    pub fn channels_of_warnings(&self) -> impl Iterator<Item = &String> {
        let channels = self.channels.iter();
        channels.filter(|channel| self.min_severities.get(*channel) != Some(&Severity::Critical))
    }

    pub fn outage_notices(&self, now: DateTime<Utc>) -> impl Iterator<Item = Notice> {
        self.outage.into_iter().flat_map(move |outage| {
            let channels = self.channels_of_warnings();
            channels.map(move |channel| notification_policy::outage(channel, outage, now))
        })
    }

    /// The instant after which steps may be evaluated again, if any may.
    pub fn history_from(&self, schedule: Schedule) -> Option<DateTime<Utc>> {
        let is_ahead = |record: &AlertRecord| record.state.evaluated_to > schedule.now;
        if self.late_hours.is_empty() && !self.records.iter().any(is_ahead) {
            return None;
        }
        let settles = self.rules.iter().filter_map(|rule| rule.settings.settle);
        let settle = settles
            .max()
            .unwrap_or(schedule.settle)
            .max(schedule.settle);
        let step = schedule.grid.step();
        let newest = schedule.last(Some(settle)) - step;
        let reach = newest.checked_sub_signed(schedule.max_catch_up);
        let reach = reach.map_or(Window::ALL.from, |at| schedule.grid.at_or_before(at));
        let late = self.late_hours.values().flatten().min();
        let late = late.map(|hour| schedule.grid.at_or_before(*hour).max(reach));
        Some(late.map_or(newest, |late| late.min(newest)))
    }
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
    /// The new events, in order of time.
    pub events: Vec<Event>,
    /// The ids of the events that did not happen by the current data.
    pub withdrawn: Vec<String>,
    /// Episodes that did not take place as they were recorded, and the episodes that replace them.
    pub replaced: Vec<(String, String)>,
    /// The period in which rules were not evaluated, because it is too long ago.
    pub gap: Option<Window>,
    pub outage: Option<Outage>,
    pub notifications: Notifications,
    /// The silences that wait for episodes and that ended or changed.
    pub silences: Vec<Silence>,
    /// Alerts whose rule was removed, disabled or changed.
    pub removed: Vec<AlertRef>,
    /// The rules that began to fire, and when they last did.
    pub fired: BTreeMap<String, DateTime<Utc>>,
    /// The latest step evaluated before the clock was set back.
    pub evaluated_ahead_to: Option<DateTime<Utc>>,
    /// A rule fired of which a threshold has no channel to notify.
    pub has_no_channel: bool,
}

#[derive(Debug)]
struct Turn<'a> {
    target: RuleTarget<'a>,
    alert: AlertRef,
    record: Option<&'a AlertRecord>,
    history: &'a [Event],
    plan: Plan,
}

/// The episodes of a rule, or of one of its thresholds above the lowest, in a round.
struct Episodes<'a> {
    /// The channels that are notified of them.
    routes: Vec<Route>,
    before: Option<AlertState>,
    changes: &'a [Change],
    after: AlertState,
    correction: &'a Correction,
    /// Whether the open episode of the rule is acknowledged.
    is_acknowledged: bool,
}

#[derive(Debug)]
pub struct Round<'a> {
    stored: &'a StoredAlerts,
    records: HashMap<&'a AlertRef, &'a AlertRecord>,
    /// By episode.
    notices: HashMap<&'a str, Vec<&'a Notice>>,
    schedule: Schedule,
    turns: Vec<Turn<'a>>,
    evaluated: BTreeSet<AlertRef>,
    result: RoundResult,
}

impl<'a> Round<'a> {
    /// Determines the due steps of each rule and API.
    pub fn new(stored: &'a StoredAlerts, schedule: Schedule) -> Round<'a> {
        let records = stored.records.iter().map(|record| (&record.alert, record));
        let mut notices: HashMap<&str, Vec<&Notice>> = HashMap::new();
        for notice in &stored.notices {
            notices.entry(&notice.episode).or_default().push(notice);
        }
        let mut round = Round {
            stored,
            records: records.collect(),
            notices,
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
        // Rules with the same windows require them once, at the steps of all of them.
        let mut alike: HashMap<_, (RuleTarget<'a>, DateTime<Utc>, DateTime<Utc>)> = HashMap::new();
        for Turn { target, plan, .. } in &self.turns {
            // The needs of any one step are those of all of them.
            let kind = target.needs(plan.last);
            let windows = (&target.rule.period, target.rule.window(), target.billing());
            let all = alike
                .entry((target.api_name, windows, kind))
                .or_insert((*target, plan.after, plan.last));
            (all.1, all.2) = (all.1.min(plan.after), all.2.max(plan.last));
        }
        let mut required: BTreeMap<&str, Vec<RequiredWindows>> = BTreeMap::new();
        for (target, after, last) in alike.into_values() {
            let grid = self.schedule.grid;
            let windows = required.entry(target.api_name).or_default();
            windows.extend(grid.steps(after, last).map(|at| target.needs(at)));
        }
        required
    }

    pub fn evaluate(mut self, usage: &HashMap<&str, ApiUsage>) -> RoundResult {
        for turn in std::mem::take(&mut self.turns) {
            if let Some(usage) = usage.get(turn.target.api_name) {
                self.evaluate_turn(turn, usage);
            }
        }
        self.settle_removed();
        self.follow_silences();
        self.notify_of_gap();
        self.notify_of_outage();
        let events = &mut self.result.events;
        events.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
        self.result
    }

    fn prepare(&mut self, rule: &'a Rule, api_name: &'a str) {
        let (stored, schedule) = (self.stored, self.schedule);
        let target = stored.providers.target(rule, api_name, schedule.grid);
        let alert = AlertRef::new(target.rule, target.api_name);
        let record = self.records.get(&alert).copied();
        if record.is_none() && target.is_left_out() {
            return;
        }
        let place = (alert.alert_id.clone(), alert.api_name.clone());
        let history = stored.history.get(&place).map_or(&[][..], Vec::as_slice);
        let late = stored.late_hours.get(api_name);
        let late = late.map_or(&[][..], Vec::as_slice);
        let plan = Plan::new(&target, record, history, late, schedule.due(rule));
        if let Some(gap) = plan.gap {
            let reason = "longer ago than the maximum catch-up time";
            let skipped = Event::skipped(alert.clone(), gap, reason, schedule.now);
            self.result.events.push(skipped);
            let whole = self.result.gap.get_or_insert(gap);
            *whole = Window::new(whole.from.min(gap.from), whole.to.max(gap.to));
        }
        if plan.went_back {
            let ahead = &mut self.result.evaluated_ahead_to;
            *ahead = (*ahead).max(plan.evaluated_to);
        }
        self.evaluated.insert(alert.clone());
        self.turns.push(Turn {
            target,
            alert,
            record,
            history,
            plan,
        });
    }

    fn evaluate_turn(&mut self, turn: Turn<'_>, usage: &ApiUsage) {
        let Turn {
            target,
            record,
            history,
            plan,
            ..
        } = &turn;
        let (rule, now) = (target.rule, self.schedule.now);
        let before = record.map(|record| &record.state);
        let (after, changes) = plan.evaluate(target, before, history, usage);
        let Some(after) = after else {
            return;
        };
        let correction = Correction::new(&turn.alert, history, plan.after, &changes, now);
        let before = plan.state.as_ref();
        let routes = routes(rule, &self.stored.channels, &self.stored.min_severities);
        let is_news = correction.added.iter().any(|event| event.episode.is_some());
        self.result.has_no_channel |= is_news && is_muted(rule, &self.stored.channels);
        let is_same = |old: &str, new: &str| correction.is_same_episode(old, new);
        let acknowledged_episode =
            |open: &Episode| acknowledged(*record, |episode| is_same(episode, &open.id)).is_some();
        let is_acknowledged = after.episode.as_ref().is_some_and(acknowledged_episode);
        let from = |stage: Option<f64>| {
            let mut routes = routes.clone();
            routes.retain(|route| route.first().stage() == stage);
            routes
        };
        let episodes = Episodes {
            routes: from(None),
            before: before.cloned(),
            changes: &changes,
            after: after.clone(),
            correction: &correction,
            is_acknowledged,
        };
        self.notify_episodes(&turn, &episodes);
        self.notify_unknown(&turn, &episodes);
        self.record_fired(&turn, &changes, &correction);
        for threshold in stage::thresholds(before.into_iter().chain([&after]), &changes, history) {
            let place = target.place();
            let history = stage::history_of(&turn.alert, before, history, plan.after, threshold);
            let changes = stage::changes_of(before, &changes, threshold, place);
            let state = |state: &AlertState| stage::state_of(state, threshold, place);
            let episodes = Episodes {
                routes: from(Some(threshold)),
                before: before.map(state),
                after: state(&after),
                correction: &Correction::new(&turn.alert, &history, plan.after, &changes, now),
                changes: &changes,
                is_acknowledged,
            };
            self.notify_episodes(&turn, &episodes);
        }
        let is_unknown = after.status == AlertStatus::Unknown;
        let is_open = |episode: &str| {
            let open = after.episode.as_ref();
            open.is_some_and(|open| correction.is_same_episode(episode, &open.id))
        };
        self.result.alerts.push(EvaluatedAlert {
            lacks_limit: is_unknown && rule.needs_limit() && target.limit.is_none(),
            record: AlertRecord {
                acknowledged: acknowledged(*record, is_open),
                origin: Some(plan.origin.clone()),
                alert: turn.alert.clone(),
                state: after,
            },
        });
        self.result.events.extend(correction.added);
        self.result.withdrawn.extend(correction.withdrawn);
    }

    /// Adds the notices of the episodes of a rule, or of one of its thresholds.
    fn notify_episodes(&mut self, turn: &Turn<'_>, episodes: &Episodes<'_>) {
        let (correction, evaluated_to) = (episodes.correction, turn.plan.evaluated_to);
        let (before, after) = (episodes.before.as_ref(), Some(&episodes.after));
        for mut progress in notification_policy::episode_progress(before, episodes.changes, after) {
            let id = &progress.episode.id;
            progress.began = correction.begins(id);
            if progress.ended_at.is_none() || correction.adds_to(id) {
                progress.keep_cause(episodes.changes);
                let fired_at = progress.episode.fired_at;
                progress.late = progress.began && evaluated_to.is_some_and(|to| fired_at <= to);
                self.notify(turn, &progress, episodes);
            }
        }
        for (episode, replacement) in &correction.replaced {
            match replacement {
                Some(new) => self.result.replaced.push((episode.clone(), new.clone())),
                None => {
                    let notices = notices_of(&self.notices, episode);
                    let notifications = &mut self.result.notifications;
                    notifications.withdraw(&turn.alert, notices, self.schedule.now);
                }
            }
        }
    }

    /// Adds the notices of the times in which the rule is UNKNOWN.
    fn notify_unknown(&mut self, turn: &Turn<'_>, episodes: &Episodes<'_>) {
        let (correction, evaluated_to) = (episodes.correction, turn.plan.evaluated_to);
        let (before, after) = (episodes.before.as_ref(), Some(&episodes.after));
        let (alert, changes) = (&turn.alert, episodes.changes);
        let unknown = notification_policy::unknown_progress(alert, before, changes, after);
        for mut progress in unknown {
            progress.began = correction.begins_unknown(&progress.episode.id);
            let ended_at = progress.ended_at;
            if ended_at.is_none_or(|at| progress.began || correction.ends_unknown(at)) {
                let since = progress.episode.fired_at;
                progress.late = progress.began && evaluated_to.is_some_and(|to| since <= to);
                self.notify(turn, &progress, episodes);
            }
        }
    }

    fn notify(&mut self, turn: &Turn<'_>, progress: &EpisodeProgress, episodes: &Episodes<'_>) {
        let (stored, now, target) = (self.stored, self.schedule.now, &turn.target);
        let correction = episodes.correction;
        let is_same = |episode: &str| correction.is_same_episode(episode, &progress.episode.id);
        let policy = NotificationPolicy {
            now,
            routes: &episodes.routes,
            silenced: matching(&stored.silences, target.rule, target.api_name, now).is_some(),
            acknowledged: episodes.is_acknowledged && progress.ended_at.is_none(),
            repeat: target.rule.repeat(),
            limit_unit: target.limit_unit(),
            end_reason: None,
        };
        let mut notices: Vec<&Notice> = Vec::new();
        let replaced = correction.replaced.keys().filter(|old| is_same(old));
        let ids = replaced
            .map(String::as_str)
            .chain([progress.episode.id.as_str()]);
        for id in ids {
            notices.extend(notices_of(&self.notices, id));
        }
        // At one time, the end of one episode precedes the beginning of another that was replaced since.
        notices.sort_by_key(|it| (it.content.created_at, !it.content.kind.is_last()));
        let notifications = &mut self.result.notifications;
        notifications.add(&turn.alert, progress, policy, &notices);
    }

    fn record_fired(&mut self, turn: &Turn<'_>, changes: &[Change], correction: &Correction) {
        let rule = turn.target.rule;
        let episodes = changes.iter().filter_map(|change| change.episode.as_ref());
        let began = episodes.filter(|episode| correction.begins(&episode.id));
        let Some(fired_at) = began.map(|episode| episode.fired_at).max() else {
            return;
        };
        if rule.last_triggered.is_none_or(|last| last < fired_at) {
            let last = self.result.fired.entry(rule.id.clone()).or_insert(fired_at);
            *last = fired_at.max(*last);
        }
    }

    /// Ends the silences whose episodes have resolved.
    fn follow_silences(&mut self) {
        let (result, now) = (&mut self.result, self.schedule.now);
        let states = result.alerts.iter().map(|alert| &alert.record.state);
        let open = states.filter_map(|state| Some(state.episode.as_ref()?.id.clone()));
        let open: BTreeSet<String> = open.collect();
        for silence in &self.stored.silences {
            let mut silence = silence.clone();
            if silence.follow(&result.replaced, &open, now) {
                result.silences.push(silence);
            }
        }
    }

    /// Notifies each channel once that rules were not evaluated.
    fn notify_of_gap(&mut self) {
        let Some(gap) = self.result.gap else {
            return;
        };
        let is_skipped = |event: &&Event| event.kind == EventKind::Skipped;
        let rules = self.result.events.iter().filter(is_skipped).count();
        let now = self.schedule.now;
        let channels = self.stored.channels_of_warnings();
        let notices =
            channels.map(|channel| notification_policy::skipped(channel, gap, rules, now));
        self.result.notifications.new.extend(notices);
    }

    fn notify_of_outage(&mut self) {
        self.result.outage = self.stored.outage;
        for notice in self.stored.outage_notices(self.schedule.now) {
            let sent = notices_of(&self.notices, &notice.episode);
            let is_known = |known: &&Notice| known.content.key == notice.content.key;
            if !sent.iter().any(is_known) {
                self.result.notifications.new.push(notice);
            }
        }
    }

    /// Closes the alerts whose rule was removed, disabled or changed.
    fn settle_removed(&mut self) {
        let (stored, now) = (self.stored, self.schedule.now);
        for AlertRecord { alert, state, .. } in &stored.records {
            if self.evaluated.contains(alert) {
                continue;
            }
            let rule = stored.rules.iter().find(|rule| rule.id == alert.alert_id);
            let is_known = stored.known_apis.contains(&alert.api_name);
            let reason = match rule {
                None => EndReason::RuleRemoved,
                Some(rule) if !rule.enabled => EndReason::RuleDisabled,
                Some(rule) if rule.api_name == ALL_APIS && !is_known => EndReason::ApiRemoved,
                Some(_) => EndReason::RuleChanged,
            };
            if let Some(episode) = &state.episode {
                self.result.events.push(Event {
                    from_state: Some(state.status),
                    severity: state.severity,
                    episode: Some(episode.id.clone()),
                    observed: state.observed,
                    note: reason.text().map(str::to_owned),
                    ..Event::new(alert.clone(), EventKind::Settled, now, now)
                });
            }
            let episodes = state.episodes(AlertKey::of(alert)).filter_map(|episode| {
                notification_policy::open_episode(&AlertState {
                    episode: Some(episode),
                    ..state.clone()
                })
            });
            let unknown = notification_policy::open_unknown(alert, state);
            for mut progress in episodes.chain(unknown) {
                progress.ended_at = Some(now);
                // Only channels that were notified of it are notified of the end.
                let policy = NotificationPolicy {
                    now,
                    routes: &[],
                    silenced: false,
                    acknowledged: false,
                    repeat: TimeDelta::zero(),
                    limit_unit: None,
                    end_reason: Some(reason),
                };
                let notices = notices_of(&self.notices, &progress.episode.id);
                let notifications = &mut self.result.notifications;
                notifications.add(alert, &progress, policy, notices);
            }
            self.result.removed.push(alert.clone());
        }
    }
}

fn notices_of<'n, 'a>(
    notices: &'n HashMap<&str, Vec<&'a Notice>>,
    episode: &str,
) -> &'n [&'a Notice] {
    notices.get(episode).map_or(&[], Vec::as_slice)
}

/// The acknowledgement of a rule's open episode, if that `is_same`.
fn acknowledged(
    record: Option<&AlertRecord>,
    is_same: impl Fn(&str) -> bool,
) -> Option<Acknowledgement> {
    let record = record?;
    let episode = record.state.episode.as_ref();
    let episode = episode.filter(|episode| is_same(&episode.id));
    record.acknowledged.clone().filter(|_| episode.is_some())
}
