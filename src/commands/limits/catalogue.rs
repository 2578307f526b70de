//! `limits catalogue`: the catalogue in force, as text.

use std::io::Write;

use crate::commands::prelude::*;
use crate::domain::format;
use crate::store::plans::catalogues;

/// Print the catalogue in force as TOML
///
/// To keep a catalogue of your own, edit the output, give it a newer version and import it.
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl limits catalogue > mine.toml")]
pub struct CatalogueArgs {}

pub fn run(context: &mut Context, _: CatalogueArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Read)?;
    let active = catalogues::active_with_text(&mut db)?;
    if let Some((by, at)) = &active.imported {
        let at = format::time(*at);
        context.detail(format_args!("imported by {by} at {at}"));
    }
    context.stdout().write_all(active.content.as_bytes())?;
    Ok(Outcome::DONE)
}
