-- The tables of alerting, beside the application's api_alerts. They have no foreign key to it: the application
-- may delete and rename its rules, and `alerts check` ends the episodes of such rules.

-- The calls or credits that an API allows in a period.
CREATE TABLE usagectl.usagectl_api_limits (
    "api_name" TEXT NOT NULL,
    "period" TEXT NOT NULL CHECK ("period" IN ('SECOND', 'MINUTE', 'HOUR', 'DAY', 'MONTH')),
    "unit" TEXT NOT NULL CHECK ("unit" IN ('CALLS', 'CREDITS')),
    "limit_value" DOUBLE PRECISION NOT NULL CHECK ("limit_value" > 0),
    -- USER: set by hand, never overwritten. CATALOGUE: published by the provider.
    "origin" TEXT NOT NULL CHECK ("origin" IN ('USER', 'CATALOGUE')),
    "source" TEXT,
    -- The date on the source's page, YYYY-MM-DD.
    "page_date" TEXT,
    "grade" TEXT CHECK ("grade" IN ('A', 'B', 'C')),
    "catalogue_version" TEXT,
    "updated_at" TIMESTAMP(3) NOT NULL,

    CONSTRAINT usagectl_api_limits_pkey PRIMARY KEY ("api_name", "period")
);

-- Settings of a rule beyond the columns of api_alerts; a rule without a row has the defaults.
CREATE TABLE usagectl.usagectl_alert_settings (
    "alert_id" TEXT NOT NULL,
    -- ROLLING or CALENDAR; days of a calendar begin at midnight of time_zone, months on the day month_starts. Null is
    -- the default of the rule's type and period, and the calendar of the provider.
    "time_window" TEXT CHECK ("time_window" IN ('ROLLING', 'CALENDAR')),
    "time_zone" TEXT,
    "month_starts" INTEGER CHECK ("month_starts" BETWEEN 1 AND 31),
    -- JSON: value, severity and channels of each threshold, the lowest first; the value of that is in api_alerts.
    "thresholds" TEXT NOT NULL,
    "for_ms" BIGINT NOT NULL,
    "clear_below" DOUBLE PRECISION,
    "clear_for_ms" BIGINT NOT NULL,
    -- Null is the default of the period.
    "repeat_ms" BIGINT,
    "min_requests" BIGINT NOT NULL,
    "include_cached" BOOLEAN NOT NULL,
    -- ERROR_SPIKE relative to an earlier window: fires at baseline_factor times its average.
    "baseline_ms" BIGINT,
    "baseline_factor" DOUBLE PRECISION,
    -- The age of a step at which it is evaluated; null is that of `alerts check --settle`.
    "settle_ms" BIGINT,
    -- The time without a call after which the rule is UNKNOWN; 0 is never, null is the default of the period, which
    -- applies during an episode.
    "no_data_ms" BIGINT,
    -- Whether the thresholds of an ERROR_SPIKE are percentages of the calls.
    "percent" BOOLEAN NOT NULL DEFAULT false,
    "updated_at" TIMESTAMP(3) NOT NULL,

    CONSTRAINT usagectl_alert_settings_pkey PRIMARY KEY ("alert_id")
);

-- Rules of the types that the application does not have (NO_DATA), in the columns of api_alerts.
CREATE TABLE usagectl.usagectl_alert_rules (
    "id" TEXT NOT NULL,
    "api_name" TEXT NOT NULL,
    "alert_type" TEXT NOT NULL,
    "threshold" DOUBLE PRECISION NOT NULL,
    "period" TEXT NOT NULL,
    "enabled" BOOLEAN NOT NULL,
    "last_triggered" TIMESTAMP(3),
    "created_at" TIMESTAMP(3) NOT NULL,
    "updated_at" TIMESTAMP(3) NOT NULL,

    CONSTRAINT usagectl_alert_rules_pkey PRIMARY KEY ("id")
);
CREATE UNIQUE INDEX usagectl_alert_rules_place_key
    ON usagectl.usagectl_alert_rules ("api_name", "alert_type", "period");

-- Notification channels. Secrets are not stored, only the names of environment variables.
CREATE TABLE usagectl.usagectl_channels (
    "name" TEXT NOT NULL,
    "kind" TEXT NOT NULL CHECK ("kind" IN ('WEBHOOK', 'SLACK', 'ALERTMANAGER', 'EXEC', 'STDOUT')),
    -- JSON, see src/domain/alert/channel.rs.
    "settings" TEXT NOT NULL,
    "created_at" TIMESTAMP(3) NOT NULL,
    -- The time before which it accepts nothing, as its receiver asked (Retry-After).
    "not_before" TIMESTAMP(3),
    -- The channel is notified of this severity and higher ones only.
    "min_severity" TEXT CHECK ("min_severity" IN ('WARNING', 'CRITICAL')),

    CONSTRAINT usagectl_channels_pkey PRIMARY KEY ("name")
);

-- The channels of a rule; a rule without a row uses all channels.
CREATE TABLE usagectl.usagectl_alert_channels (
    "alert_id" TEXT NOT NULL,
    "channel" TEXT NOT NULL,

    CONSTRAINT usagectl_alert_channels_pkey PRIMARY KEY ("alert_id", "channel")
);

-- The state of each rule for each API.
CREATE TABLE usagectl.usagectl_alert_states (
    "alert_id" TEXT NOT NULL,
    "api_name" TEXT NOT NULL,
    "alert_type" TEXT NOT NULL,
    "period" TEXT NOT NULL,
    "state" TEXT NOT NULL
        CHECK ("state" IN ('OK', 'PENDING', 'FIRING', 'RECOVERING', 'UNKNOWN')),
    "severity" TEXT CHECK ("severity" IN ('WARNING', 'CRITICAL')),
    -- The start of the state, by the data.
    "since" TIMESTAMP(3) NOT NULL,
    -- Firing or recovering: the episode, and when it began to fire.
    "episode" TEXT,
    "fired_at" TIMESTAMP(3),
    -- The end of the evaluated data; the next check continues from here.
    "evaluated_to" TIMESTAMP(3) NOT NULL,
    -- Of the last evaluation; null is unknown.
    "value" DOUBLE PRECISION,
    "limit_value" DOUBLE PRECISION,
    "threshold" DOUBLE PRECISION,
    "reason" TEXT,
    "acknowledged_by" TEXT,
    "acknowledged_at" TIMESTAMP(3),
    "acknowledged_note" TEXT,
    -- The hash of the rule and limit in force, the step after which they apply, and the state at that step (JSON):
    -- from there on steps are evaluated again when their data changes.
    "conditions" TEXT,
    "origin_at" TIMESTAMP(3),
    "origin_state" TEXT,
    -- JSON: the thresholds above the lowest that are reached, and since when.
    "stages" TEXT,

    CONSTRAINT usagectl_alert_states_pkey PRIMARY KEY ("alert_id", "api_name")
);

-- The history: changes of state, acknowledgements, gaps that were not evaluated. Rows are never deleted.
CREATE TABLE usagectl.usagectl_alert_events (
    "id" TEXT NOT NULL,
    "alert_id" TEXT NOT NULL,
    "api_name" TEXT NOT NULL,
    "alert_type" TEXT NOT NULL,
    "period" TEXT NOT NULL,
    -- The time by the data, and the time of the check.
    "at" TIMESTAMP(3) NOT NULL,
    "recorded_at" TIMESTAMP(3) NOT NULL,
    "kind" TEXT NOT NULL
        CHECK ("kind" IN ('STATE', 'SEVERITY', 'ACKNOWLEDGED', 'SKIPPED', 'SETTLED')),
    "from_state" TEXT,
    "to_state" TEXT,
    "severity" TEXT,
    "episode" TEXT,
    "value" DOUBLE PRECISION,
    "threshold" DOUBLE PRECISION,
    "limit_value" DOUBLE PRECISION,
    "actor" TEXT,
    "note" TEXT,
    -- When a check found that the event did not happen, because data arrived late or changed.
    "withdrawn_at" TIMESTAMP(3),
    -- As in usagectl_alert_states.
    "stages" TEXT,

    CONSTRAINT usagectl_alert_events_pkey PRIMARY KEY ("id")
);
CREATE INDEX usagectl_alert_events_at_idx ON usagectl.usagectl_alert_events ("at", "id");
CREATE INDEX usagectl_alert_events_alert_idx
    ON usagectl.usagectl_alert_events ("alert_id", "api_name", "at");

-- Hours of APIs with rules in which rows changed since the last check: it evaluates them again. Written when their
-- dirty hours are taken, by `aggregate` or `alerts check`, and deleted by id once the result is saved.
CREATE TABLE usagectl.usagectl_late_hours (
    "id" BIGINT GENERATED ALWAYS AS IDENTITY,
    "api_name" TEXT NOT NULL,
    "hour" TIMESTAMP(3) NOT NULL,

    CONSTRAINT usagectl_late_hours_pkey PRIMARY KEY ("id")
);

-- Notifications, one row for each channel. Receivers see the id, the same on every attempt.
CREATE TABLE usagectl.usagectl_notices (
    "id" TEXT NOT NULL,
    "alert_id" TEXT NOT NULL,
    "api_name" TEXT NOT NULL,
    -- The episode by the current data; receivers see the one in "content", which stays the same.
    "episode" TEXT NOT NULL,
    -- FIRING, REMINDER, RESOLVED, MISSED: it fired and ended between two checks, LATE: it was found in data that
    -- arrived late, SKIPPED: a period was not evaluated, UNKNOWN: the rule cannot be evaluated, or KNOWN: it can again.
    "kind" TEXT NOT NULL
        CHECK ("kind" IN (
            'FIRING', 'REMINDER', 'RESOLVED', 'MISSED', 'LATE', 'SKIPPED', 'UNKNOWN', 'KNOWN'
        )),
    -- Sequence number of its kind within the episode, from 1.
    "number" INTEGER NOT NULL,
    "channel" TEXT NOT NULL,
    -- JSON, see src/domain/alert/; complete, so that it can be sent after the rule is deleted.
    "content" TEXT NOT NULL,
    "created_at" TIMESTAMP(3) NOT NULL,
    -- WAITING, DELIVERED, SILENCED (held back until the silence ends) or DROPPED.
    "delivery" TEXT NOT NULL CHECK ("delivery" IN ('WAITING', 'DELIVERED', 'SILENCED', 'DROPPED')),
    "attempts" INTEGER NOT NULL,
    "next_attempt_at" TIMESTAMP(3) NOT NULL,
    "delivered_at" TIMESTAMP(3),
    "error" TEXT,

    CONSTRAINT usagectl_notices_pkey PRIMARY KEY ("id")
);
CREATE INDEX usagectl_notices_delivery_idx
    ON usagectl.usagectl_notices ("delivery", "next_attempt_at");
CREATE INDEX usagectl_notices_episode_idx ON usagectl.usagectl_notices ("episode");

-- Silences: matching rules are evaluated and send no notification.
CREATE TABLE usagectl.usagectl_silences (
    "id" TEXT NOT NULL,
    -- A name or a pattern with * and ?. Null matches any.
    "api_name" TEXT,
    "alert_type" TEXT,
    "alert_id" TEXT,
    "starts_at" TIMESTAMP(3) NOT NULL,
    -- Null while it waits for "episodes" to end.
    "ends_at" TIMESTAMP(3),
    "reason" TEXT NOT NULL,
    "created_by" TEXT NOT NULL,
    "created_at" TIMESTAMP(3) NOT NULL,
    -- JSON: the ids of the episodes at whose end it ends; null if it has a fixed end.
    "episodes" TEXT,

    CONSTRAINT usagectl_silences_pkey PRIMARY KEY ("id")
);
CREATE INDEX usagectl_silences_ends_at_idx ON usagectl.usagectl_silences ("ends_at");
