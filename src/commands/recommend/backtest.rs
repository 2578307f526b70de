//! `recommend backtest`: compares past forecasts with actual values.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDate, Utc};

use super::measured;
use crate::commands::prelude::*;
use crate::domain::capacity::readings::days_of;
use crate::domain::forecast::backtest::{Plan, backtest};
use crate::domain::forecast::{DailySeries, day_number};
use crate::domain::format::counted;
use crate::domain::metrics::names::{Metric, MetricKind, Service};
use crate::output::recommend::backtest::{Backtest, Tested};
use crate::store::time::UtcTimestamp;

/// Backtest forecasts against actual values
///
/// Makes forecasts from evenly spaced days in the past (--origins) with the data up to that day, and compares them with
/// the actual values and with plain rules: the mean of 28 days, the mean of the same weekdays, the rate of the period so
/// far (pro rata), and the regression line.
///
/// Levels are forecast --horizons days ahead. Amounts are forecast for periods of that length, of which the first
/// third is known.
///
/// 80% is the share of outcomes in the 80% band. ERROR is the median absolute error, beside that of each rule. JSON and
/// CSV list each forecast.
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

    /// Series in a CSV file: a header, then lines of time and value (UTC unless a zone is given)
    #[arg(long, value_name = "FILE", requires = "kind", conflicts_with_all = ["service", "metric"])]
    file: Option<PathBuf>,

    /// Kind of the values in the file: gauge (levels) or period (amounts)
    #[arg(long, value_name = "KIND", value_parser = parse_kind, requires = "file")]
    kind: Option<MetricKind>,

    /// Number of origins
    #[arg(long, value_name = "COUNT", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..))]
    origins: u32,

    /// Days ahead, or days per period for amounts
    #[arg(long, value_name = "DAYS", value_delimiter = ',', default_value = "7,14,30",
        value_parser = clap::value_parser!(u32).range(2..=365))]
    horizons: Vec<u32>,

    /// Show all columns
    #[arg(long)]
    wide: bool,

    /// First origin
    #[arg(long, value_name = "DATE")]
    from: Option<NaiveDate>,

    /// Last origin
    #[arg(long, value_name = "DATE")]
    to: Option<NaiveDate>,
}

fn parse_kind(text: &str) -> Result<MetricKind, String> {
    match text.parse() {
        Ok(MetricKind::Rate) | Err(_) => Err("expected gauge or period".to_owned()),
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
        origins: args.origins as usize,
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
        context.info("no measurements: run `usagectl collect run` or `usagectl collect import`");
    }
    let longest = tested.iter().map(|it| it.days).max();
    let answer = Backtest {
        tested,
        wide: args.wide,
    };
    context.answer(&answer)?;
    let Some(days) = longest.filter(|_| !answer.has_trials()) else {
        return Ok(Outcome::DONE);
    };
    let reason = "a trial requires a week of days up to its origin, and all days of its horizon";
    context.warn(format_args!(
        "no trials: the longest series has {}, and {reason}",
        counted(days as u64, "day")
    ));
    let next = "give a longer history, shorter --horizons, or a wider --from and --to";
    Ok(Outcome::with_next(Exit::Unknown, next))
}

/// The series of the database, without rates, which are not forecast.
fn read_database(context: &mut Context, args: &BacktestArgs) -> Result<Vec<DailySeries>> {
    let now = context.now;
    let mut db = context.open(Access::Read)?;
    let of = (args.service, args.metric);
    let mut capacities = db.read_tx(|db| measured(db, of, now))?;
    // A series may have a budget beside the limit of its plan.
    capacities.dedup_by(|a, b| a.series == b.series);
    capacities.retain(|it| it.kind != MetricKind::Rate);
    let today = day_number(now.date_naive());
    let series = capacities.into_iter().map(|it| {
        let mut series = it.daily;
        if series.kind == MetricKind::Period {
            // The amount of the current day is incomplete.
            series.days.retain(|(day, _)| *day < today);
        }
        series
    });
    Ok(series.collect())
}

fn read_file(path: &Path, kind: MetricKind) -> Result<DailySeries> {
    let shown = path.display().to_string();
    let failed = |error: Error| {
        let error = error.context(format!("cannot read {shown}"));
        error.with_next("usagectl recommend backtest --help")
    };
    let file = File::open(path).map_err(|error| failed(error.into()))?;
    let values = read_values(file).map_err(failed)?;
    if values.is_empty() {
        return Err(failed(Error::message(Exit::Failed, "it has no values")));
    }
    let name = path.file_stem();
    let name = name.map(|stem| stem.to_string_lossy().into_owned());
    Ok(DailySeries {
        name: name.unwrap_or(shown),
        kind,
        days: days_of(kind, &values),
    })
}

/// The times and values of a CSV file, from the columns `timestamp` and `value`, or else from the first two.
fn read_values(file: impl Read) -> Result<Vec<(DateTime<Utc>, f64)>> {
    let mut reader = csv::ReaderBuilder::new();
    let reader = reader.trim(csv::Trim::All).flexible(true);
    let mut reader = reader.from_reader(file);
    let headers = reader.headers()?.clone();
    let column = |name: &str, otherwise: usize| {
        let mut headers = headers.iter();
        let named = headers.position(|header| header.eq_ignore_ascii_case(name));
        named.unwrap_or(otherwise)
    };
    let (time, value) = (column("timestamp", 0), column("value", 1));
    let mut values = Vec::new();
    for record in reader.records() {
        let record = record?;
        let line = record.position().map_or(0, csv::Position::line);
        let wrong = |index, what: &str, expected: &str| {
            let found = match record.get(index).filter(|text| !text.is_empty()) {
                Some(text) => format!("`{}` is not {expected}", printable(text)),
                None => format!("no {what}; expected {expected}"),
            };
            Error::message(Exit::Failed, format!("line {line}: {found}"))
        };
        let at = record.get(time).and_then(UtcTimestamp::from_sqlite_text);
        let at = at.ok_or_else(|| wrong(time, "time", "a time such as 2026-01-31T12:00:00Z"))?;
        let number = record.get(value).and_then(|text| text.parse::<f64>().ok());
        let number = number.filter(|number| number.is_finite());
        let number = number.ok_or_else(|| wrong(value, "value", "a number"))?;
        values.push((at.utc(), number));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name_or_position() {
        let read = |text: &str| read_values(text.as_bytes());
        let values = read("x,Value,Timestamp\n1,2.5,2026-01-01 00:05:00\n").unwrap();
        assert_eq!(values, [("2026-01-01T00:05:00Z".parse().unwrap(), 2.5)]);
        assert_eq!(read("day,used\n2026-01-01,7\n").unwrap()[0].1, 7.0);
        for (text, message) in [
            ("t,v\n2026-01-01,x\n", "`x` is not a number"),
            (
                "t,v\nsoon,1\n",
                "`soon` is not a time such as 2026-01-31T12:00:00Z",
            ),
            ("t,v\n2026-01-01,NaN\n", "`NaN` is not a number"),
            ("t,v\n2026-01-01,\n", "no value; expected a number"),
            ("t\n2026-01-01\n", "no value; expected a number"),
        ] {
            let expected = format!("line 2: {message}");
            assert_eq!(read(text).unwrap_err().to_string(), expected, "{text}");
        }
        assert!(read("").unwrap().is_empty());
    }
}
