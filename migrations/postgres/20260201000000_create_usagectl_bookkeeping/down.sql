-- step: triggers
DROP TRIGGER IF EXISTS usagectl_after_truncate ON "api_usage";
DROP TRIGGER IF EXISTS usagectl_after_delete ON "api_usage";
DROP TRIGGER IF EXISTS usagectl_after_update ON "api_usage";
DROP TRIGGER IF EXISTS usagectl_after_insert ON "api_usage";

-- step: functions and tables
DROP FUNCTION usagectl.usagectl_mark_all_rows();
DROP FUNCTION usagectl.usagectl_mark_changed_rows();
DROP FUNCTION usagectl.usagectl_mark_old_rows();
DROP FUNCTION usagectl.usagectl_mark_new_rows();
DROP TABLE usagectl.usagectl_settings;
DROP TABLE usagectl.usagectl_run_locks;
DROP TABLE usagectl.usagectl_rollups;
DROP TABLE usagectl.usagectl_stale_periods;
DROP TABLE usagectl.usagectl_fingerprints;
DROP TABLE usagectl.usagectl_dirty_hours;
