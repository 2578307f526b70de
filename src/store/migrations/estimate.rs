//! Adds the steps, with their locks and the sizes of their tables, to a plan.

use std::collections::BTreeMap;

use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::{OptionalExtension, QueryResult, sql_query};

use super::triggers::{broken_triggers, of_partitions};
use super::{Direction, Migration, Survey, dialect, indexes, losses};
use crate::domain::schema::index::{self, FoundIndex, IndexAction};
use crate::domain::schema::locks::{Access, Lock, StepEstimate, TableSize, Work, accesses};
use crate::domain::schema::orphaned_triggers::OrphanedTrigger;
use crate::domain::schema::plan::{PlanStep, Repair};
use crate::domain::schema::script::{self, Step};
use crate::store::db::{Db, quote_identifier};
use crate::store::schema_objects;
use crate::store::tuples::LoadTuples;

/// The plan of applying these migrations.
pub fn planned_steps(
    db: &mut Db,
    survey: &Survey,
    plan: &[&Migration],
) -> QueryResult<Vec<PlanStep>> {
    let steps = plan.iter().map(|it| it.step(db, Direction::Up));
    let mut steps: Vec<PlanStep> = steps.collect();
    estimate(db, survey, plan, Direction::Up, &mut steps)?;
    Ok(steps)
}

/// Adds the steps that are not done yet to `steps`, which are those of `plan`.
pub fn estimate(
    db: &mut Db,
    survey: &Survey,
    plan: &[&Migration],
    direction: Direction,
    steps: &mut [PlanStep],
) -> QueryResult<()> {
    let objects = schema_objects::read(db)?;
    let mut estimator = Estimator::new(db)?;
    for (migration, planned) in plan.iter().zip(steps) {
        let sql = migration.runnable_sql(estimator.db, direction)?;
        for (position, step) in script::parse(&sql)
            .iter()
            .enumerate()
            .skip(survey.steps_done(migration))
        {
            planned.steps.push(estimator.step(position + 1, step)?);
        }
        let access = |table| Access {
            table,
            lock: Lock::AccessExclusive,
            work: Work::Metadata,
        };
        let locked = losses::locked_tables(planned, &objects);
        let locked = locked.into_iter().map(access);
        let is_locked = direction == Direction::Down && matches!(estimator.db, Db::Pg(_));
        if let Some(last) = planned.steps.last_mut().filter(|_| is_locked) {
            estimator.add(last, locked)?;
        }
    }
    Ok(())
}

/// The drop of `orphaned` triggers, and the repair of missing and changed triggers and of invalid indexes, which
/// `migrate` does before `plan`; after it the triggers on partitions.
pub fn estimate_repairs(
    db: &mut Db,
    survey: &Survey,
    orphaned: &[OrphanedTrigger],
    plan: &[&Migration],
) -> QueryResult<Vec<Repair>> {
    let broken = broken_triggers(db, &survey.statuses)?;
    let mut estimator = Estimator::new(db)?;
    let dropped = orphaned.iter().map(|it| Repair {
        table: it.table.clone(),
        index: None,
        dropped_trigger: Some(it.name.clone()),
        is_partition: false,
        steps: Vec::new(),
    });
    let mut repairs: Vec<Repair> = dropped.collect();
    for triggers in broken {
        let mut steps = Vec::new();
        for sql in triggers.repair(estimator.db) {
            for step in script::parse(&sql) {
                steps.push(estimator.step(steps.len() + 1, &step)?);
            }
        }
        repairs.push(Repair {
            table: triggers.table().to_owned(),
            index: None,
            dropped_trigger: None,
            is_partition: false,
            steps,
        });
    }
    let indexes = indexes::broken_indexes(estimator.db, &survey.statuses)?;
    repairs.extend(indexes.into_iter().map(|(table, index)| Repair {
        table,
        index: Some(index),
        dropped_trigger: None,
        is_partition: false,
        steps: Vec::new(),
    }));
    for (partition, sql) in of_partitions(estimator.db, &survey.after(plan))? {
        let mut step = StepEstimate::new(1, "", None, dialect(estimator.db));
        let size = relation_size(estimator.db, &partition, &partition)?;
        estimator.sizes.insert(partition.clone(), size);
        for statement in script::parse(&sql).iter().flat_map(|it| &it.statements) {
            let accesses = accesses(statement, dialect(estimator.db)).into_iter();
            let table = |it| Access {
                table: partition.clone(),
                ..it
            };
            estimator.add(&mut step, accesses.map(table))?;
        }
        repairs.push(Repair {
            table: partition,
            index: None,
            dropped_trigger: None,
            is_partition: true,
            steps: vec![step],
        });
    }
    Ok(repairs)
}

struct Estimator<'a> {
    db: &'a mut Db,
    /// The indexes at each point of the plan.
    indexes: Vec<FoundIndex>,
    /// Of existing tables; nothing if there is no such table.
    sizes: BTreeMap<String, Option<TableSize>>,
}

impl Estimator<'_> {
    fn new(db: &mut Db) -> QueryResult<Estimator<'_>> {
        Ok(Estimator {
            indexes: indexes::read(db)?,
            db,
            sizes: BTreeMap::new(),
        })
    }

    fn step(&mut self, number: usize, step: &Step<'_>) -> QueryResult<StepEstimate> {
        let dialect = dialect(self.db);
        let transaction_rows = step.repeat.map(|repeat| repeat.rows);
        let mut estimate = StepEstimate::new(number, step.title, transaction_rows, dialect);
        for statement in &step.statements {
            if let Some(change) = &statement.index {
                let action = index::action(change, &self.indexes);
                index::apply(change, &mut self.indexes);
                if action == IndexAction::Nothing {
                    continue;
                }
            }
            self.add(&mut estimate, accesses(statement, dialect))?;
        }
        Ok(estimate)
    }

    /// Adds the uses of existing tables.
    fn add(
        &mut self,
        estimate: &mut StepEstimate,
        accesses: impl IntoIterator<Item = Access>,
    ) -> QueryResult<()> {
        for access in accesses {
            let size = match self.sizes.get(&access.table) {
                Some(size) => *size,
                None => {
                    let size = table_size(self.db, &access.table)?;
                    self.sizes.insert(access.table.clone(), size);
                    size
                }
            };
            if let Some(size) = size {
                estimate.add(access, size, dialect(self.db));
            }
        }
        Ok(())
    }
}

/// The pages that are counted in a table whose density is unknown.
const SAMPLE_PAGES: i64 = 128;
/// dbstat reads each page of a table.
const LARGEST_FILE_BYTES: i64 = 1 << 30;

/// The size of a table without reading all of it; nothing if it does not exist.
///
/// On PostgreSQL rows are estimated as its planner does: the density at the last ANALYZE, or VACUUM, times the current
/// pages; without either, the density of the first pages. On SQLite rows are those up to the greatest rowid.
pub(super) fn table_size(db: &mut Db, table: &str) -> QueryResult<Option<TableSize>> {
    relation_size(db, table, &quote_identifier(table))
}

/// The size of a table by its name, which is in quotes on PostgreSQL.
fn relation_size(db: &mut Db, table: &str, quoted: &str) -> QueryResult<Option<TableSize>> {
    let size = match db {
        Db::Pg(postgres) => postgres.run(|conn| {
            let sized = sql_query(
                "SELECT CASE WHEN relpages > 0 AND reltuples >= 0 THEN (reltuples / relpages * pages)::bigint
                         WHEN NOT has_table_privilege(oid, 'SELECT') THEN -1 END,
                     bytes
                 FROM pg_class,
                     pg_relation_size(oid) AS bytes,
                     LATERAL (SELECT bytes / current_setting('block_size')::integer AS pages) AS size
                 WHERE oid = to_regclass($1) AND relkind IN ('r', 'p')",
            );
            let size: Option<(Option<i64>, Option<i64>)> =
                sized.bind::<Text, _>(quoted).row(conn).optional()?;
            let Some((None, bytes)) = size else {
                return Ok(size);
            };
            let sampled = sql_query(format!(
                "SELECT count(*) * greatest($1 / ($2 * current_setting('block_size')::bigint), 1), $1
                 FROM {quoted} WHERE ctid < format('(%s,0)', $2)::tid"
            ));
            let sampled = sampled
                .bind::<Nullable<BigInt>, _>(bytes)
                .bind::<BigInt, _>(SAMPLE_PAGES);
            sampled.row(conn).optional()
        })?,
        Db::Sqlite(conn) => {
            let tables =
                sql_query("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = $1");
            let tables: i64 = tables.bind::<Text, _>(table).row(conn)?;
            // Neither is known of a table without rowids, or where SQLite was built without dbstat.
            let rows = format!("SELECT coalesce(max(rowid) - min(rowid) + 1, 0) FROM {quoted}");
            let bytes = sql_query(
                "SELECT pgsize FROM dbstat, pragma_page_count, pragma_page_size
                 WHERE name = $1 AND aggregate = TRUE AND page_count * page_size <= $2",
            );
            let bytes = bytes.bind::<Text, _>(table).bind::<BigInt, _>(LARGEST_FILE_BYTES);
            (tables > 0).then(|| (sql_query(rows).row(conn).ok(), bytes.row(conn).ok()))
        }
    };
    Ok(size.map(|(rows, bytes)| TableSize {
        // Negative if they may not be counted.
        rows: rows.filter(|rows| *rows >= 0),
        bytes,
    }))
}
