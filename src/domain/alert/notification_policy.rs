//! The notification policy: which notices follow from what a round found.
//!
//! Each channel is notified depending on its earlier notices: FIRING once, and again when a higher threshold is reached
//! or the severity rises; a REMINDER after each `--repeat`; RESOLVED at the end, if FIRING was delivered. A channel that
//! was sent nothing when an episode ends gets one notice: MISSED, or LATE if its data arrived late. A silence holds
//! FIRING back; if the rule still fires when the silence ends, FIRING is sent with the state of then, unless the channel
//! was notified of that before the silence.
//!
//! A channel of which only higher thresholds notify has episodes of its own, see [`super::route`]: FIRING when the
//! lowest of them is reached, RESOLVED when that is left, and FIRING of another episode when it is reached again. The
//! rules above apply to each. Their ids, and so the keys of their notices, are derived from rule, API, threshold and
//! the time at which it was reached.
//!
//! A notice of the end has the threshold and the limit of the end. A limit or a threshold that the channel knows by
//! another value is the reason of the end if the value would not have fallen below the threshold otherwise.
//!
//! A time in which a rule is UNKNOWN is notified likewise, by UNKNOWN and KNOWN, without reminders.
//!
//! Late data may also reopen an episode whose end was notified, which sends a REMINDER, or show that an episode did not
//! take place, which sends RESOLVED.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

use super::delivery::{Delivery, Notice};
use super::notice::{Content, EndReason, NoticeKind};
use super::outage::Outage;
use super::route::Route;
use super::rule::{AlertRef, Severity};
use super::state::{
    AlertKey, AlertState, AlertStatus, Change, Episode, Observation, Stage, unknown_episode,
};
use super::wording::{limit, summary};
use crate::domain::named::Named;
use crate::domain::period::Window;
use crate::domain::plans::Unit;
use crate::domain::{format, id};

/// The part of an episode that lies in a round.
#[derive(Clone, Debug, PartialEq)]
pub struct EpisodeProgress {
    pub episode: Episode,
    /// Whether it began in this round.
    pub began: bool,
    /// Whether it began at a step that was evaluated before: its data arrived late.
    pub late: bool,
    pub ended_at: Option<DateTime<Utc>>,
    /// The current severity; the highest if it ended.
    pub severity: Severity,
    /// The highest threshold above the lowest that is reached; the highest that was if it ended.
    pub stage: Option<f64>,
    /// Whether its status is RECOVERING or UNKNOWN: it sends no reminders then.
    pub is_suspended: bool,
    /// At the last step; at the first if it began and ended in this round.
    pub observed: Observation,
    /// At the step at which it ended.
    pub end: Option<Observation>,
    /// Whether it is a time in which the rule is UNKNOWN.
    pub is_unknown: bool,
    pub unknown_reason: Option<String>,
    /// Whether it ended without a successful call.
    pub without_data: bool,
}

impl EpisodeProgress {
    fn new(episode: Episode, severity: Severity, observed: Observation) -> EpisodeProgress {
        EpisodeProgress {
            episode,
            began: false,
            late: false,
            ended_at: None,
            severity,
            stage: None,
            is_suspended: false,
            observed,
            end: None,
            is_unknown: false,
            unknown_reason: None,
            without_data: false,
        }
    }

    /// A time in which the rule is UNKNOWN.
    fn unknown(episode: Episode, observed: Observation, reason: Option<String>) -> EpisodeProgress {
        EpisodeProgress {
            is_suspended: true,
            is_unknown: true,
            unknown_reason: reason,
            ..EpisodeProgress::new(episode, Severity::Warning, observed)
        }
    }

    /// Takes the values of the step at which it began, if it was not notified yet and the value is below the threshold
    /// again: a notice of a value below the threshold would not explain itself.
    pub fn keep_cause(&mut self, changes: &[Change]) {
        let is_below = |it: Observation| it.value.zip(it.threshold).is_some_and(|it| it.0 < it.1);
        if self.began && self.ended_at.is_none() && is_below(self.observed) {
            let episode = Some(&self.episode);
            let mut changes = changes.iter();
            let first = changes.find(|change| change.episode.as_ref() == episode);
            self.observed = first.map_or(self.observed, |first| first.observed);
        }
    }
}

/// The episodes of a round: from the state before it, through its changes, to the state after it.
pub fn episode_progress(
    before: Option<&AlertState>,
    changes: &[Change],
    after: Option<&AlertState>,
) -> Vec<EpisodeProgress> {
    let mut episodes: Vec<EpisodeProgress> = Vec::new();
    episodes.extend(before.and_then(open_episode));
    for change in changes {
        let Some(episode) = &change.episode else {
            continue;
        };
        let severity = change.severity.unwrap_or(Severity::Warning);
        let stage = highest(&change.stages);
        let known = episodes.last_mut();
        match known.filter(|progress| progress.episode == *episode) {
            Some(progress) => {
                progress.severity = progress.severity.max(severity);
                if stage > progress.stage {
                    progress.stage = stage;
                }
                if change.ended {
                    progress.ended_at = Some(change.at);
                    progress.end = Some(change.observed);
                    progress.without_data = change.reason.is_some();
                    if !progress.began {
                        progress.observed = change.observed;
                        progress.unknown_reason = None;
                    }
                }
            }
            None => episodes.push(EpisodeProgress {
                began: true,
                stage,
                ..EpisodeProgress::new(episode.clone(), severity, change.observed)
            }),
        }
    }
    let last = episodes.last_mut();
    let last = last.filter(|progress| progress.ended_at.is_none());
    if let (Some(progress), Some(now)) = (last, after.and_then(open_episode)) {
        *progress = EpisodeProgress {
            began: progress.began,
            ..now
        };
    }
    episodes
}

pub fn open_episode(state: &AlertState) -> Option<EpisodeProgress> {
    let severity = state.severity.unwrap_or(Severity::Warning);
    let reason = state.reason.clone();
    Some(EpisodeProgress {
        stage: highest(&state.stages),
        is_suspended: matches!(state.status, AlertStatus::Recovering | AlertStatus::Unknown),
        unknown_reason: reason.filter(|_| state.observed.value.is_none()),
        ..EpisodeProgress::new(state.episode.clone()?, severity, state.observed)
    })
}

/// The times of a round in which the rule is UNKNOWN.
pub fn unknown_progress(
    alert: &AlertRef,
    before: Option<&AlertState>,
    changes: &[Change],
    after: Option<&AlertState>,
) -> Vec<EpisodeProgress> {
    let mut found: Vec<EpisodeProgress> = Vec::new();
    found.extend(before.and_then(|state| open_unknown(alert, state)));
    for change in changes {
        let last = found.last_mut().filter(|last| last.ended_at.is_none());
        match (last, change.to) {
            (Some(_), AlertStatus::Unknown) => {}
            (Some(last), _) => {
                last.ended_at = Some(change.at);
                last.observed = change.observed;
                last.unknown_reason = None;
            }
            (None, AlertStatus::Unknown) => {
                let episode = Episode::of_unknown(AlertKey::of(alert), change.at);
                let reason = change.reason.clone();
                found.push(EpisodeProgress {
                    began: true,
                    ..EpisodeProgress::unknown(episode, change.observed, reason)
                });
            }
            (None, _) => {}
        }
    }
    let last = found.last_mut().filter(|last| last.ended_at.is_none());
    if let (Some(last), Some(after)) = (last, after) {
        last.observed = after.observed;
        last.unknown_reason.clone_from(&after.reason);
    }
    found
}

pub fn open_unknown(alert: &AlertRef, state: &AlertState) -> Option<EpisodeProgress> {
    let episode = unknown_episode(alert, state)?;
    let reason = state.reason.clone();
    Some(EpisodeProgress::unknown(episode, state.observed, reason))
}

fn highest(stages: &[Stage]) -> Option<f64> {
    stages.last().map(|stage| stage.threshold)
}

#[derive(Clone, Copy, Debug)]
pub struct NotificationPolicy<'a> {
    pub now: DateTime<Utc>,
    /// The channels that are notified, and from which thresholds on.
    pub routes: &'a [Route],
    pub silenced: bool,
    pub acknowledged: bool,
    /// The reminder interval; zero sends no reminders.
    pub repeat: TimeDelta,
    pub limit_unit: Option<Unit>,
    /// Why the episode ends, if not by its value.
    pub end_reason: Option<EndReason>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Notifications {
    pub new: Vec<Notice>,
    /// The keys of notices that are not sent any more, because their episode has ended or was withdrawn, or because a
    /// silence held them back that has ended.
    pub dropped: Vec<String>,
}

impl Notifications {
    /// Adds the notices of an episode. `stored` holds those that exist already, in order.
    pub fn add(
        &mut self,
        alert: &AlertRef,
        progress: &EpisodeProgress,
        policy: NotificationPolicy<'_>,
        stored: &[&Notice],
    ) {
        let notified = stored.iter().map(|notice| &notice.channel);
        let routed = policy.routes.iter().map(|route| &route.channel);
        let channels: BTreeSet<&String> = notified.chain(routed).collect();
        for channel in channels {
            let of_channel = of_channel(stored, channel);
            let notifier = ChannelNotifier {
                alert,
                progress,
                policy,
                channel,
                route: policy.routes.iter().find(|it| it.channel == *channel),
                stored: &of_channel,
            };
            notifier.notify(self);
        }
    }

    /// Adds the notices of an episode that, by the current data, did not take place. `stored` holds those that exist.
    pub fn withdraw(&mut self, alert: &AlertRef, stored: &[&Notice], now: DateTime<Utc>) {
        let channels: BTreeSet<&String> = stored.iter().map(|notice| &notice.channel).collect();
        for channel in channels {
            let of_channel = of_channel(stored, channel);
            let is_unsent = |it: &&&Notice| is_pending(it) && !it.may_have_arrived();
            let unsent = of_channel.iter().filter(is_unsent);
            self.dropped.extend(unsent.map(|it| it.content.key.clone()));
            let sent = of_channel.iter().rev().find(|it| it.may_have_arrived());
            if let Some(last) = sent.filter(|last| !last.content.kind.is_last()) {
                self.new.push(withdrawal(alert, last, &of_channel, now));
            }
        }
    }
}

fn of_channel<'a>(stored: &[&'a Notice], channel: &str) -> Vec<&'a Notice> {
    let of_channel = stored.iter().filter(|notice| notice.channel == channel);
    of_channel.copied().collect()
}

fn is_end(notice: &Notice) -> bool {
    notice.content.kind.is_last() && !notice.is_superseded()
}

/// Whether it notifies of its episode at its level, be it open or over.
fn is_announcement(notice: &Notice) -> bool {
    let kind = notice.content.kind;
    !matches!(kind, NoticeKind::Resolved | NoticeKind::Known) && !notice.is_superseded()
}

fn is_pending(notice: &Notice) -> bool {
    matches!(notice.delivery, Delivery::Waiting | Delivery::Silenced)
}

/// The notice that the episode of `last` did not take place.
fn withdrawal(
    alert: &AlertRef,
    last: &Notice,
    of_channel: &[&Notice],
    now: DateTime<Utc>,
) -> Notice {
    let is_unknown = last.content.kind == NoticeKind::Unknown;
    let (kind, what) = match is_unknown {
        true => (NoticeKind::Known, "was known"),
        false => (NoticeKind::Resolved, "did not fire"),
    };
    let resolved = of_channel.iter().filter(|it| it.content.kind == kind);
    let number = i32::try_from(resolved.count() + 1).unwrap_or(i32::MAX);
    let fired_at = last.content.fired_at;
    let now = created_at(now, of_channel);
    let mut content = Content {
        key: key(&last.episode, fired_at, kind, number, &last.channel, None),
        kind,
        alert: alert.clone(),
        ended_at: Some(now),
        created_at: now,
        reason: Some(EndReason::DataChanged),
        note: Some(format!("its data changed: by the current data it {what}")),
        ..last.content.clone()
    };
    content.summary = summary(&content);
    Notice {
        episode: last.episode.clone(),
        ..Notice::new(content, number, &last.channel)
    }
}

/// The notices of one episode to one channel.
struct ChannelNotifier<'a> {
    alert: &'a AlertRef,
    progress: &'a EpisodeProgress,
    policy: NotificationPolicy<'a>,
    channel: &'a str,
    /// Which thresholds notify the channel; none if it is not notified any more.
    route: Option<&'a Route>,
    stored: &'a [&'a Notice],
}

impl ChannelNotifier<'_> {
    fn of_kind(&self, kind: NoticeKind) -> impl Iterator<Item = &Notice> {
        let stored = self.stored.iter().copied();
        stored.filter(move |notice| notice.content.kind == kind)
    }

    fn keys(&self, is_wanted: impl Fn(&Notice) -> bool) -> impl Iterator<Item = String> {
        let wanted = self.stored.iter().filter(move |it| is_wanted(it));
        wanted.map(|notice| notice.content.key.clone())
    }

    fn notify(&self, notifications: &mut Notifications) {
        // Late data may have reopened the episode since its last end.
        let end = self.stored.iter().rposition(|it| is_end(it));
        let (before, since) = self.stored.split_at(end.map_or(0, |end| end + 1));
        let notified_end = before
            .last()
            .filter(|_| since.iter().all(|it| it.is_superseded()));
        match (self.progress.ended_at, notified_end) {
            (Some(_), Some(_)) => {}
            (Some(_), None) => {
                let current = ChannelNotifier {
                    stored: since,
                    ..*self
                };
                current.end(notifications, self.stored);
            }
            (None, Some(end)) => self.reopen(notifications, end),
            (None, None) if self.route.is_some() => self.go_on(notifications),
            (None, None) => {}
        }
    }

    /// `all` are the notices of the channel; those in `stored` follow an earlier end.
    fn end(&self, notifications: &mut Notifications, all: &[&Notice]) {
        // A reminder may have been delivered although the first notice was not.
        let mut stored = self.stored.iter();
        let is_delivered = stored.any(|notice| notice.delivery == Delivery::Delivered);
        let is_unknown = self.progress.is_unknown;
        let is_undelivered = self
            .of_kind(NoticeKind::Firing)
            .any(|notice| notice.delivery == Delivery::Waiting || notice.is_lost());
        notifications.dropped.extend(self.keys(is_pending));
        let is_new = all.iter().all(|it| it.is_superseded()) && self.progress.began;
        let all = ChannelNotifier {
            stored: all,
            ..*self
        };
        if is_delivered {
            let kind = match is_unknown {
                true => NoticeKind::Known,
                false => NoticeKind::Resolved,
            };
            notifications.new.push(all.notice(kind));
        } else if (is_undelivered || is_new) && !is_unknown && !self.policy.silenced {
            let is_late = is_new && self.progress.late;
            let kind = if is_late {
                NoticeKind::Late
            } else {
                NoticeKind::Missed
            };
            notifications.new.push(all.notice(kind));
        }
    }

    /// The episode goes on, although `end` was or will be notified.
    fn reopen(&self, notifications: &mut Notifications, end: &Notice) {
        if is_pending(end) && !end.may_have_arrived() {
            notifications.dropped.push(end.content.key.clone());
            let others = self.stored.iter().copied();
            let others: Vec<&Notice> = others.filter(|it| *it != end).collect();
            let without_end = ChannelNotifier {
                stored: &others,
                ..*self
            };
            if self.route.is_some() {
                without_end.go_on(notifications);
            }
        } else if !self.policy.silenced && self.route.is_some() {
            let (kind, what) = match self.progress.is_unknown {
                true => (NoticeKind::Unknown, "is still unknown"),
                false => (NoticeKind::Reminder, "has not resolved"),
            };
            let mut notice = self.notice(kind);
            notice.content.note = Some(format!("it {what}: its data changed"));
            notice.content.summary = summary(&notice.content);
            notifications.new.push(notice);
        }
    }

    fn go_on(&self, notifications: &mut Notifications) {
        let is_held_back = |it: &Notice| !self.policy.silenced && it.delivery == Delivery::Silenced;
        notifications.dropped.extend(self.keys(is_held_back));
        let announced = self.stored.iter().filter(|it| is_announcement(it));
        let announced = announced.filter(|it| !is_held_back(it));
        let worst = announced.map(|it| (it.content.severity, it.content.level));
        let worst = worst.reduce(|a, b| (a.0.max(b.0), a.1.max(b.1)));
        let (severity, level) = self.reached();
        if worst.is_none_or(|worst| worst.0 < severity || worst.1 < level) {
            let kind = match self.progress.is_unknown {
                true => NoticeKind::Unknown,
                false => NoticeKind::Firing,
            };
            let mut notice = self.notice(kind);
            if self.policy.silenced {
                notice.delivery = Delivery::Silenced;
            }
            notifications.new.push(notice);
        } else if self.needs_reminder() {
            notifications.new.push(self.notice(NoticeKind::Reminder));
        }
    }

    fn needs_reminder(&self) -> bool {
        let NotificationPolicy {
            now,
            repeat,
            silenced,
            acknowledged,
            ..
        } = self.policy;
        if silenced || acknowledged || self.progress.is_suspended || repeat <= TimeDelta::zero() {
            return false;
        }
        // A notice that is still to be delivered makes a reminder superfluous.
        if self.stored.iter().any(|notice| is_pending(notice)) {
            return false;
        }
        let notified_at = |notice: &&Notice| {
            let delivered_at = notice.delivered_at.unwrap_or(notice.content.created_at);
            delivered_at.max(notice.content.created_at)
        };
        let last = self.stored.iter().map(notified_at).max();
        last.is_some_and(|last| now - last >= repeat)
    }

    /// The severity that the channel sees, and the number of its thresholds that are reached.
    fn reached(&self) -> (Severity, u32) {
        if self.progress.is_unknown {
            return (self.progress.severity, 0);
        }
        let last = self.stored.last().map_or(0, |last| last.content.level);
        let reached = self.route.map(|route| route.reached(self.progress.stage));
        reached.map_or((self.progress.severity, last), |(highest, level)| {
            (highest.severity, level)
        })
    }

    /// The values of a notice. The threshold is the highest one that is reached, or the one that was left.
    fn observed(&self, kind: NoticeKind) -> Observation {
        let (stage, is_end) = (self.progress.stage, kind == NoticeKind::Resolved);
        let observed = self.progress.end.filter(|_| is_end);
        let observed = observed.unwrap_or(self.progress.observed);
        let threshold = match self.route {
            // The channel is not notified any more: as it knows the threshold.
            None => {
                let known = self.stored.last().map(|it| it.content.observed.threshold);
                known.unwrap_or(observed.threshold)
            }
            Some(route) => {
                let shown = match kind.is_last() {
                    true => route.first(),
                    false => route.reached(stage).0,
                };
                match shown.stage() {
                    None if is_end || stage.is_none() => observed.threshold,
                    Some(value) if stage == Some(value) => {
                        observed.threshold.map(|it| it.max(value))
                    }
                    _ => Some(shown.value),
                }
            }
        };
        Observation {
            threshold,
            ..observed
        }
    }

    /// Why the episode ended, and the value that the channel knows of a limit or threshold that was changed.
    fn end_reason(&self, end: &Content) -> (EndReason, Option<String>) {
        if let Some(reason) = self.policy.end_reason {
            return (reason, None);
        }
        if self.progress.without_data {
            return (EndReason::NoData, None);
        }
        let mut known = self.stored.iter().rev().map(|notice| &notice.content);
        let known = known.find(|content| !content.kind.is_last());
        let Some((known, value)) = known.zip(end.observed.value) else {
            return (EndReason::Value, None);
        };
        let then = known.observed;
        let is_reached =
            |value: f64, threshold: Option<f64>| threshold.is_some_and(|it| value >= it);
        let limits = then.limit_value.zip(end.observed.limit_value);
        if let Some((before, now)) = limits.filter(|(before, now)| before != now) {
            // The value is a percentage of the limit.
            if is_reached(value * now / before, then.threshold) {
                let before = limit(before, known.limit_unit);
                return (
                    EndReason::LimitChanged,
                    Some(format!("the limit was {before}")),
                );
            }
        }
        if is_reached(value, end.observed.threshold) {
            // A channel without a route was notified from a threshold on that was removed.
            return match then.threshold == end.observed.threshold && self.route.is_some() {
                true => (EndReason::FewCalls, None),
                false => (EndReason::RuleChanged, None),
            };
        }
        match then.threshold.filter(|then| value >= *then) {
            Some(then) => {
                let before = super::wording::value(&end.alert, &end.observed, then);
                (
                    EndReason::RuleChanged,
                    Some(format!("the threshold was {before}")),
                )
            }
            None => (EndReason::Value, None),
        }
    }

    fn notice(&self, kind: NoticeKind) -> Notice {
        let progress = self.progress;
        let number = i32::try_from(self.of_kind(kind).count() + 1).unwrap_or(i32::MAX);
        let (episode, now) = (&progress.episode, created_at(self.policy.now, self.stored));
        // Receivers know the episode by its first id.
        let known = self.stored.last().map(|notice| &notice.content.episode);
        let late = progress.late.then_some(now);
        let (severity, level) = self.reached();
        let unit = self.stored.last().and_then(|it| it.content.limit_unit);
        let (id, fired_at) = (&episode.id, episode.fired_at);
        let key = key(id, fired_at, kind, number, self.channel, late);
        let known = known.unwrap_or(id).clone();
        let mut content = Content {
            severity,
            observed: self.observed(kind),
            limit_unit: self.policy.limit_unit.or(unit),
            unknown_reason: progress.unknown_reason.clone(),
            level,
            ended_at: progress.ended_at,
            created_at: now,
            note: late
                .map(|now| format!("found at {} in data that arrived late", format::time(now))),
            ..Content::new(kind, key, known, self.alert.clone(), fired_at)
        };
        if kind == NoticeKind::Known {
            content.reason = self.policy.end_reason;
        }
        if kind == NoticeKind::Resolved {
            let (reason, note) = self.end_reason(&content);
            content.reason = Some(reason);
            let notes: Vec<String> = content.note.take().into_iter().chain(note).collect();
            content.note = Some(notes.join("; ")).filter(|note| !note.is_empty());
        }
        content.summary = summary(&content);
        Notice {
            episode: episode.id.clone(),
            ..Notice::new(content, number, self.channel)
        }
    }
}

/// The time of a notice that follows `stored`: later than theirs, even if the clock was ahead.
fn created_at(now: DateTime<Utc>, stored: &[&Notice]) -> DateTime<Utc> {
    let last = stored.iter().map(|notice| notice.content.created_at).max();
    last.map_or(now, |last| now.max(last + TimeDelta::milliseconds(1)))
}

/// The key of a notice, derived from its episode: a notice that is decided again has the same key. One that is found
/// `late` also depends on when: its episode may have been found, withdrawn and found again.
fn key(
    episode: &str,
    fired_at: DateTime<Utc>,
    kind: NoticeKind,
    number: i32,
    channel: &str,
    late: Option<DateTime<Utc>>,
) -> String {
    let late = late.map_or(String::new(), |at| format!("|{}", at.timestamp_millis()));
    let facts = format!("{episode}|{kind}|{number}|{channel}{late}");
    id::derived(fired_at, facts.as_bytes()).to_string()
}

/// A delivered notice of an open episode with the current value, for a receiver that is sent it again.
pub fn refreshed(notice: &Notice, state: &AlertState) -> Notice {
    let mut notice = notice.clone();
    let content = &mut notice.content;
    content.observed = Observation {
        threshold: content.observed.threshold,
        ..state.observed
    };
    content.unknown_reason.clone_from(&state.reason);
    content.summary = summary(content);
    notice
}

/// The notice to a channel that rules were not evaluated in a period.
pub fn skipped(channel: &str, gap: Window, rules: usize, now: DateTime<Utc>) -> Notice {
    let rules = format::counted(rules as u64, "rule");
    let (from, to) = (format::time(gap.from), format::time(gap.to));
    let summary = format!(
        "SKIPPED: {rules} not evaluated from {from} to {to}, longer ago than the maximum catch-up time"
    );
    let (kind, found) = (NoticeKind::Skipped, Some(now));
    of_all_rules(channel, kind, (gap.from, Some(gap.to)), found, now, summary)
}

/// The notice to a channel that no API has calls; the same at each check.
pub fn outage(channel: &str, outage: Outage, now: DateTime<Utc>) -> Notice {
    let (kind, times) = (NoticeKind::Unknown, (outage.since, None));
    let summary = format!("UNKNOWN: {outage}");
    of_all_rules(channel, kind, times, None, now, summary)
}

/// A notice about all rules, of a period.
fn of_all_rules(
    channel: &str,
    kind: NoticeKind,
    (from, to): (DateTime<Utc>, Option<DateTime<Utc>>),
    found: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
    summary: String,
) -> Notice {
    let facts = kind.as_str().to_ascii_lowercase();
    let episode = id::derived(from, facts.as_bytes()).to_string();
    let key = key(&episode, from, kind, 1, channel, found);
    let alert = AlertRef::of_all_rules("EVALUATION");
    let content = Content {
        ended_at: to,
        created_at: now,
        summary,
        ..Content::new(kind, key, episode, alert, from)
    };
    Notice::new(content, 1, channel)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::delivery::DropReason;
    use crate::domain::alert::rule::{AlertType, Rule, Threshold};
    use crate::domain::period::Period;
    use crate::domain::testing::at_minute as at;

    const KEY: AlertKey<'static> = AlertKey {
        alert_id: "rule",
        api_name: "finnhub",
    };

    fn progress(began: bool, ended: Option<i64>) -> EpisodeProgress {
        let episode = Episode::new(KEY, at(0));
        let observed = observed(82.5, 80.0, 60.0);
        EpisodeProgress {
            began,
            ended_at: ended.map(at),
            ..EpisodeProgress::new(episode, Severity::Warning, observed)
        }
    }

    fn observed(value: f64, threshold: f64, limit_value: f64) -> Observation {
        Observation {
            value: Some(value),
            threshold: Some(threshold),
            limit_value: Some(limit_value),
        }
    }

    /// A rule with thresholds of 80, 90 and, critical, 100.
    fn rule() -> Rule {
        let mut rule = Rule::new("finnhub", AlertType::RateLimitWarning, Period::Minute, 80.0);
        rule.settings.higher = vec![
            Threshold::sample(90.0, Severity::Warning, &[]),
            Threshold::sample(100.0, Severity::Critical, &[]),
        ];
        rule
    }

    /// The episode goes on with a threshold above the lowest reached.
    fn at_stage(value: f64) -> EpisodeProgress {
        EpisodeProgress {
            stage: Some(value),
            severity: match value < 100.0 {
                true => Severity::Warning,
                false => Severity::Critical,
            },
            observed: observed(value + 1.0, value, 60.0),
            ..continues()
        }
    }

    fn begins() -> EpisodeProgress {
        progress(true, None)
    }

    fn continues() -> EpisodeProgress {
        progress(false, None)
    }

    fn ends(minute: i64) -> EpisodeProgress {
        progress(false, Some(minute))
    }

    /// A rule with one channel, and the notices so far.
    struct Story {
        channels: Vec<&'static str>,
        silenced: bool,
        acknowledged: bool,
        so_far: Vec<Notice>,
    }

    impl Story {
        fn new() -> Story {
            Story {
                channels: vec!["ops"],
                silenced: false,
                acknowledged: false,
                so_far: Vec::new(),
            }
        }

        /// An episode whose first notice was delivered.
        fn firing() -> Story {
            let mut story = Story::new();
            story.run_and_deliver(0, &begins());
            story
        }

        /// One round, saved.
        fn run(&mut self, minute: i64, progress: &EpisodeProgress) -> Notifications {
            let routes = self.channels.iter();
            let routes: Vec<Route> = routes.map(|it| Route::whole(&rule(), it)).collect();
            let policy = NotificationPolicy {
                now: at(minute),
                routes: &routes,
                silenced: self.silenced,
                acknowledged: self.acknowledged,
                repeat: TimeDelta::hours(1),
                limit_unit: Some(Unit::Calls),
                end_reason: None,
            };
            let mut notifications = Notifications::default();
            let so_far: Vec<&Notice> = self.so_far.iter().collect();
            notifications.add(&AlertRef::sample(), progress, policy, &so_far);
            for notice in &mut self.so_far {
                if notifications.dropped.contains(&notice.content.key) {
                    notice.drop_for(DropReason::Superseded);
                }
            }
            self.so_far.extend(notifications.new.clone());
            notifications
        }

        /// One round, after which all waiting notices are delivered.
        fn run_and_deliver(&mut self, minute: i64, progress: &EpisodeProgress) {
            self.run(minute, progress);
            for notice in &mut self.so_far {
                if notice.delivery == Delivery::Waiting {
                    notice.delivery = Delivery::Delivered;
                    notice.delivered_at = Some(at(minute));
                }
            }
        }

        /// The delivered notices, in order.
        fn delivered(&self) -> impl Iterator<Item = &Notice> {
            let notices = self.so_far.iter();
            notices.filter(|notice| notice.delivery == Delivery::Delivered)
        }

        fn arrived(&self) -> Vec<NoticeKind> {
            self.delivered().map(|notice| notice.content.kind).collect()
        }
    }

    use NoticeKind::{Firing, Missed, Reminder, Resolved};

    #[test]
    fn episode_fires_once_reminds_each_hour_and_resolves_once() {
        let mut story = Story::firing();
        for minute in 1..130 {
            story.run_and_deliver(minute, &continues());
        }
        story.run_and_deliver(130, &ends(130));
        assert_eq!(story.run(131, &ends(130)), Notifications::default());
        assert_eq!(story.arrived(), [Firing, Reminder, Reminder, Resolved]);
        let keys = story.so_far.iter().map(|notice| &notice.content.key);
        assert_eq!(keys.collect::<BTreeSet<_>>().len(), 4);
    }

    #[test]
    fn lost_firing_is_replaced_by_missed_at_the_end() {
        let lost = || {
            let mut story = Story::new();
            story.run(0, &begins());
            story.so_far[0].drop_for(DropReason::GaveUp);
            story.so_far[0].attempts = 20;
            story
        };
        let mut story = lost();
        story.run_and_deliver(9, &ends(9));
        assert_eq!(story.arrived(), [Missed]);

        let mut story = lost();
        story.run_and_deliver(60, &continues());
        story.run_and_deliver(70, &ends(70));
        assert_eq!(story.arrived(), [Reminder, Resolved]);
    }

    #[test]
    fn undelivered_firing_becomes_one_missed() {
        let mut story = Story::new();
        story.run(0, &begins());
        assert_eq!(story.run(100, &continues()), Notifications::default());
        story.run_and_deliver(120, &ends(119));
        assert_eq!(story.arrived(), [Missed]);
        assert_eq!(
            story.so_far[1].content.summary,
            "MISSED: finnhub 82.5 % of 60 calls per minute, threshold 80 %; fired from \
             2026-01-31T12:00:00Z to 2026-01-31T13:59:00Z and has resolved"
        );
    }

    #[test]
    fn resolved_is_sent_during_a_silence_if_firing_was_delivered() {
        let mut story = Story::firing();
        story.silenced = true;
        story.run_and_deliver(20, &ends(19));
        assert_eq!(story.arrived(), [Firing, Resolved]);
    }

    #[test]
    fn higher_threshold_of_equal_severity_fires_once_more() {
        let mut story = Story::firing();
        for (minute, progress) in [at_stage(90.0), continues(), at_stage(90.0), at_stage(100.0)]
            .iter()
            .enumerate()
        {
            story.run_and_deliver(minute as i64 + 1, progress);
        }
        assert_eq!(story.arrived(), [Firing, Firing, Firing]);
        let contents = story.delivered().map(|it| &it.content);
        let sent = contents.map(|it| (it.level, it.severity, it.observed.threshold));
        let expected = [
            (1, Severity::Warning, Some(80.0)),
            (2, Severity::Warning, Some(90.0)),
            (3, Severity::Critical, Some(100.0)),
        ];
        assert_eq!(sent.collect::<Vec<_>>(), expected);
        // The end has the threshold that was left.
        let mut end = ends(9);
        (end.stage, end.observed) = (Some(100.0), observed(10.0, 80.0, 60.0));
        story.run_and_deliver(9, &end);
        let resolved = &story.so_far[3].content;
        assert_eq!(resolved.reason, Some(EndReason::Value));
        assert_eq!(
            resolved.summary,
            "RESOLVED: finnhub 10 % of 60 calls per minute, threshold 80 %: the value fell below the threshold; \
             fired from 2026-01-31T12:00:00Z to 2026-01-31T12:09:00Z"
        );
    }

    #[test]
    fn acknowledged_silenced_or_recovering_episode_sends_no_reminder() {
        let recovering = EpisodeProgress {
            is_suspended: true,
            ..continues()
        };
        for (acknowledged, silenced, progress) in [
            (true, false, continues()),
            (false, true, continues()),
            (false, false, recovering),
        ] {
            let mut story = Story::firing();
            (story.acknowledged, story.silenced) = (acknowledged, silenced);
            assert_eq!(story.run(90, &progress), Notifications::default());
        }
    }

    #[test]
    fn end_in_a_silence_is_sent_neither_in_it_nor_after_it() {
        // Of an episode that began before the silence and was not delivered, in it, and between two rounds.
        for (began_in_silence, end) in [
            (Some(false), ends(19)),
            (Some(true), ends(19)),
            (None, progress(true, Some(19))),
        ] {
            let mut story = Story::new();
            if let Some(silenced) = began_in_silence {
                story.silenced = silenced;
                story.run(0, &begins());
            }
            story.silenced = true;
            assert_eq!(story.run(20, &end).new, []);
            story.silenced = false;
            story.run_and_deliver(30, &ends(19));
            assert_eq!(story.arrived(), []);
        }
    }

    #[test]
    fn rise_that_is_over_when_its_silence_ends_is_sent_when_it_comes_again() {
        let mut story = Story::firing();
        story.silenced = true;
        story.run_and_deliver(10, &at_stage(100.0));
        story.silenced = false;
        story.run_and_deliver(20, &continues());
        assert_eq!(story.arrived(), [Firing]);
        story.run_and_deliver(21, &at_stage(100.0));
        assert_eq!(story.arrived(), [Firing, Firing]);
        let keys = story.so_far.iter().map(|notice| &notice.content.key);
        assert_eq!(keys.collect::<BTreeSet<_>>().len(), story.so_far.len());
    }

    #[test]
    fn resolved_has_the_reason_of_the_end() {
        for (observed, reason, note) in [
            (
                observed(9.166, 80.0, 600.0),
                EndReason::LimitChanged,
                Some("the limit was 60 calls"),
            ),
            // It would have resolved by the old limit as well.
            (observed(1.0, 80.0, 600.0), EndReason::Value, None),
            (
                observed(82.0, 95.0, 60.0),
                EndReason::RuleChanged,
                Some("the threshold was 80 %"),
            ),
            (observed(82.0, 80.0, 60.0), EndReason::FewCalls, None),
        ] {
            let end = EpisodeProgress {
                observed,
                ..ends(9)
            };
            let resolved = Story::firing().run(9, &end).new.remove(0).content;
            let found = (resolved.reason, resolved.note.as_deref());
            assert_eq!(found, (Some(reason), note));
        }
    }

    #[test]
    fn removed_channel_gets_the_end_and_new_channel_gets_firing() {
        let mut story = Story::firing();
        story.channels = vec!["new"];
        story.run_and_deliver(1, &continues());
        story.run_and_deliver(2, &ends(2));
        let arrived = story.delivered().map(|it| (&*it.channel, it.content.kind));
        let firing = [("ops", Firing), ("new", Firing)];
        let resolved = [("new", Resolved), ("ops", Resolved)];
        assert_eq!(arrived.collect::<Vec<_>>(), [firing, resolved].concat());
    }

    #[test]
    fn round_holds_end_of_one_episode_and_start_of_another() {
        let observed = |value: i64| Observation {
            value: Some(value as f64),
            ..Observation::default()
        };
        let episode = |fired| Some(Episode::new(KEY, at(fired)));
        let state = |fired| AlertState {
            episode: episode(fired),
            observed: observed(90),
            ..AlertState::sample(AlertStatus::Firing, at(0))
        };
        let change = |minute, fired, ended| Change {
            at: at(minute),
            from: None,
            to: match ended {
                true => AlertStatus::Ok,
                false => AlertStatus::Firing,
            },
            severity: None,
            episode: episode(fired),
            stages: Vec::new(),
            ended,
            observed: observed(minute),
            reason: None,
        };
        let changes = [
            change(11, 0, true),
            change(12, 12, false),
            change(13, 12, true),
            change(14, 14, false),
        ];
        let found = episode_progress(Some(&state(0)), &changes, Some(&state(14)));
        let found = found.iter().map(|it| (it.began, it.ended_at, it.observed));
        let expected = [
            (false, Some(at(11)), observed(11)),
            (true, Some(at(13)), observed(12)),
            (true, None, observed(90)),
        ];
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }
}
