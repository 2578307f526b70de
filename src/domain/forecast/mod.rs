//! Exhaustion forecasts: when a metric reaches its thresholds, and the total of a billing period.
//!
//! Forecasts are arithmetic on daily values; the same series and request give the same bits on every machine.
//! `series` is the input, `answer` the result, `smooth` the model, `paths` its use for gauges and counters;
//! `calibrate` scales the bands by the model's past errors; `doubt` adds what the history leaves open; `fixed` leaves
//! out what needs no model; `backtest` measures the accuracy. `docs/forecast.md` describes the method and its
//! evidence.

mod answer;
mod calibrate;
mod doubt;
mod fixed;
mod math;
mod paths;
mod random;
mod robust;
mod rules;
mod series;
mod smooth;

pub mod backtest;

pub use answer::{
    Band, Basis, Confidence, Crossing, Forecast, HORIZON_DAYS, InsufficientData, PeriodTotal,
    forecast,
};
pub use fixed::Fixed;
pub use paths::Paths;
pub use rules::Rules;
pub use series::{
    DailySeries, DailyValue, DayNumber, ForecastRequest, MetricKind, Pace, day_date, day_number,
};
