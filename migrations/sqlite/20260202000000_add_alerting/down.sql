DROP TABLE "usagectl_silences";
DROP TABLE "usagectl_notices";
DROP TABLE "usagectl_alert_events";
DROP TABLE "usagectl_alert_states";
DROP TABLE "usagectl_alert_channels";
DROP TABLE "usagectl_channels";
DROP TABLE "usagectl_alert_settings";
DROP TABLE "usagectl_api_limits";
