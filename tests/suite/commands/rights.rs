//! Roles that lack rights on PostgreSQL: the printed statements are sufficient.

use rstest::rstest;

use super::restore::export_folder;
use crate::support::Engine::Postgresql;
use crate::support::adoption::{deployed, pushed};
use crate::support::{OtherRole, Run, TestDatabase};

/// The exit code of a check whose result is unknown.
const UNKNOWN: i32 = 12;

/// The statements that the last line of stderr asks for.
fn statements(run: &Run) -> Vec<String> {
    let last = run.stderr.lines().last().unwrap_or_default();
    let list = last.strip_prefix("next: as a superuser, ");
    let list = list.unwrap_or_else(|| panic!("{}", run.snapshot()));
    list.split("; ").map(str::to_owned).collect()
}

/// Runs the command, executes the statements it asks for, and so on, until it succeeds. Returns the statements of each
/// failed run.
fn until_success(role: &OtherRole<'_>, command: &[&str], stdin: &str) -> Vec<Vec<String>> {
    let mut steps = Vec::new();
    loop {
        let run = role.usagectl(command).stdin(stdin).run();
        // `rollback` refuses its plan.
        let is_refused = [1, 5].contains(&run.code) && run.stderr.contains("lacks rights");
        if !is_refused {
            assert!([0, UNKNOWN].contains(&run.code), "{}", run.snapshot());
            return steps;
        }
        assert!(run.stderr.contains(&role.name), "{}", run.snapshot());
        let step = statements(&run);
        assert!(!steps.contains(&step), "{}", run.snapshot());
        role.administer(&step.iter().map(String::as_str).collect::<Vec<_>>());
        steps.push(step);
    }
}

/// The statement that takes back what `grant` gives.
fn revoke(grant: &str) -> String {
    let revoked = grant.replacen("GRANT ", "REVOKE ", 1);
    let (what, role) = revoked.rsplit_once(" TO ").expect("a GRANT names a role");
    format!("{what} FROM {role}")
}

#[rstest]
#[case::record(&["record"])]
#[case::aggregate(&["aggregate"])]
#[case::stats(&["stats"])]
#[case::status(&["status"])]
#[case::alerts_init(&["alerts", "init"])]
#[case::alerts_check(&["alerts", "check"])]
#[case::limits_init(&["limits", "init"])]
#[case::limits_check(&["limits", "check"])]
#[case::collect_run(&["collect", "run", "--only", "usage", "--usage-api", "finnhub", "--credit-budget", "500"])]
#[case::recommend_run(&["recommend", "run"])]
fn printed_grants_are_sufficient_and_complete_postgresql(#[case] command: &[&str]) {
    let db = TestDatabase::migrated(Postgresql);
    // Something to do for each command.
    let record_one = || {
        let event = "{\"api_name\":\"finnhub\",\"cost_credits\":1}\n";
        db.usagectl(["record"]).stdin(event).run().success();
        // The collector reads roll-ups.
        if command[0] == "collect" {
            db.usagectl(["aggregate"]).run().success();
        }
    };
    record_one();
    db.usagectl(["alerts", "init"]).run().success();
    let role = OtherRole::new(&db);
    let event = "{\"api_name\":\"tmdb\"}\n";
    let steps = until_success(&role, command, event);
    assert_eq!(steps.len(), 1, "{steps:?}");
    // Without any one of them the command asks for that one.
    for grant in &steps[0] {
        role.administer(&[&revoke(grant)]);
        record_one();
        let run = role.usagectl(command).stdin(event).run();
        assert_eq!(run.code, 1, "without {grant}: {}", run.snapshot());
        assert_eq!(statements(&run), [grant.as_str()]);
        role.administer(&[grant]);
    }
}

#[test]
fn readme_shows_the_printed_grants_postgresql() {
    let db = TestDatabase::migrated(Postgresql);
    let role = OtherRole::new(&db);
    let printed = role.usagectl(["record"]).stdin("").run().stderr;
    let printed = printed.replace(&role.name, "cron");
    let readme = include_str!("../../../README.md");
    assert!(readme.contains(&printed), "the README lacks:\n{printed}");
}

#[test]
fn printed_grants_are_sufficient_for_rules_postgresql() {
    let db = TestDatabase::migrated(Postgresql);
    let role = OtherRole::new(&db);
    let once = |words: &[&str]| {
        let steps = until_success(&role, words, "");
        assert_eq!(steps.len(), 1, "{words:?} {steps:?}");
        for grant in &steps[0] {
            role.administer(&[&revoke(grant)]);
        }
    };
    let add = "alerts add --api finnhub --type ERROR_SPIKE --threshold 1 --period HOUR";
    once(&add.split(' ').collect::<Vec<_>>());
    let id = db.rows("SELECT id FROM api_alerts").remove(0);
    once(&["alerts", "set", &id, "--threshold", "2"]);
    once(&["alerts", "backtest", &id, "--from", "2026-01-30T00:00:00Z"]);
    once(&["alerts", "show", &id]);
}

/// The objects are a superuser's, as after `migrate` by one.
#[test]
fn role_that_owns_nothing_can_roll_back_after_printed_statements_postgresql() {
    let db = TestDatabase::migrated(Postgresql);
    let role = OtherRole::new(&db);
    role.administer(&["DO $$ DECLARE change text; BEGIN
        FOR change IN
            SELECT format('ALTER TABLE %s OWNER TO postgres', oid::regclass) FROM pg_class
            WHERE relkind = 'r' AND relnamespace IN ('public'::regnamespace, 'usagectl'::regnamespace)
            UNION ALL
            SELECT format('ALTER FUNCTION %s OWNER TO postgres', oid::regprocedure) FROM pg_proc
            WHERE pronamespace = 'usagectl'::regnamespace
            UNION ALL
            SELECT format('ALTER TYPE %s OWNER TO postgres', oid::regtype) FROM pg_type
            WHERE typtype = 'e' AND typnamespace = 'public'::regnamespace
        LOOP EXECUTE change; END LOOP;
        ALTER SCHEMA usagectl OWNER TO postgres; END $$"]);
    let rollback = ["rollback", "--all", "--yes", "--accept-data-loss"];
    // Its first step alone would succeed.
    role.administer(&[&format!(
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO \"{0}\"; GRANT USAGE ON SCHEMA usagectl TO \"{0}\";
         GRANT ALL ON ALL TABLES IN SCHEMA usagectl TO \"{0}\"",
        role.name
    )]);
    let preview = role
        .usagectl(["rollback", "--all", "--dry-run"])
        .run()
        .success();
    assert!(
        preview.stderr.contains("lacks rights"),
        "{}",
        preview.snapshot()
    );
    let log = "SELECT count(*) FROM usagectl.usagectl_migration_log";
    let before = db.rows(log);
    assert_eq!(role.usagectl(rollback).run().code, 5);
    assert_eq!(db.rows(log), before);
    let steps = until_success(&role, &rollback, "");
    assert!(steps.len() <= 2, "{steps:#?}");
    role.administer(&[&format!("DROP OWNED BY {} CASCADE", role.name)]);
}

#[test]
fn role_without_rights_can_migrate_after_printed_statements_postgresql() {
    let db = TestDatabase::empty(Postgresql);
    let role = OtherRole::new(&db);
    let steps = until_success(&role, &["migrate"], "");
    let name = &role.name;
    assert_eq!(
        steps,
        [[
            format!("GRANT USAGE, CREATE ON SCHEMA public TO \"{name}\""),
            format!("CREATE SCHEMA usagectl AUTHORIZATION \"{name}\""),
        ]]
    );
    role.usagectl(["status"]).run().success();
}

#[rstest]
fn role_that_does_not_own_the_tables_can_adopt_after_printed_statements_postgresql(
    #[values(false, true)] has_prisma_ledger: bool,
) {
    let db = match has_prisma_ledger {
        true => deployed(Postgresql, 3),
        false => pushed(Postgresql, 3),
    };
    let role = OtherRole::new(&db);
    let steps = until_success(&role, &["migrate", "--adopt", "--yes"], "").concat();
    let triggers = format!(
        "GRANT SELECT, TRIGGER ON public.api_usage TO \"{}\"",
        role.name
    );
    assert!(steps.contains(&triggers), "{steps:?}");
    let ledger = format!(
        "GRANT SELECT, INSERT, UPDATE ON public._prisma_migrations TO \"{}\"",
        role.name
    );
    assert_eq!(steps.contains(&ledger), has_prisma_ledger, "{steps:?}");
    assert!(steps.iter().all(|it| !it.contains("OWNER TO")), "{steps:?}");
    role.usagectl(["status"]).run();
}

/// The partitions are a superuser's, one of them in another schema.
#[test]
fn role_that_does_not_own_the_partitions_can_adopt_after_printed_statements_postgresql() {
    let db = TestDatabase::empty(Postgresql);
    let role = OtherRole::new(&db);
    role.administer(&[
        "CREATE TABLE api_usage (id text NOT NULL, api_name text NOT NULL, endpoint text,
             timestamp timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, success boolean NOT NULL DEFAULT true,
             status_code integer, created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
             PRIMARY KEY (id, timestamp)) PARTITION BY RANGE (timestamp);
         CREATE SCHEMA old;
         CREATE TABLE old.first PARTITION OF api_usage FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
         CREATE TABLE second PARTITION OF api_usage FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
         CREATE INDEX ON api_usage (api_name, timestamp);
         CREATE INDEX ON api_usage (timestamp)",
    ]);
    let steps = until_success(&role, &["migrate", "--adopt", "--yes"], "");
    assert!(steps.len() <= 2, "{steps:#?}");
    role.usagectl(["status", "--verify"]).run().success();
    let record = role.usagectl(["record", "--api", "tmdb"]).run();
    record.success();
    role.administer(&[&format!("DROP OWNED BY {} CASCADE", role.name)]);
}

#[rstest]
#[case(&["status", "--verify"])]
#[case(&["rollback", "--dry-run"])]
#[case(&["migrate"])]
fn right_to_read_prismas_ledger_is_asked_for_postgresql(#[case] command: &[&str]) {
    let db = deployed(Postgresql, 3);
    let adopt = ["migrate", "--adopt", "--yes"];
    db.usagectl(adopt).run().success();
    let role = OtherRole::new(&db);
    let steps = until_success(&role, command, "").concat();
    let asked = steps
        .iter()
        .any(|it| it.contains("public._prisma_migrations"));
    assert!(asked, "{steps:?}");
}

#[test]
fn role_that_does_not_own_the_tables_can_migrate_after_printed_statements_postgresql() {
    let db = TestDatabase::empty(Postgresql);
    db.usagectl(["migrate", "--to", "create_api_usage"])
        .run()
        .success();
    let role = OtherRole::new(&db);
    let owner = format!("owner_for_{}", role.name);
    role.administer(&[
        &format!("CREATE ROLE {owner}"),
        &format!("GRANT USAGE, CREATE ON SCHEMA public TO {owner}"),
        &format!("ALTER SCHEMA usagectl OWNER TO {owner}"),
        &format!(
            "DO $$ DECLARE name regclass; BEGIN
                 FOR name IN SELECT c.oid::regclass FROM pg_class c
                     WHERE relkind = 'r' AND relnamespace IN ('public'::regnamespace, 'usagectl'::regnamespace)
                 LOOP EXECUTE 'ALTER TABLE ' || name || ' OWNER TO {owner}'; END LOOP;
             END $$"
        ),
    ]);
    let steps = until_success(&role, &["migrate"], "");
    let grant = format!("GRANT \"{owner}\" TO \"{}\"", role.name);
    assert!(steps.len() <= 2, "{steps:?}");
    assert!(steps.concat().contains(&grant), "{steps:?}");
    role.usagectl(["status"]).run().success();
    // The new tables and types are the application's.
    let owned = db.rows(&format!(
        "SELECT count(*) FROM (SELECT relowner AS owner FROM pg_class WHERE relname IN ('api_alerts', 'UpgradeRecommendation')
             UNION ALL SELECT typowner FROM pg_type WHERE typname = 'MetricType') AS objects
         WHERE owner = '{owner}'::regrole"
    ));
    assert_eq!(owned, ["3"]);
    role.administer(&[&format!("DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}")]);
}

/// Also where the rollback dropped `api_usage`, whose owner is that of the others.
#[test]
fn restored_tables_and_types_belong_to_the_owner_before_the_rollback_postgresql() {
    let db = TestDatabase::empty(Postgresql);
    let role = OtherRole::new(&db);
    let owner = &role.name;
    role.administer(&[&format!("GRANT USAGE, CREATE ON SCHEMA public TO {owner}")]);
    db.usagectl(["migrate", "--to", "create_api_usage"])
        .run()
        .success();
    role.administer(&[&format!("ALTER TABLE api_usage OWNER TO {owner}")]);
    db.usagectl(["migrate"]).run().success();
    let owned = || {
        db.rows(&format!(
            "SELECT count(*) FROM (SELECT relowner AS owner FROM pg_class WHERE relkind = 'r'
                 UNION ALL SELECT typowner FROM pg_type WHERE typtype = 'e') AS objects
             WHERE owner = '{owner}'::regrole"
        ))
    };
    assert_eq!(owned(), ["10"]);
    let folder = export_folder(&db);
    db.usagectl(["rollback", "--all", "--yes", "--export"])
        .arg(&folder)
        .run()
        .success();
    db.usagectl(["migrate", "--restore"])
        .arg(&folder)
        .run()
        .success();
    assert_eq!(owned(), ["10"]);
    // The printed SQL gives them too.
    db.execute("DROP TABLE api_alerts");
    let fix = db.usagectl(["status"]).run().stdout;
    let line = format!("  fix: ALTER TABLE \"api_alerts\" OWNER TO \"{owner}\";\n");
    assert!(fix.contains(&line), "{fix}");
}

/// The role that migrates cannot give its tables to the application's.
#[test]
fn tables_that_the_application_cannot_use_are_named_postgresql() {
    let db = pushed(Postgresql, 2);
    let role = OtherRole::new(&db);
    let owner = format!("owner_for_{}", role.name);
    role.administer(&[
        &format!("CREATE ROLE {owner}"),
        &format!("ALTER TABLE api_usage OWNER TO {owner}"),
        &format!("GRANT USAGE, CREATE ON SCHEMA public TO {}", role.name),
        &format!("CREATE SCHEMA usagectl AUTHORIZATION {}", role.name),
        &format!("GRANT SELECT, TRIGGER ON api_usage TO {}", role.name),
    ]);
    let plan = role.usagectl(["migrate", "--adopt", "--dry-run"]).run();
    let warning = format!(
        "warning: the new tables of the application will belong to `{}`, not to `{owner}`",
        role.name
    );
    assert!(plan.stderr.contains(&warning), "{}", plan.snapshot());
    let to = "enhance_api_monitoring";
    role.usagectl(["migrate", "--adopt", "--yes", "--to", to])
        .run()
        .success();
    let run = role.usagectl(["migrate"]).run().success();
    let fix = format!("ALTER TABLE public.\"InfrastructureLimit\" OWNER TO {owner};");
    let problem = format!(
        "warning: table InfrastructureLimit is owned by {}, and {owner}, the owner of api_usage, lacks rights on it; \
         as a superuser: {fix}",
        role.name
    );
    assert!(run.stderr.contains(&problem), "{}", run.snapshot());
    let problem = format!("; as a superuser: ALTER TYPE public.\"MetricType\" OWNER TO {owner};");
    assert!(run.stderr.contains(&problem), "{}", run.snapshot());
    let verify = db.usagectl(["status", "--verify"]).run();
    assert_eq!(verify.code, 4, "{}", verify.snapshot());
    assert!(verify.stdout.contains(&format!("  fix: {fix}\n")));
    role.administer(&[&format!("DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}")]);
}

/// Its tables are not to be taken for missing or another schema's.
#[rstest]
#[case(&["status"])]
#[case(&["record"])]
#[case(&["migrate", "--adopt", "--yes"])]
#[case(&["rollback", "--dry-run"])]
fn application_schema_without_usage_is_asked_for_postgresql(
    #[case] command: &[&str],
    #[values(false, true)] is_adopted: bool,
) {
    let db = match is_adopted {
        true => TestDatabase::migrated(Postgresql),
        false => pushed(Postgresql, 3),
    };
    let role = OtherRole::new(&db);
    role.administer(&["REVOKE ALL ON SCHEMA public FROM public"]);
    if is_adopted {
        role.administer(&[&format!(
            "GRANT USAGE ON SCHEMA usagectl TO {0}; GRANT ALL ON ALL TABLES IN SCHEMA public, usagectl TO {0}",
            role.name
        )]);
    }
    let run = role.usagectl(command).run();
    assert_eq!(run.code, 1, "{}", run.snapshot());
    let usage = format!("GRANT USAGE ON SCHEMA public TO \"{}\"", role.name);
    assert_eq!(statements(&run)[0], usage);
}

#[rstest]
#[case::existing_rows(
    "rollback --to create_usagectl_bookkeeping --yes --accept-data-loss",
    "SELECT 1",
    "migrate"
)]
#[case::lost_log(
    "",
    "DROP TABLE usagectl.usagectl_migration_log",
    "migrate --adopt --yes"
)]
#[case::lost_row(
    "",
    "DELETE FROM usagectl.__diesel_schema_migrations WHERE version = '20260202000000'",
    "migrate --adopt --yes"
)]
#[case::lost_trigger("", "DROP TRIGGER usagectl_after_insert ON api_usage", "migrate")]
fn printed_statements_are_sufficient_for_a_repair_postgresql(
    #[case] before: &str,
    #[case] damage: &str,
    #[case] command: &str,
) {
    let db = TestDatabase::migrated(Postgresql);
    if !before.is_empty() {
        db.usagectl(before.split(' ')).run().success();
    }
    let role = OtherRole::new(&db);
    role.administer(&[damage]);
    let command: Vec<&str> = command.split(' ').collect();
    let steps = until_success(&role, &command, "");
    assert!(!steps.is_empty());
    db.usagectl(["status"]).run().success();
    role.administer(&[&format!("DROP OWNED BY {} CASCADE", role.name)]);
}

/// Creates a role that owns our schema, its functions, and the tables in `schemas`; returns its name.
fn give_to_an_owner(role: &OtherRole, schemas: &str) -> String {
    let owner = format!("owner_for_{}", role.name);
    role.administer(&[
        &format!("CREATE ROLE {owner}"),
        &format!(
            "DO $$ DECLARE change text; BEGIN
                 FOR change IN
                     SELECT format('ALTER TABLE %s OWNER TO {owner}', oid::regclass) FROM pg_class
                     WHERE relkind = 'r' AND relnamespace::regnamespace::text = ANY (string_to_array('{schemas}', ', '))
                     UNION ALL
                     SELECT format('ALTER FUNCTION %s OWNER TO {owner}', oid::regprocedure) FROM pg_proc
                     WHERE pronamespace = 'usagectl'::regnamespace
                 LOOP EXECUTE change; END LOOP;
                 ALTER SCHEMA usagectl OWNER TO {owner}; END $$"
        ),
    ]);
    owner
}

/// The step drops a column of our own.
#[test]
fn rollback_of_own_tables_asks_for_no_right_on_the_applications_postgresql() {
    let db = TestDatabase::migrated(Postgresql);
    let role = OtherRole::new(&db);
    let owner = give_to_an_owner(&role, "usagectl");
    let name = &role.name;
    let steps = until_success(&role, &["rollback", "--yes"], "");
    role.administer(&[&format!("DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}")]);
    let expected = [
        format!("GRANT USAGE ON SCHEMA usagectl TO \"{name}\""),
        format!("GRANT SELECT ON ALL TABLES IN SCHEMA usagectl TO \"{name}\""),
        format!("GRANT \"{owner}\" TO \"{name}\""),
    ];
    assert_eq!(steps.concat(), expected);
}

/// Of a role that owns all objects, membership in it is enough.
#[rstest]
#[case::trigger("", "DROP TRIGGER usagectl_after_insert ON api_usage")]
#[case::triggers(
    "",
    "DROP TRIGGER usagectl_metrics_after_insert ON \"InfrastructureMetric\";
     DROP FUNCTION usagectl.usagectl_mark_old_rows() CASCADE"
)]
#[case::index(
    "",
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'api_usage_timestamp_idx'::regclass"
)]
#[case::not_inherited("NOINHERIT", "DROP TRIGGER usagectl_after_insert ON api_usage")]
fn membership_in_the_owner_is_sufficient_for_a_repair_postgresql(
    #[case] attribute: &str,
    #[case] damage: &str,
) {
    let db = TestDatabase::migrated(Postgresql);
    let role = OtherRole::new(&db);
    let owner = give_to_an_owner(&role, "public, usagectl");
    let name = &role.name;
    role.administer(&[
        &format!(
            "GRANT USAGE ON SCHEMA usagectl TO {name}; GRANT SELECT ON ALL TABLES IN SCHEMA usagectl TO {name}"
        ),
        damage,
    ]);
    if !attribute.is_empty() {
        role.administer(&[&format!("ALTER ROLE {name} {attribute}")]);
    }
    let steps = until_success(&role, &["migrate"], "");
    let membership = format!("GRANT \"{owner}\" TO \"{name}\"");
    let first = steps.concat();
    let status = role.usagectl(["status"]).run();
    role.administer(&[&format!("DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}")]);
    status.success();
    match attribute {
        "" => assert_eq!(first, [membership]),
        _ => assert!(
            first.iter().any(|it| it.starts_with(&membership)),
            "{first:?}"
        ),
    }
    assert!(first.iter().all(|it| !it.contains("OWNER TO")), "{first:?}");
}

#[test]
fn printed_grants_are_sufficient_for_a_restore_postgresql() {
    let db = TestDatabase::migrated(Postgresql);
    db.execute(
        "INSERT INTO api_usage (id, api_name, timestamp, user_id) VALUES ('1', 'tmdb', '2026-01-31 11:00', 'a')",
    );
    let place = "ALTER TABLE api_alerts ADD COLUMN place bigint GENERATED ALWAYS AS IDENTITY";
    db.execute(place);
    db.usagectl(["alerts", "init"]).run().success();
    let folder = db.sandbox().path().join("export");
    let folder = folder.to_str().unwrap();
    db.usagectl([
        "rollback",
        "--to",
        "create_api_usage",
        "--yes",
        "--export",
        folder,
    ])
    .run()
    .success();
    db.usagectl(["migrate"]).run().success();
    db.execute(place);
    let role = OtherRole::new(&db);
    role.administer(&[
        &format!("GRANT USAGE ON SCHEMA public, usagectl TO {}", role.name),
        &format!(
            "GRANT SELECT ON ALL TABLES IN SCHEMA public, usagectl TO {}",
            role.name
        ),
    ]);
    let restore = ["migrate", "--restore", folder];
    let steps = until_success(&role, &restore, "").concat();
    let sequence = format!(
        "GRANT SELECT, UPDATE ON SEQUENCE public.api_alerts_place_seq, usagectl.usagectl_late_hours_id_seq TO \"{}\"",
        role.name
    );
    assert!(steps.contains(&sequence), "{steps:?}");
    // Without any one of them the command asks for that one.
    db.execute("CREATE TABLE _prisma_migrations (id text)");
    let ledger = format!(
        "GRANT SELECT ON public._prisma_migrations TO \"{}\"",
        role.name
    );
    for grant in steps.iter().chain([&ledger]) {
        role.administer(&[&ledger, &revoke(grant)]);
        let run = role.usagectl(restore).run();
        assert_eq!(run.code, 1, "without {grant}: {}", run.snapshot());
        assert_eq!(statements(&run), [grant.as_str()]);
        role.administer(&[grant]);
    }
}
