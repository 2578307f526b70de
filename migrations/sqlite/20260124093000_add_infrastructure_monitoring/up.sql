-- SQLite has no enum types: the closed sets are TEXT with a CHECK of the same names.

-- Measurements.
CREATE TABLE "InfrastructureMetric" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "service" TEXT NOT NULL CHECK ("service" IN (
        'VERCEL_KV', 'VERCEL_POSTGRES', 'VERCEL_PLATFORM', 'VERCEL_BUILD', 'VERCEL_FUNCTIONS',
        'VERCEL_BANDWIDTH', 'VERCEL_EDGE_REQUESTS', 'VERCEL_ISR_READS', 'AI_OPENAI', 'AI_CREDITS')),
    "metric" TEXT NOT NULL CHECK ("metric" IN (
        'STORAGE_MB', 'STORAGE_GB', 'COMMANDS_PER_DAY', 'CONNECTIONS', 'LATENCY_MS', 'BANDWIDTH_GB',
        'INVOCATIONS', 'BUILD_MINUTES', 'REQUEST_COUNT', 'COST_USD', 'USAGE_PERCENT')),
    "value" REAL NOT NULL,
    "timestamp" DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "metadata" JSONB
);
CREATE INDEX "InfrastructureMetric_service_metric_timestamp_idx"
    ON "InfrastructureMetric" ("service", "metric", "timestamp");
CREATE INDEX "InfrastructureMetric_timestamp_idx" ON "InfrastructureMetric" ("timestamp");

-- Limits of the plans in use, with warning thresholds.
CREATE TABLE "InfrastructureLimit" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "service" TEXT NOT NULL CHECK ("service" IN (
        'VERCEL_KV', 'VERCEL_POSTGRES', 'VERCEL_PLATFORM', 'VERCEL_BUILD', 'VERCEL_FUNCTIONS',
        'VERCEL_BANDWIDTH', 'VERCEL_EDGE_REQUESTS', 'VERCEL_ISR_READS', 'AI_OPENAI', 'AI_CREDITS')),
    "metric" TEXT NOT NULL CHECK ("metric" IN (
        'STORAGE_MB', 'STORAGE_GB', 'COMMANDS_PER_DAY', 'CONNECTIONS', 'LATENCY_MS', 'BANDWIDTH_GB',
        'INVOCATIONS', 'BUILD_MINUTES', 'REQUEST_COUNT', 'COST_USD', 'USAGE_PERCENT')),
    "currentPlan" TEXT NOT NULL,
    "limitValue" REAL NOT NULL,
    "warningPercent" REAL NOT NULL DEFAULT 75,
    "criticalPercent" REAL NOT NULL DEFAULT 90,
    "createdAt" DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" DATETIME NOT NULL
);
CREATE UNIQUE INDEX "InfrastructureLimit_service_metric_currentPlan_key"
    ON "InfrastructureLimit" ("service", "metric", "currentPlan");

-- Upgrade recommendations: reason, cost and status.
CREATE TABLE "UpgradeRecommendation" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "service" TEXT NOT NULL CHECK ("service" IN (
        'VERCEL_KV', 'VERCEL_POSTGRES', 'VERCEL_PLATFORM', 'VERCEL_BUILD', 'VERCEL_FUNCTIONS',
        'VERCEL_BANDWIDTH', 'VERCEL_EDGE_REQUESTS', 'VERCEL_ISR_READS', 'AI_OPENAI', 'AI_CREDITS')),
    "metric" TEXT CHECK ("metric" IN (
        'STORAGE_MB', 'STORAGE_GB', 'COMMANDS_PER_DAY', 'CONNECTIONS', 'LATENCY_MS', 'BANDWIDTH_GB',
        'INVOCATIONS', 'BUILD_MINUTES', 'REQUEST_COUNT', 'COST_USD', 'USAGE_PERCENT')),
    "currentPlan" TEXT NOT NULL,
    "recommendedPlan" TEXT NOT NULL,
    "priority" TEXT NOT NULL CHECK ("priority" IN ('LOW', 'MEDIUM', 'HIGH', 'CRITICAL')),
    "status" TEXT NOT NULL DEFAULT 'PENDING' CHECK ("status" IN (
        'PENDING', 'REVIEWED', 'APPROVED', 'IMPLEMENTED', 'DISMISSED', 'EXPIRED')),
    "currentUsage" REAL,
    "limitValue" REAL,
    "usagePercent" REAL,
    "daysToLimit" INTEGER,
    "currentCost" REAL,
    "projectedCost" REAL,
    "upgradeCost" REAL,
    "revenueImpact" REAL,
    "profitImpact" REAL,
    "roi" REAL,
    "reason" TEXT NOT NULL,
    "benefits" JSONB,
    "risks" JSONB,
    "reviewedBy" TEXT,
    "reviewNotes" TEXT,
    "reviewedAt" DATETIME,
    "implementedAt" DATETIME,
    "expiresAt" DATETIME,
    "createdAt" DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" DATETIME NOT NULL
);
CREATE INDEX "UpgradeRecommendation_service_status_idx"
    ON "UpgradeRecommendation" ("service", "status");
CREATE INDEX "UpgradeRecommendation_priority_status_idx"
    ON "UpgradeRecommendation" ("priority", "status");
