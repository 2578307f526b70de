-- Each index on api_usage is built beside the running application. An index that replaces another one is built
-- under a name of its own, so that queries always have one of the two.

-- step: tables and columns
-- Hourly, daily and monthly roll-ups.
CREATE TABLE "api_usage_aggregates" (
    "id" TEXT NOT NULL,
    "api_name" TEXT NOT NULL,
    "endpoint" TEXT,
    "aggregation_type" TEXT NOT NULL,
    "period_start" TIMESTAMP(3) NOT NULL,
    "period_end" TIMESTAMP(3) NOT NULL,
    "total_requests" INTEGER NOT NULL,
    "success_count" INTEGER NOT NULL,
    "error_count" INTEGER NOT NULL,
    "cached_count" INTEGER NOT NULL,
    "avg_response_time" DOUBLE PRECISION,
    "max_response_time" INTEGER,
    "min_response_time" INTEGER,
    "rate_limit_errors" INTEGER NOT NULL DEFAULT 0,
    "timeout_errors" INTEGER NOT NULL DEFAULT 0,
    "server_errors" INTEGER NOT NULL DEFAULT 0,
    "total_cost" DOUBLE PRECISION,
    "created_at" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_at" TIMESTAMP(3) NOT NULL,

    CONSTRAINT "api_usage_aggregates_pkey" PRIMARY KEY ("id")
);

-- 63 bytes, the longest name PostgreSQL keeps; it is the one Prisma derives.
CREATE UNIQUE INDEX "api_usage_aggregates_api_name_aggregation_type_period_start_key"
    ON "api_usage_aggregates" ("api_name", "aggregation_type", "period_start");
CREATE INDEX "api_usage_aggregates_period_start_aggregation_type_idx"
    ON "api_usage_aggregates" ("period_start", "aggregation_type");

-- Alert rules: one for each API, type and period.
CREATE TABLE "api_alerts" (
    "id" TEXT NOT NULL,
    "api_name" TEXT NOT NULL,
    "alert_type" TEXT NOT NULL,
    "threshold" DOUBLE PRECISION NOT NULL,
    "period" TEXT NOT NULL,
    "enabled" BOOLEAN NOT NULL DEFAULT true,
    "last_triggered" TIMESTAMP(3),
    "created_at" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_at" TIMESTAMP(3) NOT NULL,

    CONSTRAINT "api_alerts_pkey" PRIMARY KEY ("id")
);

CREATE UNIQUE INDEX "api_alerts_api_name_alert_type_period_key"
    ON "api_alerts" ("api_name", "alert_type", "period");
CREATE INDEX "api_alerts_api_name_enabled_idx" ON "api_alerts" ("api_name", "enabled");

-- Last, since it locks api_usage until the step is committed.
-- Performance, error, cost and caching details of every call.
-- Constant defaults only: PostgreSQL adds these columns without rewriting the table.
ALTER TABLE "api_usage"
    ADD COLUMN "method" TEXT DEFAULT 'GET',
    ADD COLUMN "response_time" INTEGER,
    ADD COLUMN "request_size" INTEGER,
    ADD COLUMN "response_size" INTEGER,
    ADD COLUMN "error_type" TEXT,
    ADD COLUMN "error_message" TEXT,
    ADD COLUMN "cost_credits" DOUBLE PRECISION,
    ADD COLUMN "cached" BOOLEAN NOT NULL DEFAULT false,
    ADD COLUMN "user_id" TEXT;

-- step: index (api_name, success, timestamp)
CREATE INDEX CONCURRENTLY "api_usage_api_name_success_timestamp_idx" ON "api_usage" ("api_name", "success", "timestamp");

-- step: index (success, timestamp)
CREATE INDEX CONCURRENTLY "api_usage_success_timestamp_idx" ON "api_usage" ("success", "timestamp");

-- step: index (api_name, endpoint, timestamp)
CREATE INDEX CONCURRENTLY "api_usage_api_name_endpoint_timestamp_idx" ON "api_usage" ("api_name", "endpoint", "timestamp");

-- step: index (api_name, timestamp desc)
CREATE INDEX CONCURRENTLY "usagectl_new_api_name_timestamp_idx" ON "api_usage" ("api_name", "timestamp" DESC);

-- step: drop index (api_name, timestamp)
-- index: api_usage (api_name, timestamp)
DROP INDEX CONCURRENTLY "api_usage_api_name_timestamp_idx";

-- step: index (timestamp desc)
CREATE INDEX CONCURRENTLY "usagectl_new_timestamp_idx" ON "api_usage" ("timestamp" DESC);

-- step: drop index (timestamp)
-- index: api_usage (timestamp)
DROP INDEX CONCURRENTLY "api_usage_timestamp_idx";

-- step: names of the new indexes
ALTER INDEX "usagectl_new_api_name_timestamp_idx" RENAME TO "api_usage_api_name_timestamp_idx";
ALTER INDEX "usagectl_new_timestamp_idx" RENAME TO "api_usage_timestamp_idx";
