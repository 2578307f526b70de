//! `recommend inputs`.

use clap::Subcommand;

use crate::args::Author;
use crate::commands::prelude::*;
use crate::domain::metrics::names::Service;
use crate::domain::recommendation::inputs::{InputName, StoredInput};
use crate::output::recommend::inputs::{InputLine, Inputs};
use crate::store::recommendation::inputs;

/// Manage business inputs, such as the revenue of an hour
///
/// Without a subcommand, lists all inputs and the figures they are used for. Figures whose inputs are not set stay
/// unknown.
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

/// Set an input
///
/// Inputs: revenue_per_hour (US dollars), affected_fraction (0 to 1), time_to_fix_hours, tolerance (0 to 1) and
/// single_reviewer (true or false). An input for a service takes precedence over one for all services. The next
/// `usagectl recommend run` applies it.
#[derive(Args, Debug)]
#[command(after_help = example!("recommend inputs set tolerance 0.02"))]
struct SetArgs {
    /// Name
    #[arg(value_name = "NAME")]
    name: InputName,

    /// Only for this service
    #[arg(long, value_name = "SERVICE")]
    service: Option<Service>,

    #[command(flatten)]
    author: Author,

    /// Value
    #[arg(value_name = "VALUE")]
    value: String,
}

/// Remove an input
#[derive(Args, Debug)]
#[command(after_help = example!("recommend inputs remove tolerance"))]
struct RemoveArgs {
    /// Name
    #[arg(value_name = "NAME")]
    name: InputName,

    /// Remove the one for this service
    #[arg(long, value_name = "SERVICE")]
    service: Option<Service>,
}

pub fn run(context: &mut Context, args: InputsArgs) -> Result<Outcome> {
    match args.command {
        None => list(context),
        Some(InputsCommand::Set(args)) => set(context, args),
        Some(InputsCommand::Remove(args)) => remove(context, &args),
    }
}

fn list(context: &mut Context) -> Result<Outcome> {
    let mut db = context.open(Access::Read)?;
    let stored = inputs::all(&mut db)?;
    context.finish(&Inputs::new(&stored))
}

fn set(context: &mut Context, args: SetArgs) -> Result<Outcome> {
    let value = args.name.parse(&args.value).map_err(|invalid| {
        Error::usage(invalid).with_next("usagectl recommend inputs set --help")
    })?;
    let mut db = context.open(Access::Write)?;
    let input = StoredInput {
        name: args.name.to_string(),
        service: args.service,
        value,
        updated_by: args.author.name(),
    };
    let now = context.now;
    db.write_tx(|db| inputs::upsert(db, &input, now))?;
    context.finish(&InputLine::new(args.name, &input))
}

fn remove(context: &mut Context, args: &RemoveArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Write)?;
    let existed = db.write_tx(|db| inputs::remove(db, args.name, args.service))?;
    if !existed {
        let message = match args.service {
            None => format!("{} is not set for all services", args.name),
            Some(service) => format!("{} is not set for {service}", args.name),
        };
        return Err(Error::usage(message).with_next("usagectl recommend inputs"));
    }
    context.finish(&InputLine::unset(args.name, args.service))
}
