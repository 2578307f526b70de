-- The documented rollback, in its order: tables first, then the types they use. No IF EXISTS: an
-- object that is missing means the database is not what we think it is, and that must be heard.
DROP TABLE "UpgradeRecommendation";
DROP TABLE "InfrastructureLimit";
DROP TABLE "InfrastructureMetric";
DROP TYPE "RecommendationStatus";
DROP TYPE "RecommendationPriority";
DROP TYPE "MetricType";
DROP TYPE "InfrastructureService";
