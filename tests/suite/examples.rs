//! The example data, and the program that makes it.

use std::fs;

use chrono::{DateTime, Utc};

use data::lines::{self, Case};
use data::usage::{Calls, Plan};

#[allow(dead_code, reason = "the example program uses all of it")]
#[path = "../../examples/generate/data/mod.rs"]
pub mod data;

fn until() -> DateTime<Utc> {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

#[test]
fn the_example_data_is_what_the_generator_writes() {
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
    let kept = fs::read_to_string(path).unwrap();
    assert!(made.iter().map(String::as_str).eq(kept.lines()));
}

#[test]
fn the_generator_makes_exactly_what_was_asked_for_and_some_of_it_late() {
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
