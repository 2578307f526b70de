-- A unique index of a partitioned table has the columns of the partition key. The others are unique in each partition: a
-- call that is recorded again is found there if the key is part of its content, unlike the time of the insert.
-- The columns are those of schema_objects_postgres.sql.
SELECT 'unique' AS kind, t.relname::text AS "table", '' AS name, CASE WHEN i.indisvalid THEN '' ELSE 'invalid' END AS how,
    NULL AS body, others.columns AS numbers, others.options
FROM pg_partitioned_table p
JOIN pg_class t ON t.oid = p.partrelid
JOIN pg_index i ON i.indrelid = t.oid AND i.indisunique AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
CROSS JOIN LATERAL (
    SELECT string_agg(key::text, ' ' ORDER BY place) AS columns, string_agg('0', ' ') AS options, count(*)
    FROM unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY AS keys(key, place)
    WHERE key <> ALL (p.partattrs)
) others
WHERE t.relnamespace = ANY (ARRAY(SELECT oid FROM pg_namespace WHERE nspname = ANY (current_schemas(false))))
  AND others.count BETWEEN 1 AND i.indnkeyatts - 1
  AND NOT EXISTS (
      SELECT FROM pg_attribute a
      WHERE a.attrelid = t.oid AND a.attnum = ANY (p.partattrs) AND a.attname NOT IN ('timestamp', 'api_name')
  )
UNION ALL
-- The triggers of api_usage that a partition lacks: those of a table do not fire for rows written to a partition by its name.
SELECT 'partition', 'api_usage', c.oid::regclass || '.' || name, '', NULL, NULL, NULL
FROM pg_partition_tree(to_regclass('api_usage')) AS tree
JOIN pg_class c ON c.oid = tree.relid AND c.relkind IN ('r', 'p')
CROSS JOIN unnest('{usagectl_after_insert,usagectl_after_update,usagectl_after_delete}'::text[]) AS name
WHERE tree.level > 0
  AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = c.oid AND tgname = name AND tgenabled IN ('O', 'A'))
