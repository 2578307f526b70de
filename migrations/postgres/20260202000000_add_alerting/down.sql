DROP TABLE usagectl.usagectl_silences;
DROP TABLE usagectl.usagectl_notices;
DROP TABLE usagectl.usagectl_alert_events;
DROP TABLE usagectl.usagectl_alert_states;
DROP TABLE usagectl.usagectl_alert_channels;
DROP TABLE usagectl.usagectl_channels;
DROP TABLE usagectl.usagectl_alert_settings;
DROP TABLE usagectl.usagectl_api_limits;
