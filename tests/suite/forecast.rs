//! Forecasts of generated series: families of daily levels and amounts, each from many seeds.
//!
//! The coverage of the 80 % bands must be near 80 % in every family.
//! The model was not tuned with these seeds. `cargo bench -- families` does the same with more of them.

use rstest::rstest;
use usagectl::domain::forecast::DailySeries;
use usagectl::domain::forecast::backtest::{Plan, Scores, Trial, backtest};
use usagectl::domain::metrics::names::MetricKind;

use crate::examples::data::families::{GAUGES, PERIODS, SHAPES, gauge, period};

/// Few, since the tests are built without optimisation.
const SEEDS: u64 = 36;
const FIRST_SEED: u64 = 26_000_000;

/// One forecast from the 60th day, for one of the horizons.
fn trial(family: &str, kind: MetricKind, seed: u64) -> Trial {
    let (values, horizons) = match kind {
        MetricKind::Period => (period(family, seed, 90), [14, 21, 30]),
        MetricKind::Gauge | MetricKind::Rate => (gauge(family, seed, 90), [7, 14, 30]),
    };
    let series = DailySeries::new(format!("{family} {seed}"), kind, values);
    let plan = Plan {
        origins: 1,
        horizons: vec![horizons[(seed % 3) as usize]],
        from: Some(59),
        to: Some(59),
    };
    let mut trials = backtest(&series, &plan).remove(0).trials;
    trials.pop().expect("a trial on the 60th day")
}

fn scores(family: &str, kind: MetricKind) -> (Vec<Trial>, Scores) {
    let seeds = FIRST_SEED..FIRST_SEED + SEEDS;
    let trials: Vec<Trial> = seeds.map(|seed| trial(family, kind, seed)).collect();
    let scores = Scores::of(&trials).expect("there are forecasts");
    (trials, scores)
}

/// Asserts the coverage of each family, and returns the pooled coverage.
fn check(families: &[&str], kind: MetricKind, least: f64) -> f64 {
    let mut all = Vec::new();
    for family in families {
        let (trials, scores) = scores(family, kind);
        assert!(scores.coverage.band_80 >= least, "{family}: {scores:?}");
        all.extend(trials);
    }
    let scores = Scores::of(&all).expect("there are forecasts");
    scores.coverage.band_80
}

#[test]
fn level_bands_are_covered_in_every_family() {
    let pooled = check(&GAUGES, MetricKind::Gauge, 0.70);
    assert!((0.76..=0.93).contains(&pooled), "{pooled}");
}

#[test]
fn amount_bands_are_covered_in_every_family() {
    let pooled = check(&PERIODS, MetricKind::Period, 0.60);
    assert!((0.70..=0.95).contains(&pooled), "{pooled}");
}

/// From twelve days of 120 each, also from before the shape shows.
#[rstest]
fn level_bands_are_covered_in_every_shape(#[values(7, 14, 30)] horizon: u32) {
    for shape in SHAPES {
        let of_seed = |seed| {
            let levels = gauge(shape, seed, 120);
            let series = DailySeries::new(format!("{shape} {seed}"), MetricKind::Gauge, levels);
            let plan = Plan {
                origins: 12,
                horizons: vec![horizon],
                from: None,
                to: None,
            };
            backtest(&series, &plan).remove(0).trials
        };
        let trials: Vec<Trial> = (FIRST_SEED..FIRST_SEED + 12).flat_map(of_seed).collect();
        let scores = Scores::of(&trials).expect("there are forecasts");
        assert!(scores.coverage.band_80 >= 0.66, "{shape}: {scores:?}");
    }
}
