//! All schema objects of a database as lines to compare, with names, order and definitions.

use super::{Engine, TestDatabase};

/// All schema objects except the migration ledger and log.
pub fn whole_catalogue(db: &TestDatabase) -> Vec<String> {
    let query = match db.engine() {
        Engine::Sqlite => SQLITE,
        Engine::Postgresql => POSTGRES,
    };
    let lines = db.rows(query);
    // SQLite stores the text of statements, and adding and dropping columns edits it.

    lines
        .iter()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .map(|line| line.replace(" )", ")").replace("( ", "("))
        .collect()
}

const SQLITE: &str = r#"
SELECT type || ' ' || name || ' on ' || tbl_name || ': ' || coalesce(sql, 'made by a constraint')
FROM sqlite_master
WHERE tbl_name NOT IN ('__diesel_schema_migrations', 'usagectl_migration_log')
ORDER BY type, name
"#;

const POSTGRES: &str = r#"
WITH spaces AS (
    SELECT oid, nspname FROM pg_namespace
    WHERE nspname NOT LIKE 'pg\_%' AND nspname <> 'information_schema'
),
relations AS (
    SELECT c.oid, c.relkind, s.nspname || '.' || c.relname AS name
    FROM pg_class c JOIN spaces s ON s.oid = c.relnamespace
    WHERE c.relname NOT IN ('__diesel_schema_migrations', '__diesel_schema_migrations_pkey')
      AND c.relname NOT LIKE 'usagectl\_migration\_log%'
)
SELECT line FROM (
    SELECT 'relation ' || relkind::text || ' ' || name AS line FROM relations
    UNION ALL
    SELECT 'column ' || r.name || ' '
        || row_number() OVER (PARTITION BY r.oid ORDER BY a.attnum) || ' ' || a.attname || ' '
        || format_type(a.atttypid, a.atttypmod)
        || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
        || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
    FROM relations r
    JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE r.relkind = 'r'
    UNION ALL
    SELECT 'index ' || pg_get_indexdef(i.indexrelid) || CASE WHEN i.indisvalid THEN '' ELSE ' invalid' END
    FROM relations r JOIN pg_index i ON i.indrelid = r.oid
    UNION ALL
    SELECT 'constraint ' || r.name || ' ' || k.conname || ' ' || pg_get_constraintdef(k.oid)
    FROM relations r JOIN pg_constraint k ON k.conrelid = r.oid
    UNION ALL
    SELECT 'enum ' || s.nspname || '.' || y.typname || ' ' || string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder)
    FROM pg_type y JOIN spaces s ON s.oid = y.typnamespace JOIN pg_enum e ON e.enumtypid = y.oid
    GROUP BY s.nspname, y.typname
    UNION ALL
    SELECT 'trigger ' || pg_get_triggerdef(g.oid) || ' ' || g.tgenabled::text
    FROM relations r JOIN pg_trigger g ON g.tgrelid = r.oid
    UNION ALL
    SELECT 'function ' || pg_get_functiondef(p.oid) || ' owned ' || p.proowner::regrole::text
    FROM pg_proc p JOIN spaces s ON s.oid = p.pronamespace
) AS catalogue
ORDER BY line
"#;
