-- The documented rollback: drop the two tables, then the nine columns.
DROP TABLE "api_alerts";
DROP TABLE "api_usage_aggregates";

-- What the document leaves out: the new indexes go, the two that were replaced come back as they
-- were. SQLite also wants it so: it does not drop a column that an index names.
DROP INDEX "api_usage_api_name_endpoint_timestamp_idx";
DROP INDEX "api_usage_success_timestamp_idx";
DROP INDEX "api_usage_api_name_success_timestamp_idx";
DROP INDEX "api_usage_timestamp_idx";
DROP INDEX "api_usage_api_name_timestamp_idx";
CREATE INDEX "api_usage_api_name_timestamp_idx" ON "api_usage" ("api_name", "timestamp");
CREATE INDEX "api_usage_timestamp_idx" ON "api_usage" ("timestamp");

-- SQLite drops one column a statement.
ALTER TABLE "api_usage" DROP COLUMN "method";
ALTER TABLE "api_usage" DROP COLUMN "response_time";
ALTER TABLE "api_usage" DROP COLUMN "request_size";
ALTER TABLE "api_usage" DROP COLUMN "response_size";
ALTER TABLE "api_usage" DROP COLUMN "error_type";
ALTER TABLE "api_usage" DROP COLUMN "error_message";
ALTER TABLE "api_usage" DROP COLUMN "cost_credits";
ALTER TABLE "api_usage" DROP COLUMN "cached";
ALTER TABLE "api_usage" DROP COLUMN "user_id";
