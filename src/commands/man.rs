//! `man`: prints or writes manual pages.

use crate::commands::prelude::*;

use std::io::Write;
use std::path::PathBuf;

use clap_mangen::Man;

/// Print the manual page, or write a page for each command
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl man | man -l -")]
pub struct ManArgs {
    /// Write the pages of all commands to this directory
    #[arg(long, value_name = "DIR")]
    out_dir: Option<PathBuf>,
}

pub fn run(context: &mut Context, args: ManArgs, definition: clap::Command) -> Result<Outcome> {
    match args.out_dir {
        Some(directory) => {
            std::fs::create_dir_all(&directory)?;
            clap_mangen::generate_to(definition, directory)?;
        }
        None => {
            let mut page = Vec::new();
            Man::new(definition).render(&mut page)?;
            context.stdout().write_all(&page)?;
        }
    }
    Ok(Outcome::DONE)
}
