//! Failures of every command: the JSON object on stderr, and the next step.

use std::time::{Duration, Instant};

use serde_json::Value;
use usagectl::store::lock::RunKind;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::adoption::{deployed, pushed};
use crate::support::{Engine, Run, Sandbox, TestDatabase, assert_snapshot};
use rstest::rstest;

/// The error object of a run; it must be stderr's last line, without the lines of the table format.
fn error(run: &Run) -> Value {
    let lines: Vec<&str> = run.stderr.lines().collect();
    let (last, before) = lines.split_last().expect("there is an error");
    let texts = ["error:", "next:"];
    let is_text = |line: &&str| texts.iter().any(|text| line.starts_with(text));
    assert!(!before.iter().any(is_text), "{}", run.stderr);
    let error: Value = serde_json::from_str(last).unwrap();
    assert_eq!(error["schema"], 1);
    assert_eq!(error["exit"], run.code);
    let keys: Vec<&String> = error.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        ["error", "exit", "message", "next", "retryable", "schema"]
    );
    error
}

/// Code, whether it is retryable, and the next step.
fn summary(run: &Run) -> (i32, String, bool, String) {
    let error = error(run);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (
        run.code,
        text(&error["error"]["code"]),
        error["retryable"].as_bool().unwrap(),
        text(&error["next"]),
    )
}

fn expected(exit: i32, code: &str, retryable: bool, next: &str) -> (i32, String, bool, String) {
    (exit, code.to_owned(), retryable, next.to_owned())
}

#[rstest]
fn failure_is_one_json_object(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let json = |arguments: &[&str]| db.usagectl(arguments).arg("--format=json").run();

    let run = json(&["rollback"]);
    assert_eq!(
        summary(&run),
        expected(5, "refused", false, "usagectl rollback --yes")
    );
    assert_eq!(
        error(&run)["message"],
        "stdin is not a terminal; nothing was changed"
    );

    let lock = db.lock(RunKind::Migrate);
    assert_eq!(
        summary(&json(&["migrate", "--lock-wait", "0s"])),
        expected(
            6,
            "busy",
            true,
            "run the same command again with --lock-wait 60s"
        )
    );
    drop(lock);

    // Not an error, but an exit code other than 0.
    db.usagectl(["rollback", "--yes"]).run().success();
    let run = json(&["status"]);
    assert_eq!(
        summary(&run),
        expected(3, "incomplete", false, "usagectl migrate")
    );
    assert_eq!(
        error(&run)["message"],
        "part of the work is pending or failed"
    );
    assert_eq!(
        summary(&json(&["stats"])),
        expected(1, "failed", false, "usagectl migrate")
    );
}

#[test]
fn unreachable_database_is_retryable() {
    let sandbox = Sandbox::new();
    let run = sandbox
        .usagectl(["status", "--format", "json"])
        .env("DATABASE_URL", "sqlite:usage.db")
        .run();
    assert_eq!(
        summary(&run),
        expected(7, "unreachable", true, "usagectl migrate")
    );
    // The URL of the command line is part of the next step.
    let run = sandbox
        .usagectl([
            "status",
            "--format=json",
            "--database-url",
            "sqlite:usage.db",
        ])
        .run();
    assert_eq!(
        summary(&run).3,
        "usagectl --database-url sqlite:usage.db migrate"
    );
}

#[test]
fn usage_error_is_json_under_format_json() {
    let sandbox = Sandbox::new();
    let message = |arguments: &[&str]| {
        let run = sandbox.usagectl(arguments).run();
        assert_eq!(run.code, 2, "{}", run.snapshot());
        assert_eq!(run.stderr.lines().count(), 1);
        let error = error(&run);
        assert_eq!(error["error"]["code"], "usage");
        (error["message"].clone(), error["next"].clone())
    };
    assert_eq!(
        message(&["status", "--nonsense", "--format", "json"]),
        (
            "unexpected argument '--nonsense' found".into(),
            "usagectl status --help".into()
        )
    );
    assert_eq!(
        message(&["--format=json", "alerts", "channel", "nonsense"]).1,
        "usagectl alerts channel --help"
    );
    assert_eq!(message(&["--format", "json"]).1, "usagectl --help");
    // Values that clap accepts and the command does not.
    assert_eq!(
        message(&["status", "--format=json", "--database-url=mysql:x"]).1,
        "give --database-url sqlite:PATH or postgresql://USER@HOST/DATABASE"
    );
}

#[test]
fn usage_error_names_the_help_page() {
    let sandbox = Sandbox::new();
    assert_snapshot!(sandbox.usagectl(["status", "--waiting", "1s"]).run().snapshot(), @r"
    ------- stderr -------
    error: unexpected argument '--waiting' found

      tip: a similar argument exists: '--wait'

    Usage: usagectl status --wait <DURATION>

    For more information, try '--help'.
    next: usagectl status --help
    [exit status: 2]
    ");
    let run = sandbox.usagectl(["limits", "nonsense"]).run();
    assert!(
        run.stderr.ends_with("\nnext: usagectl limits --help\n"),
        "{}",
        run.stderr
    );
}

// ---------------------------------------------------------------- next steps

/// Follows the next steps of `arguments` until one succeeds or requires a decision: a value, a file or a
/// retry. Fails if that takes more than three steps.
fn follow(db: &TestDatabase, arguments: &[&str]) {
    let mut words: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
    let mut trail = Vec::new();
    loop {
        let run = db.usagectl(&words).run();
        trail.push(format!("{} [{}]", words.join(" "), run.code));
        if run.code == 0 {
            return;
        }
        let last = run.stderr.lines().last().unwrap_or_default();
        let next = last.strip_prefix("next: ");
        let next = next.unwrap_or_else(|| panic!("{trail:?} has no next step: {}", run.stderr));
        trail.push(next.to_owned());
        let Some(command) = next.strip_prefix("usagectl ").filter(|_| is_command(next)) else {
            // Without a command it must name an action.
            assert!(!next.is_empty(), "{trail:?}");
            return;
        };
        words = split(command);
        let was_run = trail.iter().filter(|line| line.contains(" [")).count();
        assert!(was_run <= 3, "{trail:#?}");
        let again = format!("{} [", words.join(" "));
        assert!(
            !trail.iter().any(|line| line.starts_with(&again)),
            "leads back to itself: {trail:#?}"
        );
    }
}

/// Whether the step can be run as it is: no placeholder such as FILE, and no further text.
fn is_command(next: &str) -> bool {
    let has_text = [", ", "; ", ": ", " or "]
        .iter()
        .any(|text| next.contains(text));
    let words: Vec<&str> = next.split(' ').collect();
    let has_placeholder = words.windows(2).any(|pair| {
        let is_upper = pair[1].bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        is_upper && pair[1].len() > 1 && !pair[0].starts_with("--")
    });
    !has_text && !has_placeholder
}

/// Splits a command line at spaces, with single quotes.
fn split(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in command.split('\'').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// Commands without arguments that read or write the database.
const COMMANDS: [&[&str]; 22] = [
    &["status"],
    &["stats"],
    &["record"],
    &["aggregate"],
    &["aggregate", "--verify"],
    &["alerts"],
    &["alerts", "status"],
    &["alerts", "check"],
    &["alerts", "deliver"],
    &["alerts", "history"],
    &["alerts", "channel"],
    &["alerts", "silence"],
    &["limits"],
    &["limits", "check"],
    &["limits", "audit"],
    &["collect", "status"],
    &["recommend"],
    &["recommend", "run"],
    &["recommend", "forecast"],
    &["recommend", "backtest"],
    &["recommend", "inputs"],
    &["rollback", "--dry-run"],
];

/// One command for each way in which the schema is checked.
const MAIN_COMMANDS: [&[&str]; 8] = [
    &["status"],
    &["stats"],
    &["record"],
    &["aggregate"],
    &["alerts", "check"],
    &["limits", "check"],
    &["migrate"],
    &["rollback", "--dry-run"],
];

#[rstest]
fn next_steps_of_missing_or_unmigrated_database(#[values(Sqlite, Postgresql)] engine: Engine) {
    for command in MAIN_COMMANDS {
        // A file that does not exist, or a database without tables.
        follow(&TestDatabase::empty(engine), command);
    }
    let db = TestDatabase::migrated(engine);
    for command in MAIN_COMMANDS {
        db.usagectl(["rollback", "--yes"]).run().success();
        follow(&db, command);
        db.usagectl(["migrate"]).run().success();
    }
}

#[rstest]
fn next_steps_of_unexpected_schema(#[values(Sqlite, Postgresql)] engine: Engine) {
    let prefix = match engine {
        Sqlite => "",
        Postgresql => "usagectl.",
    };
    let of_api_usage = match engine {
        Sqlite => "",
        Postgresql => " ON api_usage",
    };
    let ledger = format!("{prefix}__diesel_schema_migrations");
    let log = format!("{prefix}usagectl_migration_log");
    let states = [
        "DROP INDEX api_usage_success_timestamp_idx".to_owned(),
        format!("DROP TRIGGER usagectl_after_insert{of_api_usage}"),
        format!("UPDATE {log} SET up_sha256 = 'other' WHERE name = 'enhance_api_monitoring'"),
        format!("INSERT INTO {ledger} (version) VALUES ('20990101000000')"),
        // Out of order: an older migration is pending.
        format!("DELETE FROM {ledger} WHERE version = '20260201000100'"),
        // The object of a pending migration exists.
        format!("DELETE FROM {ledger} WHERE version = (SELECT max(version) FROM {ledger})"),
    ];
    for state in states {
        for command in MAIN_COMMANDS {
            let db = TestDatabase::migrated(engine);
            db.execute(&state);
            follow(&db, command);
        }
    }
}

#[rstest]
fn next_steps_of_unadopted_database(#[values(Sqlite, Postgresql)] engine: Engine) {
    let ledger = match engine {
        Sqlite => "__diesel_schema_migrations",
        Postgresql => "usagectl.__diesel_schema_migrations",
    };
    for command in MAIN_COMMANDS {
        for stage in 1..=3 {
            follow(&deployed(engine, stage), command);
        }
        follow(&pushed(engine, 2), command);
        let partial = pushed(engine, 3);
        partial.execute("DROP INDEX api_usage_success_timestamp_idx");
        follow(&partial, command);
        let lost = TestDatabase::migrated(engine);
        lost.execute(&format!("DROP TABLE {ledger}"));
        follow(&lost, command);
    }
}

#[rstest]
fn next_steps_of_empty_tables_and_unknown_ids(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    for command in COMMANDS {
        follow(&db, command);
    }
    let commands: [&[&str]; 26] = [
        &["alerts", "show", "zzzz"],
        &["alerts", "set", "zzzz", "--threshold", "5"],
        &["alerts", "remove", "zzzz"],
        &["alerts", "enable", "zzzz"],
        &["alerts", "ack", "zzzz"],
        &["alerts", "silence", "expire", "zzzz"],
        &["alerts", "channel", "test", "zzzz"],
        &["alerts", "channel", "remove", "zzzz"],
        &["alerts", "backtest", "zzzz"],
        &["alerts", "check", "--fail-on", "warning"],
        &["limits", "check", "--fail-on", "warning"],
        &["limits", "remove", "--api", "zzzz", "--per", "MINUTE"],
        &["limits", "plan", "zzzz", "free"],
        &["limits", "plan", "upstash", "zzzz"],
        &["limits", "init", "--plan", "zzzz=free"],
        &["limits", "import", "missing.toml"],
        &["collect", "run"],
        &["collect", "import", "missing.ndjson"],
        &["recommend", "show", "zzzz"],
        &["recommend", "approve", "zzzz"],
        &["recommend", "dismiss", "zzzz", "--reason", "none"],
        &["recommend", "history", "zzzz"],
        &["recommend", "inputs", "remove", "zzzz"],
        &["record", "missing.ndjson"],
        &["record", "--replay", "missing.ndjson"],
        &["rollback", "--to", "zzzz"],
    ];
    for command in commands {
        follow(&db, command);
    }
}

#[rstest]
fn next_steps_of_held_locks(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let locked: [(RunKind, &[&str]); 5] = [
        (RunKind::Migrate, &["migrate", "--lock-wait", "0s"]),
        (
            RunKind::Migrate,
            &["rollback", "--yes", "--lock-wait", "0s"],
        ),
        (RunKind::Aggregate, &["aggregate"]),
        (RunKind::Alerts, &["alerts", "check"]),
        (RunKind::Recommend, &["recommend", "run"]),
    ];
    for (kind, command) in locked {
        let lock = db.lock(kind);
        let run = db.usagectl(command).run();
        assert_eq!(run.code, 6, "{command:?}: {}", run.snapshot());
        follow(&db, command);
        drop(lock);
        db.usagectl(command).arg("--lock-wait=60s").run();
    }
}

#[rstest]
fn next_steps_of_refused_input(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    db.sandbox().file("bad.ndjson", "{\"nonsense\": 1}\n");
    db.sandbox().file("bad.toml", "nonsense\n");
    let commands: [&[&str]; 8] = [
        &["record", "bad.ndjson"],
        &["record", "bad.ndjson", "--atomic"],
        &["record", "bad.ndjson", "--rejects", "rejects.ndjson"],
        &["collect", "import", "bad.ndjson"],
        &["limits", "import", "bad.toml"],
        &["limits", "set", "--api", "tmdb", "--per", "MINUTE", "0"],
        &[
            "stats",
            "--from",
            "2026-02-01T00:00:00Z",
            "--to",
            "2026-01-01T00:00:00Z",
        ],
        &[
            "alerts",
            "add",
            "--api",
            "tmdb",
            "--type",
            "ERROR_SPIKE",
            "--threshold",
            "0",
            "--period",
            "HOUR",
        ],
    ];
    for command in commands {
        follow(&db, command);
    }
}

#[test]
fn usage_error_under_nagios_is_unknown() {
    let sandbox = Sandbox::new();
    for command in [
        &["alerts", "check", "--nagios", "--nope"][..],
        &["alerts", "check", "--nagios", "--now", "noon"],
        &["limits", "check", "--nagios", "--format", "json", "--nope"],
        &[
            "limits",
            "check",
            "--database-url",
            "mysql://x/",
            "--nagios",
        ],
    ] {
        let run = sandbox.usagectl(command).run();
        assert_eq!(run.code, 3, "{}", run.snapshot());
        assert!(run.stdout.starts_with("UNKNOWN - "), "{}", run.snapshot());
        assert_eq!(run.stdout.lines().count(), 1, "{}", run.snapshot());
    }
}

#[test]
fn locked_table_is_named_with_its_holder_postgresql() {
    let db = TestDatabase::migrated(Postgresql);
    db.usagectl(["record", "--api", "tmdb"]).run().success();
    let _holder = db.open_transaction(
        "SET LOCAL application_name = 'billing'; LOCK TABLE api_usage, api_alerts IN ACCESS EXCLUSIVE MODE",
    );
    let commands = [&["aggregate"] as &[&str], &["stats"], &["alerts", "check"]];
    let runs = commands.map(|command| db.usagectl(command).spawn());
    for run in runs {
        let run = run.wait();
        assert_eq!(run.code, 6, "{}", run.snapshot());
        let names = ["api_usage", "api_alerts"].iter().any(|table| {
            let holder = format!("error: the table {table} is in use by billing (pid ");
            run.stderr.contains(&holder)
        });
        assert!(names, "{}", run.stderr);
        let next = "next: run the same command again when that transaction has ended\n";
        assert!(run.stderr.ends_with(next), "{}", run.stderr);
    }
}

#[test]
fn locked_row_of_our_tables_is_named_with_its_holder_postgresql() {
    let db = TestDatabase::migrated(Postgresql);
    let record = || db.usagectl(["record", "--api", "tmdb"]).run().success();
    record();
    db.usagectl(["aggregate"]).run().success();
    record();
    let _holder = db.open_transaction(
        "SET LOCAL application_name = 'billing'; SELECT FROM usagectl.usagectl_rollups FOR UPDATE",
    );
    let run = db.usagectl(["aggregate"]).run();
    assert_eq!(run.code, 6, "{}", run.snapshot());
    let holder = "error: the table usagectl_rollups is in use by billing (pid ";
    assert!(run.stderr.starts_with(holder), "{}", run.stderr);
}

/// On a standby every command that writes ends so.
#[test]
fn read_only_server_is_refused_at_once_postgresql() {
    let db = TestDatabase::migrated(Postgresql);
    let new = TestDatabase::empty(Postgresql);
    let commands: [(&TestDatabase, &[&str]); 8] = [
        (&new, &["migrate"]),
        (&db, &["rollback", "--yes"]),
        (&db, &["record", "--api", "tmdb"]),
        (&db, &["record", "--api", "tmdb", "--atomic"]),
        (&db, &["aggregate"]),
        (&db, &["prune", "--older-than", "1d"]),
        (&db, &["alerts", "check"]),
        (&db, &["limits", "init"]),
    ];
    for (db, command) in commands {
        let began = Instant::now();
        let program = db.usagectl(command);
        let run = program
            .env("PGOPTIONS", "-c default_transaction_read_only=on")
            .run();
        assert_eq!(run.code, 5, "{command:?}: {}", run.snapshot());
        assert!(
            run.stderr.contains("the server is read-only"),
            "{}",
            run.stderr
        );
        let next = "next: use the URL of the primary server; ";
        assert!(run.stderr.contains(next), "{}", run.stderr);
        assert!(began.elapsed() < Duration::from_secs(10), "{command:?}");
    }
}

/// SQLite stores any bytes as text. The printed statements make all of it readable.
#[rstest]
#[case::endpoint("endpoint", "rowid IN (1, 3)")]
#[case::name("api_name", "rowid IN (1, 3)")]
fn text_that_is_not_utf8_is_named_with_its_rows_sqlite(#[case] column: &str, #[case] rows: &str) {
    let db = TestDatabase::migrated(Sqlite);
    db.execute(&format!(
        "INSERT INTO api_usage (id, api_name, endpoint, timestamp) VALUES
             ('1', 'tmdb', '/a', '2026-01-02T10:00:00.000+00:00'),
             ('2', 'tmdb', '/a', '2026-01-02T10:00:00.000+00:00'),
             ('3', 'tmdb', '/a', '2026-01-02T11:00:00.000+00:00');
         UPDATE api_usage SET {column} = CAST(x'2fff' AS TEXT) WHERE id IN ('1', '3')"
    ));
    let mut run = db.usagectl(["aggregate"]).run();
    assert_eq!(run.code, 4, "{}", run.snapshot());
    for _ in 0..2 {
        let Some((message, next)) = run
            .stderr
            .split_once("\nnext: correct the text, such as with ")
        else {
            break;
        };
        if column == "endpoint" {
            let expected = format!("error: api_usage, {rows}: the text is not UTF-8: ");
            assert!(message.starts_with(&expected), "{message}");
        }
        let (sql, _) = next
            .split_once("; then run the same command again")
            .unwrap();
        db.run_script(&format!("{sql};"));
        run = db.usagectl(["aggregate"]).run();
    }
    run.success();
    let calls = db.rows(
        "SELECT sum(total_requests) FROM api_usage_aggregates WHERE aggregation_type = 'HOURLY'",
    );
    assert_eq!(calls, ["3"]);
    db.usagectl(["prune", "--older-than", "1d"]).run().success();
}
