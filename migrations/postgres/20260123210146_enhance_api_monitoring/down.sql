-- The documented rollback: drop the two tables, then the nine columns.
DROP TABLE "api_alerts";
DROP TABLE "api_usage_aggregates";

-- What the document leaves out. Dropping a column would silently drop every index that contains it,
-- and the rest would make a second migrate fail: so the indexes go by name, and the two that
-- were replaced come back as they were.
DROP INDEX "api_usage_api_name_endpoint_timestamp_idx";
DROP INDEX "api_usage_success_timestamp_idx";
DROP INDEX "api_usage_api_name_success_timestamp_idx";
DROP INDEX "api_usage_timestamp_idx";
DROP INDEX "api_usage_api_name_timestamp_idx";
CREATE INDEX "api_usage_api_name_timestamp_idx" ON "api_usage" ("api_name", "timestamp");
CREATE INDEX "api_usage_timestamp_idx" ON "api_usage" ("timestamp");

ALTER TABLE "api_usage"
    DROP COLUMN "method",
    DROP COLUMN "response_time",
    DROP COLUMN "request_size",
    DROP COLUMN "response_size",
    DROP COLUMN "error_type",
    DROP COLUMN "error_message",
    DROP COLUMN "cost_credits",
    DROP COLUMN "cached",
    DROP COLUMN "user_id";
