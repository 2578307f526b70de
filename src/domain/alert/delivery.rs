//! Delivery: when a notice that did not arrive is tried again, and when that ends.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};

use super::notice::Content;
use crate::domain::named::named;

named! {
    /// The delivery state of a notice.
    Delivery, "delivery state" {
        Waiting = "WAITING",
        Delivered = "DELIVERED",
        /// Held back until a silence ends.
        Silenced = "SILENCED",
        Dropped = "DROPPED",
    }
}

named! {
    /// Why a notice was dropped.
    DropReason, "drop reason" {
        /// Its channel was removed.
        NoChannel = "NO_CHANNEL",
        /// The episode ended before the notice was sent; the end is a notice of its own.
        Superseded = "SUPERSEDED",
        /// Too many attempts failed.
        GaveUp = "GAVE_UP",
    }
}

/// A notice for one channel, and how far it has come.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// What is told; its key is the notice's id.
    pub content: Content,
    /// The how manieth of its kind in its episode, from 1.
    pub number: i32,
    /// The channel that is to tell it.
    pub channel: String,
    /// How far it has come.
    pub delivery: Delivery,
    /// How often it was tried. Counted before each try, so that whoever dies in it has counted it.
    pub attempts: i32,
    /// It is not tried before.
    pub next_attempt_at: DateTime<Utc>,
    /// When its receiver took it.
    pub delivered_at: Option<DateTime<Utc>>,
    /// The reason of the last failed attempt.
    pub error: Option<String>,
    pub drop_reason: Option<DropReason>,
}

impl Notice {
    /// A notice that is to be sent at once.
    pub fn new(content: Content, number: i32, channel: &str) -> Notice {
        Notice {
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

    /// Whether it was dropped although its receiver should have got it.
    pub fn is_lost(&self) -> bool {
        self.delivery == Delivery::Dropped && self.drop_reason != Some(DropReason::Superseded)
    }

    /// Whether it is to be tried now. The first try never waits, and no wait is longer than the longest: a
    /// clock that was set back keeps nothing from anybody.
    pub fn is_due(&self, now: DateTime<Utc>) -> bool {
        let wait = self.next_attempt_at - now;
        self.attempts == 0 || wait <= TimeDelta::zero() || wait > LONGEST_WAIT
    }

    /// Whether its receiver has it, or may have it: whoever was tried may have got it before we died.
    pub fn may_have_arrived(&self) -> bool {
        self.delivery == Delivery::Delivered || self.attempts > 0
    }
}

/// The wait after the first failure.
const FIRST_WAIT_MS: i64 = 30_000;

/// The longest wait: half a day of trouble is over at most this long after the trouble.
const LONGEST_WAIT: TimeDelta = TimeDelta::hours(1);

/// How long to wait after this many failed tries: twice as long each time, up to an hour, and of that
/// between a half and all. Which part the notice's key says: notices that failed together do not come
/// back together, and the same notice waits equally long whoever computes it.
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

/// The keys of notices that were superseded: what they tell has an end by now, and the end is told too. What
/// is over must not begin to fire.
pub fn superseded(waiting: &[Notice]) -> BTreeSet<String> {
    let place = |notice: &Notice| (notice.channel.clone(), notice.content.episode.clone());
    let ended: BTreeSet<_> = waiting
        .iter()
        .filter(|notice| notice.content.kind.is_last())
        .map(place)
        .collect();
    waiting
        .iter()
        .filter(|notice| !notice.content.kind.is_last() && ended.contains(&place(notice)))
        .map(|notice| notice.content.key.clone())
        .collect()
}

/// Whether a dropped notice still has something to tell: an end always has; that something fires only while
/// it does and its channel heard nothing of an end. `family` holds all notices of its episode.
pub fn is_worth_retrying(notice: &Notice, family: &[Notice], open: &BTreeSet<String>) -> bool {
    let place = |notice: &Notice| (notice.channel.clone(), notice.content.episode.clone());
    let ended = || {
        family
            .iter()
            .any(|other| other.content.kind.is_last() && place(other) == place(notice))
    };
    notice.content.kind.is_last() || (open.contains(&notice.content.episode) && !ended())
}

/// Of one channel's notices of open episodes, in order: the last of each episode that was delivered, if
/// nothing has been said of an end.
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
    fn a_notice_is_due_when_its_wait_is_over_and_at_once_if_the_clock_went_back() {
        let at = |minute| sample(NoticeKind::Firing).created_at + TimeDelta::minutes(minute);
        let tried = Notice {
            attempts: 1,
            next_attempt_at: at(10),
            ..notice("a", NoticeKind::Firing, "1", "x")
        };
        let due = [-51, -50, 9, 10, 11].map(|minute| tried.is_due(at(minute)));
        assert_eq!(due, [true, false, false, true, true]);
        let new = Notice {
            attempts: 0,
            ..tried
        };
        assert!(new.is_due(at(0)));
    }

    #[test]
    fn what_is_over_does_not_begin_to_fire() {
        let waiting = [
            notice("a", NoticeKind::Firing, "1", "x"),
            notice("b", NoticeKind::Firing, "1", "y"),
            notice("c", NoticeKind::Firing, "2", "x"),
            notice("d", NoticeKind::Reminder, "1", "x"),
            notice("e", NoticeKind::Missed, "1", "x"),
        ];
        let expected = ["a", "d"].map(str::to_owned);
        assert_eq!(superseded(&waiting), BTreeSet::from(expected));
    }

    #[test]
    fn what_was_dropped_is_told_if_it_is_still_so_and_an_end_always() {
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
    fn what_was_told_to_fire_and_not_to_end_fires() {
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
    fn waits_double_up_to_an_hour_and_are_spread() {
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
}
