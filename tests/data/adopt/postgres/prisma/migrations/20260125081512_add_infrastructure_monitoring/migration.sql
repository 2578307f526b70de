-- CreateEnum
CREATE TYPE "InfrastructureService" AS ENUM ('VERCEL_KV', 'VERCEL_POSTGRES', 'VERCEL_PLATFORM', 'VERCEL_BUILD', 'VERCEL_FUNCTIONS', 'VERCEL_BANDWIDTH', 'VERCEL_EDGE_REQUESTS', 'VERCEL_ISR_READS', 'AI_OPENAI', 'AI_CREDITS');

-- CreateEnum
CREATE TYPE "MetricType" AS ENUM ('STORAGE_MB', 'STORAGE_GB', 'COMMANDS_PER_DAY', 'CONNECTIONS', 'LATENCY_MS', 'BANDWIDTH_GB', 'INVOCATIONS', 'BUILD_MINUTES', 'REQUEST_COUNT', 'COST_USD', 'USAGE_PERCENT');

-- CreateEnum
CREATE TYPE "RecommendationPriority" AS ENUM ('LOW', 'MEDIUM', 'HIGH', 'CRITICAL');

-- CreateEnum
CREATE TYPE "RecommendationStatus" AS ENUM ('PENDING', 'REVIEWED', 'APPROVED', 'IMPLEMENTED', 'DISMISSED', 'EXPIRED');

-- CreateTable
CREATE TABLE "InfrastructureMetric" (
    "id" TEXT NOT NULL,
    "service" "InfrastructureService" NOT NULL,
    "metric" "MetricType" NOT NULL,
    "value" DOUBLE PRECISION NOT NULL,
    "timestamp" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "metadata" JSONB,

    CONSTRAINT "InfrastructureMetric_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE INDEX "InfrastructureMetric_service_metric_timestamp_idx" ON "InfrastructureMetric" ("service", "metric", "timestamp");

-- CreateIndex
CREATE INDEX "InfrastructureMetric_timestamp_idx" ON "InfrastructureMetric" ("timestamp");

-- CreateTable
CREATE TABLE "InfrastructureLimit" (
    "id" TEXT NOT NULL,
    "service" "InfrastructureService" NOT NULL,
    "metric" "MetricType" NOT NULL,
    "currentPlan" TEXT NOT NULL,
    "limitValue" DOUBLE PRECISION NOT NULL,
    "warningPercent" DOUBLE PRECISION NOT NULL DEFAULT 75,
    "criticalPercent" DOUBLE PRECISION NOT NULL DEFAULT 90,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,

    CONSTRAINT "InfrastructureLimit_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE UNIQUE INDEX "InfrastructureLimit_service_metric_currentPlan_key" ON "InfrastructureLimit" ("service", "metric", "currentPlan");

-- CreateTable
CREATE TABLE "UpgradeRecommendation" (
    "id" TEXT NOT NULL,
    "service" "InfrastructureService" NOT NULL,
    "metric" "MetricType",
    "currentPlan" TEXT NOT NULL,
    "recommendedPlan" TEXT NOT NULL,
    "priority" "RecommendationPriority" NOT NULL,
    "status" "RecommendationStatus" NOT NULL DEFAULT 'PENDING',
    "currentUsage" DOUBLE PRECISION,
    "limitValue" DOUBLE PRECISION,
    "usagePercent" DOUBLE PRECISION,
    "daysToLimit" INTEGER,
    "currentCost" DOUBLE PRECISION,
    "projectedCost" DOUBLE PRECISION,
    "upgradeCost" DOUBLE PRECISION,
    "revenueImpact" DOUBLE PRECISION,
    "profitImpact" DOUBLE PRECISION,
    "roi" DOUBLE PRECISION,
    "reason" TEXT NOT NULL,
    "benefits" JSONB,
    "risks" JSONB,
    "reviewedBy" TEXT,
    "reviewNotes" TEXT,
    "reviewedAt" TIMESTAMP(3),
    "implementedAt" TIMESTAMP(3),
    "expiresAt" TIMESTAMP(3),
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,

    CONSTRAINT "UpgradeRecommendation_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE INDEX "UpgradeRecommendation_service_status_idx" ON "UpgradeRecommendation" ("service", "status");

-- CreateIndex
CREATE INDEX "UpgradeRecommendation_priority_status_idx" ON "UpgradeRecommendation" ("priority", "status");
