-- Rows that were there before the triggers: mark their hours. A migration of its own, so that the
-- triggers are committed and no lock on api_usage is held while it is read: a row that comes in
-- meanwhile is marked by its trigger, and a mark too many does no harm.
INSERT INTO usagectl.usagectl_dirty_hours ("api_name", "hour")
SELECT DISTINCT "api_name", date_trunc('hour', "timestamp") FROM "api_usage";
