-- The size of the database, and its client connections against the maximum. Without pg_read_all_stats the
-- backend type of other roles' connections is hidden; the number of backends of each database is not.
SELECT pg_database_size(current_database()) AS size_bytes,
       activity.clients, activity.hidden,
       (SELECT coalesce(sum(numbackends), 0)::bigint FROM pg_stat_database) - 1 AS backends,
       current_setting('max_connections')::int
         - current_setting('superuser_reserved_connections')::int
         - coalesce(current_setting('reserved_connections', true), '0')::int AS maximum
FROM (SELECT count(*) FILTER (WHERE backend_type = 'client backend') AS clients,
             count(*) FILTER (WHERE backend_type IS NULL) AS hidden
      FROM pg_stat_activity WHERE pid <> pg_backend_pid()) AS activity
