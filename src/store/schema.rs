//! The tables, for both engines. Kept by hand: what `diesel print-schema` writes for PostgreSQL and
//! for SQLite differs in spelling only, and a test compares this file with both migrated databases.
//!
//! The first three tables have the application's names, `Infrastructure*` and
//! `UpgradeRecommendation` those that Prisma derives; everything with the prefix `usagectl_` is ours
//! and lives in the PostgreSQL schema `usagectl`.

/// SQL types that Diesel does not have: the application's enums, and JSON as text.
pub mod sql_types {
    /// A type of PostgreSQL, in SQLite text.
    macro_rules! text_in_sqlite {
        ($($name:ident = $postgres:literal,)+) => {
            $(#[derive(Clone, Copy, Debug, diesel::query_builder::QueryId, diesel::sql_types::SqlType)]
            #[diesel(postgres_type(name = $postgres))]
            #[diesel(sqlite_type(name = "Text"))]
            pub struct $name;)+
        };
    }

    text_in_sqlite! {
        InfrastructureService = "InfrastructureService",
        MetricType = "MetricType",
        RecommendationPriority = "RecommendationPriority",
        RecommendationStatus = "RecommendationStatus",
        // The compact JSON that Prisma writes.
        JsonText = "jsonb",
    }
}

diesel::table! {
    api_usage (id) {
        id -> Text,
        api_name -> Text,
        endpoint -> Nullable<Text>,
        timestamp -> Timestamp,
        success -> Bool,
        status_code -> Nullable<Integer>,
        created_at -> Timestamp,
        method -> Nullable<Text>,
        response_time -> Nullable<Integer>,
        request_size -> Nullable<Integer>,
        response_size -> Nullable<Integer>,
        error_type -> Nullable<Text>,
        error_message -> Nullable<Text>,
        cost_credits -> Nullable<Double>,
        cached -> Bool,
        user_id -> Nullable<Text>,
    }
}

diesel::table! {
    api_usage_aggregates (id) {
        id -> Text,
        api_name -> Text,
        endpoint -> Nullable<Text>,
        aggregation_type -> Text,
        period_start -> Timestamp,
        period_end -> Timestamp,
        total_requests -> Integer,
        success_count -> Integer,
        error_count -> Integer,
        cached_count -> Integer,
        avg_response_time -> Nullable<Double>,
        max_response_time -> Nullable<Integer>,
        min_response_time -> Nullable<Integer>,
        rate_limit_errors -> Integer,
        timeout_errors -> Integer,
        server_errors -> Integer,
        total_cost -> Nullable<Double>,
        created_at -> Timestamp,
        updated_at -> Timestamp,
    }
}

diesel::table! {
    api_alerts (id) {
        id -> Text,
        api_name -> Text,
        alert_type -> Text,
        threshold -> Double,
        period -> Text,
        enabled -> Bool,
        last_triggered -> Nullable<Timestamp>,
        created_at -> Timestamp,
        updated_at -> Timestamp,
    }
}

diesel::table! {
    use diesel::sql_types::{Double, Nullable, Text, Timestamp};
    use super::sql_types::{InfrastructureService, JsonText, MetricType};

    #[sql_name = "InfrastructureMetric"]
    infrastructure_metric (id) {
        id -> Text,
        service -> InfrastructureService,
        metric -> MetricType,
        value -> Double,
        timestamp -> Timestamp,
        metadata -> Nullable<JsonText>,
    }
}

diesel::table! {
    use diesel::sql_types::{Double, Text, Timestamp};
    use super::sql_types::{InfrastructureService, MetricType};

    #[sql_name = "InfrastructureLimit"]
    infrastructure_limit (id) {
        id -> Text,
        service -> InfrastructureService,
        metric -> MetricType,
        #[sql_name = "currentPlan"]
        current_plan -> Text,
        #[sql_name = "limitValue"]
        limit_value -> Double,
        #[sql_name = "warningPercent"]
        warning_percent -> Double,
        #[sql_name = "criticalPercent"]
        critical_percent -> Double,
        #[sql_name = "createdAt"]
        created_at -> Timestamp,
        #[sql_name = "updatedAt"]
        updated_at -> Timestamp,
    }
}

diesel::table! {
    use diesel::sql_types::{Double, Integer, Nullable, Text, Timestamp};
    use super::sql_types::{
        InfrastructureService, JsonText, MetricType, RecommendationPriority, RecommendationStatus,
    };

    #[sql_name = "UpgradeRecommendation"]
    upgrade_recommendation (id) {
        id -> Text,
        service -> InfrastructureService,
        metric -> Nullable<MetricType>,
        #[sql_name = "currentPlan"]
        current_plan -> Text,
        #[sql_name = "recommendedPlan"]
        recommended_plan -> Text,
        priority -> RecommendationPriority,
        status -> RecommendationStatus,
        #[sql_name = "currentUsage"]
        current_usage -> Nullable<Double>,
        #[sql_name = "limitValue"]
        limit_value -> Nullable<Double>,
        #[sql_name = "usagePercent"]
        usage_percent -> Nullable<Double>,
        #[sql_name = "daysToLimit"]
        days_to_limit -> Nullable<Integer>,
        #[sql_name = "currentCost"]
        current_cost -> Nullable<Double>,
        #[sql_name = "projectedCost"]
        projected_cost -> Nullable<Double>,
        #[sql_name = "upgradeCost"]
        upgrade_cost -> Nullable<Double>,
        #[sql_name = "revenueImpact"]
        revenue_impact -> Nullable<Double>,
        #[sql_name = "profitImpact"]
        profit_impact -> Nullable<Double>,
        roi -> Nullable<Double>,
        reason -> Text,
        benefits -> Nullable<JsonText>,
        risks -> Nullable<JsonText>,
        #[sql_name = "reviewedBy"]
        reviewed_by -> Nullable<Text>,
        #[sql_name = "reviewNotes"]
        review_notes -> Nullable<Text>,
        #[sql_name = "reviewedAt"]
        reviewed_at -> Nullable<Timestamp>,
        #[sql_name = "implementedAt"]
        implemented_at -> Nullable<Timestamp>,
        #[sql_name = "expiresAt"]
        expires_at -> Nullable<Timestamp>,
        #[sql_name = "createdAt"]
        created_at -> Timestamp,
        #[sql_name = "updatedAt"]
        updated_at -> Timestamp,
    }
}

diesel::table! {
    /// On PostgreSQL only.
    usagectl_run_locks (kind) {
        kind -> Text,
        token -> Text,
        application -> Text,
        host -> Text,
        pid -> Integer,
        process_space -> Nullable<Text>,
        process_started -> Nullable<Text>,
        since -> Timestamp,
        expires_at -> Timestamp,
    }
}

diesel::table! {
    usagectl_dirty_hours (hour, api_name) {
        api_name -> Text,
        hour -> Timestamp,
        seen -> Bool,
        deleted_to -> Nullable<Timestamp>,
    }
}

diesel::table! {
    /// SQLite only: PostgreSQL's timestamps have one form.
    usagectl_odd_timestamps (usage_id) {
        usage_id -> Text,
        timestamp -> Timestamp,
        /// Generated from `timestamp`.
        hour -> Nullable<Timestamp>,
    }
}

diesel::table! {
    usagectl_fingerprints (hour, api_name) {
        api_name -> Text,
        hour -> Timestamp,
        row_count -> BigInt,
        hash_sum -> BigInt,
    }
}

diesel::table! {
    usagectl_stale_periods (aggregation_type, period_start, api_name) {
        aggregation_type -> Text,
        period_start -> Timestamp,
        api_name -> Text,
        deleted_to -> Nullable<Timestamp>,
    }
}

diesel::table! {
    usagectl_settings (name) {
        name -> Text,
        value -> Text,
    }
}

diesel::table! {
    usagectl_rollups (aggregation_type, scope, api_name, period_start, endpoint) {
        aggregation_type -> Text,
        scope -> Text,
        api_name -> Text,
        period_start -> Timestamp,
        endpoint -> Text,
        total_requests -> BigInt,
        success_count -> BigInt,
        error_count -> BigInt,
        cached_count -> BigInt,
        rate_limit_errors -> BigInt,
        timeout_errors -> BigInt,
        server_errors -> BigInt,
        client_errors -> BigInt,
        network_errors -> BigInt,
        other_errors -> BigInt,
        response_time_count -> BigInt,
        response_time_sum -> BigInt,
        min_response_time -> Nullable<Integer>,
        max_response_time -> Nullable<Integer>,
        response_time_histogram -> Binary,
        request_bytes -> Nullable<BigInt>,
        response_bytes -> Nullable<BigInt>,
        total_cost -> Text,
        cached_cost -> Text,
    }
}

diesel::table! {
    usagectl_api_limits (api_name, period) {
        api_name -> Text,
        period -> Text,
        unit -> Text,
        limit_value -> Double,
        origin -> Text,
        source -> Nullable<Text>,
        page_date -> Nullable<Text>,
        grade -> Nullable<Text>,
        catalogue_version -> Nullable<Text>,
        updated_at -> Timestamp,
    }
}

diesel::table! {
    usagectl_alert_settings (alert_id) {
        alert_id -> Text,
        time_window -> Nullable<Text>,
        time_zone -> Nullable<Text>,
        month_starts -> Nullable<Integer>,
        thresholds -> Text,
        for_ms -> BigInt,
        clear_below -> Nullable<Double>,
        clear_for_ms -> BigInt,
        repeat_ms -> Nullable<BigInt>,
        min_requests -> BigInt,
        include_cached -> Bool,
        baseline_ms -> Nullable<BigInt>,
        baseline_factor -> Nullable<Double>,
        settle_ms -> Nullable<BigInt>,
        no_data_ms -> Nullable<BigInt>,
        percent -> Bool,
        updated_at -> Timestamp,
    }
}

diesel::table! {
    usagectl_alert_rules (id) {
        id -> Text,
        api_name -> Text,
        alert_type -> Text,
        threshold -> Double,
        period -> Text,
        enabled -> Bool,
        last_triggered -> Nullable<Timestamp>,
        created_at -> Timestamp,
        updated_at -> Timestamp,
    }
}

diesel::table! {
    usagectl_channels (name) {
        name -> Text,
        kind -> Text,
        settings -> Text,
        created_at -> Timestamp,
        not_before -> Nullable<Timestamp>,
        min_severity -> Nullable<Text>,
    }
}

diesel::table! {
    usagectl_alert_channels (alert_id, channel) {
        alert_id -> Text,
        channel -> Text,
    }
}

diesel::table! {
    usagectl_alert_states (alert_id, api_name) {
        alert_id -> Text,
        api_name -> Text,
        alert_type -> Text,
        period -> Text,
        state -> Text,
        severity -> Nullable<Text>,
        since -> Timestamp,
        episode -> Nullable<Text>,
        fired_at -> Nullable<Timestamp>,
        evaluated_to -> Timestamp,
        value -> Nullable<Double>,
        limit_value -> Nullable<Double>,
        threshold -> Nullable<Double>,
        reason -> Nullable<Text>,
        acknowledged_by -> Nullable<Text>,
        acknowledged_at -> Nullable<Timestamp>,
        acknowledged_note -> Nullable<Text>,
        conditions -> Nullable<Text>,
        origin_at -> Nullable<Timestamp>,
        origin_state -> Nullable<Text>,
        stages -> Nullable<Text>,
    }
}

diesel::table! {
    usagectl_alert_events (id) {
        id -> Text,
        alert_id -> Text,
        api_name -> Text,
        alert_type -> Text,
        period -> Text,
        at -> Timestamp,
        recorded_at -> Timestamp,
        kind -> Text,
        from_state -> Nullable<Text>,
        to_state -> Nullable<Text>,
        severity -> Nullable<Text>,
        episode -> Nullable<Text>,
        value -> Nullable<Double>,
        threshold -> Nullable<Double>,
        limit_value -> Nullable<Double>,
        actor -> Nullable<Text>,
        note -> Nullable<Text>,
        withdrawn_at -> Nullable<Timestamp>,
        stages -> Nullable<Text>,
    }
}

diesel::table! {
    usagectl_late_hours (id) {
        id -> BigInt,
        api_name -> Text,
        hour -> Timestamp,
    }
}

diesel::table! {
    usagectl_notices (id) {
        id -> Text,
        alert_id -> Text,
        api_name -> Text,
        episode -> Text,
        kind -> Text,
        number -> Integer,
        channel -> Text,
        content -> Text,
        created_at -> Timestamp,
        delivery -> Text,
        attempts -> Integer,
        next_attempt_at -> Timestamp,
        delivered_at -> Nullable<Timestamp>,
        error -> Nullable<Text>,
        drop_reason -> Nullable<Text>,
    }
}

diesel::table! {
    usagectl_silences (id) {
        id -> Text,
        api_name -> Nullable<Text>,
        alert_type -> Nullable<Text>,
        alert_id -> Nullable<Text>,
        starts_at -> Timestamp,
        ends_at -> Nullable<Timestamp>,
        reason -> Text,
        created_by -> Text,
        created_at -> Timestamp,
        episodes -> Nullable<Text>,
    }
}

diesel::table! {
    usagectl_catalogues (version) {
        version -> Text,
        content -> Text,
        imported_by -> Text,
        imported_at -> Timestamp,
    }
}

diesel::table! {
    usagectl_plan_choices (id) {
        id -> Text,
        provider -> Text,
        plan -> Text,
        seats -> Nullable<Integer>,
        region -> Nullable<Text>,
        anchor_day -> Integer,
        time_zone -> Text,
        valid_from -> Timestamp,
        chosen_by -> Text,
        created_at -> Timestamp,
    }
}

diesel::table! {
    usagectl_limit_origins (service, metric, plan) {
        service -> Text,
        metric -> Text,
        plan -> Text,
        origin -> Text,
        kind -> Text,
        period -> Nullable<Text>,
        at_limit -> Text,
        limit_value -> Double,
        source -> Nullable<Text>,
        page_date -> Nullable<Text>,
        grade -> Nullable<Text>,
        catalogue_version -> Nullable<Text>,
        note -> Nullable<Text>,
        updated_by -> Text,
        updated_at -> Timestamp,
    }
}

diesel::table! {
    usagectl_dirty_metric_days (day, service, metric) {
        service -> Text,
        metric -> Text,
        day -> Timestamp,
    }
}

diesel::table! {
    usagectl_metric_days (service, metric, resource, day) {
        service -> Text,
        metric -> Text,
        resource -> Text,
        day -> Timestamp,
        points -> Integer,
        first_value -> Double,
        last_value -> Double,
        min_value -> Double,
        median_value -> Double,
        max_value -> Double,
        p95_value -> Double,
        used -> Nullable<Double>,
        resets -> Integer,
        first_at -> Timestamp,
        last_at -> Timestamp,
        reading -> Text,
        period_start -> Nullable<Timestamp>,
        sealed -> Bool,
    }
}

diesel::table! {
    usagectl_collector_runs (id) {
        id -> Text,
        collector -> Text,
        started_at -> Timestamp,
        duration_ms -> BigInt,
        result -> Text,
        written -> Integer,
        error -> Nullable<Text>,
    }
}

diesel::table! {
    usagectl_counters (name) {
        name -> Text,
        epoch -> Text,
        value -> Double,
        read_at -> Timestamp,
    }
}

diesel::table! {
    usagectl_inputs (name, service) {
        name -> Text,
        service -> Text,
        value -> Text,
        updated_by -> Text,
        updated_at -> Timestamp,
    }
}

diesel::table! {
    usagectl_recommendations (recommendation_id) {
        recommendation_id -> Text,
        question -> Text,
        open_question -> Nullable<Text>,
        resource -> Text,
        kind -> Text,
        version -> Integer,
        status -> Text,
        facts -> Text,
        facts_hash -> Text,
        catalogue_version -> Text,
        last_seen_at -> Timestamp,
        seen_count -> Integer,
        unseen_count -> Integer,
        cleared_count -> Integer,
        unseen_since -> Nullable<Timestamp>,
        dismissed_priority -> Nullable<Text>,
        snoozed_until -> Nullable<Timestamp>,
        reopened_count -> Integer,
        predecessor_id -> Nullable<Text>,
        outcome -> Nullable<Text>,
    }
}

diesel::table! {
    usagectl_recommendation_history (recommendation_id, number) {
        recommendation_id -> Text,
        number -> Integer,
        at -> Timestamp,
        actor -> Text,
        actor_kind -> Text,
        from_status -> Nullable<Text>,
        to_status -> Text,
        note -> Nullable<Text>,
        changes -> Nullable<Text>,
        catalogue_version -> Text,
        facts_hash -> Text,
    }
}

diesel::allow_tables_to_appear_in_same_query!(api_usage, usagectl_odd_timestamps);
diesel::allow_tables_to_appear_in_same_query!(api_usage_aggregates, usagectl_rollups);
diesel::allow_tables_to_appear_in_same_query!(upgrade_recommendation, usagectl_recommendations);
