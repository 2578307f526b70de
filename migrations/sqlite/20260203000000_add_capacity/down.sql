-- step: triggers
DROP TRIGGER "usagectl_metrics_after_delete";
DROP TRIGGER "usagectl_metrics_after_update";
DROP TRIGGER "usagectl_metrics_after_insert";

-- step: tables
DROP TABLE "usagectl_recommendation_history";
DROP TABLE "usagectl_recommendations";
DROP TABLE "usagectl_inputs";
DROP TABLE "usagectl_counters";
DROP TABLE "usagectl_collector_runs";
DROP TABLE "usagectl_metric_days";
DROP TABLE "usagectl_dirty_metric_days";
DROP TABLE "usagectl_limit_origins";
DROP TABLE "usagectl_plan_choices";
DROP TABLE "usagectl_catalogues";
