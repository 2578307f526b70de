//! Infrastructure metrics: names, points, days, and their sources.

pub mod collector;
pub mod counter;
pub mod day;
pub mod focus_bill;
pub mod names;
pub mod point;
pub mod stored_bill;
