//! What the generator makes, and families of series to try forecasts on; the test suite includes both.

#[allow(dead_code, reason = "for tests and benchmarks")]
pub mod families;
pub mod lines;
pub mod metrics;
pub mod random;
pub mod usage;
