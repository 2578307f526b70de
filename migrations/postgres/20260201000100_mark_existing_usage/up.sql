-- Rows older than the triggers: mark their hours as dirty. A migration of its own, so that the triggers are
-- committed and no lock on api_usage is held while it is read: the trigger marks a row that is inserted
-- meanwhile, and an hour marked twice does no harm.
INSERT INTO usagectl.usagectl_dirty_hours ("api_name", "hour")
SELECT DISTINCT "api_name", date_trunc('hour', "timestamp") FROM "api_usage";
