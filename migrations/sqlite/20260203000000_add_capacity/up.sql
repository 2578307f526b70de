-- step: tables
-- The tables of limits, collectors and recommendations, beside the application's three.

-- Imported catalogues of plans and prices, as TOML. Of these and the one compiled into the program the
-- newest version is in use.
CREATE TABLE "usagectl_catalogues" (
    "version" TEXT NOT NULL,
    "content" TEXT NOT NULL,
    "imported_by" TEXT NOT NULL,
    "imported_at" DATETIME NOT NULL,

    PRIMARY KEY ("version")
);

-- The plan in use of each provider: the newest row that has begun.
CREATE TABLE "usagectl_plan_choices" (
    "id" TEXT NOT NULL,
    "provider" TEXT NOT NULL,
    "plan" TEXT NOT NULL,
    "seats" INTEGER,
    "region" TEXT,
    -- The billing period begins on this day of the month, at midnight of this zone.
    "anchor_day" INTEGER NOT NULL CHECK ("anchor_day" BETWEEN 1 AND 31),
    "time_zone" TEXT NOT NULL,
    "valid_from" DATETIME NOT NULL,
    "chosen_by" TEXT NOT NULL,
    "created_at" DATETIME NOT NULL,

    PRIMARY KEY ("id")
);
CREATE INDEX "usagectl_plan_choices_provider_idx"
    ON "usagectl_plan_choices" ("provider", "valid_from");

-- Origin and meaning of the rows of InfrastructureLimit.
CREATE TABLE "usagectl_limit_origins" (
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
    "limit_value" REAL NOT NULL,
    "source" TEXT,
    "page_date" TEXT,
    "grade" TEXT CHECK ("grade" IN ('A', 'B', 'C')),
    "catalogue_version" TEXT,
    "note" TEXT,
    "updated_by" TEXT NOT NULL,
    "updated_at" DATETIME NOT NULL,

    PRIMARY KEY ("service", "metric", "plan")
);

-- Dirty days: days whose rows in InfrastructureMetric changed since they were aggregated, each once.
CREATE TABLE "usagectl_dirty_metric_days" (
    "service" TEXT NOT NULL,
    "metric" TEXT NOT NULL,
    "day" DATETIME NOT NULL,

    PRIMARY KEY ("service", "metric", "day")
) WITHOUT ROWID;

-- One row for each UTC day of each series: what forecasts are made from.
CREATE TABLE "usagectl_metric_days" (
    "service" TEXT NOT NULL,
    "metric" TEXT NOT NULL,
    -- The database, project or team; '' if there is only one.
    "resource" TEXT NOT NULL,
    "day" DATETIME NOT NULL,
    "points" INTEGER NOT NULL,
    "first_value" REAL NOT NULL,
    "last_value" REAL NOT NULL,
    "min_value" REAL NOT NULL,
    "median_value" REAL NOT NULL,
    "max_value" REAL NOT NULL,
    "p95_value" REAL NOT NULL,
    -- Usage on this day, of counters and daily amounts; null for levels.
    "used" REAL,
    "resets" INTEGER NOT NULL,
    "first_at" DATETIME NOT NULL,
    "last_at" DATETIME NOT NULL,
    -- The kind of reading: LEVEL, CUMULATIVE (since period_start) or AMOUNT.
    "reading" TEXT NOT NULL CHECK ("reading" IN ('LEVEL', 'CUMULATIVE', 'AMOUNT')),
    "period_start" DATETIME,
    -- Its points are pruned; the day is final.
    "sealed" BOOLEAN NOT NULL,

    PRIMARY KEY ("service", "metric", "resource", "day")
);

-- The runs of the collectors.
CREATE TABLE "usagectl_collector_runs" (
    "id" TEXT NOT NULL,
    "collector" TEXT NOT NULL,
    "started_at" DATETIME NOT NULL,
    "duration_ms" BIGINT NOT NULL,
    -- EMPTY: the source returned no data, which is not an error.
    "result" TEXT NOT NULL CHECK ("result" IN ('OK', 'EMPTY', 'FAILED')),
    "written" INTEGER NOT NULL,
    "error" TEXT,

    PRIMARY KEY ("id")
);
CREATE INDEX "usagectl_collector_runs_collector_idx"
    ON "usagectl_collector_runs" ("collector", "started_at");

-- The last reading of each counter. epoch changes when the counter is reset.
CREATE TABLE "usagectl_counters" (
    "name" TEXT NOT NULL,
    "epoch" TEXT NOT NULL,
    "value" REAL NOT NULL,
    "read_at" DATETIME NOT NULL,

    PRIMARY KEY ("name")
);

-- Business inputs given by the user, such as revenue per hour. Decimal numbers as text.
CREATE TABLE "usagectl_inputs" (
    "name" TEXT NOT NULL,
    -- A service, or '' for all.
    "service" TEXT NOT NULL,
    "value" TEXT NOT NULL,
    "updated_by" TEXT NOT NULL,
    "updated_at" DATETIME NOT NULL,

    PRIMARY KEY ("name", "service")
);

-- Columns of UpgradeRecommendation beyond the application's.
CREATE TABLE "usagectl_recommendations" (
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
    "last_seen_at" DATETIME NOT NULL,
    "seen_count" INTEGER NOT NULL,
    "unseen_count" INTEGER NOT NULL,
    "cleared_count" INTEGER NOT NULL,
    "unseen_since" DATETIME,
    "dismissed_priority" TEXT,
    "snoozed_until" DATETIME,
    "reopened_count" INTEGER NOT NULL,
    "predecessor_id" TEXT,
    -- JSON: predicted and actual values, measured after it was implemented.
    "outcome" TEXT,

    PRIMARY KEY ("recommendation_id")
);
CREATE UNIQUE INDEX "usagectl_recommendations_open_question_key"
    ON "usagectl_recommendations" ("open_question");
CREATE INDEX "usagectl_recommendations_question_idx"
    ON "usagectl_recommendations" ("question");

-- The history of recommendations, append-only.
CREATE TABLE "usagectl_recommendation_history" (
    "recommendation_id" TEXT NOT NULL,
    "number" INTEGER NOT NULL,
    "at" DATETIME NOT NULL,
    "actor" TEXT NOT NULL,
    "actor_kind" TEXT NOT NULL CHECK ("actor_kind" IN ('PERSON', 'ENGINE', 'APPLICATION')),
    "from_status" TEXT,
    "to_status" TEXT NOT NULL,
    "note" TEXT,
    -- JSON: changed figures with old and new values.
    "changes" TEXT,
    "catalogue_version" TEXT NOT NULL,
    "facts_hash" TEXT NOT NULL,

    PRIMARY KEY ("recommendation_id", "number")
);

-- step: triggers on InfrastructureMetric
-- The triggers follow: migrations/sqlite/metric_triggers.sql.
