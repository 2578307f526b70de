//! What one run makes of what is stored and of what it finds: the next state of each recommendation, and what
//! its history gets. Values in, values out; the moves are those of [`super::lifecycle`].

use std::cmp::Reverse;
use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;

use super::assess::Assessment;
use super::facts::{Baseline, Facts, Kind, StoredFacts};
use super::history::{Change, Entry};
use super::lifecycle;
use super::lifecycle::{
    Actor, dismissal_has_ended, is_cleared, is_frozen, is_unseen_too_long, may_return,
};
use super::prose::bullets;
use super::prose::template::Story;
use super::transition::{done_by_application, entry};
use super::{Own, Question, Recommendation, is_open, trigger};
use crate::domain::id;
use crate::domain::metrics::names::{Metric, Service, Status};

/// Who the engine is, in the history.
const ENGINE: &str = "recommend run";

/// What is asked about, whatever the kind of answer: one limit of one plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic {
    pub service: Service,
    pub metric: Metric,
    /// Which database, project or team; empty where it has no name of its own.
    pub resource: String,
    pub plan: String,
}

impl Topic {
    /// The topic with the kind of its answer.
    pub fn question(&self, kind: Kind) -> Question {
        Question {
            service: self.service,
            resource: self.resource.clone(),
            metric: self.metric,
            current_plan: self.plan.clone(),
            kind,
        }
    }

    /// Whether a recommendation is about it.
    pub fn is_of(&self, it: &Recommendation) -> bool {
        it.own.as_ref().is_some_and(|own| {
            it.service == self.service
                && it.metric == Some(self.metric)
                && it.current_plan == self.plan
                && own.resource == self.resource
        })
    }
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What was read; none: it is new.
    pub before: Option<Recommendation>,
    /// What it is to be.
    pub after: Recommendation,
    pub entries: Vec<Entry>,
    /// What was done, in a word.
    pub done: Done,
}

/// What was done to a recommendation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    Made,
    /// Its figures are those of now, and not much else than they were.
    Refreshed,
    /// It says something else now.
    Changed,
    /// It is pending again.
    Reopened,
    /// Its reason is gone.
    Expired,
    /// It was not reproduced, or its condition was not there; it stays for now.
    Waiting,
    /// It was approved: its figures stay as they were decided by.
    Frozen,
    /// The application moved it.
    Moved,
    /// What came of it was measured.
    Measured,
}

impl Done {
    /// As it is told.
    pub fn as_str(self) -> &'static str {
        match self {
            Done::Made => "new",
            Done::Refreshed => "refreshed",
            Done::Changed => "changed",
            Done::Reopened => "reopened",
            Done::Expired => "expired",
            Done::Waiting => "waiting",
            Done::Frozen => "frozen",
            Done::Moved => "moved by the application",
            Done::Measured => "outcome measured",
        }
    }
}

/// What the application did by itself, written down; it stands.
///
/// But for one thing: a question has one open answer. Of what the application opened beside another open one,
/// the end is written down at once.
pub fn moved_by_application(all: &[Recommendation], now: DateTime<Utc>) -> Vec<Step> {
    let was_open = |it: &Recommendation| it.own.as_ref().is_some_and(|own| is_open(own.status));
    let mut moved: Vec<(&Recommendation, Entry)> = all
        .iter()
        .filter_map(|it| Some((it, done_by_application(it, now)?)))
        .collect();
    // A question is let go of before another one takes it; of two that take it, the newer does.
    moved.sort_by_key(|(it, _)| (is_open(it.status), Reverse(it.created_at), &it.id));
    let question = |it: &Recommendation| Some(it.own.as_ref()?.question.clone());
    let held = all
        .iter()
        .filter(|it| is_open(it.status) && was_open(it))
        .filter_map(question);
    let mut held: HashSet<String> = held.collect();
    let step = |(before, seen): (&Recommendation, Entry)| {
        let mut after = before.clone();
        if let Some(own) = &mut after.own {
            own.status = before.status;
            own.version = own.version.saturating_add(1);
            if before.status == Status::Dismissed {
                own.dismissed_priority = Some(before.priority);
            }
        }
        let takes = is_open(before.status) && !was_open(before);
        let is_second = takes && question(before).is_some_and(|question| !held.insert(question));
        let mut step = Step {
            before: Some(before.clone()),
            after,
            entries: vec![seen],
            done: Done::Moved,
        };
        if is_second {
            expire(&mut step, "the question has another open answer", now);
        }
        step
    };
    moved.into_iter().map(step).collect()
}

/// What is to be written about one topic. `all` are the recommendations there are.
pub fn steps(
    topic: &Topic,
    assessment: &Assessment,
    all: &[Recommendation],
    now: DateTime<Utc>,
) -> Result<Vec<Step>, serde_json::Error> {
    let about = || all.iter().filter(|it| topic.is_of(it));
    let mut steps = Vec::new();
    let mut answered = None;
    match assessment {
        Assessment::Holds(facts) => {
            answered = Some(topic.question(facts.kind).key());
            steps.extend(answer(topic, facts, true, all, now)?);
        }
        Assessment::Weak(facts) => {
            answered = Some(topic.question(facts.kind).key());
            steps.extend(answer(topic, facts, false, all, now)?);
        }
        Assessment::Gone => {
            let open = about().filter(|it| is_open(it.status));
            steps.extend(open.filter_map(|it| cleared(it, now)));
            return Ok(steps);
        }
        Assessment::Unknown(_) => {}
    }
    // Open answers of another kind were not reproduced.
    let others = about().filter(|it| {
        let question = it.own.as_ref().map(|own| &own.question);
        is_open(it.status) && question != answered.as_ref()
    });
    steps.extend(others.filter_map(|it| unseen(it, now)));
    Ok(steps)
}

fn answer(
    topic: &Topic,
    facts: &Facts,
    holds: bool,
    all: &[Recommendation],
    now: DateTime<Utc>,
) -> Result<Option<Step>, serde_json::Error> {
    let key = topic.question(facts.kind).key();
    let of_question = |it: &&Recommendation| it.own.as_ref().is_some_and(|own| own.question == key);
    let same = || all.iter().filter(of_question);
    if let Some(open) = same().find(|it| is_open(it.status)) {
        return refresh(open, facts, now).map(Some);
    }
    if !holds {
        return Ok(None);
    }
    let newest = same().max_by_key(|it| (it.created_at, &it.id));
    Ok(match newest {
        None => Some(made(topic, facts, None, now)?),
        Some(old) => match old.status {
            Status::Dismissed => {
                let own = old.own.as_ref();
                let ended = dismissal_has_ended(
                    own.and_then(|own| own.snoozed_until),
                    own.and_then(|own| own.dismissed_priority),
                    facts.priority,
                    now,
                );
                ended.then(|| reopen(old, facts, now)).transpose()?
            }
            Status::Expired if may_return(old.updated_at, now) => Some(reopen(old, facts, now)?),
            // What was done shows in the measurements only after a while.
            Status::Implemented if !is_measurable(old, now) => None,
            _ => Some(made(topic, facts, Some(old), now)?),
        },
    })
}

fn made(
    topic: &Topic,
    facts: &Facts,
    predecessor: Option<&Recommendation>,
    now: DateTime<Utc>,
) -> Result<Step, serde_json::Error> {
    let facts = noted(facts, None);
    let question = topic.question(facts.kind).key();
    let mut after = Recommendation {
        id: id::derived(now, question.as_bytes()).to_string(),
        service: topic.service,
        metric: Some(topic.metric),
        current_plan: topic.plan.clone(),
        recommended_plan: String::new(),
        priority: facts.priority,
        status: Status::Pending,
        numbers: facts.numbers(),
        reason: String::new(),
        benefits: Vec::new(),
        risks: Vec::new(),
        reviewed_by: None,
        review_notes: None,
        reviewed_at: None,
        implemented_at: None,
        expires_at: None,
        created_at: now,
        updated_at: now,
        own: Some(Own {
            question,
            resource: topic.resource.clone(),
            kind: facts.kind,
            version: 1,
            status: Status::Pending,
            facts: StoredFacts::new(facts.clone())?,
            catalogue_version: facts.catalogue_version.clone(),
            last_seen_at: now,
            seen_count: 1,
            unseen_count: 0,
            cleared_count: 0,
            unseen_since: None,
            dismissed_priority: None,
            snoozed_until: None,
            reopened_count: 0,
            predecessor_id: predecessor.map(|old| old.id.clone()),
            outcome: None,
        }),
    };
    say(&mut after, &facts);
    let first = Entry {
        from: None,
        ..entry(&after, Actor::Engine, ENGINE, Status::Pending, now)
    };
    Ok(Step {
        before: None,
        after,
        entries: vec![first],
        done: Done::Made,
    })
}

fn refresh(
    before: &Recommendation,
    facts: &Facts,
    now: DateTime<Utc>,
) -> Result<Step, serde_json::Error> {
    let mut after = before.clone();
    let old = before.facts();
    let changes = old.map_or(Vec::new(), |old| changes(old, facts));
    let facts = noted(facts, old.filter(|_| changes.is_empty()));
    let frozen = is_frozen(before.status);
    let mut done = if frozen {
        Done::Frozen
    } else {
        Done::Refreshed
    };
    let mut entries = Vec::new();
    if let Some(own) = &mut after.own {
        own.last_seen_at = now;
        own.seen_count = own.seen_count.saturating_add(1);
        own.unseen_count = 0;
        own.unseen_since = None;
        own.cleared_count = 0;
        if !frozen {
            own.facts = StoredFacts::new(facts.clone())?;
            own.catalogue_version.clone_from(&facts.catalogue_version);
        }
    }
    if !frozen {
        say(&mut after, &facts);
        if !changes.is_empty() {
            done = Done::Changed;
            // Whoever looked at it looked at other figures.
            let to = Status::Pending;
            let note = (before.status == Status::Reviewed)
                .then(|| "the figures changed since it was reviewed".to_owned());
            entries.push(Entry {
                from: Some(before.status),
                note,
                changes,
                ..entry(&after, Actor::Engine, ENGINE, to, now)
            });
            move_to(&mut after, to);
        }
    }
    touch(before, &mut after, now);
    Ok(Step {
        before: Some(before.clone()),
        after,
        entries,
        done,
    })
}

fn reopen(
    before: &Recommendation,
    facts: &Facts,
    now: DateTime<Utc>,
) -> Result<Step, serde_json::Error> {
    let mut after = before.clone();
    let snooze = before.own.as_ref().and_then(|own| own.snoozed_until);
    let still_asleep = snooze.is_none_or(|until| until > now);
    let facts = noted(facts, None);
    if let Some(own) = &mut after.own {
        own.facts = StoredFacts::new(facts.clone())?;
        own.catalogue_version.clone_from(&facts.catalogue_version);
        own.last_seen_at = now;
        own.seen_count = own.seen_count.saturating_add(1);
        own.reopened_count = own.reopened_count.saturating_add(1);
        own.unseen_count = 0;
        own.unseen_since = None;
        own.cleared_count = 0;
        own.dismissed_priority = None;
        own.snoozed_until = None;
    }
    let note = match before.status {
        Status::Dismissed if still_asleep => "it is more urgent than when it was dismissed",
        Status::Dismissed => "its dismissal has ended and its reason holds",
        _ => "its reason is back",
    };
    say(&mut after, &facts);
    let again = Entry {
        from: Some(before.status),
        note: Some(note.to_owned()),
        changes: before
            .facts()
            .map_or(Vec::new(), |old| changes(old, &facts)),
        ..entry(&after, Actor::Engine, ENGINE, Status::Pending, now)
    };
    move_to(&mut after, Status::Pending);
    touch(before, &mut after, now);
    Ok(Step {
        before: Some(before.clone()),
        after,
        entries: vec![again],
        done: Done::Reopened,
    })
}

/// The condition is gone. An approved one stays: somebody decided.
fn cleared(before: &Recommendation, now: DateTime<Utc>) -> Option<Step> {
    let mut after = before.clone();
    let own = after.own.as_mut()?;
    own.cleared_count = own.cleared_count.saturating_add(1);
    own.unseen_count = 0;
    own.unseen_since = None;
    let gone = is_cleared(own.cleared_count).then_some("the limit is not near any more");
    ended(before, after, gone, now)
}

/// It was not reproduced in this run.
pub fn unseen(before: &Recommendation, now: DateTime<Utc>) -> Option<Step> {
    let measured = before.facts().map(|facts| facts.measured_at);
    let stale = measured.is_some_and(|measured| now - measured > trigger::USABLE);
    let mut after = before.clone();
    let own = after.own.as_mut()?;
    own.unseen_count = own.unseen_count.saturating_add(1);
    own.unseen_since = own.unseen_since.or(Some(now));
    let gone = if stale {
        Some("its measurements are older than 14 days")
    } else if is_unseen_too_long(own.unseen_count, own.unseen_since, now) {
        Some("it was not reproduced for a week")
    } else {
        None
    };
    ended(before, after, gone, now)
}

/// The plan that it is about is not in use any more.
pub fn plan_changed(before: &Recommendation, now: DateTime<Utc>) -> Option<Step> {
    ended(before, before.clone(), Some("another plan is in use"), now)
}

fn ended(
    before: &Recommendation,
    after: Recommendation,
    gone: Option<&str>,
    now: DateTime<Utc>,
) -> Option<Step> {
    let may = lifecycle::find(before.status, Status::Expired, Actor::Engine).is_some();
    let Some(why) = gone.filter(|_| may) else {
        // Counted up to what it takes, and not for ever: nothing else changes.
        let counts = |it: &Recommendation| {
            let own = it.own.as_ref()?;
            Some((
                own.cleared_count.min(2),
                own.unseen_count.min(3),
                own.unseen_since,
            ))
        };
        return (counts(before) != counts(&after) && !is_frozen(before.status)).then(|| Step {
            before: Some(before.clone()),
            after,
            entries: Vec::new(),
            done: Done::Waiting,
        });
    };
    let mut step = Step {
        before: Some(before.clone()),
        after,
        entries: Vec::new(),
        done: Done::Expired,
    };
    expire(&mut step, why, now);
    Some(step)
}

/// Ends what a step has come to.
fn expire(step: &mut Step, why: &str, now: DateTime<Utc>) {
    step.entries.push(Entry {
        note: Some(why.to_owned()),
        ..entry(&step.after, Actor::Engine, ENGINE, Status::Expired, now)
    });
    move_to(&mut step.after, Status::Expired);
    step.after.updated_at = now;
    step.done = Done::Expired;
}

/// Takes one step: the status of both rows and the version.
fn move_to(it: &mut Recommendation, to: Status) {
    if it.status != to && to == Status::Pending {
        // Nobody has looked at what is pending; who did before is in the history.
        it.reviewed_by = None;
        it.reviewed_at = None;
        it.review_notes = None;
    }
    it.status = to;
    if let Some(own) = &mut it.own {
        own.status = to;
        own.version = own.version.saturating_add(1);
    }
}

/// Says when it changed last, if any of the application's columns did.
fn touch(before: &Recommendation, after: &mut Recommendation, now: DateTime<Utc>) {
    let own = after.own.take();
    let same = Recommendation {
        own: None,
        ..before.clone()
    } == *after;
    after.own = own;
    if !same {
        after.updated_at = now;
    }
}

/// The application's columns, from the facts.
fn say(it: &mut Recommendation, facts: &Facts) {
    it.recommended_plan = facts.recommended_plan().to_owned();
    it.priority = facts.priority;
    it.numbers = facts.numbers();
    it.reason = Story::of(facts).template();
    it.benefits = bullets::benefits(facts);
    it.risks = bullets::risks(facts);
    it.expires_at = Some(facts.measured_at + trigger::USABLE);
}

/// The facts with what later ones are compared with: what was last written into the history. Else many small
/// changes would come to a large one that nobody was told of.
fn noted(facts: &Facts, unchanged: Option<&Facts>) -> Facts {
    let mut facts = facts.clone();
    let baseline = unchanged.and_then(|old| old.baseline.clone());
    facts.baseline = Some(baseline.unwrap_or_else(|| Baseline::of(&facts)));
    facts
}

/// What changed so much that whoever looked at it should look again; nothing if it is no more than noise.
fn changes(old: &Facts, new: &Facts) -> Vec<Change> {
    let before = old.baseline.clone().unwrap_or_else(|| Baseline::of(old));
    let after = Baseline::of(new);
    let mut changes = Vec::new();
    let mut change = |name: &str, from: String, to: String| {
        changes.push(Change {
            name: name.to_owned(),
            from,
            to,
        });
    };
    if before.priority != after.priority {
        change(
            "priority",
            before.priority.to_string(),
            after.priority.to_string(),
        );
    }
    if before.target != after.target {
        change(
            "answer",
            before.target.to_string(),
            after.target.to_string(),
        );
    }
    let day = |at: Option<DateTime<Utc>>| {
        at.map_or_else(
            || "not in sight".to_owned(),
            |at| at.format("%Y-%m-%d").to_string(),
        )
    };
    let moves = match (before.reaches, after.reaches) {
        (None, None) => false,
        (Some(from), Some(to)) => {
            let (by, left) = ((to - from).abs(), (from - new.measured_at).abs());
            // Of a few days a quarter is less than the forecast can tell.
            by > TimeDelta::days(7) || (by > left / 4 && by >= TimeDelta::days(2))
        }
        _ => true,
    };
    if moves {
        change("limit reached", day(before.reaches), day(after.reaches));
    }
    let dollars = |value: Option<Decimal>| {
        value.map_or_else(
            || "unknown".to_owned(),
            |value| super::figure::spell(value, super::figure::Unit::Usd),
        )
    };
    let dearer = match (before.extra, after.extra) {
        (None, None) => false,
        (Some(from), Some(to)) => {
            let by = (to - from).abs();
            // Cents come and go with every measurement.
            by * Decimal::TEN > from.abs() && by >= Decimal::ONE
        }
        _ => true,
    };
    if dearer {
        change("extra cost", dollars(before.extra), dollars(after.extra));
    }
    changes
}

/// Whether what came of it can be measured by now.
fn is_measurable(it: &Recommendation, now: DateTime<Utc>) -> bool {
    const AFTER: TimeDelta = TimeDelta::days(14);
    it.implemented_at.is_none_or(|done| now - done >= AFTER)
}

/// What came of a recommendation that was implemented: what it had predicted, and what was measured 14 days later
/// or more. Nothing while it is too early, or written down already.
pub fn outcome(
    before: &Recommendation,
    measured: Option<(DateTime<Utc>, f64)>,
    now: DateTime<Utc>,
) -> Option<Step> {
    const AT_LAST: TimeDelta = TimeDelta::days(30);
    let own = before.own.as_ref()?;
    let done = before.implemented_at?;
    let due = before.status == Status::Implemented && own.outcome.is_none();
    let fresh = measured.filter(|(at, _)| trigger::is_fresh(*at, now));
    if !due || !is_measurable(before, now) || (fresh.is_none() && now - done < AT_LAST) {
        return None;
    }
    let predicted = before.facts().map(|facts| &facts.outlook.days_to_limit);
    let outcome = serde_json::json!({
        "measured_at": fresh.map(|(at, _)| at),
        "usage": fresh.map(|(_, usage)| usage),
        "usage_when_decided": before.numbers.current_usage,
        "limit_when_decided": before.numbers.limit_value,
        "days_to_limit_predicted": predicted.and_then(|figure| figure.value),
        "days_since_implemented": (now - done).num_days(),
        "would_be_over": fresh.zip(before.numbers.limit_value).map(|((_, usage), limit)| usage > limit),
        "cost_predicted": before.numbers.projected_cost,
    });
    let mut after = before.clone();
    if let Some(own) = &mut after.own {
        own.outcome = Some(outcome.to_string());
        own.version = own.version.saturating_add(1);
    }
    let note = Some("what came of it was measured".to_owned());
    let measured = Entry {
        note,
        ..entry(&after, Actor::Engine, ENGINE, before.status, now)
    };
    Some(Step {
        before: Some(before.clone()),
        after,
        entries: vec![measured],
        done: Done::Measured,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::metrics::names::Priority;
    use crate::domain::recommendation::sample::{facts, now, topic};

    /// What is stored: recommendations and how many steps their histories have.
    #[derive(Default)]
    struct Store {
        all: Vec<Recommendation>,
        steps: usize,
        last_note: Option<String>,
    }

    impl Store {
        fn run(&mut self, assessment: &Assessment, now: DateTime<Utc>) -> Vec<Done> {
            let steps = steps(&topic(), assessment, &self.all, now).unwrap();
            steps.into_iter().map(|step| self.take(step)).collect()
        }

        fn take(&mut self, step: Step) -> Done {
            self.all.retain(|it| it.id != step.after.id);
            self.all.push(step.after);
            self.steps += step.entries.len();
            self.last_note = step.entries.last().and_then(|entry| entry.note.clone());
            step.done
        }

        fn one(&mut self) -> &mut Recommendation {
            assert_eq!(self.all.len(), 1);
            &mut self.all[0]
        }

        /// Somebody else moves it.
        fn put(&mut self, status: Status, at: DateTime<Utc>) {
            let it = self.one();
            it.status = status;
            it.updated_at = at;
            let own = it.own.as_mut().unwrap();
            own.status = status;
            own.dismissed_priority = (status == Status::Dismissed).then_some(it.priority);
        }
    }

    fn holds(facts: Facts) -> Assessment {
        Assessment::Holds(Box::new(facts))
    }

    fn later(days: i64) -> DateTime<Utc> {
        now() + TimeDelta::days(days)
    }

    #[test]
    fn a_hundred_runs_leave_one_open_row_and_one_step() {
        let mut store = Store::default();
        assert_eq!(store.run(&holds(facts()), now()), [Done::Made]);
        for run in 1..100 {
            let at = now() + TimeDelta::minutes(15 * run);
            assert_eq!(store.run(&holds(facts()), at), [Done::Refreshed]);
        }
        assert_eq!(store.steps, 1);
        let it = store.one();
        assert_eq!((it.status, it.updated_at), (Status::Pending, now()));
        let own = it.own.as_ref().unwrap();
        assert_eq!((own.seen_count, own.version), (100, 1));
    }

    #[test]
    fn many_small_changes_are_told_when_they_come_to_a_large_one() {
        let mut store = Store::default();
        let mut facts = facts();
        store.run(&holds(facts.clone()), now());
        let mut told = 0;
        for _ in 0..10 {
            let days = facts.outlook.days_to_limit.value.unwrap();
            facts.outlook.days_to_limit.value = Some(days + Decimal::ONE);
            told += usize::from(store.run(&holds(facts.clone()), now()) == [Done::Changed]);
        }
        assert_eq!((told, store.steps), (1, 2));
    }

    #[test]
    fn who_reviewed_other_figures_reviews_again_and_who_approved_is_not_asked() {
        let mut urgent = facts();
        urgent.priority = Priority::Critical;
        let mut store = Store::default();
        store.run(&holds(facts()), now());
        store.put(Status::Reviewed, now());
        assert_eq!(store.run(&holds(urgent.clone()), now()), [Done::Changed]);
        assert_eq!(store.one().status, Status::Pending);

        store.put(Status::Approved, now());
        let decided = store.one().clone();
        assert_eq!(store.run(&holds(facts()), later(1)), [Done::Frozen]);
        let it = store.one();
        assert_eq!((it.numbers, &it.reason), (decided.numbers, &decided.reason));
        assert_eq!(it.updated_at, decided.updated_at);
        assert_eq!(store.run(&Assessment::Gone, later(2)), []);
    }

    #[test]
    fn what_was_dismissed_stays_so_until_it_is_more_urgent_or_the_snooze_ends() {
        let mut store = Store::default();
        store.run(&holds(facts()), now());
        store.put(Status::Dismissed, now());
        assert_eq!(store.run(&holds(facts()), later(1)), []);
        let mut urgent = facts();
        urgent.priority = Priority::Critical;
        assert_eq!(store.run(&holds(urgent), later(1)), [Done::Reopened]);
        assert_eq!(
            store.last_note.as_deref(),
            Some("it is more urgent than when it was dismissed")
        );
        let own = store.one().own.clone().unwrap();
        assert_eq!((own.reopened_count, own.dismissed_priority), (1, None));

        store.put(Status::Dismissed, later(1));
        store.one().own.as_mut().unwrap().snoozed_until = Some(later(5));
        assert_eq!(store.run(&holds(facts()), later(4)), []);
        assert_eq!(
            store.run(&Assessment::Weak(Box::new(facts())), later(5)),
            []
        );
        assert_eq!(store.run(&holds(facts()), later(5)), [Done::Reopened]);
        assert_eq!(
            store.last_note.as_deref(),
            Some("its dismissal has ended and its reason holds")
        );
    }

    #[test]
    fn a_condition_that_is_gone_twice_ends_it_and_one_that_returns_brings_it_back() {
        let mut store = Store::default();
        store.run(&holds(facts()), now());
        assert_eq!(store.run(&Assessment::Gone, later(1)), [Done::Waiting]);
        assert_eq!(
            store.run(&Assessment::Weak(Box::new(facts())), later(1)),
            [Done::Refreshed]
        );
        assert_eq!(store.run(&Assessment::Gone, later(2)), [Done::Waiting]);
        assert_eq!(store.run(&Assessment::Gone, later(2)), [Done::Expired]);
        assert_eq!(store.run(&Assessment::Gone, later(3)), []);
        assert_eq!(store.run(&holds(facts()), later(32)), [Done::Reopened]);
        store.put(Status::Expired, later(40));
        assert_eq!(store.run(&holds(facts()), later(71)), [Done::Made]);
        let new = store
            .all
            .iter()
            .find(|it| it.status == Status::Pending)
            .unwrap();
        assert!(new.own.as_ref().unwrap().predecessor_id.is_some());
    }

    #[test]
    fn silence_ends_it_after_three_runs_and_a_week() {
        let mut store = Store::default();
        store.run(&holds(facts()), now());
        let silence = Assessment::Unknown("no data".to_owned());
        for day in 1..8 {
            let done = store.run(&silence, later(day));
            // After the third nothing is counted any more, and nothing is written.
            assert!(
                done == [Done::Waiting] || (day > 3 && done.is_empty()),
                "{day}: {done:?}"
            );
        }
        assert_eq!(store.run(&silence, later(8)), [Done::Expired]);
        // Measurements that are too old end it at once.
        let mut store = Store::default();
        store.run(&holds(facts()), now());
        assert_eq!(store.run(&silence, later(15)), [Done::Expired]);
    }

    #[test]
    fn what_was_done_is_measured_after_a_fortnight_and_asked_again_only_then() {
        let mut store = Store::default();
        store.run(&holds(facts()), now());
        store.put(Status::Implemented, now());
        store.one().implemented_at = Some(now());
        assert_eq!(store.run(&holds(facts()), later(13)), []);
        assert_eq!(
            outcome(store.one(), Some((later(13), 300.0)), later(13)),
            None
        );
        assert_eq!(outcome(store.one(), None, later(14)), None);
        let step = outcome(store.one(), Some((later(14), 300.0)), later(14)).unwrap();
        let told = step.after.own.clone().unwrap().outcome.unwrap();
        assert!(told.contains("\"would_be_over\":true"), "{told}");
        store.take(step);
        assert_eq!(
            outcome(store.one(), Some((later(15), 300.0)), later(15)),
            None
        );
        assert_eq!(store.run(&holds(facts()), later(15)), [Done::Made]);
    }

    #[test]
    fn what_the_application_did_stands_and_is_written_down() {
        let mut store = Store::default();
        store.run(&holds(facts()), now());
        // It knows nothing of our columns.
        store.one().status = Status::Dismissed;
        let mut steps = moved_by_application(&store.all, later(1));
        assert_eq!(steps[0].entries[0].actor_kind, Actor::Application);
        store.take(steps.remove(0));
        assert_eq!(moved_by_application(&store.all, later(1)), []);
        assert_eq!(store.run(&holds(facts()), later(1)), []);
        assert_eq!(store.one().own.as_ref().unwrap().version, 2);
    }

    #[test]
    fn what_the_application_opens_beside_an_open_answer_is_ended_at_once() {
        let mut store = Store::default();
        store.run(&holds(facts()), now());
        store.put(Status::Expired, now());
        assert_eq!(store.run(&holds(facts()), later(31)), [Done::Made]);
        let old = |store: &Store| store.all.iter().position(|it| it.created_at == now());
        let index = old(&store).unwrap();
        store.all[index].status = Status::Pending;
        let mut steps = moved_by_application(&store.all, later(32));
        assert_eq!(steps.len(), 1);
        let step = steps.remove(0);
        let told: Vec<_> = step
            .entries
            .iter()
            .map(|entry| (entry.actor_kind, entry.from, entry.to))
            .collect();
        let ends = [
            (Actor::Application, Some(Status::Expired), Status::Pending),
            (Actor::Engine, Some(Status::Pending), Status::Expired),
        ];
        assert_eq!(told, ends);
        assert_eq!(step.after.status, Status::Expired);
        store.take(step);
        assert_eq!(moved_by_application(&store.all, later(32)), []);
        assert_eq!(store.run(&holds(facts()), later(32)), [Done::Refreshed]);

        // Closing the one makes room for the other, in this order.
        let index = old(&store).unwrap();
        for (at, it) in store.all.iter_mut().enumerate() {
            it.status = match at == index {
                true => Status::Pending,
                false => Status::Dismissed,
            };
        }
        let steps = moved_by_application(&store.all, later(33));
        let now: Vec<_> = steps.iter().map(|step| step.after.status).collect();
        assert_eq!(now, [Status::Dismissed, Status::Pending]);
    }

    #[test]
    fn another_plan_ends_what_is_open_but_not_what_was_approved() {
        let mut store = Store::default();
        store.run(&holds(facts()), now());
        let step = plan_changed(store.one(), now()).unwrap();
        assert_eq!(
            (step.done, step.after.status),
            (Done::Expired, Status::Expired)
        );
        store.put(Status::Approved, now());
        assert_eq!(plan_changed(store.one(), now()), None);
    }
}
