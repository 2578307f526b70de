//! The notification policy: which notices follow from what a round found.
//!
//! Each channel is notified depending on its earlier notices: FIRING once, and again when the severity rises; a
//! REMINDER after each `--repeat`; RESOLVED at the end, if FIRING was delivered. A channel that was sent nothing
//! when an episode ends gets one notice: MISSED, or LATE if its data arrived late. A silence holds FIRING back; if the
//! rule still fires when the silence ends, the notice is released.
//!
//! Late data may also reopen an episode whose end was notified, which sends a REMINDER, or show that an episode did not
//! take place, which sends RESOLVED.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

use super::delivery::{Delivery, Notice};
use super::notice::{CONTENT_SCHEMA, Content, NoticeKind};
use super::rule::{ALL_APIS, AlertRef, AlertType, Severity};
use super::state::{AlertState, AlertStatus, Change, Episode, Observation};
use crate::domain::period::Window;
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
    pub recovering: bool,
    /// At the last step; at the first if it began and ended in this round.
    pub observed: Observation,
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
        let known = episodes.last_mut();
        match known.filter(|progress| progress.episode == *episode) {
            Some(progress) => {
                progress.severity = progress.severity.max(severity);
                if change.ended {
                    progress.ended_at = Some(change.at);
                    if !progress.began {
                        progress.observed.value = change.observed.value;
                    }
                }
            }
            None => episodes.push(EpisodeProgress {
                episode: episode.clone(),
                began: true,
                late: false,
                ended_at: None,
                severity,
                recovering: false,
                observed: change.observed,
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
    Some(EpisodeProgress {
        episode: state.episode.clone()?,
        began: false,
        late: false,
        ended_at: None,
        severity: state.severity.unwrap_or(Severity::Warning),
        recovering: state.status == AlertStatus::Recovering,
        observed: state.observed,
    })
}

/// How a rule notifies in a round.
#[derive(Clone, Copy, Debug)]
pub struct NotificationPolicy<'a> {
    pub now: DateTime<Utc>,
    pub channels: &'a [String],
    pub silenced: bool,
    pub acknowledged: bool,
    /// The reminder interval; zero sends no reminders.
    pub repeat: TimeDelta,
}

/// The notices to be saved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Notifications {
    pub new: Vec<Notice>,
    /// The keys of notices that a silence held back and that are sent now.
    pub released: Vec<String>,
    /// The keys of notices that are not sent any more, because their episode has ended or was withdrawn.
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
        let channels: BTreeSet<&String> = notified.chain(policy.channels).collect();
        for channel in channels {
            let of_channel = of_channel(stored, channel);
            let notifier = ChannelNotifier {
                alert,
                progress,
                policy,
                channel,
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

/// Whether it announces its episode, be it open or over.
fn is_announcement(notice: &Notice) -> bool {
    let kind = notice.content.kind;
    kind != NoticeKind::Reminder && kind != NoticeKind::Resolved && !notice.is_superseded()
}

/// Whether it is still to be sent.
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
    let kind = NoticeKind::Resolved;
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
        note: Some("its data changed: by the current data it did not fire".to_owned()),
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
            (None, None) if self.is_in_use() => self.go_on(notifications),
            (None, None) => {}
        }
    }

    /// `all` are the notices of the channel; those in `stored` follow an earlier end.
    fn end(&self, notifications: &mut Notifications, all: &[&Notice]) {
        // A reminder may have been delivered although the first notice was not.
        let mut stored = self.stored.iter();
        let is_delivered = stored.any(|notice| notice.delivery == Delivery::Delivered);
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
            notifications.new.push(all.notice(NoticeKind::Resolved));
        } else if (is_undelivered || is_new) && !self.policy.silenced {
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
            if self.is_in_use() {
                without_end.go_on(notifications);
            }
        } else if !self.policy.silenced && self.is_in_use() {
            let mut notice = self.notice(NoticeKind::Reminder);
            notice.content.note = Some("it has not resolved: its data changed".to_owned());
            notice.content.summary = summary(&notice.content);
            notifications.new.push(notice);
        }
    }

    /// Whether the rule still notifies the channel.
    fn is_in_use(&self) -> bool {
        self.policy.channels.iter().any(|it| it == self.channel)
    }

    fn go_on(&self, notifications: &mut Notifications) {
        if !self.policy.silenced {
            let held_back = self.keys(|notice| notice.delivery == Delivery::Silenced);
            notifications.released.extend(held_back);
        }
        let announced = self.stored.iter().filter(|it| is_announcement(it));
        let worst = announced.map(|notice| notice.content.severity).max();
        if worst.is_none_or(|worst| worst < self.progress.severity) {
            let mut notice = self.notice(NoticeKind::Firing);
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
        if silenced || acknowledged || self.progress.recovering || repeat <= TimeDelta::zero() {
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

    fn notice(&self, kind: NoticeKind) -> Notice {
        let ChannelNotifier {
            alert, progress, ..
        } = self;
        let number = i32::try_from(self.of_kind(kind).count() + 1).unwrap_or(i32::MAX);
        let (episode, now) = (&progress.episode, created_at(self.policy.now, self.stored));
        // Receivers know the episode by its first id.
        let known = self.stored.last().map(|notice| &notice.content.episode);
        let late = progress.late.then_some(now);
        let mut content = Content {
            schema: CONTENT_SCHEMA,
            key: key(
                &episode.id,
                episode.fired_at,
                kind,
                number,
                self.channel,
                late,
            ),
            kind,
            episode: known.unwrap_or(&episode.id).clone(),
            alert: (*alert).clone(),
            severity: progress.severity,
            observed: progress.observed,
            fired_at: episode.fired_at,
            ended_at: progress.ended_at,
            created_at: now,
            note: late
                .map(|now| format!("found at {} in data that arrived late", format::time(now))),
            summary: String::new(),
        };
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

/// The notice to a channel that rules were not evaluated in a period.
pub fn skipped(channel: &str, gap: Window, rules: usize, now: DateTime<Utc>) -> Notice {
    let episode = id::derived(gap.from, b"skipped").to_string();
    let rules = format::counted(rules as u64, "rule");
    let (from, to) = (format::time(gap.from), format::time(gap.to));
    let late = Some(now);
    let content = Content {
        schema: CONTENT_SCHEMA,
        key: key(&episode, gap.from, NoticeKind::Skipped, 1, channel, late),
        kind: NoticeKind::Skipped,
        episode,
        alert: AlertRef {
            alert_id: "usagectl".to_owned(),
            api_name: ALL_APIS.to_owned(),
            alert_type: "EVALUATION".to_owned(),
            period: String::new(),
        },
        severity: Severity::Warning,
        observed: Observation::default(),
        fired_at: gap.from,
        ended_at: Some(gap.to),
        created_at: now,
        note: None,
        summary: format!(
            "SKIPPED: {rules} not evaluated from {from} to {to}, longer ago than the maximum catch-up time"
        ),
    };
    Notice::new(content, 1, channel)
}

/// The notice in one sentence.
fn summary(content: &Content) -> String {
    let AlertRef {
        api_name, period, ..
    } = &content.alert;
    let alert_type = AlertType::named(&content.alert.alert_type);
    let shown = |value: Option<f64>| match (value, &alert_type) {
        (None, _) => "unknown".to_owned(),
        (Some(value), AlertType::RateLimitWarning) => format::percent(value),
        (Some(value), _) => format::number(value),
    };
    let observed = content.observed;
    let [value, threshold] = [observed.value, observed.threshold].map(shown);
    let finding = match &alert_type {
        AlertType::RateLimitWarning => {
            let limit = observed.limit_value;
            let limit = limit.map_or(String::new(), |it| format!(" of {}", format::number(it)));
            format!("{value} of the limit{limit} per {period}, threshold {threshold}")
        }
        AlertType::CostThreshold => format!("{value} credits per {period}, threshold {threshold}"),
        AlertType::ErrorSpike => {
            format!("{value} failed calls per {period}, threshold {threshold}")
        }
        AlertType::Other(name) => format!("{name} {value} per {period}, threshold {threshold}"),
    };
    let fired = format::time(content.fired_at);
    let ended = content
        .ended_at
        .map_or_else(|| format::DASH.to_owned(), format::time);
    let severity = content.severity;
    let text = match content.kind {
        NoticeKind::Firing => format!("{severity}: {api_name} {finding}, firing since {fired}"),
        NoticeKind::Reminder => {
            format!("{severity} (reminder): {api_name} {finding}, firing since {fired}")
        }
        NoticeKind::Resolved => {
            format!("RESOLVED: {api_name} {finding}; fired from {fired} to {ended}")
        }
        kind @ (NoticeKind::Missed | NoticeKind::Late | NoticeKind::Skipped) => {
            format!("{kind}: {api_name} {finding}; fired from {fired} to {ended} and has resolved")
        }
    };
    match &content.note {
        Some(note) => format!("{text}; {note}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::delivery::DropReason;
    use crate::domain::testing::at_minute as at;

    fn progress(began: bool, ended: Option<i64>) -> EpisodeProgress {
        EpisodeProgress {
            episode: Episode::new("rule", "finnhub", at(0)),
            began,
            late: false,
            ended_at: ended.map(at),
            severity: Severity::Warning,
            recovering: false,
            observed: Observation {
                value: Some(82.5),
                threshold: Some(80.0),
                limit_value: Some(60.0),
            },
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
        channels: Vec<String>,
        silenced: bool,
        acknowledged: bool,
        so_far: Vec<Notice>,
    }

    impl Story {
        fn new() -> Story {
            Story {
                channels: vec!["ops".to_owned()],
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
            let policy = NotificationPolicy {
                now: at(minute),
                channels: &self.channels,
                silenced: self.silenced,
                acknowledged: self.acknowledged,
                repeat: TimeDelta::hours(1),
            };
            let mut notifications = Notifications::default();
            let so_far: Vec<&Notice> = self.so_far.iter().collect();
            notifications.add(&AlertRef::sample(), progress, policy, &so_far);
            for notice in &mut self.so_far {
                if notifications.released.contains(&notice.content.key) {
                    notice.delivery = Delivery::Waiting;
                }
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
    fn acknowledged_episode_sends_no_reminder() {
        let mut story = Story::firing();
        story.acknowledged = true;
        assert_eq!(story.run(90, &continues()), Notifications::default());
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
            "MISSED: finnhub 82.5% of the limit of 60 per MINUTE, threshold 80.0%; fired from \
             2026-01-31T12:00:00Z to 2026-01-31T13:59:00Z and has resolved"
        );
    }

    #[test]
    fn episode_between_two_rounds_is_one_missed() {
        let mut story = Story::new();
        story.run_and_deliver(10, &progress(true, Some(3)));
        assert_eq!(story.arrived(), [Missed]);
    }

    #[test]
    fn firing_is_sent_when_its_silence_ends() {
        let mut story = Story::new();
        story.silenced = true;
        story.run_and_deliver(0, &begins());
        assert_eq!(story.run(90, &continues()), Notifications::default());
        assert_eq!(story.arrived(), []);
        story.silenced = false;
        story.run_and_deliver(100, &continues());
        story.run_and_deliver(120, &ends(120));
        assert_eq!(story.arrived(), [Firing, Resolved]);
    }

    #[test]
    fn episode_within_a_silence_is_never_sent() {
        let mut story = Story::new();
        story.silenced = true;
        story.run(0, &begins());
        story.run(20, &ends(19));
        story.silenced = false;
        story.run_and_deliver(30, &ends(19));
        assert_eq!(story.arrived(), []);
    }

    #[test]
    fn resolved_is_sent_during_a_silence_if_firing_was_delivered() {
        let mut story = Story::firing();
        story.silenced = true;
        story.run_and_deliver(20, &ends(19));
        assert_eq!(story.arrived(), [Firing, Resolved]);
    }

    #[test]
    fn rise_to_critical_fires_once_more() {
        let mut story = Story::new();
        for minute in 0..10 {
            let mut progress = continues();
            if minute % 2 == 1 {
                progress.severity = Severity::Critical;
            }
            story.run_and_deliver(minute, &progress);
        }
        assert_eq!(story.arrived(), [Firing, Firing]);
        assert_eq!(story.so_far[1].number, 2);
    }

    #[test]
    fn removed_channel_gets_the_end_and_new_channel_gets_firing() {
        let mut story = Story::firing();
        story.channels = vec!["new".to_owned()];
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
        let state = |fired, minute| AlertState {
            status: AlertStatus::Firing,
            since: at(0),
            severity: Some(Severity::Warning),
            episode: Some(Episode::new("rule", "finnhub", at(fired))),
            evaluated_to: at(minute),
            observed: observed(90),
            reason: None,
        };
        let change = |minute, fired, ended| Change {
            at: at(minute),
            from: Some(AlertStatus::Ok),
            to: if ended {
                AlertStatus::Ok
            } else {
                AlertStatus::Firing
            },
            severity: Some(Severity::Warning),
            episode: Some(Episode::new("rule", "finnhub", at(fired))),
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
        let found = episode_progress(Some(&state(0, 10)), &changes, Some(&state(14, 20)));
        let found = found.iter().map(|it| (it.began, it.ended_at, it.observed));
        let expected = [
            (false, Some(at(11)), observed(11)),
            (true, Some(at(13)), observed(12)),
            (true, None, observed(90)),
        ];
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn nothing_is_sent_during_a_silence() {
        // A reminder of a delivered notice.
        let mut story = Story::firing();
        story.silenced = true;
        assert_eq!(story.run(90, &continues()), Notifications::default());
        // The end of an episode whose notice was never delivered, and of one within a round.
        let mut story = Story::new();
        story.run(0, &begins());
        story.silenced = true;
        assert_eq!(story.run(9, &ends(9)).new, []);
        let mut story = Story::new();
        story.silenced = true;
        assert_eq!(story.run(9, &progress(true, Some(3))).new, []);
    }

    #[test]
    fn recovering_rule_sends_no_reminder() {
        let recovering = EpisodeProgress {
            recovering: true,
            ..continues()
        };
        let sent = Story::firing().run(90, &recovering);
        assert_eq!(sent, Notifications::default());
    }

    #[test]
    fn unknown_threshold_stays_unknown() {
        let mut unknown = begins();
        (unknown.observed.value, unknown.observed.threshold) = (None, None);
        let notice = Story::new().run(0, &unknown).new.remove(0);
        assert_eq!(notice.content.observed.threshold, None);
        assert_eq!(
            notice.content.summary,
            "WARNING: finnhub unknown of the limit of 60 per MINUTE, threshold unknown, firing since \
             2026-01-31T12:00:00Z"
        );
    }
}
