//! The limits of APIs, set by hand.

use crate::support::assert_snapshot;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::{Engine, TestDatabase};
use rstest::rstest;

#[rstest]
fn a_limit_is_set_listed_replaced_and_removed(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    assert_snapshot!(db.usagectl(["limits"]).run().snapshot(), @"
        no limits
        [exit status: 0]
        ");
    db.usagectl(["limits", "set", "--api", "finnhub", "--per", "second", "30"])
        .run()
        .success();
    let set = [
        "limits",
        "set",
        "--api",
        "finnhub",
        "--per",
        "MINUTE",
        "--source",
        "finnhub.io/pricing",
        "50",
    ];
    assert_snapshot!(db.usagectl(set).run().snapshot(), @"
        ------- stderr -------
        finnhub allows 50 CALLS per MINUTE
        [exit status: 0]
        ");
    db.usagectl(["limits", "set", "--api", "finnhub", "--per", "MINUTE", "60"])
        .run()
        .success();
    let credits = [
        "limits",
        "set",
        "--api",
        "coinmarketcap",
        "--per",
        "MONTH",
        "--unit",
        "credits",
        "15000",
    ];
    db.usagectl(credits).run().success();
    assert_snapshot!(db.usagectl(["limits", "list"]).run().success().stdout, @"
        API            PER      LIMIT  UNIT     ORIGIN  GRADE  PAGE OF  SOURCE
        coinmarketcap  MONTH   15,000  CREDITS  USER    -      -        -
        finnhub        SECOND      30  CALLS    USER    -      -        -
        finnhub        MINUTE      60  CALLS    USER    -      -        -
        ");
    let remove = ["limits", "remove", "--api", "finnhub", "--per", "SECOND"];
    db.usagectl(remove).run().success();
    assert_snapshot!(db.usagectl(remove).run().snapshot(), @"
        ------- stderr -------
        error: there is no limit of finnhub per SECOND
        next: usagectl limits list
        [exit status: 1]
        ");
    let csv = db
        .usagectl(["limits", "--format", "csv"])
        .run()
        .success()
        .stdout;
    assert_snapshot!(csv, @"
        api_name,service,metric,plan,kind,period,unit,limit_value,warning_percent,critical_percent,in_force,origin,grade,page_date,source,catalogue_version
        coinmarketcap,,,,,MONTH,CREDITS,15000,,,true,USER,,,,
        finnhub,,,,,MINUTE,CALLS,60,,,true,USER,,,,
        ");
}

#[rstest]
fn what_is_no_limit_is_refused(#[values(Sqlite, Postgresql)] engine: Engine) {
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
        1
    );
    assert_eq!(
        db.rows("SELECT * FROM usagectl_api_limits"),
        Vec::<String>::new()
    );
}
