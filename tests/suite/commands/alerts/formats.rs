//! Every `alerts` command that writes answers in every format.

use serde_json::Value;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::alerts::put_rules_with_states;
use crate::support::{Engine, TestDatabase};
use rstest::rstest;

const WRITES: [&str; 14] = [
    "init",
    "add --api tmdb --type ERROR_SPIKE --threshold 5 --period DAY",
    "set bbbb --threshold 9000",
    "disable bbbb",
    "enable bbbb",
    "ack aaaa",
    "silence add --api finnhub --for 2h --reason release",
    "silence expire --all",
    "channel add ops exec -- /bin/true",
    "channel test ops",
    "channel remove ops",
    "check --no-send",
    "deliver",
    "remove bbbb",
];

#[rstest]
fn every_write_answers_in_every_format(#[values(Sqlite, Postgresql)] engine: Engine) {
    for format in ["table", "json", "csv"] {
        let db = TestDatabase::migrated(engine);
        put_rules_with_states(&db);
        for write in WRITES {
            let words = write.split(' ');
            let run = db
                .usagectl(["--format", format, "alerts"].into_iter().chain(words))
                .run();
            // A check finds rules whose state is unknown.
            let expected = if write.starts_with("check") { 12 } else { 0 };
            assert_eq!(run.code, expected, "{write}: {}", run.snapshot());
            assert_ne!(run.stdout, "", "{write} as {format}");
            if format == "json" {
                let json: Value = serde_json::from_str(&run.stdout).unwrap();
                assert_eq!(json["schema"], 1, "{write}");
            }
        }
    }
}
