-- What the first of the original applications has beside its three migrations.
ALTER INDEX "api_usage_aggregates_api_name_aggregation_type_period_start_key"
    RENAME TO "api_usage_aggregates_api_name_aggregation_type_period_st_key";
CREATE INDEX "api_usage_aggregates_api_name_aggregation_type_period_st_idx"
    ON "api_usage_aggregates" ("api_name", "aggregation_type", "period_start");
ALTER INDEX "api_usage_success_timestamp_idx" RENAME TO "idx_usage_success";
ALTER TABLE "api_alerts" RENAME CONSTRAINT "api_alerts_pkey" TO "alerts_pk";
ALTER TABLE "UpgradeRecommendation"
    ALTER COLUMN "benefits" TYPE TEXT[] USING NULL,
    ALTER COLUMN "risks" TYPE TEXT[] USING NULL;
ALTER TABLE "api_usage" ADD COLUMN "region" TEXT;
ALTER TYPE "InfrastructureService" ADD VALUE 'AI_ANTHROPIC';
ALTER TYPE "MetricType" ADD VALUE 'TOKENS_PER_DAY';
