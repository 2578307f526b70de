-- The triggers that write the dirty hours of api_usage. This text is the end of the migration that creates
-- them; `migrate` runs it again where they are missing. The last trigger is a step of its own: a repair marks the
-- existing rows before it, so that an interrupted one is repeated.
--
-- The hour of a canonical timestamp is cut from its text, which is cheap; any other timestamp is listed in
-- usagectl_odd_timestamps, whose "hour" reads it. ON CONFLICT and not OR IGNORE: an INSERT OR ABORT of the
-- application would override the latter and fail here.
-- INSERT OR REPLACE deletes a row of the same id without firing the trigger for deletions. Where the new row is of another
-- hour or API, the old row's hour is marked here. The row stays if the insert is OR IGNORE; then the mark does no harm.
CREATE TRIGGER "usagectl_before_insert" BEFORE INSERT ON "api_usage"
WHEN EXISTS (
    SELECT 1 FROM "api_usage" AS "old" WHERE "old"."id" = NEW."id" AND (
        "old"."api_name" <> NEW."api_name" OR substr("old"."timestamp", 1, 13) <> substr(NEW."timestamp", 1, 13)
    )
)
BEGIN
    INSERT INTO "usagectl_dirty_hours" ("api_name", "hour")
    SELECT "api_name", substr("timestamp", 1, 13) || ':00:00.000+00:00' FROM "api_usage"
    WHERE "id" = NEW."id"
        AND "timestamp" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]+00:00'
    ON CONFLICT DO UPDATE SET "seen" = 0 WHERE "seen";
    INSERT INTO "usagectl_dirty_hours" ("api_name", "hour")
    SELECT "api_name", "odd"."hour" FROM "api_usage" JOIN "usagectl_odd_timestamps" AS "odd" ON "odd"."usage_id" = "id"
    WHERE "id" = NEW."id" AND "odd"."hour" IS NOT NULL
    ON CONFLICT DO UPDATE SET "seen" = 0 WHERE "seen";
END;

CREATE TRIGGER "usagectl_after_insert" AFTER INSERT ON "api_usage"
WHEN NEW."timestamp" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]+00:00'
BEGIN
    INSERT INTO "usagectl_dirty_hours" ("api_name", "hour")
    VALUES (NEW."api_name", substr(NEW."timestamp", 1, 13) || ':00:00.000+00:00')
    ON CONFLICT DO UPDATE SET "seen" = 0 WHERE "seen";
END;

CREATE TRIGGER "usagectl_after_insert_odd" AFTER INSERT ON "api_usage"
WHEN NEW."timestamp" NOT GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]+00:00'
BEGIN
    INSERT INTO "usagectl_odd_timestamps" ("usage_id", "timestamp")
    VALUES (NEW."id", NEW."timestamp")
    ON CONFLICT DO UPDATE SET "timestamp" = excluded."timestamp";
    INSERT INTO "usagectl_dirty_hours" ("api_name", "hour")
    SELECT NEW."api_name", "hour" FROM "usagectl_odd_timestamps"
    WHERE "usage_id" = NEW."id" AND "hour" IS NOT NULL
    ON CONFLICT DO UPDATE SET "seen" = 0 WHERE "seen";
END;

CREATE TRIGGER "usagectl_after_delete" AFTER DELETE ON "api_usage"
BEGIN
    INSERT INTO "usagectl_dirty_hours" ("api_name", "hour", "deleted_to")
    SELECT OLD."api_name", substr(OLD."timestamp", 1, 13) || ':00:00.000+00:00', OLD."timestamp"
    WHERE OLD."timestamp" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]+00:00'
    ON CONFLICT DO UPDATE SET "seen" = 0, "deleted_to" = max(coalesce("deleted_to", ''), excluded."deleted_to")
    WHERE "seen" OR coalesce("deleted_to", '') < excluded."deleted_to";
    INSERT INTO "usagectl_dirty_hours" ("api_name", "hour", "deleted_to")
    SELECT OLD."api_name", "hour", "hour" FROM "usagectl_odd_timestamps"
    WHERE "usage_id" = OLD."id" AND "hour" IS NOT NULL
    ON CONFLICT DO UPDATE SET "seen" = 0, "deleted_to" = max(coalesce("deleted_to", ''), excluded."deleted_to")
    WHERE "seen" OR coalesce("deleted_to", '') < excluded."deleted_to";
    DELETE FROM "usagectl_odd_timestamps" WHERE "usage_id" = OLD."id";
END;

-- step: add the last trigger
-- An update deletes the old row and inserts the new one.
CREATE TRIGGER "usagectl_after_update" AFTER UPDATE ON "api_usage"
BEGIN
    INSERT INTO "usagectl_dirty_hours" ("api_name", "hour")
    SELECT OLD."api_name", substr(OLD."timestamp", 1, 13) || ':00:00.000+00:00'
    WHERE OLD."timestamp" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]+00:00'
    ON CONFLICT DO UPDATE SET "seen" = 0 WHERE "seen";
    INSERT INTO "usagectl_dirty_hours" ("api_name", "hour")
    SELECT OLD."api_name", "hour" FROM "usagectl_odd_timestamps"
    WHERE "usage_id" = OLD."id" AND "hour" IS NOT NULL
    ON CONFLICT DO UPDATE SET "seen" = 0 WHERE "seen";
    DELETE FROM "usagectl_odd_timestamps" WHERE "usage_id" = OLD."id";

    INSERT INTO "usagectl_odd_timestamps" ("usage_id", "timestamp")
    SELECT NEW."id", NEW."timestamp"
    WHERE NEW."timestamp" NOT GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]+00:00'
    ON CONFLICT DO UPDATE SET "timestamp" = excluded."timestamp";
    INSERT INTO "usagectl_dirty_hours" ("api_name", "hour")
    SELECT NEW."api_name", "hour" FROM "usagectl_odd_timestamps"
    WHERE "usage_id" = NEW."id" AND "hour" IS NOT NULL
    ON CONFLICT DO UPDATE SET "seen" = 0 WHERE "seen";
    INSERT INTO "usagectl_dirty_hours" ("api_name", "hour")
    SELECT NEW."api_name", substr(NEW."timestamp", 1, 13) || ':00:00.000+00:00'
    WHERE NEW."timestamp" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]+00:00'
    ON CONFLICT DO UPDATE SET "seen" = 0 WHERE "seen";
END;
