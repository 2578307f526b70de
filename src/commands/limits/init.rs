//! `limits init`: the limits of the plans in use, from the catalogue.

use clap::Args;

use super::apply::{Applied, apply, rehearsable};
use super::plan::{Choosing, choose};
use crate::context::{self, Context};
use crate::domain::plans::sync::Actor;
use crate::domain::plans::{Plan, selection};
use crate::error::{Outcome, Result};
use crate::output::limits::init::Initialised;
use crate::store::db::{Access, Db};
use crate::store::plans::{catalogues, selections};

/// Write the limits of the plans in use, and those that APIs publish
///
/// The numbers come from the catalogue that is compiled in, or a newer one that was imported; each is stored with
/// its page and that page's date. Say with --plan which plans are in use; they are kept, so that the next run need
/// not be told. No plan is assumed: without one, a provider's limits are not written. An API's limits are those
/// of its smallest published plan until another is chosen in the same way.
///
/// Run it as often as you like. A limit that was set by hand, or that another program wrote or changed, stays as it
/// is. Budgets are yours: usagectl limits set --budget.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl limits init --plan vercel=pro --plan upstash=free --plan neon=launch"
)]
pub struct InitArgs {
    /// A plan that is in use; may be given several times
    #[arg(long = "plan", value_name = "PROVIDER=PLAN", value_parser = parse_plan)]
    plans: Vec<(String, String)>,

    /// Only show what would be written
    #[arg(long)]
    dry_run: bool,

    /// Who says so; user@host, unless given
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
}

fn parse_plan(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=');
    let (provider, plan) = pair.ok_or("not of the form PROVIDER=PLAN, such as vercel=pro")?;
    Ok((provider.trim().to_owned(), plan.trim().to_owned()))
}

/// Chooses the plans, writes the limits and answers with what became of each.
pub fn run(context: &mut Context, args: InitArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Write)?;
    let by = args.by.clone().unwrap_or_else(context::current_user);
    let actor = Actor {
        by: &by,
        now: context.now,
    };
    let answer = rehearsable(&mut db, args.dry_run, |db| initialise(db, &args, actor))?;
    context.answer(&answer)?;
    for (provider, plans) in &answer.without_plan {
        context.info(format_args!(
            "no plan of {provider} is chosen, and none is assumed: --plan {provider}={}",
            plans.join("|")
        ));
    }
    Ok(Outcome::DONE)
}

fn initialise(db: &mut Db, args: &InitArgs, actor: Actor<'_>) -> Result<Initialised> {
    let catalogue = catalogues::active(db)?;
    for (provider, plan) in &args.plans {
        choose(db, &catalogue, Choosing::new(provider, plan, actor))?;
    }
    let Applied { limits, api_limits } = apply(db, &catalogue, actor)?;
    let choices = selections::all(db)?;
    let mut plans = Vec::new();
    let mut without_plan = Vec::new();
    for provider in catalogue.providers() {
        // An API has a plan in any case, and what is not used here needs none.
        let is_used = |plan: &Plan| {
            plan.limits
                .iter()
                .any(|limit| limit.application().is_some())
        };
        match selection::current(&choices, provider, actor.now) {
            Some(choice) => plans.push(choice.clone()),
            None if catalogue.plans_of(provider).any(is_used) => {
                let names = catalogue.plans_of(provider).filter(|plan| plan.enabled);
                let names = names.map(|plan| plan.name.clone()).collect();
                without_plan.push((provider.to_owned(), names));
            }
            None => {}
        }
    }
    Ok(Initialised {
        catalogue_version: catalogue.version.to_string(),
        dry_run: args.dry_run,
        plans,
        without_plan,
        limits,
        api_limits,
    })
}
