//! Where metrics are measured: one file for each source.
//!
//! A collector asks one target and answers with points, or with a reason why there are none. It writes
//! nothing and knows no database of ours. [`run`] runs several at once, each in a thread and with a
//! deadline of its own, so that one that hangs or breaks does not stop the others.

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
pub use upstash::{Account, Upstash, Way};
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

/// What every collector is told.
#[derive(Clone, Debug)]
pub struct CollectContext {
    /// The moment that is measured.
    pub now: DateTime<Utc>,
    /// How long asking may take.
    pub timeout: Duration,
    /// Counters as they were last read.
    pub counters: Vec<Counter>,
}

/// What a collector found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Collected {
    /// What was measured; nothing, if the source has nothing to tell.
    pub points: Vec<NewPoint>,
    pub counters: Vec<Counter>,
    /// Whether values of a moment that is known replace the old ones: bills are revised.
    pub revises: bool,
    /// What is worth knowing and no failure.
    pub notes: Vec<String>,
    /// What the user should do something about.
    pub warnings: Vec<String>,
}

/// Asks one target.
pub trait Collector: Send {
    /// Which kind of target it is.
    fn source(&self) -> MetricSource;

    /// Asks it.
    fn collect(&self, moment: &CollectContext) -> Result<Collected, CollectorError>;
}

/// What became of a collector.
#[derive(Clone, Debug)]
pub struct Finished {
    pub source: MetricSource,
    pub found: Result<Collected, CollectorError>,
    pub took: Duration,
}

/// How much longer than its own time limit a collector may take, to say that it failed.
const GRACE: Duration = Duration::from_secs(1);

/// Runs all at once. The answers stand in the order of the collectors.
///
/// A collector that does not come back in time is left to itself; its thread ends with the program.
pub fn run(collectors: Vec<Box<dyn Collector>>, moment: &CollectContext) -> Vec<Finished> {
    let began = Instant::now();
    let start = |collector: Box<dyn Collector>| {
        let (sender, receiver) = mpsc::channel();
        let (source, moment) = (collector.source(), moment.clone());
        thread::spawn(move || {
            let found = collector.collect(&moment);
            // Nobody waits any more if it took too long.
            let _ = sender.send((found, began.elapsed()));
        });
        (source, receiver)
    };
    let running: Vec<_> = collectors.into_iter().map(start).collect();
    let deadline = moment.timeout.saturating_add(GRACE);
    let finish = |(source, receiver): (MetricSource, mpsc::Receiver<_>)| {
        let left = deadline.saturating_sub(began.elapsed());
        let (found, took) = match receiver.recv_timeout(left) {
            Ok((found, took)) => (found, took),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let message = format!("did not finish within {} s", moment.timeout.as_secs_f64());
                let hint = "see whether it can be reached, or give it more time with --timeout";
                (Err(CollectorError::new(message, hint)), began.elapsed())
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let failure = CollectorError::new("broke off", "usagectl collect doctor -v");
                (Err(failure), began.elapsed())
            }
        };
        Finished {
            source,
            found,
            took,
        }
    };
    running.into_iter().map(finish).collect()
}

/// A measurement by a collector.
fn point(
    source: MetricSource,
    service: Service,
    metric: Metric,
    value: f64,
    at: DateTime<Utc>,
) -> NewPoint {
    let series = Series {
        service,
        metric,
        resource: String::new(),
    };
    NewPoint::new(series, value, at)
        .with("source", source.as_str())
        .with("quality", "measured")
}

/// The median of an odd number of durations, in milliseconds.
fn median_ms(mut times: Vec<Duration>) -> f64 {
    times.sort();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    // To the microsecond: more digits are noise.
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
    fn one_that_hangs_and_one_that_breaks_do_not_stop_the_others() {
        let moment = CollectContext {
            now: DateTime::UNIX_EPOCH,
            timeout: Duration::from_millis(50),
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
            &moment,
        );
        let messages: Vec<_> = finished
            .iter()
            .map(|finished| finished.found.as_ref().err().map(ToString::to_string))
            .collect();
        let said = |text: &str| Some(text.to_owned());
        assert_eq!(
            messages,
            [
                said("did not finish within 0.05 s"),
                said("broke off"),
                None
            ]
        );
    }
}
