-- The table the application started with: one row for every call to an API.
-- Column types are spelled as Prisma spells them for SQLite: its adapter maps by declared type.
CREATE TABLE "api_usage" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "api_name" TEXT NOT NULL,
    "endpoint" TEXT,
    "timestamp" DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "success" BOOLEAN NOT NULL DEFAULT true,
    "status_code" INTEGER,
    "created_at" DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE INDEX "api_usage_api_name_timestamp_idx" ON "api_usage" ("api_name", "timestamp");
CREATE INDEX "api_usage_timestamp_idx" ON "api_usage" ("timestamp");
