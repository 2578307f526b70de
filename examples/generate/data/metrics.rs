//! Infrastructure metrics as a collector writes them, once a day: growth, weekends, and counters that
//! restart with the month.

use chrono::{DateTime, Datelike, Duration, Utc, Weekday};

use super::random::Random;

/// One measurement; the fields are those of the table `InfrastructureMetric`.
pub struct Measurement {
    pub service: &'static str,
    pub metric: &'static str,
    pub value: f64,
    pub timestamp: DateTime<Utc>,
    /// The plan in use.
    pub plan: &'static str,
}

struct Series {
    service: &'static str,
    metric: &'static str,
    plan: &'static str,
    /// The value on the first day.
    start: f64,
    /// The growth per day, as a share of the start.
    growth: f64,
    /// The variation from day to day, as a share.
    noise: f64,
    kind: Kind,
}

#[derive(PartialEq)]
enum Kind {
    /// A level that only grows.
    Stock,
    /// The amount or level of one day; lower at the weekend.
    Daily,
    /// The amount since the start of the month.
    Monthly,
}

const SERIES: [Series; 9] = [
    // Nears the 256 MB of the free plan.
    series(
        "VERCEL_KV",
        "STORAGE_MB",
        "free",
        147.0,
        0.0092,
        0.6,
        Kind::Stock,
    ),
    series(
        "VERCEL_KV",
        "COMMANDS_PER_DAY",
        "free",
        5_200.0,
        0.009,
        0.12,
        Kind::Daily,
    ),
    series(
        "VERCEL_POSTGRES",
        "STORAGE_MB",
        "launch",
        118.0,
        0.011,
        0.3,
        Kind::Stock,
    ),
    series(
        "VERCEL_POSTGRES",
        "CONNECTIONS",
        "launch",
        11.0,
        0.003,
        0.25,
        Kind::Daily,
    ),
    series(
        "VERCEL_POSTGRES",
        "LATENCY_MS",
        "launch",
        4.1,
        0.004,
        0.3,
        Kind::Daily,
    ),
    series(
        "VERCEL_BANDWIDTH",
        "BANDWIDTH_GB",
        "pro",
        17.5,
        0.006,
        0.2,
        Kind::Monthly,
    ),
    series(
        "VERCEL_FUNCTIONS",
        "INVOCATIONS",
        "pro",
        22_000.0,
        0.007,
        0.15,
        Kind::Monthly,
    ),
    series(
        "VERCEL_BUILD",
        "BUILD_MINUTES",
        "pro",
        62.0,
        0.002,
        0.5,
        Kind::Monthly,
    ),
    series(
        "AI_OPENAI",
        "COST_USD",
        "budget",
        1.1,
        0.008,
        0.4,
        Kind::Monthly,
    ),
];

const fn series(
    service: &'static str,
    metric: &'static str,
    plan: &'static str,
    start: f64,
    growth: f64,
    noise: f64,
    kind: Kind,
) -> Series {
    Series {
        service,
        metric,
        plan,
        start,
        growth,
        noise,
        kind,
    }
}

/// The measurements of `days` days up to `until`, in the order of their times.
pub fn measurements(seed: u64, days: u32, until: DateTime<Utc>) -> Vec<Measurement> {
    let mut random = Random::new(seed);
    let mut sums = [0.0; SERIES.len()];
    let mut made = Vec::new();
    for day in 0..days {
        // The collector runs once a day, at the same time.
        let at = until - Duration::days(i64::from(days - 1 - day)) - Duration::minutes(5);
        let weekend = matches!(at.weekday(), Weekday::Sat | Weekday::Sun);
        for (series, sum) in SERIES.iter().zip(&mut sums) {
            let grown = series.start * (1.0 + series.growth * f64::from(day));
            let noise = random.around_one(series.noise);
            let value = match series.kind {
                Kind::Stock => {
                    let step = series.start * series.growth * noise;
                    *sum = if day == 0 { series.start } else { *sum + step };
                    *sum
                }
                Kind::Daily => grown * noise * if weekend { 0.7 } else { 1.0 },
                Kind::Monthly => {
                    let today = grown * noise * if weekend { 0.6 } else { 1.0 };
                    // Measurements may begin in the middle of a month.
                    let before = if day == 0 {
                        f64::from(at.day() - 1) * grown
                    } else {
                        *sum
                    };
                    *sum = if at.day() == 1 { today } else { before + today };
                    *sum
                }
            };
            made.push(Measurement {
                service: series.service,
                metric: series.metric,
                value: round(series.metric, value),
                timestamp: at,
                plan: series.plan,
            });
        }
    }
    made
}

/// Counts are whole; other values have two decimals.
fn round(metric: &str, value: f64) -> f64 {
    match metric {
        "COMMANDS_PER_DAY" | "CONNECTIONS" | "INVOCATIONS" => value.round(),
        _ => (value * 100.0).round() / 100.0,
    }
}
