-- The triggers that write the dirty days of InfrastructureMetric. This text is the end of the migration that
-- creates them; `migrate` runs it again where they are missing.
--
-- An unreadable timestamp marks none. ON CONFLICT and not OR IGNORE: the application's own INSERT OR ABORT would
-- override the latter.
CREATE TRIGGER "usagectl_metrics_after_insert" AFTER INSERT ON "InfrastructureMetric"
BEGIN
    INSERT INTO "usagectl_dirty_metric_days" ("service", "metric", "day")
    SELECT NEW."service", NEW."metric", "day" FROM (SELECT CASE typeof(NEW."timestamp")
        WHEN 'text' THEN CASE
            WHEN NEW."timestamp" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'
                AND NEW."timestamp" >= '0001-' AND date(substr(NEW."timestamp", 1, 10), '+0 days') = substr(NEW."timestamp", 1, 10)
            THEN strftime('%Y-%m-%dT00:00:00.000+00:00', NEW."timestamp") END
        WHEN 'blob' THEN NULL
        ELSE strftime('%Y-%m-%dT00:00:00.000+00:00', NEW."timestamp" / 1000.0, 'unixepoch') END AS "day")
    WHERE "day" IS NOT NULL
    ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER "usagectl_metrics_after_update" AFTER UPDATE ON "InfrastructureMetric"
BEGIN
    INSERT INTO "usagectl_dirty_metric_days" ("service", "metric", "day")
    SELECT OLD."service", OLD."metric", "day" FROM (SELECT CASE typeof(OLD."timestamp")
        WHEN 'text' THEN CASE
            WHEN OLD."timestamp" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'
                AND OLD."timestamp" >= '0001-' AND date(substr(OLD."timestamp", 1, 10), '+0 days') = substr(OLD."timestamp", 1, 10)
            THEN strftime('%Y-%m-%dT00:00:00.000+00:00', OLD."timestamp") END
        WHEN 'blob' THEN NULL
        ELSE strftime('%Y-%m-%dT00:00:00.000+00:00', OLD."timestamp" / 1000.0, 'unixepoch') END AS "day")
    WHERE "day" IS NOT NULL
    ON CONFLICT DO NOTHING;
    INSERT INTO "usagectl_dirty_metric_days" ("service", "metric", "day")
    SELECT NEW."service", NEW."metric", "day" FROM (SELECT CASE typeof(NEW."timestamp")
        WHEN 'text' THEN CASE
            WHEN NEW."timestamp" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'
                AND NEW."timestamp" >= '0001-' AND date(substr(NEW."timestamp", 1, 10), '+0 days') = substr(NEW."timestamp", 1, 10)
            THEN strftime('%Y-%m-%dT00:00:00.000+00:00', NEW."timestamp") END
        WHEN 'blob' THEN NULL
        ELSE strftime('%Y-%m-%dT00:00:00.000+00:00', NEW."timestamp" / 1000.0, 'unixepoch') END AS "day")
    WHERE "day" IS NOT NULL
    ON CONFLICT DO NOTHING;
END;

-- step: mark existing rows and add the last trigger
-- The days of existing rows. Only then the last trigger, so that an interrupted repair is repeated.
INSERT INTO "usagectl_dirty_metric_days" ("service", "metric", "day")
SELECT "service", "metric", "day" FROM (
    SELECT "service", "metric", CASE typeof(metrics."timestamp")
        WHEN 'text' THEN CASE
            WHEN metrics."timestamp" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'
                AND metrics."timestamp" >= '0001-' AND date(substr(metrics."timestamp", 1, 10), '+0 days') = substr(metrics."timestamp", 1, 10)
            THEN strftime('%Y-%m-%dT00:00:00.000+00:00', metrics."timestamp") END
        WHEN 'blob' THEN NULL
        ELSE strftime('%Y-%m-%dT00:00:00.000+00:00', metrics."timestamp" / 1000.0, 'unixepoch') END AS "day"
    FROM "InfrastructureMetric" AS metrics
)
WHERE "day" IS NOT NULL
ON CONFLICT DO NOTHING;

CREATE TRIGGER "usagectl_metrics_after_delete" AFTER DELETE ON "InfrastructureMetric"
BEGIN
    INSERT INTO "usagectl_dirty_metric_days" ("service", "metric", "day")
    SELECT OLD."service", OLD."metric", "day" FROM (SELECT CASE typeof(OLD."timestamp")
        WHEN 'text' THEN CASE
            WHEN OLD."timestamp" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'
                AND OLD."timestamp" >= '0001-' AND date(substr(OLD."timestamp", 1, 10), '+0 days') = substr(OLD."timestamp", 1, 10)
            THEN strftime('%Y-%m-%dT00:00:00.000+00:00', OLD."timestamp") END
        WHEN 'blob' THEN NULL
        ELSE strftime('%Y-%m-%dT00:00:00.000+00:00', OLD."timestamp" / 1000.0, 'unixepoch') END AS "day")
    WHERE "day" IS NOT NULL
    ON CONFLICT DO NOTHING;
END;
