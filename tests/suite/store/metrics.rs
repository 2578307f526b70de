//! Measurements as they are stored, and the days made of them.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use usagectl::domain::metrics::day::MetricDay;
use usagectl::domain::metrics::names::{Metric, Service};
use usagectl::domain::metrics::point::{NewPoint, Reading, Saved, Series};
use usagectl::store::db::Db;
use usagectl::store::metrics::days;
use usagectl::store::metrics::days::Refreshed;
use usagectl::store::metrics::points::{OnConflict, save};

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::{Engine, OtherRole, TestDatabase};
use rstest::rstest;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn storage(resource: &str) -> Series {
    Series {
        service: Service::VercelKv,
        metric: Metric::StorageMb,
        resource: resource.to_owned(),
    }
}

fn all_days(db: &mut Db) -> Vec<MetricDay> {
    days::days(db, None, None, NaiveDate::MIN, NaiveDate::MAX).unwrap()
}

fn refreshed(db: &mut Db) -> Vec<MetricDay> {
    days::refresh(db).unwrap();
    all_days(db)
}

/// As [`refreshed`], forgetting everything before.
fn from_scratch(test: &TestDatabase) -> Vec<MetricDay> {
    let day = match test.engine() {
        Engine::Postgresql => "date_trunc('day', timestamp)",
        Engine::Sqlite => "strftime('%Y-%m-%dT00:00:00.000+00:00', timestamp)",
    };
    test.execute(&format!(
        "DELETE FROM usagectl_metric_days;
         INSERT INTO usagectl_dirty_metric_days (service, metric, day)
         SELECT DISTINCT CAST(service AS TEXT), CAST(metric AS TEXT), {day} FROM \"InfrastructureMetric\""
    ));
    refreshed(&mut test.open())
}

/// Amounts, levels and a counter that is reset each month, every six hours.
fn put_points(db: &mut Db) {
    let begin = at("2026-01-20T03:00:00Z");
    for (metric, resource, reading) in [
        (Metric::StorageMb, "", Reading::Level),
        (Metric::StorageMb, "second", Reading::Level),
        (Metric::BandwidthGb, "", Reading::Cumulative),
        (Metric::CommandsPerDay, "", Reading::Cumulative),
        (Metric::CostUsd, "", Reading::Amount),
    ] {
        let points = (0..80).map(|step| {
            let series = Series {
                service: Service::VercelKv,
                metric,
                resource: resource.to_owned(),
            };
            let value = f64::from((step * 37) % 48) / 4.0 + f64::from(step % 47);
            NewPoint::new(series, value, begin + TimeDelta::hours(6) * step).with_reading(reading)
        });
        save(db, &points.collect::<Vec<_>>(), OnConflict::Keep).unwrap();
    }
}

#[rstest]
fn the_same_moment_is_one_row(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let db = &mut db.open();
    let point = |value| {
        NewPoint::new(storage("cache"), value, at("2026-01-31T12:00:00Z")).with("source", "test")
    };
    let saved = |inserted, updated, unchanged| Saved {
        inserted,
        updated,
        unchanged,
    };
    let twice = [point(1.0), point(1.0)];
    assert_eq!(save(db, &twice, OnConflict::Keep).unwrap(), saved(1, 0, 1));
    assert_eq!(
        save(db, &[point(1.0)], OnConflict::Replace).unwrap(),
        saved(0, 0, 1)
    );
    assert_eq!(
        save(db, &[point(2.0)], OnConflict::Keep).unwrap(),
        saved(0, 0, 1)
    );
    assert_eq!(refreshed(db)[0].last_value, 1.0);
    assert_eq!(
        save(db, &[point(2.0)], OnConflict::Replace).unwrap(),
        saved(0, 1, 0)
    );
    assert_eq!(refreshed(db)[0].last_value, 2.0);
    assert_eq!(save(db, &[], OnConflict::Keep).unwrap(), Saved::default());
}

#[rstest]
fn days_follow_any_change_of_points(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    put_points(&mut db.open());
    let before = refreshed(&mut db.open());
    assert_eq!(before.len(), 5 * 20);
    assert_eq!(days::refresh(&mut db.open()).unwrap(), Refreshed::default());
    for change in [
        "INSERT INTO \"InfrastructureMetric\" (id, service, metric, value, timestamp)
             VALUES ('late', 'VERCEL_KV', 'BANDWIDTH_GB', 99, '2026-01-19T08:00:00.000+00:00')",
        "UPDATE \"InfrastructureMetric\" SET value = value * 3 WHERE metric = 'BANDWIDTH_GB' AND value > 20",
        "UPDATE \"InfrastructureMetric\" SET metric = 'STORAGE_MB' WHERE id = 'late'",
        "DELETE FROM \"InfrastructureMetric\"
             WHERE timestamp >= '2026-01-24T00:00:00.000+00:00' AND timestamp < '2026-01-27T00:00:00.000+00:00'",
    ] {
        db.execute(change);
        let days = refreshed(&mut db.open());
        assert_ne!(days, before, "{change}");
        assert_eq!(days, from_scratch(&db), "{change}");
    }
    db.execute("DELETE FROM \"InfrastructureMetric\"");
    assert_eq!(refreshed(&mut db.open()), []);
}

#[rstest]
fn the_newest_value_is_the_newest_that_is_not_in_the_future(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let db = &mut db.open();
    let point = |resource, value, time: &str| NewPoint::new(storage(resource), value, at(time));
    let points = [
        point("", 1.0, "2026-01-29T12:00:00Z"),
        point("", 2.0, "2026-01-31T11:00:00Z"),
        point("", 3.0, "2026-01-31T13:00:00Z"),
        point("b", 4.0, "2026-01-20T00:00:00Z"),
        point("b", 5.0, "2026-01-31T12:00:01Z"),
        point("c", 6.0, "2026-02-01T00:00:00Z"),
    ];
    save(db, &points, OnConflict::Keep).unwrap();
    days::refresh(db).unwrap();
    let latest = days::latest(db, at("2026-01-31T12:00:00Z")).unwrap();
    let found: Vec<_> = latest
        .iter()
        .map(|latest| (latest.series.resource.as_str(), latest.point.value))
        .collect();
    assert_eq!(found, [("", 2.0), ("b", 4.0)]);
}

#[rstest]
fn what_makes_no_sense_is_left_out(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let rows: &[&str] = match db.engine() {
        Engine::Postgresql => &[
            "'NaN', '2026-01-31 12:00:00', NULL",
            "'Infinity', '2026-01-31 12:00:00', NULL",
            "1, 'infinity', NULL",
            "1, '-infinity', NULL",
            "1, '20000-01-01', NULL",
            "1, '0044-03-15 BC', NULL",
            "7, '2026-01-31 12:00:00', '[1]'",
            "7, '2026-01-31 13:00:00', '{\"resource\": {\"a\": 1}, \"reading\": \"loud\"}'",
        ],
        Engine::Sqlite => &[
            "'much', '2026-01-31T12:00:00.000+00:00', NULL",
            "x'00', '2026-01-31T12:00:00.000+00:00', NULL",
            "9e999, '2026-01-31T12:00:00.000+00:00', NULL",
            "1, 'soon', NULL",
            "1, x'00', NULL",
            "1, '2026-02-30T12:00:00.000+00:00', NULL",
            "1, '0000-01-01T12:00:00.000+00:00', NULL",
            "7, '2026-01-31T12:00:00.000+00:00', x'ff'",
            // 13:00, 14:00, 15:00 and 16:00 of the same day.
            "7, 1769864400000, 'nonsense'",
            "7, '2026-01-31 14:00:00', '[1]'",
            "7, '2026-02-01T00:00:00.000+09:00', NULL",
            "7, '2026-01-31T16:00:00Z', NULL",
        ],
    };
    for (index, row) in rows.iter().enumerate() {
        db.execute(&format!(
            "INSERT INTO \"InfrastructureMetric\" (id, service, metric, value, timestamp, metadata)
                 VALUES ('{index}', 'VERCEL_KV', 'STORAGE_MB', {})",
            row
        ));
    }
    let sane = rows.iter().filter(|row| row.starts_with('7')).count();
    let [day] = refreshed(&mut db.open()).try_into().unwrap();
    assert_eq!(
        (day.points as usize, day.min_value, day.max_value),
        (sane, 7.0, 7.0)
    );
    assert_eq!(day.day.to_string(), "2026-01-31");
    assert_eq!(day.first_at, at("2026-01-31T12:00:00Z"));
}

#[test]
fn two_refreshes_at_once_make_the_same_days() {
    let test = TestDatabase::migrated(Engine::Postgresql);
    put_points(&mut test.open());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| days::refresh(&mut test.open()).unwrap());
        }
    });
    assert_eq!(all_days(&mut test.open()), from_scratch(&test));
}

/// A subscription fires no statement triggers, and those of a table see no row that is written to a partition of it.
#[test]
fn points_written_past_the_triggers_are_counted_postgresql() {
    for partitioned in [false, true] {
        let test = TestDatabase::migrated(Postgresql);
        let administrator = OtherRole::new(&test);
        if partitioned {
            test.execute("CREATE TABLE part () INHERITS (\"InfrastructureMetric\")");
        } else {
            // A subscription would require a second server.
            administrator.administer(&[
                "SET allow_system_table_mods = on",
                "INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate)
                 VALUES (1, '\"InfrastructureMetric\"'::regclass, 'r')",
            ]);
        }
        let table = if partitioned {
            "part"
        } else {
            "\"InfrastructureMetric\""
        };
        let insert = format!(
            "INSERT INTO {table} (id, service, metric, value, timestamp)
             VALUES ('a', 'VERCEL_KV', 'STORAGE_MB', 1, '2026-01-31 10:00')"
        );
        let update = format!("UPDATE {table} SET value = 2");
        let delete = format!("DELETE FROM {table}");
        for (change, expected) in [(&insert, Some(1.0)), (&update, Some(2.0)), (&delete, None)] {
            administrator.administer(&["SET session_replication_role = replica", change]);
            let now = at("2026-01-31T12:00:00Z");
            let mut db = test.open();
            let latest = days::latest(&mut db, now).unwrap();
            let values: Vec<f64> = latest.iter().map(|it| it.point.value).collect();
            assert_eq!(values, expected.as_slice());
            let last: Vec<f64> = refreshed(&mut db).iter().map(|it| it.last_value).collect();
            assert_eq!(last, expected.as_slice());
        }
    }
}
