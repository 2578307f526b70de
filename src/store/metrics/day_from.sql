-- The first stored day of every series of a service and a metric from $1 on.
SELECT found.* FROM (
    SELECT service, metric, resource, min(day) AS day FROM usagectl_metric_days
    WHERE day >= $1 AND service = $2 AND metric = $3
    GROUP BY service, metric, resource
) AS nearest
JOIN usagectl_metric_days AS found
  ON found.service = nearest.service AND found.metric = nearest.metric
 AND found.resource = nearest.resource AND found.day = nearest.day
