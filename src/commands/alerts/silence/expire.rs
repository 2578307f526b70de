//! `alerts silence expire`: ends silences early.

use crate::commands::prelude::*;
use crate::domain::alert::silence::Silence;
use crate::output::alerts::Action;
use crate::output::alerts::silence::Silences;
use crate::store::alerting::silences;

/// End silences now
///
/// The next check sends notices for the rules that are still firing.
#[derive(Args, Debug)]
#[command(after_help = example!("alerts silence add --api tmdb --for 2h --reason test && usagectl alerts silence expire --all"))]
pub struct ExpireArgs {
    /// Silences: id, or unique prefix of an id
    #[arg(required_unless_present = "all", value_name = "SILENCE")]
    silences: Vec<String>,

    /// End all active and pending silences
    #[arg(long, conflicts_with = "silences")]
    all: bool,
}

/// Ends all of the silences or none.
pub fn run(context: &mut Context, args: ExpireArgs) -> Result<Outcome> {
    let now = context.now;
    let mut db = context.open(Access::Write)?;
    let silences = db.write_tx(|db| -> Result<Vec<Silence>> {
        let unexpired = silences::find_unexpired(db, now)?;
        let mut expired: Vec<Silence> = if args.all {
            unexpired
        } else {
            let references = args.silences.iter();
            references
                .map(|reference| find(&unexpired, reference).cloned())
                .collect::<Result<_>>()?
        };
        for silence in &mut expired {
            silences::expire(db, &silence.id, now)?;
            silence.ends_at = Some(now.max(silence.starts_at));
        }
        Ok(expired)
    })?;
    context.finish(&Silences {
        action: Some(Action::Expired),
        silences,
        now,
    })
}

/// The silence whose id begins with `reference`.
fn find<'a>(silences: &'a [Silence], reference: &str) -> Result<&'a Silence> {
    let matches = |silence: &&Silence| !reference.is_empty() && silence.id.starts_with(reference);
    let found: Vec<&Silence> = silences.iter().filter(matches).collect();
    let reference = printable(reference);
    let message = match found.as_slice() {
        [silence] => return Ok(silence),
        [] => format!("no active or pending silence `{reference}`"),
        several => format!("{} silences begin with `{reference}`", several.len()),
    };
    Err(Error::usage(message).with_next("usagectl alerts silence list"))
}
