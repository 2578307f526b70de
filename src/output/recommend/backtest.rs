//! What `recommend backtest` answers.

use serde::Serialize;

use crate::domain::forecast::backtest::{Scores, Trial, Trials};
use crate::domain::forecast::day_date;
use crate::domain::forecast::score::Reliability;
use crate::domain::metrics::names::MetricKind;
use crate::output::Answer;
use crate::output::table::{Side, amount, layout};

/// Forecasts of the past of several series.
#[derive(Debug)]
pub struct Backtest {
    pub tested: Vec<Tested>,
}

/// Forecasts of the past of one series.
#[derive(Debug)]
pub struct Tested {
    pub name: String,
    pub kind: MetricKind,
    /// How many days there are of it.
    pub days: usize,
    pub horizons: Vec<Trials>,
}

const UNKNOWN: &str = "-";

impl Backtest {
    fn trials(&self) -> impl Iterator<Item = &Trial> {
        let horizons = self.tested.iter().flat_map(|tested| &tested.horizons);
        horizons.flat_map(|horizon| &horizon.trials)
    }
}

fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

fn score(brier: Option<f64>) -> String {
    brier.map_or_else(|| UNKNOWN.to_owned(), |brier| format!("{brier:.3}"))
}

impl Answer for Backtest {
    fn table(&self, _width: Option<usize>) -> String {
        let columns = [
            ("SERIES", Side::Left),
            ("KIND", Side::Left),
            ("DAYS", Side::Right),
            ("N", Side::Right),
            ("REFUSED", Side::Right),
            ("50%", Side::Right),
            ("80%", Side::Right),
            ("95%", Side::Right),
            ("ERROR", Side::Right),
            ("LAST", Side::Right),
            ("FIRST-LAST", Side::Right),
            ("PRO RATA", Side::Right),
            ("WINKLER", Side::Right),
            ("RULE", Side::Right),
            ("RULE BAND", Side::Right),
            ("BRIER", Side::Right),
            ("RULE", Side::Right),
        ];
        let rows = self.tested.iter().flat_map(|tested| {
            tested.horizons.iter().map(move |horizon| {
                let mut row = vec![
                    tested.name.clone(),
                    tested.kind.to_string(),
                    horizon.horizon.to_string(),
                    horizon.trials.len().to_string(),
                    horizon.refused.to_string(),
                ];
                match Scores::of(&horizon.trials) {
                    Some(scores) => row.extend(numbers(&scores)),
                    None => row.resize(columns.len(), UNKNOWN.to_owned()),
                }
                row
            })
        });
        let mut text = layout(&columns, rows);
        if let Some(all) = Scores::of(self.trials()) {
            let [half, most, nearly_all] = all.coverage.map(percent);
            text.push_str(&format!(
                "\nall {}: {half}, {most} and {nearly_all} in the bands; BRIER {}, the rules' {}\n\n",
                all.forecasts,
                score(all.brier),
                score(all.peer_brier)
            ));
            text.push_str(&reliability(&all.reliability));
        }
        text
    }

    fn json(&self) -> impl Serialize {
        let all = Scores::of(self.trials());
        Json {
            series: self.tested.iter().map(TestedJson::new).collect(),
            // Errors of different series cannot be added up; shares can.
            all: all.map(|scores| AllJson {
                forecasts: scores.forecasts,
                coverage: scores.coverage.into(),
                brier: scores.brier,
                rule_brier: scores.peer_brier,
                reliability: scores
                    .reliability
                    .iter()
                    .map(ReliabilityJson::from)
                    .collect(),
            }),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = [
            "series",
            "kind",
            "horizon",
            "origin",
            "actual",
            "p2_5",
            "p10",
            "p25",
            "p50",
            "p75",
            "p90",
            "p97_5",
            "last",
            "first_last",
            "pro_rata",
        ];
        let rows = self.tested.iter().flat_map(|tested| {
            let trials = tested.horizons.iter().flat_map(|horizon| &horizon.trials);
            trials.map(|trial| {
                let [half, most, nearly_all] = trial.bands;
                let mut row = vec![
                    tested.name.clone(),
                    tested.kind.to_string(),
                    trial.horizon.to_string(),
                    day_date(trial.origin).to_string(),
                ];
                let values = [
                    trial.actual,
                    nearly_all.low,
                    most.low,
                    half.low,
                    trial.middle,
                    half.high,
                    most.high,
                    nearly_all.high,
                    trial.peers.last,
                    trial.peers.first_last,
                ];
                row.extend(values.map(|value| value.to_string()));
                row.push(
                    trial
                        .peers
                        .pro_rata
                        .map_or_else(String::new, |value| value.to_string()),
                );
                row
            })
        });
        std::iter::once(header.map(str::to_owned).to_vec())
            .chain(rows)
            .collect()
    }
}

fn numbers(scores: &Scores) -> Vec<String> {
    let known = |value: Option<f64>| value.map_or_else(|| UNKNOWN.to_owned(), amount);
    let mut cells = scores.coverage.map(percent).to_vec();
    cells.extend([
        amount(scores.error),
        amount(scores.last_error),
        amount(scores.first_last_error),
        known(scores.pro_rata_error),
        amount(scores.winkler),
        amount(scores.peer_winkler),
        amount(scores.peer_band_winkler),
        score(scores.brier),
        score(scores.peer_brier),
    ]);
    cells
}

fn reliability(fifths: &[Reliability]) -> String {
    let columns = [
        ("CHANCE SAID", Side::Left),
        ("LIMITS", Side::Right),
        ("ON AVERAGE", Side::Right),
        ("REACHED", Side::Right),
    ];
    let rows = fifths.iter().map(|fifth| {
        vec![
            format!("{} to {}", percent(fifth.from), percent(fifth.to)),
            fifth.forecasts.to_string(),
            percent(fifth.chance),
            percent(fifth.happened),
        ]
    });
    layout(&columns, rows)
}

#[derive(Serialize)]
struct Json<'a> {
    series: Vec<TestedJson<'a>>,
    all: Option<AllJson>,
}

#[derive(Serialize)]
struct TestedJson<'a> {
    name: &'a str,
    kind: MetricKind,
    days: usize,
    horizons: Vec<HorizonJson>,
}

#[derive(Serialize)]
struct HorizonJson {
    days: u32,
    forecasts: usize,
    refused: usize,
    scores: Option<ScoresJson>,
}

#[derive(Serialize)]
struct CoverageJson {
    band_50: f64,
    band_80: f64,
    band_95: f64,
}

impl From<[f64; 3]> for CoverageJson {
    fn from([band_50, band_80, band_95]: [f64; 3]) -> CoverageJson {
        CoverageJson {
            band_50,
            band_80,
            band_95,
        }
    }
}

/// The rule is the usual rule of thumb: first-last for levels, pro rata for amounts.
#[derive(Serialize)]
struct ScoresJson {
    coverage: CoverageJson,
    median_error: f64,
    last_median_error: f64,
    first_last_median_error: f64,
    pro_rata_median_error: Option<f64>,
    winkler: f64,
    rule_winkler: f64,
    rule_band_winkler: f64,
    brier: Option<f64>,
    rule_brier: Option<f64>,
    reliability: Vec<ReliabilityJson>,
}

#[derive(Serialize)]
struct AllJson {
    forecasts: usize,
    coverage: CoverageJson,
    brier: Option<f64>,
    rule_brier: Option<f64>,
    reliability: Vec<ReliabilityJson>,
}

#[derive(Serialize)]
struct ReliabilityJson {
    from: f64,
    to: f64,
    limits: usize,
    mean_chance: f64,
    reached: f64,
}

impl From<&Reliability> for ReliabilityJson {
    fn from(fifth: &Reliability) -> ReliabilityJson {
        ReliabilityJson {
            from: fifth.from,
            to: fifth.to,
            limits: fifth.forecasts,
            mean_chance: fifth.chance,
            reached: fifth.happened,
        }
    }
}

impl<'a> TestedJson<'a> {
    fn new(tested: &'a Tested) -> TestedJson<'a> {
        let horizon = |horizon: &Trials| HorizonJson {
            days: horizon.horizon,
            forecasts: horizon.trials.len(),
            refused: horizon.refused,
            scores: Scores::of(&horizon.trials).map(|scores| ScoresJson {
                coverage: scores.coverage.into(),
                median_error: scores.error,
                last_median_error: scores.last_error,
                first_last_median_error: scores.first_last_error,
                pro_rata_median_error: scores.pro_rata_error,
                winkler: scores.winkler,
                rule_winkler: scores.peer_winkler,
                rule_band_winkler: scores.peer_band_winkler,
                brier: scores.brier,
                rule_brier: scores.peer_brier,
                reliability: scores
                    .reliability
                    .iter()
                    .map(ReliabilityJson::from)
                    .collect(),
            }),
        };
        TestedJson {
            name: &tested.name,
            kind: tested.kind,
            days: tested.days,
            horizons: tested.horizons.iter().map(horizon).collect(),
        }
    }
}
