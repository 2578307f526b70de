-- step: tables
-- The tables of `aggregate`. SQLite has no schemas, so our tables share a prefix.

-- Dirty hours: hours of api_usage in which a row was inserted, updated or deleted since the last run of
-- `aggregate`. The triggers write them in the transaction that writes the row, so a row and its dirty hour
-- become visible together.
CREATE TABLE "usagectl_dirty_hours" (
    "api_name" TEXT NOT NULL,
    "hour" DATETIME NOT NULL,
    -- Whether `alerts check` listed the hour in usagectl_late_hours since its last change.
    "seen" BOOLEAN NOT NULL DEFAULT 0,
    -- The time of the newest row that was deleted, not only changed; null if none was. `aggregate` does not follow a
    -- deletion of the oldest rows.
    "deleted_to" DATETIME,

    PRIMARY KEY ("hour", "api_name")
) WITHOUT ROWID;

-- Rows of api_usage whose timestamp is not in the canonical form, which sorts and compares as text: Prisma's
-- integer milliseconds, SQLite's own 'YYYY-MM-DD HH:MM:SS', an offset other than UTC. A search by range misses
-- them, so they are listed here. "hour" is the UTC hour of the timestamp, null where it is unreadable.
--
-- SQLite's date functions also read 'now' and turn a 30th of February into the 2nd of March (unless a
-- modifier is given), so a text must begin with a date that exists.
CREATE TABLE "usagectl_odd_timestamps" (
    "usage_id" TEXT NOT NULL PRIMARY KEY,
    "timestamp" DATETIME NOT NULL,
    "hour" DATETIME AS (
        CASE typeof("timestamp")
            WHEN 'text' THEN CASE
                WHEN "timestamp" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'
                    AND "timestamp" >= '0001-'
                    AND date(substr("timestamp", 1, 10), '+0 days') = substr("timestamp", 1, 10)
                THEN strftime('%Y-%m-%dT%H:00:00.000+00:00', "timestamp") END
            WHEN 'blob' THEN NULL
            ELSE strftime('%Y-%m-%dT%H:00:00.000+00:00', "timestamp" / 1000.0, 'unixepoch')
        END
    ) STORED
) WITHOUT ROWID;
CREATE INDEX "usagectl_odd_timestamps_hour_idx" ON "usagectl_odd_timestamps" ("hour");

-- The rows of an hour as `aggregate --mode lookback` found them: their number, and the sum of a hash of each. An hour
-- that differs from them is dirty.
CREATE TABLE "usagectl_fingerprints" (
    "api_name" TEXT NOT NULL,
    "hour" DATETIME NOT NULL,
    "row_count" BIGINT NOT NULL,
    "hash_sum" BIGINT NOT NULL,

    PRIMARY KEY ("hour", "api_name")
) WITHOUT ROWID;

-- The work list of `aggregate`: dirty hours, each once, and the days and months that follow from them.
CREATE TABLE "usagectl_stale_periods" (
    "aggregation_type" TEXT NOT NULL CHECK ("aggregation_type" IN ('HOURLY', 'DAILY', 'MONTHLY')),
    "period_start" DATETIME NOT NULL,
    "api_name" TEXT NOT NULL,
    -- As in usagectl_dirty_hours.
    "deleted_to" DATETIME,

    PRIMARY KEY ("aggregation_type", "period_start", "api_name")
) WITHOUT ROWID;

-- The complete state of every roll-up, mergeable without loss: hours merge into days, days into
-- months. The application reads api_usage_aggregates, which is derived from it.
CREATE TABLE "usagectl_rollups" (
    -- SEALED: calls whose rows were pruned. UNDECIDED: calls whose rows another program deleted, until
    -- `aggregate --seal` or `--rebuild` decides. Both are in quarters of an hour. PIECE: the parts of an hour in which
    -- a local day begins.
    "aggregation_type" TEXT NOT NULL CHECK (
        "aggregation_type" IN ('HOURLY', 'DAILY', 'MONTHLY', 'PIECE', 'SEALED', 'UNDECIDED')
    ),
    -- API: all endpoints together, endpoint is ''. ENDPOINT: one endpoint, '' for calls without one.
    "scope" TEXT NOT NULL CHECK ("scope" IN ('API', 'ENDPOINT')),
    "api_name" TEXT NOT NULL,
    "period_start" DATETIME NOT NULL,
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
    "response_time_histogram" BLOB NOT NULL,
    -- Null if no call has a size.
    "request_bytes" BIGINT,
    "response_bytes" BIGINT,
    -- A decimal number as text, so that sums of sums are exact on both engines.
    "total_cost" TEXT NOT NULL,
    -- The part of it that calls answered from a cache cost, which no limit of the provider counts.
    "cached_cost" TEXT NOT NULL,

    PRIMARY KEY ("aggregation_type", "scope", "api_name", "period_start", "endpoint")
);

-- Choices that `aggregate` makes once for a database, such as the time zone of days and months. A setting that is missing has its default.
CREATE TABLE "usagectl_settings" (
    "name" TEXT NOT NULL PRIMARY KEY,
    "value" TEXT NOT NULL
) WITHOUT ROWID;

-- step: triggers on api_usage
-- The triggers on api_usage follow: migrations/sqlite/usage_triggers.sql.
