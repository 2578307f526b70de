//! Tests of the test support.

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::{Engine, Sandbox, TestDatabase};
use rstest::rstest;

#[rstest]
fn rows_have_the_same_text_on_both_engines(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::empty(engine);
    let at = match db.engine() {
        Engine::Sqlite => "'2026-01-31T12:00:00.000+00:00'",
        Engine::Postgresql => "TIMESTAMP '2026-01-31 12:00:00'",
    };
    db.execute(&format!(
        "CREATE TABLE t (n INTEGER, r DOUBLE PRECISION, b BOOLEAN, s TEXT, at TIMESTAMP);
             INSERT INTO t VALUES (NULL, NULL, NULL, NULL, NULL), (1, 10.0, true, 'a|b', {at}), (2, 0.15, false, '', {at});"
    ));
    assert_eq!(
        db.rows("SELECT n, r, b, s, at, n FROM t ORDER BY coalesce(n, 0)"),
        [
            "NULL|NULL|NULL|NULL|NULL|NULL",
            "1|10|1|a|b|2026-01-31T12:00:00.000+00:00|1",
            "2|0.15|0||2026-01-31T12:00:00.000+00:00|2",
        ]
    );
    assert_eq!(db.rows("SELECT sum(n) FROM t"), ["3"]);
    assert_eq!(db.rows("SELECT n FROM t WHERE n > 5"), Vec::<String>::new());
}

#[test]
fn snapshot_hides_the_version() {
    let run = Sandbox::new().usagectl(["--version"]).run().success();
    insta::assert_snapshot!(run.snapshot(), @r"
    usagectl [version]
    [exit status: 0]
    ");
}
