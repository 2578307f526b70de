//! The tables, for both engines. Kept by hand: what `diesel print-schema` writes for PostgreSQL and
//! for SQLite differs in spelling only, and a test compares this file with both migrated databases.
//!
//! The first three tables have the application's names, `Infrastructure*` and
//! `UpgradeRecommendation` those that Prisma derives; everything with the prefix `usagectl_` is ours
//! and lives in the PostgreSQL schema `usagectl`.

/// SQL types that Diesel does not have: the application's enums, and JSON as text.
pub mod sql_types {
    /// PostgreSQL enum `InfrastructureService`; text with a CHECK in SQLite.
    #[derive(Clone, Copy, Debug, diesel::query_builder::QueryId, diesel::sql_types::SqlType)]
    #[diesel(postgres_type(name = "InfrastructureService"))]
    #[diesel(sqlite_type(name = "Text"))]
    pub struct InfrastructureService;

    /// PostgreSQL enum `MetricType`; text with a CHECK in SQLite.
    #[derive(Clone, Copy, Debug, diesel::query_builder::QueryId, diesel::sql_types::SqlType)]
    #[diesel(postgres_type(name = "MetricType"))]
    #[diesel(sqlite_type(name = "Text"))]
    pub struct MetricType;

    /// PostgreSQL enum `RecommendationPriority`; text with a CHECK in SQLite.
    #[derive(Clone, Copy, Debug, diesel::query_builder::QueryId, diesel::sql_types::SqlType)]
    #[diesel(postgres_type(name = "RecommendationPriority"))]
    #[diesel(sqlite_type(name = "Text"))]
    pub struct RecommendationPriority;

    /// PostgreSQL enum `RecommendationStatus`; text with a CHECK in SQLite.
    #[derive(Clone, Copy, Debug, diesel::query_builder::QueryId, diesel::sql_types::SqlType)]
    #[diesel(postgres_type(name = "RecommendationStatus"))]
    #[diesel(sqlite_type(name = "Text"))]
    pub struct RecommendationStatus;

    /// PostgreSQL `jsonb`; in SQLite the compact JSON text that Prisma writes.
    #[derive(Clone, Copy, Debug, diesel::query_builder::QueryId, diesel::sql_types::SqlType)]
    #[diesel(postgres_type(name = "jsonb"))]
    #[diesel(sqlite_type(name = "Text"))]
    pub struct JsonText;
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
    usagectl_dirty_hours (hour, api_name) {
        api_name -> Text,
        hour -> Timestamp,
    }
}

diesel::table! {
    /// SQLite only: PostgreSQL's timestamps have one form.
    usagectl_odd_timestamps (usage_id) {
        usage_id -> Text,
        hour -> Nullable<Timestamp>,
    }
}

diesel::table! {
    usagectl_stale_periods (aggregation_type, period_start, api_name) {
        aggregation_type -> Text,
        period_start -> Timestamp,
        api_name -> Text,
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
        total_cost -> Text,
    }
}

diesel::allow_tables_to_appear_in_same_query!(api_usage, usagectl_odd_timestamps);
diesel::allow_tables_to_appear_in_same_query!(api_usage_aggregates, usagectl_rollups);
