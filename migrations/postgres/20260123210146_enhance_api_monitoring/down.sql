-- The documented rollback drops two tables and nine columns. It omits the indexes: dropping a column would silently
-- drop every index that contains it, and the others would make a second migrate fail. Data is dropped in the last
-- step, which is brief.

-- step: index (api_name, timestamp)
CREATE INDEX CONCURRENTLY "usagectl_new_api_name_timestamp_idx" ON "api_usage" ("api_name", "timestamp");

-- step: drop index (api_name, timestamp desc)
-- index: api_usage (api_name, timestamp desc)
DROP INDEX CONCURRENTLY "api_usage_api_name_timestamp_idx";

-- step: index (timestamp)
CREATE INDEX CONCURRENTLY "usagectl_new_timestamp_idx" ON "api_usage" ("timestamp");

-- step: drop index (timestamp desc)
-- index: api_usage (timestamp desc)
DROP INDEX CONCURRENTLY "api_usage_timestamp_idx";

-- step: drop index (api_name, endpoint, timestamp)
-- index: api_usage (api_name, endpoint, timestamp)
DROP INDEX CONCURRENTLY "api_usage_api_name_endpoint_timestamp_idx";

-- step: drop index (success, timestamp)
-- index: api_usage (success, timestamp)
DROP INDEX CONCURRENTLY "api_usage_success_timestamp_idx";

-- step: drop index (api_name, success, timestamp)
-- index: api_usage (api_name, success, timestamp)
DROP INDEX CONCURRENTLY "api_usage_api_name_success_timestamp_idx";

-- step: drop tables and columns
ALTER INDEX "usagectl_new_api_name_timestamp_idx" RENAME TO "api_usage_api_name_timestamp_idx";
ALTER INDEX "usagectl_new_timestamp_idx" RENAME TO "api_usage_timestamp_idx";
DROP TABLE "api_alerts";
DROP TABLE "api_usage_aggregates";
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
