//! What the generator makes; the test suite includes it too.

pub mod lines;
pub mod metrics;
pub mod random;
pub mod usage;
