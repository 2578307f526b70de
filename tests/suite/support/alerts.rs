//! Rules, limits, channels, states and events, stored as the application or an earlier check leaves them.

use chrono::{DateTime, TimeDelta, Utc};

use super::TestDatabase;
use super::calls::{Call, insert};
use super::program::NOW;

/// The instant `minute` minutes after [`NOW`].
pub fn at(minute: i64) -> DateTime<Utc> {
    let now: DateTime<Utc> = NOW.parse().unwrap();
    now + TimeDelta::minutes(minute)
}

/// An instant as the database holds it.
fn text(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S%.3f+00:00").to_string()
}

/// A rule as the application writes it; `threshold` is SQL.
pub fn put_rule(
    db: &TestDatabase,
    id: &str,
    api: &str,
    alert_type: &str,
    threshold: &str,
    period: &str,
) {
    let then = text(at(-1_000));
    db.execute(&format!(
        "INSERT INTO api_alerts (id, api_name, alert_type, threshold, period, updated_at)
         VALUES ('{id}', '{api}', '{alert_type}', {threshold}, '{period}', '{then}')"
    ));
}

/// The settings of a rule: pending period and recovery period in minutes; `clear_below` is SQL.
pub fn put_settings(db: &TestDatabase, id: &str, hold: i64, clear_below: &str, clear_hold: i64) {
    let (hold, clear_hold, then) = (hold * 60_000, clear_hold * 60_000, text(at(-1_000)));
    db.execute(&format!(
        "INSERT INTO usagectl_alert_settings (alert_id, time_window, time_zone, thresholds, for_ms,
             clear_below, clear_for_ms, repeat_ms, min_requests, include_cached, updated_at)
         VALUES ('{id}', 'ROLLING', 'UTC', '[]', {hold}, {clear_below}, {clear_hold}, 3600000, 0, false,
             '{then}')"
    ));
}

/// A limit of `value` calls per `period`.
pub fn put_limit(db: &TestDatabase, api: &str, period: &str, value: i64) {
    db.execute(&format!(
        "INSERT INTO usagectl_api_limits (api_name, period, unit, limit_value, origin, updated_at)
         VALUES ('{api}', '{period}', 'CALLS', {value}, 'USER', '{}')",
        text(at(-1_000))
    ));
}

/// A channel that prints to standard output.
pub fn put_channel(db: &TestDatabase, name: &str) {
    db.execute(&format!(
        "INSERT INTO usagectl_channels (name, kind, settings, created_at)
         VALUES ('{name}', 'STDOUT', '{{\"json\":false}}', '{}')",
        text(at(-1_000))
    ));
}

/// `count` calls in the first second of a minute, up to 100.
pub fn put_calls(db: &TestDatabase, api: &str, minute: i64, count: i64) {
    let call = |n: i64| Call {
        at: at(minute) + TimeDelta::milliseconds(n * 10),
        ..Call::new(&format!("{api}-{minute}-{n}"), api, NOW)
    };
    insert(db, &(0..count).map(call).collect::<Vec<_>>());
}

/// A rule of finnhub at 80 % of its limit of 60 calls per minute, and the channel `ops`.
pub fn put_one_rule(db: &TestDatabase) {
    put_rule(db, "rule", "finnhub", "RATE_LIMIT_WARNING", "80", "MINUTE");
    put_limit(db, "finnhub", "MINUTE", 60);
    put_channel(db, "ops");
    put_calls(db, "finnhub", -100, 1);
}

/// Where a rule stands for one API: fifteen minutes in `state`, evaluated up to [`NOW`].
pub struct StateRow<'a> {
    pub rule: &'a str,
    pub api: &'a str,
    pub alert_type: &'a str,
    pub period: &'a str,
    pub state: &'a str,
    /// Its severity and episode, which began twenty minutes ago.
    pub episode: Option<(&'a str, &'a str)>,
    pub value: Option<f64>,
    pub limit: Option<f64>,
    pub threshold: f64,
    pub reason: Option<&'a str>,
}

impl StateRow<'_> {
    pub fn put(&self, db: &TestDatabase) {
        let quoted = |value: Option<&str>| value.map_or("NULL".to_owned(), |it| format!("'{it}'"));
        let number = |value: Option<f64>| value.map_or("NULL".to_owned(), |it| it.to_string());
        let fired_at = self.episode.map(|_| text(at(-20)));
        db.execute(&format!(
            "INSERT INTO usagectl_alert_states (alert_id, api_name, alert_type, period, state, since,
                 evaluated_to, severity, episode, fired_at, value, limit_value, threshold, reason)
             VALUES ('{}', '{}', '{}', '{}', '{}', '{}', '{}', {}, {}, {}, {}, {}, {}, {})",
            self.rule,
            self.api,
            self.alert_type,
            self.period,
            self.state,
            text(at(-15)),
            text(at(0)),
            quoted(self.episode.map(|(severity, _)| severity)),
            quoted(self.episode.map(|(_, id)| id)),
            quoted(fired_at.as_deref()),
            number(self.value),
            number(self.limit),
            self.threshold,
            quoted(self.reason),
        ));
    }
}

/// Five rules, one of them for all APIs and one of an unknown type, and the states of the four that can be
/// evaluated.
pub fn put_rules_with_states(db: &TestDatabase) {
    put_rule(
        db,
        "aaaaaaaa-1",
        "finnhub",
        "RATE_LIMIT_WARNING",
        "80",
        "MINUTE",
    );
    put_rule(
        db,
        "bbbbbbbb-2",
        "coinmarketcap",
        "COST_THRESHOLD",
        "8000",
        "DAY",
    );
    put_rule(db, "cccccccc-3", "*", "ERROR_SPIKE", "10", "HOUR");
    put_rule(
        db,
        "dddddddd-4",
        "espn",
        "RATE_LIMIT_WARNING",
        "60",
        "MINUTE",
    );
    put_rule(db, "eeeeeeee-5", "tmdb", "LATENCY", "500", "WEEK");
    put_limit(db, "finnhub", "MINUTE", 60);
    let firing = StateRow {
        rule: "aaaaaaaa-1",
        api: "finnhub",
        alert_type: "RATE_LIMIT_WARNING",
        period: "MINUTE",
        state: "FIRING",
        episode: Some(("CRITICAL", "e-1")),
        value: Some(96.6666),
        limit: Some(60.0),
        threshold: 80.0,
        reason: None,
    };
    let pending = StateRow {
        rule: "cccccccc-3",
        alert_type: "ERROR_SPIKE",
        period: "HOUR",
        state: "PENDING",
        episode: None,
        value: Some(12.0),
        limit: None,
        threshold: 10.0,
        ..firing
    };
    let ok = StateRow {
        rule: "bbbbbbbb-2",
        api: "coinmarketcap",
        alert_type: "COST_THRESHOLD",
        period: "DAY",
        state: "OK",
        value: Some(1234.5),
        threshold: 8_000.0,
        ..pending
    };
    let recovering = StateRow {
        api: "tmdb",
        state: "RECOVERING",
        episode: Some(("WARNING", "e-2")),
        value: Some(2.0),
        ..pending
    };
    let unknown = StateRow {
        rule: "dddddddd-4",
        api: "espn",
        state: "UNKNOWN",
        episode: None,
        value: None,
        limit: None,
        threshold: 60.0,
        reason: Some("no limit per MINUTE is set"),
        ..firing
    };
    for state in [firing, ok, pending, recovering, unknown] {
        state.put(db);
    }
}

/// The event that a rule began to fire at `at` with 81.25 % of its limit.
pub fn put_event(db: &TestDatabase, id: u32, at: &str, rule: &str, api: &str) {
    db.execute(&format!(
        "INSERT INTO usagectl_alert_events (id, alert_id, api_name, alert_type, period, at, recorded_at, kind,
             from_state, to_state, severity, value, threshold, limit_value)
         VALUES ('{id}', '{rule}', '{api}', 'RATE_LIMIT_WARNING', 'MINUTE', '{at}', '{at}', 'STATE', 'OK',
             'FIRING', 'WARNING', 81.25, 80, 60)"
    ));
}
