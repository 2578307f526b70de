-- The objects that depend on the dropped tables ($1), columns ($2, as table.column) and types ($3) of the schemas
-- in the search path, and the views that use such views.
WITH RECURSIVE spaces AS (
    SELECT oid FROM pg_namespace WHERE nspname = ANY (current_schemas(false))
),
-- The partitions and children of the tables of the columns, which lose the columns too.
kin AS (
    SELECT c.oid, c.relname
    FROM pg_class c
    WHERE c.relnamespace IN (SELECT oid FROM spaces) AND c.relkind IN ('r', 'p')
      AND EXISTS (SELECT FROM unnest($2) AS dropped WHERE starts_with(dropped, c.relname || '.'))
    UNION ALL
    SELECT i.inhrelid, k.relname FROM kin k JOIN pg_inherits i ON i.inhparent = k.oid
),
gone AS (
    SELECT 'pg_class'::regclass AS classid, c.oid AS objid, 0 AS objsubid, 'table ' || c.relname AS what
    FROM pg_class c
    WHERE c.relnamespace IN (SELECT oid FROM spaces) AND c.relkind IN ('r', 'p') AND c.relname = ANY ($1)
    UNION ALL
    SELECT 'pg_class'::regclass, c.oid, a.attnum, 'table ' || c.relname
    FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace IN (SELECT oid FROM spaces) AND c.relkind IN ('r', 'p') AND c.relname = ANY ($1)
    UNION ALL
    SELECT 'pg_class'::regclass, c.oid, a.attnum, 'column ' || c.relname || '.' || a.attname
    FROM kin k
    JOIN pg_class c ON c.oid = k.oid
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE k.relname || '.' || a.attname = ANY ($2)
    UNION ALL
    -- The row type of a table, and arrays of it.
    SELECT 'pg_type'::regclass, y.oid, 0, 'table ' || c.relname
    FROM pg_class c
    JOIN pg_type r ON r.typrelid = c.oid
    JOIN pg_type y ON y.oid IN (r.oid, r.typarray)
    WHERE c.relnamespace IN (SELECT oid FROM spaces) AND c.relkind IN ('r', 'p') AND c.relname = ANY ($1)
    UNION ALL
    SELECT 'pg_type'::regclass, y.oid, 0, 'enum ' || y.typname
    FROM pg_type y
    WHERE y.typnamespace IN (SELECT oid FROM spaces) AND y.typname = ANY ($3)
    UNION ALL
    SELECT 'pg_type'::regclass, y.typarray, 0, 'enum ' || y.typname
    FROM pg_type y
    WHERE y.typnamespace IN (SELECT oid FROM spaces) AND y.typname = ANY ($3)
),
-- The domains, composite types and ranges of such types, and arrays of them.
types AS (
    SELECT g.objid AS oid, g.what, 0 AS level FROM gone g WHERE g.classid = 'pg_type'::regclass
    UNION
    SELECT s.oid, CASE t.level WHEN 0 THEN t.what ELSE 'type ' || t.oid::regtype END, t.level + 1
    FROM types t
    JOIN pg_depend d ON d.refclassid = 'pg_type'::regclass AND d.refobjid = t.oid AND d.deptype IN ('n', 'i')
    LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid AND c.relkind = 'c'
    JOIN pg_type y ON y.oid = CASE WHEN d.classid = 'pg_type'::regclass THEN d.objid ELSE c.reltype END
        -- Of the types that are part of another one: the multirange of a range.
        AND (d.deptype = 'n' OR y.typtype = 'm')
    CROSS JOIN LATERAL (VALUES (y.oid), (y.typarray)) AS s (oid)
),
-- The functions of such types, and the casts, operators and functions that use these.
routines AS (
    SELECT d.classid, d.objid, t.what, 1 AS level
    FROM (
        SELECT * FROM gone UNION
        SELECT 'pg_type'::regclass, oid, 0, 'type ' || oid::regtype FROM types WHERE level > 0
    ) AS t
    JOIN pg_depend d ON d.refclassid = t.classid AND d.refobjid = t.objid AND d.refobjsubid = t.objsubid
    WHERE d.deptype = 'n'
      AND d.classid IN ('pg_proc'::regclass, 'pg_cast'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass)
      -- The constructors of a range are part of it.
      AND NOT EXISTS (
          SELECT 1 FROM pg_depend i WHERE i.classid = d.classid AND i.objid = d.objid AND i.deptype = 'i'
      )
    UNION
    SELECT d.classid, d.objid, pg_describe_object(r.classid, r.objid, 0), r.level + 1
    FROM routines r
    JOIN pg_depend d ON d.refclassid = r.classid AND d.refobjid = r.objid AND d.deptype IN ('n', 'a')
    WHERE d.classid IN ('pg_proc'::regclass, 'pg_cast'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass)
      AND (d.classid, d.objid) <> (r.classid, r.objid) AND r.level < 20
),
used AS (
    SELECT * FROM gone
    UNION
    SELECT 'pg_type'::regclass, oid, 0, 'type ' || oid::regtype FROM types WHERE level > 0
    UNION
    SELECT classid, objid, 0, pg_describe_object(classid, objid, 0) FROM routines
),
depending AS (
    -- What also depends automatically is dropped without a question.
    SELECT d.classid, d.objid, d.objsubid, min(g.what) AS what, bool_and(d.deptype = 'n') AS blocks
    FROM used g
    JOIN pg_depend d ON d.refclassid = g.classid AND d.refobjid = g.objid AND d.refobjsubid = g.objsubid
    WHERE d.deptype IN ('n', 'a')
      AND NOT EXISTS (
          SELECT 1 FROM gone own
          WHERE own.classid = d.classid AND own.objid = d.objid AND own.objsubid IN (0, d.objsubid)
      )
    GROUP BY 1, 2, 3
),
views AS (
    SELECT r.ev_class AS oid, r.oid AS rule, d.what, 1 AS depth
    FROM depending d
    JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    JOIN pg_class c ON c.oid = r.ev_class AND c.relkind IN ('v', 'm')
    UNION
    SELECT r.ev_class, r.oid, 'view ' || v.oid::regclass, v.depth + 1
    FROM views v
    JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = v.oid AND d.classid = 'pg_rewrite'::regclass
    JOIN pg_rewrite r ON r.oid = d.objid AND r.ev_class <> v.oid
    JOIN pg_class c ON c.oid = r.ev_class AND c.relkind IN ('v', 'm')
),
found AS (
    SELECT 'index' AS kind, c.relname::text AS name, d.what, d.blocks, pg_get_indexdef(c.oid) AS sql, c.oid AS index,
        'DROP INDEX ' || (pg_identify_object(d.classid, d.objid, 0)).identity AS removal, 0 AS depth
    FROM depending d
    JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
    WHERE d.objsubid = 0 AND c.relkind IN ('i', 'I')
      -- Those of partitions come and go with that of the table, as do constraints and triggers.
      AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid)
    UNION ALL
    -- A generated column is dropped with its source by some versions, and prevents the drop in others.
    -- Its values are kept where its type is dropped.
    SELECT 'column', d.objid::regclass || '.' || a.attname, d.what, true, NULL, NULL,
        format(CASE WHEN a.attgenerated = '' THEN 'ALTER TABLE %s ALTER COLUMN %I TYPE text'
                    ELSE 'ALTER TABLE %s DROP COLUMN %I' END,
            (pg_identify_object(d.classid, d.objid, 0)).identity, a.attname), 0
    FROM depending d
    JOIN pg_attribute a ON d.classid = 'pg_class'::regclass AND a.attrelid = d.objid AND a.attnum = d.objsubid
    JOIN pg_class c ON c.oid = d.objid AND c.relkind IN ('r', 'p', 'f')
    WHERE d.objsubid > 0
    UNION ALL
    SELECT 'column', f.adrelid::regclass || '.' || a.attname, d.what, true, NULL, NULL,
        format(CASE WHEN a.attgenerated = '' THEN 'ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT'
                    ELSE 'ALTER TABLE %s DROP COLUMN %I' END,
            (pg_identify_object('pg_class'::regclass, f.adrelid, 0)).identity, a.attname), 1
    FROM depending d
    JOIN pg_attrdef f ON d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid
    JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
    WHERE NOT EXISTS (
        SELECT 1 FROM gone g
        WHERE g.classid = 'pg_class'::regclass AND g.objid = f.adrelid AND g.objsubid IN (0, f.adnum)
    )
    UNION ALL
    SELECT 'constraint',
        o.conname || ' of ' || CASE o.conrelid WHEN 0 THEN o.contypid::regtype::text ELSE o.conrelid::regclass::text END,
        d.what, d.blocks,
        'ALTER TABLE ' || o.conrelid::regclass || ' ADD CONSTRAINT ' || quote_ident(o.conname) || ' '
            || pg_get_constraintdef(o.oid),
        NULLIF(o.conindid, 0),
        CASE o.conrelid
            WHEN 0 THEN format('ALTER DOMAIN %s DROP CONSTRAINT %I',
                (pg_identify_object('pg_type'::regclass, o.contypid, 0)).identity, o.conname)
            ELSE format('ALTER TABLE %s DROP CONSTRAINT %I',
                (pg_identify_object('pg_class'::regclass, o.conrelid, 0)).identity, o.conname) END, 0
    FROM depending d
    JOIN pg_constraint o ON d.classid = 'pg_constraint'::regclass AND o.oid = d.objid
    -- The checks of our own tables are part of them.
    WHERE o.contype IN ('c', 'p', 'u', 'x') AND o.coninhcount = 0
      AND (o.contype <> 'c' OR o.connamespace IS DISTINCT FROM to_regnamespace('usagectl'))
      AND (o.conrelid <> 0 OR d.blocks)
    UNION ALL
    SELECT 'foreign key', o.conname || ' of ' || o.conrelid::regclass, d.what,
        NOT EXISTS (
            SELECT 1 FROM gone g
            WHERE g.classid = 'pg_class'::regclass AND g.objid = o.conrelid AND g.objsubid IN (0, o.conkey[1])
        ),
        'ALTER TABLE ' || o.conrelid::regclass || ' ADD CONSTRAINT ' || quote_ident(o.conname) || ' '
            || pg_get_constraintdef(o.oid),
        NULL,
        format('ALTER TABLE %s DROP CONSTRAINT %I', (pg_identify_object('pg_class'::regclass, o.conrelid, 0)).identity, o.conname), 0
    FROM depending d
    JOIN pg_constraint o ON d.classid = 'pg_constraint'::regclass AND o.oid = d.objid
    WHERE o.contype = 'f' AND o.coninhcount = 0
    UNION ALL
    SELECT 'trigger', g.tgname || ' of ' || g.tgrelid::regclass, d.what, d.blocks, pg_get_triggerdef(g.oid), NULL,
        'DROP TRIGGER ' || (pg_identify_object(d.classid, d.objid, 0)).identity, 0
    FROM depending d
    JOIN pg_trigger g ON d.classid = 'pg_trigger'::regclass AND g.oid = d.objid
    WHERE NOT g.tgisinternal AND g.tgname NOT LIKE 'usagectl\_%'
      AND coalesce(to_jsonb(g) ->> 'tgparentid', '0') = '0'
    UNION ALL
    SELECT 'rule', r.rulename || ' of ' || c.oid::regclass, d.what, d.blocks, pg_get_ruledef(r.oid), NULL,
        'DROP RULE ' || (pg_identify_object(d.classid, d.objid, 0)).identity, 0
    FROM depending d
    JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    JOIN pg_class c ON c.oid = r.ev_class AND c.relkind NOT IN ('v', 'm')
    UNION ALL
    SELECT 'view', v.oid::regclass::text, (array_agg(v.what ORDER BY v.depth, v.what))[1], true,
        pg_get_ruledef(min(v.rule)), NULL,
        format('DROP %s %s', upper((pg_identify_object('pg_class'::regclass, v.oid, 0)).type),
            (pg_identify_object('pg_class'::regclass, v.oid, 0)).identity),
        max(v.depth)
    FROM views v
    GROUP BY v.oid
    UNION ALL
    -- The policies and publications that go with a table are in settings_postgres.sql.
    SELECT 'policy', p.polname || ' of ' || p.polrelid::regclass, d.what, true, NULL, NULL,
        'DROP POLICY ' || (pg_identify_object(d.classid, d.objid, 0)).identity, 0
    FROM depending d
    JOIN pg_policy p ON d.classid = 'pg_policy'::regclass AND p.oid = d.objid
    WHERE d.blocks
    UNION ALL
    SELECT 'publication', p.pubname || ' of ' || r.prrelid::regclass, d.what, true, NULL, NULL,
        format('ALTER PUBLICATION %I DROP TABLE %s', p.pubname,
            (pg_identify_object('pg_class'::regclass, r.prrelid, 0)).identity), 0
    FROM depending d
    JOIN pg_publication_rel r ON d.classid = 'pg_publication_rel'::regclass AND r.oid = d.objid
    JOIN pg_publication p ON p.oid = r.prpubid
    WHERE d.blocks
    UNION ALL
    -- An owned sequence is dropped with its column, and its position lost.
    SELECT 'sequence', d.objid::regclass::text, 'column ' || t.relname || '.' || a.attname, true, NULL, NULL,
        format('ALTER SEQUENCE %s OWNED BY NONE', (pg_identify_object(d.classid, d.objid, 0)).identity), 0
    FROM depending d
    JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid AND c.relkind = 'S'
    JOIN pg_depend o ON o.classid = d.classid AND o.objid = d.objid AND o.refclassid = 'pg_class'::regclass
        AND o.deptype = 'a'
    JOIN pg_class t ON t.oid = o.refobjid
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = o.refobjsubid
    UNION ALL
    SELECT 'statistics', s.stxname::text, d.what, d.blocks, pg_get_statisticsobjdef(s.oid), NULL,
        'DROP STATISTICS ' || (pg_identify_object(d.classid, d.objid, 0)).identity, 0
    FROM depending d
    JOIN pg_statistic_ext s ON d.classid = 'pg_statistic_ext'::regclass AND s.oid = d.objid
    UNION ALL
    -- After the columns, views and others that use them.
    SELECT CASE r.classid WHEN 'pg_proc'::regclass THEN 'function' ELSE 'object' END,
        CASE r.classid WHEN 'pg_proc'::regclass THEN r.objid::regprocedure::text
            ELSE pg_describe_object(r.classid, r.objid, 0) END,
        (array_agg(r.what ORDER BY r.level, r.what))[1], true, NULL, NULL,
        format('DROP %s %s',
            CASE r.classid WHEN 'pg_proc'::regclass THEN 'ROUTINE'
                ELSE upper((pg_identify_object(r.classid, r.objid, 0)).type) END,
            (pg_identify_object(r.classid, r.objid, 0)).identity),
        max(r.level) - 500
    FROM routines r
    GROUP BY r.classid, r.objid
    UNION ALL
    -- After all that uses them.
    SELECT CASE y.typtype WHEN 'd' THEN 'domain' ELSE 'type' END, y.oid::regtype::text, min(t.what), true, NULL, NULL,
        format('DROP %s %s', CASE y.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END,
            (pg_identify_object('pg_type'::regclass, y.oid, 0)).identity),
        max(t.level) - 1000
    FROM types t
    JOIN pg_type y ON y.oid = t.oid AND y.typtype IN ('d', 'c', 'r')
    WHERE t.level > 0
    GROUP BY y.oid, y.typtype
    UNION ALL
    -- Tables that inherit from it, its partitions, and tables of a type.
    SELECT 'table', c.oid::regclass::text, d.what, true, NULL, NULL,
        CASE WHEN c.reloftype <> 0
            THEN format('ALTER TABLE %s NOT OF', (pg_identify_object('pg_class'::regclass, c.oid, 0)).identity)
            ELSE (SELECT format(
                    CASE WHEN c.relispartition THEN 'ALTER TABLE %2$s DETACH PARTITION %1$s'
                         ELSE 'ALTER TABLE %1$s NO INHERIT %2$s' END,
                    (pg_identify_object('pg_class'::regclass, c.oid, 0)).identity,
                    (pg_identify_object('pg_class'::regclass, h.inhparent, 0)).identity)
                  FROM pg_inherits h
                  JOIN gone g ON g.classid = 'pg_class'::regclass AND g.objid = h.inhparent AND g.objsubid = 0
                  WHERE h.inhrelid = c.oid LIMIT 1) END, 2
    FROM depending d
    JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
    WHERE d.objsubid = 0 AND c.relkind IN ('r', 'p', 'f')
)
SELECT kind, name, what AS depends_on, blocks, sql,
    -- As in schema_objects_postgres.sql, to recognise the indexes of the migrations.
    (SELECT CASE WHEN i.indisunique THEN 'unique ' ELSE 'index ' END || t.relname || ' ('
            || (SELECT string_agg(
                    coalesce(a.attname, pg_get_indexdef(i.indexrelid, k.n, true))
                        || CASE i.indoption[k.n - 1] & 1 WHEN 1 THEN ' desc' ELSE '' END,
                    ', ' ORDER BY k.n)
                FROM generate_series(1, i.indnkeyatts) AS k (n)
                LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k.n - 1])
            || ')' || coalesce(' where ' || pg_get_expr(i.indpred, i.indrelid), '')
     FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid WHERE i.indexrelid = found.index) AS index,
    removal, depth
FROM found
ORDER BY kind, name
