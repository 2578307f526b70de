-- The triggers that write the dirty hours of api_usage. This text is the end of the migration that creates
-- them; `migrate` runs it again where they are missing. The last trigger is a step of its own: a repair marks the
-- existing rows before it, so that an interrupted one is repeated.
--
-- The hour of a canonical timestamp is cut from its text, which is cheap; any other timestamp is listed in
-- usagectl_odd_timestamps, whose "hour" reads it. ON CONFLICT and not OR IGNORE: an INSERT OR ABORT of the
-- application would override the latter and fail here.
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
    INSERT INTO "usagectl_dirty_hours" ("api_name", "hour", "deleted")
    SELECT OLD."api_name", substr(OLD."timestamp", 1, 13) || ':00:00.000+00:00', 1
    WHERE OLD."timestamp" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]+00:00'
    ON CONFLICT DO UPDATE SET "seen" = 0, "deleted" = 1 WHERE "seen" OR NOT "deleted";
    INSERT INTO "usagectl_dirty_hours" ("api_name", "hour", "deleted")
    SELECT OLD."api_name", "hour", 1 FROM "usagectl_odd_timestamps"
    WHERE "usage_id" = OLD."id" AND "hour" IS NOT NULL
    ON CONFLICT DO UPDATE SET "seen" = 0, "deleted" = 1 WHERE "seen" OR NOT "deleted";
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
