//! The integrations in examples/notify, as `alerts deliver` uses them: each is run.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use chrono::{DateTime, Utc};
use serde_json::Value;
use usagectl::domain::alert::delivery::Notice;
use usagectl::domain::alert::notice::NoticeKind;
use usagectl::domain::named::Named;

use super::deliver::{add, notice, put, states};
use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::assert_snapshot;
use crate::support::http::{HttpServer, Received, Reply};
use crate::support::{Engine, Run, TestDatabase};
use rstest::rstest;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/notify");

/// A notice of each kind that is stored, of an episode of its own.
fn notices_of_all_kinds() -> Vec<Notice> {
    let kinds = NoticeKind::ALL.iter();
    let kinds = kinds.filter(|kind| **kind != NoticeKind::Test);
    let notices = kinds.map(|kind| {
        let mut notice = notice(kind.as_str(), *kind, kind.as_str(), 0);
        notice.content.alert.api_name = "a \"quoted\"\nname".to_owned();
        notice
    });
    notices.collect()
}

/// Delivers a notice of each kind through a template in examples/notify.
fn sent_by_template(db: &TestDatabase, file: &str, options: &[&str]) -> Vec<Received> {
    let server = HttpServer::with([]);
    let template = format!("{EXAMPLES}/{file}");
    let webhook = [
        "webhook",
        "--url",
        &server.url("/"),
        "--template",
        &template,
    ];
    add(db, &[&webhook, options].concat());
    let notices = notices_of_all_kinds();
    put(db, &notices);
    db.usagectl(["alerts", "deliver"]).run().success();
    let received = server.received();
    assert_eq!(received.len(), notices.len(), "one request for each notice");
    received
}

fn kind(received: &Received) -> NoticeKind {
    let event = received.header("x-usagectl-event").unwrap();
    NoticeKind::named(event).unwrap()
}

/// Asserts a text of 1 to `longest` characters.
#[track_caller]
fn assert_text(value: &Value, longest: usize) {
    let length = value.as_str().map_or(0, |text| text.chars().count());
    assert!((1..=longest).contains(&length), "{value}");
}

#[track_caller]
fn assert_time(value: &Value) {
    let time = value
        .as_str()
        .and_then(|text| text.parse::<DateTime<Utc>>().ok());
    assert!(time.is_some(), "{value}");
}

#[rstest]
fn pagerduty_template_has_the_required_fields(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    db.sandbox().file(".env", "PAGERDUTY_ROUTING_KEY=s3cret\n");
    let options = ["--template-env", "PAGERDUTY_ROUTING_KEY"];
    for received in sent_by_template(&db, "pagerduty.json.j2", &options) {
        let event = received.json();
        assert_eq!(event["routing_key"], "s3cret");
        let action = match kind(&received) {
            NoticeKind::Resolved | NoticeKind::Known => "resolve",
            _ => "trigger",
        };
        assert_eq!(event["event_action"], action);
        assert_text(&event["dedup_key"], 255);
        let payload = &event["payload"];
        assert_text(&payload["summary"], 1024);
        assert_text(&payload["source"], 1024);
        let severity = payload["severity"].as_str().unwrap();
        assert!(["critical", "error", "warning", "info"].contains(&severity));
        assert_time(&payload["timestamp"]);
    }
    let stored = db.rows("SELECT settings FROM usagectl_channels");
    assert!(!stored[0].contains("s3cret"));
}

#[rstest]
fn teams_template_is_an_adaptive_card(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    for received in sent_by_template(&db, "teams.json.j2", &[]) {
        assert!(received.body.len() < 28 << 10);
        let message = received.json();
        assert_eq!(message["type"], "message");
        let [attachment] = &message["attachments"].as_array().unwrap()[..] else {
            panic!("{message}");
        };
        let content_type = "application/vnd.microsoft.card.adaptive";
        assert_eq!(attachment["contentType"], content_type);
        let card = &attachment["content"];
        assert_eq!(card["type"], "AdaptiveCard");
        assert_text(&card["version"], 8);
        let body = card["body"].as_array().unwrap();
        assert_eq!(body[0]["type"], "TextBlock");
        assert_text(&body[0]["text"], 8_000);
        for fact in body[1]["facts"].as_array().unwrap() {
            assert_text(&fact["title"], 100);
            assert_text(&fact["value"], 1_000);
        }
    }
}

#[rstest]
fn discord_template_is_within_the_limits_of_an_embed(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    for received in sent_by_template(&db, "discord.json.j2", &[]) {
        let message = received.json();
        assert_text(&message["username"], 80);
        assert_eq!(
            message["allowed_mentions"],
            serde_json::json!({"parse": []})
        );
        let embed = &message["embeds"][0];
        assert_text(&embed["title"], 256);
        assert_text(&embed["description"], 4_096);
        assert_text(&embed["footer"]["text"], 2_048);
        assert!(embed["color"].as_u64().unwrap() <= 0x00ff_ffff);
        assert_time(&embed["timestamp"]);
    }
}

#[rstest]
fn ntfy_template_has_topic_and_priority(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    db.sandbox()
        .file(".env", "NTFY_TOPIC=s3cret-topic\nNTFY_TOKEN=tk_s3cret\n");
    let options = ["--template-env", "NTFY_TOPIC", "--bearer-env", "NTFY_TOKEN"];
    for received in sent_by_template(&db, "ntfy.json.j2", &options) {
        assert_eq!(received.header("authorization"), Some("Bearer tk_s3cret"));
        let message = received.json();
        assert_eq!(message["topic"], "s3cret-topic");
        assert_text(&message["title"], 250);
        assert_text(&message["message"], 4_096);
        assert!((1..=5).contains(&message["priority"].as_i64().unwrap()));
        assert_text(&message["tags"][0], 100);
    }
}

#[rstest]
fn faulty_template_is_refused_with_line_and_variable(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let add = |template: &str, options: &[&str]| {
        db.sandbox().file("body.j2", template);
        let command = ["alerts", "channel", "add", "desk", "webhook"];
        let webhook = ["--url", "http://localhost/", "--template", "body.j2"];
        db.usagectl(command).args(webhook).args(options).run()
    };
    assert_snapshot!(add("{\n  \"text\": {{ sumary }}\n}", &[]).snapshot(), @r"
    ------- stderr -------
    error: the template body.j2: line 2: undefined value: `sumary` is undefined
    next: correct it: the fields are those of the webhook body in docs/json.md, and env.VAR for each --template-env VAR
    [exit status: 2]
    ");
    for (template, options, expected) in [
        (
            "\n\n{{ summary | shout }}",
            &[][..],
            "line 3: unknown filter",
        ),
        ("{{ env.KEY }}", &[], "env.KEY"),
        ("{\"a\": \"{{ summary }}\"}", &[], "is not JSON"),
        (
            "{{ summary }}",
            &["--content-type", "text"],
            "--content-type",
        ),
        (
            "{{ summary }}",
            &["--template-env", "s3cret!"],
            "invalid name",
        ),
        (
            "{{ summary }}",
            &["--header-env", "Host=KEY"],
            "sets the header Host",
        ),
    ] {
        let run = add(template, options);
        assert_eq!(run.code, 2, "{}", run.snapshot());
        assert!(run.stderr.contains(expected), "{}", run.snapshot());
        assert!(!run.stderr.contains("s3cret"), "{}", run.snapshot());
    }
    assert!(db.rows("SELECT name FROM usagectl_channels").is_empty());
    // A stored template needs its file no more.
    add("{{ summary }}", &["--content-type", "text/plain"]).success();
}

#[rstest]
fn header_comes_from_the_environment_and_is_not_printed(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let server = HttpServer::with([]);
    db.sandbox()
        .file("body.j2", "{{ severity }}: {{ summary }}");
    let url = server.url("/");
    let webhook = ["webhook", "--url", &url, "--template", "body.j2"];
    let options = [
        "--content-type",
        "text/plain",
        "--header-env",
        "X-Key=DESK_KEY",
    ];
    add(&db, &[&webhook[..], &options].concat());
    put(&db, &[notice("n1", NoticeKind::Firing, "e1", 0)]);
    let without = db.usagectl(["alerts", "deliver"]).run();
    let message = "the environment variable DESK_KEY is not set, and there is no .env file";
    assert!(without.stderr.contains(message), "{}", without.snapshot());
    db.sandbox().file(".env", "OTHER=1\n");
    let without = db.usagectl(["alerts", "deliver"]).run();
    let message = "DESK_KEY is not set, and [dir]/app/.env does not set it";
    assert!(
        without.snapshot().contains(message),
        "{}",
        without.snapshot()
    );
    let run = db
        .usagectl(["alerts", "deliver"])
        .env("DESK_KEY", "s3cret")
        .run();
    let list = db.usagectl(["alerts", "channel", "list"]).run();
    assert!(!format!("{run:?}{list:?}").contains("s3cret"));
    assert!(
        list.stdout.contains("$DESK_KEY (missing)"),
        "{}",
        list.stdout
    );
    let [received] = &server.received()[..] else {
        panic!("{}", run.snapshot());
    };
    assert_eq!(received.header("x-key"), Some("s3cret"));
    assert_eq!(received.header("content-type"), Some("text/plain"));
    assert_eq!(
        received.body,
        "WARNING: FIRING: finnhub 92% of the limit of 60"
    );
}

#[rstest]
fn secret_in_dot_env_is_used_unless_the_environment_has_one(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let (first, second) = (HttpServer::with([]), HttpServer::with([]));
    let line = format!("SLACK_URL={}\n", first.url("/services/s3cret"));
    db.sandbox().file(".env", line);
    let run = db
        .usagectl([
            "alerts",
            "channel",
            "add",
            "ops",
            "slack",
            "--url-env",
            "SLACK_URL",
        ])
        .run()
        .success();
    assert_eq!(run.stderr, "");
    put(&db, &[notice("n1", NoticeKind::Firing, "e1", 0)]);
    db.usagectl(["alerts", "deliver"]).run().success();
    put(&db, &[notice("n2", NoticeKind::Firing, "e2", 0)]);
    let deliver = db.usagectl(["alerts", "deliver"]);
    deliver.env("SLACK_URL", second.url("/")).run().success();
    assert_eq!((first.received().len(), second.received().len()), (1, 1));
    // A value that another program reads otherwise is not guessed.
    db.sandbox().file(".env", "SLACK_URL=pa$word\n");
    let run = db.usagectl(["alerts", "channel", "test", "ops"]).run();
    assert_eq!(run.code, 12);
    assert!(
        run.stderr.contains("a `$` in the value of SLACK_URL"),
        "{}",
        run.snapshot()
    );
    assert!(!run.stderr.contains("word"), "{}", run.snapshot());
}

#[rstest]
fn mail_script_sends_a_mail(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let sendmail = "#!/bin/sh\necho \"$@\" >mail.txt\ncat >>mail.txt\n";
    let sendmail = db.sandbox().file("sendmail", sendmail);
    fs::set_permissions(&sendmail, fs::Permissions::from_mode(0o755)).unwrap();
    let script = format!("{EXAMPLES}/mail.sh");
    let passed = ["--pass-env", "MAIL_TO", "--pass-env", "SENDMAIL"];
    let exec = [&["exec"][..], &passed, &["--", &script]].concat();
    add(&db, &exec);
    let mut notice = notice("n1", NoticeKind::Firing, "e1", 0);
    notice.content.summary = "a line\nBcc: all@example.com".to_owned();
    notice.content.observed.threshold = None;
    put(&db, &[notice]);
    db.sandbox().file(".env", "MAIL_TO=ops@example.com\n");
    let deliver = db
        .usagectl(["alerts", "deliver"])
        .env("SENDMAIL", &sendmail);
    deliver.run().success();
    let mail = fs::read_to_string(db.sandbox().work().join("mail.txt")).unwrap();
    assert_snapshot!(mail, @r"
    -t -i
    From: usagectl
    To: ops@example.com
    Subject: [WARNING] a line Bcc: all@example.com
    Message-ID: <n1@usagectl.invalid>
    Auto-Submitted: auto-generated
    MIME-Version: 1.0
    Content-Type: text/plain; charset=utf-8
    Content-Transfer-Encoding: 8bit

    a line
    Bcc: all@example.com

    API:       finnhub
    Kind:      FIRING
    Value:     92
    Threshold: unknown
    Episode:   e1
    ");
    // Without a recipient the notice waits.
    put(
        &db,
        &[super::deliver::notice("n2", NoticeKind::Firing, "e2", 0)],
    );
    db.sandbox().file(".env", "");
    let run = db.usagectl(["alerts", "deliver"]).run();
    assert_eq!(run.code, 12, "{}", run.snapshot());
    assert!(
        states(&db)[1].starts_with("n2|WAITING|1|"),
        "{:?}",
        states(&db)
    );
}

/// examples/notify/receiver.py, stopped after the test.
struct Receiver {
    child: Child,
    url: String,
}

impl Receiver {
    fn with_secret(secret: &str) -> Receiver {
        let mut child = Command::new("python3")
            .args([&format!("{EXAMPLES}/receiver.py"), "0"])
            .env("WEBHOOK_SECRET", secret)
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is needed");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().unwrap();
        // The bytes after this line are read by `received`.
        BufReader::with_capacity(1, stdout)
            .read_line(&mut line)
            .unwrap();
        let port = line.trim().rsplit(' ').next().unwrap().to_owned();
        let url = format!("http://127.0.0.1:{port}/");
        Receiver { child, url }
    }

    /// Stops it and returns the lines that it printed.
    fn received(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        let stdout = BufReader::new(self.child.stdout.take().unwrap());
        stdout.lines().map(Result::unwrap).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[rstest]
fn receiver_verifies_signatures(
    #[values(Sqlite, Postgresql)] engine: Engine,
    #[values("a secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")] secret: &str,
) {
    let db = TestDatabase::migrated(engine);
    let receiver = Receiver::with_secret(secret);
    add(
        &db,
        &["webhook", "--url", &receiver.url, "--secret-env", "SECRET"],
    );
    let notices = ["n1", "n2"].map(|key| notice(key, NoticeKind::Firing, key, 0));
    put(&db, &notices);
    let deliver = |secret: &str| {
        let deliver = db.usagectl(["alerts", "deliver", "--force"]);
        deliver.env("SECRET", secret)
    };
    let refused = |run: Run| {
        assert_eq!(run.code, 12, "{}", run.snapshot());
        assert!(run.stderr.contains("answered 401"), "{}", run.snapshot());
    };
    refused(deliver("another").without_env("USAGECTL_NOW").run());
    // A replayed message has an old time.
    refused(deliver(secret).run());
    deliver(secret).without_env("USAGECTL_NOW").run().success();
    put(&db, &[notice("n3", NoticeKind::Missed, "n3", 0)]);
    deliver(secret).without_env("USAGECTL_NOW").run().success();
    let lines = [
        "WARNING FIRING FIRING: finnhub 92% of the limit of 60",
        "WARNING FIRING FIRING: finnhub 92% of the limit of 60",
        "WARNING MISSED MISSED: finnhub 92% of the limit of 60",
    ];
    assert_eq!(receiver.received(), lines);
}

#[rstest]
fn replaced_channel_sends_waiting_notices_at_once(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let server = HttpServer::with((0..6).map(|_| Reply::status(503)));
    let webhook = ["webhook", "--url", &server.url("/")];
    add(&db, &webhook);
    put(&db, &[notice("n1", NoticeKind::Firing, "e1", 0)]);
    let forced = || db.usagectl(["alerts", "deliver", "--force"]).run();
    let next = "next: usagectl alerts channel test ops && usagectl alerts deliver --force\n";
    for _ in 0..6 {
        assert!(forced().stderr.ends_with(next));
    }
    let waiting = db.usagectl(["alerts", "deliver"]).run();
    let next = "next: usagectl alerts deliver --force\n";
    assert!(waiting.stderr.ends_with(next), "{}", waiting.snapshot());
    add(&db, &[&["--replace"][..], &webhook].concat());
    db.usagectl(["alerts", "deliver"]).run().success();
    assert_eq!(states(&db), ["n1|DELIVERED|7|"]);
}
