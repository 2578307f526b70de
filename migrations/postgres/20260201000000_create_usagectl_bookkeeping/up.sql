-- What `aggregate` needs to know. All of it lives in the schema usagectl, which the migration runner
-- made for its ledger: Prisma compares its own schema with its model and would report our tables as drift.

-- Hours of api_usage in which a row appeared, changed or went. Written by the triggers below, in the
-- transaction that writes the row, so a mark and its row become visible together. Append-only and
-- without any unique key on purpose: with one, two applications that insert for the same hour would
-- wait for each other.
CREATE TABLE usagectl.usagectl_dirty_hours (
    "api_name" TEXT NOT NULL,
    "hour" TIMESTAMP(3) NOT NULL
);

-- The work list of `aggregate`: dirty hours, each once, and the days and months that follow from them.
CREATE TABLE usagectl.usagectl_stale_periods (
    "aggregation_type" TEXT NOT NULL CHECK ("aggregation_type" IN ('HOURLY', 'DAILY', 'MONTHLY')),
    "period_start" TIMESTAMP(3) NOT NULL,
    "api_name" TEXT NOT NULL,

    CONSTRAINT usagectl_stale_periods_pkey PRIMARY KEY ("aggregation_type", "period_start", "api_name")
);

-- The complete state of every roll-up, mergeable without loss: hours merge into days, days into
-- months. api_usage_aggregates is what the application sees of it.
CREATE TABLE usagectl.usagectl_rollups (
    "aggregation_type" TEXT NOT NULL CHECK ("aggregation_type" IN ('HOURLY', 'DAILY', 'MONTHLY')),
    -- API: all endpoints together, endpoint is ''. ENDPOINT: one endpoint, '' for calls without one.
    "scope" TEXT NOT NULL CHECK ("scope" IN ('API', 'ENDPOINT')),
    "api_name" TEXT NOT NULL,
    "period_start" TIMESTAMP(3) NOT NULL,
    "endpoint" TEXT NOT NULL,
    "total_requests" BIGINT NOT NULL,
    "success_count" BIGINT NOT NULL,
    "error_count" BIGINT NOT NULL,
    "cached_count" BIGINT NOT NULL,
    "rate_limit_errors" BIGINT NOT NULL,
    "timeout_errors" BIGINT NOT NULL,
    "server_errors" BIGINT NOT NULL,
    "client_errors" BIGINT NOT NULL,
    "network_errors" BIGINT NOT NULL,
    "other_errors" BIGINT NOT NULL,
    -- Milliseconds. The histogram is usagectl's own format, see src/domain/histogram.rs.
    "response_time_count" BIGINT NOT NULL,
    "response_time_sum" BIGINT NOT NULL,
    "min_response_time" INTEGER,
    "max_response_time" INTEGER,
    "response_time_histogram" BYTEA NOT NULL,
    -- A decimal number as text, so that sums of sums are exact on both engines.
    "total_cost" TEXT NOT NULL,

    CONSTRAINT usagectl_rollups_pkey
        PRIMARY KEY ("aggregation_type", "scope", "api_name", "period_start", "endpoint")
);

-- The marks. One trigger for each kind of statement, each fired once a statement with all its rows.
-- SECURITY DEFINER: the application may connect as a role that has no right on our schema, and its
-- writes must never fail through us. The fixed search path keeps such a function safe.
CREATE FUNCTION usagectl.usagectl_mark_new_rows() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO usagectl.usagectl_dirty_hours ("api_name", "hour")
    SELECT DISTINCT "api_name", date_trunc('hour', "timestamp") FROM new_rows;
    RETURN NULL;
END $$;

CREATE FUNCTION usagectl.usagectl_mark_old_rows() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO usagectl.usagectl_dirty_hours ("api_name", "hour")
    SELECT DISTINCT "api_name", date_trunc('hour', "timestamp") FROM old_rows;
    RETURN NULL;
END $$;

CREATE FUNCTION usagectl.usagectl_mark_changed_rows() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO usagectl.usagectl_dirty_hours ("api_name", "hour")
    SELECT "api_name", date_trunc('hour', "timestamp") FROM old_rows
    UNION
    SELECT "api_name", date_trunc('hour', "timestamp") FROM new_rows;
    RETURN NULL;
END $$;

-- TRUNCATE has no rows to show: every hour that was ever rolled up is dirty.
CREATE FUNCTION usagectl.usagectl_mark_all_rows() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO usagectl.usagectl_dirty_hours ("api_name", "hour")
    SELECT "api_name", "period_start" FROM usagectl.usagectl_rollups
    WHERE "aggregation_type" = 'HOURLY' AND "scope" = 'API';
    RETURN NULL;
END $$;

CREATE TRIGGER usagectl_after_insert AFTER INSERT ON "api_usage"
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION usagectl.usagectl_mark_new_rows();
CREATE TRIGGER usagectl_after_update AFTER UPDATE ON "api_usage"
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION usagectl.usagectl_mark_changed_rows();
CREATE TRIGGER usagectl_after_delete AFTER DELETE ON "api_usage"
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION usagectl.usagectl_mark_old_rows();
CREATE TRIGGER usagectl_after_truncate AFTER TRUNCATE ON "api_usage"
    FOR EACH STATEMENT EXECUTE FUNCTION usagectl.usagectl_mark_all_rows();
