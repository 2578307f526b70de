//! `limits`: what plans and APIs allow.

mod api;
mod check;
mod import;
mod init;
mod set;

use serde_json::Value;

use crate::support::TestDatabase;

/// The words of a command line without quotes.
fn words(command: &str) -> Vec<&str> {
    command.split(' ').collect()
}

/// Runs the program and parses its answer as JSON.
#[track_caller]
fn json<'a>(db: &TestDatabase, args: impl IntoIterator<Item = &'a str>) -> Value {
    let run = db.usagectl(args).arg("--format=json").run();
    let answer: Value =
        serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}", run.snapshot()));
    assert_eq!(answer["schema"], 1);
    answer
}
