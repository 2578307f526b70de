-- Defects of the tables named by $1 and of our own, one row each: object, problem, SQL that removes it.
WITH tables AS (
    SELECT c.oid, c.relname, c.relpersistence, c.relowner, n.nspname, format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY (current_schemas(false)) AND c.relkind IN ('r', 'p')
      AND (n.nspname = 'usagectl' OR c.relname = ANY ($1))
      -- The tables of an export, which `rollback` drops.
      AND NOT (n.nspname = 'usagectl' AND c.relname LIKE 'usagectl\_export\_%')
),
functions AS (
    SELECT p.oid, p.proowner, p.proname,
        CASE WHEN p.proname LIKE '%\_metrics' THEN 'usagectl.usagectl_dirty_metric_days'
             ELSE 'usagectl.usagectl_dirty_hours' END AS target
    FROM pg_proc p
    JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = 'usagectl' AND p.proname LIKE 'usagectl\_mark\_%' AND p.prosecdef
),
defects AS (
    -- An index that is being built is not a defect.
    SELECT format('index %s', x.relname) AS object, format('on %s is invalid', t.relname) AS problem,
        CASE
            -- REINDEX leaves one that lacks an index of a partition invalid.
            WHEN x.relkind = 'I' AND k.oid IS NOT NULL THEN format('ALTER TABLE %s DROP CONSTRAINT %I; ALTER TABLE %s ADD CONSTRAINT %I %s;',
                t.name, k.conname, t.name, k.conname, pg_get_constraintdef(k.oid))
            WHEN x.relkind = 'I' THEN format('DROP INDEX %I.%I; ', t.nspname, x.relname)
                || replace(pg_get_indexdef(x.oid), ' ON ONLY ', ' ON ') || ';'
            ELSE format('REINDEX INDEX CONCURRENTLY %I.%I;', t.nspname, x.relname)
        END AS fix
    FROM tables t
    JOIN pg_index i ON i.indrelid = t.oid
    JOIN pg_class x ON x.oid = i.indexrelid
    LEFT JOIN pg_constraint k ON k.conindid = x.oid AND k.contype IN ('p', 'u', 'x')
    WHERE NOT (i.indisvalid AND i.indisready)
      AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p
                      WHERE p.datname = current_database() AND p.index_relid = i.indexrelid)
    UNION ALL
    SELECT format('constraint %s', k.conname), format('of %s is not validated', t.relname),
        format('ALTER TABLE %s VALIDATE CONSTRAINT %I;', t.name, k.conname)
    FROM tables t
    JOIN pg_constraint k ON k.conrelid = t.oid
    WHERE NOT k.convalidated
    UNION ALL
    SELECT format('table %s', t.relname), 'is unlogged: a crash empties it', format('ALTER TABLE %s SET LOGGED;', t.name)
    FROM tables t
    WHERE t.relpersistence = 'u'
    UNION ALL
    SELECT format('table %s', t.relname), format('has row security, and no policy allows %s to %s', v.verb, current_user),
        format('CREATE POLICY %I ON %s FOR %s TO %I %s (true);', 'usagectl_' || lower(v.verb) || '_' || current_user, t.name, v.verb,
            current_user, CASE v.verb WHEN 'INSERT' THEN 'WITH CHECK' ELSE 'USING' END)
    FROM tables t
    CROSS JOIN (VALUES ('SELECT', 'r'), ('INSERT', 'a'), ('UPDATE', 'w'), ('DELETE', 'd')) AS v (verb, letter)
    WHERE row_security_active(t.oid) AND has_table_privilege(t.oid, v.verb)
      AND NOT EXISTS (
          SELECT FROM pg_policy p
          WHERE p.polrelid = t.oid AND p.polpermissive AND p.polcmd::text IN (v.letter, '*')
            AND EXISTS (SELECT FROM unnest(p.polroles) AS r WHERE r = 0 OR pg_has_role(r, 'USAGE'))
      )
    UNION ALL
    -- Such a function fails, and with it the application's insert.
    SELECT format('function %s', f.proname),
        format('runs as %s, who may not insert into %s', pg_get_userbyid(f.proowner), f.target),
        format('GRANT USAGE ON SCHEMA usagectl TO %I; GRANT INSERT ON %s TO %I;',
            pg_get_userbyid(f.proowner), f.target, pg_get_userbyid(f.proowner))
    FROM functions f
    WHERE to_regclass(f.target) IS NOT NULL
      AND NOT (has_schema_privilege(f.proowner, 'usagectl', 'USAGE')
               AND has_table_privilege(f.proowner, f.target, 'INSERT'))
    UNION ALL
    SELECT 'table ' || t.relname,
        format('is owned by %s, the migration ledger by %s', pg_get_userbyid(t.relowner), pg_get_userbyid(ledger.relowner)),
        format('ALTER TABLE %s OWNER TO %I;', t.name, pg_get_userbyid(ledger.relowner))
    FROM tables t
    JOIN tables ledger ON ledger.nspname = 'usagectl' AND ledger.relname = '__diesel_schema_migrations'
    WHERE t.nspname = 'usagectl' AND t.relowner <> ledger.relowner
    UNION ALL
    -- The sessions of others cannot be seen, but what they begin with.
    SELECT lower(split_part(s.object, ' ', 1)) || substr(s.object, strpos(s.object, ' ')),
        'begins sessions with session_replication_role = replica: their rows fire no trigger and are not counted',
        format('ALTER %s RESET session_replication_role; -- then usagectl aggregate --rebuild', s.object)
    FROM (
        SELECT CASE WHEN setrole = 0 AND setdatabase = 0 THEN 'ROLE ALL'
                    WHEN setrole = 0 THEN format('DATABASE %I', current_database())
                    WHEN setdatabase = 0 THEN format('ROLE %I', pg_get_userbyid(setrole))
                    ELSE format('ROLE %I IN DATABASE %I', pg_get_userbyid(setrole), current_database()) END AS object
        FROM pg_db_role_setting
        WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
          AND EXISTS (SELECT FROM unnest(setconfig) AS s WHERE lower(s) = 'session_replication_role=replica')
    ) AS s
    UNION ALL
    -- Of postgresql.conf or ALTER SYSTEM, or the command line of the server or of this connection.
    SELECT CASE source WHEN 'client' THEN 'option session_replication_role' ELSE 'server' END,
        'begins sessions with session_replication_role = replica: their rows fire no trigger and are not counted',
        CASE WHEN source <> 'client' THEN format(
            'ALTER DATABASE %I SET session_replication_role = origin; -- then usagectl aggregate --rebuild', current_database()) END
    FROM pg_settings
    WHERE name = 'session_replication_role' AND setting = 'replica'
      AND source NOT IN ('database', 'user', 'database user')
)
SELECT object, problem, fix FROM defects ORDER BY object COLLATE "C", problem COLLATE "C"
