-- Rows older than the triggers: list those with an odd timestamp, and mark the hours of all as dirty.
INSERT INTO "usagectl_odd_timestamps" ("usage_id", "timestamp")
SELECT "id", "timestamp"
FROM "api_usage"
WHERE "timestamp" NOT GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]+00:00'
ON CONFLICT DO UPDATE SET "timestamp" = excluded."timestamp";

INSERT INTO "usagectl_dirty_hours" ("api_name", "hour")
SELECT "api_name", substr("timestamp", 1, 13) || ':00:00.000+00:00'
FROM "api_usage"
WHERE "timestamp" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]+00:00'
GROUP BY 1, 2
ON CONFLICT DO NOTHING;

INSERT INTO "usagectl_dirty_hours" ("api_name", "hour")
SELECT "api_name", "hour"
FROM "usagectl_odd_timestamps"
JOIN "api_usage" ON "api_usage"."id" = "usagectl_odd_timestamps"."usage_id"
WHERE "hour" IS NOT NULL
ON CONFLICT DO NOTHING;
