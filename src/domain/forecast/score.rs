//! Scores of forecasts against actual values.

use serde::Serialize;

use super::robust::{mean, median};

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

    /// The Winkler score of a band with nominal coverage `share`: its width, plus a multiple of the distance of a
    /// miss. Lower is better, and a band that is merely wide does not win.
    pub fn winkler(self, value: f64, share: f64) -> f64 {
        let missed = (self.low - value).max(value - self.high).max(0.0);
        self.high - self.low + 2.0 / (1.0 - share) * missed
    }
}

/// The forecast probability of an event, and whether it happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EventForecast {
    /// From 0 to 1.
    pub probability: f64,
    pub happened: bool,
}

/// The Brier score, the mean squared difference of probability and outcome: 0 for certain and right, 1 for certain
/// and wrong.
pub fn brier(events: &[EventForecast]) -> Option<f64> {
    let square = |event: &EventForecast| {
        let miss = event.probability - f64::from(u8::from(event.happened));
        miss * miss
    };
    let squares: Vec<f64> = events.iter().map(square).collect();
    (!squares.is_empty()).then(|| mean(&squares))
}

/// Observed frequency of events with similar forecast probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Reliability {
    pub from: f64,
    pub to: f64,
    /// Number of limits.
    pub limits: usize,
    pub mean_chance: f64,
    /// Share of the limits that were reached.
    pub reached: f64,
}

/// The reliability in five bins of probability; empty bins are left out.
pub fn reliability(events: &[EventForecast]) -> Vec<Reliability> {
    let fifth = |event: &EventForecast| ((event.probability * 5.0) as usize).min(4);
    let of = |number: usize| {
        let inside: Vec<&EventForecast> = events.iter().filter(|it| fifth(it) == number).collect();
        let chances: Vec<f64> = inside.iter().map(|it| it.probability).collect();
        let happened = inside.iter().filter(|it| it.happened).count();
        (!inside.is_empty()).then(|| Reliability {
            from: number as f64 / 5.0,
            to: (number + 1) as f64 / 5.0,
            limits: inside.len(),
            mean_chance: mean(&chances),
            reached: happened as f64 / inside.len() as f64,
        })
    };
    (0..5).filter_map(of).collect()
}

/// The median of the absolute errors.
pub fn median_error(errors: &[f64]) -> Option<f64> {
    let sizes: Vec<f64> = errors.iter().map(|error| error.abs()).collect();
    (!sizes.is_empty()).then(|| median(&sizes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn winkler_adds_ten_times_the_miss_of_an_80_percent_band() {
        let band = Interval {
            low: 10.0,
            high: 20.0,
        };
        assert_eq!(band.winkler(15.0, 0.8), 10.0);
        assert!((band.winkler(21.0, 0.8) - 20.0).abs() < 1e-9);
        assert!(band.contains(20.0 + 1e-12) && !band.contains(20.1));
    }

    #[test]
    fn brier_of_certain_and_wrong_is_1() {
        let event = |probability, happened| EventForecast {
            probability,
            happened,
        };
        assert_eq!(brier(&[event(1.0, false)]), Some(1.0));
        assert_eq!(brier(&[event(0.5, true), event(0.5, false)]), Some(0.25));
        assert_eq!(brier(&[]), None);
        let table = reliability(&[event(0.1, false), event(0.0, true), event(1.0, true)]);
        assert_eq!(table.len(), 2);
        assert_eq!((table[0].limits, table[0].reached), (2, 0.5));
        assert_eq!(table[0].mean_chance, 0.05);
        assert_eq!((table[1].from, table[1].reached), (0.8, 1.0));
    }
}
