//! Reconciles the stored recommendations with a new assessment of every limit: the next state of each one, and
//! its history entries. Values in, values out; the moves are those of [`super::lifecycle`].

mod changes;
mod outcome;

use std::cmp::Reverse;
use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};

use self::changes::{material_changes, with_baseline};
pub use self::outcome::outcome;
use super::assess::Assessment;
use super::facts::{Facts, StoredFacts};
use super::lifecycle::history::Entry;
use super::lifecycle::transition::apply;
use super::lifecycle::{Actor, is_frozen};
use super::prose::bullets;
use super::prose::summary::summary;
use super::snapshot::{Assessed, Snapshot};
use super::{Recommendation, Topic, Tracking, is_open};
use crate::domain::id;
use crate::domain::metrics::names::{Priority, Status};
use crate::domain::named::named;

/// The engine's name in the history.
const ENGINE: &str = "recommend run";

/// The time for which every run must find the limit no longer near before a recommendation expires. Usage has a daily
/// rhythm: a limit that is near by day is not at night.
const CLEARED_TIME: TimeDelta = TimeDelta::days(1);
/// After it reopened, which may be the rhythm of the week.
const CLEARED_AGAIN: TimeDelta = TimeDelta::days(7);

/// Such runs at least: a single one may be noise of the forecast.
const CLEARED_RUNS: i32 = 2;

/// The number of runs that find no limit of a recommendation any more, and their time, after which it expires.
const UNSEEN_RUNS: i32 = 3;
const UNSEEN_TIME: TimeDelta = TimeDelta::days(7);

/// An expired recommendation may return for this time; later it is a new one with a predecessor.
const RETURNS: TimeDelta = TimeDelta::days(30);

/// Older measurements are too old to act on the recommendation that was made from them.
const USABLE: TimeDelta = TimeDelta::days(14);

/// A recommendation to be written, with its new history entries.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// As it was read; none for a new one.
    pub before: Option<Recommendation>,
    pub after: Recommendation,
    pub entries: Vec<Entry>,
    pub action: RunAction,
}

named! {
    /// What a run did with a recommendation.
    RunAction, "action" {
        Created = "new",
        /// Its figures are current and not materially different.
        Refreshed = "refreshed",
        /// Its figures changed materially.
        Changed = "changed",
        Reopened = "reopened",
        Expired = "expired",
        /// It was approved, and the recommended plan is in use now.
        Implemented = "implemented",
        /// It was not reproduced, or its condition cleared; too few times to expire.
        Waiting = "waiting",
        /// Its figures are kept as they were approved.
        Frozen = "frozen",
        Moved = "moved by the application",
        Measured = "outcome measured",
    }
}

impl Update {
    fn of(before: &Recommendation, after: Recommendation, action: RunAction) -> Update {
        Update {
            before: Some(before.clone()),
            after,
            entries: Vec::new(),
            action,
        }
    }

    /// Expires the recommendation in its new state.
    fn expire(&mut self, reason: &str, now: DateTime<Utc>) {
        self.close(Status::Expired, reason, now);
        self.action = RunAction::Expired;
    }

    fn close(&mut self, to: Status, reason: &str, now: DateTime<Utc>) {
        self.entries.push(Entry {
            note: Some(reason.to_owned()),
            ..Entry::new(&self.after, Actor::Engine, ENGINE, to, now)
        });
        apply(&mut self.after, to);
        self.after.updated_at = Some(now);
    }
}

/// Records the changes of status that the application made.
///
/// They stand, except that a question has one open answer: one that the application opened beside another open
/// one expires at once.
pub fn moved_by_application(all: &[Recommendation], now: DateTime<Utc>) -> Vec<Update> {
    let was_open =
        |it: &Recommendation| it.tracking.as_ref().is_some_and(|own| is_open(own.status));
    let changed = |it| Some((it, Entry::of_application(it, now)?));
    let mut moved: Vec<(&Recommendation, Entry)> = all.iter().filter_map(changed).collect();
    // One answer closes before another opens; of two that open, the newer one stays.
    moved.sort_by_key(|(it, _)| (is_open(it.status), Reverse(it.created_at), &it.id));
    let question = |it: &Recommendation| Some(it.tracking.as_ref()?.question.clone());
    let still_open = all.iter().filter(|it| is_open(it.status) && was_open(it));
    let mut answered: HashSet<String> = still_open.filter_map(question).collect();
    let update = |(before, entry): (&Recommendation, Entry)| {
        let mut after = before.clone();
        if let Some(tracking) = &mut after.tracking {
            tracking.status = before.status;
            tracking.version = tracking.version.saturating_add(1);
            if before.status == Status::Dismissed {
                tracking.dismissed_priority = Some(before.priority);
            }
        }
        let opens = is_open(before.status) && !was_open(before);
        let is_second = opens && question(before).is_some_and(|it| !answered.insert(it));
        let mut update = Update::of(before, after, RunAction::Moved);
        update.entries.push(entry);
        if is_second {
            update.expire("the question has another open answer", now);
        }
        update
    };
    moved.into_iter().map(update).collect()
}

/// The updates for one question, given the recommendations that answer it.
pub fn reconcile(
    assessed: &Assessed,
    stored: &[Recommendation],
    now: DateTime<Utc>,
) -> Vec<Update> {
    let topic = &assessed.topic;
    let mut stored_here = stored.iter();
    let open = stored_here.find(|it| is_open(it.status) && topic.matches(it));
    // An answer about another plan makes room before a new one opens.
    let (open, other) = match open {
        Some(open) if open.current_plan != topic.plan => {
            match plan_changed(open, &topic.plan, now) {
                None => return Vec::new(),
                other => (None, other),
            }
        }
        open => (open, None),
    };
    let answer = match &assessed.assessment {
        Assessment::Recommend(facts) => answer(topic, facts, open, stored, now),
        Assessment::Keep(facts) => open.map(|it| refresh(it, facts, now)),
        Assessment::Unknown => open.and_then(|it| unseen(it, false, now)),
        Assessment::Clear => open.and_then(|it| cleared(it, now)),
    };
    other.into_iter().chain(answer).collect()
}

/// The updates for recommendations of topics that have no limit any more, and of implemented ones.
pub fn reconcile_rest(
    stored: &[Recommendation],
    assessed: &[Assessed],
    snapshot: &Snapshot,
    now: DateTime<Utc>,
) -> Vec<Update> {
    let update = |it: &Recommendation| {
        it.tracking.as_ref()?;
        let metric = it.metric?;
        if !is_open(it.status) {
            let capacity = it.capacity(&snapshot.capacities);
            let newest = capacity.and_then(|found| found.measured_at.zip(found.usage));
            return outcome(it, newest, now);
        }
        if assessed.iter().any(|one| one.topic.matches(it)) {
            return None;
        }
        let mut limits = snapshot.limits.iter();
        match limits.find(|limit| (limit.service, limit.metric) == (it.service, metric)) {
            Some(limit) if limit.plan != it.current_plan => plan_changed(it, &limit.plan, now),
            _ => unseen(it, true, now),
        }
    };
    stored.iter().filter_map(update).collect()
}

/// The approved recommendations for a plan that is not in use any more, each with the plan in use: no other answers their
/// question before a person closes them.
pub fn outdated_approvals<'a>(
    stored: &'a [Recommendation],
    assessed: &'a [Assessed],
) -> impl Iterator<Item = (&'a Recommendation, &'a str)> {
    let approved = stored.iter().filter(|it| it.status == Status::Approved);
    approved.filter_map(|it| {
        let topic = &assessed.iter().find(|one| one.topic.matches(it))?.topic;
        (topic.plan != it.current_plan).then_some((it, topic.plan.as_str()))
    })
}

fn answer(
    topic: &Topic,
    facts: &Facts,
    open: Option<&Recommendation>,
    stored: &[Recommendation],
    now: DateTime<Utc>,
) -> Option<Update> {
    /// The plan in use is changed within a day of the implementation, or the question is open again.
    const SETTLES: TimeDelta = TimeDelta::days(1);
    let answers = stored.iter().filter(|it| topic.matches(it));
    let newest = || answers.max_by_key(|it| (it.created_at, &it.id));
    let Some(old) = open.or_else(newest) else {
        return Some(create(topic, facts, None, now));
    };
    let new = || Some(create(topic, facts, Some((old, stored.len())), now));
    // Another plan is another decision.
    if old.current_plan != topic.plan {
        return new();
    }
    match old.status {
        Status::Pending | Status::Reviewed | Status::Approved => Some(refresh(old, facts, now)),
        Status::Dismissed => {
            let own = old.tracking.as_ref()?;
            let awake = own.snoozed_until.is_some_and(|until| until <= now);
            let dismissed = own.dismissed_priority;
            let ended = awake || dismissed.is_some_and(|dismissed| facts.priority > dismissed);
            ended.then(|| refresh(old, facts, now))
        }
        Status::Expired => match old.updated_at {
            Some(at) if now - at <= RETURNS => Some(refresh(old, facts, now)),
            _ => new(),
        },
        Status::Implemented => match old.implemented_at {
            Some(done) if now - done < SETTLES => None,
            _ => new(),
        },
    }
}

/// Creates an answer after `earlier` ones: the newest, and their number.
fn create(
    topic: &Topic,
    facts: &Facts,
    earlier: Option<(&Recommendation, usize)>,
    now: DateTime<Utc>,
) -> Update {
    let facts = with_baseline(facts, None);
    let question = topic.key();
    // Earlier answers may have been created at the same instant.
    let number = earlier.map_or(String::new(), |(_, count)| count.to_string());
    let predecessor = earlier.map(|(newest, _)| newest);
    let mut after = Recommendation {
        id: id::derived(now, format!("{question}{number}").as_bytes()).to_string(),
        service: facts.service,
        metric: Some(facts.metric),
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
        created_at: Some(now),
        updated_at: Some(now),
        tracking: Some(Tracking {
            question,
            resource: topic.resource.clone(),
            kind: facts.kind,
            version: 1,
            status: Status::Pending,
            facts: StoredFacts::new(facts.clone()),
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
    set_columns(&mut after, &facts);
    let first = Entry {
        from: None,
        ..Entry::new(&after, Actor::Engine, ENGINE, Status::Pending, now)
    };
    Update {
        before: None,
        after,
        entries: vec![first],
        action: RunAction::Created,
    }
}

/// Gives a recommendation new facts; a closed one reopens.
fn refresh(before: &Recommendation, facts: &Facts, now: DateTime<Utc>) -> Update {
    let old = before.facts();
    let changes = old.map_or(Vec::new(), |old| material_changes(old, facts));
    let snooze = before.tracking.as_ref().and_then(|own| own.snoozed_until);
    let note = match before.status {
        Status::Dismissed if snooze.is_some_and(|until| until <= now) => {
            Some("the dismissal ended and the condition persists")
        }
        Status::Dismissed => Some("the priority is higher than when it was dismissed"),
        Status::Expired => Some("the condition returned"),
        Status::Reviewed if !changes.is_empty() => Some("the figures changed since the review"),
        _ => None,
    };
    let mut update = Update::of(before, before.clone(), RunAction::Refreshed);
    let after = &mut update.after;
    if let Some(tracking) = &mut after.tracking {
        tracking.count_seen(now);
    }
    if before.status == Status::Approved {
        update.action = RunAction::Frozen;
        return update;
    }
    let is_material = note.is_some() || !changes.is_empty();
    let facts = with_baseline(facts, old.filter(|_| !is_material));
    if let Some(tracking) = &mut after.tracking {
        tracking.kind = facts.kind;
        tracking.catalogue_version = facts.catalogue_version.clone();
        tracking.facts = StoredFacts::new(facts.clone());
    }
    set_columns(after, &facts);
    if is_material {
        update.entries.push(Entry {
            note: note.map(str::to_owned),
            changes,
            ..Entry::new(after, Actor::Engine, ENGINE, Status::Pending, now)
        });
        apply(after, Status::Pending);
        update.action = if is_open(before.status) {
            RunAction::Changed
        } else {
            RunAction::Reopened
        };
    }
    touch(before, after, now);
    update
}

/// The condition cleared.
fn cleared(before: &Recommendation, now: DateTime<Utc>) -> Option<Update> {
    let mut after = before.clone();
    let tracking = after.tracking.as_mut()?;
    if tracking.cleared_count == 0 {
        tracking.reset_absence();
    }
    tracking.cleared_count = tracking.cleared_count.saturating_add(1);
    tracking.unseen_count = 0;
    let since = *tracking.unseen_since.get_or_insert(now);
    let (time, reason) = match tracking.reopened_count {
        0 => (CLEARED_TIME, "the limit was not near for a day"),
        _ => (CLEARED_AGAIN, "the limit was not near for a week"),
    };
    let is_cleared = tracking.cleared_count >= CLEARED_RUNS && now - since >= time;
    let reason = is_cleared.then_some(reason);
    expired_or_waiting(before, after, reason, now)
}

/// The run did not reproduce the recommendation. It expires only if its limits are gone: an unknown limit may be near.
fn unseen(before: &Recommendation, is_gone: bool, now: DateTime<Utc>) -> Option<Update> {
    let mut after = before.clone();
    let tracking = after.tracking.as_mut()?;
    if tracking.cleared_count > 0 {
        tracking.reset_absence();
    }
    tracking.unseen_count = tracking.unseen_count.saturating_add(1);
    let since = *tracking.unseen_since.get_or_insert(now);
    let is_long = tracking.unseen_count >= UNSEEN_RUNS && now - since >= UNSEEN_TIME;
    let reason = (is_gone && is_long).then_some("not reproduced for a week");
    expired_or_waiting(before, after, reason, now)
}

/// The open recommendations whose measurements are too old: their limits may still be near.
pub fn still_unmeasured<'a>(
    all: &'a [Recommendation],
    assessed: &'a [Assessed],
    now: DateTime<Utc>,
) -> impl Iterator<Item = &'a Recommendation> {
    let unknown = assessed.iter();
    let unknown = unknown.filter(|one| one.assessment == Assessment::Unknown);
    unknown.filter_map(move |one| {
        let of_topic = all.iter().filter(|it| one.topic.matches(it));
        let newest = of_topic.max_by_key(|it| (it.created_at, &it.id))?;
        (is_open(newest.status) && is_too_old(newest, now)).then_some(newest)
    })
}

/// Whether the measurements that a recommendation was made from are too old to act on.
pub fn is_too_old(it: &Recommendation, now: DateTime<Utc>) -> bool {
    it.expires_at.is_some_and(|last| now > last)
}

/// The priority of a recommendation by the present state of its question: none if its limits are not near, and as it was
/// decided if nothing else is known.
pub fn present_priority(it: &Recommendation, assessed: &[Assessed]) -> Option<Priority> {
    let mut assessed = assessed.iter();
    let found = assessed.find(|one| one.topic.matches(it));
    match found.map(|one| &one.assessment) {
        Some(Assessment::Recommend(facts) | Assessment::Keep(facts)) => Some(facts.priority),
        Some(Assessment::Clear) => None,
        Some(Assessment::Unknown) | None => Some(it.priority),
    }
}

/// Another plan is in use now. An approved answer is implemented by its own plan, and stays for a person otherwise.
fn plan_changed(before: &Recommendation, plan: &str, now: DateTime<Utc>) -> Option<Update> {
    let mut update = Update::of(before, before.clone(), RunAction::Implemented);
    if !is_frozen(before.status) {
        update.expire("another plan is in use", now);
        return Some(update);
    }
    (before.recommended_plan == plan).then(|| {
        update.close(Status::Implemented, "the recommended plan is in use", now);
        update.after.implemented_at = Some(now);
        update
    })
}

/// Expires for a reason, or counts the run. An approved recommendation stays open.
fn expired_or_waiting(
    before: &Recommendation,
    after: Recommendation,
    reason: Option<&str>,
    now: DateTime<Utc>,
) -> Option<Update> {
    if is_frozen(before.status) {
        return None;
    }
    let mut update = Update::of(before, after, RunAction::Waiting);
    if let Some(reason) = reason {
        update.expire(reason, now);
        return Some(update);
    }
    // Beyond the number of runs that an expiry takes, counting would only cause writes.
    let counts = |it: &Recommendation| {
        let tracking = it.tracking.as_ref()?;
        let cleared = tracking.cleared_count.min(CLEARED_RUNS);
        let unseen = tracking.unseen_count.min(UNSEEN_RUNS);
        Some((cleared, unseen, tracking.unseen_since))
    };
    (counts(before) != counts(&update.after)).then_some(update)
}

/// Sets `updated_at` if any of the application's columns changed.
fn touch(before: &Recommendation, after: &mut Recommendation, now: DateTime<Utc>) {
    let columns = |it: &Recommendation| Recommendation {
        tracking: None,
        ..it.clone()
    };
    if columns(before) != columns(after) {
        after.updated_at = Some(now);
    }
}

/// Sets the application's columns from the facts.
fn set_columns(it: &mut Recommendation, facts: &Facts) {
    (it.service, it.metric) = (facts.service, Some(facts.metric));
    it.recommended_plan = facts.recommended_plan().to_owned();
    it.priority = facts.priority;
    it.numbers = facts.numbers();
    it.reason = summary(facts);
    it.benefits = bullets::benefits(facts);
    it.risks = bullets::risks(facts);
    it.expires_at = Some(facts.measured_at + USABLE);
}

#[cfg(test)]
mod tests;
