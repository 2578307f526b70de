-- Our tables and the application's.
WITH tables AS (
    SELECT name FROM sqlite_master
    WHERE type = 'table'
      AND (name LIKE 'usagectl\_%' ESCAPE '\' AND name <> 'usagectl_migration_log'
           OR name IN ('api_usage', 'api_usage_aggregates', 'api_alerts',
                       'InfrastructureLimit', 'InfrastructureMetric', 'UpgradeRecommendation')
           OR {all})
)
