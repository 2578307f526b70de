//! What is told to whom: the notices that follow from what a run found.
//!
//! An episode is told of to each channel by itself, by what that channel was told before: FIRING once, and once
//! more when it becomes critical; a REMINDER each time the rule's `--repeat` has gone by; RESOLVED at the end,
//! to whom FIRING was delivered. Whoever was told nothing yet when it ends gets one notice, MISSED. A silence
//! holds FIRING back: if it still fires when the silence is over, the notice is let go then.

use crate::domain::named::Named;
use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

use super::delivery::{Delivery, Notice};
use super::event::AlertRef;
use super::notice::{CONTENT_SCHEMA, Content, NoticeKind};
use super::rule::{AlertType, Severity};
use super::state::{AlertState, AlertStatus, Change, Episode};
use crate::domain::format;
use crate::domain::id;

/// The part of an episode that a run saw.
#[derive(Clone, Debug, PartialEq)]
pub struct EpisodeProgress {
    pub episode: Episode,
    /// Whether it began in this run.
    pub began: bool,
    /// When it ended, if it did.
    pub ended_at: Option<DateTime<Utc>>,
    /// How bad it is, or was at worst if it ended.
    pub severity: Severity,
    /// Whether it is fading: below the threshold, not yet for long enough.
    pub recovering: bool,
    /// What was measured last; if it began and ended in this run, what it began with.
    pub value: Option<f64>,
    /// From where on it fires.
    pub threshold: Option<f64>,
    pub limit_value: Option<f64>,
}

/// The episodes that a run saw something of: from where the rule stood before, over what changed, to where it
/// stands after.
pub fn episode_progress(
    before: Option<&AlertState>,
    changes: &[Change],
    after: Option<&AlertState>,
) -> Vec<EpisodeProgress> {
    let mut episode_progress: Vec<EpisodeProgress> = Vec::new();
    if let Some(state) = before {
        episode_progress.extend(progress(state, false));
    }
    for change in changes {
        let Some(episode) = &change.episode else {
            continue;
        };
        let severity = change.severity.unwrap_or(Severity::Warning);
        let known = episode_progress.last_mut();
        match known.filter(|progress| progress.episode == *episode) {
            Some(progress) => {
                progress.severity = progress.severity.max(severity);
                if change.ended {
                    progress.ended_at = Some(change.at);
                    if !progress.began {
                        progress.value = change.value;
                    }
                }
            }
            None => episode_progress.push(EpisodeProgress {
                episode: episode.clone(),
                began: true,
                ended_at: None,
                severity,
                recovering: false,
                value: change.value,
                threshold: change.threshold,
                limit_value: change.limit_value,
            }),
        }
    }
    if let (Some(progress), Some(now)) = (
        episode_progress
            .last_mut()
            .filter(|progress| progress.ended_at.is_none()),
        after.and_then(|after| progress(after, false)),
    ) {
        *progress = EpisodeProgress {
            began: progress.began,
            ..now
        };
    }
    episode_progress
}

/// The episode that lasts where a rule stands.
pub fn progress(state: &AlertState, began: bool) -> Option<EpisodeProgress> {
    Some(EpisodeProgress {
        episode: state.episode.clone()?,
        began,
        ended_at: None,
        severity: state.severity.unwrap_or(Severity::Warning),
        recovering: state.status == AlertStatus::Recovering,
        value: state.value,
        threshold: state.threshold,
        limit_value: state.limit_value,
    })
}

/// How a rule speaks at the moment of a run.
#[derive(Clone, Copy, Debug)]
pub struct NotificationPolicy<'a> {
    pub now: DateTime<Utc>,
    /// The channels it speaks through.
    pub channels: &'a [String],
    /// Whether a silence is on it.
    pub silenced: bool,
    /// Whether somebody said that they know.
    pub acknowledged: bool,
    /// How often it reminds; never, if this is zero.
    pub repeat: TimeDelta,
}

/// What is to be written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Notifications {
    pub new: Vec<Notice>,
    /// The keys of those that were held back and are let go.
    pub released: Vec<String>,
    /// The keys of those that are not to be sent any more, because the episode is over.
    pub dropped: Vec<String>,
}

impl Notifications {
    /// Says what is to be told of an episode. `so_far` holds all that was told of it.
    pub fn tell(
        &mut self,
        alert: &AlertRef,
        progress: &EpisodeProgress,
        policy: NotificationPolicy<'_>,
        so_far: &[Notice],
    ) {
        let of_episode = |notice: &&Notice| notice.content.episode == progress.episode.id;
        let so_far: Vec<&Notice> = so_far.iter().filter(of_episode).collect();
        let spoken_to = so_far.iter().map(|notice| &notice.channel);
        let channels: BTreeSet<&String> = spoken_to.chain(policy.channels).collect();
        for channel in channels {
            let so_far = so_far.iter().filter(|notice| notice.channel == *channel);
            let so_far: Vec<&Notice> = so_far.copied().collect();
            let speech = ChannelNotifier {
                alert,
                progress,
                policy,
                channel,
                so_far: &so_far,
            };
            if so_far.iter().any(|notice| notice.content.kind.is_last()) {
                continue;
            }
            match progress.ended_at {
                Some(_) => speech.end(self),
                None if policy.channels.contains(channel) => speech.go_on(self),
                None => {}
            }
        }
    }
}

/// What one channel is told of one episode.
struct ChannelNotifier<'a> {
    alert: &'a AlertRef,
    progress: &'a EpisodeProgress,
    policy: NotificationPolicy<'a>,
    channel: &'a str,
    so_far: &'a [&'a Notice],
}

impl ChannelNotifier<'_> {
    fn of(&self, kind: NoticeKind) -> impl Iterator<Item = &Notice> {
        let so_far = self.so_far.iter().copied();
        so_far.filter(move |notice| notice.content.kind == kind)
    }

    fn end(&self, told: &mut Notifications) {
        // A reminder may have arrived where the first notice did not.
        let delivered = self
            .so_far
            .iter()
            .any(|notice| notice.delivery == Delivery::Delivered);
        let undelivered = self
            .of(NoticeKind::Firing)
            .any(|notice| notice.delivery == Delivery::Waiting || notice.is_lost());
        let open = self
            .so_far
            .iter()
            .filter(|notice| matches!(notice.delivery, Delivery::Waiting | Delivery::Silenced));
        told.dropped
            .extend(open.map(|notice| notice.content.key.clone()));
        let unheard_of = self.so_far.is_empty() && self.progress.began;
        if delivered {
            told.new.push(self.notice(NoticeKind::Resolved));
        } else if (undelivered || unheard_of) && !self.policy.silenced {
            told.new.push(self.notice(NoticeKind::Missed));
        }
    }

    fn go_on(&self, told: &mut Notifications) {
        let held_back = |notice: &&&Notice| notice.delivery == Delivery::Silenced;
        if !self.policy.silenced {
            let held_back = self.so_far.iter().filter(held_back);
            told.released
                .extend(held_back.map(|notice| notice.content.key.clone()));
        }
        let severities = self
            .of(NoticeKind::Firing)
            .map(|notice| notice.content.severity);
        let worst = severities.max();
        if worst.is_none_or(|worst| worst < self.progress.severity) {
            let mut notice = self.notice(NoticeKind::Firing);
            if self.policy.silenced {
                notice.delivery = Delivery::Silenced;
            }
            told.new.push(notice);
        } else if self.is_to_be_reminded() {
            told.new.push(self.notice(NoticeKind::Reminder));
        }
    }

    fn is_to_be_reminded(&self) -> bool {
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
        // Whoever has not got the last one yet needs no other.
        let undelivered =
            |notice: &&Notice| matches!(notice.delivery, Delivery::Waiting | Delivery::Silenced);
        if self.so_far.iter().any(undelivered) {
            return false;
        }
        let told_at = |notice: &&Notice| {
            let delivered_at = notice.delivered_at.unwrap_or(notice.content.created_at);
            delivered_at.max(notice.content.created_at)
        };
        let last = self.so_far.iter().map(told_at).max();
        last.is_some_and(|last| now - last >= repeat)
    }

    fn notice(&self, kind: NoticeKind) -> Notice {
        let ChannelNotifier {
            alert, progress, ..
        } = self;
        let number = i32::try_from(self.of(kind).count() + 1).unwrap_or(i32::MAX);
        let mut content = Content {
            schema: CONTENT_SCHEMA,
            key: key(&progress.episode, kind, number, self.channel),
            kind,
            episode: progress.episode.id.clone(),
            alert_id: alert.alert_id.clone(),
            api_name: alert.api_name.clone(),
            alert_type: alert.alert_type.clone(),
            period: alert.period.clone(),
            severity: progress.severity,
            value: progress.value,
            threshold: progress.threshold,
            limit_value: progress.limit_value,
            fired_at: progress.episode.fired_at,
            ended_at: progress.ended_at,
            created_at: self.policy.now,
            summary: String::new(),
        };
        content.summary = summary(&content);
        Notice::new(content, number, self.channel)
    }
}

/// The key of a notice: the same whoever writes it. The episode stands for the rule and the API.
fn key(episode: &Episode, kind: NoticeKind, number: i32, channel: &str) -> String {
    let facts = format!("{}|{}|{number}|{channel}", episode.id, kind.as_str());
    id::derived(episode.fired_at, facts.as_bytes()).to_string()
}

/// One line for people.
fn summary(content: &Content) -> String {
    let Content {
        api_name, period, ..
    } = content;
    let shown = |value: Option<f64>| value.map_or_else(|| "unknown".to_owned(), brief);
    let (value, threshold) = (shown(content.value), shown(content.threshold));
    let finding = match AlertType::named(&content.alert_type) {
        AlertType::RateLimitWarning => {
            let limit = content
                .limit_value
                .map_or_else(String::new, |limit| format!(" of {}", brief(limit)));
            format!("{value}% of the limit{limit} per {period}, threshold {threshold}%")
        }
        AlertType::CostThreshold => {
            format!("{value} credits per {period}, threshold {threshold}")
        }
        AlertType::ErrorSpike => {
            format!("{value} failed calls per {period}, threshold {threshold}")
        }
        AlertType::Other(name) => format!("{name} {value} per {period}, threshold {threshold}"),
    };
    let fired = format::time(content.fired_at);
    let ended = content
        .ended_at
        .map_or_else(|| "?".to_owned(), format::time);
    let severity = &content.severity;
    match content.kind {
        NoticeKind::Firing => format!("{severity}: {api_name} {finding}, since {fired}"),
        NoticeKind::Reminder => format!("still {severity}: {api_name} {finding}, since {fired}"),
        NoticeKind::Resolved => {
            format!("RESOLVED: {api_name} {finding}; it fired from {fired} to {ended}")
        }
        NoticeKind::Missed => {
            format!("MISSED: {api_name} {finding}; it fired from {fired} to {ended}, and is over")
        }
    }
}

/// A number as people say it: not more than two digits behind the point.
pub fn brief(number: f64) -> String {
    if number.abs() >= 1e15 {
        return format!("{number:e}");
    }
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::delivery::DropReason;

    fn at(minute: i64) -> DateTime<Utc> {
        let start: DateTime<Utc> = "2026-01-31T12:00:00Z".parse().unwrap();
        start + TimeDelta::minutes(minute)
    }

    fn alert() -> AlertRef {
        AlertRef {
            alert_id: "rule".to_owned(),
            api_name: "finnhub".to_owned(),
            alert_type: "RATE_LIMIT_WARNING".to_owned(),
            period: "MINUTE".to_owned(),
        }
    }

    fn progress(began: bool, ended: Option<i64>) -> EpisodeProgress {
        EpisodeProgress {
            episode: Episode::new("rule", "finnhub", at(0)),
            began,
            ended_at: ended.map(at),
            severity: Severity::Warning,
            recovering: false,
            value: Some(82.5),
            threshold: Some(80.0),
            limit_value: Some(60.0),
        }
    }

    /// A rule with one channel, and what its receiver got so far.
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

        /// One run: what it decides, written down.
        fn run(&mut self, minute: i64, progress: &EpisodeProgress) -> Notifications {
            let policy = NotificationPolicy {
                now: at(minute),
                channels: &self.channels,
                silenced: self.silenced,
                acknowledged: self.acknowledged,
                repeat: TimeDelta::hours(1),
            };
            let mut told = Notifications::default();
            told.tell(&alert(), progress, policy, &self.so_far);
            for notice in &mut self.so_far {
                if told.released.contains(&notice.content.key) {
                    notice.delivery = Delivery::Waiting;
                }
                if told.dropped.contains(&notice.content.key) {
                    notice.delivery = Delivery::Dropped;
                    notice.drop_reason = Some(DropReason::Superseded);
                }
            }
            self.so_far.extend(told.new.clone());
            told
        }

        /// Whatever waits arrives.
        fn deliver(&mut self, minute: i64) {
            for notice in &mut self.so_far {
                if notice.delivery == Delivery::Waiting {
                    notice.delivery = Delivery::Delivered;
                    notice.delivered_at = Some(at(minute));
                }
            }
        }

        /// The kinds of what arrived, in order.
        fn arrived(&self) -> Vec<NoticeKind> {
            let arrived = self
                .so_far
                .iter()
                .filter(|notice| notice.delivery == Delivery::Delivered);
            arrived.map(|notice| notice.content.kind).collect()
        }
    }

    use NoticeKind::{Firing, Missed, Reminder, Resolved};

    #[test]
    fn an_episode_is_told_once_reminded_of_each_hour_and_resolved_once() {
        let mut story = Story::new();
        for minute in 0..130 {
            story.run(minute, &progress(minute == 0, None));
            story.deliver(minute);
        }
        story.run(130, &progress(false, Some(130)));
        story.deliver(130);
        // However often it is looked at, over is over.
        assert_eq!(
            story.run(131, &progress(false, Some(130))),
            Notifications::default()
        );
        assert_eq!(story.arrived(), [Firing, Reminder, Reminder, Resolved]);
        let keys: BTreeSet<_> = story
            .so_far
            .iter()
            .map(|notice| &notice.content.key)
            .collect();
        assert_eq!(keys.len(), 4);
    }

    #[test]
    fn a_notice_that_is_lost_is_made_up_for_when_it_is_over() {
        let give_up = |story: &mut Story| {
            story.so_far[0].delivery = Delivery::Dropped;
            story.so_far[0].drop_reason = Some(DropReason::GaveUp);
            story.so_far[0].attempts = 20;
        };
        let mut story = Story::new();
        story.run(0, &progress(true, None));
        give_up(&mut story);
        story.run(9, &progress(false, Some(9)));
        story.deliver(9);
        assert_eq!(story.arrived(), [Missed]);

        let mut story = Story::new();
        story.run(0, &progress(true, None));
        give_up(&mut story);
        story.run(60, &progress(false, None));
        story.deliver(60);
        story.run(70, &progress(false, Some(70)));
        story.deliver(70);
        assert_eq!(story.arrived(), [Reminder, Resolved]);
    }

    #[test]
    fn who_knows_is_not_reminded() {
        let mut story = Story::new();
        story.run(0, &progress(true, None));
        story.deliver(0);
        story.acknowledged = true;
        assert_eq!(
            story.run(90, &progress(false, None)),
            Notifications::default()
        );
    }

    #[test]
    fn what_never_arrived_while_it_fired_becomes_one_notice() {
        let mut story = Story::new();
        story.run(0, &progress(true, None));
        // No reminder of what has not arrived.
        assert_eq!(
            story.run(100, &progress(false, None)),
            Notifications::default()
        );
        story.run(120, &progress(false, Some(119)));
        story.deliver(121);
        assert_eq!(story.arrived(), [Missed]);
        let missed = &story.so_far[1].content;
        assert_eq!(
            missed.summary,
            "MISSED: finnhub 82.5% of the limit of 60 per MINUTE, threshold 80%; it fired from \
             2026-01-31T12:00:00Z to 2026-01-31T13:59:00Z, and is over"
        );
    }

    #[test]
    fn an_episode_between_two_runs_is_one_notice() {
        let mut story = Story::new();
        story.run(10, &progress(true, Some(3)));
        story.deliver(10);
        assert_eq!(story.arrived(), [Missed]);
    }

    #[test]
    fn what_still_fires_after_a_silence_is_told_then() {
        let mut story = Story::new();
        story.silenced = true;
        story.run(0, &progress(true, None));
        story.deliver(0);
        assert_eq!(
            story.run(90, &progress(false, None)),
            Notifications::default()
        );
        assert_eq!(story.arrived(), []);
        story.silenced = false;
        story.run(100, &progress(false, None));
        story.deliver(100);
        story.run(120, &progress(false, Some(120)));
        story.deliver(120);
        assert_eq!(story.arrived(), [Firing, Resolved]);
    }

    #[test]
    fn what_a_silence_outlasts_is_never_told() {
        let mut story = Story::new();
        story.silenced = true;
        story.run(0, &progress(true, None));
        story.run(20, &progress(false, Some(19)));
        story.silenced = false;
        story.run(30, &progress(false, Some(19)));
        story.deliver(30);
        assert_eq!(story.arrived(), []);
    }

    #[test]
    fn a_resolve_follows_its_firing_into_a_silence() {
        let mut story = Story::new();
        story.run(0, &progress(true, None));
        story.deliver(0);
        story.silenced = true;
        story.run(20, &progress(false, Some(19)));
        story.deliver(20);
        assert_eq!(story.arrived(), [Firing, Resolved]);
    }

    #[test]
    fn what_becomes_critical_is_told_again_once() {
        let mut story = Story::new();
        let critical = EpisodeProgress {
            severity: Severity::Critical,
            ..progress(false, None)
        };
        for minute in 0..10 {
            let progress = if minute % 2 == 1 {
                &critical
            } else {
                &progress(false, None)
            };
            story.run(minute, progress);
            story.deliver(minute);
        }
        assert_eq!(story.arrived(), [Firing, Firing]);
        assert_eq!(story.so_far[1].number, 2);
    }

    #[test]
    fn a_channel_that_the_rule_no_longer_has_is_told_the_end_and_a_new_one_what_lasts() {
        let mut story = Story::new();
        story.run(0, &progress(true, None));
        story.deliver(0);
        story.channels = vec!["new".to_owned()];
        story.run(1, &progress(false, None));
        story.deliver(1);
        story.run(2, &progress(false, Some(2)));
        story.deliver(2);
        let arrived: Vec<_> = story
            .so_far
            .iter()
            .map(|notice| (&*notice.channel, notice.content.kind))
            .collect();
        assert_eq!(
            arrived,
            [
                ("ops", Firing),
                ("new", Firing),
                ("new", Resolved),
                ("ops", Resolved)
            ]
        );
    }

    #[test]
    fn a_run_sees_the_end_of_one_episode_and_the_beginning_of_another() {
        let state = |episode: Option<i64>, minute| AlertState {
            status: AlertStatus::Firing,
            since: at(0),
            severity: episode.map(|_| Severity::Warning),
            episode: episode.map(|fired| Episode::new("rule", "finnhub", at(fired))),
            evaluated_to: at(minute),
            value: Some(90.0),
            limit_value: None,
            threshold: None,
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
            value: Some(minute as f64),
            threshold: None,
            limit_value: None,
            reason: None,
        };
        let changes = [
            change(11, 0, true),
            change(12, 12, false),
            change(13, 12, true),
            change(14, 14, false),
        ];
        let before = state(Some(0), 10);
        let after = state(Some(14), 20);
        let episode_progress = episode_progress(Some(&before), &changes, Some(&after));
        let ends: Vec<_> = episode_progress
            .iter()
            .map(|progress| (progress.began, progress.ended_at))
            .collect();
        assert_eq!(
            ends,
            [(false, Some(at(11))), (true, Some(at(13))), (true, None)]
        );
        let values: Vec<_> = episode_progress
            .iter()
            .map(|progress| progress.value)
            .collect();
        assert_eq!(values, [Some(11.0), Some(12.0), Some(90.0)]);
    }

    #[test]
    fn numbers_are_said_briefly() {
        let said = [80.0, 82.456, 0.5, 100.0, 0.0, 1e20].map(brief);
        assert_eq!(said, ["80", "82.46", "0.5", "100", "0", "1e20"]);
    }
}
