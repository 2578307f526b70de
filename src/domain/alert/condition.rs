//! Notices of conditions beside the rules: limits that are near, recommendations that are open.
//!
//! A condition has a step in each of two respects. A channel is notified when an episode begins, when a step rises or
//! clearly falls, and when it ends. Where it has fallen and returned within a month, its next fall or end must have
//! lasted for longer than the one before: a rhythm of days or weeks is notified once. Its state is that of the last
//! notice to the channel, so that nothing else is stored.

use chrono::{DateTime, TimeDelta, Utc};

use super::delivery::Notice;
use super::notice::{Content, NoticeKind};
use super::rule::{AlertRef, Severity};
use super::silence::Silence;
use super::state::Observation;
use crate::domain::{format, id};

/// The ids of conditions begin with it; those of rules do not.
pub const ID_PREFIX: &str = "capacity/";

/// A condition that returns within this time does so again.
const RECENT: TimeDelta = TimeDelta::days(30);

/// The type of a limit's condition, and that of a recommendation's.
pub const LIMIT: &str = "LIMIT";
pub const RECOMMENDATION: &str = "RECOMMENDATION";

#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    pub alert: AlertRef,
    pub level: Level,
    /// The first step at the highest usage of the last one, two and more days, with the margin.
    pub held_for_days: Vec<u32>,
    pub observed: Observation,
    /// The current state in one sentence, without its subject.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// An open episode ends.
    Clear,
    /// An open episode goes on; none begins. It is notified once that the first step fell below `held`.
    Keep { held: u32 },
    /// The state is unknown: an open episode is notified of it once, and goes on.
    Unknown {
        /// Whether an episode begins where none is open.
        begins: bool,
    },
    At {
        /// From 1; a higher number is worse.
        level: u32,
        severity: Severity,
        /// How bad it is in each respect; 0 is not at all.
        steps: [u32; 2],
        /// The steps that it has not clearly fallen below: those that were notified stay up to these.
        held: [u32; 2],
    },
}

impl Level {
    /// Without a notice of a fall.
    pub const KEEP: Level = Level::Keep { held: u32::MAX };
}

impl Condition {
    /// A condition of a type, with the rest of its id and its subject.
    pub fn new(of: &str, id: &str, subject: String, level: Level, text: String) -> Condition {
        Condition {
            alert: AlertRef {
                alert_id: format!("{ID_PREFIX}{id}"),
                api_name: subject,
                alert_type: of.to_owned(),
                period: String::new(),
            },
            level,
            held_for_days: Vec::new(),
            observed: Observation::default(),
            text,
        }
    }
}

/// A channel, with the lowest severity that it is notified of.
#[derive(Clone, Debug, PartialEq)]
pub struct Receiver {
    pub channel: String,
    pub min_severity: Option<Severity>,
}

/// The notices that follow from the conditions of now. `stored` are those of earlier runs, in order. A condition that is
/// not listed has ended.
pub fn notices(
    conditions: &[Condition],
    stored: &[Notice],
    receivers: &[Receiver],
    silences: &[Silence],
    now: DateTime<Utc>,
) -> Vec<Notice> {
    let mut new = Vec::new();
    for receiver in receivers {
        let sent: Vec<&Notice> = stored
            .iter()
            .filter(|it| it.channel == receiver.channel)
            .collect();
        let open = |alert_id: &str| {
            let of_alert = |it: &&&Notice| it.content.alert.alert_id == alert_id;
            let last = sent.iter().rev().find(of_alert);
            last.filter(|last| !last.content.kind.is_last()).copied()
        };
        for condition in conditions {
            let alert = &condition.alert;
            let open = open(&alert.alert_id);
            let is_silenced = || {
                let mut silences = silences.iter();
                silences.any(|it| it.is_active(now) && it.matches_alert(alert))
            };
            let wants = |severity| receiver.min_severity.is_none_or(|least| severity >= least);
            let held_for_days = days_to_hold(&sent, &alert.alert_id, now).and_then(|days| {
                let of_days = &condition.held_for_days;
                of_days.get(days - 1).or(of_days.last()).copied()
            });
            let held_for_days = held_for_days.unwrap_or(0);
            let notified = open.and_then(|last| last.content.steps).unwrap_or_default();
            let was_unknown = open.is_some_and(|it| it.content.kind == NoticeKind::Unknown);
            match (condition.level, open) {
                (Level::Clear, Some(_)) if held_for_days > 0 => {}
                (Level::Clear, Some(last)) => {
                    let text = format!("{} {}", alert.api_name, condition.text);
                    new.push(ended(last, &sent, condition.observed, &text, now));
                }
                (
                    Level::At {
                        level,
                        severity,
                        steps,
                        held,
                    },
                    last,
                ) => {
                    // With the usage, so does its forecast.
                    let is_held = held_for_days > 0 && held_for_days >= notified[0];
                    let forecast = if is_held { u32::MAX } else { held[1] };
                    let held = [held[0].max(held_for_days), forecast];
                    let kept = [0, 1].map(|it| steps[it].max(notified[it].min(held[it])));
                    let has_fallen = (0..2).any(|it| notified[it] > kept[it]);
                    let is_new = last.is_none() || notified != kept;
                    // A notice of a fall states the present; one of a rise in one respect keeps the other.
                    let steps = if has_fallen { steps } else { kept };
                    if (is_new || was_unknown) && wants(severity) && !is_silenced() {
                        let content = (NoticeKind::Firing, level, severity, steps);
                        new.push(firing(condition, content, receiver, &sent, last, now));
                    }
                }
                (Level::Keep { held }, Some(last))
                    if notified[0] > held.max(held_for_days)
                        && wants(Severity::Warning)
                        && !is_silenced() =>
                {
                    let content = (NoticeKind::Firing, 1, Severity::Warning, [0, notified[1]]);
                    new.push(firing(condition, content, receiver, &sent, Some(last), now));
                }
                (Level::Unknown { .. }, Some(last)) if !was_unknown && !is_silenced() => {
                    let told = &last.content;
                    let steps = told.steps.unwrap_or_default();
                    let content = (NoticeKind::Unknown, told.level, told.severity, steps);
                    new.push(firing(condition, content, receiver, &sent, Some(last), now));
                }
                (Level::Unknown { begins: true }, None)
                    if wants(Severity::Warning) && !is_silenced() =>
                {
                    let content = (NoticeKind::Unknown, 1, Severity::Warning, [0, 0]);
                    new.push(firing(condition, content, receiver, &sent, None, now));
                }
                (Level::Clear, None) | (Level::Keep { .. } | Level::Unknown { .. }, _) => {}
            }
        }
        let mut unlisted: Vec<&Notice> = sent.clone();
        unlisted.retain(|it| {
            let alert_id = &it.content.alert.alert_id;
            let is_last = open(alert_id).is_some_and(|last| last.content.key == it.content.key);
            is_last && conditions.iter().all(|one| one.alert.alert_id != *alert_id)
        });
        new.extend(unlisted.into_iter().map(|last| {
            let text = format!("{} is no longer assessed", last.content.alert.api_name);
            ended(last, &sent, Observation::default(), &text, now)
        }));
    }
    new
}

/// The days for which a fall or end must have lasted, if within a month one was notified before a rise: more than it
/// lasted then.
fn days_to_hold(sent: &[&Notice], alert_id: &str, now: DateTime<Utc>) -> Option<usize> {
    let is_recent = |it: &&&Notice| {
        it.content.alert.alert_id == alert_id && now - it.content.created_at <= RECENT
    };
    let (mut before, mut longest) = (0, None);
    let mut fallen_at: Option<DateTime<Utc>> = None;
    for it in sent.iter().filter(is_recent).map(|it| &it.content) {
        let usage = match it.kind.is_last() {
            true => 0,
            false => it.steps.unwrap_or_default()[0],
        };
        if it.kind == NoticeKind::Firing && usage > before {
            let days = fallen_at.take().map(|at| (it.created_at - at).num_days());
            longest = longest.max(days);
        } else if it.kind.is_last() || usage < before {
            fallen_at = fallen_at.or(Some(it.created_at));
        }
        before = usage;
    }
    match usize::try_from(longest?).ok()? {
        0 => Some(1),
        days => Some(days + 2),
    }
}

fn firing(
    condition: &Condition,
    (kind, level, severity, steps): (NoticeKind, u32, Severity, [u32; 2]),
    receiver: &Receiver,
    sent: &[&Notice],
    last: Option<&Notice>,
    now: DateTime<Utc>,
) -> Notice {
    let alert = &condition.alert;
    let episode = last.map_or_else(
        || id::derived(now, alert.alert_id.as_bytes()).to_string(),
        |last| last.content.episode.clone(),
    );
    let number = last.map_or(1, |last| last.number.saturating_add(1));
    let key = key(&episode, &receiver.channel, kind, number, now);
    let before = last.and_then(|last| last.content.steps).unwrap_or(steps);
    let has_fallen = before != steps && (0..2).all(|it| steps[it] <= before[it]);
    let ended = sent.iter().rev().map(|it| &it.content);
    let mut ended = ended.filter(|it| it.alert.alert_id == alert.alert_id);
    let change = match ended.find_map(|it| it.ended_at) {
        _ if has_fallen => ", less urgent than before".to_owned(),
        Some(at) if last.is_none() && now - at <= RECENT => {
            format!(", again after its end on {}", at.date_naive())
        }
        _ => String::new(),
    };
    let content = Content {
        severity,
        observed: condition.observed,
        level,
        steps: Some(steps),
        fired_at: last.map_or(now, |last| last.content.fired_at),
        summary: match kind {
            NoticeKind::Unknown => format!("{kind}: {} {}", alert.api_name, condition.text),
            _ => format!("{severity}{change}: {} {}", alert.api_name, condition.text),
        },
        ..Content::new(kind, key, episode, alert.clone(), now)
    };
    Notice::new(content, number, &receiver.channel)
}

/// The end of an episode. A channel that was sent nothing of it gets one notice.
fn ended(
    last: &Notice,
    sent: &[&Notice],
    observed: Observation,
    text: &str,
    now: DateTime<Utc>,
) -> Notice {
    let mut of_episode = sent.iter().filter(|it| it.episode == last.episode);
    let kind = match of_episode.any(|it| it.may_have_arrived()) {
        true => NoticeKind::Resolved,
        false => NoticeKind::Missed,
    };
    let fired = format::time(last.content.fired_at);
    let content = Content {
        key: key(&last.content.episode, &last.channel, kind, 1, now),
        kind,
        observed,
        ended_at: Some(now),
        created_at: now,
        summary: format!(
            "{kind}: {text}; fired from {fired} to {}",
            format::time(now)
        ),
        ..last.content.clone()
    };
    Notice::new(content, 1, &last.channel)
}

fn key(episode: &str, channel: &str, kind: NoticeKind, number: i32, now: DateTime<Utc>) -> String {
    let facts = format!("{episode}|{channel}|{kind}|{number}");
    id::derived(now, facts.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WARNING: Level = Level::At {
        level: 1,
        severity: Severity::Warning,
        steps: [1, 0],
        held: [2, 0],
    };
    const CRITICAL: Level = Level::At {
        level: 2,
        severity: Severity::Critical,
        steps: [2, 0],
        held: [2, 0],
    };

    /// Clearly below critical.
    const FALLEN: Level = Level::At {
        level: 1,
        severity: Severity::Warning,
        steps: [1, 0],
        held: [1, 0],
    };

    /// The notices of a fall and of the next rise.
    const RETURNED: [&str; 3] = [
        "FIRING ops CRITICAL 1",
        "FIRING ops WARNING 2 less",
        "FIRING ops CRITICAL 3",
    ];

    fn to_ops(mut notices: Vec<String>) -> Vec<String> {
        notices.retain(|it| it.contains("ops"));
        notices
    }

    /// Runs with these levels, a minute apart; `None` is a run without the condition. Returns kind, channel and severity
    /// of each notice. Notices of earlier runs are delivered, unless they are `lost`.
    fn sent(levels: &[Option<Level>], silences: &[Silence], lost: bool) -> Vec<String> {
        let receivers = [("ops", None), ("pager", Some(Severity::Critical))];
        let receivers = receivers.map(|(channel, min_severity)| Receiver {
            channel: channel.to_owned(),
            min_severity,
        });
        let mut stored: Vec<Notice> = Vec::new();
        for (minute, level) in levels.iter().enumerate() {
            let now = DateTime::UNIX_EPOCH + TimeDelta::minutes(minute as i64);
            let condition = level.map(|level| {
                let near = "is near".to_owned();
                Condition {
                    held_for_days: vec![2],
                    ..Condition::new(LIMIT, "a", "KV".to_owned(), level, near)
                }
            });
            let conditions: Vec<Condition> = condition.into_iter().collect();
            let mut new = notices(&conditions, &stored, &receivers, silences, now);
            for notice in &mut new {
                notice.attempts = i32::from(!lost);
            }
            stored.extend(new);
        }
        let shown = stored.iter().map(|it| {
            let Content {
                kind,
                severity,
                summary,
                ..
            } = &it.content;
            let change = if summary.contains("less urgent") {
                " less"
            } else {
                ""
            };
            format!("{kind} {} {severity} {}{change}", it.channel, it.number)
        });
        shown.collect()
    }

    #[test]
    fn each_change_is_notified_once() {
        let levels = [
            WARNING,
            WARNING,
            CRITICAL,
            WARNING,
            CRITICAL,
            Level::KEEP,
            Level::Clear,
            Level::Clear,
            Level::KEEP,
        ];
        let expected = [
            "FIRING ops WARNING 1",
            "FIRING ops CRITICAL 2",
            "FIRING pager CRITICAL 1",
            "RESOLVED ops CRITICAL 1",
            "RESOLVED pager CRITICAL 1",
        ];
        assert_eq!(sent(&levels.map(Some), &[], false), expected);
    }

    #[test]
    fn level_that_fell_and_returned_falls_after_a_day() {
        let near = Level::At {
            level: 3,
            severity: Severity::Critical,
            steps: [2, 2],
            held: [2, 2],
        };
        let rhythm = [near, FALLEN, near, FALLEN, Level::Clear, near];
        let all = sent(&rhythm.map(Some), &[], false);
        assert_eq!(to_ops(all), RETURNED);
    }

    #[test]
    fn fall_of_usage_is_notified_while_the_forecast_is_near() {
        let near = Level::Keep { held: 0 };
        // Held for a day only after a return.
        let levels = [CRITICAL, Level::KEEP, near, near, Level::Clear];
        let expected = [
            "FIRING ops CRITICAL 1",
            "FIRING pager CRITICAL 1",
            "FIRING ops WARNING 2 less",
            "RESOLVED ops WARNING 1",
            "RESOLVED pager CRITICAL 1",
        ];
        let all = sent(&levels.map(Some), &[], false);
        assert_eq!(all, expected);
    }

    #[test]
    fn clear_fall_is_notified_and_so_is_the_next_rise() {
        let levels = [CRITICAL, WARNING, FALLEN, FALLEN, CRITICAL].map(Some);
        let all = sent(&levels, &[], false);
        assert_eq!(to_ops(all), RETURNED);
    }

    #[test]
    fn each_respect_is_notified_once() {
        let at = |usage, forecast| Level::At {
            level: 1,
            severity: Severity::Warning,
            steps: [usage, forecast],
            held: [usage, 2],
        };
        let levels = [
            at(0, 2),
            at(0, 1),
            at(1, 2),
            at(1, 1),
            at(2, 1),
            at(2, 2),
            at(3, 2),
            at(3, 1),
            // It has clearly fallen, and rises again.
            at(1, 1),
            at(1, 2),
        ];
        let number = |levels: &[Level]| {
            let levels: Vec<_> = levels.iter().copied().map(Some).collect();
            sent(&levels, &[], false).len()
        };
        let numbers: Vec<_> = (1..=levels.len()).map(|it| number(&levels[..it])).collect();
        assert_eq!(numbers, [1, 1, 2, 2, 3, 3, 4, 4, 5, 6]);
    }

    #[test]
    fn unknown_state_is_notified_once_and_so_is_the_next_known_one() {
        const OLD: Level = Level::Unknown { begins: true };
        const EXPIRED: Level = Level::Unknown { begins: false };
        let levels = [EXPIRED, WARNING, OLD, OLD, EXPIRED, WARNING, WARNING];
        let expected = [
            "FIRING ops WARNING 1",
            "UNKNOWN ops WARNING 2",
            "FIRING ops WARNING 3",
        ];
        assert_eq!(sent(&levels.map(Some), &[], false), expected);
        let levels = [OLD, OLD, Level::Clear].map(Some);
        let expected = ["UNKNOWN ops WARNING 1", "RESOLVED ops WARNING 1"];
        assert_eq!(sent(&levels, &[], false), expected);
    }

    #[test]
    fn condition_that_is_gone_has_ended_and_may_return() {
        let levels = [Some(WARNING), None, None, Some(WARNING)];
        let expected = [
            "FIRING ops WARNING 1",
            "RESOLVED ops WARNING 1",
            "FIRING ops WARNING 1",
        ];
        assert_eq!(sent(&levels, &[], false), expected);
    }

    #[test]
    fn end_of_an_episode_that_was_not_sent_is_one_notice() {
        let levels = [Some(WARNING), Some(Level::Clear)];
        let expected = ["FIRING ops WARNING 1", "MISSED ops WARNING 1"];
        assert_eq!(sent(&levels, &[], true), expected);
    }

    #[test]
    fn silence_holds_back_until_it_ends() {
        let start = DateTime::UNIX_EPOCH;
        let mut silence = Silence::sample(start, start + TimeDelta::minutes(2));
        silence.api_name = Some("K*".to_owned());
        let levels = [Some(WARNING), Some(WARNING), Some(WARNING)];
        let silences = [silence];
        assert_eq!(sent(&levels[..2], &silences, false), [""; 0]);
        assert_eq!(sent(&levels, &silences, false), ["FIRING ops WARNING 1"]);
    }
}
