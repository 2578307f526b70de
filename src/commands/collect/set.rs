//! `collect set`: records one value by hand.

use chrono::{DateTime, Utc};

use super::import;
use crate::args::{Author, parse_instant, parse_number};
use crate::commands::prelude::*;
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::{
    LARGEST, NewPoint, Reading, Series, is_measurable, is_negative,
};
use crate::output::collect::ImportReport;
use crate::store::metrics::points::{self, OnConflict};

/// Record one value by hand
///
/// For metrics that no collector reads, such as the usage page of a free plan. A stored value of the same time is
/// replaced.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl collect set --service VERCEL_KV --metric STORAGE_MB 201.5"
)]
pub struct SetArgs {
    /// Service
    #[arg(long)]
    service: Service,

    /// Metric
    #[arg(long)]
    metric: Metric,

    /// Database, project or team, if there are several
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    resource: String,

    /// Time of the measurement (RFC 3339) [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    at: Option<DateTime<Utc>>,

    /// How to read the value: level, cumulative or amount [default: by metric]
    #[arg(long)]
    reading: Option<Reading>,

    #[command(flatten)]
    author: Author,

    /// Value, in the unit named by the metric
    #[arg(allow_negative_numbers = true, value_parser = parse_number)]
    value: f64,
}

pub fn run(context: &mut Context, args: SetArgs) -> Result<Outcome> {
    let at = args.at.unwrap_or(context.now);
    let value = args.value;
    if !is_measurable(value) || is_negative(args.metric, value) {
        let bound = match value.abs() > LARGEST {
            true => format!("at most {LARGEST:e}"),
            false => "at least 0".to_owned(),
        };
        let message = format!("invalid value {value:?}: expected a number of {bound}");
        return Err(Error::usage(message).with_next("usagectl collect set --help"));
    }
    if at > context.now + import::MAX_FUTURE {
        return Err(Error::usage("--at is in the future")
            .with_next("give --at a time in the past, or omit it for now"));
    }
    let series = Series::new(args.service, args.metric, args.resource);
    let mut point = NewPoint::new(series, value, at)
        .with("source", "set")
        .with("quality", "manual")
        .with("set_by", args.author.name());
    if let Some(reading) = args.reading {
        point = point.with_reading(reading);
    }
    let mut db = context.open(Access::Write)?;
    let saved = points::save(&mut db, &[point], OnConflict::Replace)?;
    let days = import::refresh(context, &mut db)?;
    context.finish(&ImportReport {
        read: 1,
        saved,
        days,
        ..ImportReport::default()
    })
}
