//! The migrated schema against its two descriptions: `store/schema.rs` of this program and `schema.prisma`
//! of the application.

use std::collections::{BTreeMap, BTreeSet};

use usagectl::store::schema_objects;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::{Engine, OtherRole, TestDatabase};
use rstest::rstest;

// ---------------------------------------------------------------- src/store/schema.rs

const SCHEMA_RS: &str = include_str!("../../src/store/schema.rs");

/// The tables of `schema.rs`: name to columns, each with its Diesel type.
fn diesel_tables() -> BTreeMap<String, BTreeMap<String, String>> {
    let mut tables = BTreeMap::new();
    for block in SCHEMA_RS.split("diesel::table! {").skip(1) {
        let block = block.split("\n}").next().unwrap();
        let mut sql_name = None;
        let mut table = None;
        let mut columns = BTreeMap::new();
        for line in block.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("#[sql_name = \"") {
                sql_name = name.strip_suffix("\"]").map(str::to_owned);
            } else if let Some((name, kind)) = line.split_once(" -> ") {
                let name = sql_name.take().unwrap_or_else(|| name.to_owned());
                columns.insert(name, kind.trim_end_matches(',').to_owned());
            } else if let Some(name) = line.strip_suffix(") {") {
                let name = name.split_once(" (").unwrap().0;
                table = Some(sql_name.take().unwrap_or_else(|| name.to_owned()));
            }
        }
        tables.insert(table.unwrap(), columns);
    }
    tables
}

/// The engine's name of a Diesel type.
fn type_name(engine: Engine, kind: &str) -> String {
    let inner = kind
        .strip_prefix("Nullable<")
        .and_then(|rest| rest.strip_suffix('>'));
    let nullable = inner.is_some();
    let kind = inner.unwrap_or(kind);
    let name = match (kind, engine) {
        ("Text", Engine::Postgresql) => "text",
        ("Timestamp", Engine::Postgresql) => "timestamp(3) without time zone",
        ("Bool", Engine::Postgresql) => "boolean",
        ("Integer", Engine::Postgresql) => "integer",
        ("BigInt", Engine::Postgresql) => "bigint",
        ("Double", Engine::Postgresql) => "double precision",
        ("Binary", Engine::Postgresql) => "bytea",
        ("JsonText", Engine::Postgresql) => "jsonb",
        ("Timestamp", Engine::Sqlite) => "DATETIME",
        ("Bool", Engine::Sqlite) => "BOOLEAN",
        ("Integer", Engine::Sqlite) => "INTEGER",
        ("BigInt", Engine::Sqlite) => "BIGINT",
        ("Double", Engine::Sqlite) => "REAL",
        ("Binary", Engine::Sqlite) => "BLOB",
        ("JsonText", Engine::Sqlite) => "JSONB",
        (_, Engine::Sqlite) => "TEXT",
        (name, Engine::Postgresql) => &format!("\"{name}\""),
    };
    format!("{name}{}", if nullable { "" } else { " not null" })
}

#[rstest]
fn schema_rs_describes_the_migrated_database(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let engine = db.engine();
    let mut described: BTreeSet<String> = BTreeSet::new();
    for (table, columns) in diesel_tables() {
        let only_on = match table.as_str() {
            "usagectl_odd_timestamps" => Engine::Sqlite,
            "usagectl_run_locks" => Engine::Postgresql,
            _ => engine,
        };
        if only_on != engine {
            continue;
        }
        for (column, kind) in columns {
            let kind = match (engine, column.as_str(), kind.as_str()) {
                // The name of a 64-bit number that is the key and assigned.
                (Engine::Sqlite, "id", "BigInt") => "Integer",
                (_, _, kind) => kind,
            };
            described.insert(format!("{table}.{column}: {}", type_name(engine, kind)));
        }
    }
    let found = schema_objects::read(&mut db.open()).unwrap();
    let found: BTreeSet<String> = found
        .objects()
        .filter_map(|(what, how)| Some((what.strip_prefix("column ")?, how)))
        .map(|(name, how)| format!("{name}: {}", how.split(" default ").next().unwrap()))
        .collect();
    assert!(
        described.len() > 100,
        "the parser found {}",
        described.len()
    );
    assert_eq!(described, found);
}

// ---------------------------------------------------------------- schema.prisma

/// The application's schema. tests/prisma compares it with `prisma migrate diff` too.
const SCHEMA_PRISMA: &str = include_str!("schema.prisma");

/// A block of `schema.prisma`: `model Name { ... }` or `enum Name { ... }`, its lines as words.
struct Block {
    kind: String,
    name: String,
    lines: Vec<Vec<String>>,
}

fn blocks() -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for line in SCHEMA_PRISMA.lines() {
        let line = line.split("//").next().unwrap().trim();
        if let Some(head) = line.strip_suffix(" {") {
            let (kind, name) = head.split_once(' ').unwrap();
            blocks.push(Block {
                kind: kind.to_owned(),
                name: name.to_owned(),
                lines: Vec::new(),
            });
        } else if line != "}" && !line.is_empty() {
            let words = line.split_whitespace().map(str::to_owned).collect();
            blocks.last_mut().unwrap().lines.push(words);
        }
    }
    blocks
}

/// The argument of an attribute: `@map("x")` gives `"x"`.
fn argument<'a>(attributes: &'a str, name: &str) -> Option<&'a str> {
    let start = attributes.find(&format!("{name}("))? + name.len() + 1;
    let mut depth = 1;
    let length = attributes[start..].find(|c| {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        depth == 0
    })?;
    Some(&attributes[start..start + length])
}

/// Prisma's name for an index: table, columns and suffix, truncated before the suffix to PostgreSQL's 63
/// bytes.
fn constraint_name(table: &str, columns: &[String], suffix: &str) -> String {
    let mut name = [&[table.to_owned()], columns].concat().join("_");
    name.truncate(63 - suffix.len() - 1);
    format!("{name}_{suffix}")
}

/// The objects that Prisma expects in the application's schema, one per line.
fn expected_by_prisma() -> BTreeSet<String> {
    let blocks = blocks();
    let enums: BTreeSet<&str> = blocks
        .iter()
        .filter(|block| block.kind == "enum")
        .map(|block| block.name.as_str())
        .collect();
    let mut expected = BTreeSet::new();
    for block in &blocks {
        match block.kind.as_str() {
            "enum" => {
                let values: Vec<&str> = block.lines.iter().map(|words| words[0].as_str()).collect();
                expected.insert(format!("enum {}: {}", block.name, values.join(", ")));
            }
            "model" => expect_model(block, &enums, &mut expected),
            _ => {}
        }
    }
    expected
}

fn expect_model(model: &Block, enums: &BTreeSet<&str>, expected: &mut BTreeSet<String>) {
    let of_block = |name: &str| {
        let mut lines = model.lines.iter();
        lines.find_map(|words| {
            argument(&words.join(" "), name).map(|text| text.trim_matches('"').to_owned())
        })
    };
    let table = of_block("@@map").unwrap_or_else(|| model.name.clone());
    expected.insert(format!("table {table}"));
    let mut column_of_field = BTreeMap::new();
    for words in model
        .lines
        .iter()
        .filter(|words| !words[0].starts_with("@@"))
    {
        let (field, kind, attributes) = (&words[0], &words[1], words[2..].join(" "));
        let column = argument(&attributes, "@map")
            .map_or(field.clone(), |name| name.trim_matches('"').to_owned());
        let (kind, nullable) = match kind.strip_suffix('?') {
            Some(kind) => (kind, true),
            None => (kind.as_str(), false),
        };
        let mut line = format!("column {table}.{column}: ");
        line += &match kind {
            "String" => "text".to_owned(),
            "Int" => "integer".to_owned(),
            "Float" => "double precision".to_owned(),
            "Boolean" => "boolean".to_owned(),
            "DateTime" => "timestamp(3) without time zone".to_owned(),
            "Json" => "jsonb".to_owned(),
            name if enums.contains(name) => format!("\"{name}\""),
            other => panic!("{table}.{field}: unknown type {other}"),
        };
        if !nullable {
            line += " not null";
        }
        match argument(&attributes, "@default") {
            // Prisma Client generates these; the column has no default.
            None | Some("cuid()") => {}
            Some("now()") => line += " default CURRENT_TIMESTAMP",
            Some(text) if text.starts_with('"') => {
                line += &format!(" default '{}'::text", text.trim_matches('"'))
            }
            Some(value) if enums.contains(kind) => {
                line += &format!(" default '{value}'::\"{kind}\"")
            }
            Some(value) => line += &format!(" default {value}"),
        }
        expected.insert(line);
        if words.iter().any(|word| word == "@id") {
            expected.insert(format!("primary key {table}_pkey: {table} ({column})"));
        }
        column_of_field.insert(field.clone(), column);
    }
    for words in &model.lines {
        let line = words.join(" ");
        for (attribute, kind, suffix) in [
            ("@@index", "index", "idx"),
            ("@@unique", "unique index", "key"),
        ] {
            let Some(fields) = argument(&line, attribute) else {
                continue;
            };
            let fields: Vec<&str> = fields.trim_matches(['[', ']']).split(", ").collect();
            let names: Vec<String> = fields
                .iter()
                .map(|field| column_of_field[field.split('(').next().unwrap()].clone())
                .collect();
            let columns: Vec<String> = names
                .iter()
                .zip(&fields)
                .map(|(name, field)| match field.contains("sort: Desc") {
                    true => format!("{name} desc"),
                    false => name.clone(),
                })
                .collect();
            let name = constraint_name(&table, &names, suffix);
            expected.insert(format!("{kind} {name}: {table} ({})", columns.join(", ")));
        }
    }
}

/// All objects of a PostgreSQL schema in the format of [`expected_by_prisma`], except triggers, which
/// Prisma's check ignores.
fn everything_in(db: &TestDatabase, schema: &str) -> BTreeSet<String> {
    let query = format!(
        "WITH space AS (SELECT '{schema}'::regnamespace AS oid)
         SELECT line FROM space, LATERAL (
             SELECT CASE relkind WHEN 'r' THEN 'table ' ELSE 'relation ' || relkind::text || ' ' END || relname AS line
             FROM pg_class WHERE relnamespace = space.oid AND relkind <> 'i'
             UNION ALL
             SELECT 'column ' || relname || '.' || attname || ': ' || format_type(atttypid, atttypmod)
                 || CASE WHEN attnotnull THEN ' not null' ELSE '' END
                 || coalesce(' default ' || pg_get_expr(adbin, adrelid), '')
             FROM pg_class JOIN pg_attribute a ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
             LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
             WHERE relnamespace = space.oid AND relkind = 'r'
             UNION ALL
             SELECT CASE WHEN indisprimary THEN 'primary key ' WHEN indisunique THEN 'unique index ' ELSE 'index ' END
                 || i.relname || ': ' || t.relname || ' ('
                 || (SELECT string_agg(attname || CASE indoption[k - 1] WHEN 3 THEN ' desc' ELSE '' END, ', ' ORDER BY k)
                     FROM generate_series(1, indnatts) AS k
                     JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[k - 1]) || ')'
             FROM pg_index JOIN pg_class i ON i.oid = indexrelid JOIN pg_class t ON t.oid = indrelid
             WHERE t.relnamespace = space.oid
             UNION ALL
             SELECT 'constraint ' || conname FROM pg_constraint WHERE connamespace = space.oid AND contype NOT IN ('p', 't', 'n')
             UNION ALL
             SELECT 'enum ' || typname || ': ' || string_agg(enumlabel, ', ' ORDER BY enumsortorder)
             FROM pg_type JOIN pg_enum ON enumtypid = pg_type.oid WHERE typnamespace = space.oid GROUP BY typname
             UNION ALL
             SELECT 'function ' || proname FROM pg_proc WHERE pronamespace = space.oid
         ) AS everything"
    );
    db.rows(&query).into_iter().collect()
}

#[test]
fn migrated_schema_equals_schema_prisma_postgresql() {
    let db = TestDatabase::migrated(Engine::Postgresql);
    let expected = expected_by_prisma();
    assert!(expected.len() > 100, "the parser found {}", expected.len());
    assert_eq!(everything_in(&db, "public"), expected);
    let triggers = db.rows("SELECT tgname::text FROM pg_trigger WHERE NOT tgisinternal AND tgname NOT LIKE 'usagectl%'");
    assert_eq!(triggers, [""; 0]);
}

#[test]
fn other_application_schema_leaves_public_empty_postgresql() {
    let db = TestDatabase::empty(Engine::Postgresql);
    let separator = if db.url().contains('?') { '&' } else { '?' };
    let url = format!("{}{separator}schema=Portal%20of%20shop", db.url());
    let portal = |args: &[&str]| db.usagectl(args).env("DATABASE_URL", &url).run();
    portal(&["migrate"]).success();
    portal(&["status"]).success();
    assert_eq!(
        everything_in(&db, "\"Portal of shop\""),
        in_the_portal(&expected_by_prisma())
    );
    assert_eq!(everything_in(&db, "public"), BTreeSet::new());
    // Its triggers mark dirty hours.
    db.execute("INSERT INTO \"Portal of shop\".api_usage (id, api_name) VALUES ('1', 'tmdb')");
    assert_eq!(
        db.rows("SELECT count(*) FROM usagectl.usagectl_dirty_hours"),
        ["1"]
    );
    portal(&["rollback", "--all", "--yes", "--accept-data-loss"]).success();
    assert_eq!(everything_in(&db, "\"Portal of shop\""), BTreeSet::new());
}

#[test]
fn role_without_rights_on_usagectl_marks_dirty_hours_postgresql() {
    let db = TestDatabase::migrated(Engine::Postgresql);
    let role = OtherRole::new(&db);
    db.execute(&format!(
        "GRANT USAGE ON SCHEMA public TO {name};
         GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON api_usage TO {name};
         SET ROLE {name};
         INSERT INTO api_usage (id, api_name, timestamp) VALUES ('1', 'tmdb', '2026-01-31 10:30'), ('2', 'rawg', '2026-01-31 10:30');
         UPDATE api_usage SET timestamp = '2026-01-31 11:30' WHERE id = '1';
         DELETE FROM api_usage WHERE id = '2';
         TRUNCATE api_usage",
        name = role.name
    ));
    assert_eq!(
        db.rows("SELECT DISTINCT api_name, hour FROM usagectl.usagectl_dirty_hours ORDER BY api_name, hour"),
        [
            "rawg|2026-01-31T10:00:00.000+00:00",
            "tmdb|2026-01-31T10:00:00.000+00:00",
            "tmdb|2026-01-31T11:00:00.000+00:00",
        ]
    );
}

/// Types outside the search path are qualified with their schema.
fn in_the_portal(lines: &BTreeSet<String>) -> BTreeSet<String> {
    let types = [
        "InfrastructureService",
        "MetricType",
        "RecommendationPriority",
        "RecommendationStatus",
    ];
    let qualify = |line: &String| {
        types.iter().fold(line.clone(), |line, name| {
            line.replace(
                &format!("\"{name}\""),
                &format!("\"Portal of shop\".\"{name}\""),
            )
        })
    };
    lines.iter().map(qualify).collect()
}

#[test]
fn index_name_is_truncated_as_by_prisma() {
    let columns = ["api_name", "aggregation_type", "period_start", "more"].map(str::to_owned);
    let name = constraint_name("api_usage_aggregates", &columns, "key");
    assert_eq!(
        name,
        "api_usage_aggregates_api_name_aggregation_type_period_start_key"
    );
    assert_eq!(name.len(), 63);
}
