-- step: tables
-- The tables of limits, collectors and recommendations, beside the application's three.

-- Imported catalogues of plans and prices, as TOML. Of these and the one compiled into the program the
-- newest version is in use.
CREATE TABLE usagectl.usagectl_catalogues (
    "version" TEXT NOT NULL,
    "content" TEXT NOT NULL,
    "imported_by" TEXT NOT NULL,
    "imported_at" TIMESTAMP(3) NOT NULL,

    CONSTRAINT usagectl_catalogues_pkey PRIMARY KEY ("version")
);

-- The plan in use of each provider: the newest row that has begun.
CREATE TABLE usagectl.usagectl_plan_choices (
    "id" TEXT NOT NULL,
    "provider" TEXT NOT NULL,
    "plan" TEXT NOT NULL,
    "seats" INTEGER,
    "region" TEXT,
    -- The billing period begins on this day of the month, at midnight of this zone.
    "anchor_day" INTEGER NOT NULL CHECK ("anchor_day" BETWEEN 1 AND 31),
    "time_zone" TEXT NOT NULL,
    "valid_from" TIMESTAMP(3) NOT NULL,
    "chosen_by" TEXT NOT NULL,
    "created_at" TIMESTAMP(3) NOT NULL,

    CONSTRAINT usagectl_plan_choices_pkey PRIMARY KEY ("id")
);
CREATE INDEX usagectl_plan_choices_provider_idx
    ON usagectl.usagectl_plan_choices ("provider", "valid_from");

-- Origin and meaning of the rows of InfrastructureLimit.
CREATE TABLE usagectl.usagectl_limit_origins (
    "service" TEXT NOT NULL,
    "metric" TEXT NOT NULL,
    "plan" TEXT NOT NULL,
    -- CATALOGUE: written by `limits init`. USER: set by hand, never overwritten. BUDGET: a user's own ceiling.
    "origin" TEXT NOT NULL CHECK ("origin" IN ('CATALOGUE', 'USER', 'BUDGET')),
    "kind" TEXT NOT NULL CHECK ("kind" IN ('GAUGE', 'PERIOD', 'RATE')),
    "period" TEXT CHECK ("period" IN ('DAY', 'MONTH', 'BILLING_MONTH')),
    "at_limit" TEXT NOT NULL
        CHECK ("at_limit" IN ('BILL', 'PAUSE', 'THROTTLE', 'REJECT', 'EVICT', 'UNKNOWN')),
    -- The values as written; a row with other values was changed by another program and is not overwritten.
    "limit_value" DOUBLE PRECISION NOT NULL,
    "source" TEXT,
    "page_date" TEXT,
    "grade" TEXT CHECK ("grade" IN ('A', 'B', 'C')),
    "catalogue_version" TEXT,
    "note" TEXT,
    "updated_by" TEXT NOT NULL,
    "updated_at" TIMESTAMP(3) NOT NULL,

    CONSTRAINT usagectl_limit_origins_pkey PRIMARY KEY ("service", "metric", "plan")
);

-- Dirty days: days whose rows in InfrastructureMetric changed since they were aggregated. Append-only, as
-- usagectl_dirty_hours is.
CREATE TABLE usagectl.usagectl_dirty_metric_days (
    "service" TEXT NOT NULL,
    "metric" TEXT NOT NULL,
    "day" TIMESTAMP(3) NOT NULL
);
ALTER TABLE usagectl.usagectl_dirty_metric_days REPLICA IDENTITY FULL;

-- One row for each UTC day of each series: what forecasts are made from.
CREATE TABLE usagectl.usagectl_metric_days (
    "service" TEXT NOT NULL,
    "metric" TEXT NOT NULL,
    -- The database, project or team; '' if there is only one.
    "resource" TEXT NOT NULL,
    "day" TIMESTAMP(3) NOT NULL,
    "points" INTEGER NOT NULL,
    "first_value" DOUBLE PRECISION NOT NULL,
    "last_value" DOUBLE PRECISION NOT NULL,
    "min_value" DOUBLE PRECISION NOT NULL,
    "median_value" DOUBLE PRECISION NOT NULL,
    "max_value" DOUBLE PRECISION NOT NULL,
    "p95_value" DOUBLE PRECISION NOT NULL,
    -- Usage on this day, of counters and daily amounts; null for levels.
    "used" DOUBLE PRECISION,
    "resets" INTEGER NOT NULL,
    "first_at" TIMESTAMP(3) NOT NULL,
    "last_at" TIMESTAMP(3) NOT NULL,
    -- The kind of reading: LEVEL, CUMULATIVE (since period_start) or AMOUNT.
    "reading" TEXT NOT NULL CHECK ("reading" IN ('LEVEL', 'CUMULATIVE', 'AMOUNT')),
    "period_start" TIMESTAMP(3),
    -- Its points are pruned; the day is final.
    "sealed" BOOLEAN NOT NULL,

    CONSTRAINT usagectl_metric_days_pkey PRIMARY KEY ("service", "metric", "resource", "day")
);

-- The runs of the collectors.
CREATE TABLE usagectl.usagectl_collector_runs (
    "id" TEXT NOT NULL,
    "collector" TEXT NOT NULL,
    "started_at" TIMESTAMP(3) NOT NULL,
    "duration_ms" BIGINT NOT NULL,
    -- EMPTY: the source returned no data, which is not an error.
    "result" TEXT NOT NULL CHECK ("result" IN ('OK', 'EMPTY', 'FAILED')),
    "written" INTEGER NOT NULL,
    "error" TEXT,

    CONSTRAINT usagectl_collector_runs_pkey PRIMARY KEY ("id")
);
CREATE INDEX usagectl_collector_runs_collector_idx
    ON usagectl.usagectl_collector_runs ("collector", "started_at");

-- The last reading of each counter. epoch changes when the counter is reset.
CREATE TABLE usagectl.usagectl_counters (
    "name" TEXT NOT NULL,
    "epoch" TEXT NOT NULL,
    "value" DOUBLE PRECISION NOT NULL,
    "read_at" TIMESTAMP(3) NOT NULL,

    CONSTRAINT usagectl_counters_pkey PRIMARY KEY ("name")
);

-- Business inputs given by the user, such as revenue per hour. Decimal numbers as text.
CREATE TABLE usagectl.usagectl_inputs (
    "name" TEXT NOT NULL,
    -- A service, or '' for all.
    "service" TEXT NOT NULL,
    "value" TEXT NOT NULL,
    "updated_by" TEXT NOT NULL,
    "updated_at" TIMESTAMP(3) NOT NULL,

    CONSTRAINT usagectl_inputs_pkey PRIMARY KEY ("name", "service")
);

-- Columns of UpgradeRecommendation beyond the application's.
CREATE TABLE usagectl.usagectl_recommendations (
    "recommendation_id" TEXT NOT NULL,
    -- SHA-256 of service, resource, metric, current plan and kind.
    "question" TEXT NOT NULL,
    -- The same while the recommendation is open, else null; unique, so only one can be open.
    "open_question" TEXT,
    "resource" TEXT NOT NULL,
    "kind" TEXT NOT NULL CHECK ("kind" IN ('UPGRADE', 'DOWNGRADE', 'REDUCE', 'BUDGET')),
    "version" INTEGER NOT NULL,
    -- As last written or read; the application may have changed its own column since.
    "status" TEXT NOT NULL,
    -- JSON, see src/domain/recommendation/facts.rs: figures, inputs, compared plans.
    "facts" TEXT NOT NULL,
    "facts_hash" TEXT NOT NULL,
    "catalogue_version" TEXT NOT NULL,
    "last_seen_at" TIMESTAMP(3) NOT NULL,
    "seen_count" INTEGER NOT NULL,
    "unseen_count" INTEGER NOT NULL,
    "cleared_count" INTEGER NOT NULL,
    "unseen_since" TIMESTAMP(3),
    "dismissed_priority" TEXT,
    "snoozed_until" TIMESTAMP(3),
    "reopened_count" INTEGER NOT NULL,
    "predecessor_id" TEXT,
    -- JSON: predicted and actual values, measured after it was implemented.
    "outcome" TEXT,

    CONSTRAINT usagectl_recommendations_pkey PRIMARY KEY ("recommendation_id")
);
CREATE UNIQUE INDEX usagectl_recommendations_open_question_key
    ON usagectl.usagectl_recommendations ("open_question");
CREATE INDEX usagectl_recommendations_question_idx
    ON usagectl.usagectl_recommendations ("question");

-- The history of recommendations, append-only.
CREATE TABLE usagectl.usagectl_recommendation_history (
    "recommendation_id" TEXT NOT NULL,
    "number" INTEGER NOT NULL,
    "at" TIMESTAMP(3) NOT NULL,
    "actor" TEXT NOT NULL,
    "actor_kind" TEXT NOT NULL CHECK ("actor_kind" IN ('PERSON', 'ENGINE', 'APPLICATION')),
    "from_status" TEXT,
    "to_status" TEXT NOT NULL,
    "note" TEXT,
    -- JSON: changed figures with old and new values.
    "changes" TEXT,
    "catalogue_version" TEXT NOT NULL,
    "facts_hash" TEXT NOT NULL,

    CONSTRAINT usagectl_recommendation_history_pkey PRIMARY KEY ("recommendation_id", "number")
);

-- step: triggers on InfrastructureMetric
-- The triggers follow: migrations/postgres/metric_triggers.sql.
