//! Infrastructure metrics: names, points, days, and the sources they are collected from.

pub mod collector;
pub mod counter;
pub mod day;
pub mod focus_bill;
pub mod names;
pub mod point;
