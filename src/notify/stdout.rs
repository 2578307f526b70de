//! Standard output: a line for each notice.

use std::io::Write;

use super::Failure;
use crate::context::Context;
use crate::domain::alert::channel::Stdout;
use crate::domain::alert::notice::Content;
use crate::output::{Format, printable};

/// Prints the notice, and makes sure that it is out before anybody calls it delivered.
pub(super) fn print(
    context: &mut Context,
    settings: &Stdout,
    content: &Content,
    aside: bool,
) -> Result<(), Failure> {
    let line = match settings.json {
        true => serde_json::to_string(content).map_err(Failure::of_notice)?,
        false => prose(content),
    };
    if aside || context.format != Format::Table {
        // The answer is for a program, and a line before it would spoil it.
        context.stderr_line(line);
        return Ok(());
    }
    let written = writeln!(context.stdout(), "{line}");
    written.map_err(Failure::of_channel)?;
    context
        .flush()
        .map_err(|_| Failure::of_channel("standard output is closed"))
}

fn prose(content: &Content) -> String {
    let line = format!(
        "{} {}",
        content.created_at.format("%FT%TZ"),
        content.summary
    );
    printable(&line).into_owned()
}
