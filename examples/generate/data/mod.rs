//! The generated data, and families of series to test forecasts with; the test suite uses both.

#[allow(dead_code, reason = "for tests and benchmarks")]
pub mod families;
pub mod lines;
pub mod metrics;
pub mod random;
pub mod usage;
