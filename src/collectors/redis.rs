//! A Redis server, over its own protocol: memory, clients, commands, round trips.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use redis::{Client, Connection};

use super::{CollectContext, Collected, Collector, median_ms, point};
use crate::domain::metrics::collector::{CollectorError, MetricSource};
use crate::domain::metrics::counter::increase;
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::{NewPoint, midnight};
use crate::http::Secret;

/// Where it is.
#[derive(Clone, Debug)]
pub struct Redis {
    /// Its URL, which may hold a password.
    pub url: Secret,
}

impl Collector for Redis {
    fn source(&self) -> MetricSource {
        MetricSource::Redis
    }

    fn collect(&self, moment: &CollectContext) -> Result<Collected, CollectorError> {
        let mut connection = self.connect(moment.timeout)?;
        let info: String = redis::cmd("INFO")
            .query(&mut connection)
            .map_err(|error| self.failed("INFO", &error))?;
        let mut times = Vec::new();
        for _ in 0..5 {
            let began = Instant::now();
            let _: String = redis::cmd("PING")
                .query(&mut connection)
                .map_err(|error| self.failed("PING", &error))?;
            times.push(began.elapsed());
        }
        let mut told = from_info(MetricSource::Redis, &Info::parse(&info), 1.0, moment)?;
        let latency = median_ms(times);
        told.points.push(point(
            MetricSource::Redis,
            Service::VercelKv,
            Metric::LatencyMs,
            latency,
            moment.now,
        ));
        Ok(told)
    }
}

impl Redis {
    fn connect(&self, timeout: Duration) -> Result<Connection, CollectorError> {
        let hint = "check the URL: redis://[user:password@]host:port, or rediss:// for TLS";
        let client = Client::open(self.url.expose())
            .map_err(|error| CollectorError::new(self.without_secrets(&error.to_string()), hint))?;
        let connection = client
            .get_connection_with_timeout(timeout)
            .map_err(|error| self.failed("connecting", &error))?;
        let limited = connection
            .set_read_timeout(Some(timeout))
            .and_then(|()| connection.set_write_timeout(Some(timeout)));
        limited.map_err(|error| self.failed("connecting", &error))?;
        Ok(connection)
    }

    fn failed(&self, doing: &str, error: &redis::RedisError) -> CollectorError {
        let said = self.without_secrets(&error.to_string());
        let is_refused = error.kind() == redis::ErrorKind::AuthenticationFailed;
        let hint = match error.code() {
            _ if is_refused => "put the right user and password into the URL",
            Some("NOPERM") => "let the user run INFO and PING: ACL SETUSER name +info +ping",
            Some("NOAUTH" | "WRONGPASS") => "put the right user and password into the URL",
            _ if error.is_timeout() => {
                "see whether it can be reached, or give it more time with --timeout"
            }
            _ => "check host, port and password in the URL, and that the server is up",
        };
        CollectorError::new(format!("{doing}: {said}"), hint)
    }

    /// No message of the client repeats the URL; if one ever did, this takes the URL out.
    fn without_secrets(&self, message: &str) -> String {
        let mut message = message.replace(self.url.expose(), "***");
        let credentials = self
            .url
            .expose()
            .split_once("://")
            .and_then(|(_, rest)| rest.rsplit_once('@'));
        if let Some((credentials, _)) = credentials {
            for secret in credentials.split(':').filter(|secret| secret.len() >= 4) {
                message = message.replace(secret, "***");
            }
        }
        message
    }
}

/// The answer to INFO: names and values. Which of them there are depends on the server.
pub(super) struct Info<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Info<'a> {
    pub(super) fn parse(text: &'a str) -> Info<'a> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.trim().split_once(':'));
        Info(
            pairs
                .map(|(name, value)| (name.trim(), value.trim()))
                .collect(),
        )
    }

    fn number(&self, name: &str) -> Option<f64> {
        let number = self.0.get(name)?.parse::<f64>().ok()?;
        Some(number).filter(|number| number.is_finite() && *number >= 0.0)
    }
}

/// What INFO tells, without the connections it was asked over. A field that is missing is not a zero: it
/// tells nothing.
pub(super) fn from_info(
    source: MetricSource,
    info: &Info<'_>,
    own_connections: f64,
    moment: &CollectContext,
) -> Result<Collected, CollectorError> {
    let of =
        |metric, value| -> NewPoint { point(source, Service::VercelKv, metric, value, moment.now) };
    let mut told = Collected::default();
    // Upstash calls it by another name.
    if let Some(bytes) = info
        .number("used_memory")
        .or_else(|| info.number("total_data_size"))
    {
        let mut memory = of(Metric::StorageMb, bytes / 1e6).with("unit", "MB, 10^6 bytes");
        // With a maximum the memory stays below it, and keys are thrown out instead.
        for name in ["maxmemory", "evicted_keys"] {
            if let Some(number) = info.number(name) {
                memory = memory.with(name, number);
            }
        }
        told.points.push(memory);
    }
    if let Some(clients) = info.number("connected_clients") {
        let mut clients = of(Metric::Connections, (clients - own_connections).max(0.0));
        if let Some(maximum) = info.number("maxclients") {
            clients = clients.with("maximum", maximum);
        }
        told.points.push(clients);
    }
    if let Some(commands) = info.number("total_commands_processed") {
        let epoch = info.0.get("run_id").copied().unwrap_or_default();
        let name = format!("{source} commands");
        let read = increase(&moment.counters, &name, epoch, commands, moment.now);
        match (read.today, read.remember.is_empty()) {
            (Some(today), _) => {
                let mut point = of(Metric::CommandsPerDay, today)
                    .with_period_start(midnight(moment.now))
                    .with("quality", "derived");
                if read.reset {
                    point = point.with("reset", true);
                    told.notes.push(
                        "the server has started again; commands before that may be missing"
                            .to_owned(),
                    );
                }
                told.points.push(point);
            }
            (None, false) => told.notes.push(
                "commands are counted from now on: a counter says nothing the first time"
                    .to_owned(),
            ),
            (None, true) => {}
        }
        told.counters = read.remember;
    }
    if told.points.is_empty() && told.counters.is_empty() {
        let hint = "see what INFO answers: it should have used_memory and connected_clients";
        return Err(CollectorError::new(
            "INFO has none of the fields that are known here",
            hint,
        ));
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_are_missing_or_odd_tell_nothing() {
        let moment = CollectContext {
            now: chrono::DateTime::UNIX_EPOCH,
            timeout: Duration::ZERO,
            counters: Vec::new(),
        };
        let told = |text: &str| {
            let told = from_info(MetricSource::Redis, &Info::parse(text), 1.0, &moment);
            told.map(|told| {
                let value = |point: &NewPoint| (point.series.metric, point.value);
                told.points.iter().map(value).collect::<Vec<_>>()
            })
        };
        let info = "# Memory\r\nused_memory:2500000\r\nmaxmemory:0\r\n\r\n# Clients\r\nconnected_clients:many\r\n";
        assert_eq!(told(info), Ok(vec![(Metric::StorageMb, 2.5)]));
        assert_eq!(
            told("connected_clients:3\nused_memory:-1"),
            Ok(vec![(Metric::Connections, 2.0)])
        );
        assert!(told("<html>").is_err() && told("").is_err());
    }
}
