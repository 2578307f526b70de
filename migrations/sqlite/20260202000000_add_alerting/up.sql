-- What alerting needs beside the application's api_alerts. No foreign key leads there: the application
-- deletes and renames its rules as it likes, and `alerts check` settles what was left open.

-- How many calls, or credits, an API allows in a period.
CREATE TABLE "usagectl_api_limits" (
    "api_name" TEXT NOT NULL,
    "period" TEXT NOT NULL CHECK ("period" IN ('SECOND', 'MINUTE', 'HOUR', 'DAY', 'MONTH')),
    "unit" TEXT NOT NULL CHECK ("unit" IN ('CALLS', 'CREDITS')),
    "limit_value" REAL NOT NULL CHECK ("limit_value" > 0),
    -- USER: set by hand, never overwritten. CATALOGUE: published by the provider.
    "origin" TEXT NOT NULL CHECK ("origin" IN ('USER', 'CATALOGUE')),
    "source" TEXT,
    -- The date on the source's page, YYYY-MM-DD.
    "page_date" TEXT,
    "grade" TEXT CHECK ("grade" IN ('A', 'B', 'C')),
    "catalogue_version" TEXT,
    "updated_at" DATETIME NOT NULL,

    PRIMARY KEY ("api_name", "period")
);

-- What a rule has beyond the columns of api_alerts; a rule without a row here has the defaults.
CREATE TABLE "usagectl_alert_settings" (
    "alert_id" TEXT NOT NULL,
    -- ROLLING or CALENDAR; days and months of a calendar begin at midnight of time_zone.
    "time_window" TEXT NOT NULL CHECK ("time_window" IN ('ROLLING', 'CALENDAR')),
    "time_zone" TEXT NOT NULL,
    -- What reaching the threshold means; critical_threshold, if any, lies above and is critical.
    "severity" TEXT NOT NULL CHECK ("severity" IN ('WARNING', 'CRITICAL')),
    "critical_threshold" REAL,
    "for_ms" BIGINT NOT NULL,
    "clear_below" REAL,
    "clear_for_ms" BIGINT NOT NULL,
    "repeat_ms" BIGINT NOT NULL,
    "min_requests" BIGINT NOT NULL,
    "include_cached" BOOLEAN NOT NULL,
    -- ERROR_SPIKE relative to the same window so long ago: fires at baseline_factor times its average.
    "baseline_ms" BIGINT,
    "baseline_factor" REAL,
    "updated_at" DATETIME NOT NULL,

    PRIMARY KEY ("alert_id")
);

-- Where notices go. Secrets are not here: only the names of the variables that hold them.
CREATE TABLE "usagectl_channels" (
    "name" TEXT NOT NULL,
    "kind" TEXT NOT NULL CHECK ("kind" IN ('WEBHOOK', 'SLACK', 'ALERTMANAGER', 'EXEC', 'STDOUT')),
    -- JSON, as src/domain/channel.rs reads it.
    "settings" TEXT NOT NULL,
    "created_at" DATETIME NOT NULL,

    PRIMARY KEY ("name")
);

-- Which rule speaks through which channels; a rule without any speaks through all.
CREATE TABLE "usagectl_alert_channels" (
    "alert_id" TEXT NOT NULL,
    "channel" TEXT NOT NULL,

    PRIMARY KEY ("alert_id", "channel")
);

-- Where each rule stands, for each API: a rule for all APIs has a state for each of them.
CREATE TABLE "usagectl_alert_states" (
    "alert_id" TEXT NOT NULL,
    "api_name" TEXT NOT NULL,
    "alert_type" TEXT NOT NULL,
    "period" TEXT NOT NULL,
    "state" TEXT NOT NULL
        CHECK ("state" IN ('OK', 'PENDING', 'FIRING', 'RECOVERING', 'UNKNOWN')),
    "severity" TEXT CHECK ("severity" IN ('WARNING', 'CRITICAL')),
    -- Since when it is in this state, by the data.
    "since" DATETIME NOT NULL,
    -- Firing or recovering: the episode, and when it began to fire.
    "episode" TEXT,
    "fired_at" DATETIME,
    -- Up to where the data was evaluated; the next check goes on from here.
    "evaluated_to" DATETIME NOT NULL,
    -- As last evaluated; null is unknown.
    "value" REAL,
    "limit_value" REAL,
    "threshold" REAL,
    "reason" TEXT,
    "acknowledged_by" TEXT,
    "acknowledged_at" DATETIME,
    "acknowledged_note" TEXT,

    PRIMARY KEY ("alert_id", "api_name")
);

-- What happened, in order, never changed: changes of state, acknowledgements, gaps nobody looked into.
CREATE TABLE "usagectl_alert_events" (
    "id" TEXT NOT NULL,
    "alert_id" TEXT NOT NULL,
    "api_name" TEXT NOT NULL,
    "alert_type" TEXT NOT NULL,
    "period" TEXT NOT NULL,
    -- When it was so by the data, and when it was found out.
    "at" DATETIME NOT NULL,
    "recorded_at" DATETIME NOT NULL,
    "kind" TEXT NOT NULL
        CHECK ("kind" IN ('STATE', 'SEVERITY', 'ACKNOWLEDGED', 'SKIPPED', 'SETTLED')),
    "from_state" TEXT,
    "to_state" TEXT,
    "severity" TEXT,
    "episode" TEXT,
    "value" REAL,
    "threshold" REAL,
    "limit_value" REAL,
    "actor" TEXT,
    "note" TEXT,

    PRIMARY KEY ("id")
);
CREATE INDEX "usagectl_alert_events_at_idx" ON "usagectl_alert_events" ("at", "id");

-- Notices: one row for each channel. The id is the key that the receiver sees, the same on every try.
CREATE TABLE "usagectl_notices" (
    "id" TEXT NOT NULL,
    "alert_id" TEXT NOT NULL,
    "api_name" TEXT NOT NULL,
    "episode" TEXT NOT NULL,
    -- FIRING, REMINDER, RESOLVED, or MISSED: it fired and ended between two checks.
    "kind" TEXT NOT NULL CHECK ("kind" IN ('FIRING', 'REMINDER', 'RESOLVED', 'MISSED')),
    -- The how manieth of this kind in its episode.
    "number" INTEGER NOT NULL,
    "channel" TEXT NOT NULL,
    -- JSON, as src/domain/notice.rs writes it; complete, so that a rule that is gone can still be told of.
    "content" TEXT NOT NULL,
    "created_at" DATETIME NOT NULL,
    -- WAITING to be sent; DELIVERED; SILENCED, held back until the silence ends; DROPPED, and error says why.
    "delivery" TEXT NOT NULL CHECK ("delivery" IN ('WAITING', 'DELIVERED', 'SILENCED', 'DROPPED')),
    "attempts" INTEGER NOT NULL,
    "next_attempt_at" DATETIME NOT NULL,
    "delivered_at" DATETIME,
    "error" TEXT,

    PRIMARY KEY ("id")
);
CREATE INDEX "usagectl_notices_delivery_idx"
    ON "usagectl_notices" ("delivery", "next_attempt_at");
CREATE INDEX "usagectl_notices_episode_idx" ON "usagectl_notices" ("episode");

-- Times in which matching rules are evaluated and say nothing.
CREATE TABLE "usagectl_silences" (
    "id" TEXT NOT NULL,
    -- Null matches any.
    "api_name" TEXT,
    "alert_type" TEXT,
    "alert_id" TEXT,
    "starts_at" DATETIME NOT NULL,
    "ends_at" DATETIME NOT NULL,
    "reason" TEXT NOT NULL,
    "created_by" TEXT NOT NULL,
    "created_at" DATETIME NOT NULL,

    PRIMARY KEY ("id")
);
CREATE INDEX "usagectl_silences_ends_at_idx" ON "usagectl_silences" ("ends_at");
