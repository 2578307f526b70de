-- The triggers that write the dirty hours of api_usage. This text is the end of the migration that creates
-- them; `migrate` runs it again where they are missing, hence OR REPLACE. The last trigger is a step of its own:
-- a repair marks the existing rows before it, so that an interrupted one is repeated.
--
-- One trigger for each kind of statement, fired once per statement with all its rows. SECURITY DEFINER: the
-- application may connect as a role without any right on our schema, and its writes must never fail because of
-- us. The fixed search path keeps such a function safe.
--
-- A partition has the first three triggers, too: those of a table do not fire for rows written to a partition by its name.
CREATE OR REPLACE FUNCTION usagectl.usagectl_mark_new_rows() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_TABLE_NAME <> 'api_usage' THEN
        -- A partition that was detached.
        IF (SELECT relname FROM pg_class WHERE oid = pg_partition_root(TG_RELID)) IS DISTINCT FROM 'api_usage' THEN
            RETURN NULL;
        END IF;
    END IF;
    INSERT INTO usagectl.usagectl_dirty_hours ("api_name", "hour")
    SELECT DISTINCT "api_name", date_trunc('hour', "timestamp") FROM new_rows;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION usagectl.usagectl_mark_old_rows() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_TABLE_NAME <> 'api_usage' THEN
        -- A partition that was detached.
        IF (SELECT relname FROM pg_class WHERE oid = pg_partition_root(TG_RELID)) IS DISTINCT FROM 'api_usage' THEN
            RETURN NULL;
        END IF;
    END IF;
    INSERT INTO usagectl.usagectl_dirty_hours ("api_name", "hour", "deleted_to")
    SELECT "api_name", date_trunc('hour', "timestamp"), max("timestamp") FROM old_rows GROUP BY 1, 2;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION usagectl.usagectl_mark_changed_rows() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_TABLE_NAME <> 'api_usage' THEN
        -- A partition that was detached.
        IF (SELECT relname FROM pg_class WHERE oid = pg_partition_root(TG_RELID)) IS DISTINCT FROM 'api_usage' THEN
            RETURN NULL;
        END IF;
    END IF;
    INSERT INTO usagectl.usagectl_dirty_hours ("api_name", "hour")
    SELECT "api_name", date_trunc('hour', "timestamp") FROM old_rows
    UNION
    SELECT "api_name", date_trunc('hour', "timestamp") FROM new_rows;
    RETURN NULL;
END $$;

-- TRUNCATE shows no rows: it makes every hour dirty that was rolled up.
CREATE OR REPLACE FUNCTION usagectl.usagectl_mark_all_rows() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO usagectl.usagectl_dirty_hours ("api_name", "hour", "deleted_to")
    SELECT "api_name", "period_start", "period_start" FROM usagectl.usagectl_rollups
    WHERE "aggregation_type" = 'HOURLY' AND "scope" = 'API';
    RETURN NULL;
END $$;

CREATE TRIGGER usagectl_after_insert AFTER INSERT ON "api_usage"
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION usagectl.usagectl_mark_new_rows();
CREATE TRIGGER usagectl_after_update AFTER UPDATE ON "api_usage"
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION usagectl.usagectl_mark_changed_rows();
CREATE TRIGGER usagectl_after_delete AFTER DELETE ON "api_usage"
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION usagectl.usagectl_mark_old_rows();

-- step: add the last trigger
CREATE TRIGGER usagectl_after_truncate AFTER TRUNCATE ON "api_usage"
    FOR EACH STATEMENT EXECUTE FUNCTION usagectl.usagectl_mark_all_rows();
