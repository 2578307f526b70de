//! A PostgreSQL server: database size, client connections against the maximum, round-trip time.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer};

use super::{CollectContext, Collected, Collector, median_ms, points_at, without_credentials};
use crate::domain::metrics::collector::{CollectorError, MetricSource};
use crate::domain::metrics::names::{Metric, Service};
use crate::store::db::{self, Access, Db};
use crate::store::url::{DatabaseTarget, DatabaseUrl};

#[derive(Clone, Debug)]
pub struct Postgres {
    pub url: DatabaseUrl,
}

/// At this interval, a server that suspends when idle still sleeps most of the day.
const LETS_SLEEP: TimeDelta = TimeDelta::hours(6);

#[derive(QueryableByName)]
struct Measured {
    #[diesel(sql_type = BigInt)]
    size_bytes: i64,
    #[diesel(sql_type = BigInt)]
    clients: i64,
    #[diesel(sql_type = BigInt)]
    hidden: i64,
    #[diesel(sql_type = BigInt)]
    backends: i64,
    #[diesel(sql_type = Integer)]
    maximum: i32,
}

impl Collector for Postgres {
    fn source(&self) -> MetricSource {
        MetricSource::Postgres
    }

    fn address(&self) -> String {
        without_credentials(&self.url.target.to_string())
    }

    fn collect(&self, context: &CollectContext) -> Result<Collected, CollectorError> {
        let DatabaseTarget::Postgres(target) = &self.url.target else {
            let hint = "give a URL that begins with postgresql://";
            return Err(CollectorError::new("not a PostgreSQL URL", hint));
        };
        let began = Instant::now();
        let opened = db::open(&self.url, Access::Read);
        let mut db = opened.map_err(|error| {
            let error = crate::error::Error::from(error);
            let hint = error.next().unwrap_or("usagectl collect doctor").to_owned();
            CollectorError::new(error, hint)
        })?;
        let connect_ms = median_ms(vec![began.elapsed()]);
        let (measured, times) = db.read_tx(measure).map_err(|error| {
            let hint = "see that the role may CONNECT and is not blocked by locks";
            CollectorError::new(target.without_secrets(&error.to_string()), hint)
        })?;
        Ok(self.collected(&measured, times, connect_ms, context))
    }
}

fn measure(db: &mut Db) -> QueryResult<(Measured, Vec<Duration>)> {
    let Db::Pg(postgres) = db else {
        return Err(diesel::result::Error::NotFound);
    };
    postgres.batch_execute("SET LOCAL statement_timeout = '5s'")?;
    let measured =
        postgres.run(|conn| diesel::sql_query(include_str!("postgres.sql")).get_result(conn))?;
    let mut times = Vec::new();
    for _ in 0..5 {
        let began = Instant::now();
        postgres.batch_execute("SELECT 1")?;
        times.push(began.elapsed());
    }
    Ok((measured, times))
}

impl Postgres {
    fn collected(
        &self,
        measured: &Measured,
        times: Vec<Duration>,
        connect_ms: f64,
        context: &CollectContext,
    ) -> Collected {
        let (source, service) = (MetricSource::Postgres, Service::VercelPostgres);
        let new = points_at(source, service, context.now);
        let mut collected = Collected::default();
        let (connections, quality) = if measured.hidden == 0 {
            (measured.clients, "measured")
        } else {
            let note = "the backend type of other roles is hidden, so all backends are counted; \
                        GRANT pg_read_all_stats to this role to count clients only";
            collected.notes.push(note.to_owned());
            (measured.backends.max(0), "derived")
        };
        collected.points = vec![
            new(Metric::StorageMb, measured.size_bytes as f64 / 1e6).with("unit", "MB, 10^6 bytes"),
            new(Metric::Connections, connections as f64)
                .with("maximum", measured.maximum)
                .with("quality", quality),
            new(Metric::LatencyMs, median_ms(times)).with("connect_ms", connect_ms),
        ];
        let last = context.last_collected;
        let often = last.is_none_or(|last| context.now - last < LETS_SLEEP);
        // As Neon's servers do without queries.
        let suspends_when_idle = self.url.target.to_string().contains(".neon.tech");
        if suspends_when_idle && often {
            let warning = "collecting keeps this Neon database awake, which costs compute time: every 15 minutes \
                           is about 60 compute hours a month; collect every 6 hours, or use the neon collector, \
                           which does not wake it";
            collected.warnings.push(warning.to_owned());
        }
        collected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::url::{self, UrlSource};

    #[test]
    fn frequent_collection_of_a_suspending_server_is_warned_about() {
        let has_warning = |url: &str, hours: Option<i64>| {
            let postgres = Postgres {
                url: url::parse(url, UrlSource::Flag).unwrap(),
            };
            let measured = Measured {
                size_bytes: 1,
                clients: 0,
                hidden: 0,
                backends: 0,
                maximum: 97,
            };
            let mut context = CollectContext::default();
            context.last_collected = hours.map(|hours| context.now - TimeDelta::hours(hours));
            let times = vec![Duration::ZERO; 5];
            let collected = postgres.collected(&measured, times, 1.0, &context);
            !collected.warnings.is_empty()
        };
        let neon = "postgresql://u:p@ep-cool-1.eu-central-1.aws.neon.tech/db";
        assert!(has_warning(neon, None) && has_warning(neon, Some(1)));
        assert!(!has_warning(neon, Some(7)));
        assert!(!has_warning("postgresql://u:p@db.example.com/db", None));
    }
}
