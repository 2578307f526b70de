-- step: tables
-- The tables of `aggregate`. They are in the schema usagectl, which the migration runner created for its
-- ledger: Prisma compares its own schema with its model and would report our tables as drift.

-- Dirty hours: hours of api_usage in which a row was inserted, updated or deleted since the last run of
-- `aggregate`. The triggers write them in the transaction that writes the row, so a row and its dirty hour
-- become visible together. Append-only and without a unique key: with one, two applications that insert
-- into the same hour would wait for each other.
CREATE TABLE usagectl.usagectl_dirty_hours (
    "api_name" TEXT NOT NULL,
    "hour" TIMESTAMP(3) NOT NULL,
    -- Whether `alerts check` listed the hour in usagectl_late_hours.
    "seen" BOOLEAN NOT NULL DEFAULT false,
    -- The time of the newest row that was deleted, not only changed; null if none was. `aggregate` does not follow a
    -- deletion of the oldest rows.
    "deleted_to" TIMESTAMP(3)
);
-- A publication for all tables refuses to delete from a table with neither key nor this.
ALTER TABLE usagectl.usagectl_dirty_hours REPLICA IDENTITY FULL;

-- The rows of an hour as `aggregate --mode lookback` found them: their number, and the sum of a hash of each. An hour
-- that differs from them is dirty.
CREATE TABLE usagectl.usagectl_fingerprints (
    "api_name" TEXT NOT NULL,
    "hour" TIMESTAMP(3) NOT NULL,
    "row_count" BIGINT NOT NULL,
    "hash_sum" BIGINT NOT NULL,

    CONSTRAINT usagectl_fingerprints_pkey PRIMARY KEY ("hour", "api_name")
);

-- The work list of `aggregate`: dirty hours, each once, and the days and months that follow from them.
CREATE TABLE usagectl.usagectl_stale_periods (
    "aggregation_type" TEXT NOT NULL CHECK ("aggregation_type" IN ('HOURLY', 'DAILY', 'MONTHLY')),
    "period_start" TIMESTAMP(3) NOT NULL,
    "api_name" TEXT NOT NULL,
    -- As in usagectl_dirty_hours.
    "deleted_to" TIMESTAMP(3),

    CONSTRAINT usagectl_stale_periods_pkey PRIMARY KEY ("aggregation_type", "period_start", "api_name")
);

-- The complete state of every roll-up, mergeable without loss: hours merge into days, days into
-- months. The application reads api_usage_aggregates, which is derived from it.
CREATE TABLE usagectl.usagectl_rollups (
    -- SEALED: calls whose rows were pruned. UNDECIDED: calls whose rows another program deleted, until
    -- `aggregate --seal` or `--rebuild` decides. Both are in quarters of an hour. PIECE: the parts of an hour in which
    -- a local day begins.
    "aggregation_type" TEXT NOT NULL CHECK (
        "aggregation_type" IN ('HOURLY', 'DAILY', 'MONTHLY', 'PIECE', 'SEALED', 'UNDECIDED')
    ),
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
    -- Milliseconds. The histogram is usagectl's own format, see src/domain/usage/histogram.rs.
    "response_time_count" BIGINT NOT NULL,
    "response_time_sum" BIGINT NOT NULL,
    "min_response_time" INTEGER,
    "max_response_time" INTEGER,
    "response_time_histogram" BYTEA NOT NULL,
    -- Null if no call has a size.
    "request_bytes" BIGINT,
    "response_bytes" BIGINT,
    -- A decimal number as text, so that sums of sums are exact on both engines.
    "total_cost" TEXT NOT NULL,
    -- The part of it that calls answered from a cache cost, which no limit of the provider counts.
    "cached_cost" TEXT NOT NULL,

    CONSTRAINT usagectl_rollups_pkey
        PRIMARY KEY ("aggregation_type", "scope", "api_name", "period_start", "endpoint")
);

-- The run locks, one row for each kind of run that is active. A row expires if its run does not renew it; see
-- src/store/run_locks.rs.
CREATE TABLE usagectl.usagectl_run_locks (
    "kind" TEXT NOT NULL,
    "token" TEXT NOT NULL,
    "application" TEXT NOT NULL,
    "host" TEXT NOT NULL,
    "pid" INTEGER NOT NULL,
    -- The boot and the namespace in which the process id is valid, and the start of the process in it.
    "process_space" TEXT,
    "process_started" TEXT,
    "since" TIMESTAMP(3) NOT NULL,
    -- By the server's clock.
    "expires_at" TIMESTAMP(3) NOT NULL,

    CONSTRAINT usagectl_run_locks_pkey PRIMARY KEY ("kind")
);

-- Choices that `aggregate` makes once for a database, such as the time zone of days and months. A setting that is missing has its default.
CREATE TABLE usagectl.usagectl_settings (
    "name" TEXT NOT NULL,
    "value" TEXT NOT NULL,

    CONSTRAINT usagectl_settings_pkey PRIMARY KEY ("name")
);

-- step: triggers on api_usage
-- The triggers on api_usage follow: migrations/postgres/usage_triggers.sql.
