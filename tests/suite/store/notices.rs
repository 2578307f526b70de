//! Storage of notices, channels and silences, and the order of notices.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use usagectl::domain::alert::channel::{Channel, ChannelKind, Settings, Stdout};
use usagectl::domain::alert::delivery::{Delivery, DropReason, Notice};
use usagectl::domain::alert::notice::{CONTENT_SCHEMA, Content, NoticeKind};
use usagectl::domain::alert::rule::{AlertRef, AlertType, Severity};
use usagectl::domain::alert::silence::Silence;
use usagectl::domain::alert::state::Observation;
use usagectl::store::alerting::{channels, notices, silences};

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::{Engine, TestDatabase};
use rstest::rstest;

fn at(minute: i64) -> DateTime<Utc> {
    let start: DateTime<Utc> = "2026-01-31T12:00:00Z".parse().unwrap();
    start + TimeDelta::minutes(minute)
}

fn notice(key: &str, kind: NoticeKind, minute: i64) -> Notice {
    let content = Content {
        schema: CONTENT_SCHEMA,
        key: key.to_owned(),
        kind,
        episode: "e".to_owned(),
        alert: AlertRef {
            alert_id: "r".to_owned(),
            api_name: "it's <b>ünï</b>\u{1b}".to_owned(),
            alert_type: "RATE_LIMIT_WARNING".to_owned(),
            period: "MINUTE".to_owned(),
        },
        severity: Severity::Warning,
        observed: Observation {
            value: Some(0.1 + 0.2),
            threshold: Some(80.0),
            limit_value: None,
        },
        limit_unit: None,
        unknown_reason: None,
        level: 1,
        steps: None,
        reason: None,
        fired_at: at(0),
        ended_at: None,
        created_at: at(minute),
        note: None,
        summary: "it fires".to_owned(),
    };
    Notice::new(content, 1, "ops")
}

#[rstest]
fn notices_survive_storage_in_order_of_sending(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let mut db = db.open();
    let expected = [
        notice("b", NoticeKind::Firing, 1),
        notice("c", NoticeKind::Reminder, 1),
        notice("a", NoticeKind::Resolved, 2),
    ];
    let mut shuffled = expected.to_vec();
    shuffled.reverse();
    notices::insert(&mut db, &shuffled).unwrap();
    assert_eq!(
        notices::find_by_delivery(&mut db, Delivery::Waiting).unwrap(),
        expected
    );
    let episodes = BTreeSet::from(["e".to_owned(), "f".to_owned()]);
    assert_eq!(
        notices::find_by_episodes(&mut db, &episodes).unwrap(),
        expected
    );
    assert_eq!(notices::find_open_episode_notices(&mut db).unwrap(), []);
}

#[rstest]
fn notice_saved_again_is_unchanged(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let mut db = db.open();
    notices::insert(&mut db, &[notice("a", NoticeKind::Firing, 1)]).unwrap();
    let mut first = notice("a", NoticeKind::Firing, 1);
    assert!(notices::claim(&mut db, &first, at(5)).unwrap());
    // It is claimed once.
    assert!(!notices::claim(&mut db, &first, at(5)).unwrap());
    first.error = Some("busy".to_owned());
    first.next_attempt_at = at(6);
    notices::set_failed(&mut db, &first).unwrap();
    let found = notices::find_by_delivery(&mut db, Delivery::Waiting).unwrap();
    // Not the attempt that was made since.
    assert_eq!(found[0].error, None);
    first.attempts = 1;
    notices::set_failed(&mut db, &first).unwrap();
    notices::insert(&mut db, &[notice("a", NoticeKind::Firing, 1)]).unwrap();
    let found = notices::find_by_delivery(&mut db, Delivery::Waiting).unwrap();
    assert_eq!((found[0].attempts, found[0].next_attempt_at), (1, at(6)));
    assert_eq!(found[0].error.as_deref(), Some("busy"));
    notices::set_delivered(&mut db, "a", at(7)).unwrap();
    let found = notices::find_by_delivery(&mut db, Delivery::Delivered).unwrap();
    assert_eq!(
        (found[0].delivered_at, found[0].error.as_deref()),
        (Some(at(7)), None)
    );
}

#[rstest]
fn notice_in_flight_is_not_superseded(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let mut db = db.open();
    let first = notice("a", NoticeKind::Firing, 1);
    notices::insert(&mut db, std::slice::from_ref(&first)).unwrap();
    notices::claim(&mut db, &first, at(5)).unwrap();
    let mut waiting = |minute| {
        notices::set_superseded(&mut db, &["a"], at(minute)).unwrap();
        notices::count(&mut db, Delivery::Waiting).unwrap()
    };
    assert_eq!([4, 5].map(&mut waiting), [1, 0]);
}

#[rstest]
fn dropped_notice_can_wait_again(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let mut db = db.open();
    notices::insert(&mut db, &[notice("a", NoticeKind::Firing, 1)]).unwrap();
    notices::set_dropped(&mut db, &["a"], DropReason::NoChannel).unwrap();
    assert_eq!(notices::count(&mut db, Delivery::Waiting).unwrap(), 0);
    notices::set_waiting(&mut db, &["a"], at(9)).unwrap();
    let found = notices::find_by_delivery(&mut db, Delivery::Waiting).unwrap();
    assert_eq!(found[0].next_attempt_at, at(9));
}

#[rstest]
fn channel_name_is_unique_and_unreadable_settings_are_kept(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let mut own = db.open();
    let channel = Channel {
        name: "console".to_owned(),
        kind: ChannelKind::Stdout,
        settings: Some(Settings::Stdout(Stdout { json: false })),
        created_at: at(0),
        not_before: None,
        min_severity: Some(Severity::Critical),
    };
    assert!(channels::add(&mut own, &channel, r#"{"json":false}"#).unwrap());
    assert!(!channels::add(&mut own, &channel, r#"{"json":true}"#).unwrap());
    assert_eq!(channels::all(&mut own).unwrap(), [channel]);
    channels::set_not_before(&mut own, "console", at(7)).unwrap();
    let found = channels::all(&mut own).unwrap();
    assert_eq!(found[0].not_before, Some(at(7)));
    db.execute("UPDATE usagectl_channels SET settings = 'garbage'");
    assert_eq!(channels::all(&mut own).unwrap()[0].settings, None);
    assert!(channels::remove(&mut own, "console").unwrap());
    assert!(!channels::remove(&mut own, "console").unwrap());
}

#[rstest]
fn silence_lasts_until_its_end_or_expiry(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let mut db = db.open();
    let silence = |id: &str, from: i64, to: i64| Silence {
        id: id.to_owned(),
        api_name: Some("tmdb".to_owned()),
        alert_type: Some(AlertType::ErrorSpike),
        alert_id: None,
        starts_at: at(from),
        ends_at: Some(at(to)),
        episodes: BTreeSet::new(),
        reason: "a release".to_owned(),
        created_by: "me".to_owned(),
        created_at: at(from),
    };
    let now = silence("now", 0, 10);
    let later = silence("later", 5, 20);
    silences::add(&mut db, &now).unwrap();
    silences::add(&mut db, &later).unwrap();
    assert_eq!(
        silences::find_unexpired(&mut db, at(1)).unwrap(),
        [now, later.clone()]
    );
    assert_eq!(silences::find_unexpired(&mut db, at(10)).unwrap(), [later]);
    assert!(!silences::expire(&mut db, "now", at(10)).unwrap());
    assert!(silences::expire(&mut db, "later", at(4)).unwrap());
    let ended = &silences::all(&mut db).unwrap()[1];
    assert_eq!(ended.ends_at, Some(at(5)));
    assert!(!ended.is_active(at(5)));
    let mut waiting = Silence {
        ends_at: None,
        episodes: BTreeSet::from(["e".to_owned()]),
        ..silence("waiting", 30, 30)
    };
    silences::add(&mut db, &waiting).unwrap();
    assert_eq!(
        silences::find_unexpired(&mut db, at(99)).unwrap(),
        [waiting.clone()]
    );
    waiting.ends_at = Some(at(40));
    silences::follow(&mut db, &waiting).unwrap();
    assert_eq!(silences::find_unexpired(&mut db, at(99)).unwrap(), []);
}
