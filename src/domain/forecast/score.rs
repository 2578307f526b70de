//! Scores of forecasts against actual values.

use serde::Serialize;

use super::robust::median;

/// The nominal coverage of the three bands.
pub const BANDS: [f64; 3] = [0.5, 0.8, 0.95];

/// The share of outcomes inside each of [`BANDS`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Coverage {
    pub band_50: f64,
    pub band_80: f64,
    pub band_95: f64,
}

/// A forecast band.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

impl Interval {
    /// Whether `value` lies inside, up to rounding errors.
    pub fn contains(self, value: f64) -> bool {
        let slack = 1e-9 * value.abs();
        self.low - slack <= value && value <= self.high + slack
    }
}

/// The median of the absolute errors.
pub fn median_error(errors: &[f64]) -> Option<f64> {
    let sizes: Vec<f64> = errors.iter().map(|error| error.abs()).collect();
    (!sizes.is_empty()).then(|| median(&sizes))
}
