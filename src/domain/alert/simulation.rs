//! Tests of late data: a store in memory, in which rows are recorded, changed and deleted between checks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::collection::vec;
use proptest::prelude::*;

use super::delivery::{Delivery, DropReason, Notice};
use super::evaluate::{ApiUsage, RequiredWindows, RuleTarget, usage_of};
use super::event::Event;
use super::history::{change_of, state_at};
use super::notice::{EndReason, NoticeKind};
use super::origin::Origin;
use super::replacement::{EpisodeSpan, spans};
use super::round::{Round, RoundResult, Schedule, StoredAlerts};
use super::route::routes;
use super::rule::{ALL_APIS, AlertRef, AlertType, Baseline, Rule, Severity, Threshold, TimeWindow};
use super::series::Tally;
use super::stage;
use super::state::{Acknowledgement, AlertState, Change, Episode};
use super::window::Grid;
use crate::domain::period::{Granularity, Period};
use crate::domain::testing::at_minute as at;

/// A database of one rule on tmdb and the channel `ops`, which accepts every notice.
#[derive(Default)]
struct Simulation {
    stored: StoredAlerts,
    events: BTreeMap<String, Event>,
    /// The calls, and whether they succeeded.
    rows: Vec<(DateTime<Utc>, bool)>,
    dirty_hours: Vec<DateTime<Utc>>,
    /// The minutes in each of which a call succeeds, beside the recorded rows.
    steady: Range<i64>,
}

impl Simulation {
    /// With a call in each of the first 200 minutes.
    fn steady(rule: Rule) -> Simulation {
        Simulation {
            steady: -10..200,
            ..Simulation::new(rule)
        }
    }

    fn new(rule: Rule) -> Simulation {
        Simulation {
            stored: StoredAlerts {
                rules: vec![rule],
                channels: vec!["ops".to_owned()],
                ..StoredAlerts::default()
            },
            ..Simulation::default()
        }
    }

    fn mark(&mut self, row: DateTime<Utc>) {
        self.dirty_hours.push(Granularity::Hourly.start_of(row));
    }

    fn record(&mut self, row: DateTime<Utc>, success: bool) {
        self.rows.push((row, success));
        self.mark(row);
    }

    fn delete(&mut self, n: usize) {
        if !self.rows.is_empty() {
            let (row, _) = self.rows.swap_remove(n % self.rows.len());
            self.mark(row);
        }
    }

    /// Lists the dirty hours of a rule that has a state.
    fn take_dirty_hours(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty_hours);
        if !self.stored.records.is_empty() {
            let late = &mut self.stored.late_hours;
            late.entry("tmdb".to_owned())
                .or_default()
                .append(&mut dirty);
        }
    }

    /// The events that are not withdrawn, in order.
    fn history(&self) -> Vec<Event> {
        let valid = self.events.values().filter(|it| it.withdrawn_at.is_none());
        let mut history: Vec<Event> = valid
            .filter(|it| change_of(it).is_some())
            .cloned()
            .collect();
        history.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
        history
    }

    fn episodes(&self) -> Vec<EpisodeSpan> {
        spans(&self.history())
    }

    /// The episodes of a threshold above the lowest.
    fn stage_episodes(&self, threshold: f64) -> Vec<EpisodeSpan> {
        let rule = &self.stored.rules[0];
        let alert = AlertRef::new(rule, "tmdb");
        let (history, all) = (self.history(), at(-1_000_000));
        spans(&stage::history_of(&alert, None, &history, all, threshold))
    }

    /// The episodes that a channel is notified of.
    fn episodes_of(&self, channel: &str) -> Vec<EpisodeSpan> {
        let stored = &self.stored;
        let routes = routes(&stored.rules[0], &stored.channels, &stored.min_severities);
        let route = routes.iter().find(|route| route.channel == channel);
        let first = route.map(|route| route.first().stage());
        match first {
            None => Vec::new(),
            Some(None) => self.episodes(),
            Some(Some(threshold)) => self.stage_episodes(threshold),
        }
    }

    fn schedule(now: DateTime<Utc>) -> Schedule {
        Schedule {
            now,
            grid: Grid::MINUTES,
            settle: Schedule::SETTLE,
            max_catch_up: TimeDelta::days(7),
        }
    }

    fn evaluate(&mut self, now: DateTime<Utc>) -> RoundResult {
        self.take_dirty_hours();
        let schedule = Simulation::schedule(now);
        self.stored.history.clear();
        if let Some(from) = self.stored.history_from(schedule) {
            let history = self.history();
            if history.iter().any(|event| event.at > from) {
                let alert = ("rule".to_owned(), "tmdb".to_owned());
                self.stored.history.insert(alert, history);
            }
        }
        let round = Round::new(&self.stored, schedule);
        let mut usage = HashMap::new();
        for (api, required) in round.required_windows() {
            usage.insert(api, self.usage(&required));
        }
        round.evaluate(&usage)
    }

    fn usage(&self, required: &[RequiredWindows]) -> ApiUsage {
        let call = |&(at, success): &_| (at, Tally::of_call(success, false, None));
        let steady = self.steady.clone().map(|minute| (second(minute, 30), true));
        let rows: Vec<_> = self.rows.iter().copied().chain(steady).collect();
        let calls: Vec<_> = rows.iter().map(call).collect();
        usage_of(required, &calls, Some(at(-100_000)))
    }

    /// A check that saves its result.
    fn check_without_delivery(&mut self, now: DateTime<Utc>) -> RoundResult {
        let result = self.evaluate(now);
        self.stored.late_hours.clear();
        for id in &result.withdrawn {
            self.events.get_mut(id).unwrap().withdrawn_at = Some(now);
        }
        for event in &result.events {
            self.events.insert(event.id.clone(), event.clone());
        }
        for (old, new) in &result.replaced {
            let notices = self.stored.notices.iter_mut();
            notices
                .filter(|it| it.episode == *old)
                .for_each(|it| it.episode.clone_from(new));
        }
        let records = result.alerts.iter().map(|alert| alert.record.clone());
        self.stored.records = records.collect();
        for notice in &mut self.stored.notices {
            if result.notifications.dropped.contains(&notice.content.key) {
                notice.drop_for(DropReason::Superseded);
            }
        }
        self.check_new_notices(&result);
        self.stored.notices.extend(result.notifications.new.clone());
        result
    }

    fn deliver(&mut self, now: DateTime<Utc>) {
        for notice in &mut self.stored.notices {
            if notice.delivery == Delivery::Waiting {
                notice.delivery = Delivery::Delivered;
                notice.delivered_at = Some(now);
            }
        }
    }

    /// A check that delivers its notices.
    fn check(&mut self, now: DateTime<Utc>) -> RoundResult {
        let result = self.check_without_delivery(now);
        self.deliver(now);
        result
    }

    /// An episode is notified once at each level, and no key is used twice.
    fn check_new_notices(&self, result: &RoundResult) {
        for new in &result.notifications.new {
            let mut earlier = self.stored.notices.iter();
            let same = earlier.find(|it| it.content.key == new.content.key);
            assert_eq!(same, None);
            let mut earlier = self.stored.notices.iter();
            let known = |it: &&Notice| {
                it.episode == new.episode
                    && it.channel == new.channel
                    && it.content.level >= new.content.level
                    && is_announcement(it)
            };
            assert_eq!(earlier.find(known).filter(|_| is_announcement(new)), None);
        }
    }

    fn kinds(&self) -> Vec<NoticeKind> {
        let notices = self.stored.notices.iter();
        notices.map(|notice| notice.content.kind).collect()
    }
}

fn is_announcement(notice: &Notice) -> bool {
    let kind = notice.content.kind;
    let is_first = matches!(
        kind,
        NoticeKind::Firing | NoticeKind::Missed | NoticeKind::Late
    );
    is_first && !notice.is_superseded()
}

fn rule(period: Period) -> Rule {
    Rule {
        id: "rule".to_owned(),
        ..Rule::new("tmdb", AlertType::ErrorSpike, period, 3.0)
    }
}

fn second(minute: i64, second: i64) -> DateTime<Utc> {
    at(minute) + TimeDelta::seconds(second)
}

/// `count` failed calls in the first second of a minute.
fn fail(simulation: &mut Simulation, minute: i64, count: i64) {
    for n in 0..count {
        simulation.record(at(minute) + TimeDelta::milliseconds(n), false);
    }
}

#[test]
fn late_episode_that_still_fires_is_notified_as_firing() {
    let mut late = Simulation::steady(rule(Period::Hour));
    late.check(second(0, 30));
    late.check(second(5, 30));
    fail(&mut late, 3, 5);
    let found = late.check(second(6, 30));
    assert_eq!(late.kinds(), [NoticeKind::Firing]);
    assert!(found.notifications.new[0].content.note.is_some());
    assert_eq!(found.alerts[0].record.state.since, at(4));
}

#[test]
fn earlier_start_replaces_the_episode_without_a_second_notice() {
    let mut late = Simulation::steady(rule(Period::Hour));
    late.check(second(1, 30));
    fail(&mut late, 10, 5);
    late.check(second(12, 30));
    let first = late.stored.notices[0].content.episode.clone();
    fail(&mut late, 5, 5);
    late.check(second(13, 30));
    assert_eq!(late.kinds(), [NoticeKind::Firing]);
    assert_eq!(late.episodes()[0].fired_at, at(6));
    late.check(second(90, 30));
    assert_eq!(late.kinds(), [NoticeKind::Firing, NoticeKind::Resolved]);
    // The receiver knows the episode by its first id.
    assert_eq!(late.stored.notices[1].content.episode, first);
}

#[test]
fn late_data_reopens_a_resolved_episode_with_a_reminder() {
    let mut late = Simulation::steady(rule(Period::Minute));
    late.check(second(0, 30));
    fail(&mut late, 1, 5);
    late.check(second(2, 30));
    late.check(second(4, 30));
    assert_eq!(late.kinds(), [NoticeKind::Firing, NoticeKind::Resolved]);
    for minute in 2..5 {
        fail(&mut late, minute, 5);
    }
    late.check(second(5, 30));
    assert_eq!(late.kinds()[2..], [NoticeKind::Reminder]);
    late.check(second(7, 30));
    assert_eq!(late.kinds()[3..], [NoticeKind::Resolved]);
}

#[test]
fn episode_reopened_before_its_notice_was_sent_is_notified_as_firing() {
    let mut late = Simulation::steady(rule(Period::Minute));
    late.check(second(0, 30));
    late.check(second(5, 30));
    fail(&mut late, 3, 5);
    late.check_without_delivery(second(5, 30));
    assert_eq!(late.kinds(), [NoticeKind::Late]);
    fail(&mut late, 4, 5);
    late.check(second(5, 30));
    assert_eq!(late.kinds(), [NoticeKind::Late, NoticeKind::Firing]);
    assert!(late.stored.notices[0].is_superseded());
}

#[test]
fn changed_threshold_applies_to_later_steps_only() {
    let mut changed = Simulation::steady(rule(Period::Minute));
    changed.check(second(0, 30));
    fail(&mut changed, 1, 5);
    changed.check(second(5, 30));
    changed.stored.rules[0].threshold = 10.0;
    fail(&mut changed, 2, 1);
    let found = changed.check(second(6, 30));
    assert_eq!((found.withdrawn.len(), changed.episodes().len()), (0, 1));
}

/// Warnings at 3 and 5 to ops, critical from 8 on to the pager.
fn routed(period: Period) -> Simulation {
    let mut rule = rule(period);
    rule.set_thresholds(vec![
        Threshold::sample(3.0, Severity::Warning, &["ops"]),
        Threshold::sample(5.0, Severity::Warning, &["ops"]),
        Threshold::sample(8.0, Severity::Critical, &["pager"]),
    ]);
    let mut simulation = Simulation::new(rule);
    simulation.stored.channels.push("pager".to_owned());
    simulation
}

#[test]
fn removed_disabled_and_changed_rules_end_the_episodes_of_each_channel() {
    type Case = (EndReason, usize, fn(&mut StoredAlerts));
    let cases: [Case; 5] = [
        (EndReason::RuleRemoved, 2, |stored| stored.rules.clear()),
        (EndReason::RuleDisabled, 2, |stored| {
            stored.rules[0].enabled = false
        }),
        (EndReason::RuleChanged, 2, |stored| {
            stored.rules[0].period = Period::Day
        }),
        (EndReason::ApiRemoved, 2, |stored| {
            stored.rules[0].api_name = ALL_APIS.to_owned();
        }),
        // Only the threshold that notifies the pager.
        (EndReason::RuleChanged, 1, |stored| {
            stored.rules[0].settings.higher.truncate(1)
        }),
    ];
    for (reason, ended, change) in cases {
        let mut routed = routed(Period::Hour);
        routed.check(second(0, 30));
        fail(&mut routed, 1, 9);
        routed.check(second(2, 30));
        change(&mut routed.stored);
        routed.check(second(3, 30));
        routed.check(second(4, 30));
        let notices = routed.stored.notices.iter();
        let resolved = notices.filter(|it| it.content.kind == NoticeKind::Resolved);
        let reasons: Vec<_> = resolved.map(|it| it.content.reason).collect();
        assert_eq!(reasons, vec![Some(reason); ended]);
    }
}

#[test]
fn unknown_rule_that_is_removed_is_notified_as_known() {
    let mut unknown = Simulation::steady(rule(Period::Minute));
    unknown.stored.rules[0].alert_type = AlertType::RateLimitWarning;
    unknown.check(second(1, 30));
    unknown.stored.rules.clear();
    let removed = unknown.check(second(2, 30));
    assert_eq!(unknown.kinds(), [NoticeKind::Unknown, NoticeKind::Known]);
    let reason = unknown.stored.notices[1].content.reason;
    assert_eq!(reason, Some(EndReason::RuleRemoved));
    assert_eq!(removed.events, []);
}

#[test]
fn acknowledgement_ends_with_its_episode() {
    let mut acknowledged = Simulation::steady(rule(Period::Hour));
    acknowledged.check(second(0, 30));
    fail(&mut acknowledged, 1, 5);
    acknowledged.check(second(2, 30));
    acknowledged.stored.records[0].acknowledged = Some(Acknowledgement {
        by: "anna".to_owned(),
        at: at(2),
        note: None,
    });
    let mut is_acknowledged = |minute| {
        acknowledged.check(second(minute, 30));
        acknowledged.stored.records[0].acknowledged.is_some()
    };
    assert_eq!([3, 90].map(&mut is_acknowledged), [true, false]);
}

/// What happens between two checks.
#[derive(Clone, Debug)]
enum Step {
    /// Calls: age in seconds, number, whether they succeed.
    Record(i64, usize, bool),
    Delete(usize),
    /// Moves a row: which, seconds.
    Move(usize, i64),
    /// A check, a number of seconds later.
    Check(i64),
    /// A check a moment later, whose notices are not delivered.
    Undelivered,
    /// A check that dies before it saves.
    Crash,
    /// A check by a clock that is a number of minutes ahead.
    WrongClock(i64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..9_000_i64, 1..6_usize, any::<bool>())
            .prop_map(|(age, count, success)| Step::Record(age, count, success)),
        2 => any::<usize>().prop_map(Step::Delete),
        1 => (any::<usize>(), -4_000..4_000_i64).prop_map(|(row, by)| Step::Move(row, by)),
        5 => (0..900_i64).prop_map(Step::Check),
        1 => Just(Step::Crash),
        2 => Just(Step::Undelivered),
        1 => (0..30_i64).prop_map(Step::WrongClock),
    ]
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let periods = vec![Period::Minute, Period::Hour, Period::Day, Period::Month];
    let periods = proptest::sample::select(periods);
    let no_data = proptest::option::of(0..60_i64);
    let kind = (periods, any::<bool>(), 0..6_u8, no_data);
    let thresholds = proptest::sample::subsequence(vec![5.0, 8.0, 11.0], 0..3);
    let names = vec(proptest::sample::select(vec!["", "ops", "pager"]), 4);
    let more = (thresholds, names, any::<bool>());
    (kind, 0..4_i64, 0..4_i64, any::<bool>(), more).prop_map(
        |(
            (period, is_calendar, kind, no_data),
            hold,
            clear_hold,
            has_hysteresis,
            (higher, names, is_critical),
        )| {
            let mut rule = rule(period);
            match kind {
                0 => {
                    rule.alert_type = AlertType::NoData;
                    rule.threshold = 15.0;
                    rule.period = Period::Minute;
                }
                1 => {
                    rule.settings.percent = true;
                    rule.settings.min_requests = 4;
                    rule.threshold = 40.0;
                }
                2 => {
                    let (over, factor) = (TimeDelta::hours(5), 2.0);
                    rule.settings.baseline = Some(Baseline { over, factor });
                }
                _ => {
                    rule.settings.no_data = no_data.map(TimeDelta::minutes);
                    let values = std::iter::once(rule.threshold).chain(higher);
                    let thresholds = values.zip(names).map(|(value, name)| {
                        let is_critical = is_critical && value > 6.0;
                        let severity =
                            [Severity::Warning, Severity::Critical][usize::from(is_critical)];
                        let name = Some(name).filter(|name| !name.is_empty());
                        Threshold::sample(value, severity, name.as_slice())
                    });
                    rule.set_thresholds(thresholds.collect());
                }
            }
            let settings = &mut rule.settings;
            settings.hold = TimeDelta::minutes(hold);
            settings.clear_hold = TimeDelta::minutes(clear_hold);
            settings.clear_below = has_hysteresis.then_some(2.0);
            // No reminders, which the repeat interval would send at other times.
            settings.repeat = Some(TimeDelta::zero());
            if is_calendar {
                settings.window = Some(TimeWindow::Calendar);
                settings.month_starts = Some(31);
            }
            rule
        },
    )
}

/// Runs the steps, then two checks an hour later. Returns the time of the last.
fn run(simulation: &mut Simulation, steps: &[Step]) -> DateTime<Utc> {
    let mut now = second(0, 30);
    simulation.check(now);
    for step in steps {
        match *step {
            Step::Record(age, count, success) => {
                for n in 0..count {
                    let age = TimeDelta::seconds(age) + TimeDelta::milliseconds(n as i64);
                    simulation.record(now - age, success);
                }
            }
            Step::Delete(row) => simulation.delete(row),
            Step::Move(row, by) if !simulation.rows.is_empty() => {
                let (at, success) = simulation.rows[row % simulation.rows.len()];
                simulation.delete(row);
                simulation.record((at + TimeDelta::seconds(by)).min(now), success);
            }
            Step::Move(..) => {}
            Step::Check(later) => {
                now += TimeDelta::seconds(later) + TimeDelta::milliseconds(1);
                simulation.check(now);
            }
            Step::Undelivered => {
                now += TimeDelta::milliseconds(1);
                simulation.check_without_delivery(now);
            }
            Step::Crash => {
                simulation.evaluate(now);
            }
            Step::WrongClock(ahead) => {
                simulation.check(now + TimeDelta::minutes(ahead));
            }
        }
    }
    now += TimeDelta::hours(1);
    simulation.check(now);
    now
}

proptest! {
    #[test]
    fn any_interleaving_ends_as_one_check(
        rule in any_rule(),
        has_least in any::<bool>(),
        steps in vec(any_step(), 1..40),
    ) {
        let mut simulation = Simulation::new(rule.clone());
        simulation.stored.channels.push("pager".to_owned());
        if has_least {
            simulation.stored.min_severities.insert("pager".to_owned(), Severity::Critical);
        }
        let now = run(&mut simulation, &steps);

        let mut once = Simulation::new(rule);
        once.rows.clone_from(&simulation.rows);
        once.check(second(0, 30));
        once.check(now);

        prop_assert_eq!(simulation.episodes(), once.episodes());
        let (state, expected) = (&simulation.stored.records[0].state, &once.stored.records[0].state);
        prop_assert!(state.continues_as(expected), "{:?} instead of {:?}", state, expected);
        // Each channel was notified of each of its episodes, and knows whether it is open.
        for channel in ["ops", "pager"] {
            let episodes = simulation.episodes_of(channel);
            for episode in &episodes {
                let notices = simulation.stored.notices.iter();
                let notices = notices.filter(|it| it.channel == channel && !it.is_superseded());
                let mut notices = notices.filter(|it| it.episode == episode.id);
                let last = notices.next_back().map(|it| it.content.kind.is_last());
                prop_assert_eq!(last, Some(episode.ended_at.is_some()), "{} {:?}", channel, episode);
            }
            // It was notified of the end of everything else that it was notified of.
            let mut ends: BTreeMap<&str, bool> = BTreeMap::new();
            for notice in simulation.stored.notices.iter() {
                let is_known = episodes.iter().any(|episode| episode.id == notice.episode)
                    || matches!(notice.content.kind, NoticeKind::Unknown | NoticeKind::Known);
                if notice.channel == channel && !is_known && !notice.is_superseded() {
                    ends.insert(&notice.content.episode, notice.content.kind.is_last());
                }
            }
            prop_assert!(ends.values().all(|is_last| *is_last), "{} {:?}", channel, ends);
        }
        // The channels of the lowest threshold know whether the rule is unknown.
        let mut open = BTreeSet::new();
        for notice in simulation.stored.notices.iter().filter(|it| !it.is_superseded()) {
            let episode = (notice.channel.clone(), notice.episode.clone());
            match notice.content.kind {
                NoticeKind::Unknown => prop_assert!(open.insert(episode)),
                NoticeKind::Known => prop_assert!(open.remove(&episode)),
                _ => {}
            }
        }
        let stored = &simulation.stored;
        let mut routes = routes(&stored.rules[0], &stored.channels, &stored.min_severities);
        routes.retain(|route| route.first().is_lowest);
        let unknown = stored.records[0].unknown_episode();
        let notified = |episode: Episode| {
            let channels = routes.iter().map(|route| route.channel.clone());
            channels.map(move |channel| (channel, episode.id.clone())).collect()
        };
        let unknown: BTreeSet<(String, String)> = unknown.map(notified).unwrap_or_default();
        prop_assert_eq!(open, unknown);
    }

    #[test]
    fn state_of_any_step_is_reconstructed_from_events(
        rule in any_rule(),
        rows in vec((0..14_400_i64, any::<bool>()), 0..60),
    ) {
        let mut simulation = Simulation::new(rule.clone());
        let rows = rows.into_iter().map(|(seconds, success)| (second(0, seconds), success));
        simulation.rows.extend(rows);
        simulation.check(second(0, 30));
        simulation.check(second(300, 30));
        let history = simulation.history();
        let origin: Origin = simulation.stored.records[0].origin.clone().unwrap();
        let target = RuleTarget::sample(&rule);
        let required: Vec<_> = (0..=300).map(|minute| target.needs(at(minute))).collect();
        let usage = simulation.usage(&required);
        let mut state: Option<AlertState> = None;
        prop_assert_eq!(state_at(Some(&origin), &history, at(-1), Grid::MINUTES), None);
        for minute in 0..=300 {
            let step = at(minute);
            let next: (AlertState, Option<Change>) =
                target.step(state, step, &usage);
            let found = state_at(Some(&origin), &history, step, Grid::MINUTES).unwrap();
            prop_assert!(found.continues_as(&next.0), "{:?} instead of {:?}", found, next.0);
            prop_assert_eq!(found.evaluated_to, step);
            state = Some(next.0);
        }
    }
}
