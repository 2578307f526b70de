//! `limits catalogue`: the catalogue in force, as text.

use std::io::Write;

use clap::Args;

use crate::context::Context;
use crate::error::{Outcome, Result};
use crate::store::db::Access;
use crate::store::plans::catalogues;

/// Print the catalogue in force, as TOML
///
/// To keep one of your own: change what this prints, give it a newer version, and import it.
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl limits catalogue > mine.toml")]
pub struct CatalogueArgs {}

/// Prints it to stdout.
pub fn run(context: &mut Context, _: CatalogueArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Read)?;
    let held = catalogues::held(&mut db)?;
    if let Some((by, at)) = &held.imported {
        let at = crate::domain::period::shown(*at);
        context.detail(format_args!("imported by {by} at {at}"));
    }
    context.stdout().write_all(held.content.as_bytes())?;
    Ok(Outcome::DONE)
}
