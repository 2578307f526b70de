//! How good forecasts were, once it is known what came.

use super::robust::{mean, median};

/// The shares of outcomes that the three bands should hold.
pub const BANDS: [f64; 3] = [0.5, 0.8, 0.95];

/// A band that was forecast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

impl Interval {
    /// Whether it holds `value`. Values that differ by rounding alone are the same.
    pub fn holds(self, value: f64) -> bool {
        let slack = 1e-9 * value.abs();
        self.low - slack <= value && value <= self.high + slack
    }

    /// Winkler's score of a band that should hold `share` of the outcomes: its width, and if it missed, the
    /// distance many times over. Less is better; a band that is merely wide does not win.
    pub fn winkler(self, value: f64, share: f64) -> f64 {
        let missed = (self.low - value).max(value - self.high).max(0.0);
        self.high - self.low + 2.0 / (1.0 - share) * missed
    }
}

/// A chance that was forecast, and whether it happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// From 0 to 1.
    pub chance: f64,
    pub happened: bool,
}

/// Brier's score: the mean square between chance and outcome. 0 is certain and right, 1 certain and wrong.
pub fn brier(verdicts: &[Verdict]) -> Option<f64> {
    let square = |verdict: &Verdict| {
        let miss = verdict.chance - f64::from(u8::from(verdict.happened));
        miss * miss
    };
    let squares: Vec<f64> = verdicts.iter().map(square).collect();
    (!squares.is_empty()).then(|| mean(&squares))
}

/// Of the forecasts that gave about the same chance, how many came true.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reliability {
    pub from: f64,
    pub to: f64,
    pub forecasts: usize,
    pub chance: f64,
    pub happened: f64,
}

/// The reliability of chances, a fifth at a time; fifths without forecasts are left out.
pub fn reliability(verdicts: &[Verdict]) -> Vec<Reliability> {
    let fifth = |verdict: &Verdict| ((verdict.chance * 5.0) as usize).min(4);
    let of = |number: usize| {
        let inside: Vec<&Verdict> = verdicts.iter().filter(|it| fifth(it) == number).collect();
        let chances: Vec<f64> = inside.iter().map(|it| it.chance).collect();
        let happened = inside.iter().filter(|it| it.happened).count();
        (!inside.is_empty()).then(|| Reliability {
            from: number as f64 / 5.0,
            to: (number + 1) as f64 / 5.0,
            forecasts: inside.len(),
            chance: mean(&chances),
            happened: happened as f64 / inside.len() as f64,
        })
    };
    (0..5).filter_map(of).collect()
}

/// The middle of the absolute errors.
pub fn median_error(errors: &[f64]) -> Option<f64> {
    let sizes: Vec<f64> = errors.iter().map(|error| error.abs()).collect();
    (!sizes.is_empty()).then(|| median(&sizes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miss_costs_ten_times_its_distance_in_an_80_percent_band() {
        let band = Interval {
            low: 10.0,
            high: 20.0,
        };
        assert_eq!(band.winkler(15.0, 0.8), 10.0);
        assert!((band.winkler(21.0, 0.8) - 20.0).abs() < 1e-9);
        assert!(band.holds(20.0 + 1e-12) && !band.holds(20.1));
    }

    #[test]
    fn certain_and_wrong_is_1_and_undecided_a_quarter() {
        let verdict = |chance, happened| Verdict { chance, happened };
        assert_eq!(brier(&[verdict(1.0, false)]), Some(1.0));
        assert_eq!(
            brier(&[verdict(0.5, true), verdict(0.5, false)]),
            Some(0.25)
        );
        assert_eq!(brier(&[]), None);
        let table = reliability(&[verdict(0.1, false), verdict(0.0, true), verdict(1.0, true)]);
        assert_eq!(table.len(), 2);
        assert_eq!(
            (table[0].forecasts, table[0].happened, table[0].chance),
            (2, 0.5, 0.05)
        );
        assert_eq!((table[1].from, table[1].happened), (0.8, 1.0));
    }
}
