-- What the second of the original applications has beside its three migrations.
CREATE INDEX "api_usage_aggregates_api_name_aggregation_type_period_start_idx"
    ON "api_usage_aggregates" ("api_name", "aggregation_type", "period_start");
ALTER TABLE "api_usage" ALTER COLUMN "cached" DROP NOT NULL;
ALTER TABLE "api_usage_aggregates" ALTER COLUMN "updated_at" SET DEFAULT CURRENT_TIMESTAMP;
ALTER TABLE "api_alerts" ALTER COLUMN "updated_at" SET DEFAULT CURRENT_TIMESTAMP;
