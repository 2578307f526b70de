-- What limits, collectors and recommendations need beside the application's three tables.

-- Catalogues of plans and prices that the user imported, whole, as TOML. The one compiled into the
-- program counts as well; of both the newer version is in force.
CREATE TABLE "usagectl_catalogues" (
    "version" TEXT NOT NULL,
    "content" TEXT NOT NULL,
    "imported_by" TEXT NOT NULL,
    "imported_at" DATETIME NOT NULL,

    PRIMARY KEY ("version")
);

-- Which plan of a provider is in use, and from when: the newest row that has begun is in force.
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

-- Where a row of InfrastructureLimit comes from and how it is meant.
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
    -- The values as they were written; a row that differs was changed by somebody else and is theirs.
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

-- Days whose rows in InfrastructureMetric changed since they were summed up, each once.
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
    -- Which database, project or team; '' where the series has no name of its own.
    "resource" TEXT NOT NULL,
    "day" DATETIME NOT NULL,
    "points" INTEGER NOT NULL,
    "first_value" REAL NOT NULL,
    "last_value" REAL NOT NULL,
    "min_value" REAL NOT NULL,
    "median_value" REAL NOT NULL,
    "max_value" REAL NOT NULL,
    "p95_value" REAL NOT NULL,
    -- What was used on this day, of counters and of daily amounts; null for levels.
    "used" REAL,
    "resets" INTEGER NOT NULL,
    "first_at" DATETIME NOT NULL,
    "last_at" DATETIME NOT NULL,
    -- How the last point is to be read: LEVEL, CUMULATIVE since period_start, or an AMOUNT of its own.
    "reading" TEXT NOT NULL CHECK ("reading" IN ('LEVEL', 'CUMULATIVE', 'AMOUNT')),
    "period_start" DATETIME,
    -- Its points are gone; nothing can be added to it any more.
    "sealed" BOOLEAN NOT NULL,

    PRIMARY KEY ("service", "metric", "resource", "day")
);

-- What each collector did, each time.
CREATE TABLE "usagectl_collector_runs" (
    "id" TEXT NOT NULL,
    "collector" TEXT NOT NULL,
    "started_at" DATETIME NOT NULL,
    "duration_ms" BIGINT NOT NULL,
    -- EMPTY: it answered that there is nothing to tell, which is no error.
    "result" TEXT NOT NULL CHECK ("result" IN ('OK', 'EMPTY', 'FAILED')),
    "written" INTEGER NOT NULL,
    "error" TEXT,

    PRIMARY KEY ("id")
);
CREATE INDEX "usagectl_collector_runs_collector_idx"
    ON "usagectl_collector_runs" ("collector", "started_at");

-- Counters as last read, to tell what was used since. epoch changes when the counter began anew.
CREATE TABLE "usagectl_counters" (
    "name" TEXT NOT NULL,
    "epoch" TEXT NOT NULL,
    "value" REAL NOT NULL,
    "read_at" DATETIME NOT NULL,

    PRIMARY KEY ("name")
);

-- What only the user knows, such as the revenue of an hour. Decimal numbers as text.
CREATE TABLE "usagectl_inputs" (
    "name" TEXT NOT NULL,
    -- A service, or '' for all.
    "service" TEXT NOT NULL,
    "value" TEXT NOT NULL,
    "updated_by" TEXT NOT NULL,
    "updated_at" DATETIME NOT NULL,

    PRIMARY KEY ("name", "service")
);

-- What a row of UpgradeRecommendation has beyond the application's columns.
CREATE TABLE "usagectl_recommendations" (
    "recommendation_id" TEXT NOT NULL,
    -- SHA-256 of service, resource, metric, current plan and kind: the question that is answered.
    "question" TEXT NOT NULL,
    -- The question while the answer is open, else null: unique, so two open answers cannot be.
    "open_question" TEXT,
    "resource" TEXT NOT NULL,
    "kind" TEXT NOT NULL CHECK ("kind" IN ('UPGRADE', 'DOWNGRADE', 'REDUCE', 'BUDGET')),
    "version" INTEGER NOT NULL,
    -- As we last wrote or saw it; the application may have moved its own column since.
    "status" TEXT NOT NULL,
    -- JSON, as src/domain/recommendation.rs writes it: figures, inputs, compared plans.
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
    -- JSON: what was predicted and what came, measured after it was implemented.
    "outcome" TEXT,

    PRIMARY KEY ("recommendation_id")
);
CREATE UNIQUE INDEX "usagectl_recommendations_open_question_key"
    ON "usagectl_recommendations" ("open_question");
CREATE INDEX "usagectl_recommendations_question_idx"
    ON "usagectl_recommendations" ("question");

-- Every step of a recommendation, never changed.
CREATE TABLE "usagectl_recommendation_history" (
    "recommendation_id" TEXT NOT NULL,
    "number" INTEGER NOT NULL,
    "at" DATETIME NOT NULL,
    "actor" TEXT NOT NULL,
    "actor_kind" TEXT NOT NULL CHECK ("actor_kind" IN ('PERSON', 'ENGINE', 'APPLICATION')),
    "from_status" TEXT,
    "to_status" TEXT NOT NULL,
    "note" TEXT,
    -- JSON: which figures changed, from what to what.
    "changes" TEXT,
    "catalogue_version" TEXT NOT NULL,
    "facts_hash" TEXT NOT NULL,

    PRIMARY KEY ("recommendation_id", "number")
);

-- Prose about a recommendation, and which facts it tells of.
CREATE TABLE "usagectl_narratives" (
    "recommendation_id" TEXT NOT NULL,
    "facts_hash" TEXT NOT NULL,
    "model" TEXT NOT NULL,
    "text" TEXT NOT NULL,
    -- Why it is not what the model wrote but the template; null if it is the model's.
    "refused" TEXT,
    "created_at" DATETIME NOT NULL,

    PRIMARY KEY ("recommendation_id")
);

-- The marks. A timestamp that nobody can read marks nothing; reading it is where it is told.
-- ON CONFLICT and not OR IGNORE: the application's own INSERT OR ABORT would override the latter.
CREATE TRIGGER "usagectl_metrics_after_insert" AFTER INSERT ON "InfrastructureMetric"
BEGIN
    INSERT INTO "usagectl_dirty_metric_days" ("service", "metric", "day")
    SELECT NEW."service", NEW."metric", "day" FROM (SELECT CASE typeof(NEW."timestamp")
        WHEN 'text' THEN CASE
            WHEN NEW."timestamp" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'
                AND NEW."timestamp" >= '0001-' AND date(substr(NEW."timestamp", 1, 10), '+0 days') = substr(NEW."timestamp", 1, 10)
            THEN strftime('%Y-%m-%dT00:00:00.000+00:00', NEW."timestamp") END
        WHEN 'blob' THEN NULL
        ELSE strftime('%Y-%m-%dT00:00:00.000+00:00', NEW."timestamp" / 1000.0, 'unixepoch') END AS "day")
    WHERE "day" IS NOT NULL
    ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER "usagectl_metrics_after_update" AFTER UPDATE ON "InfrastructureMetric"
BEGIN
    INSERT INTO "usagectl_dirty_metric_days" ("service", "metric", "day")
    SELECT OLD."service", OLD."metric", "day" FROM (SELECT CASE typeof(OLD."timestamp")
        WHEN 'text' THEN CASE
            WHEN OLD."timestamp" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'
                AND OLD."timestamp" >= '0001-' AND date(substr(OLD."timestamp", 1, 10), '+0 days') = substr(OLD."timestamp", 1, 10)
            THEN strftime('%Y-%m-%dT00:00:00.000+00:00', OLD."timestamp") END
        WHEN 'blob' THEN NULL
        ELSE strftime('%Y-%m-%dT00:00:00.000+00:00', OLD."timestamp" / 1000.0, 'unixepoch') END AS "day")
    WHERE "day" IS NOT NULL
    ON CONFLICT DO NOTHING;
    INSERT INTO "usagectl_dirty_metric_days" ("service", "metric", "day")
    SELECT NEW."service", NEW."metric", "day" FROM (SELECT CASE typeof(NEW."timestamp")
        WHEN 'text' THEN CASE
            WHEN NEW."timestamp" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'
                AND NEW."timestamp" >= '0001-' AND date(substr(NEW."timestamp", 1, 10), '+0 days') = substr(NEW."timestamp", 1, 10)
            THEN strftime('%Y-%m-%dT00:00:00.000+00:00', NEW."timestamp") END
        WHEN 'blob' THEN NULL
        ELSE strftime('%Y-%m-%dT00:00:00.000+00:00', NEW."timestamp" / 1000.0, 'unixepoch') END AS "day")
    WHERE "day" IS NOT NULL
    ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER "usagectl_metrics_after_delete" AFTER DELETE ON "InfrastructureMetric"
BEGIN
    INSERT INTO "usagectl_dirty_metric_days" ("service", "metric", "day")
    SELECT OLD."service", OLD."metric", "day" FROM (SELECT CASE typeof(OLD."timestamp")
        WHEN 'text' THEN CASE
            WHEN OLD."timestamp" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'
                AND OLD."timestamp" >= '0001-' AND date(substr(OLD."timestamp", 1, 10), '+0 days') = substr(OLD."timestamp", 1, 10)
            THEN strftime('%Y-%m-%dT00:00:00.000+00:00', OLD."timestamp") END
        WHEN 'blob' THEN NULL
        ELSE strftime('%Y-%m-%dT00:00:00.000+00:00', OLD."timestamp" / 1000.0, 'unixepoch') END AS "day")
    WHERE "day" IS NOT NULL
    ON CONFLICT DO NOTHING;
END;

-- What was measured before the triggers were there.
INSERT INTO "usagectl_dirty_metric_days" ("service", "metric", "day")
SELECT "service", "metric", "day" FROM (
    SELECT "service", "metric", CASE typeof(metrics."timestamp")
        WHEN 'text' THEN CASE
            WHEN metrics."timestamp" GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'
                AND metrics."timestamp" >= '0001-' AND date(substr(metrics."timestamp", 1, 10), '+0 days') = substr(metrics."timestamp", 1, 10)
            THEN strftime('%Y-%m-%dT00:00:00.000+00:00', metrics."timestamp") END
        WHEN 'blob' THEN NULL
        ELSE strftime('%Y-%m-%dT00:00:00.000+00:00', metrics."timestamp" / 1000.0, 'unixepoch') END AS "day"
    FROM "InfrastructureMetric" AS metrics
)
WHERE "day" IS NOT NULL
ON CONFLICT DO NOTHING;
