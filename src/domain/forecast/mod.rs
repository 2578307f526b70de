//! Where a metric is trend: when it reaches its limit, and how much a billing period will come to.
//!
//! Everything here is arithmetic on daily values; the same series and request give the same answer, bit for
//! bit, on every machine. `series` is what goes in, `answer` what comes out, `smooth` the model, `paths` how
//! gauges and counters use it, `calibrate` how the model's own past misses widen or narrow its bands, and
//! `backtest` with `score` how good all of it is. `README.md` beside this file shows that on real series.

mod answer;
mod calibrate;
mod math;
mod paths;
mod random;
mod robust;
mod series;
mod smooth;

pub mod backtest;
pub mod score;

pub use answer::{
    Band, Basis, Confidence, Crossing, Forecast, HORIZON_DAYS, InsufficientData, PeriodTotal,
    Probability, forecast,
};
pub use paths::Paths;
pub use series::{
    DailySeries, DailyValue, DayNumber, ForecastRequest, MetricKind, day_date, day_number,
};
