use chrono::TimeDelta;
use rust_decimal::Decimal;

use super::RunAction::{
    Changed, Created, Expired, Frozen, Implemented, Refreshed, Reopened, Waiting,
};
use super::*;
use crate::domain::recommendation::assess::Assessment::Clear;
use crate::domain::recommendation::sample::{facts, now, topic};

/// The stored recommendations, and the number of their history entries.
#[derive(Default)]
struct Store {
    all: Vec<Recommendation>,
    entries: usize,
    last_note: Option<String>,
}

impl Store {
    fn run(&mut self, assessment: &Assessment, now: DateTime<Utc>) -> Vec<RunAction> {
        self.run_on(&topic().plan, assessment, now)
    }

    /// A run with another plan in use.
    fn run_on(
        &mut self,
        plan: &str,
        assessment: &Assessment,
        now: DateTime<Utc>,
    ) -> Vec<RunAction> {
        let assessed = Assessed {
            topic: Topic {
                plan: plan.to_owned(),
                ..topic()
            },
            assessment: assessment.clone(),
        };
        let updates = reconcile(&assessed, &self.all, now);
        updates.into_iter().map(|it| self.take(it)).collect()
    }

    /// A store with a recommendation of now.
    fn with_one() -> Store {
        let mut store = Store::default();
        store.run(&holds(facts()), now());
        store
    }

    fn take(&mut self, update: Update) -> RunAction {
        self.all.retain(|it| it.id != update.after.id);
        self.all.push(update.after);
        self.entries += update.entries.len();
        self.last_note = update.entries.last().and_then(|entry| entry.note.clone());
        update.action
    }

    fn one(&mut self) -> &mut Recommendation {
        assert_eq!(self.all.len(), 1);
        &mut self.all[0]
    }

    /// Another program moves it.
    fn put(&mut self, status: Status, at: DateTime<Utc>) {
        let it = self.one();
        it.status = status;
        it.updated_at = Some(at);
        let tracking = it.tracking.as_mut().unwrap();
        tracking.status = status;
        tracking.dismissed_priority = (status == Status::Dismissed).then_some(it.priority);
    }
}

fn holds(facts: Facts) -> Assessment {
    Assessment::Recommend(Box::new(facts))
}

fn urgent() -> Assessment {
    let mut urgent = facts();
    urgent.priority = Priority::Critical;
    holds(urgent)
}

fn later(days: i64) -> DateTime<Utc> {
    now() + TimeDelta::days(days)
}

#[test]
fn hundred_runs_leave_one_open_row_and_one_entry() {
    let mut store = Store::default();
    assert_eq!(store.run(&holds(facts()), now()), [Created]);
    for run in 1..100 {
        let at = now() + TimeDelta::minutes(15 * run);
        assert_eq!(store.run(&holds(facts()), at), [Refreshed]);
    }
    assert_eq!(store.entries, 1);
    let it = store.one();
    assert_eq!((it.status, it.updated_at), (Status::Pending, Some(now())));
    let tracking = it.tracking.as_ref().unwrap();
    assert_eq!((tracking.seen_count, tracking.version), (100, 1));
}

#[test]
fn small_changes_add_up_to_a_material_one() {
    let mut store = Store::default();
    let mut facts = facts();
    store.run(&holds(facts.clone()), now());
    let mut changed = 0;
    for _ in 0..10 {
        let days = facts.outlook.days_to_limit.value.unwrap();
        facts.outlook.days_to_limit.value = Some(days + Decimal::ONE);
        changed += usize::from(store.run(&holds(facts.clone()), now()) == [Changed]);
    }
    assert_eq!((changed, store.entries), (1, 2));
}

#[test]
fn limit_that_stays_exceeded_is_no_change() {
    let mut store = Store::default();
    for day in 0..10 {
        let mut facts = facts();
        facts.measured_at = later(day);
        facts.outlook.days_to_limit.value = Some(Decimal::ZERO);
        let expected = if day == 0 { Created } else { Refreshed };
        assert_eq!(store.run(&holds(facts), later(day)), [expected], "{day}");
    }
    assert_eq!(store.entries, 1);
    // It is reached in ten days now.
    let mut facts = facts();
    facts.measured_at = later(10);
    facts.outlook.days_to_limit.value = Some(Decimal::TEN);
    assert_eq!(store.run(&holds(facts), later(10)), [Changed]);
}

#[test]
fn material_change_reopens_reviewed_and_leaves_approved() {
    let mut store = Store::with_one();
    store.put(Status::Reviewed, now());
    assert_eq!(store.run(&urgent(), now()), [Changed]);
    assert_eq!(store.one().status, Status::Pending);

    store.put(Status::Approved, now());
    let decided = store.one().clone();
    assert_eq!(store.run(&holds(facts()), later(1)), [Frozen]);
    let it = store.one();
    assert_eq!((it.numbers, &it.reason), (decided.numbers, &decided.reason));
    assert_eq!(it.updated_at, decided.updated_at);
    assert_eq!(store.run(&Clear, later(2)), []);
}

#[test]
fn dismissed_reopens_on_higher_priority_or_end_of_snooze() {
    let mut store = Store::with_one();
    store.put(Status::Dismissed, now());
    assert_eq!(store.run(&holds(facts()), later(1)), []);
    assert_eq!(store.run(&urgent(), later(1)), [Reopened]);
    let note = "the priority is higher than when it was dismissed";
    assert_eq!(store.last_note.as_deref(), Some(note));
    let tracking = store.one().tracking.clone().unwrap();
    let found = (tracking.reopened_count, tracking.dismissed_priority);
    assert_eq!(found, (1, None));

    store.put(Status::Dismissed, later(1));
    store.one().tracking.as_mut().unwrap().snoozed_until = Some(later(5));
    assert_eq!(store.run(&holds(facts()), later(4)), []);
    assert_eq!(
        store.run(&Assessment::Keep(Box::new(facts())), later(5)),
        []
    );
    assert_eq!(store.run(&holds(facts()), later(5)), [Reopened]);
    let note = "the dismissal ended and the condition persists";
    assert_eq!(store.last_note.as_deref(), Some(note));
}

#[test]
fn day_without_measurements_is_no_clear_day() {
    let mut store = Store::with_one();
    for _ in 0..2 {
        assert_eq!(store.run(&Clear, later(1)), [Waiting]);
    }
    assert_eq!(store.run(&Assessment::Unknown, later(1)), [Waiting]);
    for _ in 0..2 {
        assert_eq!(store.run(&Clear, later(3)), [Waiting]);
    }
    assert_eq!(store.run(&Clear, later(4)), [Expired]);
}

#[test]
fn cleared_for_a_day_expires_and_returned_condition_reopens() {
    let mut store = Store::with_one();
    assert_eq!(store.run(&Clear, later(1)), [Waiting]);
    assert_eq!(
        store.run(&Assessment::Keep(Box::new(facts())), later(1)),
        [Refreshed]
    );
    // Time without measurements does not count.
    assert_eq!(store.run(&Assessment::Unknown, later(1)), [Waiting]);
    assert_eq!(store.run(&Clear, later(2)), [Waiting]);
    assert_eq!(store.run(&Clear, later(2)), [Waiting]);
    assert_eq!(store.run(&Clear, later(3) - TimeDelta::minutes(1)), []);
    assert_eq!(store.run(&Clear, later(3)), [Expired]);
    assert_eq!(store.run(&Clear, later(4)), []);
    assert_eq!(store.run(&holds(facts()), later(32)), [Reopened]);
    store.put(Status::Expired, later(40));
    assert_eq!(store.run(&holds(facts()), later(71)), [Created]);
    let mut all = store.all.iter();
    let new = all.find(|it| it.status == Status::Pending).unwrap();
    assert!(new.tracking.as_ref().unwrap().predecessor_id.is_some());
}

/// Quarter-hour runs for ten days, of which the limit is near in some of the first ten hours of each.
#[test]
fn usage_about_a_threshold_keeps_one_recommendation_open() {
    let mut store = Store::with_one();
    for run in 1..960 {
        let at = now() + TimeDelta::minutes(15 * run);
        let is_near = run % 96 < 40 && run % 3 != 0;
        let assessment = if is_near { holds(facts()) } else { Clear };
        let actions = store.run(&assessment, at);
        let is_kept = actions.iter().all(|it| [Refreshed, Waiting].contains(it));
        assert!(is_kept, "{at}: {actions:?}");
    }
    assert_eq!(store.entries, 1);
}

/// Runs by day for ten weeks, of which the limit is near on the weekend.
#[test]
fn rhythm_of_the_week_reopens_once() {
    let mut store = Store::with_one();
    let mut actions = Vec::new();
    for day in 1..70 {
        let assessment = if day % 7 < 2 { holds(facts()) } else { Clear };
        actions.extend(store.run(&assessment, later(day)));
    }
    let count = |of| actions.iter().filter(|it| **it == of).count();
    assert_eq!((count(Expired), count(Reopened)), (1, 1));
    // It expires a week after the last weekend.
    assert_eq!(store.run(&Clear, later(71)), []);
    assert_eq!(store.run(&Clear, later(72)), [Expired]);
}

#[test]
fn present_priority_is_that_of_the_assessment() {
    let mut store = Store::with_one();
    store.put(Status::Approved, now());
    let (decided, it) = (facts().priority, store.one().clone());
    for (assessment, expected) in [
        (urgent(), Some(Priority::Critical)),
        (Clear, None),
        (Assessment::Unknown, Some(decided)),
    ] {
        let topic = topic();
        let assessed = [Assessed { topic, assessment }];
        assert_eq!(present_priority(&it, &assessed), expected);
    }
    assert_eq!(present_priority(&it, &[]), Some(decided));
}

#[test]
fn unmeasured_stays_open_and_is_too_old_after_14_days() {
    for status in [Status::Pending, Status::Reviewed, Status::Approved] {
        let mut store = Store::with_one();
        store.put(status, now());
        for day in 1..40 {
            let done = store.run(&Assessment::Unknown, later(day));
            // After the third run nothing more is counted or written.
            let is_counted = done.is_empty() || done == [Waiting] && day <= 3;
            assert!(is_counted, "{status} {day}: {done:?}");
        }
        let (topic, assessment) = (topic(), Assessment::Unknown);
        let assessed = [Assessed { topic, assessment }];
        let is_old = |day| still_unmeasured(&store.all, &assessed, later(day)).count() == 1;
        assert_eq!((is_old(13), is_old(15)), (false, true), "{status}");
    }
}

#[test]
fn recommendation_without_limits_expires_after_three_runs_and_a_week() {
    let mut store = Store::with_one();
    let run = |store: &mut Store, day| {
        let update = unseen(store.one(), true, later(day));
        update.map(|it| store.take(it))
    };
    for day in 1..8 {
        let counted = (day <= 3).then_some(Waiting);
        assert_eq!(run(&mut store, day), counted, "{day}");
    }
    assert_eq!(run(&mut store, 8), Some(Expired));
    // Two runs are not enough.
    let mut store = Store::with_one();
    assert_eq!(run(&mut store, 1), Some(Waiting));
    assert_eq!(run(&mut store, 9), Some(Waiting));
}

#[test]
fn implemented_is_assessed_again_after_a_day_and_measured_after_14() {
    let mut store = Store::with_one();
    store.put(Status::Implemented, now());
    store.one().implemented_at = Some(now());
    let soon = now() + TimeDelta::hours(23);
    assert_eq!(store.run(&holds(facts()), soon), []);
    let measured = |store: &mut Store, day| {
        let at = later(day);
        outcome(store.one(), Some((at, 300.0)), at)
    };
    assert_eq!(measured(&mut store, 13), None);
    assert_eq!(outcome(store.one(), None, later(14)), None);
    let step = measured(&mut store, 14).unwrap();
    let json = step.after.tracking.clone().unwrap().outcome.unwrap();
    assert!(json.contains("\"would_be_over\":true"), "{json}");
    store.take(step);
    assert_eq!(measured(&mut store, 15), None);
    assert_eq!(store.run(&holds(facts()), later(15)), [Created]);
}

#[test]
fn answer_closed_by_application_makes_room_for_one_that_it_opens() {
    let mut store = Store::with_one();
    store.put(Status::Expired, now());
    assert_eq!(store.run(&holds(facts()), later(31)), [Created]);
    for it in &mut store.all {
        let is_old = it.created_at == Some(now());
        it.status = [Status::Dismissed, Status::Pending][usize::from(is_old)];
    }
    let steps = moved_by_application(&store.all, later(33));
    let moves: Vec<_> = steps.iter().map(|step| step.after.status).collect();
    assert_eq!(moves, [Status::Dismissed, Status::Pending]);
}

#[test]
fn change_of_plan_expires_and_answers_again() {
    let mut store = Store::with_one();
    for plan in ["fixed-1gb", "payg", "fixed-5gb"] {
        // Even at the instant of the first answer.
        let actions = store.run_on(plan, &holds(facts()), now());
        assert_eq!(actions, [Expired, Created], "{plan}");
    }
    let ids: HashSet<&String> = store.all.iter().map(|it| &it.id).collect();
    assert_eq!(ids.len(), 4);
    let open = store.all.iter().filter(|it| is_open(it.status)).count();
    assert_eq!(open, 1);
}

#[test]
fn approved_is_implemented_by_its_plan_and_stays_on_any_other() {
    let mut store = Store::default();
    store.run(&holds(facts()), now());
    store.put(Status::Approved, now());
    assert_eq!(store.run_on("fixed-5gb", &holds(facts()), later(1)), []);
    assert_eq!(store.one().status, Status::Approved);
    let of_plan = |plan: &str| Assessed {
        topic: Topic {
            plan: plan.to_owned(),
            ..topic()
        },
        assessment: Clear,
    };
    let outdated = |plan| outdated_approvals(&store.all, &[of_plan(plan)]).count();
    assert_eq!((outdated("free"), outdated("fixed-5gb")), (0, 1));
    let recommended = store.one().recommended_plan.clone();
    assert_eq!(store.run_on(&recommended, &Clear, later(2)), [Implemented]);
    let note = store.last_note.take();
    assert_eq!(note.as_deref(), Some("the recommended plan is in use"));
    let it = store.one();
    assert_eq!(
        (it.status, it.implemented_at),
        (Status::Implemented, Some(later(2)))
    );
    assert_eq!(store.entries, 2);
    // The new plan is assessed.
    let actions = store.run_on(&recommended, &holds(facts()), later(2));
    assert_eq!(actions, [Created]);
}
