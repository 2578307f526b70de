//! `alerts silence`: suppresses notices for a while.

pub mod add;
pub mod expire;
pub mod list;

use crate::commands::prelude::*;

use clap::Subcommand;

/// Silence rules for a while
///
/// Silenced rules are evaluated as usual, but send nothing. A rule that is still firing when the silence ends
/// sends a notice of its state of then. Channels that were notified before the silence are notified of the resolution.
/// Without a command, active and pending silences are listed.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = example!("alerts silence")
)]
pub struct SilenceArgs {
    #[command(subcommand)]
    command: Option<SilenceCommand>,
    #[command(flatten)]
    list: list::ListArgs,
}

#[derive(Debug, Subcommand)]
enum SilenceCommand {
    Add(add::AddArgs),
    Expire(expire::ExpireArgs),
    List(list::ListArgs),
}

pub fn run(context: &mut Context, args: SilenceArgs) -> Result<Outcome> {
    match args.command.unwrap_or(SilenceCommand::List(args.list)) {
        SilenceCommand::Add(args) => add::run(context, args),
        SilenceCommand::Expire(args) => expire::run(context, args),
        SilenceCommand::List(args) => list::run(context, args),
    }
}
