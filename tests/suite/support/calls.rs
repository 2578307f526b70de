//! Calls to APIs as any program may write them, and a naive model of their roll-ups.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use proptest::prelude::*;

use super::{Engine, TestDatabase};

/// The form of a timestamp in SQLite; PostgreSQL has one form.
#[derive(Clone, Copy, Debug)]
pub enum TimeForm {
    /// As written by usagectl and by Prisma's adapter.
    Canonical,
    /// As written by Prisma's older engines.
    Milliseconds,
    /// As written by SQLite's functions.
    Space,
    /// As written by JavaScript's `toISOString`.
    Zulu,
    /// With an offset other than UTC.
    Seoul,
}

/// A row of `api_usage`.
#[derive(Clone, Debug)]
pub struct Call {
    pub id: String,
    pub api: String,
    pub endpoint: Option<String>,
    pub at: DateTime<Utc>,
    pub form: TimeForm,
    pub success: bool,
    pub status: Option<i32>,
    pub response_time: Option<i32>,
    pub error_type: Option<&'static str>,
    /// Tenths of a credit.
    pub cost: Option<i64>,
    pub cached: bool,
}

impl Call {
    /// A successful call without optional values.
    pub fn new(id: &str, api: &str, at: &str) -> Call {
        Call {
            id: id.to_owned(),
            api: api.to_owned(),
            endpoint: None,
            at: at.parse().expect("an RFC 3339 time"),
            form: TimeForm::Canonical,
            success: true,
            status: Some(200),
            response_time: None,
            error_type: None,
            cost: None,
            cached: false,
        }
    }

    /// Any call of three APIs, on the days around a leap day.
    pub fn any() -> impl Strategy<Value = Call> {
        let start: DateTime<Utc> = "2024-02-28T21:30:00Z".parse().expect("an RFC 3339 time");
        let error = prop_oneof![
            3 => Just((true, Some(200), None)),
            1 => Just((false, Some(429), Some("RATE_LIMIT"))),
            1 => Just((false, Some(504), Some("TIMEOUT"))),
            1 => Just((false, Some(503), Some("SERVER_ERROR"))),
            1 => Just((false, Some(404), Some("CLIENT_ERROR"))),
            1 => Just((false, None, Some("NETWORK_ERROR"))),
            1 => Just((false, Some(400), None)),
            1 => Just((true, Some(500), None)),
        ];
        let response_time = prop_oneof![
            Just(None),
            (0..300).prop_map(Some),
            (0..100_000).prop_map(Some)
        ];
        let form = prop_oneof![
            4 => Just(TimeForm::Canonical),
            1 => Just(TimeForm::Milliseconds),
            1 => Just(TimeForm::Space),
            1 => Just(TimeForm::Zulu),
            1 => Just(TimeForm::Seoul),
        ];
        let names = (
            proptest::sample::select(vec!["finnhub", "tmdb", "jikan"]),
            proptest::sample::select(vec![None, Some("/quote"), Some("/search?q=%_'")]),
        );
        // Few distinct hours, so that each has several calls.
        let ms = (0..60_i64, 0..3_600_000_i64).prop_map(|(hour, ms)| hour * 3_600_000 + ms);
        let cost = proptest::option::of(0..50_i64);
        (names, ms, form, error, response_time, cost, any::<bool>()).prop_map(
            move |(
                (api, endpoint),
                ms,
                form,
                (success, status, error_type),
                response_time,
                cost,
                cached,
            )| Call {
                id: String::new(),
                api: api.to_owned(),
                endpoint: endpoint.map(str::to_owned),
                at: start + TimeDelta::milliseconds(ms),
                form,
                success,
                status,
                response_time,
                error_type,
                cost,
                cached,
            },
        )
    }

    fn timestamp(&self, engine: Engine) -> String {
        let at = self.at;
        match (engine, self.form) {
            (Engine::Sqlite, TimeForm::Milliseconds) => at.timestamp_millis().to_string(),
            (Engine::Sqlite, TimeForm::Space) => at.format("'%Y-%m-%d %H:%M:%S%.3f'").to_string(),
            (Engine::Sqlite, TimeForm::Zulu) => at.format("'%Y-%m-%dT%H:%M:%S%.3fZ'").to_string(),
            (Engine::Sqlite, TimeForm::Seoul) => {
                let there = at + TimeDelta::hours(9);
                there.format("'%Y-%m-%dT%H:%M:%S%.3f+09:00'").to_string()
            }
            _ => at.format("'%Y-%m-%dT%H:%M:%S%.3f+00:00'").to_string(),
        }
    }

    fn values(&self, engine: Engine) -> String {
        let text = |value: Option<&str>| match value {
            Some(value) => format!("'{}'", value.replace('\'', "''")),
            None => "NULL".to_owned(),
        };
        let number =
            |value: Option<i32>| value.map_or("NULL".to_owned(), |value| value.to_string());
        let cost = self.cost.map_or("NULL".to_owned(), |tenths| {
            format!("{}.{}", tenths / 10, tenths % 10)
        });
        format!(
            "({}, {}, {}, {}, {}, {}, {}, {}, {cost}, {})",
            text(Some(&self.id)),
            text(Some(&self.api)),
            text(self.endpoint.as_deref()),
            self.timestamp(engine),
            self.success,
            number(self.status),
            number(self.response_time),
            text(self.error_type),
            self.cached,
        )
    }
}

const COLUMNS: &str = "id, api_name, endpoint, timestamp, success, status_code, response_time, error_type, cost_credits, cached";

/// Inserts rows in one statement.
pub fn insert(db: &TestDatabase, calls: &[Call]) {
    if !calls.is_empty() {
        db.execute(&insert_sql(db.engine(), calls));
    }
}

/// The statement that inserts rows.
pub fn insert_sql(engine: Engine, calls: &[Call]) -> String {
    let values: Vec<String> = calls.iter().map(|call| call.values(engine)).collect();
    format!(
        "INSERT INTO api_usage ({COLUMNS}) VALUES {}",
        values.join(", ")
    )
}

/// The statement that replaces the row with this id.
pub fn update_sql(engine: Engine, id: &str, call: &Call) -> String {
    format!(
        "UPDATE api_usage SET ({COLUMNS}) = {} WHERE id = '{id}'",
        call.values(engine)
    )
}

/// The statement that puts a call in place of the row with its id: on SQLite without a delete trigger.
pub fn replace_sql(engine: Engine, call: &Call) -> String {
    let insert = insert_sql(engine, std::slice::from_ref(call));
    match engine {
        Engine::Sqlite => insert.replacen("INSERT", "INSERT OR REPLACE", 1),
        Engine::Postgresql => {
            let values: Vec<String> = COLUMNS
                .split(", ")
                .map(|column| format!("{column} = excluded.{column}"))
                .collect();
            format!(
                "{insert} ON CONFLICT (id) DO UPDATE SET {}",
                values.join(", ")
            )
        }
    }
}

/// The sums of some calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sum {
    pub requests: u64,
    pub success: u64,
    pub errors: u64,
    pub cached: u64,
    pub rate_limit: u64,
    pub timeout: u64,
    pub server: u64,
    pub times: Vec<i32>,
    /// Tenths of a credit.
    pub cost: i64,
}

impl Sum {
    pub fn of<'a>(calls: impl IntoIterator<Item = &'a Call>) -> Sum {
        let mut sum = Sum::default();
        for call in calls {
            sum.requests += 1;
            sum.success += u64::from(call.success);
            sum.errors += u64::from(!call.success);
            sum.cached += u64::from(call.cached);
            sum.rate_limit += u64::from(call.error_type == Some("RATE_LIMIT"));
            sum.timeout += u64::from(call.error_type == Some("TIMEOUT"));
            let server = call.error_type == Some("SERVER_ERROR")
                || call.status.is_some_and(|status| status >= 500);
            sum.server += u64::from(server);
            sum.times.extend(call.response_time);
            sum.cost += call.cost.unwrap_or(0);
        }
        sum.times.sort_unstable();
        sum
    }

    pub fn average(&self) -> Option<f64> {
        let total: i64 = self.times.iter().map(|ms| i64::from(*ms)).sum();
        (!self.times.is_empty()).then(|| total as f64 / self.times.len() as f64)
    }

    /// The exact percentile, by nearest rank.
    pub fn quantile(&self, permille: usize) -> Option<i32> {
        let rank = (self.times.len() * permille).div_ceil(1000).max(1);
        self.times.get(rank - 1).copied()
    }

    pub fn credits(&self) -> f64 {
        self.cost as f64 / 10.0
    }
}

/// The rows that `api_usage_aggregates` should have, as [`aggregates`] reads them.
pub fn expected_aggregates<'a>(calls: impl IntoIterator<Item = &'a Call>) -> BTreeSet<String> {
    expected_aggregates_in(Tz::UTC, calls)
}

/// The same with the days and months of a time zone.
pub fn expected_aggregates_in<'a>(
    zone: Tz,
    calls: impl IntoIterator<Item = &'a Call>,
) -> BTreeSet<String> {
    let mut groups: BTreeMap<_, Vec<&Call>> = BTreeMap::new();
    for call in calls {
        for (kind, start, end) in periods_of(call.at, zone) {
            let key = (call.api.clone(), kind, text_form(start), text_form(end));
            groups.entry(key).or_default().push(call);
        }
    }
    let number = |value: Option<f64>| value.map_or("NULL".to_owned(), |value| value.to_string());
    let mut rows = BTreeSet::new();
    for ((api, kind, start, end), calls) in groups {
        let sum = Sum::of(calls);
        let row = [
            api,
            "NULL".to_owned(),
            kind.to_owned(),
            start,
            end,
            sum.requests.to_string(),
            sum.success.to_string(),
            sum.errors.to_string(),
            sum.cached.to_string(),
            number(sum.average()),
            number(sum.times.last().map(|ms| f64::from(*ms))),
            number(sum.times.first().map(|ms| f64::from(*ms))),
            sum.rate_limit.to_string(),
            sum.timeout.to_string(),
            sum.server.to_string(),
            sum.credits().to_string(),
        ];
        rows.insert(row.join("|"));
    }
    rows
}

/// The hour, day and month of an instant: type, start and end.
fn periods_of(at: DateTime<Utc>, zone: Tz) -> [(&'static str, DateTime<Utc>, DateTime<Utc>); 3] {
    let hour = at - TimeDelta::milliseconds(at.timestamp_millis().rem_euclid(3_600_000));
    let midnight = |date: NaiveDate| {
        let local = zone.from_local_datetime(&date.and_time(NaiveTime::MIN));
        local.earliest().expect("no clock changes then").to_utc()
    };
    let day = at.with_timezone(&zone).date_naive();
    let month = day.with_day(1).expect("the first");
    let next_day = day.succ_opt().expect("a date");
    let next_month = month.checked_add_months(Months::new(1)).expect("a date");
    [
        ("HOURLY", hour, hour + TimeDelta::hours(1)),
        ("DAILY", midnight(day), midnight(next_day)),
        ("MONTHLY", midnight(month), midnight(next_month)),
    ]
}

fn text_form(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S%.3f+00:00").to_string()
}

/// The rows of `api_usage_aggregates`, without id, `created_at` and `updated_at`.
pub fn aggregates(db: &TestDatabase) -> BTreeSet<String> {
    let rows = db.rows(
        "SELECT api_name, endpoint, aggregation_type, period_start, period_end, total_requests, success_count,
             error_count, cached_count, avg_response_time, max_response_time, min_response_time,
             rate_limit_errors, timeout_errors, server_errors, total_cost
         FROM api_usage_aggregates",
    );
    let count = rows.len();
    let rows: BTreeSet<String> = rows.into_iter().collect();
    assert_eq!(rows.len(), count, "duplicate row");
    rows
}
