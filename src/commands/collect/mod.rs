//! `collect`: infrastructure metrics from sources, from files and by hand.

pub mod doctor;
pub mod import;
pub mod prune;
pub mod run;
pub mod set;
pub mod status;
pub mod targets;

use crate::commands::prelude::*;

use clap::Subcommand;

/// Collect infrastructure metrics
///
/// Metrics are stored in the application's table InfrastructureMetric. Limits, forecasts and recommendations
/// are computed from them.
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl collect import metrics.ndjson")]
pub struct CollectArgs {
    #[command(subcommand)]
    command: CollectCommand,
}

#[derive(Debug, Subcommand)]
enum CollectCommand {
    Run(Box<run::RunArgs>),
    Import(import::ImportArgs),
    Set(set::SetArgs),
    Doctor(Box<doctor::DoctorArgs>),
    Status(status::StatusArgs),
    Prune(prune::PruneArgs),
}

pub fn run(context: &mut Context, args: CollectArgs) -> Result<Outcome> {
    match args.command {
        CollectCommand::Run(args) => run::run(context, *args),
        CollectCommand::Import(args) => import::run(context, args),
        CollectCommand::Set(args) => set::run(context, args),
        CollectCommand::Doctor(args) => doctor::run(context, *args),
        CollectCommand::Status(args) => status::run(context, args),
        CollectCommand::Prune(args) => prune::run(context, args),
    }
}
