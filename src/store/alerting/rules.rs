//! `api_alerts`, the application's rules, with their settings and channels from our own tables; and
//! `usagectl_alert_rules`, the rules of the types that the application does not have.
//!
//! The application may insert, change and delete its rows at any time: a rule without settings has the defaults,
//! settings without their rule are kept, and any column value can be read.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::alert::rule::{
    AlertType, Baseline, Rule, RuleFault, Settings, Threshold, TimeWindow,
};
use crate::domain::period::Period;
use crate::domain::zone::Zone;
use crate::store::prelude::*;
use crate::store::schema::{
    api_alerts, usagectl_alert_channels, usagectl_alert_rules, usagectl_alert_settings,
};
use crate::store::types::{LenientBool, LenientFloat, LenientText, MaybeTimestamp};

#[derive(Queryable)]
struct AlertRow {
    id: LenientText,
    api_name: LenientText,
    alert_type: LenientText,
    threshold: LenientFloat,
    period: LenientText,
    enabled: LenientBool,
    last_triggered: Option<MaybeTimestamp>,
    updated_at: MaybeTimestamp,
}

#[derive(AsChangeset, Identifiable, Insertable, Queryable)]
#[diesel(table_name = usagectl_alert_settings, primary_key(alert_id), treat_none_as_null = true)]
struct SettingsRow {
    alert_id: String,
    time_window: Option<String>,
    time_zone: Option<String>,
    month_starts: Option<i32>,
    /// JSON; the value of the first is in `api_alerts`.
    thresholds: String,
    for_ms: i64,
    clear_below: Option<f64>,
    clear_for_ms: i64,
    repeat_ms: Option<i64>,
    min_requests: i64,
    include_cached: bool,
    baseline_ms: Option<i64>,
    baseline_factor: Option<f64>,
    settle_ms: Option<i64>,
    no_data_ms: Option<i64>,
    percent: bool,
    updated_at: UtcTimestamp,
}

impl SettingsRow {
    fn new(rule: &Rule, now: DateTime<Utc>) -> SettingsRow {
        let settings = &rule.settings;
        SettingsRow {
            alert_id: rule.id.clone(),
            time_window: settings.window.map(|window| window.as_str().to_owned()),
            time_zone: settings.time_zone.map(|zone| zone.name().to_owned()),
            month_starts: settings.month_starts.and_then(|day| day.try_into().ok()),
            thresholds: serde_json::json!(rule.thresholds()).to_string(),
            for_ms: settings.hold.num_milliseconds(),
            clear_below: settings.clear_below,
            clear_for_ms: settings.clear_hold.num_milliseconds(),
            repeat_ms: settings.repeat.map(|repeat| repeat.num_milliseconds()),
            min_requests: settings.min_requests.try_into().unwrap_or(i64::MAX),
            include_cached: settings.include_cached,
            baseline_ms: settings.baseline.map(|base| base.over.num_milliseconds()),
            baseline_factor: settings.baseline.map(|base| base.factor),
            settle_ms: settings.settle.map(|settle| settle.num_milliseconds()),
            no_data_ms: settings.no_data.map(|no_data| no_data.num_milliseconds()),
            percent: settings.percent,
            updated_at: UtcTimestamp::new(now),
        }
    }

    /// The settings, and a fault if one is unreadable.
    fn read(self) -> (Settings, Option<RuleFault>) {
        let zone: Option<Zone> = self.time_zone.as_ref().and_then(|zone| zone.parse().ok());
        let thresholds: Option<Vec<Threshold>> = serde_json::from_str(&self.thresholds).ok();
        let is_readable = thresholds.is_some();
        let mut higher = thresholds.unwrap_or_default().into_iter();
        let lowest = higher.next();
        let default = Settings::default();
        let settings = Settings {
            window: self.time_window.as_deref().and_then(TimeWindow::named),
            time_zone: zone,
            month_starts: self.month_starts.and_then(|day| day.try_into().ok()),
            severity: lowest.as_ref().map_or(default.severity, |it| it.severity),
            lowest_channels: lowest.map_or(default.lowest_channels, |it| it.channels),
            higher: higher.collect(),
            hold: span(self.for_ms),
            clear_below: self.clear_below,
            clear_hold: span(self.clear_for_ms),
            repeat: self.repeat_ms.map(span),
            min_requests: self.min_requests.try_into().unwrap_or(0),
            include_cached: self.include_cached,
            baseline: self
                .baseline_ms
                .zip(self.baseline_factor)
                .map(|(ms, factor)| Baseline {
                    over: span(ms),
                    factor,
                }),
            settle: self.settle_ms.map(span),
            no_data: self.no_data_ms.map(span),
            percent: self.percent,
        };
        let unknown_zone = self.time_zone.filter(|_| zone.is_none());
        let unreadable = unknown_zone.map(RuleFault::Zone).or_else(|| {
            let fault = RuleFault::Threshold(self.thresholds);
            (!is_readable).then_some(fault)
        });
        (settings, unreadable)
    }
}

fn span(ms: i64) -> TimeDelta {
    TimeDelta::try_milliseconds(ms.max(0)).unwrap_or(TimeDelta::MAX)
}

/// All rules, by API, type and period.
pub fn all(db: &mut Db) -> QueryResult<Vec<Rule>> {
    let alerts = api_alerts::table.select((
        api_alerts::id,
        api_alerts::api_name,
        api_alerts::alert_type,
        api_alerts::threshold,
        api_alerts::period,
        api_alerts::enabled,
        api_alerts::last_triggered,
        api_alerts::updated_at,
    ));
    let mut alerts: Vec<AlertRow> = on!(db, |conn| alerts.load(conn))?;
    let own = usagectl_alert_rules::table.select((
        usagectl_alert_rules::id,
        usagectl_alert_rules::api_name,
        usagectl_alert_rules::alert_type,
        usagectl_alert_rules::threshold,
        usagectl_alert_rules::period,
        usagectl_alert_rules::enabled,
        usagectl_alert_rules::last_triggered,
        usagectl_alert_rules::updated_at,
    ));
    let own: Vec<AlertRow> = on!(db, |conn| own.load(conn))?;
    alerts.extend(own);
    let settings = usagectl_alert_settings::table;
    let settings: Vec<SettingsRow> = on!(db, |conn| settings.load(conn))?;
    let mut settings: HashMap<String, SettingsRow> = settings
        .into_iter()
        .map(|row| (row.alert_id.clone(), row))
        .collect();
    let links = usagectl_alert_channels::table.order(usagectl_alert_channels::channel);
    let links: Vec<(String, String)> = on!(db, |conn| links.load(conn))?;
    let mut channels: HashMap<String, Vec<String>> = HashMap::new();
    for (alert_id, channel) in links {
        channels.entry(alert_id).or_default().push(channel);
    }
    let rule = |row: AlertRow| {
        let settings = settings.remove(&row.id.0).map(SettingsRow::read);
        let (settings, unreadable) = settings.unwrap_or_default();
        Rule {
            channels: channels.remove(&row.id.0).unwrap_or_default(),
            id: row.id.0,
            api_name: row.api_name.0,
            alert_type: AlertType::named(&row.alert_type.0),
            threshold: row.threshold.0,
            period: Period::named(&row.period.0),
            enabled: row.enabled.0,
            last_triggered: row.last_triggered.and_then(|moment| moment.0),
            updated_at: row.updated_at.0,
            settings,
            unreadable,
        }
    };
    let mut rules: Vec<Rule> = alerts.into_iter().map(rule).collect();
    // Sorted here, since the engines order text differently.
    rules.sort_by(|a, b| a.place().cmp(&b.place()));
    Ok(rules)
}

/// Adds a rule, unless one exists for its API, type and period; returns whether it did.
pub fn add(db: &mut Db, rule: &Rule, now: DateTime<Utc>) -> QueryResult<bool> {
    macro_rules! insert_into {
        ($table:ident) => {{
            let row = (
                $table::id.eq(&rule.id),
                $table::api_name.eq(&rule.api_name),
                $table::alert_type.eq(rule.alert_type.as_str()),
                $table::threshold.eq(rule.threshold),
                $table::period.eq(rule.period.as_str()),
                $table::enabled.eq(rule.enabled),
                $table::created_at.eq(UtcTimestamp::new(now)),
                $table::updated_at.eq(UtcTimestamp::new(now)),
            );
            let added = diesel::insert_into($table::table).values(row);
            let added = added.on_conflict_do_nothing();
            on!(db, |conn| added.execute(conn))?
        }};
    }
    let added = match rule.alert_type {
        AlertType::NoData => insert_into!(usagectl_alert_rules),
        _ => insert_into!(api_alerts),
    };
    if added == 0 {
        return Ok(false);
    }
    save_settings(db, rule, now)?;
    Ok(true)
}

/// Saves the threshold, settings and channels of a rule; returns whether it still exists.
pub fn set(db: &mut Db, rule: &Rule, now: DateTime<Utc>) -> QueryResult<bool> {
    macro_rules! update {
        ($table:ident) => {{
            let change = diesel::update($table::table.find(&rule.id)).set((
                $table::threshold.eq(rule.threshold),
                $table::updated_at.eq(UtcTimestamp::new(now)),
            ));
            on!(db, |conn| change.execute(conn))?
        }};
    }
    if update!(api_alerts) == 0 && update!(usagectl_alert_rules) == 0 {
        return Ok(false);
    }
    save_settings(db, rule, now)?;
    Ok(true)
}

fn save_settings(db: &mut Db, rule: &Rule, now: DateTime<Utc>) -> QueryResult<()> {
    let row = SettingsRow::new(rule, now);
    let saved = diesel::insert_into(usagectl_alert_settings::table)
        .values(&row)
        .on_conflict(usagectl_alert_settings::alert_id)
        .do_update()
        .set(&row);
    on!(db, |conn| saved.execute(conn))?;
    remove_channels(db, &rule.id)?;
    for channel in &rule.channels {
        let link = diesel::insert_into(usagectl_alert_channels::table)
            .values((
                usagectl_alert_channels::alert_id.eq(&rule.id),
                usagectl_alert_channels::channel.eq(channel),
            ))
            .on_conflict_do_nothing();
        on!(db, |conn| link.execute(conn))?;
    }
    Ok(())
}

fn remove_channels(db: &mut Db, alert_id: &str) -> QueryResult<()> {
    let links =
        usagectl_alert_channels::table.filter(usagectl_alert_channels::alert_id.eq(alert_id));
    on!(db, |conn| diesel::delete(links).execute(conn))?;
    Ok(())
}

/// Enables or disables a rule; returns whether it still exists.
pub fn set_enabled(db: &mut Db, id: &str, enabled: bool, now: DateTime<Utc>) -> QueryResult<bool> {
    macro_rules! update {
        ($table:ident) => {{
            let change = diesel::update($table::table.find(id)).set((
                $table::enabled.eq(enabled),
                $table::updated_at.eq(UtcTimestamp::new(now)),
            ));
            on!(db, |conn| change.execute(conn))?
        }};
    }
    Ok(update!(api_alerts) > 0 || update!(usagectl_alert_rules) > 0)
}

/// Removes a rule with its settings; returns whether it existed. Its states and notices stay: the next check
/// settles them.
pub fn remove(db: &mut Db, id: &str) -> QueryResult<bool> {
    let rule = diesel::delete(api_alerts::table.find(id));
    let mut removed = on!(db, |conn| rule.execute(conn))?;
    if removed == 0 {
        let own = diesel::delete(usagectl_alert_rules::table.find(id));
        removed = on!(db, |conn| own.execute(conn))?;
    }
    let settings = diesel::delete(usagectl_alert_settings::table.find(id));
    on!(db, |conn| settings.execute(conn))?;
    remove_channels(db, id)?;
    Ok(removed > 0)
}
