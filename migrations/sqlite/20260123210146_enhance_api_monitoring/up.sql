-- Each index is a transaction of its own, so that writers get their turn in between.

-- step: tables and columns
-- Hourly, daily and monthly roll-ups.
CREATE TABLE "api_usage_aggregates" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "api_name" TEXT NOT NULL,
    "endpoint" TEXT,
    "aggregation_type" TEXT NOT NULL,
    "period_start" DATETIME NOT NULL,
    "period_end" DATETIME NOT NULL,
    "total_requests" INTEGER NOT NULL,
    "success_count" INTEGER NOT NULL,
    "error_count" INTEGER NOT NULL,
    "cached_count" INTEGER NOT NULL,
    "avg_response_time" REAL,
    "max_response_time" INTEGER,
    "min_response_time" INTEGER,
    "rate_limit_errors" INTEGER NOT NULL DEFAULT 0,
    "timeout_errors" INTEGER NOT NULL DEFAULT 0,
    "server_errors" INTEGER NOT NULL DEFAULT 0,
    "total_cost" REAL,
    "created_at" DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_at" DATETIME NOT NULL
);

CREATE UNIQUE INDEX "api_usage_aggregates_api_name_aggregation_type_period_start_key"
    ON "api_usage_aggregates" ("api_name", "aggregation_type", "period_start");
CREATE INDEX "api_usage_aggregates_period_start_aggregation_type_idx"
    ON "api_usage_aggregates" ("period_start", "aggregation_type");

-- Alert rules: one for each API, type and period.
CREATE TABLE "api_alerts" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "api_name" TEXT NOT NULL,
    "alert_type" TEXT NOT NULL,
    "threshold" REAL NOT NULL,
    "period" TEXT NOT NULL,
    "enabled" BOOLEAN NOT NULL DEFAULT true,
    "last_triggered" DATETIME,
    "created_at" DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_at" DATETIME NOT NULL
);

CREATE UNIQUE INDEX "api_alerts_api_name_alert_type_period_key"
    ON "api_alerts" ("api_name", "alert_type", "period");
CREATE INDEX "api_alerts_api_name_enabled_idx" ON "api_alerts" ("api_name", "enabled");

-- Performance, error, cost and caching details of every call.
ALTER TABLE "api_usage" ADD COLUMN "method" TEXT DEFAULT 'GET';
ALTER TABLE "api_usage" ADD COLUMN "response_time" INTEGER;
ALTER TABLE "api_usage" ADD COLUMN "request_size" INTEGER;
ALTER TABLE "api_usage" ADD COLUMN "response_size" INTEGER;
ALTER TABLE "api_usage" ADD COLUMN "error_type" TEXT;
ALTER TABLE "api_usage" ADD COLUMN "error_message" TEXT;
ALTER TABLE "api_usage" ADD COLUMN "cost_credits" REAL;
ALTER TABLE "api_usage" ADD COLUMN "cached" BOOLEAN NOT NULL DEFAULT false;
ALTER TABLE "api_usage" ADD COLUMN "user_id" TEXT;

-- step: index (api_name, success, timestamp)
CREATE INDEX "api_usage_api_name_success_timestamp_idx" ON "api_usage" ("api_name", "success", "timestamp");

-- step: index (success, timestamp)
CREATE INDEX "api_usage_success_timestamp_idx" ON "api_usage" ("success", "timestamp");

-- step: index (api_name, endpoint, timestamp)
CREATE INDEX "api_usage_api_name_endpoint_timestamp_idx" ON "api_usage" ("api_name", "endpoint", "timestamp");

-- step: index (api_name, timestamp desc) instead of (api_name, timestamp)
-- index: api_usage (api_name, timestamp)
DROP INDEX "api_usage_api_name_timestamp_idx";
CREATE INDEX "api_usage_api_name_timestamp_idx" ON "api_usage" ("api_name", "timestamp" DESC);

-- step: index (timestamp desc) instead of (timestamp)
-- index: api_usage (timestamp)
DROP INDEX "api_usage_timestamp_idx";
CREATE INDEX "api_usage_timestamp_idx" ON "api_usage" ("timestamp" DESC);
