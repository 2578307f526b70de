-- The rights granted on tables and columns of the schemas in the search path, without those that the owner has and
-- that default privileges give again.
SELECT 'grant' AS kind, c.relname || coalesce('.' || a.attname, '') AS object,
    r.rights || ' on ' || c.oid::regclass || ' to ' || r.role AS name,
    'GRANT ' || r.rights || ' ON ' || c.oid::regclass || ' TO ' || r.role AS sql
FROM pg_class c
LEFT JOIN LATERAL (
    SELECT NULL AS attname, c.relacl AS acl
    UNION ALL
    SELECT attname, attacl FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
) a ON true
CROSS JOIN LATERAL (
    SELECT string_agg(DISTINCT p.privilege_type || coalesce(' (' || quote_ident(a.attname) || ')', ''), ', ') AS rights,
        CASE p.grantee WHEN 0 THEN 'PUBLIC' ELSE p.grantee::regrole::text END
            || CASE WHEN p.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END AS role
    FROM aclexplode(a.acl) p
    WHERE p.grantee <> c.relowner
      AND NOT EXISTS (
          SELECT 1 FROM pg_default_acl f CROSS JOIN LATERAL aclexplode(f.defaclacl) q
          WHERE a.attname IS NULL AND f.defaclobjtype = 'r' AND f.defaclrole = c.relowner
            AND f.defaclnamespace IN (0, c.relnamespace)
            AND (q.grantee, q.privilege_type, q.is_grantable) = (p.grantee, p.privilege_type, p.is_grantable)
      )
    GROUP BY p.grantee, p.is_grantable
) r
WHERE c.relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname = ANY (current_schemas(false)))
  AND c.relkind IN ('r', 'p')
