-- Rows older than the triggers: list those with an odd timestamp, and mark the hours of all as dirty. In portions, so
-- that writers get their turn in between. An hour marked twice does no harm.

-- step: position
CREATE TABLE "usagectl_mark_position" (
    -- The last row that is done, the last row of this portion, the last row of all.
    "done" INTEGER NOT NULL,
    "until" INTEGER,
    "last" INTEGER NOT NULL
);
INSERT INTO "usagectl_mark_position" ("done", "last")
SELECT coalesce(min(rowid), 1) - 1, coalesce(max(rowid), 0) FROM "api_usage";

-- step: hours of existing rows
-- repeat: 50000 rows of api_usage
UPDATE "usagectl_mark_position" SET "until" = (
    SELECT max("id") FROM (
        SELECT rowid AS "id" FROM "api_usage"
        WHERE rowid > "usagectl_mark_position"."done" AND rowid <= "usagectl_mark_position"."last"
        ORDER BY rowid LIMIT 50000
    )
);

INSERT INTO "usagectl_odd_timestamps" ("usage_id", "timestamp")
SELECT "id", "timestamp"
FROM "usagectl_mark_position", "api_usage"
WHERE "api_usage".rowid > "usagectl_mark_position"."done" AND "api_usage".rowid <= "usagectl_mark_position"."until"
    AND "timestamp" NOT GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]+00:00'
ON CONFLICT DO UPDATE SET "timestamp" = excluded."timestamp";

INSERT INTO "usagectl_dirty_hours" ("api_name", "hour")
SELECT "api_name", substr("timestamp", 1, 13) || ':00:00.000+00:00'
FROM "usagectl_mark_position", "api_usage"
WHERE "api_usage".rowid > "usagectl_mark_position"."done" AND "api_usage".rowid <= "usagectl_mark_position"."until"
    AND "timestamp" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]+00:00'
GROUP BY 1, 2
ON CONFLICT DO NOTHING;

INSERT INTO "usagectl_dirty_hours" ("api_name", "hour")
SELECT "api_name", "usagectl_odd_timestamps"."hour"
FROM "usagectl_mark_position", "usagectl_odd_timestamps"
JOIN "api_usage" ON "api_usage"."id" = "usagectl_odd_timestamps"."usage_id"
WHERE "api_usage".rowid > "usagectl_mark_position"."done" AND "api_usage".rowid <= "usagectl_mark_position"."until"
    AND "usagectl_odd_timestamps"."hour" IS NOT NULL
ON CONFLICT DO NOTHING;

UPDATE "usagectl_mark_position" SET "done" = "until" WHERE "until" IS NOT NULL;

-- step: remove the position
DROP TABLE "usagectl_mark_position";
