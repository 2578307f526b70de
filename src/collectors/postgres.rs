//! A PostgreSQL server: the size of a database, client connections against the maximum, round trips.

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer};

use super::{CollectContext, Collected, Collector, median_ms, point};
use crate::domain::metrics::collector::{CollectorError, MetricSource};
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::NewPoint;
use crate::store::db;
use crate::store::db::{Access, Db};
use crate::store::url::{DatabaseTarget, DatabaseUrl};

/// Where it is.
#[derive(Clone, Debug)]
pub struct Postgres {
    pub url: DatabaseUrl,
    /// How long ago it was asked the last time.
    pub last_asked: Option<Duration>,
}

/// Less often than this, a server that goes to sleep still sleeps most of the day.
const RARE: Duration = Duration::from_secs(6 * 3600);

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

/// Without `pg_read_all_stats` the kind of other users' connections is hidden; how many connections each
/// database has is not.
const QUERY: &str = "
    SELECT pg_database_size(current_database()) AS size_bytes,
           activity.clients, activity.hidden,
           (SELECT coalesce(sum(numbackends), 0)::bigint FROM pg_stat_database) - 1 AS backends,
           current_setting('max_connections')::int
             - current_setting('superuser_reserved_connections')::int
             - coalesce(current_setting('reserved_connections', true), '0')::int AS maximum
    FROM (SELECT count(*) FILTER (WHERE backend_type = 'client backend') AS clients,
                 count(*) FILTER (WHERE backend_type IS NULL) AS hidden
          FROM pg_stat_activity WHERE pid <> pg_backend_pid()) AS activity";

impl Collector for Postgres {
    fn source(&self) -> MetricSource {
        MetricSource::Postgres
    }

    fn collect(&self, moment: &CollectContext) -> Result<Collected, CollectorError> {
        let DatabaseTarget::Postgres(target) = &self.url.target else {
            let hint = "give a URL that begins with postgresql://";
            return Err(CollectorError::new(
                "the URL is not one of PostgreSQL",
                hint,
            ));
        };
        let began = Instant::now();
        let opened = db::open(&self.url, Access::Read);
        let mut db = opened.map_err(|error| {
            let error = crate::error::Error::from(error);
            let hint = error.next().unwrap_or("usagectl collect doctor").to_owned();
            CollectorError::new(error, hint)
        })?;
        let connect_ms = median_ms(vec![began.elapsed()]);
        let asked = db.read_tx(ask).map_err(|error| {
            let message = target.without_secrets(&error.to_string());
            CollectorError::new(
                message,
                "see that the role may CONNECT and is not slowed down by locks",
            )
        })?;
        Ok(self.told(&asked, connect_ms, moment))
    }
}

fn ask(db: &mut Db) -> QueryResult<(Measured, Vec<Duration>)> {
    let Db::Pg(conn) = db else {
        return Err(diesel::result::Error::NotFound);
    };
    conn.batch_execute("SET LOCAL statement_timeout = '5s'")?;
    let measured = diesel::sql_query(QUERY).get_result(conn)?;
    let mut times = Vec::new();
    for _ in 0..5 {
        let began = Instant::now();
        conn.batch_execute("SELECT 1")?;
        times.push(began.elapsed());
    }
    Ok((measured, times))
}

impl Postgres {
    fn told(
        &self,
        (measured, times): &(Measured, Vec<Duration>),
        connect_ms: f64,
        moment: &CollectContext,
    ) -> Collected {
        let of = |metric, value: f64| -> NewPoint {
            point(
                MetricSource::Postgres,
                Service::VercelPostgres,
                metric,
                value,
                moment.now,
            )
        };
        let mut told = Collected::default();
        let (connections, quality) = match measured.hidden {
            0 => (measured.clients, "measured"),
            _ => {
                told.notes.push(
                    "the kind of other roles' connections is hidden, so all are counted; \
                     GRANT pg_read_all_stats to this role shows it"
                        .to_owned(),
                );
                (measured.backends.max(0), "derived")
            }
        };
        told.points = vec![
            of(Metric::StorageMb, measured.size_bytes as f64 / 1e6).with("unit", "MB, 10^6 bytes"),
            of(Metric::Connections, connections as f64)
                .with("maximum", measured.maximum)
                .with("quality", quality),
            of(Metric::LatencyMs, median_ms(times.clone())).with("connect_ms", connect_ms),
        ];
        if self.may_sleep() && self.last_asked.is_none_or(|ago| ago < RARE) {
            told.warnings.push(
                "this Neon database is kept awake by being asked, and awake it costs compute time: every \
                 15 minutes is about 60 compute hours a month; ask it every 6 hours, or the neon \
                 collector, which does not wake it"
                    .to_owned(),
            );
        }
        told
    }

    /// Whether the server goes to sleep when nobody asks it: Neon's do.
    fn may_sleep(&self) -> bool {
        let shown = self.url.target.to_string();
        shown.contains(".neon.tech")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::url::{self, UrlSource};

    #[test]
    fn only_a_server_that_sleeps_and_is_asked_often_is_warned_about() {
        let warned = |url: &str, hours: Option<u64>| {
            let postgres = Postgres {
                url: url::parse(url, UrlSource::Flag).unwrap(),
                last_asked: hours.map(|hours| Duration::from_secs(hours * 3600)),
            };
            let measured = Measured {
                size_bytes: 1,
                clients: 0,
                hidden: 0,
                backends: 0,
                maximum: 97,
            };
            let moment = CollectContext {
                now: chrono::DateTime::UNIX_EPOCH,
                timeout: Duration::ZERO,
                counters: Vec::new(),
            };
            let told = postgres.told(&(measured, vec![Duration::ZERO; 5]), 1.0, &moment);
            !told.warnings.is_empty()
        };
        let neon = "postgresql://u:p@ep-cool-1.eu-central-1.aws.neon.tech/db";
        assert!(warned(neon, None) && warned(neon, Some(1)));
        assert!(!warned(neon, Some(7)));
        assert!(!warned("postgresql://u:p@db.example.com/db", None));
    }
}
