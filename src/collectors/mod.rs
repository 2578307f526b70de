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

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use crate::domain::metrics::collector::{CollectorError, MetricSource};
use crate::domain::metrics::counter::Counter;
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::{NewPoint, Series};
use crate::domain::named::Named;

#[derive(Clone, Debug)]
pub struct CollectContext {
    /// The time of the measurement.
    pub now: DateTime<Utc>,
    pub timeout: Duration,
    /// Counters as they were last read.
    pub counters: Vec<Counter>,
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

    fn collect(&self, context: &CollectContext) -> Result<Collected, CollectorError>;
}

#[derive(Clone, Debug)]
pub struct Finished {
    pub source: MetricSource,
    pub outcome: Result<Collected, CollectorError>,
    pub took: Duration,
}

/// Time that a collector gets beyond its timeout, to report its own timeout error.
const GRACE: Duration = Duration::from_secs(1);

/// Runs all collectors at once and returns their outcomes in the same order.
///
/// A collector that misses its deadline is abandoned; its thread ends with the process.
pub fn run(collectors: Vec<Box<dyn Collector>>, context: &CollectContext) -> Vec<Finished> {
    let began = Instant::now();
    let start = |collector: Box<dyn Collector>| {
        let (sender, receiver) = mpsc::channel();
        let (source, context) = (collector.source(), context.clone());
        thread::spawn(move || {
            let outcome = collector.collect(&context);
            // Fails if the deadline has passed and the receiver is gone.
            let _ = sender.send((outcome, began.elapsed()));
        });
        (source, receiver)
    };
    let running: Vec<_> = collectors.into_iter().map(start).collect();
    let deadline = context.timeout.saturating_add(GRACE);
    let finish = |(source, receiver): (MetricSource, mpsc::Receiver<_>)| {
        let left = deadline.saturating_sub(began.elapsed());
        let (outcome, took) = receiver.recv_timeout(left).unwrap_or_else(|error| {
            let error = match error {
                mpsc::RecvTimeoutError::Timeout => CollectorError::new(
                    format!("did not finish within {} s", context.timeout.as_secs_f64()),
                    "see whether it can be reached, or raise --timeout",
                ),
                mpsc::RecvTimeoutError::Disconnected => {
                    CollectorError::new("terminated unexpectedly", "usagectl collect doctor -v")
                }
            };
            (Err(error), began.elapsed())
        });
        Finished {
            source,
            outcome,
            took,
        }
    };
    running.into_iter().map(finish).collect()
}

/// A measured value of a series without a resource.
fn point(
    source: MetricSource,
    service: Service,
    metric: Metric,
    value: f64,
    at: DateTime<Utc>,
) -> NewPoint {
    NewPoint::new(Series::new(service, metric, ""), value, at)
        .with("source", source.as_str())
        .with("quality", "measured")
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

    struct Fake(MetricSource, fn() -> Result<Collected, CollectorError>);

    impl Collector for Fake {
        fn source(&self) -> MetricSource {
            self.0
        }

        fn collect(&self, _: &CollectContext) -> Result<Collected, CollectorError> {
            (self.1)()
        }
    }

    #[test]
    fn hanging_and_panicking_collectors_do_not_stop_the_others() {
        let context = CollectContext {
            now: DateTime::UNIX_EPOCH,
            timeout: Duration::from_secs(2),
            counters: Vec::new(),
        };
        let finished = run(
            vec![
                Box::new(Fake(MetricSource::Redis, || {
                    thread::sleep(Duration::from_secs(60));
                    Ok(Collected::default())
                })),
                Box::new(Fake(MetricSource::Neon, || panic!("broken"))),
                Box::new(Fake(MetricSource::Postgres, || Ok(Collected::default()))),
            ],
            &context,
        );
        let messages: Vec<_> = finished
            .iter()
            .map(|finished| finished.outcome.as_ref().err().map(ToString::to_string))
            .collect();
        let error = |text: &str| Some(text.to_owned());
        assert_eq!(
            messages,
            [
                error("did not finish within 2 s"),
                error("terminated unexpectedly"),
                None
            ]
        );
    }
}
