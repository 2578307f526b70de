-- All objects of the schemas in the search path, one row each: kind and name, definition, body.
-- The columns of an index are named as the table names them; an expression as PostgreSQL spells it.
WITH spaces AS (
    SELECT oid FROM pg_namespace WHERE nspname = ANY (current_schemas(false))
),
tables AS (
    SELECT c.oid, c.relname FROM pg_class c
    WHERE c.relnamespace IN (SELECT oid FROM spaces) AND c.relkind IN ('r', 'p')
      AND c.relname NOT IN ('__diesel_schema_migrations', 'usagectl_migration_log')
)
SELECT 'table ' || relname AS what, '' AS how, NULL AS body
FROM tables
UNION ALL
SELECT 'column ' || t.relname || '.' || a.attname,
    format_type(a.atttypid, a.atttypmod)
        || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
        || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), ''),
    NULL
FROM tables t
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
UNION ALL
SELECT CASE WHEN i.indisunique THEN 'unique ' ELSE 'index ' END || t.relname || ' ('
        || (SELECT string_agg(
                coalesce(
                    -- Not a join, which would hash all columns of the table for each index.
                    (SELECT a.attname FROM pg_attribute a
                     WHERE a.attrelid = i.indrelid AND a.attnum = i.indkey[k.n - 1]),
                    pg_get_indexdef(i.indexrelid, k.n, true))
                    || CASE i.indoption[k.n - 1] & 1 WHEN 1 THEN ' desc' ELSE '' END,
                ', ' ORDER BY k.n)
            FROM generate_series(1, i.indnkeyatts) AS k (n))
        || ')' || coalesce(' where ' || pg_get_expr(i.indpred, i.indrelid), ''),
    CASE WHEN i.indisvalid THEN '' ELSE 'invalid' END,
    NULL
FROM tables t
JOIN pg_index i ON i.indrelid = t.oid
UNION ALL
SELECT 'trigger ' || t.relname || '.' || g.tgname,
    regexp_replace(pg_get_triggerdef(g.oid, true), '^CREATE TRIGGER \S+ ', '')
        || CASE WHEN g.tgenabled IN ('O', 'A') THEN '' ELSE ' disabled' END,
    NULL
FROM tables t
JOIN pg_trigger g ON g.tgrelid = t.oid AND NOT g.tgisinternal
UNION ALL
SELECT 'enum ' || y.typname,
    (SELECT string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = y.oid),
    NULL
FROM pg_type y
WHERE y.typnamespace IN (SELECT oid FROM spaces) AND y.typtype = 'e'
UNION ALL
SELECT 'function ' || p.proname,
    concat_ws(' ', CASE WHEN p.prosecdef THEN 'security definer' END, array_to_string(p.proconfig, ' '), 'body'),
    p.prosrc
FROM pg_proc p
WHERE p.proname LIKE 'usagectl\_%' AND p.pronamespace IN (SELECT oid FROM spaces) AND p.prokind = 'f'
