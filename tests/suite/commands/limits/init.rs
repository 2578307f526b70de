//! `limits init` and `limits plan`.

use crate::support::assert_snapshot;

use super::{json, words};
use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::{Engine, TestDatabase};
use rstest::rstest;

const STORED: &str = "SELECT service, metric, \"currentPlan\", \"limitValue\", \"warningPercent\", \"criticalPercent\"
    FROM \"InfrastructureLimit\" ORDER BY CAST(service AS TEXT), CAST(metric AS TEXT), 3";

#[rstest]
fn limits_of_plans_in_use_are_written_once(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let init = words("limits init --plan vercel=pro --plan upstash=free --plan neon=launch");
    db.usagectl(&init).run().success();
    let stored = db.rows(STORED);
    assert_eq!(
        stored,
        [
            "VERCEL_BANDWIDTH|BANDWIDTH_GB|pro|1000|75|90",
            "VERCEL_EDGE_REQUESTS|REQUEST_COUNT|pro|10000000|75|90",
            "VERCEL_KV|BANDWIDTH_GB|free|10|75|90",
            "VERCEL_KV|COMMANDS_PER_DAY|free|16666|75|90",
            "VERCEL_KV|REQUEST_COUNT|free|500000|75|90",
            "VERCEL_KV|STORAGE_MB|free|256|75|90",
            "VERCEL_POSTGRES|BANDWIDTH_GB|launch|100|75|90",
        ]
    );
    let all = "SELECT * FROM \"InfrastructureLimit\" ORDER BY id";
    let everything = (
        db.rows(all),
        db.rows("SELECT * FROM usagectl_limit_origins ORDER BY 1, 2, 3"),
    );
    // The plans are stored, and a later run writes nothing.
    let again = db
        .usagectl(["limits", "init"])
        .now("2026-02-01T00:00:00Z")
        .run()
        .success();
    assert!(
        !again.stdout.contains("ADDED") && !again.stdout.contains("UPDATED"),
        "{}",
        again.stdout
    );
    db.usagectl(&init)
        .now("2026-02-02T00:00:00Z")
        .run()
        .success();
    assert_eq!(
        everything,
        (
            db.rows(all),
            db.rows("SELECT * FROM usagectl_limit_origins ORDER BY 1, 2, 3")
        )
    );
    assert_eq!(db.rows("SELECT count(*) FROM usagectl_plan_choices"), ["3"]);
    let apis = db.rows("SELECT DISTINCT api_name FROM usagectl_api_limits ORDER BY 1");
    assert_eq!(
        apis,
        [
            "coinmarketcap",
            "finnhub",
            "jikan",
            "openweather",
            "rawg",
            "tmdb"
        ]
    );
}

#[rstest]
fn no_plan_is_assumed(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let run = db.usagectl(["limits", "init"]).run().success();
    assert_snapshot!(run.snapshot(), @"
        catalogue 2026.11.21, no plan selected

        CHANGE  METRIC                 PLAN    PER         LIMIT  SOURCE DATE
        ADDED   finnhub CALLS          free    SECOND         30  2026-07-22
        ADDED   finnhub CALLS          free    MINUTE         60  2026-06-21
        ADDED   coinmarketcap CREDITS  basic   MONTH      15,000  2026-06
        ADDED   rawg CALLS             free    MONTH      20,000  2026-10-24
        ADDED   tmdb CALLS             all     SECOND         40  2026-05-30
        ADDED   jikan CALLS            public  SECOND          3  undated
        ADDED   jikan CALLS            public  MINUTE         60  undated
        ADDED   openweather CALLS      free    MINUTE         60  2026
        ADDED   openweather CALLS      free    MONTH   1,000,000  2026
        ------- stderr -------
        no plan of vercel is selected, so it has no limits: --plan vercel=hobby|pro|enterprise
        no plan of upstash is selected, so it has no limits: --plan upstash=free|payg|fixed-250mb|fixed-1gb|fixed-5gb|fixed-10gb|fixed-50gb|fixed-100gb|fixed-500gb
        no plan of neon is selected, so it has no limits: --plan neon=free|launch|scale
        no plan of openai is selected, so it has no limits: --plan openai=free|tier-1|tier-2|tier-3|tier-4|tier-5
        [exit status: 0]
        ");
    assert!(db.rows(STORED).is_empty());
}

#[rstest]
fn limits_of_user_and_other_programs_are_kept(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    db.execute(
        "INSERT INTO \"InfrastructureLimit\"
                 (id, service, metric, \"currentPlan\", \"limitValue\", \"createdAt\", \"updatedAt\")
             VALUES ('prisma', 'VERCEL_KV', 'STORAGE_MB', 'free', 30, '2026-01-01T00:00:00.000+00:00', '2026-01-01T00:00:00.000+00:00')",
    );
    db.usagectl(words(
        "limits set --service vercel_kv --metric bandwidth_gb --plan free 5",
    ))
    .run()
    .success();
    db.usagectl(words("limits set --api finnhub --per MINUTE 300"))
        .run()
        .success();
    db.usagectl(["limits", "init", "--plan", "upstash=free"])
        .run()
        .success();
    // Another program changes what we wrote.
    db.execute(
        "UPDATE \"InfrastructureLimit\" SET \"limitValue\" = 400000 WHERE metric = 'REQUEST_COUNT'",
    );
    let answer = json(&db, ["limits", "init"]);
    let kept: Vec<_> = answer["limits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|limit| {
            format!(
                "{} {} {} {}",
                limit["change"], limit["metric"], limit["limit_value"], limit["origin"]
            )
            .replace('"', "")
        })
        .collect();
    assert_eq!(
        kept,
        [
            "KEPT STORAGE_MB 30.0 APPLICATION",
            "KEPT BANDWIDTH_GB 5.0 USER",
            "KEPT REQUEST_COUNT 400000.0 APPLICATION",
            "UNCHANGED COMMANDS_PER_DAY 16666.0 CATALOGUE",
        ]
    );
    let minute = "SELECT limit_value, origin FROM usagectl_api_limits WHERE api_name = 'finnhub' AND period = 'MINUTE'";
    assert_eq!(db.rows(minute), ["300|USER"]);
    // After removal, the catalogue's value is restored.
    db.usagectl(words(
        "limits remove --service VERCEL_KV --metric STORAGE_MB",
    ))
    .run()
    .success();
    db.usagectl(["limits", "remove", "--api", "finnhub"])
        .run()
        .success();
    db.usagectl(["limits", "init"]).run().success();
    assert_eq!(db.rows(minute), ["60|CATALOGUE"]);
    assert!(
        db.rows(STORED)
            .contains(&"VERCEL_KV|STORAGE_MB|free|256|75|90".to_owned())
    );
}

#[rstest]
fn dry_run_writes_nothing(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let run = db
        .usagectl(["limits", "init", "--plan", "vercel=pro", "--dry-run"])
        .run()
        .success();
    assert!(run.stdout.contains("ADDED") && run.stdout.contains("nothing was written"));
    assert!(db.rows(STORED).is_empty());
    assert!(db.rows("SELECT * FROM usagectl_plan_choices").is_empty());
}

#[rstest]
fn plan_selections_have_a_history(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    assert_snapshot!(db.usagectl(["limits", "plan"]).run().success().stdout, @"no plan selected");
    let plan = |args: &[&str]| {
        let args = ["limits", "plan"]
            .iter()
            .chain(args)
            .chain(&["--by", "ops"]);
        db.usagectl(args.copied().collect::<Vec<_>>())
            .run()
            .success()
    };
    plan(&[
        "upstash",
        "free",
        "--from",
        "2026-01-01",
        "--anchor-day",
        "15",
        "--tz",
        "Asia/Seoul",
    ]);
    plan(&[
        "upstash",
        "fixed-1gb",
        "--from",
        "2026-03-01T00:00:00Z",
        "--seats",
        "3",
    ]);
    let last = plan(&["upstash", "payg", "--region", "fra1"]);
    assert_snapshot!(last.snapshot(), @"
        PROVIDER  PLAN       STATE   FROM                  SEATS  REGION  BILLING DAY  TIME ZONE   BY
        upstash   free       BEFORE  2025-12-31T15:00:00Z      -  -                15  Asia/Seoul  ops
        upstash   payg       IN USE  2026-01-31T12:00:00Z      -  fra1             15  Asia/Seoul  ops
        upstash   fixed-1gb  LATER   2026-03-01T00:00:00Z      3  -                15  Asia/Seoul  ops

        CHANGE  METRIC                  PLAN  PER    LIMIT  SOURCE DATE
        ADDED   VERCEL_KV STORAGE_MB    payg  -      1,000  2026-06-18
        ADDED   VERCEL_KV BANDWIDTH_GB  payg  MONTH    200  2026-06-18
        [exit status: 0]
        ");
    let holds = |now: &str| {
        let list = db
            .usagectl(words("limits list --metric STORAGE_MB --format csv"))
            .now(now);
        let held = list.run().success().stdout;
        held.lines()
            .filter(|line| line.contains(",true,"))
            .map(|line| line.split(',').nth(3).unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(holds("2026-01-15T00:00:00Z"), ["free"]);
    assert_eq!(holds("2026-02-15T00:00:00Z"), ["payg"]);
    assert_eq!(holds("2026-03-15T00:00:00Z"), ["fixed-1gb"]);
    // The same plan again is not a new selection.
    plan(&["upstash", "payg"]);
    assert_eq!(db.rows("SELECT count(*) FROM usagectl_plan_choices"), ["3"]);
    // Names are in either case.
    let same = plan(&["Upstash", "PAYG"]).stdout;
    assert!(same.contains("upstash   payg       IN USE"), "{same}");
    db.usagectl(["limits", "show", "Upstash", "--plan", "Payg"])
        .run()
        .success();
    // Of selections at one instant the last is in use.
    for name in [
        "free",
        "fixed-1gb",
        "free",
        "fixed-250mb",
        "free",
        "payg",
        "fixed-1gb",
    ] {
        let selected = plan(&["upstash", name]).stdout;
        let in_use = selected.lines().find(|line| line.contains("IN USE"));
        assert!(
            in_use.is_some_and(|it| it.contains(&format!(" {name} "))),
            "{selected}"
        );
    }
}

#[rstest]
fn unknown_plans_are_refused_with_the_known_ones(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    assert_snapshot!(db.usagectl(["limits", "init", "--plan", "upstash=gold"]).run().snapshot(), @"
        ------- stderr -------
        error: unknown plan `gold`; upstash has free, payg, fixed-250mb, fixed-1gb, fixed-5gb, fixed-10gb, fixed-50gb, fixed-100gb, fixed-500gb
        next: name one of these
        [exit status: 2]
        ");
    assert_snapshot!(db.usagectl(["limits", "plan", "heroku", "free"]).run().snapshot(), @"
        ------- stderr -------
        error: unknown provider `heroku`; catalogue 2026.11.21 has vercel, upstash, redis-cloud, neon, openai, finnhub, coinmarketcap, rawg, tmdb, jikan, espn, openweather
        next: name one of these, or import a catalogue that has it: usagectl limits import FILE
        [exit status: 2]
        ");
    assert_snapshot!(db.usagectl(["limits", "plan", "coinmarketcap", "startup"]).run().snapshot(), @"
        ------- stderr -------
        error: coinmarketcap startup is disabled: from a third party's sweep only
        next: set its limits by hand (usagectl limits set), or import a catalogue with a better source
        [exit status: 5]
        ");
    for args in [
        ["--plan", "vercel"],
        ["--plan", "=pro"],
        ["--plan", "vercel="],
    ] {
        let run = db
            .usagectl(["limits", "init"].into_iter().chain(args))
            .run();
        assert!(matches!(run.code, 1 | 2), "{}", run.snapshot());
    }
    for args in [
        ["--anchor-day", "0"],
        ["--anchor-day", "32"],
        ["--tz", "Mars/Olympus"],
        ["--from", "soon"],
        ["--seats", "-1"],
    ] {
        let run = db
            .usagectl(["limits", "plan", "vercel", "pro"].into_iter().chain(args))
            .run();
        assert_eq!(run.code, 2, "{}", run.snapshot());
    }
    assert!(db.rows("SELECT * FROM usagectl_plan_choices").is_empty());
}

#[rstest]
fn billing_period_is_set_with_the_plans_and_corrected_from_an_earlier_day(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let in_use = || {
        let run = db.usagectl(["limits", "plan", "--format", "csv"]).run();
        let table = run.success().stdout;
        let lines = table.lines().filter(|line| line.contains(",true,"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let init =
        "limits init --plan upstash=free --plan neon=free --anchor-day 15 --tz Europe/Berlin";
    let init = db.usagectl(init.split(' ')).run().success();
    let warning =
        "warning: --anchor-day changes no limit of upstash free, which are by the calendar month";
    let warnings = init.stderr.lines().filter(|it| it.starts_with("warning"));
    assert_eq!(warnings.collect::<Vec<_>>(), [warning]);
    let plans = in_use();
    assert_eq!(plans.len(), 2);
    assert!(
        plans.iter().all(|it| it.contains(",15,Europe/Berlin")),
        "{plans:?}"
    );
    // From an earlier day on, which includes now.
    let plan = "limits plan neon free --anchor-day 31 --from 2025-08-01";
    db.usagectl(plan.split(' ')).run().success();
    let plans = in_use();
    assert!(
        plans
            .iter()
            .any(|it| it.contains("neon") && it.contains(",31,")),
        "{plans:?}"
    );
    assert_eq!(
        db.usagectl(["limits", "init", "--anchor-day", "15"])
            .run()
            .code,
        2
    );
}

#[rstest]
fn two_plans_of_a_provider_are_refused(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let init = words("limits init --plan upstash=free --plan upstash=payg");
    let run = db.usagectl(&init).run();
    assert_eq!(run.code, 2, "{run:?}");
    let message = "error: --plan: two plans of upstash\nnext: give one plan of each provider\n";
    assert!(run.stderr.ends_with(message), "{run:?}");
    assert_eq!(db.rows(STORED), [""; 0]);
}

#[rstest]
fn removed_limits_of_other_providers_stay_removed_by_plan(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let run = |command| db.usagectl(words(command)).run().success();
    run("limits init --plan upstash=free --plan vercel=pro");
    run("limits remove --api tmdb");
    run("limits remove --service VERCEL_KV --metric STORAGE_MB");
    let removed = || {
        db.rows(
            "SELECT api_name FROM usagectl_api_limits WHERE api_name = 'tmdb'
             UNION ALL SELECT CAST(metric AS TEXT) FROM \"InfrastructureLimit\"
             WHERE CAST(service AS TEXT) = 'VERCEL_KV' AND CAST(metric AS TEXT) = 'STORAGE_MB'",
        )
    };
    run("limits plan neon launch");
    let plan = json(&db, words("limits plan openweather one-call"));
    let changes = plan["api_limits"].as_array().map(Vec::len);
    assert_eq!((removed(), changes), (vec![], Some(3)), "{plan}");
    // Of its own provider it is written, by `limits init` all are.
    run("limits plan upstash fixed-1gb");
    assert_eq!(removed(), ["STORAGE_MB"]);
    run("limits init");
    assert_eq!(removed(), ["tmdb", "STORAGE_MB"]);
}
