-- step: triggers
DROP TRIGGER IF EXISTS "usagectl_after_update";
DROP TRIGGER IF EXISTS "usagectl_after_delete";
DROP TRIGGER IF EXISTS "usagectl_after_insert_odd";
DROP TRIGGER IF EXISTS "usagectl_after_insert";
DROP TRIGGER IF EXISTS "usagectl_before_insert";

-- step: tables
DROP TABLE "usagectl_settings";
DROP TABLE "usagectl_rollups";
DROP TABLE "usagectl_stale_periods";
DROP TABLE "usagectl_fingerprints";
DROP TABLE "usagectl_odd_timestamps";
DROP TABLE "usagectl_dirty_hours";
