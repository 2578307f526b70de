//! `recommend inputs`: what only the user knows.

use clap::{Args, Subcommand};

use crate::context::{Context, current_user};
use crate::domain::metrics::names::Service;
use crate::domain::named::Named;
use crate::domain::recommendation::inputs::{Given, Name};
use crate::error::{Error, Exit, Outcome, Result};
use crate::output::recommend::inputs::Inputs;
use crate::store::db::Access;
use crate::store::recommendation::inputs;

/// Say what only you know, and see what that would tell
///
/// Without a subcommand: every input with its value, or with what would be known if it were given. Nothing is
/// assumed in its place.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  usagectl --database-url sqlite:usage.db recommend inputs
  usagectl --database-url sqlite:usage.db recommend inputs set revenue_per_hour 120")]
pub struct InputsArgs {
    #[command(subcommand)]
    command: Option<InputsCommand>,
}

#[derive(Debug, Subcommand)]
enum InputsCommand {
    Set(SetArgs),
    Remove(RemoveArgs),
}

/// Give an input
///
/// revenue_per_hour (US dollars), affected_fraction (0 to 1), time_to_fix_hours, tolerance (0 to 1) or
/// single_reviewer (true or false). What is given for a service goes before what is given for all.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db recommend inputs set tolerance 0.02"
)]
struct SetArgs {
    /// Which
    #[arg(value_name = "NAME")]
    name: Name,

    /// For this service only
    #[arg(long, value_name = "SERVICE")]
    service: Option<Service>,

    /// Its value
    #[arg(value_name = "VALUE")]
    value: String,
}

/// Take an input back
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db recommend inputs remove tolerance"
)]
struct RemoveArgs {
    /// Which
    #[arg(value_name = "NAME")]
    name: Name,

    /// The one for this service
    #[arg(long, value_name = "SERVICE")]
    service: Option<Service>,
}

/// Lists, gives or takes back.
pub fn run(context: &mut Context, args: InputsArgs) -> Result<Outcome> {
    match args.command {
        None => list(context),
        Some(InputsCommand::Set(args)) => set(context, args),
        Some(InputsCommand::Remove(args)) => remove(context, &args),
    }
}

fn list(context: &mut Context) -> Result<Outcome> {
    let mut db = context.open(Access::Read)?;
    let given = inputs::all(&mut db)?;
    context.answer(&Inputs { given })?;
    Ok(Outcome::DONE)
}

fn set(context: &mut Context, args: SetArgs) -> Result<Outcome> {
    let value = args.name.check(&args.value).map_err(|refused| {
        Error::usage(refused).with_next("usagectl recommend inputs set --help")
    })?;
    let mut db = context.open(Access::Write)?;
    let given = Given {
        name: args.name.to_string(),
        service: args.service,
        value,
        updated_by: current_user(),
    };
    let now = context.now;
    db.write_tx(|db| inputs::set(db, &given, now))?;
    context.info("the next `usagectl recommend run` makes use of it");
    context.answer(&Inputs { given: vec![given] })?;
    Ok(Outcome::DONE)
}

fn remove(context: &mut Context, args: &RemoveArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Write)?;
    let removed = db.write_tx(|db| inputs::remove(db, args.name.as_str(), args.service))?;
    if removed {
        context.info(format_args!("{} is not given any more", args.name));
        return Ok(Outcome::DONE);
    }
    let message = match args.service {
        None => format!("{} was not given for all services", args.name),
        Some(service) => format!("{} was not given for {service}", args.name),
    };
    Err(Error::message(Exit::Failed, message).with_next("usagectl recommend inputs"))
}
