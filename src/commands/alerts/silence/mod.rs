//! `alerts silence`: times in which matching rules say nothing.

pub mod add;
pub mod expire;
pub mod list;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::error::{Outcome, Result};

/// Keep rules quiet for a while
///
/// Silent rules are judged as ever, and nobody is told. If one still fires when the silence ends, that is
/// told then. Who was told before that it fires is told that it is over. Without a command, lists the
/// silences in force.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Example: usagectl --database-url sqlite:usage.db alerts silence"
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

/// Does what was asked for.
pub fn run(context: &mut Context, args: SilenceArgs) -> Result<Outcome> {
    match args.command.unwrap_or(SilenceCommand::List(args.list)) {
        SilenceCommand::Add(args) => add::run(context, args),
        SilenceCommand::Expire(args) => expire::run(context, args),
        SilenceCommand::List(args) => list::run(context, args),
    }
}
