-- What `aggregate` needs to know. SQLite has no schemas, so our tables are told by their prefix.

-- Hours of api_usage in which a row appeared, changed or went. Written by the triggers below, in the
-- transaction that writes the row, so a mark and its row become visible together.
CREATE TABLE "usagectl_dirty_hours" (
    "api_name" TEXT NOT NULL,
    "hour" DATETIME NOT NULL,

    PRIMARY KEY ("hour", "api_name")
) WITHOUT ROWID;

-- Rows whose timestamp is not spelled in the one form that sorts and compares as text: Prisma's
-- integer milliseconds, SQLite's own 'YYYY-MM-DD HH:MM:SS', a foreign offset. A search by range
-- misses them, so they are listed here with the UTC hour they belong to; the hour is null when
-- nobody can read the timestamp at all.
CREATE TABLE "usagectl_odd_timestamps" (
    "usage_id" TEXT NOT NULL PRIMARY KEY,
    "hour" DATETIME
) WITHOUT ROWID;
CREATE INDEX "usagectl_odd_timestamps_hour_idx" ON "usagectl_odd_timestamps" ("hour");

-- The work list of `aggregate`: dirty hours, each once, and the days and months that follow from them.
CREATE TABLE "usagectl_stale_periods" (
    "aggregation_type" TEXT NOT NULL CHECK ("aggregation_type" IN ('HOURLY', 'DAILY', 'MONTHLY')),
    "period_start" DATETIME NOT NULL,
    "api_name" TEXT NOT NULL,

    PRIMARY KEY ("aggregation_type", "period_start", "api_name")
) WITHOUT ROWID;

-- The complete state of every roll-up, mergeable without loss: hours merge into days, days into
-- months. api_usage_aggregates is what the application sees of it.
CREATE TABLE "usagectl_rollups" (
    "aggregation_type" TEXT NOT NULL CHECK ("aggregation_type" IN ('HOURLY', 'DAILY', 'MONTHLY')),
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
    -- Milliseconds. The histogram is usagectl's own format, see src/domain/histogram.rs.
    "response_time_count" BIGINT NOT NULL,
    "response_time_sum" BIGINT NOT NULL,
    "min_response_time" INTEGER,
    "max_response_time" INTEGER,
    "response_time_histogram" BLOB NOT NULL,
    -- A decimal number as text, so that sums of sums are exact on both engines.
    "total_cost" TEXT NOT NULL,

    PRIMARY KEY ("aggregation_type", "scope", "api_name", "period_start", "endpoint")
);

-- The marks. The common spelling is cut as text, which is cheap; anything else SQLite's own date
-- functions read, if it begins with a date that exists (they take 'now' too, and make a 30th of February the
-- 2nd of March, unless nothing is added): integers are milliseconds since 1970, offsets are brought to UTC. ON CONFLICT and not
-- OR IGNORE: the application's own INSERT OR ABORT would override the latter and fail on our mark.
CREATE TRIGGER "usagectl_after_insert" AFTER INSERT ON "api_usage"
WHEN NEW."timestamp" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]+00:00'
BEGIN
    INSERT INTO "usagectl_dirty_hours" ("api_name", "hour")
    VALUES (NEW."api_name", substr(NEW."timestamp", 1, 13) || ':00:00.000+00:00')
    ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER "usagectl_after_insert_odd" AFTER INSERT ON "api_usage"
WHEN NEW."timestamp" NOT GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]+00:00'
BEGIN
    INSERT INTO "usagectl_odd_timestamps" ("usage_id", "hour")
    VALUES (NEW."id", CASE typeof(NEW."timestamp")
        WHEN 'text' THEN CASE
            WHEN NEW."timestamp" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'
                AND NEW."timestamp" >= '0001-' AND date(substr(NEW."timestamp", 1, 10), '+0 days') = substr(NEW."timestamp", 1, 10)
            THEN strftime('%Y-%m-%dT%H:00:00.000+00:00', NEW."timestamp") END
        WHEN 'blob' THEN NULL
        ELSE strftime('%Y-%m-%dT%H:00:00.000+00:00', NEW."timestamp" / 1000.0, 'unixepoch') END)
    ON CONFLICT DO UPDATE SET "hour" = excluded."hour";
    INSERT INTO "usagectl_dirty_hours" ("api_name", "hour")
    SELECT NEW."api_name", "hour" FROM "usagectl_odd_timestamps"
    WHERE "usage_id" = NEW."id" AND "hour" IS NOT NULL
    ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER "usagectl_after_delete" AFTER DELETE ON "api_usage"
BEGIN
    INSERT INTO "usagectl_dirty_hours" ("api_name", "hour")
    SELECT OLD."api_name", substr(OLD."timestamp", 1, 13) || ':00:00.000+00:00'
    WHERE OLD."timestamp" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]+00:00'
    ON CONFLICT DO NOTHING;
    INSERT INTO "usagectl_dirty_hours" ("api_name", "hour")
    SELECT OLD."api_name", "hour" FROM "usagectl_odd_timestamps"
    WHERE "usage_id" = OLD."id" AND "hour" IS NOT NULL
    ON CONFLICT DO NOTHING;
    DELETE FROM "usagectl_odd_timestamps" WHERE "usage_id" = OLD."id";
END;

-- An update is the old row going and the new row coming.
CREATE TRIGGER "usagectl_after_update" AFTER UPDATE ON "api_usage"
BEGIN
    INSERT INTO "usagectl_dirty_hours" ("api_name", "hour")
    SELECT OLD."api_name", substr(OLD."timestamp", 1, 13) || ':00:00.000+00:00'
    WHERE OLD."timestamp" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]+00:00'
    ON CONFLICT DO NOTHING;
    INSERT INTO "usagectl_dirty_hours" ("api_name", "hour")
    SELECT OLD."api_name", "hour" FROM "usagectl_odd_timestamps"
    WHERE "usage_id" = OLD."id" AND "hour" IS NOT NULL
    ON CONFLICT DO NOTHING;
    DELETE FROM "usagectl_odd_timestamps" WHERE "usage_id" = OLD."id";

    INSERT INTO "usagectl_odd_timestamps" ("usage_id", "hour")
    SELECT NEW."id", CASE typeof(NEW."timestamp")
        WHEN 'text' THEN CASE
            WHEN NEW."timestamp" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'
                AND NEW."timestamp" >= '0001-' AND date(substr(NEW."timestamp", 1, 10), '+0 days') = substr(NEW."timestamp", 1, 10)
            THEN strftime('%Y-%m-%dT%H:00:00.000+00:00', NEW."timestamp") END
        WHEN 'blob' THEN NULL
        ELSE strftime('%Y-%m-%dT%H:00:00.000+00:00', NEW."timestamp" / 1000.0, 'unixepoch') END
    WHERE NEW."timestamp" NOT GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]+00:00'
    ON CONFLICT DO UPDATE SET "hour" = excluded."hour";
    INSERT INTO "usagectl_dirty_hours" ("api_name", "hour")
    SELECT NEW."api_name", "hour" FROM "usagectl_odd_timestamps"
    WHERE "usage_id" = NEW."id" AND "hour" IS NOT NULL
    ON CONFLICT DO NOTHING;
    INSERT INTO "usagectl_dirty_hours" ("api_name", "hour")
    SELECT NEW."api_name", substr(NEW."timestamp", 1, 13) || ':00:00.000+00:00'
    WHERE NEW."timestamp" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]+00:00'
    ON CONFLICT DO NOTHING;
END;
