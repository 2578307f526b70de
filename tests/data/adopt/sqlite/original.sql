-- What the first of the original applications has beside its three migrations.
CREATE INDEX "api_usage_aggregates_api_name_aggregation_type_period_st_idx"
    ON "api_usage_aggregates" ("api_name", "aggregation_type", "period_start");
DROP INDEX "api_usage_success_timestamp_idx";
CREATE INDEX "idx_usage_success" ON "api_usage" ("success", "timestamp");
ALTER TABLE "api_usage" ADD COLUMN "region" TEXT;
