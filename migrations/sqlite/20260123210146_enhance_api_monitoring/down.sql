-- The documented rollback drops two tables and nine columns. It omits the indexes, and SQLite would rewrite the whole
-- table nine times. Instead the rows are copied in portions into a table without the columns, which triggers keep up
-- to date; it replaces api_usage in the last step. Further columns of the application are copied, too.

-- step: free the names of the two indexes
-- index: api_usage (api_name, timestamp desc)
DROP INDEX "api_usage_api_name_timestamp_idx";
-- index: api_usage (timestamp desc)
DROP INDEX "api_usage_timestamp_idx";

-- step: table without the columns
CREATE TABLE "usagectl_new_api_usage" {definition of api_usage};
ALTER TABLE "usagectl_new_api_usage" DROP COLUMN "method";
ALTER TABLE "usagectl_new_api_usage" DROP COLUMN "response_time";
ALTER TABLE "usagectl_new_api_usage" DROP COLUMN "request_size";
ALTER TABLE "usagectl_new_api_usage" DROP COLUMN "response_size";
ALTER TABLE "usagectl_new_api_usage" DROP COLUMN "error_type";
ALTER TABLE "usagectl_new_api_usage" DROP COLUMN "error_message";
ALTER TABLE "usagectl_new_api_usage" DROP COLUMN "cost_credits";
ALTER TABLE "usagectl_new_api_usage" DROP COLUMN "cached";
ALTER TABLE "usagectl_new_api_usage" DROP COLUMN "user_id";
CREATE INDEX "api_usage_api_name_timestamp_idx" ON "usagectl_new_api_usage" ("api_name", "timestamp");
CREATE INDEX "api_usage_timestamp_idx" ON "usagectl_new_api_usage" ("timestamp");

CREATE TRIGGER "usagectl_copy_insert" AFTER INSERT ON "api_usage"
BEGIN
    DELETE FROM "usagectl_new_api_usage" WHERE "id" = NEW."id";
    INSERT INTO "usagectl_new_api_usage"
    SELECT {columns of api_usage without method, response_time, request_size, response_size, error_type, error_message, cost_credits, cached, user_id}
    FROM "api_usage" WHERE rowid = NEW.rowid;
END;
CREATE TRIGGER "usagectl_copy_update" AFTER UPDATE ON "api_usage"
BEGIN
    DELETE FROM "usagectl_new_api_usage" WHERE "id" IN (OLD."id", NEW."id");
    INSERT INTO "usagectl_new_api_usage"
    SELECT {columns of api_usage without method, response_time, request_size, response_size, error_type, error_message, cost_credits, cached, user_id}
    FROM "api_usage" WHERE rowid = NEW.rowid;
END;
CREATE TRIGGER "usagectl_copy_delete" AFTER DELETE ON "api_usage"
BEGIN
    DELETE FROM "usagectl_new_api_usage" WHERE "id" = OLD."id";
END;

CREATE TABLE "usagectl_copy_position" (
    -- The last row that is copied, the last row of this portion, the last row of all.
    "done" INTEGER NOT NULL,
    "until" INTEGER,
    "last" INTEGER NOT NULL
);
INSERT INTO "usagectl_copy_position" ("done", "last")
SELECT coalesce(min(rowid), 1) - 1, coalesce(max(rowid), 0) FROM "api_usage";

-- step: copy of the rows
-- repeat: 20000 rows of api_usage
UPDATE "usagectl_copy_position" SET "until" = (
    SELECT max("id") FROM (
        SELECT rowid AS "id" FROM "api_usage" WHERE rowid > "done" AND rowid <= "last" ORDER BY rowid LIMIT 20000
    )
);
INSERT INTO "usagectl_new_api_usage"
SELECT {columns of api_usage without method, response_time, request_size, response_size, error_type, error_message, cost_credits, cached, user_id}
FROM "usagectl_copy_position", "api_usage"
WHERE "api_usage".rowid > "usagectl_copy_position"."done" AND "api_usage".rowid <= "usagectl_copy_position"."until"
ON CONFLICT DO NOTHING;
UPDATE "usagectl_copy_position" SET "done" = "until" WHERE "until" IS NOT NULL;

-- step: drop the other indexes
-- index: api_usage (api_name, endpoint, timestamp)
DROP INDEX "api_usage_api_name_endpoint_timestamp_idx";
-- index: api_usage (success, timestamp)
DROP INDEX "api_usage_success_timestamp_idx";
-- index: api_usage (api_name, success, timestamp)
DROP INDEX "api_usage_api_name_success_timestamp_idx";

-- step: drop tables and columns
-- keep: api_usage
-- A view that reads api_usage would prevent the renaming.
PRAGMA legacy_alter_table = ON;
DROP TABLE "api_usage";
ALTER TABLE "usagectl_new_api_usage" RENAME TO "api_usage";
PRAGMA legacy_alter_table = OFF;
DROP TABLE "usagectl_copy_position";
DROP TABLE "api_alerts";
DROP TABLE "api_usage_aggregates";
