//! The limits of APIs, set by hand.

use super::words;
use crate::support::assert_snapshot;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::{Engine, TestDatabase};
use rstest::rstest;

#[rstest]
fn limit_is_set_listed_replaced_and_removed(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    assert_snapshot!(db.usagectl(["limits"]).run().snapshot(), @"
        no limits
        [exit status: 0]
        ");
    db.usagectl(["limits", "set", "--api", "finnhub", "--per", "second", "30"])
        .run()
        .success();
    let set = words("limits set --api finnhub --per MINUTE --source finnhub.io/pricing 50");
    assert_snapshot!(db.usagectl(&set).run().snapshot(), @"
        METRIC         PLAN  PER     LIMIT  THRESHOLDS  ACTIVE  ORIGIN
        finnhub CALLS  -     MINUTE     50  -           yes     USER
        [exit status: 0]
        ");
    db.usagectl(["limits", "set", "--api", "finnhub", "--per", "MINUTE", "60"])
        .run()
        .success();
    let credits = words("limits set --api coinmarketcap --per MONTH --unit credits 15000");
    db.usagectl(&credits).run().success();
    assert_snapshot!(db.usagectl(["limits", "list"]).run().success().stdout, @"
        METRIC                 PLAN  PER      LIMIT  THRESHOLDS  ACTIVE  ORIGIN
        coinmarketcap CREDITS  -     MONTH   15,000  -           yes     USER
        finnhub CALLS          -     SECOND      30  -           yes     USER
        finnhub CALLS          -     MINUTE      60  -           yes     USER
        ");
    let remove = ["limits", "remove", "--api", "finnhub", "--per", "SECOND"];
    assert_snapshot!(db.usagectl(&remove).run().snapshot(), @"
        removed 1 limit

        METRIC         PLAN  PER     LIMIT  THRESHOLDS  ACTIVE  ORIGIN
        finnhub CALLS  -     SECOND     30  -           yes     USER
        ------- stderr -------
        usagectl limits init restores the published limits of the plans in use
        [exit status: 0]
        ");
    assert_snapshot!(db.usagectl(&remove).run().snapshot(), @"
        ------- stderr -------
        error: no limit of finnhub per SECOND
        next: usagectl limits list
        [exit status: 2]
        ");
    let csv = db
        .usagectl(["limits", "--format", "csv"])
        .run()
        .success()
        .stdout;
    assert_snapshot!(csv, @"
        api_name,service,metric,plan,kind,period,unit,limit_value,warning_percent,critical_percent,in_force,origin,grade,page_date,source,catalogue_version
        coinmarketcap,,,,,MONTH,CREDITS,15000,,,true,USER,,,,
        finnhub,,,,,MINUTE,CALLS,60,,,true,USER,,,finnhub.io/pricing,
        ");
}

#[rstest]
fn set_keeps_omitted_fields(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let run = |change: &str| {
        let command = format!("limits set --api coinmarketcap --per MONTH {change}");
        db.usagectl(command.trim().split(' ')).run()
    };
    let stored = || db.rows("SELECT limit_value, unit, source, origin FROM usagectl_api_limits");
    run("--unit credits --source contract 15000").success();
    assert_eq!(stored(), ["15000|CREDITS|contract|USER"]);
    run("20000").success();
    assert_eq!(stored(), ["20000|CREDITS|contract|USER"]);
    run("--unit calls").success();
    assert_eq!(stored(), ["20000|CALLS|contract|USER"]);
    run("--source mail").success();
    assert_eq!(stored(), ["20000|CALLS|mail|USER"]);
    for (change, error) in [
        ("", "error: nothing to change\n"),
        ("--per HOUR --unit calls", "cannot be used multiple times"),
        (
            "--by ops 1",
            "--by: the author of an API's limit is not recorded\n",
        ),
    ] {
        let run = run(change);
        assert_eq!(run.code, 2, "{}", run.snapshot());
        assert!(run.stderr.contains(error), "{}", run.snapshot());
    }
    let new = "limits set --api coinmarketcap --per HOUR --unit calls";
    let new = db.usagectl(new.split(' ')).run();
    assert!(new.stderr.contains("error: a new limit requires a value\n"));
    assert_eq!(stored(), ["20000|CALLS|mail|USER"]);
}

#[rstest]
fn invalid_limit_is_refused(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    for value in ["0", "-1", "nan", "inf", "1e300", "sixty", ""] {
        let run = db
            .usagectl([
                "limits", "set", "--api", "finnhub", "--per", "MINUTE", value,
            ])
            .run();
        assert_eq!(run.code, 2, "{value}: {}", run.snapshot());
    }
    for (api, per) in [("", "MINUTE"), ("*", "MINUTE"), ("finnhub", "WEEK")] {
        let run = db
            .usagectl(["limits", "set", "--api", api, "--per", per, "60"])
            .run();
        assert_eq!(run.code, 2, "{api} {per}: {}", run.snapshot());
    }
    assert_eq!(
        db.usagectl(["limits", "remove", "--api", "finnhub"])
            .run()
            .code,
        2
    );
    assert_eq!(
        db.rows("SELECT * FROM usagectl_api_limits"),
        Vec::<String>::new()
    );
}
