//! Collectors of metrics: one file for each source.
//!
//! A collector queries one target and returns points, or an error; it writes nothing. [`run`] runs several at
//! once, each in its own thread and with its own deadline, so that one that hangs or panics does not stop the
//! others.

pub mod exposition;
mod neon;
mod openai;
mod postgres;
mod prometheus;
mod redis;
mod upstash;
mod usage;
mod vendor;
mod vercel;

pub use neon::Neon;
pub use openai::OpenAi;
pub use postgres::Postgres;
pub use prometheus::{MapRule, Prometheus, rules_from_toml};
pub use redis::Redis;
pub use upstash::Upstash;
pub use usage::{Prices, usage};
pub use vendor::Endpoint;
pub use vercel::Vercel;

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::metrics::collector::{CollectorError, CollectorRun, MetricSource, TargetName};
use crate::domain::metrics::counter::Counter;
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::{NewPoint, Series, is_negative, midnight};
use crate::domain::named::Named;
use crate::domain::plans::VendorMeter;

#[derive(Clone, Debug, Default)]
pub struct CollectContext {
    /// The time of the measurement.
    pub now: DateTime<Utc>,
    pub timeout: Duration,
    /// Counters as they were last read.
    pub counters: Vec<Counter>,
    /// The first day to read from sources that have past days; otherwise they go on from the last collection.
    pub since: Option<DateTime<Utc>>,
    /// The last successful run of each target.
    pub runs: Vec<CollectorRun>,
    /// The time of that run of this target.
    pub last_collected: Option<DateTime<Utc>>,
    /// Whether plain HTTP to private addresses is allowed.
    pub allow_http: bool,
    /// Meters that the plans in use limit and no metric of the application measures.
    pub meters: Vec<VendorMeter>,
}

/// Days that vendors may still revise.
const REVISED_DAYS: TimeDelta = TimeDelta::days(3);

impl CollectContext {
    /// The first day to read, of a source that has at most `longest` past days.
    fn first_day(&self, longest: TimeDelta) -> DateTime<Utc> {
        let last = self.last_collected.map_or(self.now, |at| at.min(self.now));
        let first = self.since.unwrap_or(midnight(last) - REVISED_DAYS);
        first.max(midnight(self.now) - longest)
    }

    /// The meter that a name of the vendor stands for; its products may precede it, as in `Fluid Active CPU`.
    fn meter(&self, service: Service, name: &str) -> Option<&VendorMeter> {
        let mut meters = self.meters.iter();
        meters.find(|it| it.service == service && it.has_name(name))
    }
}

/// A source and the measured resource.
pub struct Target {
    /// The database, project or team; empty for the only one.
    pub resource: String,
    pub collector: Box<dyn Collector>,
}

/// The values that a collector read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Collected {
    /// Empty if the source has no values.
    pub points: Vec<NewPoint>,
    pub counters: Vec<Counter>,
    /// Whether a value replaces a stored one of the same time, as with revised bills.
    pub revises: bool,
    pub notes: Vec<String>,
    /// What the user should act on.
    pub warnings: Vec<String>,
}

pub trait Collector: Send {
    fn source(&self) -> MetricSource;

    /// The identity of the measured target, without secrets.
    fn address(&self) -> String;

    fn collect(&self, context: &CollectContext) -> Result<Collected, CollectorError>;
}

impl Collected {
    /// The values of a resource, without negative ones: only a cost may be negative.
    fn of_resource(mut self, resource: &str) -> Collected {
        let points = std::mem::take(&mut self.points).into_iter();
        for point in points.map(|point| point.of_resource(resource)) {
            if is_negative(point.series.metric, point.value) {
                let warning = format!("{} is negative: {}", point.series, point.value);
                self.warnings.push(warning);
            } else {
                self.points.push(point);
            }
        }
        self
    }

    /// Remembers the target of each series, and warns if the values before were of another one.
    fn of_target(
        mut self,
        source: MetricSource,
        address: &str,
        context: &CollectContext,
    ) -> Collected {
        let series: BTreeSet<&Series> = self.points.iter().map(|point| &point.series).collect();
        let current = series.into_iter().map(|series| Counter {
            name: format!("{source} target of {series}"),
            epoch: address.to_owned(),
            value: 0.0,
            read_at: context.now,
        });
        let current: Vec<Counter> = current.collect();
        let mut earlier = context.counters.iter().filter(|it| it.epoch != address);
        if let Some(other) = earlier.find(|it| current.iter().any(|new| new.name == it.name)) {
            let shown = |address: &str| match address {
                "" => "the default".to_owned(),
                address => format!("`{address}`"),
            };
            self.warnings.push(format!(
                "the target is {}, and the values before are of {}: they are in one series; give each target its own --resource",
                shown(address),
                shown(&other.epoch)
            ));
        }
        self.counters.extend(current);
        self
    }
}

#[derive(Clone, Debug)]
pub struct Finished {
    pub target: TargetName,
    pub outcome: Result<Collected, CollectorError>,
    pub took: Duration,
}

/// Time that a collector gets beyond its timeout, to report its own timeout error.
const GRACE: Duration = Duration::from_secs(1);

/// Runs the collectors of all targets at once and returns their outcomes in the same order.
///
/// A collector that misses its deadline is abandoned; its thread ends with the process.
pub fn run(targets: Vec<Target>, context: &CollectContext) -> Vec<Finished> {
    let began = Instant::now();
    let start = |target: Target| {
        let (sender, receiver) = mpsc::channel();
        let name = TargetName {
            source: target.collector.source(),
            resource: target.resource.clone(),
        };
        let mut context = context.clone();
        let text = name.to_string();
        let last = context.runs.iter().find(|run| run.collector == text);
        context.last_collected = last.map(|run| run.started_at);
        thread::spawn(move || {
            let Target {
                collector,
                resource,
                ..
            } = &target;
            let outcome = collector.collect(&context).map(|collected| {
                let collected = collected.of_resource(resource);
                collected.of_target(collector.source(), &collector.address(), &context)
            });
            // Fails if the deadline has passed and the receiver is gone.
            let _ = sender.send((outcome, began.elapsed()));
        });
        (name, receiver)
    };
    let running: Vec<_> = targets.into_iter().map(start).collect();
    let deadline = context.timeout.saturating_add(GRACE);
    let finish = |(target, receiver): (TargetName, mpsc::Receiver<_>)| {
        let left = deadline.saturating_sub(began.elapsed());
        let (outcome, took) = receiver.recv_timeout(left).unwrap_or_else(|error| {
            let error = match error {
                mpsc::RecvTimeoutError::Timeout => CollectorError::new(
                    format!("did not finish within {} s", context.timeout.as_secs_f64()),
                    "see whether it can be reached, or raise --timeout",
                ),
                mpsc::RecvTimeoutError::Disconnected => CollectorError::new(
                    "terminated unexpectedly",
                    "run it alone, with --only and -v, and report it",
                ),
            };
            (Err(error), began.elapsed())
        });
        Finished {
            target,
            outcome,
            took,
        }
    };
    running.into_iter().map(finish).collect()
}

/// Makes measured values of series without a resource.
fn points_at(
    source: MetricSource,
    service: Service,
    at: DateTime<Utc>,
) -> impl Fn(Metric, f64) -> NewPoint {
    move |metric, value| {
        NewPoint::new(Series::new(service, metric, ""), value, at)
            .with("source", source.as_str())
            .with("quality", "measured")
    }
}

/// The address in a URL: host, port and database.
fn without_credentials(url: &str) -> String {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let address = after_scheme
        .rsplit_once('@')
        .map_or(after_scheme, |(_, it)| it);
    let address = address.split_once('?').map_or(address, |(it, _)| it);
    address.trim_end_matches('/').to_owned()
}

/// The median of an odd number of durations, in milliseconds, rounded to the microsecond.
fn median_ms(mut times: Vec<Duration>) -> f64 {
    times.sort();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    (median.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::at;

    struct Fake(MetricSource, fn() -> Result<Collected, CollectorError>);

    impl Collector for Fake {
        fn source(&self) -> MetricSource {
            self.0
        }

        fn address(&self) -> String {
            String::new()
        }

        fn collect(&self, _: &CollectContext) -> Result<Collected, CollectorError> {
            (self.1)()
        }
    }

    #[test]
    fn hanging_and_panicking_collectors_do_not_stop_the_others() {
        let context = CollectContext {
            timeout: Duration::from_secs(2),
            ..CollectContext::default()
        };
        let fakes = [
            Fake(MetricSource::Redis, || {
                thread::sleep(Duration::from_secs(60));
                Ok(Collected::default())
            }),
            Fake(MetricSource::Neon, || panic!("broken")),
            Fake(MetricSource::Postgres, || Ok(Collected::default())),
        ];
        let targets = fakes.into_iter().map(|fake| Target {
            resource: String::new(),
            collector: Box::new(fake),
        });
        let finished = run(targets.collect(), &context);
        let message = |it: &Finished| it.outcome.as_ref().err().map(ToString::to_string);
        let messages: Vec<_> = finished.iter().map(message).collect();
        let late = Some("did not finish within 2 s".to_owned());
        let broken = Some("terminated unexpectedly".to_owned());
        assert_eq!(messages, [late, broken, None]);
    }

    #[test]
    fn past_days_are_read_since_the_last_collection_or_the_given_day() {
        let day = |day: u32| at(&format!("2026-01-{day:02}T00:00:00Z"));
        let first = |last: Option<u32>, since: Option<u32>| {
            let context = CollectContext {
                now: at("2026-01-31T12:00:00Z"),
                last_collected: last.map(|last| day(last) + TimeDelta::hours(7)),
                since: since.map(day),
                ..CollectContext::default()
            };
            context.first_day(TimeDelta::days(20))
        };
        assert_eq!(first(None, None), day(28));
        assert_eq!(first(Some(31), None), day(28));
        assert_eq!(first(Some(20), None), day(17));
        assert_eq!(first(Some(20), Some(30)), day(30));
        // The source has no more days.
        assert_eq!(first(Some(2), None), day(11));
        assert_eq!(first(None, Some(1)), day(11));
    }

    #[test]
    fn changed_target_of_a_series_is_warned_about() {
        let mut context = CollectContext::default();
        let mut read = |metric, resource: &str, address: &str| {
            let (source, service) = (MetricSource::Redis, Service::VercelKv);
            let collected = Collected {
                points: vec![points_at(source, service, context.now)(metric, 1.0)],
                ..Collected::default()
            };
            let collected = collected.of_resource(resource);
            let collected = collected.of_target(source, address, &context);
            let names: Vec<&str> = collected
                .counters
                .iter()
                .map(|it| it.name.as_str())
                .collect();
            context
                .counters
                .retain(|it| !names.contains(&it.name.as_str()));
            context.counters.extend(collected.counters);
            collected.warnings
        };
        assert_eq!(read(Metric::StorageMb, "", "a:1"), [""; 0]);
        assert_eq!(read(Metric::StorageMb, "", "a:1"), [""; 0]);
        assert_eq!(read(Metric::StorageMb, "b", "b:1"), [""; 0]);
        assert_eq!(read(Metric::Connections, "", "b:1"), [""; 0]);
        let expected = "the target is `b:1`, and the values before are of `a:1`: they are in one series; give each target its own --resource";
        assert_eq!(read(Metric::StorageMb, "", "b:1"), [expected]);
        assert_eq!(read(Metric::StorageMb, "", "b:1"), [""; 0]);
    }

    #[test]
    fn values_belong_to_the_resource_and_negative_ones_are_left_out() {
        let now = DateTime::UNIX_EPOCH;
        let new = points_at(MetricSource::Redis, Service::VercelKv, now);
        let collected = Collected {
            points: vec![
                new(Metric::Connections, -5.0),
                new(Metric::CostUsd, -5.0),
                new(Metric::StorageMb, 0.0),
            ],
            ..Collected::default()
        };
        let collected = collected.of_resource("cache");
        let series = collected.points.iter().map(|it| it.series.to_string());
        let expected = ["VERCEL_KV COST_USD cache", "VERCEL_KV STORAGE_MB cache"];
        assert_eq!(series.collect::<Vec<_>>(), expected);
        let expected = ["VERCEL_KV CONNECTIONS cache is negative: -5"];
        assert_eq!(collected.warnings, expected);
    }
}
