//! The speed of forecasts, and their accuracy on generated series.
//!
//! ```text
//! cargo bench --bench forecast                       all of them
//! cargo bench --bench forecast -- speed              5,000 series of 90 days, on one core
//! cargo bench --bench forecast -- families --seeds 300
//! cargo bench --bench forecast -- real               by length of history, on tests/data/series
//! ```

// A developer tool: it prints to stdout and panics on errors.
#![allow(clippy::disallowed_methods, reason = "it writes input, not answers")]
#![allow(clippy::expect_used, clippy::print_stdout)]
#![allow(unreachable_pub, missing_docs)]

#[allow(dead_code)]
#[path = "../examples/generate/data/mod.rs"]
mod data;

use std::time::Instant;

use clap::{Parser, ValueEnum};
use usagectl::domain::forecast::backtest::{Coverage, Plan, Scores, Trial, Trials, backtest};
use usagectl::domain::forecast::{DailySeries, ForecastRequest, day_number, forecast};
use usagectl::domain::metrics::names::MetricKind;

use data::families::{GAUGES, PERIODS, Point, SHAPES, gauge, period};

/// Seeds that neither the model nor the tests were tuned with.
const FIRST_SEED: u64 = 31_000_000;

#[derive(Parser)]
struct Args {
    /// What to measure
    #[arg(value_enum)]
    works: Vec<Work>,
    /// Series per family
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Work {
    /// 5,000 series of 90 days
    Speed,
    /// Coverage and errors of each family
    Families,
    /// Coverage of real series and errors beside those of plain rules, by length of history
    Real,
}

fn main() {
    let args = Args::parse();
    let wanted = |work| args.works.is_empty() || args.works.contains(&work);
    if wanted(Work::Speed) {
        speed();
    }
    if wanted(Work::Families) {
        families(args.seeds);
    }
    if wanted(Work::Real) {
        real();
    }
}

fn series(name: String, kind: MetricKind, points: Vec<Point>) -> DailySeries {
    DailySeries::new(name, kind, points)
}

fn speed() {
    const SERIES: u64 = 5_000;
    const GOAL_S: f64 = 5.0;
    let all: Vec<DailySeries> = (0..SERIES)
        .map(|seed| {
            let number = (seed / 2) as usize;
            match seed % 2 {
                0 => series(
                    seed.to_string(),
                    MetricKind::Gauge,
                    gauge(GAUGES[number % GAUGES.len()], seed, 90),
                ),
                _ => series(
                    seed.to_string(),
                    MetricKind::Period,
                    period(PERIODS[number % PERIODS.len()], seed, 90),
                ),
            }
        })
        .collect();
    let request = ForecastRequest {
        today: 90,
        read_to: Some((90, 0.5)),
        days: 90,
        thresholds: vec![300.0, 360.0, 400.0],
        periods: (0..5).map(|month| 80 + 30 * month).collect(),
        ..ForecastRequest::default()
    };
    let start = Instant::now();
    let made = all
        .iter()
        .filter(|series| forecast(series, &request).is_ok())
        .count();
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(made, all.len());
    println!("{:<52} {:>9} {:>11}", "work", "goal", "ours");
    let verdict = if seconds < GOAL_S { "" } else { "  MISSED" };
    println!(
        "{:<52} {:>9} {:>11}{verdict}",
        "5,000 series of 90 days forecast, one core",
        format!("< {GOAL_S} s"),
        format!("{seconds:.2} s")
    );
}

fn families(seeds: u64) {
    println!(
        "\n{:<17} {:>4} {:>5} {:>5} {:>5} {:>5} {:>9} {:>9}",
        "family", "days", "n", "50%", "80%", "95%", "error", "linear"
    );
    let gauges = GAUGES.map(|family| (family, MetricKind::Gauge, [7, 14, 30]));
    let periods = PERIODS.map(|family| (family, MetricKind::Period, [7, 14, 30]));
    for families in [&gauges[..], &periods[..]] {
        let mut all = Vec::new();
        for (family, kind, horizons) in families {
            for horizon in *horizons {
                let trials: Vec<Trial> = (FIRST_SEED..FIRST_SEED + seeds)
                    .filter_map(|seed| trial(family, *kind, horizon, seed))
                    .collect();
                line(family, &horizon.to_string(), &trials);
                all.extend(trials);
            }
        }
        line("all", "", &all);
    }
    for shape in SHAPES {
        let seeds = FIRST_SEED..FIRST_SEED + seeds / 8;
        let of_seeds: Vec<Trials> = seeds.flat_map(|seed| shape_trials(shape, seed)).collect();
        for horizon in HORIZONS {
            let of_horizon = of_seeds.iter().filter(|it| it.horizon == horizon);
            let trials: Vec<Trial> = of_horizon.flat_map(|it| it.trials.clone()).collect();
            line(shape, &horizon.to_string(), &trials);
        }
    }
}

const HORIZONS: [u32; 3] = [7, 14, 30];

/// Twelve forecasts for each horizon, spread over 120 days.
fn shape_trials(shape: &str, seed: u64) -> Vec<Trials> {
    let series = series(
        format!("{shape} {seed}"),
        MetricKind::Gauge,
        gauge(shape, seed, 120),
    );
    let plan = Plan {
        origins: 12,
        horizons: HORIZONS.to_vec(),
        from: None,
        to: None,
    };
    backtest(&series, &plan)
}

/// One forecast from the 60th day.
fn trial(family: &str, kind: MetricKind, horizon: u32, seed: u64) -> Option<Trial> {
    let points = match kind {
        MetricKind::Period => period(family, seed, 90),
        MetricKind::Gauge | MetricKind::Rate => gauge(family, seed, 90),
    };
    let series = series(format!("{family} {seed}"), kind, points);
    let plan = Plan {
        origins: 1,
        horizons: vec![horizon],
        from: Some(59),
        to: Some(59),
    };
    backtest(&series, &plan).pop()?.trials.pop()
}

fn line(family: &str, horizon: &str, trials: &[Trial]) {
    let Some(scores) = Scores::of(trials) else {
        return;
    };
    let Coverage {
        band_50: half,
        band_80: most,
        band_95: nearly_all,
    } = scores.coverage;
    println!(
        "{family:<17} {horizon:>4} {:>5} {half:>5.2} {most:>5.2} {nearly_all:>5.2} {:>9.1} {:>9.1}",
        scores.forecasts, scores.median_error, scores.rules.linear
    );
}

/// Days of history that forecasts are given, by class.
const HISTORIES: [(&str, [usize; 3]); 3] = [
    ("7 to 13", [7, 10, 13]),
    ("14 to 27", [14, 20, 27]),
    ("28 and more", [28, 42, 56]),
];

/// A plain rule: its name and its value.
type Rule = (&'static str, fn(&Trial) -> f64);

const RULES: [Rule; 4] = [
    ("28-day mean", |it| it.rules.mean_28d),
    ("weekday", |it| it.rules.same_weekday),
    ("pro rata", |it| it.rules.pro_rata.unwrap_or(f64::NAN)),
    ("line", |it| it.rules.linear),
];

/// With every day as origin: the coverage, and for totals of 30 days the median error as a ratio to that of each rule,
/// as the geometric mean over the series.
fn real() {
    let all = real_series();
    println!("\n80% band          days of history      7     14     30");
    for (kind, name) in [
        (MetricKind::Gauge, "gauges"),
        (MetricKind::Period, "counters"),
    ] {
        for (class, lengths) in HISTORIES {
            let covered = HORIZONS.map(|horizon| {
                let of_kind = all.iter().filter(|series| series.kind == kind);
                let trials: Vec<Trial> = of_kind
                    .flat_map(|series| sliding(series, &lengths, horizon))
                    .collect();
                Scores::of(&trials).map_or(f64::NAN, |it| it.coverage.band_80 * 100.0)
            });
            let [week, fortnight, month] = covered;
            println!("{name:<17} {class:<15} {week:>6.1} {fortnight:>6.1} {month:>6.1}");
        }
    }
    println!("\n30-day totals, error as a ratio to that of a rule");
    for (class, lengths) in HISTORIES {
        let counters = all
            .iter()
            .filter(|series| series.kind == MetricKind::Period);
        let tested = counters.map(|series| sliding(series, &lengths, 30));
        let tested: Vec<Vec<Trial>> = tested.filter(|trials| !trials.is_empty()).collect();
        let ratios = RULES.map(|(name, rule)| {
            let ratio = |trials: &Vec<Trial>| {
                let of = |value: fn(&Trial) -> f64| {
                    let errors = trials.iter().map(|it| (value(it) - it.actual).abs());
                    median(errors.collect())
                };
                (of(|it| it.median) / of(rule)).ln()
            };
            let mean = tested.iter().map(ratio).sum::<f64>() / tested.len() as f64;
            format!("{name} {:.2}", mean.exp())
        });
        println!("{class:<15} {}", ratios.join(", "));
    }
}

/// The forecasts from every day that has these numbers of days before it, which are all that they are given.
fn sliding(series: &DailySeries, lengths: &[usize], horizon: u32) -> Vec<Trial> {
    let mut trials = Vec::new();
    for length in lengths {
        for end in *length..=series.days.len() {
            let origin = series.days[end - 1].0;
            let known = &series.days[end - length..];
            let plan = Plan {
                origins: 1,
                horizons: vec![horizon],
                from: Some(origin),
                to: Some(origin),
            };
            let given = DailySeries::new(series.name.clone(), series.kind, known.iter().copied());
            trials.extend(backtest(&given, &plan).into_iter().flat_map(|it| it.trials));
        }
    }
    trials
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn real_series() -> Vec<DailySeries> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/series");
    let files = std::fs::read_dir(directory).expect("the directory of series is readable");
    let paths = files.map(|file| file.expect("a file").path());
    let mut paths: Vec<_> = paths
        .filter(|it| it.extension().is_some_and(|it| it == "csv"))
        .collect();
    paths.sort();
    let read = |path: std::path::PathBuf| {
        let name = path
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let is_level = name.contains("cpu") || name.contains("temperature");
        let kind = if is_level {
            MetricKind::Gauge
        } else {
            MetricKind::Period
        };
        let text = std::fs::read_to_string(&path).expect("a readable file");
        let value = |line: &str| {
            let (at, value) = line.split_once(',')?;
            let day = day_number(at.parse().ok()?);
            Some((day, value.parse().ok()?))
        };
        series(name, kind, text.lines().filter_map(value).collect())
    };
    paths.into_iter().map(read).collect()
}
