//! A Redis server, over its own protocol: memory, clients, commands, round-trip time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use redis::{Client, Connection};

use super::{CollectContext, Collected, Collector, median_ms, points_at, without_credentials};
use crate::domain::format;
use crate::domain::metrics::collector::{CollectorError, MetricSource};
use crate::domain::metrics::counter::increase;
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::{is_measurable, midnight};
use crate::http::Secret;

#[derive(Clone, Debug)]
pub struct Redis {
    /// May contain a password.
    pub url: Secret,
}

impl Collector for Redis {
    fn source(&self) -> MetricSource {
        MetricSource::Redis
    }

    fn address(&self) -> String {
        without_credentials(self.url.expose())
    }

    fn collect(&self, context: &CollectContext) -> Result<Collected, CollectorError> {
        let mut connection = self.connect(context.timeout)?;
        let mut run = |command: &str| -> Result<String, CollectorError> {
            let answer = redis::cmd(command).query(&mut connection);
            answer.map_err(|error| self.error(command, &error))
        };
        let info = run("INFO")?;
        let mut times = Vec::new();
        for _ in 0..5 {
            let began = Instant::now();
            run("PING")?;
            times.push(began.elapsed());
        }
        let of = (MetricSource::Redis, self.address());
        let mut collected = from_info(of, &Info::parse(&info), 1.0, context)?;
        let new = points_at(MetricSource::Redis, Service::VercelKv, context.now);
        collected
            .points
            .push(new(Metric::LatencyMs, median_ms(times)));
        Ok(collected)
    }
}

impl Redis {
    fn connect(&self, timeout: Duration) -> Result<Connection, CollectorError> {
        let hint = "check the URL: redis://[user:password@]host:port, or rediss:// for TLS";
        let client = Client::open(self.url.expose())
            .map_err(|error| CollectorError::new(self.without_secrets(&error.to_string()), hint))?;
        let connect = || {
            let connection = client.get_connection_with_timeout(timeout)?;
            connection.set_read_timeout(Some(timeout))?;
            connection.set_write_timeout(Some(timeout))?;
            Ok(connection)
        };
        connect().map_err(|error| self.error("connecting", &error))
    }

    fn error(&self, action: &str, error: &redis::RedisError) -> CollectorError {
        let message = self.without_secrets(&error.to_string());
        let login_failed = error.kind() == redis::ErrorKind::AuthenticationFailed
            || matches!(error.code(), Some("NOAUTH" | "WRONGPASS"));
        let hint = match error.code() {
            _ if login_failed => "put the right user and password into the URL",
            Some("NOPERM") => "let the user run INFO and PING: ACL SETUSER name +info +ping",
            _ if error.is_timeout() => "see whether it can be reached, or raise --timeout",
            _ => "check host, port and password in the URL, and that the server is up",
        };
        CollectorError::new(format!("{action}: {message}"), hint)
    }

    /// Removes the URL, user and password from a message. The client is not known to repeat them.
    fn without_secrets(&self, message: &str) -> String {
        let url = self.url.expose();
        let mut message = message.replace(url, "***");
        if let Some((_, rest)) = url.split_once("://")
            && let Some((credentials, _)) = rest.rsplit_once('@')
        {
            for secret in credentials.split(':').filter(|secret| secret.len() >= 4) {
                message = message.replace(secret, "***");
            }
        }
        message
    }
}

/// The fields of the INFO answer, which vary by server.
pub(super) struct Info<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Info<'a> {
    pub(super) fn parse(text: &'a str) -> Info<'a> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.trim().split_once(':'));
        let pairs = pairs.map(|(name, value)| (name.trim(), value.trim()));
        Info(pairs.collect())
    }

    fn number(&self, name: &str) -> Option<f64> {
        let number = self.0.get(name)?.parse::<f64>().ok()?;
        Some(number).filter(|number| is_measurable(*number) && *number >= 0.0)
    }
}

/// The values in an INFO answer, less the connections of the collector itself. A missing field gives no value. The
/// counter of commands is that of the address.
pub(super) fn from_info(
    (source, address): (MetricSource, String),
    info: &Info<'_>,
    own_connections: f64,
    context: &CollectContext,
) -> Result<Collected, CollectorError> {
    let new = points_at(source, Service::VercelKv, context.now);
    let mut collected = Collected::default();
    // `total_data_size` is Upstash's name for it.
    let memory = info.number("used_memory");
    if let Some(bytes) = memory.or_else(|| info.number("total_data_size")) {
        let mut memory = new(Metric::StorageMb, bytes / 1e6).with("unit", "MB, 10^6 bytes");
        // With a maximum, memory stays below it and keys are evicted.
        for name in ["maxmemory", "evicted_keys"] {
            if let Some(number) = info.number(name) {
                memory = memory.with(name, number);
            }
        }
        collected.points.push(memory);
    }
    if let Some(clients) = info.number("connected_clients") {
        let mut clients = new(Metric::Connections, (clients - own_connections).max(0.0));
        // Dragonfly calls it `max_clients`.
        let maximum = info.number("maxclients");
        if let Some(maximum) = maximum.or_else(|| info.number("max_clients")) {
            clients = clients.with("maximum", maximum);
        }
        collected.points.push(clients);
    }
    if let Some(commands) = info.number("total_commands_processed") {
        let epoch = info.0.get("run_id").copied().unwrap_or_default();
        let name = format!("{source} {address} commands");
        let uptime = info.number("uptime_in_seconds");
        let uptime = uptime.and_then(|seconds| TimeDelta::try_seconds(seconds as i64));
        let (known, now) = (&context.counters, context.now);
        let read = increase(known, &name, epoch, commands, uptime, now);
        let of_day = |at, commands| {
            let point = points_at(source, Service::VercelKv, at)(Metric::CommandsPerDay, commands);
            let point = point.with_period_start(midnight(at));
            point.with("quality", "derived")
        };
        let earlier = read.earlier.iter();
        collected
            .points
            .extend(earlier.map(|(at, commands)| of_day(*at, *commands)));
        if let Some(today) = read.today {
            let mut point = of_day(now, today);
            if read.reset {
                point = point.with("reset", true);
                let note = "the server restarted; earlier commands may be missing";
                collected.notes.push(note.to_owned());
            }
            collected.points.push(point);
        } else if let Some(last) = read.too_long_since {
            let warning = format!(
                "the command counter was last read at {}; the commands since then are unknown",
                format::time(last)
            );
            collected.warnings.push(warning);
        } else if !read.remember.is_empty() {
            let note =
                "first reading of the command counter; COMMANDS_PER_DAY begins with the next one";
            collected.notes.push(note.to_owned());
        }
        collected.counters = read.remember;
    }
    if collected.points.is_empty() && collected.counters.is_empty() {
        let message = "the expected fields are missing in INFO";
        let hint = "see what INFO answers: it should have used_memory and connected_clients";
        return Err(CollectorError::new(message, hint));
    }
    Ok(collected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::metrics::point::NewPoint;

    #[test]
    fn missing_or_malformed_fields_give_no_values() {
        let context = CollectContext::default();
        let values = |text: &str| {
            let of = (MetricSource::Redis, String::new());
            let collected = from_info(of, &Info::parse(text), 1.0, &context);
            collected.map(|collected| {
                let value = |point: &NewPoint| (point.series.metric, point.value);
                collected.points.iter().map(value).collect::<Vec<_>>()
            })
        };
        let info = "# Memory\r\nused_memory:2500000\r\nmaxmemory:0\r\n\r\n# Clients\r\nconnected_clients:many\r\n";
        assert_eq!(values(info), Ok(vec![(Metric::StorageMb, 2.5)]));
        let expected = Ok(vec![(Metric::Connections, 2.0)]);
        assert_eq!(values("connected_clients:3\nused_memory:-1"), expected);
        for name in ["maxclients", "max_clients"] {
            let text = format!("connected_clients:3\n{name}:100");
            let of = (MetricSource::Redis, String::new());
            let clients = from_info(of, &Info::parse(&text), 1.0, &context).unwrap();
            assert_eq!(clients.points[0].metadata["maximum"], 100.0);
        }
        assert!(values("<html>").is_err() && values("").is_err());
    }

    #[test]
    fn messages_contain_neither_url_nor_credentials() {
        let redis = Redis {
            url: Secret::from("redis://operator:s3cret-pass@10.0.0.1:6379".to_owned()),
        };
        assert_eq!(redis.address(), "10.0.0.1:6379");
        let masked = |message: &str| redis.without_secrets(message);
        let found = masked("cannot parse redis://operator:s3cret-pass@10.0.0.1:6379");
        assert_eq!(found, "cannot parse ***");
        let expected = "WRONGPASS *** for ***";
        assert_eq!(masked("WRONGPASS s3cret-pass for operator"), expected);
        let detail = "AUTH operator s3cret-pass".to_owned();
        let error = redis::RedisError::from((redis::ErrorKind::Io, "refused", detail));
        let message = redis.error("connecting", &error).message;
        assert!(message.ends_with("AUTH *** ***"), "{message}");
    }
}
