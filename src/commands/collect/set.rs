//! `collect set`: one value, measured by hand.

use chrono::{DateTime, Utc};
use clap::Args;

use super::import;
use crate::args::parse_instant;
use crate::context::{Context, current_user};
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::{NewPoint, Reading, Series};
use crate::error::{Error, Outcome, Result};
use crate::output::collect::Imported;
use crate::store::db::Access;
use crate::store::metrics::points;
use crate::store::metrics::points::Known;

/// Record one value by hand
///
/// For what no collector reaches, such as the usage page of a free plan. A value of the same moment is
/// replaced.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl collect set --service VERCEL_KV --metric STORAGE_MB 201.5"
)]
pub struct SetArgs {
    /// What was measured
    #[arg(long)]
    service: Service,

    /// What of it
    #[arg(long)]
    metric: Metric,

    /// Which database, project or team, if there are several
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    resource: String,

    /// When it was so (RFC 3339) [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    at: Option<DateTime<Utc>>,

    /// How to read it: level, cumulative or amount [default: by the metric]
    #[arg(long)]
    reading: Option<Reading>,

    /// The value, in the unit that the metric's name says
    #[arg(allow_negative_numbers = true)]
    value: f64,
}

/// Records the value.
pub fn run(context: &mut Context, args: SetArgs) -> Result<Outcome> {
    let at = args.at.unwrap_or(context.now);
    if !args.value.is_finite() || (args.value < 0.0 && args.metric != Metric::CostUsd) {
        return Err(Error::usage("the value is not a number from 0 on")
            .with_next("usagectl collect set --help"));
    }
    if at > context.now + import::MAX_FUTURE {
        return Err(Error::usage("--at is in the future")
            .with_next("give --at a time that has come, or leave it out for now"));
    }
    let series = Series {
        service: args.service,
        metric: args.metric,
        resource: args.resource,
    };
    let mut point = NewPoint::new(series, args.value, at)
        .with("source", "set")
        .with("quality", "manual")
        .with("set_by", current_user());
    if let Some(reading) = args.reading {
        point = point.with_reading(reading);
    }
    let mut db = context.open(Access::Write)?;
    let saved = points::save(&mut db, &[point], Known::IsReplaced)?;
    let days = import::refresh(context, &mut db)?;
    context.answer(&Imported {
        read: 1,
        refused: 0,
        saved,
        days,
        left_out: Vec::new(),
    })?;
    Ok(Outcome::DONE)
}
