-- SQLite has no enum types. The enums are TEXT without a CHECK, as Prisma creates them: the application may add values.

-- Measurements.
CREATE TABLE "InfrastructureMetric" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "service" TEXT NOT NULL,
    "metric" TEXT NOT NULL,
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
    "service" TEXT NOT NULL,
    "metric" TEXT NOT NULL,
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
    "service" TEXT NOT NULL,
    "metric" TEXT,
    "currentPlan" TEXT NOT NULL,
    "recommendedPlan" TEXT NOT NULL,
    "priority" TEXT NOT NULL,
    "status" TEXT NOT NULL DEFAULT 'PENDING',
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
