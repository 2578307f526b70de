-- Deletes the first $1 distinct dirty days and returns them.
DELETE FROM usagectl_dirty_metric_days WHERE (service, metric, day) <= (
    SELECT service, metric, day FROM (
        SELECT DISTINCT service, metric, day FROM usagectl_dirty_metric_days
        ORDER BY service, metric, day LIMIT $1
    ) AS first_days
    ORDER BY service DESC, metric DESC, day DESC LIMIT 1
)
RETURNING service, metric, day
