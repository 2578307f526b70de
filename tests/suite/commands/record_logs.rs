//! `record`: logs of other programs, their identity, and runs that meet trouble.

use std::fs;
use std::time::{Duration, Instant};

use rstest::rstest;

use super::record::{count, good, outcomes, record, record_file, rejects, summary, wait_until};
use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::{Engine, TestDatabase, assert_snapshot, wait_for_rows};

const ROWS: &str =
    "SELECT api_name, endpoint, timestamp, success, status_code, response_time, cached, user_id
                    FROM api_usage ORDER BY timestamp, api_name";

#[rstest]
fn dump_of_the_table_is_recorded_without_options(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let dumps = [
        // JSON.stringify(await prisma.apiUsage.findMany())
        r#"[{"id":"c1","apiName":"tmdb","endpoint":"/movie","timestamp":"2026-01-31T11:00:00.500Z","success":true,"statusCode":200,"method":"GET","responseTime":12,"requestSize":null,"responseSize":null,"errorType":null,"errorMessage":null,"costCredits":null,"cached":false,"userId":"7","createdAt":"2026-01-31T11:00:01.000Z"}]"#,
        // psql -c 'COPY api_usage TO STDOUT CSV HEADER'
        "id,api_name,endpoint,timestamp,success,status_code,created_at,method,response_time,request_size,response_size,error_type,error_message,cost_credits,cached,user_id\n\
         c1,tmdb,/movie,2026-01-31 11:00:00.5,t,200,2026-01-31 11:00:01,GET,12,,,,,,f,7\n",
        // psql -c 'SELECT row_to_json(api_usage) FROM api_usage'
        "{\"id\":\"c1\",\"api_name\":\"tmdb\",\"endpoint\":\"/movie\",\"timestamp\":\"2026-01-31T11:00:00.5\",\"success\":true,\"status_code\":200,\"created_at\":\"2026-01-31T11:00:01\",\"method\":\"GET\",\"response_time\":12,\"cached\":false,\"user_id\":\"7\"}\n",
        // sqlite3 -json
        "[{\"id\":\"c1\",\"api_name\":\"tmdb\",\"endpoint\":\"/movie\",\"timestamp\":\"2026-01-31T11:00:00.500+00:00\",\"success\":1,\"status_code\":200,\"created_at\":\"2026-01-31T11:00:01.000+00:00\",\"method\":\"GET\",\"response_time\":12,\"cached\":0,\"user_id\":\"7\"}]\n",
        // sqlite3 -csv -header, of rows that Prisma's older driver wrote
        "id,api_name,endpoint,timestamp,success,status_code,created_at,method,response_time,cached,user_id\r\n\
         c1,tmdb,/movie,1769857200500,1,200,1769857201000,GET,12,0,7\r\n",
    ];
    for (number, dump) in dumps.iter().enumerate() {
        let expected = if number == 0 {
            [1, 0, 0, 0]
        } else {
            [0, 1, 0, 0]
        };
        let run = record(&db, dump, &[]);
        assert_eq!(outcomes(&run), expected, "{dump}\n{}", run.stderr);
    }
    assert_eq!(
        db.rows(ROWS),
        ["tmdb|/movie|2026-01-31T11:00:00.500+00:00|1|200|12|0|7"]
    );
}

#[rstest]
fn dialects_of_csv_are_read(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let comma =
        "api_name,endpoint,timestamp,response_time\ntmdb,\"/a;b\",2026-01-31T11:00:00Z,12\n";
    let tab =
        "API Name\tEndpoint\tTimestamp\tResponse Time\ntmdb\t/a;b\t2026-01-31T11:00:00Z\t12\n";
    for (text, expected) in [
        (comma.to_owned(), [1, 0, 0, 0]),
        (comma.replace(',', ";"), [0, 1, 0, 0]),
        (tab.to_owned(), [0, 1, 0, 0]),
        (tab.replace('\t', "|"), [0, 1, 0, 0]),
        (format!("sep=,\r\n{comma}"), [0, 1, 0, 0]),
        (format!("# export\n\n{comma}"), [0, 1, 0, 0]),
        (comma.replace('\n', ",,\n"), [0, 1, 0, 0]),
    ] {
        let run = record(&db, &text, &[]);
        assert_eq!(outcomes(&run), expected, "{text}\n{}", run.stderr);
    }
    let decimal_comma = "api_name;timestamp;endpoint;seconds;cost_credits\ntmdb;2026-01-31T11:00:02Z;1,5;0,25;1,5\n";
    let options = ["--map", "seconds=response_time:s"];
    assert_eq!(
        outcomes(&record(&db, decimal_comma, &options)),
        [1, 0, 0, 0]
    );
    assert_eq!(
        db.rows("SELECT response_time, cost_credits FROM api_usage WHERE endpoint = '1,5'"),
        ["250|1.5"]
    );
    let odd = "api_name~timestamp~endpoint\ntmdb~2026-01-31T11:00:01Z~-\n";
    let options = ["--delimiter", "~", "--null", "-"];
    assert_eq!(outcomes(&record(&db, odd, &options)), [1, 0, 0, 0]);
    assert_eq!(
        db.rows("SELECT count(*) FROM api_usage WHERE endpoint IS NULL"),
        ["1"]
    );
}

#[rstest]
fn json_of_any_shape_is_read(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let pretty = "{\n  \"api_name\": \"tmdb\",\n  \"timestamp\": \"2026-01-31T11:00:00Z\"\n}\n";
    let one = good(0);
    for (text, options, expected) in [
        (one.clone(), &["--input-format", "json"][..], [1, 0, 0, 0]),
        (pretty.to_owned(), &[], [0, 1, 0, 0]),
        (format!("{pretty}{pretty}"), &[], [1, 1, 0, 0]),
        (
            format!("{{\"object\":\"list\",\"data\":[{one}],\"more\":false}}"),
            &[],
            [0, 1, 0, 0],
        ),
        (
            format!("{{\n \"data\": [\n {one}\n ]\n}}"),
            &[],
            [0, 1, 0, 0],
        ),
        (
            format!("Server started on :3000\n{one}\n"),
            &[],
            [0, 1, 0, 1],
        ),
        (format!("{{\"api_name\":\"cut\n{one}\n"), &[], [0, 1, 0, 1]),
    ] {
        let run = record(&db, &text, options);
        assert_eq!(outcomes(&run), expected, "{text}\n{}", run.stderr);
    }
}

#[rstest]
fn options_name_fields_of_a_foreign_log(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let line = r#"{"req":{"uri":"/quote"},"took":45123456,"at":1769857200,"code":"200","x":[1]}"#;
    let options = [
        "--set",
        "api_name=finnhub",
        "--map",
        "req.uri=endpoint",
        "--map",
        "took=response_time:ns",
        "--map",
        "at=timestamp:s",
        "--map",
        "code=status_code",
        "--unknown",
        "ignore",
    ];
    assert_eq!(outcomes(&record(&db, line, &options)), [1, 0, 0, 0]);
    assert_eq!(
        db.rows(ROWS),
        ["finnhub|/quote|2026-01-31T11:00:00.000+00:00|1|200|45|0|NULL"]
    );

    db.sandbox().file(
        "own.toml",
        "null = [\"-\"]\nassume_tz = \"Europe/Berlin\"\n[fields]\napi_name = \"api\"\nendpoint = [\"a.b\", \"c\"]\n\
         timestamp = \"t\"\nsuccess = { from = \"ok\", values = { n = false, \"*\" = true } }\n",
    );
    let line = r#"{"api":"own","a":{"b":"-"},"c":"/c","t":"2026-01-31 12:30:00","ok":"n","zzz":1}"#;
    let run = record(
        &db,
        line,
        &[
            "--mapping",
            "own.toml",
            "--time-format",
            "%Y-%m-%d %H:%M:%S",
        ],
    );
    assert_eq!(outcomes(&run), [1, 0, 0, 0], "{}", run.stderr);
    assert_eq!(
        db.rows(ROWS)[1],
        "own|/c|2026-01-31T11:30:00.000+00:00|0|NULL|NULL|0|NULL"
    );

    db.sandbox()
        .file("wrong.toml", "[fields]\nregion = \"x\"\n");
    let run = record(&db, line, &["--mapping", "wrong.toml"]);
    assert_eq!(run.code, 2);
    assert!(
        run.stderr.contains("wrong.toml: `region` is not a field"),
        "{}",
        run.stderr
    );
    let run = record(&db, "1.2.3.4 - -", &["--preset", "combined"]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("--set api_name=NAME"), "{}", run.stderr);
}

#[rstest]
fn option_without_effect_and_implausible_value_are_reported(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let run = record(&db, &good(0), &["--map", "nosuch=endpoint"]);
    assert_eq!((run.code, outcomes(&run)), (0, [1, 0, 0, 0]));
    assert!(
        run.stderr.contains("--map nosuch=endpoint matched nothing"),
        "{}",
        run.stderr
    );
    let csv = "api_name,timestamp\ntmdb,2026-01-31T11:00:00Z\n";
    let run = record(&db, csv, &["--map", "nosuch=endpoint"]);
    assert_eq!((run.code, outcomes(&run)), (1, [0, 0, 0, 0]));
    assert!(run.stderr.contains("no column `nosuch`"), "{}", run.stderr);
    assert!(
        run.stderr.contains("or add or correct --map nosuch, then"),
        "{}",
        run.stderr
    );

    let seconds = r#"{"api_name":"tmdb","timestamp":1769769045}"#;
    let run = record(&db, seconds, &["--time-unit", "ms"]);
    assert_eq!(outcomes(&run), [0, 0, 0, 1]);
    assert!(run.stderr.contains("--max-past"), "{}", run.stderr);
    let ns = r#"{"api_name":"tmdb","timestamp":"2026-01-31T11:00:00Z","response_time":45123456}"#;
    let run = record(&db, ns, &[]);
    assert!(
        run.stderr.contains("1 call took more than an hour"),
        "{}",
        run.stderr
    );
}

#[rstest]
fn dry_run_shows_records_and_writes_nothing(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    record(&db, &good(0), &["--source", "a"]);
    let text = format!(
        "{}\n{}\n{{\"api_name\":\"tmdb\",\"cached\":7}}\n",
        good(0),
        good(1)
    );
    let run = db
        .usagectl(["record", "--dry-run", "--source", "a"])
        .stdin(&text)
        .run();
    assert_snapshot!(run.snapshot(), @"
    TIME                  API   METHOD  ENDPOINT  STATUS  SUCCESS  MS
    2026-01-31T11:00:00Z  tmdb  GET     -              -  yes       -
    2026-01-31T11:00:01Z  tmdb  GET     -              -  yes       -

    read                     3
    inserted                 1
    duplicate                1
    conflict                 0
    refused                  1
    from  2026-01-31T11:00:00Z
    to    2026-01-31T11:00:01Z
    dry run: nothing was written
    in [time] s, [rate] lines/s
    ------- stderr -------
    warning: stdin:3: cached is a number, expected true or false
    next: correct the rejected lines, then run the same command again: nothing was recorded
    [exit status: 3]
    ");
    assert_eq!(count(&db), 1);
    let run = record(&db, &text, &["--dry-run", "--source", "a"]);
    assert_eq!((run.code, outcomes(&run)), (3, [1, 1, 0, 1]));
    let answer = summary(&run);
    assert_eq!(answer["dry_run"], true);
    assert_eq!(
        answer["records"][1]["timestamp"],
        "2026-01-31T11:00:01.000Z"
    );
    assert_eq!(answer["records"].as_array().unwrap().len(), 2);
}

#[rstest]
fn run_is_undone_by_its_created_at(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    record(&db, &good(0), &[]);
    let arguments = ["record", "--format", "json", "--source", "b"];
    let later = db
        .usagectl(arguments)
        .now("2026-01-31T12:30:00Z")
        .stdin(&good(1))
        .run();
    assert_eq!(summary(&later)["created_at"], "2026-01-31T12:30:00.000Z");
    db.execute("DELETE FROM api_usage WHERE created_at = '2026-01-31T12:30:00.000+00:00'");
    assert_eq!(count(&db), 1);
}

#[rstest]
fn rotated_log_is_the_same_source(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let text = format!("{}\n{}\n{}\n", good(1), good(1), good(2));
    db.sandbox().file("access.log", &text);
    assert_eq!(outcomes(&record_file(&db, "access.log", &[])), [3, 0, 0, 0]);
    db.sandbox().file("access.log.1", &text);
    assert_eq!(
        outcomes(&record_file(&db, "access.log.1", &[])),
        [0, 3, 0, 0]
    );
    let zstd = zstd::encode_all(text.as_bytes(), 3).unwrap();
    db.sandbox().file("access.log-20260131.zst", zstd);
    assert_eq!(
        outcomes(&record_file(&db, "access.log-20260131.zst", &[])),
        [0, 3, 0, 0]
    );
    // In one call they are one log: an equal line in the next file is another call.
    db.sandbox().file("access.log", good(2));
    let run = record_file(&db, "access.log.1", &["access.log"]);
    assert_eq!(outcomes(&run), [1, 3, 0, 0]);
}

#[rstest]
fn link_to_a_log_is_not_another_log(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    db.sandbox().file("access-1.log", good(1));
    let link = db.sandbox().work().join("current");
    std::os::unix::fs::symlink("access-1.log", link).unwrap();
    let run = record_file(&db, "access-1.log", &["current"]);
    assert_eq!(outcomes(&run), [1, 1, 0, 0]);
}

#[rstest]
fn replay_repeats_the_options_on_which_lines_depend(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let line = r#"{"startTime":"2026-01-30 11:00:00","request_id":"r1","request_duration_ms":"slow","tenant":"a b"}"#;
    let options = "--preset litellm --assume-tz Europe/Madrid --set api_name=openai --map=tenant=user_id --null x --null=-x";
    let options: Vec<&str> = options.split(' ').collect();
    let run = record(&db, line, &[&options[..], &["--rejects", "r.nd"]].concat());
    let (_, next) = run.stderr.split_once("then usagectl ").unwrap();
    let next = next.trim_end_matches(['"', '}', '\n']);
    let expected = "--preset litellm --map tenant=user_id --set api_name=openai --null x --null=-x --assume-tz Europe/Madrid";
    assert_eq!(next, format!("record --replay r.nd {expected}"));
    let path = db.sandbox().work().join("r.nd");
    let kept = fs::read_to_string(&path).unwrap().replace("slow", "5");
    fs::write(&path, kept).unwrap();
    db.usagectl(next.split(' ')).run().success();
    assert_eq!(
        db.rows(ROWS),
        ["openai|NULL|2026-01-30T10:00:00.000+00:00|1|NULL|5|0|a b"]
    );
}

#[rstest]
fn logs_of_one_name_in_two_directories_are_refused(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    for host in ["web1", "web2"] {
        fs::create_dir(db.sandbox().work().join(host)).unwrap();
        db.sandbox().file(&format!("{host}/api.log"), good(1));
    }
    let run = record_file(&db, "web1/api.log", &["web2/api.log"]);
    assert_eq!(run.code, 2, "{}", run.snapshot());
    assert!(
        run.stderr
            .contains("web1/api.log and web2/api.log have one source, `api.log`")
    );
    assert!(run.stderr.contains("--source NAME"), "{}", run.stderr);
    for host in ["web1", "web2"] {
        let run = record_file(&db, &format!("{host}/api.log"), &["--source", host]);
        assert_eq!(outcomes(&run), [1, 0, 0, 0]);
    }
}

#[rstest]
fn corrected_option_conflicts_instead_of_counting_twice(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let csv =
        "api_name,timestamp,code\ntmdb,2026-01-30 11:00:00,200\ntmdb,2026-01-30 11:00:01,500\n";
    db.sandbox().file("tz.csv", csv);
    let record = |options: &[&str]| {
        let run = record_file(&db, "tz.csv", options);
        let next = run.stderr.contains("delete the rows of the earlier run");
        (outcomes(&run), next)
    };
    let utc = ["--unknown", "ignore", "--assume-tz", "UTC"];
    assert_eq!(record(&utc), ([2, 0, 0, 0], false));
    assert_eq!(
        record(&["--unknown", "ignore", "--assume-tz", "+02:00"]),
        ([0, 0, 2, 0], true)
    );
    let mapped = ["--map", "code=status_code", "--assume-tz", "UTC"];
    assert_eq!(record(&mapped), ([0, 0, 2, 0], true));
    db.execute("DELETE FROM api_usage");
    assert_eq!(record(&mapped), ([2, 0, 0, 0], false));
    // Our own names need no mapping; the zone may still be wrong.
    let plain = "{\"api_name\":\"tmdb\",\"timestamp\":\"2026-01-30 12:00:00\"}\n";
    db.sandbox().file("plain.ndjson", plain);
    let zone = |zone| outcomes(&record_file(&db, "plain.ndjson", &["--assume-tz", zone]));
    assert_eq!(
        (zone("UTC"), zone("Europe/Berlin")),
        ([1, 0, 0, 0], [0, 0, 1, 0])
    );
    assert_eq!(count(&db), 3);
}

#[rstest]
fn refused_lines_are_grouped_and_the_option_is_named(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let mut text: String = (0..30)
        .map(|status| format!("{{\"api_name\":\"a\",\"status\":{status}}}\n"))
        .collect();
    text.push_str("{\"api_name\":\"a\",\"cached\":7}\n");
    let run = db.usagectl(["record"]).stdin(&text).run();
    assert_snapshot!(run.stderr, @"
    warning: stdin:1: status is not a known field; read it with --map status=status_code, or drop it with --unknown ignore
    warning: stdin:2: status is not a known field; read it with --map status=status_code, or drop it with --unknown ignore
    warning: stdin:3: status is not a known field; read it with --map status=status_code, or drop it with --unknown ignore
    warning: stdin:31: cached is a number, expected true or false
    warning: 27 more lines rejected for the reason of stdin:1
    next: correct the rejected lines or add --map status=status_code, then run the same command again: recorded lines are skipped
    ");
    let zoneless = r#"{"api_name":"a","timestamp":"2026-01-30 11:00:00"}"#;
    let run = record(&db, zoneless, &["--rejects", "r.ndjson"]);
    assert!(
        run.stderr
            .contains("add --assume-tz, then usagectl record --replay r.ndjson"),
        "{}",
        run.stderr
    );
    let spaced = record(&db, r#"{"api_name":"a","Took (s)":1}"#, &[]);
    assert!(
        spaced
            .stderr
            .contains("or add --map 'Took (s)=FIELD', then run"),
        "{}",
        spaced.stderr
    );
    let missing = record(&db, "{}", &[]);
    assert!(
        missing.stderr.contains("add --set api_name=NAME"),
        "{}",
        missing.stderr
    );
}

#[rstest]
fn rejects_file_with_other_content_is_not_touched(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let file = db.sandbox().file("notes.txt", "important\n");
    let run = record(&db, "{}", &["--rejects", "notes.txt"]);
    assert_eq!(run.code, 2, "{}", run.snapshot());
    assert!(run.stderr.contains("other content"), "{}", run.stderr);
    assert_eq!(fs::read_to_string(file).unwrap(), "important\n");
}

#[rstest]
fn control_characters_do_not_reach_the_terminal(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let header = "api_name,\u{1b}[31mEVIL\u{7}x\ny,1\n";
    for run in [
        db.usagectl(["record"]).stdin(header).run(),
        db.usagectl(["record", "\u{1b}[31m.log"]).run(),
    ] {
        assert_eq!(run.code, 1);
        assert!(
            !run.stderr.contains(['\u{1b}', '\u{7}']),
            "{:?}",
            run.stderr
        );
        assert!(run.stderr.contains("\\u{1b}[31m"), "{}", run.stderr);
    }
}

#[rstest]
fn repeated_run_does_not_depend_on_statistics(#[values(Sqlite, Postgresql)] engine: Engine) {
    const LINES: usize = 20_000;
    let db = TestDatabase::migrated(engine);
    if engine == Postgresql {
        // With a quadratic plan the comparison takes minutes.
        db.execute(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET statement_timeout = ''30s''', current_database()); END $$",
        );
    }
    let line = |number: usize| {
        format!(
            "{{\"id\":\"{number}\",\"api_name\":\"tmdb\",\"timestamp\":\"2026-01-31T11:00:00Z\"}}\n"
        )
    };
    let text: String = (0..LINES).map(line).collect();
    db.sandbox().file("calls.ndjson", &text);
    db.sandbox().file("bad.ndjson", text + "{}\n");
    let run = record_file(&db, "bad.ndjson", &["--atomic"]);
    assert_eq!(outcomes(&run), [0, 0, 0, 1]);
    // The statistics are those of an empty table.
    db.execute("ANALYZE api_usage");
    let lines = LINES as u64;
    assert_eq!(
        outcomes(&record_file(&db, "calls.ndjson", &[])),
        [lines, 0, 0, 0]
    );
    assert_eq!(
        outcomes(&record_file(&db, "calls.ndjson", &[])),
        [0, lines, 0, 0]
    );
}

fn numbered(number: usize, api: &str) -> String {
    format!(
        "{{\"id\":\"{number}\",\"api_name\":\"{api}\",\"timestamp\":\"2026-01-31T11:00:00Z\"}}\n"
    )
}

/// Two batches at a time are inserted into PostgreSQL, unless they have a common id.
#[rstest]
fn batches_of_a_large_file_are_recorded_as_one(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let text: String = (0..45_000)
        .map(|number| match number {
            15_000 => numbered(5, "other"),
            25_000 => numbered(24_000, "tmdb"),
            38_000 => "{\"api_name\":\"\"}\n".to_owned(),
            _ => numbered(number, "tmdb"),
        })
        .collect();
    db.sandbox().file("calls.ndjson", &text);
    let options = ["--rejects", "kept.ndjson"];
    let run = record_file(&db, "calls.ndjson", &options);
    assert_eq!(outcomes(&run), [44_997, 1, 1, 1], "{}", run.snapshot());
    let kept = rejects(&db.sandbox().work().join("kept.ndjson"));
    let lines: Vec<u64> = kept.iter().map(|it| it["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [15_001, 38_001]);
    assert_eq!(
        db.rows("SELECT api_name FROM api_usage WHERE id = '5'"),
        ["tmdb"]
    );
    let run = record_file(&db, "calls.ndjson", &[]);
    assert_eq!(outcomes(&run), [0, 44_998, 1, 1]);
    assert_eq!(count(&db), 44_997);
}

#[test]
fn ended_sessions_in_a_large_file_lose_and_duplicate_nothing() {
    let db = TestDatabase::migrated(Postgresql);
    let text: String = (0..65_000).map(|number| numbered(number, "tmdb")).collect();
    db.sandbox().file("calls.ndjson", &text);
    let running = db
        .usagectl(["record", "calls.ndjson", "--format", "json"])
        .spawn();
    for batches in 0..3 {
        wait_until(|| count(&db) > batches * 10_000);
        end_sessions(&db);
    }
    let run = running.wait();
    assert_eq!(run.code, 0, "{}", run.snapshot());
    let [inserted, duplicate, ..] = outcomes(&run);
    assert_eq!(inserted + duplicate, 65_000);
    assert_eq!(count(&db), 65_000);
}

#[test]
fn signal_cancels_running_statements_postgresql() {
    let db = TestDatabase::migrated(Postgresql);
    db.slow_down_inserts(10);
    let text: String = (0..25_000).map(|number| numbered(number, "tmdb")).collect();
    db.sandbox().file("calls.ndjson", &text);
    for signal in ["TERM", "INT"] {
        let running = db.usagectl(["record", "calls.ndjson"]).spawn();
        wait_for_rows(
            &db,
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()
             AND state = 'active' AND query LIKE 'COPY%' OFFSET 1",
        );
        let began = Instant::now();
        running.signal(signal);
        let run = running.wait();
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{:?}",
            began.elapsed()
        );
        assert_eq!(run.code, 3, "{}", run.snapshot());
        assert_eq!(count(&db), 0);
    }
    db.execute("DROP TRIGGER slow ON api_usage");
    let run = record_file(&db, "calls.ndjson", &[]);
    assert_eq!(outcomes(&run), [25_000, 0, 0, 0]);
}

/// Ends all other sessions of the database, as a restart of the server does.
fn end_sessions(db: &TestDatabase) {
    db.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
}

#[test]
fn ended_sessions_under_a_pipe_lose_and_duplicate_nothing() {
    let db = TestDatabase::migrated(Postgresql);
    let mut running = db.usagectl(["record", "--format", "json"]).spawn();
    for second in 0..10 {
        running.write(&format!("{}\n", good(second)));
        wait_until(|| count(&db) == second + 1);
        end_sessions(&db);
    }
    running.write(&format!("{}\n", good(10)));
    let run = running.wait();
    assert_eq!(run.code, 0, "{}", run.snapshot());
    assert_eq!(outcomes(&run), [11, 0, 0, 0]);
    assert!(
        run.stderr.contains("trying again for up to 5m"),
        "{}",
        run.stderr
    );
    assert_eq!(count(&db), 11);
}

#[test]
fn lines_that_cannot_be_written_are_kept() {
    let db = TestDatabase::migrated(Postgresql);
    let options = [
        "record",
        "--format",
        "json",
        "--retry",
        "0s",
        "--rejects",
        "kept.ndjson",
    ];
    let mut running = db.usagectl(options).spawn();
    running.write(&format!("{}\n", good(0)));
    wait_until(|| count(&db) == 1);
    end_sessions(&db);
    running.write(&format!("{}\n{}\n", good(1), good(2)));
    let run = running.wait();
    assert_eq!(run.code, 7, "{}", run.snapshot());
    let answer = summary(&run);
    assert_eq!(
        (&answer["inserted"], &answer["unwritten"]),
        (&1.into(), &2.into())
    );
    assert_eq!(answer["complete"], false);
    assert!(
        run.stderr.contains("usagectl record --replay kept.ndjson"),
        "{}",
        run.stderr
    );
    assert_eq!(rejects(&db.sandbox().work().join("kept.ndjson")).len(), 2);
    let replay = db
        .usagectl(["record", "--format", "json", "--replay", "kept.ndjson"])
        .run();
    assert_eq!(outcomes(&replay), [2, 0, 0, 0]);
    assert_eq!(outcomes(&record(&db, &good(1), &[])), [0, 1, 0, 0]);
}

#[rstest]
fn hangup_prints_progress(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let mut running = db.usagectl(["record"]).spawn();
    running.write(&format!("{}\n", good(0)));
    wait_until(|| count(&db) == 1);
    running.signal("HUP");
    running.write(&format!("{}\n", good(1)));
    let run = running.wait();
    assert_eq!(run.code, 0);
    assert!(
        run.stderr.contains("1 line so far, up to line 1 of stdin"),
        "{}",
        run.stderr
    );
}
