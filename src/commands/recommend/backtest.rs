//! `recommend backtest`: what would have been forecast, and what came.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use clap::Args;

use crate::context::Context;
use crate::domain::capacity::forecast::{LimitedSeries, by_series, days_of};
use crate::domain::forecast::backtest::{Plan, backtest};
use crate::domain::forecast::{DailySeries, day_number};
use crate::domain::metrics::day::MetricDay;
use crate::domain::metrics::names::{Metric, MetricKind, Service};
use crate::error::{Error, Exit, Outcome, Result};
use crate::output::recommend::backtest::{Backtest, Tested};
use crate::store::db::Access;
use crate::store::metrics::days;
use crate::store::plans::limits;
use crate::store::time::UtcTimestamp;

/// Forecast the past, and compare with what came
///
/// From several days of each series' past (--origins, evenly spaced) its forecast is made as if nothing later
/// were known, and compared with what came, and with the rules of thumb that people use: the last value stays;
/// the line from the first value to the last goes on; a period goes on as it began (pro rata).
///
/// Levels are forecast so many days ahead as --horizons says. Amounts are forecast for periods of so many days,
/// when a third of each is over.
///
/// 80% says how many outcomes lay in the band that should hold 80% of them. WINKLER scores that band: its
/// width, and ten times the distance of what it missed; less is better. RULE is the score of the rule of thumb's
/// bare number, RULE BAND that of its number with a band as wide as four in five of its own past errors. BRIER
/// scores whether limits were reached, from 0 to 1; 0.25 is a coin.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  usagectl --database-url sqlite:usage.db recommend backtest --metric STORAGE_MB\n  \
                  usagectl recommend backtest --file requests.csv --kind period --horizons 7,14"
)]
pub struct BacktestArgs {
    /// Only this service
    #[arg(long, value_name = "SERVICE")]
    service: Option<Service>,

    /// Only this metric
    #[arg(long, value_name = "METRIC")]
    metric: Option<Metric>,

    /// A series of a CSV file instead: a header, then lines of a time and a value (times without a zone are UTC)
    #[arg(long, value_name = "FILE", requires = "kind", conflicts_with_all = ["service", "metric"])]
    file: Option<PathBuf>,

    /// How the file's values are read: gauge (levels) or period (amounts that add up)
    #[arg(long, value_name = "KIND", value_parser = parse_kind, requires = "file")]
    kind: Option<MetricKind>,

    /// From how many days of the past
    #[arg(long, value_name = "COUNT", default_value_t = 12)]
    origins: usize,

    /// How many days ahead, and how long the periods of amounts are
    #[arg(long, value_name = "DAYS", value_delimiter = ',', default_value = "7,14,30",
        value_parser = clap::value_parser!(u32).range(2..=365))]
    horizons: Vec<u32>,

    /// Forecast from this day on
    #[arg(long, value_name = "DATE")]
    from: Option<NaiveDate>,

    /// Forecast from this day at the latest
    #[arg(long, value_name = "DATE")]
    to: Option<NaiveDate>,
}

fn parse_kind(text: &str) -> Result<MetricKind, String> {
    match text.parse() {
        Ok(MetricKind::Rate) | Err(_) => Err("there are gauge and period".to_owned()),
        Ok(kind) => Ok(kind),
    }
}

/// Forecasts the past and answers.
pub fn run(context: &mut Context, args: BacktestArgs) -> Result<Outcome> {
    let series = match (&args.file, args.kind) {
        (Some(file), Some(kind)) => vec![read_file(file, kind)?],
        _ => read_database(context, &args)?,
    };
    let plan = Plan {
        origins: args.origins,
        horizons: args.horizons,
        from: args.from.map(day_number),
        to: args.to.map(day_number),
    };
    let test = |series: &DailySeries| Tested {
        name: series.name.clone(),
        kind: series.kind,
        days: series.days.len(),
        horizons: backtest(series, &plan),
    };
    let tested: Vec<Tested> = series.iter().map(test).collect();
    if tested.is_empty() {
        context.info("nothing was measured: `usagectl collect run` does, `usagectl collect import` reads files");
    }
    context.answer(&Backtest { tested })?;
    Ok(Outcome::DONE)
}

/// The series of the database, but for rates, which are not forecast.
fn read_database(context: &mut Context, args: &BacktestArgs) -> Result<Vec<DailySeries>> {
    /// Older days would only take time.
    const DAYS: i64 = 400;
    let now = context.now;
    let mut db = context.open(Access::Write)?;
    days::refresh(&mut db)?;
    let today = now.date_naive();
    let (days, limits) = db.read_tx(|db| -> Result<_> {
        let from = today - TimeDelta::days(DAYS);
        let days = days::days(db, args.service, args.metric, from, today)?;
        Ok((days, limits::limits_in_force(db, now)?))
    })?;
    let series = |days: &[MetricDay]| {
        let subject = LimitedSeries::new(days.first()?.series.clone(), &limits);
        let mut series = subject.daily(days, now);
        if series.kind == MetricKind::Period {
            // A day that is not over would look like a bad one.
            series.days.retain(|day| day.day < day_number(today));
        }
        (series.kind != MetricKind::Rate).then_some(series)
    };
    Ok(by_series(&days).filter_map(series).collect())
}

fn read_file(path: &Path, kind: MetricKind) -> Result<DailySeries> {
    let shown = path.display().to_string();
    let failed = |error: Error| {
        let next = "usagectl recommend backtest --help";
        error
            .context(format!("cannot read {shown}"))
            .with_next(next)
    };
    let file = File::open(path).map_err(|error| failed(error.into()))?;
    let values = read_values(file).map_err(failed)?;
    let name = path
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned());
    Ok(DailySeries {
        name: name.unwrap_or(shown),
        kind,
        days: days_of(kind, &values),
    })
}

/// The times and values of a CSV file: of the columns `timestamp` and `value`, or else of the first two.
fn read_values(file: impl Read) -> Result<Vec<(DateTime<Utc>, f64)>> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(file);
    let headers = reader.headers()?.clone();
    let column = |name: &str, otherwise: usize| {
        let named = headers
            .iter()
            .position(|header| header.eq_ignore_ascii_case(name));
        named.unwrap_or(otherwise)
    };
    let (time, value) = (column("timestamp", 0), column("value", 1));
    let mut values = Vec::new();
    for record in reader.records() {
        let record = record?;
        let line = record.position().map_or(0, csv::Position::line);
        let wrong = |what: &str| Error::message(Exit::Failed, format!("line {line} has no {what}"));
        let at = record.get(time).and_then(UtcTimestamp::from_sqlite_text);
        let number = record.get(value).and_then(|text| text.parse::<f64>().ok());
        let at = at.ok_or_else(|| wrong("time such as 2026-01-31T12:00:00Z"))?;
        let number = number.filter(|number| number.is_finite());
        values.push((at.utc(), number.ok_or_else(|| wrong("value"))?));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_name_its_columns_or_put_them_first() {
        let read = |text: &str| read_values(text.as_bytes());
        let values = read("x,Value,Timestamp\n1,2.5,2026-01-01 00:05:00\n").unwrap();
        assert_eq!(values, [("2026-01-01T00:05:00Z".parse().unwrap(), 2.5)]);
        assert_eq!(read("day,used\n2026-01-01,7\n").unwrap()[0].1, 7.0);
        for (text, why) in [
            ("t,v\n2026-01-01,x\n", "line 2 has no value"),
            (
                "t,v\nsoon,1\n",
                "line 2 has no time such as 2026-01-31T12:00:00Z",
            ),
            ("t,v\n2026-01-01,NaN\n", "line 2 has no value"),
            ("t\n2026-01-01\n", "line 2 has no value"),
        ] {
            assert_eq!(read(text).unwrap_err().to_string(), why);
        }
        assert!(read("").unwrap().is_empty());
    }
}
