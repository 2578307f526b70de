//! Generates any amount of realistic data; the same seed gives the same data.
//!
//! ```text
//! cargo run --example generate -- --records 1000000 --seed 7 --days 30 > usage.ndjson
//! cargo run --example generate -- --records 5000 --format csv --case camel --summary counts.csv
//! cargo run --example generate -- --metrics --days 60 > metrics.ndjson
//! ```

// A program for developers: it may print and panic.
#![allow(clippy::disallowed_methods, reason = "it writes input, not answers")]
#![allow(clippy::print_stdout, clippy::print_stderr)]
#![allow(unreachable_pub, missing_docs)]

mod data;

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::{Parser, ValueEnum};

use data::lines::{self, Case, instant};
use data::usage::{self, Calls, Plan, Summary};

/// Generate usage records or infrastructure metrics
#[derive(Parser)]
struct Args {
    /// Number of records
    #[arg(long, default_value_t = 4_000)]
    records: u64,
    /// Seed of the random numbers
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Number of days
    #[arg(long, default_value_t = 5)]
    days: u32,
    /// End of the last day
    #[arg(long, default_value = "2026-01-31T12:00:00Z")]
    until: DateTime<Utc>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Ndjson)]
    format: Format,
    /// Spelling of field names
    #[arg(long, value_enum, default_value_t = Case::Snake)]
    case: Case,
    /// Share of records with an id, 0 to 1
    #[arg(long, default_value_t = 0.1)]
    ids: f64,
    /// Share of records that arrive late, by minutes to days
    #[arg(long, default_value_t = 0.03)]
    late: f64,
    /// Write the counts by API and hour to this file, as CSV
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Generate daily infrastructure metrics instead
    #[arg(long)]
    metrics: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    Ndjson,
    Csv,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

fn run(args: &Args) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    if args.metrics {
        for point in data::metrics::measurements(args.seed, args.days, args.until) {
            writeln!(
                out,
                r#"{{"service":"{}","metric":"{}","value":{},"timestamp":"{}","metadata":{{"plan":"{}"}}}}"#,
                point.service,
                point.metric,
                point.value,
                instant(point.timestamp),
                point.plan,
            )?;
        }
        return out.flush();
    }

    let calls = Calls::new(Plan {
        records: args.records,
        seed: args.seed,
        days: args.days,
        until: args.until,
        ids: args.ids,
        late: args.late,
    });
    let mut summary = Summary::new();
    if args.format == Format::Csv {
        writeln!(out, "{}", lines::csv_header(args.case))?;
    }
    for call in calls {
        usage::count(&mut summary, &call);
        match args.format {
            Format::Ndjson => writeln!(out, "{}", lines::ndjson(&call, args.case))?,
            Format::Csv => writeln!(out, "{}", lines::csv(&call))?,
        }
    }
    out.flush()?;
    match &args.summary {
        Some(path) => write_summary(BufWriter::new(File::create(path)?), &summary),
        None => Ok(()),
    }
}

fn write_summary(mut out: impl Write, summary: &Summary) -> io::Result<()> {
    writeln!(
        out,
        "api_name,hour,requests,success,errors,cached,rate_limit,timeout,server,\
         response_time_count,response_time_sum,cost_millionths"
    )?;
    for ((api, hour), counts) in summary {
        writeln!(
            out,
            "{api},{},{},{},{},{},{},{},{},{},{},{}",
            instant(*hour),
            counts.requests,
            counts.success,
            counts.errors,
            counts.cached,
            counts.rate_limit,
            counts.timeout,
            counts.server,
            counts.response_time_count,
            counts.response_time_sum,
            counts.cost,
        )?;
    }
    out.flush()
}
