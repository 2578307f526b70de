//! `limits set`: a limit by hand.

use clap::Args;

use super::parse_period;
use crate::context::Context;
use crate::domain::alert::rule::AlertPeriod;
use crate::domain::plans::{ApiLimit, ApiLimitOrigin, Unit, api_limit};
use crate::error::{Error, Outcome, Result};
use crate::output::printable;
use crate::store::api_limits;
use crate::store::backend::Access;

/// Set a limit by hand
///
/// What is set here is the user's: no catalogue changes it.
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl limits set --api finnhub --per MINUTE 60")]
pub struct SetArgs {
    /// The API, by its name in api_usage
    #[arg(long, value_name = "NAME", value_parser = api_limit::api_name)]
    api: String,

    /// In how long a time: SECOND, MINUTE, HOUR, DAY, MONTH
    #[arg(long, value_name = "PERIOD", value_parser = parse_period)]
    per: AlertPeriod,

    /// What is counted: CALLS, or CREDITS, the cost of the calls
    #[arg(long, value_name = "UNIT", default_value_t = Unit::Calls)]
    unit: Unit,

    /// Where it is written
    #[arg(long, value_name = "TEXT")]
    source: Option<String>,

    /// How much it is
    #[arg(value_name = "VALUE", allow_negative_numbers = true)]
    value: f64,
}

/// Writes the limit down.
///
/// # Errors
///
/// When the value is no limit, or the database cannot be opened or written.
pub fn run(context: &mut Context, args: SetArgs) -> Result<Outcome> {
    let value = api_limit::sound(args.value).map_err(|error| {
        Error::usage(error).with_next("usagectl limits remove --help, to have no limit")
    })?;
    let limit = ApiLimit {
        api_name: args.api,
        period: args.per,
        unit: args.unit,
        value,
        origin: ApiLimitOrigin::User,
        source: args.source,
        page_date: None,
        grade: None,
        catalogue_version: None,
        updated_at: context.now,
    };
    let mut db = context.open(Access::Write)?;
    api_limits::set(&mut db, &limit)?;
    context.tell(format_args!(
        "{} allows {} {} per {}",
        printable(&limit.api_name),
        limit.value,
        limit.unit,
        limit.period
    ));
    Ok(Outcome::DONE)
}
