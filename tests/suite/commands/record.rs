//! `record`: every line is accounted for, and each call is recorded once.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::assert_snapshot;
use serde_json::Value;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::{Engine, Run, TestDatabase};
use rstest::rstest;

/// The JSON answer of a run.
#[track_caller]
pub(super) fn summary(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}", run.snapshot()))
}

/// The numbers of inserted, duplicate, conflicting and refused lines.
#[track_caller]
pub(super) fn outcomes(run: &Run) -> [u64; 4] {
    let summary = summary(run);
    let outcomes = ["inserted", "duplicate", "conflict", "refused"]
        .map(|name| summary[name].as_u64().expect("a count"));
    let read = summary["read"].as_u64();
    let others = ["rolled_back", "unwritten"];
    let others = others.map(|name| summary[name].as_u64().expect("a count"));
    assert_eq!(
        read,
        Some(outcomes.iter().chain(&others).sum::<u64>()),
        "{summary}"
    );
    outcomes
}

/// Records `text` from stdin.
pub(super) fn record(db: &TestDatabase, text: &str, options: &[&str]) -> Run {
    let arguments = ["record", "--format", "json"].iter().chain(options);
    db.usagectl(arguments).stdin(text).run()
}

/// Records a file in the working directory.
pub(super) fn record_file(db: &TestDatabase, name: &str, options: &[&str]) -> Run {
    let arguments = ["record", "--format", "json", name].into_iter();
    db.usagectl(arguments.chain(options.iter().copied())).run()
}

/// The lines of a file of rejects.
pub(super) fn rejects(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("rejects were kept");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect()
}

pub(super) fn count(db: &TestDatabase) -> usize {
    db.rows("SELECT count(*) FROM api_usage")[0]
        .parse()
        .expect("a number")
}

/// A valid line with its own second.
pub(super) fn good(second: usize) -> String {
    format!(r#"{{"api_name":"tmdb","timestamp":"2026-01-31T11:00:{second:02}Z"}}"#)
}

/// Refused lines: the JSON beside a valid `api_name`, the field, the code.
const BAD: &[(&str, &str, &str)] = &[
    (r#""api_name":7"#, "api_name", "duplicate_field"),
    (r#""endpoint":["/quote"]"#, "endpoint", "type"),
    (r#""endpoint":"a\u0000b""#, "endpoint", "nul"),
    (r#""method":1"#, "method", "type"),
    (r#""timestamp":"2026-01-31T12:00:00""#, "timestamp", "time"),
    (r#""timestamp":1769860800"#, "timestamp", "time"),
    (r#""timestamp":"2026-01-31T12:06:00Z""#, "timestamp", "time"),
    (r#""timestamp":"1969-12-31T00:00:00Z""#, "timestamp", "time"),
    (r#""success":"perhaps""#, "success", "type"),
    (r#""success":2"#, "success", "type"),
    (r#""statusCode":99"#, "status_code", "range"),
    (r#""status_code":"2x""#, "status_code", "type"),
    (r#""status_code":200.5"#, "status_code", "type"),
    (r#""responseTime":-1"#, "response_time", "range"),
    (r#""response_time":2147483648"#, "response_time", "range"),
    (r#""request_size":-5"#, "request_size", "range"),
    (r#""responseSize":1e12"#, "response_size", "range"),
    (r#""error_type":{}"#, "error_type", "type"),
    (r#""errorMessage":"\u0000""#, "error_message", "nul"),
    (r#""cost_credits":-0.1"#, "cost_credits", "range"),
    (r#""costCredits":"x""#, "cost_credits", "type"),
    (r#""cost_credits":1e300"#, "cost_credits", "range"),
    (
        r#""cached":null,"cached":true"#,
        "cached",
        "duplicate_field",
    ),
    (r#""user_id":0.5"#, "user_id", "type"),
    (r#""id":true"#, "id", "type"),
    (r#""region":"eu""#, "region", "unknown_field"),
];

/// Whole lines that are refused, with the code.
const BROKEN: &[(&str, &str)] = &[
    (r#"{"endpoint":"/quote"}"#, "missing"),
    (r#"{"api_name":"  "}"#, "missing"),
    (r#"{"api_name":"a""#, "json"),
    (r#"["a"]"#, "json"),
    (r#"{"api_name":"a"} {"api_name":"b"}"#, "json"),
    ("nonsense", "json"),
];

#[rstest]
fn refused_line_is_reported_and_does_not_stop_others(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let bad = BAD
        .iter()
        .map(|(json, field, code)| (format!(r#"{{"api_name":"bad",{json}}}"#), *field, *code));
    let broken = BROKEN
        .iter()
        .map(|(line, code)| ((*line).to_owned(), "", *code));
    let mut lines = vec![good(0)];
    let mut expected = Vec::new();
    for (line, field, code) in bad.chain(broken) {
        expected.push((lines.len() as u64 + 1, field, code, line.clone()));
        lines.push(line);
        lines.push(good(expected.len()));
    }

    let file = db.sandbox().file("calls.ndjson", lines.join("\n"));
    let run = record_file(&db, "calls.ndjson", &["--rejects", "refused.ndjson"]);

    assert_eq!(run.code, 3);
    let refused = expected.len() as u64;
    assert_eq!(outcomes(&run), [refused + 1, 0, 0, refused]);
    assert_eq!(count(&db), expected.len() + 1);
    assert_eq!(
        db.rows("SELECT count(*) FROM api_usage WHERE api_name = 'bad'"),
        ["0"]
    );
    let kept = rejects(&file.with_file_name("refused.ndjson"));
    for (reject, (line, field, code, raw)) in kept.iter().zip(&expected) {
        // A missing field is named too.
        let of = if *code == "missing" {
            "api_name"
        } else {
            field
        };
        assert_eq!(reject["line"], *line, "{reject}");
        assert_eq!(reject["field"].as_str().unwrap_or_default(), of, "{reject}");
        assert_eq!(reject["code"], *code, "{reject}");
        assert_eq!(reject["raw"], *raw, "{reject}");
    }
    assert_eq!(kept.len(), expected.len());
    let named = run
        .stderr
        .lines()
        .filter(|line| line.starts_with("warning: calls.ndjson:"));
    assert_eq!(named.count(), 20);
    let more = run.stderr.lines().filter_map(|line| {
        let (count, rest) = line.strip_prefix("warning: ")?.split_once(' ')?;
        rest.contains("rejected for the reason of")
            .then(|| count.parse::<u64>().expect("a count"))
    });
    assert_eq!(more.sum::<u64>(), refused - 20, "{}", run.stderr);
}

#[rstest]
fn summary_and_warnings(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let text = format!(
        "{}\n\n{}\n{{\"api_name\":\"tmdb\",\"status_code\":999}}\n{{\"api_name\":\"tmdb\",\"error_message\":\"{}\"}}\n",
        good(1),
        good(1),
        "x".repeat(6_000),
    );
    let run = db.usagectl(["record"]).stdin(&text).run();
    assert_snapshot!(run.snapshot(), @"
        read                     4
        inserted                 3
        duplicate                0
        conflict                 0
        refused                  1
        cut                      1
        unrepeatable             1
        from  2026-01-31T11:00:01Z
        to    2026-01-31T12:00:00Z
        in [time] s, [rate] lines/s
        ------- stderr -------
        warning: stdin:4: status_code is 999, expected 100 to 599
        next: correct the rejected lines, then run the same command again: recorded lines are skipped
        [exit status: 3]
        ");
    let run = db
        .usagectl(["record"])
        .stdin(&format!("{}\n", good(1)))
        .run();
    assert_snapshot!(run.snapshot(), @"
        read                     1
        inserted                 0
        duplicate                1
        conflict                 0
        refused                  0
        from  2026-01-31T11:00:01Z
        to    2026-01-31T11:00:01Z
        in [time] s, [rate] lines/s
        [exit status: 0]
        ");
}

#[rstest]
fn second_run_adds_nothing_and_repeats_within_a_file_count(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let text = format!("{}\n{}\n{}\n{}\n", good(1), good(2), good(1), good(1));
    db.sandbox().file("calls.ndjson", &text);
    assert_eq!(
        outcomes(&record_file(&db, "calls.ndjson", &[])),
        [4, 0, 0, 0]
    );
    assert_eq!(
        outcomes(&record_file(&db, "calls.ndjson", &[])),
        [0, 4, 0, 0]
    );
    // Named twice it is still the same file; with one line more, only that line is new.
    assert_eq!(
        outcomes(&record_file(&db, "calls.ndjson", &["calls.ndjson"])),
        [0, 8, 0, 0]
    );
    db.sandbox().file("calls.ndjson", text.clone() + &good(1));
    assert_eq!(
        outcomes(&record_file(&db, "calls.ndjson", &[])),
        [1, 4, 0, 0]
    );
    // Another source means other calls.
    assert_eq!(outcomes(&record(&db, &text, &[])), [4, 0, 0, 0]);
    assert_eq!(
        outcomes(&record(&db, &text, &["--source", "calls.ndjson"])),
        [0, 4, 0, 0]
    );
    assert_eq!(count(&db), 9);
}

#[rstest]
fn format_spelling_and_compression_do_not_change_ids(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let lines = "{\"api_name\":\"tmdb\",\"timestamp\":\"2026-01-31T11:00:00Z\",\"cost_credits\":0.1,\"cached\":true,\"endpoint\":\"/a,\\\"b\\\"\"}\n\
            {\"api_name\":\"rawg\",\"timestamp\":\"2026-01-31T11:00:01Z\",\"status_code\":503}\n";
    let array = "[ {\"timestamp\":\"2026-01-31T12:00:00+01:00\", \"apiName\":\"tmdb\",\n \"costCredits\":1e-1,\"cached\":true,\"endpoint\":\"\\/a,\\u0022b\\\"\"},\n\
            {\"apiName\":\"rawg\",\"statusCode\":503.0,\"timestamp\":\"2026-01-31T11:00:01.000Z\",\"method\":\"GET\"} ]";
    let csv = "\u{feff}timestamp,apiName,cost_credits,cached,endpoint,statusCode\r\n\
            2026-01-31T11:00:00Z,tmdb,0.10,TRUE,\"/a,\"\"b\"\"\",\r\n\
            2026-01-31T11:00:01Z,rawg,,0,,503";
    let source = ["--source", "log"];
    assert_eq!(outcomes(&record(&db, lines, &source)), [2, 0, 0, 0]);
    for text in [
        array,
        csv,
        &lines.replace('\n', "\r\n\n"),
        &format!("\u{feff}{lines}"),
    ] {
        assert_eq!(
            outcomes(&record(&db, text, &source)),
            [0, 2, 0, 0],
            "{text}"
        );
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(lines.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(csv.as_bytes(), 3).unwrap();
    for bytes in [gzip, zstd] {
        let run = db
            .usagectl(["record", "--format", "json", "--source", "log"])
            .stdin_bytes(bytes)
            .run();
        assert_eq!(outcomes(&run), [0, 2, 0, 0]);
    }
}

#[rstest]
fn every_field_is_stored_unchanged(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let line = r#"{"id":"a1","api_name":"finnhub","endpoint":"/quote","method":"POST","timestamp":"2026-01-31T11:59:59.1239Z",
            "success":false,"status_code":429,"response_time":120,"request_size":0,"response_size":2147483647,
            "error_type":"QUOTA","error_message":"tab\t nl\n cr\r bs\\ nul\\0 \\N é","cost_credits":0.30000000000000004,"cached":true,"user_id":"u 1"}"#;
    assert_eq!(
        outcomes(&record(&db, &format!("[{line}]"), &[])),
        [1, 0, 0, 0]
    );
    assert_eq!(
        db.rows("SELECT id, api_name, endpoint, method, timestamp, success, status_code, response_time, request_size,
                response_size, error_type, error_message, cost_credits, cached, user_id, created_at FROM api_usage"),
        ["a1|finnhub|/quote|POST|2026-01-31T11:59:59.123+00:00|0|429|120|0|2147483647|QUOTA|tab\t nl\n cr\r bs\\ nul\\0 \\N é|0.30000000000000004|1|u 1|2026-01-31T12:00:00.000+00:00"]
    );
    assert_eq!(
        outcomes(&record(&db, &format!("[{line}]"), &[])),
        [0, 1, 0, 0]
    );
}

#[rstest]
fn same_id_with_other_content_is_a_conflict(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let text = r#"{"id":"a","api_name":"tmdb","timestamp":"2026-01-31T11:00:00Z","response_time":5}
            {"id":"a","api_name":"tmdb","timestamp":"2026-01-31T11:00:00Z","response_time":6}
            {"id":"b","api_name":"tmdb","timestamp":"2026-01-31T11:00:00Z"}
            {"id":"b","api_name":"tmdb","timestamp":"2026-01-31T11:00:00Z"}"#;
    let run = record(&db, text, &["--rejects", "refused.ndjson"]);
    assert_eq!((run.code, outcomes(&run)), (3, [2, 1, 1, 0]));
    let kept = rejects(&db.sandbox().work().join("refused.ndjson"));
    assert_eq!(
        (&kept[0]["line"], &kept[0]["field"]),
        (&2.into(), &"response_time".into())
    );
    assert_eq!(outcomes(&record(&db, text, &[])), [0, 3, 1, 0]);
    // The first line of an id counts.
    assert_eq!(
        db.rows("SELECT response_time FROM api_usage WHERE id = 'a'"),
        ["5"]
    );
}

#[rstest]
fn default_time_does_not_conflict_later(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let line = r#"{"id":"a","api_name":"tmdb"}"#;
    assert_eq!(outcomes(&record(&db, line, &[])), [1, 0, 0, 0]);
    let later = db
        .usagectl(["record", "--format", "json"])
        .now("2026-02-01T00:00:00Z")
        .stdin(line)
        .run();
    assert_eq!(outcomes(&later), [0, 1, 0, 0]);
}

#[rstest]
fn lines_without_id_and_time_are_inserted_by_each_run(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let text = "{\"api_name\":\"tmdb\"}\n{\"api_name\":\"tmdb\"}\n";
    for times in 1..=2 {
        let run = record(&db, text, &[]);
        assert_eq!(outcomes(&run), [2, 0, 0, 0]);
        assert_eq!(summary(&run)["unrepeatable"], 2);
        assert_eq!(count(&db), 2 * times);
    }
}

#[rstest]
fn rows_written_by_prisma_are_duplicates(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let time = match db.engine() {
        // What its older SQLite driver writes.
        Engine::Sqlite => "1769857200000",
        Engine::Postgresql => "'2026-01-31 11:00:00'",
    };
    db.execute(&format!(
        "INSERT INTO api_usage (id, api_name, endpoint, method, timestamp, success, status_code, error_type, cached, created_at)
             VALUES ('c1', 'tmdb', '/movie', NULL, {time}, false, 500, NULL, false, {time}),
                    ('c2', 'tmdb', '/movie', 'GET', {time}, true, 200, NULL, false, {time})"
    ));
    let line = |id: &str, more: &str| {
        format!(
            "{{\"id\":\"{id}\",\"apiName\":\"tmdb\",\"endpoint\":\"/movie\",\"timestamp\":\"2026-01-31T11:00:00Z\"{more}}}\n"
        )
    };
    let same = line("c1", ",\"statusCode\":500") + &line("c2", ",\"statusCode\":200");
    assert_eq!(outcomes(&record(&db, &same, &[])), [0, 2, 0, 0]);
    let other =
        line("c1", ",\"statusCode\":502") + &line("c2", ",\"statusCode\":200,\"method\":\"POST\"");
    assert_eq!(outcomes(&record(&db, &other, &[])), [0, 0, 2, 0]);
}

#[rstest]
fn row_refused_by_the_database_does_not_fail_its_batch(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    db.execute(match db.engine() {
        Engine::Sqlite => {
            "CREATE TRIGGER strict BEFORE INSERT ON api_usage WHEN NEW.user_id = 'blocked'
                BEGIN SELECT RAISE(ABORT, 'user is blocked'); END"
        }
        Engine::Postgresql => {
            "ALTER TABLE api_usage ADD CONSTRAINT strict CHECK (user_id <> 'blocked')"
        }
    });
    let line = |number: usize| match number % 40 {
        7 => format!("{{\"id\":\"{number}\",\"api_name\":\"tmdb\",\"user_id\":\"blocked\"}}\n"),
        _ => format!("{{\"id\":\"{number}\",\"api_name\":\"tmdb\"}}\n"),
    };
    let text: String = (0..200).map(line).collect();
    let run = record(&db, &text, &["--rejects", "refused.ndjson"]);
    assert_eq!((run.code, outcomes(&run)), (3, [195, 0, 0, 5]));
    let kept = rejects(&db.sandbox().work().join("refused.ndjson"));
    let lines: Vec<_> = kept
        .iter()
        .map(|reject| reject["line"].as_u64().unwrap())
        .collect();
    assert_eq!(lines, [8, 48, 88, 128, 168]);
    assert!(kept.iter().all(|reject| reject["code"] == "database"));
}

#[rstest]
fn database_that_refuses_everything_fails_the_command(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    db.execute(match db.engine() {
        Engine::Sqlite => "CREATE TRIGGER closed BEFORE INSERT ON api_usage BEGIN SELECT RAISE(ABORT, 'closed'); END",
        Engine::Postgresql => "CREATE FUNCTION closed() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'closed'; END $$;
                CREATE TRIGGER closed BEFORE INSERT ON api_usage FOR EACH ROW EXECUTE FUNCTION closed()",
    });
    let text: String = (0..300).map(|second| good(second % 60) + "\n").collect();
    for text in [text.as_str(), &good(0)] {
        let run = record(&db, text, &[]);
        assert_eq!(run.code, 1, "{}", run.snapshot());
        assert!(
            run.stderr.contains("nothing was recorded: closed"),
            "{}",
            run.stderr
        );
        assert_eq!(summary(&run)["unwritten"], text.lines().count());
    }
    assert_eq!(count(&db), 0);
}

#[rstest]
fn atomic_run_records_all_lines_or_none(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let text = format!(
        "{}\n{{\"api_name\":\"tmdb\",\"cached\":2}}\n{}\n",
        good(1),
        good(2)
    );
    let run = record(&db, &text, &["--atomic"]);
    assert_eq!((run.code, outcomes(&run)), (3, [0, 0, 0, 1]));
    assert_eq!(
        (&summary(&run)["read"], &summary(&run)["rolled_back"]),
        (&3.into(), &2.into())
    );
    assert!(
        run.stderr.contains("stdin:2: cached is a number"),
        "{}",
        run.stderr
    );
    assert_eq!(count(&db), 0);
    let text = format!("{}\n{}\n", good(1), good(2));
    assert_eq!(outcomes(&record(&db, &text, &["--atomic"])), [2, 0, 0, 0]);
    assert_eq!(count(&db), 2);
}

/// Edits the rejects file.
fn correct(db: &TestDatabase, from: &str, to: &str) {
    let path = db.sandbox().work().join("refused.ndjson");
    let kept = fs::read_to_string(&path).expect("rejects were kept");
    fs::write(&path, kept.replace(from, to)).expect("the sandbox is writable");
}

fn replay(db: &TestDatabase, now: &str) -> Run {
    let arguments = ["record", "--format", "json", "--replay", "refused.ndjson"];
    db.usagectl(arguments).now(now).run()
}

#[rstest]
fn replayed_lines_get_the_ids_of_their_input(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    // Two good lines and two that will be corrected to the same: four calls.
    let bad = good(1).replace("tmdb\"", "tmdb\",\"cached\":\"never\"");
    let text = format!("{}\n{bad}\n{}\n{bad}\n", good(1), good(1));
    db.sandbox().file("calls.ndjson", &text);
    let run = record_file(&db, "calls.ndjson", &["--rejects", "refused.ndjson"]);
    assert_eq!(outcomes(&run), [2, 0, 0, 2]);
    assert!(run.stderr.contains(
        "correct the lines in refused.ndjson, then usagectl record --replay refused.ndjson"
    ));

    correct(&db, "\\\"never\\\"", "false");
    assert_eq!(outcomes(&replay(&db, "2026-01-31T13:00:00Z")), [2, 0, 0, 0]);
    // Again, by another clock, and in the corrected file itself: they are the same four calls.
    for now in [
        "2026-01-31T13:00:00Z",
        "2026-01-31T14:00:00Z",
        "2026-01-31T11:58:00Z",
    ] {
        assert_eq!(outcomes(&replay(&db, now)), [0, 2, 0, 0]);
    }
    db.sandbox()
        .file("calls.ndjson", text.replace("\"never\"", "false"));
    assert_eq!(
        outcomes(&record_file(&db, "calls.ndjson", &[])),
        [0, 4, 0, 0]
    );
    assert_eq!(count(&db), 4);
}

#[rstest]
fn corrected_file_may_be_recorded_before_the_replay(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let bad = good(1).replace("tmdb\"", "tmdb\",\"cached\":\"never\"");
    let text = format!("{}\n{bad}\n", good(1));
    db.sandbox().file("calls.ndjson", &text);
    record_file(&db, "calls.ndjson", &["--rejects", "refused.ndjson"]);
    db.sandbox()
        .file("calls.ndjson", text.replace("\"never\"", "false"));
    let later = ["record", "--format", "json", "calls.ndjson"];
    let run = db.usagectl(later).now("2026-01-31T12:30:00Z").run();
    assert_eq!(outcomes(&run), [1, 1, 0, 0]);
    correct(&db, "\\\"never\\\"", "false");
    assert_eq!(outcomes(&replay(&db, "2026-01-31T13:00:00Z")), [0, 1, 0, 0]);
}

#[rstest]
fn csv_rows_are_kept_with_their_header(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let csv = "api_name,timestamp,response_time,error_message\n\
            tmdb,2026-01-31T11:00:00Z,12x,\"two\nlines\"\n\
            tmdb,2026-01-31T11:00:01Z,13\n\
            tmdb,2026-01-31T11:00:02Z,14,\n";
    db.sandbox().file("calls.csv", csv);
    let run = record_file(&db, "calls.csv", &["--rejects", "refused.ndjson"]);
    assert_eq!(outcomes(&run), [1, 0, 0, 2]);
    assert!(
        run.stderr
            .contains("calls.csv:2: response_time is `12x`, expected a number"),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr
            .contains("calls.csv:4: the line has 3 cells, expected 4"),
        "{}",
        run.stderr
    );
    correct(&db, "12x", "12");
    correct(&db, ",13\"", ",13,\"");
    assert_eq!(outcomes(&replay(&db, "2026-01-31T13:00:00Z")), [2, 0, 0, 0]);
    assert_eq!(
        db.rows("SELECT response_time, error_message FROM api_usage ORDER BY timestamp"),
        ["12|two\nlines", "13|NULL", "14|NULL"]
    );
    let whole = csv.replace("12x", "12").replace(",13\n", ",13,\n");
    db.sandbox().file("calls.csv", whole);
    assert_eq!(outcomes(&record_file(&db, "calls.csv", &[])), [0, 3, 0, 0]);
}

#[rstest]
fn line_refused_again_is_kept_by_replay(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let mut bytes = b"{\"api_name\":\"tm\xff\"}\n".to_vec();
    bytes.extend_from_slice(b"{\"api_name\":\"tmdb\",\"timestamp\":\"2026-01-31T11:00:00\"}\n");
    bytes.extend_from_slice(format!("{{\"api_name\":\"{}\"}}\n", "x".repeat(2 << 20)).as_bytes());
    db.sandbox().file("calls.ndjson", bytes);
    let run = record_file(&db, "calls.ndjson", &["--rejects", "refused.ndjson"]);
    assert_eq!(outcomes(&run), [0, 0, 0, 3]);
    let again = db
        .usagectl([
            "record",
            "--format",
            "json",
            "--replay",
            "refused.ndjson",
            "--rejects",
            "again.ndjson",
            "--assume-tz",
            "UTC",
        ])
        .run();
    assert_eq!((again.code, outcomes(&again)), (3, [1, 0, 0, 2]));
    let kept = rejects(&db.sandbox().work().join("again.ndjson"));
    let shown: Vec<_> = kept
        .iter()
        .map(|reject| {
            [
                &reject["input"],
                &reject["line"],
                &reject["code"],
                &reject["raw_is"],
            ]
            .map(Value::to_string)
            .join(" ")
        })
        .collect();
    // The original input and line are kept.
    assert_eq!(
        shown,
        [
            "\"calls.ndjson\" 1 \"raw\" \"lossy\"",
            "\"calls.ndjson\" 3 \"raw\" \"cut\""
        ]
    );
}

#[rstest]
fn killed_run_is_completed_by_the_next(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    // Half of them without ids, some of them repeated.
    let line = |number: usize| {
        let time = format!("2026-01-{:02}T{:02}:00:00Z", 1 + number % 30, number % 24);
        match number % 2 {
            0 => format!(
                "{{\"api_name\":\"tmdb\",\"timestamp\":\"{time}\",\"response_time\":{}}}\n",
                number % 500
            ),
            _ => format!(
                "{{\"id\":\"call-{number}\",\"api_name\":\"rawg\",\"timestamp\":\"{time}\"}}\n"
            ),
        }
    };
    let text: String = (0..24_000).map(line).collect();
    db.sandbox().file("calls.ndjson", &text);
    for _ in 0..3 {
        let running = db.usagectl(["record", "calls.ndjson"]).spawn();
        thread::sleep(Duration::from_millis(600));
        running.signal("KILL");
        running.wait();
    }
    // And once after a batch was committed.
    let mut running = db.usagectl(["record", "--source", "calls.ndjson"]).spawn();
    running.write(&text);
    wait_until(|| count(&db) >= 20_000);
    running.signal("KILL");
    assert_eq!(running.wait().code, 128 + 9);

    let run = record_file(&db, "calls.ndjson", &[]);
    let [inserted, duplicate, conflict, refused] = outcomes(&run);
    assert_eq!(
        (run.code, inserted + duplicate, conflict, refused),
        (0, 24_000, 0, 0)
    );
    assert!(duplicate >= 20_000);
    assert_eq!(count(&db), 24_000);
}

#[rstest]
fn slow_input_is_committed_while_it_arrives(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let mut running = db.usagectl(["record"]).spawn();
    running.write(&format!("{}\n", good(1)));
    wait_until(|| count(&db) == 1);
    // An incomplete line is not recorded.
    let (begin, rest) = (good(2)[..20].to_owned(), good(2)[20..].to_owned());
    running.write(&begin);
    running.write(&format!("{rest}\n"));
    wait_until(|| count(&db) == 2);
    assert_eq!(running.wait().code, 0);
}

#[rstest]
fn signal_commits_complete_lines(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    for (signal, first) in [("TERM", 0), ("INT", 10)] {
        let before = count(&db);
        let mut running = db.usagectl(["record", "--format", "json"]).spawn();
        // The first line shows that the program is ready for signals.
        running.write(&format!("{}\n", good(first)));
        wait_until(|| count(&db) == before + 1);
        running.write(&format!("{}\n{}", good(first + 1), &good(first + 2)[..30]));
        thread::sleep(Duration::from_millis(200));
        running.signal(signal);
        // Its input stays open: the signal ends it.
        let stdin = running.child.stdin.take();
        let run = running.wait();
        drop(stdin);
        assert_eq!(
            (run.code, outcomes(&run)),
            (3, [2, 0, 0, 0]),
            "{}",
            run.snapshot()
        );
        assert_eq!(summary(&run)["complete"], false);
        assert!(
            run.stderr.contains("run the same command again"),
            "{}",
            run.stderr
        );
    }
    assert_eq!(count(&db), 4);
}

#[rstest]
fn record_given_by_flags_is_checked_like_a_line(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let event = |options: &[&str]| {
        let arguments = ["record", "--format", "json", "--api", "finnhub"];
        db.usagectl(arguments.iter().chain(options)).run()
    };
    let all = [
        "--endpoint",
        "/quote, \"x\"",
        "--method",
        "POST",
        "--status",
        "429",
        "--response-time",
        "120",
        "--request-size",
        "5",
        "--response-size",
        "6",
        "--error-type",
        "QUOTA",
        "--error-message",
        "a\nb",
        "--cost",
        "0.1",
        "--cached",
        "--user-id",
        "u",
        "--timestamp",
        "2026-01-31T11:00:00Z",
        "--success",
        "false",
    ];
    assert_eq!(outcomes(&event(&all)), [1, 0, 0, 0]);
    assert_eq!(outcomes(&event(&all)), [0, 1, 0, 0]);
    assert_eq!(
        db.rows("SELECT api_name, endpoint, method, success, status_code, response_time, request_size, response_size,
                error_type, error_message, cost_credits, cached, user_id, timestamp FROM api_usage"),
        ["finnhub|/quote, \"x\"|POST|0|429|120|5|6|QUOTA|a\nb|0.1|1|u|2026-01-31T11:00:00.000+00:00"]
    );
    let wrong = event(&["--cost", "-1"]);
    assert_eq!((wrong.code, outcomes(&wrong)), (3, [0, 0, 0, 1]));
    assert!(
        wrong
            .stderr
            .starts_with("warning: cost_credits is -1, expected 0 to 1e15\n"),
        "{}",
        wrong.stderr
    );
    assert_eq!(event(&["calls.ndjson"]).code, 2);
    assert_eq!(db.usagectl(["record", "--status", "200"]).run().code, 2);
}

#[rstest]
fn nothing_is_recorded_unless_all_files_open(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    db.sandbox().file("calls.ndjson", good(1));
    for (arguments, message) in [
        (
            vec!["calls.ndjson", "missing.ndjson"],
            "cannot read missing.ndjson",
        ),
        (vec!["calls.ndjson", "."], "cannot read .: is a directory"),
        (
            vec!["calls.ndjson", "--rejects", "no/where"],
            "cannot write no/where",
        ),
    ] {
        let run = db.usagectl(["record"].into_iter().chain(arguments)).run();
        assert_eq!(run.code, 1);
        assert!(
            run.stderr.contains(message) && run.stderr.contains("\nnext: "),
            "{}",
            run.stderr
        );
    }
    assert_eq!(count(&db), 0);
}

#[rstest]
fn unreadable_input_does_not_stop_the_others(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    let lines: String = (0..60).map(|second| good(second) + "\n").collect();
    gzip.write_all(lines.as_bytes()).unwrap();
    let mut gzip = gzip.finish().unwrap();
    gzip.truncate(gzip.len() - 500);
    db.sandbox().file("cut.gz", gzip);
    db.sandbox().file("wrong.csv", "api_name,region\ntmdb,eu\n");
    db.sandbox()
        .file("good.csv", "ts,api,region\n1769857200,tmdb,eu\n");
    db.sandbox()
        .file("open.json", format!("[{},{}", good(1), good(2)));
    let run = db
        .usagectl([
            "record",
            "--format",
            "json",
            "cut.gz",
            "wrong.csv",
            "open.json",
        ])
        .run();
    let [inserted, ..] = outcomes(&run);
    assert_eq!(run.code, 1);
    assert!((50..60).contains(&inserted), "{inserted}");
    assert_eq!(summary(&run)["complete"], false);
    for message in [
        "error: cut.gz: is compressed and truncated; read up to line 5",
        "error: wrong.csv: the header has an unknown column `region`",
        "error: open.json: ends inside the array",
    ] {
        assert!(run.stderr.contains(message), "{}", run.stderr);
    }
    let run = record_file(
        &db,
        "good.csv",
        &[
            "--map",
            "ts=timestamp",
            "--map",
            "api=api_name",
            "--time-unit",
            "s",
            "--unknown",
            "ignore",
        ],
    );
    assert_eq!(outcomes(&run), [1, 0, 0, 0], "{}", run.stderr);
}

#[rstest]
fn rejects_file_is_private_and_appended(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let file = db.sandbox().work().join("refused.ndjson");
    let record = |text: &str| record(&db, text, &["--rejects", "refused.ndjson"]);
    record(&good(1));
    assert!(!file.exists());
    record("{\"region\":1}");
    record("{}");
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let codes: Vec<_> = rejects(&file)
        .iter()
        .map(|reject| reject["code"].to_string())
        .collect();
    assert_eq!(codes, ["\"unknown_field\"", "\"missing\""]);
}

#[rstest]
fn rejects_file_must_not_be_an_input(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let file = db.sandbox().file("calls.ndjson", good(1));
    fs::hard_link(&file, file.with_file_name("link.ndjson")).unwrap();
    for arguments in [
        ["--rejects", "./calls.ndjson", "calls.ndjson"],
        ["--rejects", "link.ndjson", "calls.ndjson"],
        ["--rejects", "calls.ndjson", "--replay=calls.ndjson"],
    ] {
        let run = db.usagectl(["record"].iter().chain(&arguments)).run();
        assert_eq!(run.code, 2, "{}", run.snapshot());
        assert!(run.stderr.contains("is also the input"), "{}", run.stderr);
    }
    assert_eq!(
        (count(&db), fs::read_to_string(&file).unwrap()),
        (0, good(1))
    );
}

#[rstest]
fn line_refused_by_two_runs_is_replayed_once(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let bad = good(1).replace("tmdb\"", "tmdb\",\"cached\":\"never\"");
    db.sandbox().file("calls.ndjson", &bad);
    for _ in 0..2 {
        let run = record_file(&db, "calls.ndjson", &["--rejects", "refused.ndjson"]);
        assert_eq!(outcomes(&run), [0, 0, 0, 1]);
    }
    correct(&db, "\\\"never\\\"", "false");
    let run = replay(&db, "2026-01-31T13:00:00Z");
    assert_eq!((outcomes(&run), count(&db)), ([1, 1, 0, 0], 1));
    assert_eq!(
        run.stderr,
        "refused.ndjson: all lines recorded; you can delete it\n"
    );
}

#[rstest]
fn replayed_line_without_time_gets_time_of_refusal(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let bad = r#"{"api_name":"tmdb","cached":"never"}"#;
    let run = record(&db, bad, &["--rejects", "refused.ndjson"]);
    assert_eq!(outcomes(&run), [0, 0, 0, 1]);
    correct(&db, "\\\"never\\\"", "false");
    assert_eq!(outcomes(&replay(&db, "2026-01-31T14:00:00Z")), [1, 0, 0, 0]);
    assert_eq!(outcomes(&replay(&db, "2026-01-31T15:00:00Z")), [0, 1, 0, 0]);
    assert_eq!(
        db.rows("SELECT timestamp FROM api_usage"),
        ["2026-01-31T12:00:00.000+00:00"]
    );
}

/// Waits for another process, up to a minute.
#[track_caller]
pub(super) fn wait_until(mut is_true: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_true() {
        assert!(begin.elapsed() < Duration::from_secs(60), "timed out");
        thread::sleep(Duration::from_millis(20));
    }
}
