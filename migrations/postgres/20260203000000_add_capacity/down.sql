-- step: triggers
DROP TRIGGER usagectl_metrics_after_truncate ON "InfrastructureMetric";
DROP TRIGGER usagectl_metrics_after_delete ON "InfrastructureMetric";
DROP TRIGGER usagectl_metrics_after_update ON "InfrastructureMetric";
DROP TRIGGER usagectl_metrics_after_insert ON "InfrastructureMetric";

-- step: functions and tables
DROP FUNCTION usagectl.usagectl_mark_all_metrics();
DROP FUNCTION usagectl.usagectl_mark_changed_metrics();
DROP FUNCTION usagectl.usagectl_mark_old_metrics();
DROP FUNCTION usagectl.usagectl_mark_new_metrics();
DROP TABLE usagectl.usagectl_recommendation_history;
DROP TABLE usagectl.usagectl_recommendations;
DROP TABLE usagectl.usagectl_inputs;
DROP TABLE usagectl.usagectl_counters;
DROP TABLE usagectl.usagectl_collector_runs;
DROP TABLE usagectl.usagectl_metric_days;
DROP TABLE usagectl.usagectl_dirty_metric_days;
DROP TABLE usagectl.usagectl_limit_origins;
DROP TABLE usagectl.usagectl_plan_choices;
DROP TABLE usagectl.usagectl_catalogues;
