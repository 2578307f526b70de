//! The example data and its generator.

use std::fs;

use chrono::{DateTime, Utc};

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::{Engine, TestDatabase};
use data::lines::{self, Case};
use data::usage::{self, Call, Calls, Plan, Summary};
use rstest::rstest;

#[allow(dead_code, reason = "the example program uses all of it")]
#[path = "../../examples/generate/data/mod.rs"]
pub mod data;

fn until() -> DateTime<Utc> {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

#[test]
fn example_data_equals_generator_output() {
    let plan = Plan {
        records: 4_000,
        seed: 2026,
        days: 5,
        until: until(),
        ids: 0.1,
        late: 0.03,
    };
    let made: Vec<String> = Calls::new(plan)
        .map(|call| lines::ndjson(&call, Case::Snake))
        .collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/usage.ndjson");
    let file = fs::read_to_string(path).unwrap();
    assert!(made.iter().map(String::as_str).eq(file.lines()));
}

#[test]
fn generator_makes_the_given_number_some_of_them_late() {
    for (records, days) in [(0, 1), (1, 1), (777, 3), (20_000, 40)] {
        let plan = Plan {
            records,
            seed: 1,
            days,
            until: until(),
            ids: 0.5,
            late: 0.1,
        };
        let from = until() - chrono::Duration::days(days.into());
        let times: Vec<_> = Calls::new(plan).map(|call| call.timestamp).collect();
        assert_eq!(times.len() as u64, records);
        assert!(times.iter().all(|at| from <= *at && *at < until()));
        assert!(records < 100 || !times.is_sorted());
    }
}

#[rstest]
fn roll_up_of_generated_records_equals_the_generators_count(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let plan = Plan {
        records: 20_000,
        seed: 11,
        days: 40,
        until: until(),
        ids: 0.3,
        late: 0.05,
    };
    let calls: Vec<Call> = Calls::new(plan).collect();
    let mut summary = Summary::new();
    calls
        .iter()
        .for_each(|call| usage::count(&mut summary, call));

    // Each run is rolled up, so that late rows enter hours that were rolled up before: NDJSON, CSV in
    // camelCase, NDJSON, and the first file again.
    let ndjson = |calls: &[Call]| {
        let lines = calls
            .iter()
            .map(|call| lines::ndjson(call, Case::Snake) + "\n");
        lines.collect::<String>()
    };
    let csv = |calls: &[Call]| {
        let header = lines::csv_header(Case::Camel) + "\n";
        let lines = calls.iter().map(|call| lines::csv(call) + "\n");
        header + &lines.collect::<String>()
    };
    let runs = [
        ("first.ndjson", ndjson(&calls[..8_000])),
        ("second.csv", csv(&calls[8_000..15_000])),
        ("third.ndjson", ndjson(&calls[15_000..])),
        ("first.ndjson", ndjson(&calls[..8_000])),
    ];
    for (name, content) in runs {
        db.sandbox().file(name, content);
        db.usagectl(["record", name]).run().success();
        db.usagectl(["aggregate"]).run().success();
    }

    let expected: Vec<String> = summary
        .iter()
        .map(|((api, hour), n)| {
            let hour = hour.format("%Y-%m-%dT%H:%M:%S%.3f+00:00");
            let sum = n.response_time_sum as f64 / n.response_time_count.max(1) as f64;
            let average = match n.response_time_count {
                0 => "NULL".to_owned(),
                _ => format!("{sum:.6}"),
            };
            format!(
                "{api}|{hour}|{}|{}|{}|{}|{}|{}|{}|{average}|{}",
                n.requests,
                n.success,
                n.errors,
                n.cached,
                n.rate_limit,
                n.timeout,
                n.server,
                n.cost
            )
        })
        .collect();
    let stored = db.rows(
        "SELECT api_name, period_start, total_requests, success_count, error_count, cached_count,
                 rate_limit_errors, timeout_errors, server_errors, avg_response_time, total_cost
             FROM api_usage_aggregates WHERE aggregation_type = 'HOURLY'
             ORDER BY api_name, period_start",
    );
    let stored: Vec<String> = stored.iter().map(|row| with_six_digits(row)).collect();
    assert_eq!(stored.len(), expected.len());
    for (stored, expected) in stored.iter().zip(&expected) {
        assert_eq!(stored, expected);
    }
    // Hours add up to days and months.
    let sums = db.rows(
        "SELECT sum(total_requests), sum(error_count) FROM api_usage_aggregates
             GROUP BY aggregation_type",
    );
    assert_eq!(sums.len(), 3);
    assert!(sums.iter().all(|row| *row == sums[0]), "{sums:?}");
}

/// The row with an average of six decimals and a cost in millionths.
fn with_six_digits(row: &str) -> String {
    let mut values: Vec<String> = row.split('|').map(str::to_owned).collect();
    let cost: f64 = values.pop().unwrap().parse().unwrap();
    let average = values.pop().unwrap();
    let average = average
        .parse()
        .map_or(average, |ms: f64| format!("{ms:.6}"));
    values.push(average);
    values.push(((cost * 1e6).round() as u64).to_string());
    values.join("|")
}
