//! Delivery of notices: which are due, in which order, when a failed one is tried again, and when it is dropped.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};

use super::notice::Content;
use crate::domain::named::named;

named! {
    Delivery, "delivery state" {
        Waiting = "WAITING",
        Delivered = "DELIVERED",
        /// Held back until a silence ends.
        Silenced = "SILENCED",
        Dropped = "DROPPED",
    }
}

named! {
    DropReason, "drop reason" {
        /// Its channel was removed.
        NoChannel = "NO_CHANNEL",
        /// The episode ended before the notice was sent; the end is a notice of its own.
        Superseded = "SUPERSEDED",
        /// Too many attempts failed.
        GaveUp = "GAVE_UP",
    }
}

/// A notice for one channel, and its delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    pub content: Content,
    /// The episode by the current data. Receivers see [`Content::episode`], which stays the same.
    pub episode: String,
    /// Sequence number of its kind within the episode, from 1.
    pub number: i32,
    pub channel: String,
    pub delivery: Delivery,
    pub attempts: i32,
    pub next_attempt_at: DateTime<Utc>,
    pub delivered_at: Option<DateTime<Utc>>,
    /// The reason of the last failed attempt.
    pub error: Option<String>,
    pub drop_reason: Option<DropReason>,
}

impl Notice {
    /// A notice that is due at once.
    pub fn new(content: Content, number: i32, channel: &str) -> Notice {
        Notice {
            episode: content.episode.clone(),
            number,
            channel: channel.to_owned(),
            delivery: Delivery::Waiting,
            attempts: 0,
            next_attempt_at: content.created_at,
            delivered_at: None,
            error: None,
            drop_reason: None,
            content,
        }
    }

    pub fn drop_for(&mut self, reason: DropReason) {
        self.delivery = Delivery::Dropped;
        self.drop_reason = Some(reason);
    }

    /// Whether it was dropped although its receiver should have got it.
    pub fn is_lost(&self) -> bool {
        self.delivery == Delivery::Dropped && !self.is_superseded()
    }

    /// Whether it was dropped because a later notice replaces it.
    pub fn is_superseded(&self) -> bool {
        self.drop_reason == Some(DropReason::Superseded)
    }

    /// Whether it may be sent now. The first attempt never waits.
    pub fn is_due(&self, now: DateTime<Utc>) -> bool {
        self.attempts == 0 || !is_in_future(self.next_attempt_at, now)
    }

    /// Whether a run is sending it: its attempt is counted and has no result yet. False after `next_attempt_at`, since
    /// the run may have died.
    pub fn is_in_flight(&self, now: DateTime<Utc>) -> bool {
        self.delivery == Delivery::Waiting
            && self.attempts > 0
            && self.error.is_none()
            && is_in_future(self.next_attempt_at, now)
    }

    /// Whether its receiver has it or may have it: an attempt may have succeeded without being recorded.
    pub fn may_have_arrived(&self) -> bool {
        self.delivery == Delivery::Delivered || self.attempts > 0
    }
}

#[derive(Debug)]
pub struct Failure {
    pub reason: String,
    /// What the receiver answered; shown under `-v` and not stored.
    pub detail: Option<String>,
    /// Whether other notices to the channel would fail too.
    pub channel_is_down: bool,
    /// How long the receiver asks not to be called, at most [`LONGEST_RETRY_AFTER`].
    pub retry_after: Option<TimeDelta>,
}

impl Failure {
    pub fn of_channel(reason: impl ToString) -> Failure {
        Failure {
            reason: reason.to_string(),
            detail: None,
            channel_is_down: true,
            retry_after: None,
        }
    }

    pub fn of_notice(reason: impl ToString) -> Failure {
        Failure {
            channel_is_down: false,
            ..Failure::of_channel(reason)
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    Send,
    Drop(DropReason),
    /// It or its channel is not due, an earlier notice of its episode waits, or its channel failed in this run.
    Wait,
}

/// The decisions of one delivery run. Notices of an episode reach a channel in order: while one waits or is in
/// flight, those after it wait too. A channel that is down is tried once in a run.
#[derive(Debug)]
pub struct DeliveryRun {
    now: DateTime<Utc>,
    max_attempts: i32,
    /// Whether notices are sent before their next attempt is due.
    force: bool,
    /// The channels, and the time before which each accepts nothing.
    channels: BTreeMap<String, Option<DateTime<Utc>>>,
    superseded: BTreeSet<String>,
    /// Channel and episode of notices that still wait.
    blocked: BTreeSet<(String, String)>,
    /// Channel and episode of notices that another run is sending.
    in_flight: BTreeSet<(String, String)>,
    /// The channels that failed, with the reason.
    pub failures: BTreeMap<String, String>,
    /// The channels that rejected a notice, with the reason.
    pub rejections: BTreeMap<String, String>,
}

impl DeliveryRun {
    pub fn new(
        waiting: &[Notice],
        channels: impl IntoIterator<Item = (String, Option<DateTime<Utc>>)>,
        now: DateTime<Utc>,
        max_attempts: i32,
        force: bool,
    ) -> DeliveryRun {
        DeliveryRun {
            now,
            max_attempts,
            force,
            channels: channels.into_iter().collect(),
            superseded: superseded(waiting, now),
            blocked: BTreeSet::new(),
            in_flight: BTreeSet::new(),
            failures: BTreeMap::new(),
            rejections: BTreeMap::new(),
        }
    }

    pub fn next_step(&self, notice: &Notice) -> NextStep {
        if self.superseded.contains(&notice.content.key) {
            return NextStep::Drop(DropReason::Superseded);
        }
        if !self.channels.contains_key(&notice.channel) {
            return NextStep::Drop(DropReason::NoChannel);
        }
        let is_due = notice.is_due(self.now) && self.accepts(&notice.channel);
        let can_send = (self.force || is_due) && !notice.is_in_flight(self.now);
        if can_send && self.is_unblocked(notice) {
            NextStep::Send
        } else {
            NextStep::Wait
        }
    }

    /// Whether a channel accepts requests now, or `--force` sends them before it does.
    pub fn accepts(&self, channel: &str) -> bool {
        let not_before = self.channels.get(channel).copied().flatten();
        self.force || not_before.is_none_or(|at| !is_postponed(at, self.now))
    }

    /// Whether its channel has not failed in this run and no earlier notice of its episode waits.
    pub fn is_unblocked(&self, notice: &Notice) -> bool {
        !self.failures.contains_key(&notice.channel)
            && !self.blocked.contains(&episode_on_channel(notice))
    }

    pub fn postpone(&mut self, channel: &str, at: DateTime<Utc>) {
        self.channels.insert(channel.to_owned(), Some(at));
    }

    /// The earliest time of the next attempt, of the notice and of its channel.
    pub fn next_attempt_at(&self, notice: &Notice) -> DateTime<Utc> {
        let not_before = self.channels.get(&notice.channel).copied().flatten();
        let postponed = not_before.filter(|at| is_postponed(*at, self.now));
        postponed.map_or(notice.next_attempt_at, |at| notice.next_attempt_at.max(at))
    }

    /// Counts an attempt, before it is made: a run that dies in it has counted it.
    pub fn count_attempt(&self, notice: &mut Notice) {
        notice.attempts = notice.attempts.saturating_add(1);
        let wait = backoff(&notice.content.key, notice.attempts);
        notice.next_attempt_at = later(self.now, wait);
    }

    /// Records the result of an attempt, at the time `at`.
    pub fn record_attempt(
        &mut self,
        notice: &mut Notice,
        result: Result<(), &Failure>,
        at: DateTime<Utc>,
    ) {
        let Err(failure) = result else {
            notice.delivery = Delivery::Delivered;
            notice.delivered_at = Some(at);
            notice.error = None;
            return;
        };
        notice.error = Some(failure.reason.clone());
        if let Some(wait) = failure.retry_after {
            notice.next_attempt_at = notice.next_attempt_at.max(later(at, wait));
        }
        if notice.attempts >= self.max_attempts {
            notice.drop_for(DropReason::GaveUp);
        }
        let (channel, reason) = (notice.channel.clone(), failure.reason.clone());
        if failure.channel_is_down {
            self.failures.insert(channel, reason);
        } else {
            self.rejections.insert(channel, reason);
        }
    }

    /// Records that a channel cannot be used in this run.
    pub fn fail_channel(&mut self, channel: &str, reason: &str) {
        self.failures.insert(channel.to_owned(), reason.to_owned());
    }

    /// Closes a notice: while it waits, so do those after it.
    pub fn finish(&mut self, notice: &Notice) {
        if notice.delivery == Delivery::Waiting {
            self.blocked.insert(episode_on_channel(notice));
        }
        if notice.is_in_flight(self.now) {
            self.leave_to_other_run(notice);
        }
    }

    /// Leaves a notice, and those after it, to another run that is sending it.
    pub fn leave_to_other_run(&mut self, notice: &Notice) {
        self.blocked.insert(episode_on_channel(notice));
        self.in_flight.insert(episode_on_channel(notice));
    }

    /// Whether another run is sending it or an earlier notice of its episode.
    pub fn is_left_to_other_run(&self, notice: &Notice) -> bool {
        self.in_flight.contains(&episode_on_channel(notice))
    }
}

fn episode_on_channel(notice: &Notice) -> (String, String) {
    (notice.channel.clone(), notice.content.episode.clone())
}

/// An instant after another, or the last there is.
pub fn later(at: DateTime<Utc>, by: TimeDelta) -> DateTime<Utc> {
    at.checked_add_signed(by)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

const FIRST_WAIT_MS: i64 = 30_000;

const LONGEST_WAIT: TimeDelta = TimeDelta::hours(1);

/// The longest `Retry-After` that is obeyed.
pub const LONGEST_RETRY_AFTER: TimeDelta = TimeDelta::hours(24);

/// A longer wait means that the clock was set back. It includes the duration of the run that set the wait.
pub const CLOCK_WAS_SET_BACK: TimeDelta = TimeDelta::minutes(65);

/// Whether an attempt must wait until `at`.
fn is_in_future(at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    at > now && at - now <= CLOCK_WAS_SET_BACK
}

/// Whether a channel accepts nothing until `at`.
fn is_postponed(at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    at > now && at - now <= LONGEST_RETRY_AFTER + (CLOCK_WAS_SET_BACK - LONGEST_WAIT)
}

/// The wait after a number of failed attempts: it doubles each time, up to an hour, and lies between a half and
/// all of that. The key decides where, so that notices that failed together are not tried again together.
pub fn backoff(key: &str, attempts: i32) -> TimeDelta {
    let doublings = u32::try_from(attempts - 1).unwrap_or(0).min(16);
    let whole = (FIRST_WAIT_MS << doublings).min(LONGEST_WAIT.num_milliseconds());
    let hash = Sha256::new_with_prefix(key.as_bytes())
        .chain_update(attempts.to_be_bytes())
        .finalize();
    let part = i64::from(u16::from_be_bytes([hash[0], hash[1]]));
    let half = whole / 2;
    TimeDelta::milliseconds(half + half * part / i64::from(u16::MAX))
}

/// The keys of notices whose episode has ended since: the end is a notice of its own, and a resolved rule must not
/// begin to fire. One in flight may have arrived already.
fn superseded(waiting: &[Notice], now: DateTime<Utc>) -> BTreeSet<String> {
    let last = waiting.iter().filter(|it| it.content.kind.is_last());
    let mut ended: BTreeMap<_, DateTime<Utc>> = BTreeMap::new();
    for notice in last {
        let at = ended.entry(episode_on_channel(notice)).or_default();
        *at = notice.content.created_at.max(*at);
    }
    let is_ended = |it: &&Notice| {
        let ended = ended.get(&episode_on_channel(it));
        ended.is_some_and(|at| it.content.created_at <= *at)
    };
    waiting
        .iter()
        .filter(|it| !it.content.kind.is_last() && is_ended(it))
        .filter(|it| !it.is_in_flight(now))
        .map(|notice| notice.content.key.clone())
        .collect()
}

/// Whether a dropped notice still matters: the end of an episode always does; a firing one while its episode is
/// `open` and its channel was not notified of the end. `of_episode` holds all notices of the episode.
pub fn is_worth_retrying(notice: &Notice, of_episode: &[Notice], open: &BTreeSet<String>) -> bool {
    let place = episode_on_channel(notice);
    let has_end = || {
        let mut others = of_episode.iter();
        others.any(|it| it.content.kind.is_last() && episode_on_channel(it) == place)
    };
    notice.content.kind.is_last() || (open.contains(&notice.episode) && !has_end())
}

/// The last delivered notice of each episode that still fires, from the notices of one channel in order.
pub fn still_firing<'a>(notices: &[&'a Notice]) -> Vec<&'a Notice> {
    let mut firing: BTreeMap<&str, &Notice> = BTreeMap::new();
    for notice in notices {
        let episode = notice.content.episode.as_str();
        if notice.content.kind.is_last() {
            firing.remove(episode);
        } else if notice.delivery == Delivery::Delivered {
            firing.insert(episode, notice);
        }
    }
    firing.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::notice::{NoticeKind, sample};

    fn notice(key: &str, kind: NoticeKind, episode: &str, channel: &str) -> Notice {
        let content = Content {
            key: key.to_owned(),
            episode: episode.to_owned(),
            ..sample(kind)
        };
        Notice::new(content, 1, channel)
    }

    #[test]
    fn notice_is_due_after_its_wait_and_when_the_clock_was_set_back() {
        let at = |minute| sample(NoticeKind::Firing).created_at + TimeDelta::minutes(minute);
        let tried = Notice {
            attempts: 1,
            next_attempt_at: at(10),
            ..notice("a", NoticeKind::Firing, "1", "x")
        };
        let due = [-56, -55, 9, 10, 11].map(|minute| tried.is_due(at(minute)));
        assert_eq!(due, [true, false, false, true, true]);
        let new = Notice {
            attempts: 0,
            ..tried
        };
        assert!(new.is_due(at(0)));
    }

    #[test]
    fn notice_in_flight_blocks_its_episode_and_is_not_superseded() {
        let first = notice("a", NoticeKind::Firing, "1", "x");
        let created_at = first.content.created_at;
        let mut notices = [
            Notice {
                attempts: 1,
                next_attempt_at: created_at + TimeDelta::minutes(1),
                ..first
            },
            notice("b", NoticeKind::Resolved, "1", "x"),
        ];
        let mut early = run(&notices, 0);
        early.force = true;
        assert_eq!(early.next_step(&notices[0]), NextStep::Wait);
        early.finish(&notices[0]);
        assert_eq!(early.next_step(&notices[1]), NextStep::Wait);
        assert!(early.is_left_to_other_run(&notices[1]));
        // The run has died.
        let superseded = NextStep::Drop(DropReason::Superseded);
        assert_eq!(run(&notices, 1).next_step(&notices[0]), superseded);
        // It has failed.
        notices[0].error = Some("no".to_owned());
        assert_eq!(run(&notices, 0).next_step(&notices[0]), superseded);
    }

    #[test]
    fn channel_that_asked_to_wait_gets_no_notice_before() {
        let notices = [notice("a", NoticeKind::Firing, "1", "x")];
        let mut run = run(&notices, 0);
        let at = |minutes| notices[0].content.created_at + TimeDelta::minutes(minutes);
        run.postpone("x", at(30));
        assert_eq!(run.next_step(&notices[0]), NextStep::Wait);
        assert_eq!(run.next_attempt_at(&notices[0]), at(30));
        // The clock was set back.
        run.postpone("x", at(24 * 60 + 6));
        assert_eq!(run.next_step(&notices[0]), NextStep::Send);
        run.postpone("x", at(30));
        run.force = true;
        assert_eq!(run.next_step(&notices[0]), NextStep::Send);
    }

    #[test]
    fn failure_blocks_the_episode_of_the_notice_or_its_channel() {
        let notices = [
            notice("a", NoticeKind::Firing, "1", "x"),
            notice("b", NoticeKind::Reminder, "1", "x"),
            notice("c", NoticeKind::Firing, "2", "x"),
            notice("d", NoticeKind::Firing, "1", "y"),
        ];
        let (send, wait) = (NextStep::Send, NextStep::Wait);
        for (failure, expected) in [
            (Failure::of_notice("refused"), [wait, send, send]),
            (Failure::of_channel("no route"), [wait, wait, send]),
        ] {
            let mut run = run(&notices, 0);
            let (mut first, at) = (notices[0].clone(), notices[0].content.created_at);
            run.count_attempt(&mut first);
            run.record_attempt(&mut first, Err(&failure), at);
            run.finish(&first);
            let steps = notices.each_ref().map(|notice| run.next_step(notice));
            assert_eq!(steps[1..], expected);
        }
    }

    #[test]
    fn dropped_end_and_dropped_notice_of_open_episode_are_retried() {
        let open = BTreeSet::from(["1".to_owned(), "2".to_owned()]);
        let family = [
            notice("a", NoticeKind::Firing, "1", "x"),
            notice("b", NoticeKind::Firing, "2", "x"),
            notice("c", NoticeKind::Missed, "2", "x"),
            notice("d", NoticeKind::Firing, "3", "x"),
        ];
        let worth = family
            .iter()
            .map(|notice| is_worth_retrying(notice, &family, &open));
        assert_eq!(worth.collect::<Vec<_>>(), [true, false, true, false]);
    }

    #[test]
    fn delivered_firing_without_end_is_still_firing() {
        let delivered = |notice| Notice {
            delivery: Delivery::Delivered,
            ..notice
        };
        let notices = [
            delivered(notice("a", NoticeKind::Firing, "1", "x")),
            delivered(notice("b", NoticeKind::Firing, "1", "x")),
            notice("c", NoticeKind::Firing, "1", "x"),
            delivered(notice("d", NoticeKind::Firing, "2", "x")),
            notice("e", NoticeKind::Resolved, "2", "x"),
            notice("f", NoticeKind::Firing, "3", "x"),
        ];
        let notices: Vec<&Notice> = notices.iter().collect();
        let keys = still_firing(&notices);
        let keys: Vec<&str> = keys.iter().map(|n| n.content.key.as_str()).collect();
        assert_eq!(keys, ["b"]);
    }

    #[test]
    fn wait_doubles_up_to_an_hour_and_varies_by_key() {
        let seconds = |key: &str, attempts| backoff(key, attempts).num_seconds();
        for attempts in 1..40 {
            let whole = (30_i64 << (attempts - 1).min(20)).min(3600);
            for key in ["a", "b", "c"] {
                let wait = seconds(key, attempts);
                assert!((whole / 2..=whole).contains(&wait), "{attempts}: {wait}");
                assert_eq!(wait, seconds(key, attempts));
            }
        }
        assert_ne!(backoff("a", 5), backoff("b", 5));
        assert_ne!(backoff("a", 30), backoff("a", 31));
        assert!(seconds("a", i32::MAX) <= 3600 && seconds("a", 0) >= 15);
    }

    fn run(waiting: &[Notice], minute: i64) -> DeliveryRun {
        let now = waiting[0].content.created_at + TimeDelta::minutes(minute);
        let channels = ["x", "y"].map(|name| (name.to_owned(), None));
        DeliveryRun::new(waiting, channels, now, 3, false)
    }
}
