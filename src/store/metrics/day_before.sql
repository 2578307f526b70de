-- The last stored day of every series before $1; $2 and $3 narrow it to a service and a metric.
SELECT found.* FROM (
    SELECT service, metric, resource, max(day) AS day FROM usagectl_metric_days
    WHERE day < $1 AND ($2 IS NULL OR service = $2) AND ($3 IS NULL OR metric = $3)
    GROUP BY service, metric, resource
) AS nearest
JOIN usagectl_metric_days AS found
  ON found.service = nearest.service AND found.metric = nearest.metric
 AND found.resource = nearest.resource AND found.day = nearest.day
