//! A replay of a rule over past data: every step evaluated, with one channel that always accepts notices.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::delivery::{Delivery, Notice};
use super::evaluate::{ApiUsage, RuleTarget};
use super::event::{Event, EventKind};
use super::notice::NoticeKind;
use super::notification_policy::{
    EpisodeProgress, NotificationPolicy, Notifications, episode_progress, unknown_progress,
};
use super::route::Route;
use super::rule::{AlertRef, Severity};
use super::state::{AlertState, AlertStatus};

#[derive(Clone, Debug, PartialEq)]
pub struct PastEpisode {
    pub id: String,
    pub api_name: String,
    pub fired_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    /// The highest severity.
    pub severity: Severity,
    /// The highest value.
    pub peak: Option<f64>,
}

impl PastEpisode {
    /// How long it fired, up to `to` if it is still open.
    pub fn lasted(&self, to: DateTime<Utc>) -> TimeDelta {
        self.ended_at.unwrap_or(to) - self.fired_at
    }
}

#[derive(Debug, Default)]
pub struct ReplayResult {
    pub episodes: Vec<PastEpisode>,
    pub events: Vec<Event>,
    pub notices: BTreeMap<NoticeKind, u64>,
    pub unknown_steps: u64,
}

/// One rule and API, replayed step by step.
#[derive(Debug)]
pub struct Replay<'a> {
    target: RuleTarget<'a>,
    alert: AlertRef,
    routes: [Route; 1],
    state: Option<AlertState>,
    so_far: Vec<Notice>,
    pub result: ReplayResult,
}

impl<'a> Replay<'a> {
    pub fn new(target: RuleTarget<'a>) -> Replay<'a> {
        Replay {
            alert: AlertRef::new(target.rule, target.api_name),
            target,
            routes: [Route::whole(target.rule, "backtest")],
            state: None,
            so_far: Vec::new(),
            result: ReplayResult::default(),
        }
    }

    pub fn target(&self) -> RuleTarget<'a> {
        self.target
    }

    pub fn step(&mut self, at: DateTime<Utc>, usage: &ApiUsage) {
        let before = self.state.take();
        let (after, changes) = self.target.advance(before.clone(), [at], usage);
        let changed = changes.iter();
        let events = changed.map(|change| Event::of_change(self.alert.clone(), change, at));
        self.result.events.extend(events);
        let is_unknown = |state: &AlertState| state.status == AlertStatus::Unknown;
        self.result.unknown_steps += u64::from(after.as_ref().is_some_and(is_unknown));
        for progress in episode_progress(before.as_ref(), &changes, after.as_ref()) {
            if progress.began {
                self.result.episodes.push(PastEpisode {
                    id: progress.episode.id.clone(),
                    api_name: self.target.api_name.to_owned(),
                    fired_at: progress.episode.fired_at,
                    ended_at: None,
                    severity: progress.severity,
                    peak: None,
                });
            }
            if let Some(past) = self.result.episodes.last_mut() {
                past.ended_at = progress.ended_at;
                past.severity = past.severity.max(progress.severity);
                past.peak = greater(past.peak, progress.observed.value);
            }
            self.notify(&progress, at);
        }
        for progress in unknown_progress(&self.alert, before.as_ref(), &changes, after.as_ref()) {
            self.notify(&progress, at);
        }
        self.state = after;
    }

    fn notify(&mut self, progress: &EpisodeProgress, at: DateTime<Utc>) {
        let policy = NotificationPolicy {
            now: at,
            routes: &self.routes,
            silenced: false,
            acknowledged: false,
            repeat: self.target.rule.repeat(),
            limit_unit: self.target.limit_unit(),
            end_reason: None,
        };
        let is_of_episode = |notice: &&Notice| notice.episode == progress.episode.id;
        let so_far: Vec<&Notice> = self.so_far.iter().filter(is_of_episode).collect();
        let mut notifications = Notifications::default();
        notifications.add(&self.alert, progress, policy, &so_far);
        if progress.ended_at.is_some() {
            self.so_far
                .retain(|notice| notice.episode != progress.episode.id);
        }
        for mut notice in notifications.new {
            *self.result.notices.entry(notice.content.kind).or_default() += 1;
            notice.delivery = Delivery::Delivered;
            notice.delivered_at = Some(at);
            if progress.ended_at.is_none() {
                self.so_far.push(notice);
            }
        }
    }
}

/// The greater of two numbers that may be unknown.
fn greater(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.into_iter().chain(b).reduce(f64::max)
}

/// The episodes of recorded events, in order; an episode whose start is missing is left out.
pub fn recorded_episodes(events: &[Event]) -> Vec<PastEpisode> {
    let mut episodes: Vec<PastEpisode> = Vec::new();
    for event in events.iter().filter(|it| it.withdrawn_at.is_none()) {
        let Some(id) = &event.episode else {
            continue;
        };
        match episodes.iter_mut().find(|past| past.id == *id) {
            Some(past) => {
                past.severity = past
                    .severity
                    .max(event.severity.unwrap_or(Severity::Warning));
                past.peak = greater(past.peak, event.observed.value);
                let settled = event.kind == EventKind::Settled;
                if event.to_state == Some(AlertStatus::Ok) || settled {
                    past.ended_at = Some(event.at);
                }
            }
            None if event.to_state == Some(AlertStatus::Firing) => episodes.push(PastEpisode {
                id: id.clone(),
                api_name: event.alert.api_name.clone(),
                fired_at: event.at,
                ended_at: None,
                severity: event.severity.unwrap_or(Severity::Warning),
                peak: event.observed.value,
            }),
            None => {}
        }
    }
    episodes
}
