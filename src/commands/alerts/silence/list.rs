//! `alerts silence list`.

use crate::commands::prelude::*;
use crate::output::alerts::silence::Silences;
use crate::store::alerting::silences;

/// List active and pending silences
#[derive(Args, Debug)]
#[command(after_help = example!("alerts silence list --all"))]
pub struct ListArgs {
    /// Include expired silences
    #[arg(long)]
    all: bool,
}

pub fn run(context: &mut Context, args: ListArgs) -> Result<Outcome> {
    let now = context.now;
    let mut db = context.open(Access::Read)?;
    let silences = if args.all {
        silences::all(&mut db)?
    } else {
        silences::find_unexpired(&mut db, now)?
    };
    context.finish(&Silences {
        action: None,
        silences,
        now,
    })
}
