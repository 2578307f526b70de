//! `alerts silence expire`: silences that end before their time.

use clap::Args;

use crate::context::Context;
use crate::domain::alert::silence::Silence;
use crate::error::{Error, Exit, Outcome, Result};
use crate::output::alerts::silence::Silences;
use crate::output::printable;
use crate::store::alerting::silences;
use crate::store::db::Access;

/// End silences now
///
/// What still fires is told with the next check.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db alerts silence add --api tmdb \
--for 2h --reason test && usagectl alerts silence expire --all"
)]
pub struct ExpireArgs {
    /// Which silences: an id, or the beginning of one
    #[arg(required_unless_present = "all", value_name = "SILENCE")]
    silences: Vec<String>,

    /// All there are
    #[arg(long, conflicts_with = "silences")]
    all: bool,
}

/// Ends them, all or none.
pub fn run(context: &mut Context, args: ExpireArgs) -> Result<Outcome> {
    let now = context.now;
    let mut db = context.open(Access::Write)?;
    let ended = db.write_tx(|db| -> Result<Vec<Silence>> {
        let there = silences::not_over(db, now)?;
        let mut ended: Vec<Silence> = match args.all {
            true => there,
            false => {
                let words = args.silences.iter();
                words
                    .map(|word| meant(&there, word).cloned())
                    .collect::<Result<_>>()?
            }
        };
        for silence in &mut ended {
            silences::expire(db, &silence.id, now)?;
            silence.ends_at = now.max(silence.starts_at);
        }
        Ok(ended)
    })?;
    context.answer(&Silences::ended(ended, now))?;
    Ok(Outcome::DONE)
}

/// The silence whose id begins with `word`.
fn meant<'a>(silences: &'a [Silence], word: &str) -> Result<&'a Silence> {
    let begun = |silence: &&Silence| !word.is_empty() && silence.id.starts_with(word);
    let found: Vec<&Silence> = silences.iter().filter(begun).collect();
    match found.as_slice() {
        [silence] => Ok(silence),
        several => {
            let word = printable(word);
            let message = match several.len() {
                0 => format!("there is no silence `{word}` that is not over"),
                n => format!("`{word}` is the beginning of {n} silences"),
            };
            Err(Error::message(Exit::Failed, message).with_next("usagectl alerts silence list"))
        }
    }
}
