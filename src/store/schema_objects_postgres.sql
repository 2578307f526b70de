-- The objects of our tables and the application's, one row each: kind, table, name, definition, body, and for
-- columns and indexes their numbers. The caller names the columns of an index by their numbers, since PostgreSQL
-- does so slowly; `name` holds the columns of an index with an expression.
--
-- Tables of other names are the application's own. A database may have hundreds of them.
WITH spaces AS MATERIALIZED (
    SELECT oid FROM pg_namespace WHERE nspname = ANY (current_schemas(false))
),
tables AS MATERIALIZED (
    SELECT c.oid, c.relname, c.relkind FROM pg_class c
    WHERE c.relnamespace = ANY (ARRAY(SELECT oid FROM spaces)) AND c.relkind IN ('r', 'p')
      AND (c.relname LIKE 'usagectl\_%' AND c.relname <> 'usagectl_migration_log'
           OR c.relname IN ('api_usage', 'api_usage_aggregates', 'api_alerts',
                            'InfrastructureLimit', 'InfrastructureMetric', 'UpgradeRecommendation')
           OR {all})
)
SELECT 'table' AS kind, '' AS "table", relname::text AS name, '' AS how,
    CASE relkind WHEN 'p' THEN 'partitioned' END AS body, NULL AS numbers, NULL AS options
FROM tables
UNION ALL
SELECT 'column', t.relname, a.attname,
    format_type(a.atttypid, a.atttypmod)
        || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
        || CASE WHEN a.atthasdef THEN
               CASE a.attgenerated WHEN '' THEN ' default ' ELSE ' generated ' END
               || (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d
                   WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum)
           ELSE '' END,
    NULL, a.attnum::text, NULL
FROM tables t
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
-- 403 is the oid of btree in every version.
SELECT CASE WHEN i.indisunique THEN 'unique' ELSE 'index' END, t.relname,
    CASE WHEN i.indexprs IS NOT NULL THEN
        (SELECT string_agg(pg_get_indexdef(i.indexrelid, k, true)
                           || CASE i.indoption[k - 1] & 1 WHEN 1 THEN ' desc' ELSE '' END, ', ' ORDER BY k)
         FROM generate_series(1, i.indnkeyatts) AS k)
    ELSE '' END,
    CASE WHEN i.indisvalid THEN '' ELSE 'invalid' END,
    CASE WHEN x.relam = 403 THEN '' ELSE ' using ' || (SELECT amname FROM pg_am WHERE oid = x.relam) END
        || CASE WHEN i.indpred IS NULL THEN '' ELSE ' where ' || pg_get_expr(i.indpred, i.indrelid) END
        || CASE WHEN i.indimmediate THEN '' ELSE ' deferrable' END,
    i.indkey::text, i.indoption::text
FROM tables t
JOIN pg_index i ON i.indrelid = t.oid
JOIN pg_class x ON x.oid = i.indexrelid
UNION ALL
SELECT 'trigger', t.relname, g.tgname,
    regexp_replace(pg_get_triggerdef(g.oid, true), '^CREATE TRIGGER \S+ ', '')
        || CASE WHEN g.tgenabled IN ('O', 'A') THEN '' ELSE ' disabled' END,
    NULL, NULL, NULL
FROM tables t
JOIN pg_trigger g ON g.tgrelid = t.oid AND NOT g.tgisinternal
UNION ALL
SELECT 'enum', '', y.typname,
    (SELECT string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = y.oid),
    NULL, NULL, NULL
FROM pg_type y
WHERE y.typnamespace = ANY (ARRAY(SELECT oid FROM spaces)) AND y.typtype = 'e'
UNION ALL
SELECT 'function', '', p.proname,
    concat_ws(' ', CASE WHEN p.prosecdef THEN 'security definer' END, array_to_string(p.proconfig, ' '), 'body'),
    p.prosrc, NULL, NULL
FROM pg_proc p
WHERE p.proname LIKE 'usagectl\_%' AND p.pronamespace = ANY (ARRAY(SELECT oid FROM spaces)) AND p.prokind = 'f'
