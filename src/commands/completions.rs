//! `completions`: the shell's own language for our flags.

use clap::Args;
use clap_complete::Shell;

use crate::context::Context;
use crate::error::{Outcome, Result};

/// Print completions for a shell
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl completions bash > ~/.local/share/bash-completion/completions/usagectl"
)]
pub struct CompletionsArgs {
    /// The shell to print them for
    shell: Shell,
}

/// Prints the script to stdout.
pub fn run(
    context: &mut Context,
    args: CompletionsArgs,
    mut definition: clap::Command,
) -> Result<Outcome> {
    use std::io::Write;
    // clap_complete panics when it cannot write, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut definition, "usagectl", &mut script);
    context.stdout().write_all(&script)?;
    Ok(Outcome::DONE)
}
