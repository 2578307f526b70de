-- What the second of the original applications has in place of the table of its migrations.
DROP TABLE "api_alerts";
CREATE TABLE "api_alerts" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "api_name" TEXT NOT NULL,
    "alert_type" TEXT NOT NULL,
    "threshold" REAL NOT NULL,
    "period" TEXT NOT NULL,
    "enabled" BOOLEAN NOT NULL DEFAULT true,
    "last_triggered" DATETIME,
    "created_at" DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_at" DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "one_alert" UNIQUE ("api_name", "alert_type", "period")
);
CREATE INDEX "idx_alerts_enabled" ON "api_alerts" ("api_name", "enabled");
ALTER TABLE "api_usage" RENAME COLUMN "cached" TO "was_cached";
ALTER TABLE "api_usage" ADD COLUMN "cached" BOOLEAN DEFAULT false;
