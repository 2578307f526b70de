//! `completions`: prints shell completions.

use crate::commands::prelude::*;

use std::io::Write;

use clap_complete::Shell;

/// Print shell completions
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl completions bash > ~/.local/share/bash-completion/completions/usagectl"
)]
pub struct CompletionsArgs {
    /// Shell
    shell: Shell,
}

pub fn run(
    context: &mut Context,
    args: CompletionsArgs,
    mut definition: clap::Command,
) -> Result<Outcome> {
    // clap_complete panics when it cannot write, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut definition, "usagectl", &mut script);
    context.stdout().write_all(&script)?;
    Ok(Outcome::DONE)
}
