-- The documented rollback, in its order; SQLite has no types to drop.
DROP TABLE "UpgradeRecommendation";
DROP TABLE "InfrastructureLimit";
DROP TABLE "InfrastructureMetric";
