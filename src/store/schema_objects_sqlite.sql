-- All objects, one row each: kind and name, definition, body.
WITH tables AS (
    SELECT name FROM sqlite_master
    WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'
      AND name NOT IN ('__diesel_schema_migrations', 'usagectl_migration_log')
)
SELECT 'table ' || name AS what, '' AS how, NULL AS body
FROM tables
UNION ALL
SELECT 'column ' || t.name || '.' || c.name,
    c.type || CASE WHEN c."notnull" THEN ' not null' ELSE '' END || coalesce(' default ' || c.dflt_value, ''),
    NULL
FROM tables t, pragma_table_xinfo(t.name) c
UNION ALL
SELECT CASE WHEN i."unique" THEN 'unique ' ELSE 'index ' END || t.name || ' ('
        || (SELECT group_concat(coalesce(k.name, '(expression)') || CASE WHEN k."desc" THEN ' desc' ELSE '' END, ', ')
            FROM (SELECT * FROM pragma_index_xinfo(i.name) WHERE "key" ORDER BY seqno) k)
        || ')' || CASE WHEN i.partial THEN ' where ...' ELSE '' END,
    '',
    NULL
FROM tables t, pragma_index_list(t.name) i
UNION ALL
SELECT 'trigger ' || tbl_name || '.' || name, '', sql
FROM sqlite_master
WHERE type = 'trigger'
