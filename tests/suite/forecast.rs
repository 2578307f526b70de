//! Forecasts of series whose making is known: families of daily levels and amounts, each from many seeds.
//!
//! Guards what the model promises: its 80 % bands hold about as much as they say, in every family, and its chances
//! are better than the rules of thumb that people use. Seeds here were never used to choose anything about the
//! model. `cargo bench -- families` does the same on more of them.

use usagectl::domain::forecast::backtest::{Plan, Scores, Trial, backtest};
use usagectl::domain::forecast::{DailySeries, DailyValue};
use usagectl::domain::metrics::names::MetricKind;

use crate::examples::data::families::{GAUGES, PERIODS, gauge, period};

/// Few, since the tests are built without optimisation.
const SEEDS: u64 = 36;
const FIRST_SEED: u64 = 26_000_000;

/// One forecast from the 60th day, for one of the horizons in turn.
fn trial(family: &str, kind: MetricKind, seed: u64) -> Trial {
    let (values, horizons) = match kind {
        MetricKind::Period => (period(family, seed, 90), [14, 21, 30]),
        MetricKind::Gauge | MetricKind::Rate => (gauge(family, seed, 90), [7, 14, 30]),
    };
    let series = DailySeries {
        name: format!("{family} {seed}"),
        kind,
        days: values
            .into_iter()
            .map(|(day, value)| DailyValue { day, value })
            .collect(),
    };
    let plan = Plan {
        origins: 1,
        horizons: vec![horizons[(seed % 3) as usize]],
        from: Some(59),
        to: Some(59),
    };
    let mut trials = backtest(&series, &plan).remove(0).trials;
    trials.pop().expect("the day is there, and so is what came")
}

fn scores(family: &str, kind: MetricKind) -> (Vec<Trial>, Scores) {
    let seeds = FIRST_SEED..FIRST_SEED + SEEDS;
    let trials: Vec<Trial> = seeds.map(|seed| trial(family, kind, seed)).collect();
    let scores = Scores::of(&trials).expect("there are forecasts");
    (trials, scores)
}

/// Asserts that each family is covered, and chances better than the rule's, and returns what all cover.
fn check(families: &[&str], kind: MetricKind, least: f64) -> f64 {
    let mut all = Vec::new();
    for family in families {
        let (trials, scores) = scores(family, kind);
        assert!(scores.coverage[1] >= least, "{family}: {scores:?}");
        // After a new level the days since are the best witness, and pro rata knows nothing else.
        let beaten = scores.brier <= scores.peer_brier || *family == "new level";
        assert!(beaten, "{family}: {scores:?}");
        all.extend(trials);
    }
    let scores = Scores::of(&all).expect("there are forecasts");
    assert!(scores.brier < scores.peer_brier, "{scores:?}");
    scores.coverage[1]
}

#[test]
fn bands_of_levels_hold_what_they_say_in_every_family() {
    let pooled = check(&GAUGES, MetricKind::Gauge, 0.70);
    assert!((0.76..=0.93).contains(&pooled), "{pooled}");
}

#[test]
fn bands_of_amounts_hold_what_they_say_in_every_family() {
    let pooled = check(&PERIODS, MetricKind::Period, 0.60);
    assert!((0.70..=0.95).contains(&pooled), "{pooled}");
}
