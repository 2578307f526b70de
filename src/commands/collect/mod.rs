//! `collect`: infrastructure metrics, from files, from hand and from where they are measured.

pub mod import;
pub mod set;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::error::{Outcome, Result};

/// Collect infrastructure metrics
///
/// Metrics are rows of the application's table InfrastructureMetric. Limits, forecasts and
/// recommendations are made from them.
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl collect import metrics.ndjson")]
pub struct CollectArgs {
    #[command(subcommand)]
    command: CollectCommand,
}

#[derive(Debug, Subcommand)]
enum CollectCommand {
    Import(import::ImportArgs),
    Set(set::SetArgs),
}

/// Hands over to the command that is named.
///
/// # Errors
///
/// As that command.
pub fn run(context: &mut Context, args: CollectArgs) -> Result<Outcome> {
    match args.command {
        CollectCommand::Import(args) => import::run(context, args),
        CollectCommand::Set(args) => set::run(context, args),
    }
}
