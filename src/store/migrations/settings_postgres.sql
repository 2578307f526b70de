-- The comments, settings, policies and publications of the tables and enums of the schemas in the search path, and of
-- what belongs to them. `to_jsonb` reads columns that not every version of the server has.
SELECT s.kind, c.relname || coalesce('.' || s.part, '') AS object,
    regexp_replace(s.name || ' of ' || c.oid::regclass, '^comment of ', '') AS name, s.sql
FROM pg_class c
CROSS JOIN LATERAL (
    SELECT 'comment' AS kind, NULL::text AS part, 'comment' AS name,
        format('COMMENT ON TABLE %s IS %L', c.oid::regclass, obj_description(c.oid, 'pg_class')) AS sql
    WHERE obj_description(c.oid, 'pg_class') IS NOT NULL
    UNION ALL
    SELECT 'setting', NULL, array_to_string(o.options, ', '),
        format('ALTER TABLE %s SET (%s)', c.oid::regclass,
            (SELECT string_agg(split_part(x, '=', 1) || ' = ' || quote_literal(substr(x, strpos(x, '=') + 1)), ', ')
             FROM unnest(o.options) AS x))
    FROM (
        SELECT c.reloptions || ARRAY(
            SELECT 'toast.' || x FROM pg_class t, unnest(t.reloptions) AS x WHERE t.oid = c.reltoastrelid
        ) AS options
    ) o
    WHERE o.options <> '{}'
    UNION ALL
    SELECT 'setting', NULL, 'replica identity',
        format('ALTER TABLE %s REPLICA IDENTITY %s', c.oid::regclass,
            CASE c.relreplident WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING' ELSE 'USING INDEX ' || (
                SELECT quote_ident(x.relname) FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
                WHERE i.indrelid = c.oid AND i.indisreplident) END)
    WHERE c.relreplident <> 'd'
      -- The migrations give FULL to these two.
      AND NOT (c.relreplident = 'f' AND c.relname IN ('usagectl_dirty_hours', 'usagectl_dirty_metric_days'))
    UNION ALL
    SELECT 'setting', NULL, 'row security', format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', c.oid::regclass)
    WHERE c.relrowsecurity
    UNION ALL
    SELECT 'setting', NULL, 'forced row security', format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', c.oid::regclass)
    WHERE c.relforcerowsecurity
    UNION ALL
    SELECT 'setting', NULL, 'tablespace', format('ALTER TABLE %s SET TABLESPACE %I', c.oid::regclass, t.spcname)
    FROM pg_tablespace t WHERE t.oid = c.reltablespace
    UNION ALL
    SELECT 'setting', NULL, 'unlogged mode', format('ALTER TABLE %s SET UNLOGGED', c.oid::regclass)
    WHERE c.relpersistence = 'u'
    UNION ALL
    SELECT s.kind, a.attname, s.name || ' of column ' || a.attname, s.sql
    FROM pg_attribute a
    JOIN pg_type y ON y.oid = a.atttypid
    CROSS JOIN LATERAL (
        SELECT 'comment' AS kind, 'comment' AS name,
            format('COMMENT ON COLUMN %s.%I IS %L', c.oid::regclass, a.attname, col_description(c.oid, a.attnum)) AS sql
        WHERE col_description(c.oid, a.attnum) IS NOT NULL
        UNION ALL
        SELECT 'setting', o.name, format('ALTER TABLE %s ALTER COLUMN %I SET %s', c.oid::regclass, a.attname, o.value)
        FROM (VALUES
            ('statistics target', 'STATISTICS ' || NULLIF((to_jsonb(a) ->> 'attstattarget')::integer, -1)),
            ('options', '(' || array_to_string(a.attoptions, ', ') || ')'),
            ('storage', CASE WHEN a.attstorage <> y.typstorage THEN 'STORAGE ' || CASE a.attstorage
                WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END END),
            ('default', 'DEFAULT ' || (
                SELECT pg_get_expr(f.adbin, f.adrelid) FROM pg_attrdef f
                WHERE f.adrelid = c.oid AND f.adnum = a.attnum AND a.attgenerated = '')),
            ('compression', 'COMPRESSION ' || CASE to_jsonb(a) ->> 'attcompression'
                WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END)
        ) AS o (name, value)
        WHERE o.value IS NOT NULL
    ) s
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    -- Of an index each column, since it goes with each.
    SELECT s.kind, p.part, s.name || ' of index ' || x.relname, s.sql
    FROM pg_index i
    JOIN pg_class x ON x.oid = i.indexrelid
    CROSS JOIN LATERAL (
        SELECT NULL AS part
        UNION ALL
        SELECT a.attname FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
    ) p
    CROSS JOIN LATERAL (
        SELECT 'comment' AS kind, 'comment' AS name,
            format('COMMENT ON INDEX %s IS %L', x.oid::regclass, obj_description(x.oid, 'pg_class')) AS sql
        WHERE obj_description(x.oid, 'pg_class') IS NOT NULL
        UNION ALL
        SELECT 'setting', array_to_string(x.reloptions, ', '),
            format('ALTER INDEX %s SET (%s)', x.oid::regclass, array_to_string(x.reloptions, ', '))
        WHERE x.reloptions IS NOT NULL
        UNION ALL
        SELECT 'setting', 'tablespace', format('ALTER INDEX %s SET TABLESPACE %I', x.oid::regclass, t.spcname)
        FROM pg_tablespace t WHERE t.oid = x.reltablespace
        UNION ALL
        SELECT 'setting', 'cluster order', format('ALTER TABLE %s CLUSTER ON %I', c.oid::regclass, x.relname)
        WHERE i.indisclustered
    ) s
    WHERE i.indrelid = c.oid AND i.indisvalid
    UNION ALL
    SELECT 'comment', p.part, 'comment of constraint ' || o.conname,
        format('COMMENT ON CONSTRAINT %I ON %s IS %L', o.conname, c.oid::regclass, obj_description(o.oid, 'pg_constraint'))
    FROM pg_constraint o
    CROSS JOIN LATERAL (
        SELECT NULL AS part
        UNION ALL
        SELECT a.attname FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY (o.conkey)
    ) p
    WHERE o.conrelid = c.oid AND obj_description(o.oid, 'pg_constraint') IS NOT NULL
    UNION ALL
    SELECT s.kind, NULL, s.name || ' of trigger ' || g.tgname, s.sql
    FROM pg_trigger g
    CROSS JOIN LATERAL (
        SELECT 'comment' AS kind, 'comment' AS name, format('COMMENT ON TRIGGER %I ON %s IS %L', g.tgname,
            c.oid::regclass, obj_description(g.oid, 'pg_trigger')) AS sql
        WHERE obj_description(g.oid, 'pg_trigger') IS NOT NULL
        UNION ALL
        SELECT 'setting', 'state', format('ALTER TABLE %s %s TRIGGER %I', c.oid::regclass,
            CASE g.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, g.tgname)
        WHERE g.tgenabled <> 'O'
    ) s
    WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgname NOT LIKE 'usagectl\_%'
    UNION ALL
    SELECT s.kind, NULL, s.name || ' of rule ' || r.rulename, s.sql
    FROM pg_rewrite r
    CROSS JOIN LATERAL (
        SELECT 'comment' AS kind, 'comment' AS name, format('COMMENT ON RULE %I ON %s IS %L', r.rulename,
            c.oid::regclass, obj_description(r.oid, 'pg_rewrite')) AS sql
        WHERE obj_description(r.oid, 'pg_rewrite') IS NOT NULL
        UNION ALL
        SELECT 'setting', 'state', format('ALTER TABLE %s %s RULE %I', c.oid::regclass,
            CASE r.ev_enabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, r.rulename)
        WHERE r.ev_enabled <> 'O'
    ) s
    WHERE r.ev_class = c.oid
    UNION ALL
    SELECT s.kind, NULL, s.name || ' of statistics ' || x.stxname, s.sql
    FROM pg_statistic_ext x
    CROSS JOIN LATERAL (SELECT (pg_identify_object('pg_statistic_ext'::regclass, x.oid, 0)).identity AS id) n
    CROSS JOIN LATERAL (
        SELECT 'comment' AS kind, 'comment' AS name,
            format('COMMENT ON STATISTICS %s IS %L', n.id, obj_description(x.oid, 'pg_statistic_ext')) AS sql
        WHERE obj_description(x.oid, 'pg_statistic_ext') IS NOT NULL
        UNION ALL
        SELECT 'setting', 'target', format('ALTER STATISTICS %s SET STATISTICS %s', n.id, to_jsonb(x) ->> 'stxstattarget')
        WHERE (to_jsonb(x) ->> 'stxstattarget')::integer >= 0
    ) s
    WHERE x.stxrelid = c.oid
    UNION ALL
    SELECT s.kind, NULL, s.name, s.sql
    FROM pg_policy p
    CROSS JOIN LATERAL (
        SELECT 'policy' AS kind, p.polname::text AS name, format('CREATE POLICY %I ON %s AS %s FOR %s TO %s', p.polname,
                c.oid::regclass, CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
                CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE'
                    ELSE 'ALL' END,
                (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE r::regrole::text END, ', ') FROM unnest(p.polroles) AS r))
            || coalesce(' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', '')
            || coalesce(' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', '') AS sql
        UNION ALL
        SELECT 'comment', 'comment of policy ' || p.polname, format('COMMENT ON POLICY %I ON %s IS %L', p.polname,
            c.oid::regclass, obj_description(p.oid, 'pg_policy'))
        WHERE obj_description(p.oid, 'pg_policy') IS NOT NULL
    ) s
    WHERE p.polrelid = c.oid
    UNION ALL
    SELECT 'publication', NULL, p.pubname, 'ALTER PUBLICATION ' || quote_ident(p.pubname) || ' ADD TABLE ' || c.oid::regclass
        || coalesce((SELECT ' (' || string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) || ')' FROM pg_attribute a
            WHERE a.attrelid = c.oid
              AND a.attnum::text = ANY (regexp_split_to_array(to_jsonb(r) ->> 'prattrs', '[^0-9]+'))), '')
        || coalesce(' WHERE ' || (SELECT to_jsonb(t) ->> 'rowfilter' FROM pg_publication_tables t
            WHERE t.pubname = p.pubname AND t.tablename = c.relname
              AND t.schemaname = (SELECT nspname FROM pg_namespace WHERE oid = c.relnamespace)), '')
    FROM pg_publication_rel r
    JOIN pg_publication p ON p.oid = r.prpubid
    WHERE r.prrelid = c.oid
) s
WHERE c.relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname = ANY (current_schemas(false)))
  AND c.relkind IN ('r', 'p')
UNION ALL
SELECT 'comment', 'enum ' || y.typname, 'enum ' || y.typname,
    format('COMMENT ON TYPE %s IS %L', y.oid::regtype, obj_description(y.oid, 'pg_type'))
FROM pg_type y
WHERE y.typtype = 'e' AND pg_type_is_visible(y.oid) AND obj_description(y.oid, 'pg_type') IS NOT NULL
UNION ALL
-- That of the application's tables is restored with them.
SELECT 'setting', 'enum ' || y.typname, 'owner ' || y.typowner::regrole || ' of enum ' || y.typname,
    format('ALTER TYPE %s OWNER TO %s', y.oid::regtype, y.typowner::regrole)
FROM pg_type y
WHERE y.typtype = 'e' AND pg_type_is_visible(y.oid)
  AND y.typowner <> (SELECT relowner FROM pg_class WHERE oid = to_regclass('api_usage'))
UNION ALL
SELECT 'grant', 'enum ' || y.typname, 'USAGE on enum ' || y.typname || ' to ' || r.role,
    format('GRANT USAGE ON TYPE %s TO %s', y.oid::regtype, r.role)
FROM pg_type y
CROSS JOIN LATERAL (
    SELECT p.grantee::regrole || CASE WHEN p.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END AS role
    FROM aclexplode(y.typacl) p WHERE p.grantee NOT IN (0, y.typowner)
) r
WHERE y.typtype = 'e' AND pg_type_is_visible(y.oid)
UNION ALL
-- Everyone has it by default.
SELECT 'setting', 'enum ' || y.typname, 'revoked USAGE on enum ' || y.typname,
    format('REVOKE USAGE ON TYPE %s FROM PUBLIC', y.oid::regtype)
FROM pg_type y
WHERE y.typtype = 'e' AND pg_type_is_visible(y.oid) AND y.typacl IS NOT NULL
  AND NOT EXISTS (SELECT FROM aclexplode(y.typacl) p WHERE p.grantee = 0)
