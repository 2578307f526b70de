SELECT service, metric, day
FROM usagectl_dirty_metric_days
WHERE day >= $1 AND day < $2
