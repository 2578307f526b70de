//! The answer of `recommend backtest`.

use crate::domain::forecast::backtest::{Scores, Trial, Trials};
use crate::domain::forecast::day_date;
use crate::domain::format::percent;
use crate::domain::metrics::names::MetricKind;
use crate::output::prelude::*;

#[derive(Debug)]
pub struct Backtest {
    pub tested: Vec<Tested>,
    pub wide: bool,
}

#[derive(Debug)]
pub struct Tested {
    pub name: String,
    pub kind: MetricKind,
    /// Days of data.
    pub days: usize,
    pub horizons: Vec<Trials>,
}

struct Line<'a> {
    tested: &'a Tested,
    trials: &'a Trials,
    scores: Option<Scores>,
}

impl Backtest {
    fn trials(&self) -> impl Iterator<Item = &Trial> {
        self.rows().map(|(_, trial)| trial)
    }

    pub fn has_trials(&self) -> bool {
        self.trials().next().is_some()
    }

    fn rows(&self) -> impl Iterator<Item = (&Tested, &Trial)> {
        self.tested.iter().flat_map(|tested| {
            let trials = tested.horizons.iter().flat_map(|horizon| &horizon.trials);
            trials.map(move |trial| (tested, trial))
        })
    }

    fn lines(&self) -> Vec<Line<'_>> {
        let lines = self.tested.iter().flat_map(|tested| {
            tested.horizons.iter().map(move |trials| Line {
                tested,
                trials,
                scores: Scores::of(&trials.trials),
            })
        });
        lines.collect()
    }

    fn columns(&self) -> Vec<Column<'_, Line<'_>>> {
        type Get = fn(&Scores) -> Option<f64>;
        type Col<'a> = Column<'a, Line<'a>>;
        let score = |header, cell: fn(f64) -> Cell, get: Get| {
            Col::right(header, "", move |line| {
                Cell::or_missing(line.scores.as_ref().and_then(get), cell)
            })
        };
        let share = |header, get: Get| score(header, |share| Cell::Percent(share * 100.0), get);
        let value = |header, get: Get| score(header, Cell::Number, get);
        let wide = self.wide;
        vec![
            Col::left("SERIES", "", |it| Cell::text(&it.tested.name)),
            Col::left("KIND", "", |it| Cell::text(it.tested.kind)).in_table(wide),
            Col::right("DAYS", "", |it| Cell::count(it.trials.horizon)),
            Col::right("N", "", |it| Cell::count(it.trials.trials.len())),
            Col::right("REFUSED", "", |it| Cell::count(it.trials.refused)).in_table(wide),
            share("50%", |it| Some(it.coverage.band_50)).in_table(wide),
            share("80%", |it| Some(it.coverage.band_80)),
            share("95%", |it| Some(it.coverage.band_95)).in_table(wide),
            value("ERROR", |it| Some(it.median_error)),
            value("28D MEAN", |it| Some(it.rules.mean_28d)),
            value("WEEKDAY", |it| Some(it.rules.same_weekday)),
            value("PRO RATA", |it| it.rules.pro_rata),
            value("LINEAR", |it| Some(it.rules.linear)),
        ]
    }
}

impl Answer for Backtest {
    fn table(&self, width: Option<usize>) -> String {
        let mut text = columns::table(&self.columns(), &self.lines(), width);
        if let Some(all) = Scores::of(self.trials()) {
            let it = all.coverage;
            let bands = [it.band_50, it.band_80, it.band_95];
            let [half, most, nearly_all] = bands.map(|share| percent(share * 100.0));
            let count = all.forecasts;
            text.push_str(&format!(
                "\nall {count}: {half}, {most} and {nearly_all} of outcomes in the 50%, 80% and 95% bands\n",
            ));
        }
        text
    }

    fn json(&self) -> impl Serialize {
        let horizon = |trials: &Trials| {
            object! {
                days: trials.horizon,
                forecasts: trials.trials.len(),
                refused: trials.refused,
                scores: Scores::of(&trials.trials),
            }
        };
        let series = self.tested.iter().map(|tested| {
            object! {
                name: &tested.name,
                kind: tested.kind,
                days: tested.days,
                horizons: tested.horizons.iter().map(horizon).collect::<Vec<_>>(),
            }
        });
        // Errors of different series have different units; shares can be pooled.
        let all = Scores::of(self.trials());
        let all = all.map(|it| object! { forecasts: it.forecasts, coverage: it.coverage });
        let trials = self.rows().map(|(tested, trial)| {
            object! {
                series: &tested.name,
                origin: day_date(trial.origin),
                horizon_days: trial.horizon,
                low: trial.bands[1].low,
                high: trial.bands[1].high,
                forecast: trial.median,
                actual: trial.actual,
                rules: trial.rules,
            }
        });
        object! {
            series: series.collect::<Vec<_>>(),
            all: all,
            trials: trials.collect::<Vec<_>>(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        type Row<'a> = (&'a Tested, &'a Trial);
        type Col<'a> = Column<'a, Row<'a>>;
        let value = |name, get: fn(&Trial) -> f64| {
            Col::csv_only(name, move |(_, trial)| Cell::Number(get(trial)))
        };
        let columns = [
            Col::csv_only("series", |(tested, _)| Cell::text(&tested.name)),
            Col::csv_only("kind", |(tested, _)| Cell::text(tested.kind)),
            Col::csv_only("horizon", |(_, trial)| Cell::count(trial.horizon)),
            Col::csv_only("origin", |(_, trial)| Cell::text(day_date(trial.origin))),
            value("actual", |it| it.actual),
            value("p2_5", |it| it.bands[2].low),
            value("p10", |it| it.bands[1].low),
            value("p25", |it| it.bands[0].low),
            value("p50", |it| it.median),
            value("p75", |it| it.bands[0].high),
            value("p90", |it| it.bands[1].high),
            value("p97_5", |it| it.bands[2].high),
            value("mean_28d", |it| it.rules.mean_28d),
            value("same_weekday", |it| it.rules.same_weekday),
            Col::csv_only("pro_rata", |(_, trial)| Cell::number(trial.rules.pro_rata)),
            value("linear", |it| it.rules.linear),
        ];
        columns::csv(&columns, &self.rows().collect::<Vec<Row<'_>>>())
    }
}
