//! The triggers that mark changed data, and their repair.
//!
//! `prisma migrate reset`, a dump of one schema and the like drop them silently; then it is unknown which rows
//! changed. A repair creates them again and marks everything that has rows, so that the next `aggregate` and
//! `collect` count them all.

use std::borrow::Cow;
use std::collections::BTreeSet;

use diesel::sql_types::{Bool, Text};
use diesel::{QueryResult, sql_query};

use super::run::Retry;
use super::{Bookkeeping, expected, lf};
use crate::domain::schema::migration::MigrationStatus;
use crate::domain::schema::objects::{Difference, SchemaObjects};
use crate::error::{Error, Exit, Result};
use crate::fault;
use crate::store::db::{Db, on, quote_identifier};
use crate::store::schema_objects;
use crate::store::tuples::LoadTuples;
use crate::store::usage::{dirty, lookback};

/// The triggers on one of the application's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TriggerSet {
    /// They write the dirty hours of `api_usage`.
    Usage,
    /// They write the dirty days of `InfrastructureMetric`.
    Metrics,
}

/// The line that ends a part of a script which is a transaction of its own.
const STEP: &str = "\n-- step: ";

impl TriggerSet {
    pub const ALL: [TriggerSet; 2] = [TriggerSet::Usage, TriggerSet::Metrics];

    pub fn table(self) -> &'static str {
        match self {
            TriggerSet::Usage => "api_usage",
            TriggerSet::Metrics => "InfrastructureMetric",
        }
    }

    /// The end of the migration that creates them.
    fn sql(self, db: &Db) -> Cow<'static, str> {
        macro_rules! text {
            ($engine:literal, $file:literal) => {
                include_str!(concat!("../../../migrations/", $engine, "/", $file))
            };
        }
        lf(match (self, db) {
            (TriggerSet::Usage, Db::Pg(_)) => text!("postgres", "usage_triggers.sql"),
            (TriggerSet::Usage, Db::Sqlite(_)) => text!("sqlite", "usage_triggers.sql"),
            (TriggerSet::Metrics, Db::Pg(_)) => text!("postgres", "metric_triggers.sql"),
            (TriggerSet::Metrics, Db::Sqlite(_)) => text!("sqlite", "metric_triggers.sql"),
        })
    }

    /// Whether every trigger exists and fires.
    pub fn is_in_place(self, db: &mut Db) -> QueryResult<bool> {
        let table = self.table();
        let query = match db {
            // 'O' fires in ordinary sessions, 'A' always; 'D' is disabled, 'R' for replicas only.
            Db::Pg(_) => format!(
                "SELECT tgname::text FROM pg_trigger
                 WHERE tgrelid = to_regclass('{}') AND tgenabled IN ('O', 'A')",
                quote_identifier(table)
            ),
            Db::Sqlite(_) => format!(
                "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = '{table}'"
            ),
        };
        let found: Vec<String> = on!(db, |conn| sql_query(query).rows(conn))?;
        let found = found.iter().map(String::as_str).collect();
        Ok(trigger_names(&self.sql(db)).is_subset(&found))
    }

    /// Whether rows can change without these triggers: where Citus distributes the table, where a subscription writes it
    /// (logical replication fires no statement triggers), and where other tables inherit from it, as TimescaleDB's chunks
    /// do. Partitions of `api_usage` have triggers of their own.
    ///
    /// TimescaleDB before 2.18 allows our triggers on a hypertable, but then cannot create a chunk, and the insert fails.
    /// Its own trigger tells a hypertable that is still without chunks.
    pub fn misses_changes(self, db: &mut Db) -> QueryResult<bool> {
        let Db::Pg(postgres) = db else {
            return Ok(false);
        };
        let table = quote_identifier(self.table());
        let has_marked_partitions = self == TriggerSet::Usage;
        let misses = "SELECT to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL,
            EXISTS (SELECT FROM pg_class c
                    WHERE c.oid = to_regclass($1) AND (c.relkind = 'r' OR NOT $2)
                      AND (EXISTS (SELECT FROM pg_inherits WHERE inhparent = c.oid)
                           OR EXISTS (SELECT FROM pg_trigger WHERE tgrelid = c.oid AND tgname = 'ts_insert_blocker')))
            OR EXISTS (SELECT FROM pg_subscription_rel
                       WHERE srrelid = to_regclass($1)
                          OR srrelid IN (SELECT relid FROM pg_partition_tree(to_regclass($1))))";
        let distributed = "SELECT count(*) > 0 FROM pg_dist_partition
                           WHERE logicalrelid = to_regclass($1) AND partmethod <> 'n'";
        postgres.run(|conn| {
            let (has_citus, misses): (bool, bool) = sql_query(misses)
                .bind::<Text, _>(&table)
                .bind::<Bool, _>(has_marked_partitions)
                .row(conn)?;
            let distributed = sql_query(distributed).bind::<Text, _>(&table);
            Ok(misses || has_citus && distributed.row(conn)?)
        })
    }

    /// Name and statement of each trigger that runs for a new row on SQLite; nothing unless all of them exist as the
    /// migrations create them.
    pub(in crate::store) fn of_new_rows(
        self,
        db: &mut Db,
    ) -> QueryResult<Option<Vec<(String, String)>>> {
        let query = format!(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = '{}'",
            self.table()
        );
        let mut found: Vec<(String, String)> = on!(db, |conn| sql_query(query).rows(conn))?;
        let script = self.sql(db);
        let event = format!(" INSERT ON \"{}\"", self.table());
        found.retain(|(_, sql)| sql.contains(&event) && script.contains(sql.as_str()));
        Ok((found.len() == script.matches(&event).count()).then_some(found))
    }

    /// Whether the difference is one of these triggers or of their functions.
    fn includes(self, sql: &str, difference: &Difference) -> bool {
        match difference.what.split_once(' ') {
            Some(("trigger", name)) => {
                // Also of a partition; the names of the sets differ.
                let name = name.rsplit_once('.');
                name.is_some_and(|(_, name)| trigger_names(sql).contains(name))
            }
            Some(("function", name)) => sql.contains(&format!("FUNCTION usagectl.{name}(")),
            _ => false,
        }
    }

    /// The SQL that creates the triggers again, in place of those that are left, and marks all existing rows. Each
    /// text is a transaction.
    ///
    /// The last trigger is created with the marks: until then the set is not in place, and an interrupted
    /// repair is repeated.
    pub(super) fn repair(self, db: &Db) -> [String; 2] {
        let script = self.sql(db);
        let (most, last) = script.split_once(STEP).unwrap_or(("", &script));
        // The rest of the line is the title of the step.
        let last = last.split_once('\n').map_or("", |(_, sql)| sql);
        let marks = match self {
            TriggerSet::Usage => dirty::mark_all_sql(db),
            TriggerSet::Metrics => String::new(),
        };
        [
            self.drop_statements(db, &script).join("\n") + "\n" + most,
            marks + last,
        ]
    }

    /// Runs [`TriggerSet::repair`].
    pub fn restore(self, db: &mut Db, retry: &mut Retry<'_>) -> Result<()> {
        let tables = [self.table().to_owned()];
        for sql in self.repair(db) {
            retry.transaction(db, &tables, |db| {
                fault::point("trigger");
                db.batch_execute(&sql)?;
                fault::point("trigger done");
                Ok(())
            })?;
        }
        if self.is_in_place(db)? {
            return Ok(());
        }
        let message = format!(
            "the triggers on {} are still missing after they were created",
            self.table()
        );
        Err(Error::message(Exit::Failed, message).with_next("see the differences: usagectl status"))
    }

    fn drop_statements(self, db: &Db, script: &str) -> Vec<String> {
        let on_table = match db {
            Db::Pg(_) => format!(" ON {}", quote_identifier(self.table())),
            Db::Sqlite(_) => String::new(),
        };
        trigger_names(script)
            .iter()
            .map(|name| format!("DROP TRIGGER IF EXISTS {name}{on_table};"))
            .collect()
    }

    /// The error of a command that depends on the marks.
    pub fn missing(self) -> Error {
        Error::message(Exit::Untrustworthy, self.missing_text()).with_next("usagectl migrate")
    }

    pub fn missing_text(self) -> String {
        format!(
            "the triggers on {} are missing or disabled: which rows changed is unknown",
            self.table()
        )
    }
}

/// The applied sets of which a trigger or a function is missing or differs, if the tables that they write to
/// exist.
pub fn broken_triggers(db: &mut Db, statuses: &[MigrationStatus]) -> QueryResult<Vec<TriggerSet>> {
    let expected = expected(db, statuses);
    let mut differences = expected.differences(&schema_objects::read(db)?);
    let has_missing_table = differences
        .iter()
        .any(|difference| difference.what.starts_with("table usagectl_"));
    if has_missing_table {
        return Ok(Vec::new());
    }
    leave_out_unwanted(db, &mut differences)?;
    Ok(sets_of(db, &differences))
}

/// What `status` reports as drift: [`differences`], ledger or log without the other, required columns without a default.
pub fn drift(
    db: &mut Db,
    bookkeeping: &Bookkeeping,
    expected: &SchemaObjects,
    found: &SchemaObjects,
    with_partitions: bool,
) -> QueryResult<Vec<Difference>> {
    let mut drift = bookkeeping.differences();
    drift.extend(differences(db, expected, found, with_partitions)?);
    drift.extend(schema_objects::unfilled_columns(db, expected, found)?);
    Ok(drift)
}

/// The differences from the applied migrations; `with_partitions`, with the triggers that partitions of `api_usage` lack.
fn differences(
    db: &mut Db,
    expected: &SchemaObjects,
    found: &SchemaObjects,
    with_partitions: bool,
) -> QueryResult<Vec<Difference>> {
    let mut differences = expected.differences(found);
    let insert = "trigger api_usage.usagectl_after_insert";
    if with_partitions && expected.get(insert).is_some() {
        let lacking = found.objects();
        let lacking = lacking.filter_map(|(what, _)| what.strip_prefix("partition "));
        differences.extend(lacking.map(|it| Difference::missing(&format!("trigger {it}"))));
    }
    leave_out_unwanted(db, &mut differences)?;
    Ok(differences)
}

/// The partitions of `api_usage` that lack triggers, each with the statements that create them.
pub(super) fn of_partitions(
    db: &mut Db,
    statuses: &[MigrationStatus],
) -> QueryResult<Vec<(String, String)>> {
    let expected = expected(db, statuses);
    let found = schema_objects::read(db)?;
    let lacking = differences(db, &expected, &found, true)?;
    let of_partition = |it: &Difference| {
        let (table, _) = it.what.strip_prefix("trigger ")?.rsplit_once('.')?;
        let is_parent = TriggerSet::ALL.iter().any(|set| set.table() == table);
        (!is_parent).then(|| table.to_owned())
    };
    let partitions: BTreeSet<String> = lacking.iter().filter_map(of_partition).collect();
    let set = TriggerSet::Usage;
    let script = set.sql(db);
    let created = script.split_once(STEP).unwrap_or_default().0;
    let created = &created[created.find("CREATE TRIGGER ").unwrap_or_default()..];
    let parent = quote_identifier(set.table());
    let sql = set.drop_statements(db, created).join("\n") + "\n" + created;
    let statements = |it: String| {
        let sql = sql.replace(&parent, &it);
        (it, sql)
    };
    Ok(partitions.into_iter().map(statements).collect())
}

/// Creates the triggers that partitions of `api_usage` lack, and returns these partitions, and the first error. The next
/// `aggregate` compares them: they are others than it saved. TRUNCATE of a partition is found so, too.
pub fn cover_partitions(
    db: &mut Db,
    statuses: &[MigrationStatus],
    retry: &mut Retry<'_>,
) -> Result<(Vec<String>, Option<Error>)> {
    let (mut covered, mut first_error) = (Vec::new(), None);
    for (partition, sql) in of_partitions(db, statuses)? {
        let created = retry.transaction(db, std::slice::from_ref(&partition), |db| {
            Ok(db.batch_execute(&sql)?)
        });
        match created {
            Ok(()) => covered.push(partition),
            Err(error) => {
                let error = error.context(format!(
                    "{partition} lacks triggers, and rows written to it by its name are not counted until its owner runs usagectl migrate"
                ));
                first_error = first_error.or(Some(error));
            }
        }
    }
    Ok((covered, first_error))
}

/// Drops the triggers on present and former partitions, which use the functions that a rollback drops.
pub(super) const DROP_OF_PARTITIONS: &str = r"DO $usagectl$ DECLARE statement text; BEGIN
    FOR statement IN
        SELECT format('DROP TRIGGER %I ON %s', g.tgname, g.tgrelid::regclass) FROM pg_trigger g
        JOIN pg_proc p ON p.oid = g.tgfoid AND p.pronamespace = 'usagectl'::regnamespace
        WHERE g.tgname LIKE 'usagectl\_after\_%'
          AND g.tgrelid IS DISTINCT FROM to_regclass('api_usage')
    LOOP EXECUTE statement; END LOOP;
END $usagectl$;
";

/// Leaves out the triggers of `api_usage` where `aggregate` does without them.
fn leave_out_unwanted(db: &mut Db, differences: &mut Vec<Difference>) -> QueryResult<()> {
    let sql = TriggerSet::Usage.sql(db);
    let is_unwanted =
        |it: &Difference| it.what.starts_with("trigger ") && TriggerSet::Usage.includes(&sql, it);
    let is_readable = !differences
        .iter()
        .any(|it| it.what == "table usagectl_settings");
    if differences.iter().any(is_unwanted) && is_readable && lookback::is_chosen(db)? {
        differences.retain(|it| !is_unwanted(it));
    }
    Ok(())
}

/// The sets to which some of the differences belong.
fn sets_of(db: &Db, differences: &[Difference]) -> Vec<TriggerSet> {
    let is_broken = |set: &TriggerSet| {
        let sql = set.sql(db);
        differences.iter().any(|it| set.includes(&sql, it))
    };
    TriggerSet::ALL.into_iter().filter(is_broken).collect()
}

fn trigger_names(sql: &str) -> BTreeSet<&str> {
    sql.lines()
        .filter_map(|line| line.strip_prefix("CREATE TRIGGER "))
        .filter_map(|rest| rest.split_whitespace().next())
        .map(|name| name.trim_matches('"'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPTS: [(&str, &str, &[&str]); 4] = [
        (
            include_str!("../../../migrations/postgres/usage_triggers.sql"),
            "usagectl_after_",
            &["delete", "insert", "truncate", "update"],
        ),
        (
            include_str!("../../../migrations/sqlite/usage_triggers.sql"),
            "usagectl_",
            &[
                "after_delete",
                "after_insert",
                "after_insert_odd",
                "after_update",
                "before_insert",
            ],
        ),
        (
            include_str!("../../../migrations/postgres/metric_triggers.sql"),
            "usagectl_metrics_after_",
            &["delete", "insert", "truncate", "update"],
        ),
        (
            include_str!("../../../migrations/sqlite/metric_triggers.sql"),
            "usagectl_metrics_after_",
            &["delete", "insert", "update"],
        ),
    ];

    #[test]
    fn trigger_names_are_read_from_every_script() {
        for (script, prefix, events) in SCRIPTS {
            let expected: Vec<_> = events.iter().map(|it| format!("{prefix}{it}")).collect();
            assert!(trigger_names(script).iter().eq(&expected), "{prefix}");
        }
    }

    #[test]
    fn exactly_the_last_trigger_is_in_the_second_step() {
        for (script, prefix, _) in SCRIPTS {
            let steps: Vec<&str> = script.split(STEP).collect();
            assert_eq!(steps.len(), 2, "{prefix}");
            assert_eq!(trigger_names(steps[1]).len(), 1, "{prefix}");
        }
    }

    #[test]
    fn differences_belong_to_their_set() {
        let [usage, .., metrics, _] = SCRIPTS.map(|(script, ..)| script);
        let includes = |what: &str| {
            let difference = Difference::missing(what);
            [
                TriggerSet::Usage.includes(usage, &difference),
                TriggerSet::Metrics.includes(metrics, &difference),
            ]
        };
        for what in [
            "trigger api_usage.usagectl_after_update",
            "function usagectl_mark_new_rows",
        ] {
            assert_eq!(includes(what), [true, false], "{what}");
        }
        for what in [
            "trigger InfrastructureMetric.usagectl_metrics_after_update",
            "function usagectl_mark_new_metrics",
        ] {
            assert_eq!(includes(what), [false, true], "{what}");
        }
        for what in ["trigger api_usage.audit", "table api_usage", "function f"] {
            assert_eq!(includes(what), [false, false], "{what}");
        }
    }
}
