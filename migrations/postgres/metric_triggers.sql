-- The triggers that write the dirty days of InfrastructureMetric. This text is the end of the migration that
-- creates them; `migrate` runs it again where they are missing, hence OR REPLACE.
--
-- SECURITY DEFINER, as on api_usage: the application's writes must never fail because of us.
CREATE OR REPLACE FUNCTION usagectl.usagectl_mark_new_metrics() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO usagectl.usagectl_dirty_metric_days ("service", "metric", "day")
    SELECT DISTINCT "service"::text, "metric"::text, date_trunc('day', "timestamp") FROM new_rows;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION usagectl.usagectl_mark_old_metrics() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO usagectl.usagectl_dirty_metric_days ("service", "metric", "day")
    SELECT DISTINCT "service"::text, "metric"::text, date_trunc('day', "timestamp") FROM old_rows;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION usagectl.usagectl_mark_changed_metrics() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO usagectl.usagectl_dirty_metric_days ("service", "metric", "day")
    SELECT "service"::text, "metric"::text, date_trunc('day', "timestamp") FROM old_rows
    UNION
    SELECT "service"::text, "metric"::text, date_trunc('day', "timestamp") FROM new_rows;
    RETURN NULL;
END $$;

-- TRUNCATE provides no rows: every aggregated day becomes dirty.
CREATE OR REPLACE FUNCTION usagectl.usagectl_mark_all_metrics() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO usagectl.usagectl_dirty_metric_days ("service", "metric", "day")
    SELECT DISTINCT "service", "metric", "day" FROM usagectl.usagectl_metric_days;
    RETURN NULL;
END $$;

CREATE TRIGGER usagectl_metrics_after_insert AFTER INSERT ON "InfrastructureMetric"
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION usagectl.usagectl_mark_new_metrics();
CREATE TRIGGER usagectl_metrics_after_update AFTER UPDATE ON "InfrastructureMetric"
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION usagectl.usagectl_mark_changed_metrics();
CREATE TRIGGER usagectl_metrics_after_delete AFTER DELETE ON "InfrastructureMetric"
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION usagectl.usagectl_mark_old_metrics();

-- step: mark existing rows and add the last trigger
-- The days of existing rows. Only then the last trigger, so that an interrupted repair is repeated.
INSERT INTO usagectl.usagectl_dirty_metric_days ("service", "metric", "day")
SELECT DISTINCT "service"::text, "metric"::text, date_trunc('day', "timestamp")
FROM "InfrastructureMetric";

CREATE TRIGGER usagectl_metrics_after_truncate AFTER TRUNCATE ON "InfrastructureMetric"
    FOR EACH STATEMENT EXECUTE FUNCTION usagectl.usagectl_mark_all_metrics();
