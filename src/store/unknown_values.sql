-- The values of the application's enums in use, by column. The first query steps through the index
-- (service, metric, timestamp) and so reads one row of InfrastructureMetric for each pair.
WITH RECURSIVE pairs AS (
    SELECT (SELECT service FROM "InfrastructureMetric" ORDER BY service, metric LIMIT 1) AS service,
           (SELECT metric FROM "InfrastructureMetric" ORDER BY service, metric LIMIT 1) AS metric
    UNION ALL
    SELECT (SELECT m.service FROM "InfrastructureMetric" AS m
            WHERE (m.service, m.metric) > (pairs.service, pairs.metric) ORDER BY m.service, m.metric LIMIT 1),
           (SELECT m.metric FROM "InfrastructureMetric" AS m
            WHERE (m.service, m.metric) > (pairs.service, pairs.metric) ORDER BY m.service, m.metric LIMIT 1)
    FROM pairs
    WHERE pairs.service IS NOT NULL
),
found AS (
    SELECT 'InfrastructureMetric.service' AS place, CAST(service AS TEXT) AS value FROM pairs
    UNION
    SELECT 'InfrastructureMetric.metric', CAST(metric AS TEXT) FROM pairs
    UNION
    SELECT 'InfrastructureLimit.service', CAST(service AS TEXT) FROM "InfrastructureLimit"
    UNION
    SELECT 'InfrastructureLimit.metric', CAST(metric AS TEXT) FROM "InfrastructureLimit"
    UNION
    SELECT 'UpgradeRecommendation.service', CAST(service AS TEXT) FROM "UpgradeRecommendation"
    UNION
    SELECT 'UpgradeRecommendation.metric', CAST(metric AS TEXT) FROM "UpgradeRecommendation"
    UNION
    SELECT 'UpgradeRecommendation.priority', CAST(priority AS TEXT) FROM "UpgradeRecommendation"
    UNION
    SELECT 'UpgradeRecommendation.status', CAST(status AS TEXT) FROM "UpgradeRecommendation"
)
SELECT place, value FROM found WHERE value IS NOT NULL ORDER BY place, value
