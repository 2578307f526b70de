-- CreateTable
CREATE TABLE "InfrastructureMetric" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "service" TEXT NOT NULL,
    "metric" TEXT NOT NULL,
    "value" REAL NOT NULL,
    "timestamp" DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "metadata" JSONB
);

-- CreateIndex
CREATE INDEX "InfrastructureMetric_service_metric_timestamp_idx" ON "InfrastructureMetric" ("service", "metric", "timestamp");

-- CreateIndex
CREATE INDEX "InfrastructureMetric_timestamp_idx" ON "InfrastructureMetric" ("timestamp");

-- CreateTable
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

-- CreateIndex
CREATE UNIQUE INDEX "InfrastructureLimit_service_metric_currentPlan_key" ON "InfrastructureLimit" ("service", "metric", "currentPlan");

-- CreateTable
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

-- CreateIndex
CREATE INDEX "UpgradeRecommendation_service_status_idx" ON "UpgradeRecommendation" ("service", "status");

-- CreateIndex
CREATE INDEX "UpgradeRecommendation_priority_status_idx" ON "UpgradeRecommendation" ("priority", "status");
