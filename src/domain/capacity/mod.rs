//! Capacity: how much of a limit is used, and when it will be reached.

pub mod forecast;
pub mod limit_status;
pub mod trend;
