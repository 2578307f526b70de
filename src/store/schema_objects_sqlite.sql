-- All objects, one row each: kind, table, name, definition, body; see the query of PostgreSQL.
SELECT 'table' AS kind, '' AS "table", name,
    -- Our triggers and roll-ups use the rowid of the application's tables.
    CASE WHEN name NOT LIKE 'usagectl\_%' ESCAPE '\'
              AND (SELECT wr FROM pragma_table_list(tables.name) WHERE schema = 'main')
         THEN 'without rowid' ELSE '' END AS how,
    NULL AS body, NULL AS numbers, NULL AS options
FROM tables
UNION ALL
SELECT 'column', t.name, c.name,
    c.type || CASE WHEN c."notnull" THEN ' not null' ELSE '' END || coalesce(' default ' || c.dflt_value, '')
        -- One of ours is generated.
        || CASE WHEN c.hidden > 1 AND t.name NOT LIKE 'usagectl\_%' ESCAPE '\' THEN ' generated' ELSE '' END,
    NULL, NULL, NULL
FROM tables t, pragma_table_xinfo(t.name) c
UNION ALL
SELECT CASE WHEN i."unique" THEN 'unique' ELSE 'index' END, t.name,
    (SELECT group_concat(coalesce(k.name, '(expression)') || CASE WHEN k."desc" THEN ' desc' ELSE '' END, ', ')
     FROM (SELECT * FROM pragma_index_xinfo(i.name) WHERE "key" ORDER BY seqno) k),
    '',
    CASE WHEN i.partial THEN ' where ...' ELSE '' END,
    NULL, NULL
FROM tables t, pragma_index_list(t.name) i
UNION ALL
SELECT 'trigger', tbl_name, name, '', sql, NULL, NULL
FROM sqlite_master
WHERE type = 'trigger'
