//! `recommend`: what to upgrade, why, at what price, and what became of it.

pub mod list;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::error::{Outcome, Result};

/// Recommend what to upgrade, from measurements and published prices
///
/// Without a subcommand: the open recommendations, the most urgent first.
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl --database-url sqlite:usage.db recommend")]
#[command(args_conflicts_with_subcommands = true)]
pub struct RecommendArgs {
    #[command(subcommand)]
    command: Option<RecommendCommand>,
    #[command(flatten)]
    list: list::ListArgs,
}

#[derive(Debug, Subcommand)]
enum RecommendCommand {
    List(list::ListArgs),
}

/// Runs the subcommand.
///
/// # Errors
///
/// As each of them says.
pub fn run(context: &mut Context, args: RecommendArgs) -> Result<Outcome> {
    match args.command {
        None => list::run(context, args.list),
        Some(RecommendCommand::List(args)) => list::run(context, args),
    }
}
