//! `limits init`: writes the limits of the plans in use, from the catalogue.

use std::collections::BTreeSet;

use super::plan::{PlanTerms, catalogue_name, select, warn_of_calendar};
use super::sync;
use crate::args::Author;
use crate::commands::prelude::*;
use crate::domain::plans::sync::Signature;
use crate::domain::plans::{Plan, selection};
use crate::domain::zone::Zone;
use crate::output::limits::changes::{Initialised, UnselectedProvider};
use crate::store::plans::{catalogues, selections};

/// Write the limits of the plans in use, and the published limits of APIs
///
/// Values come from the catalogue that is compiled in, or a newer imported one, and are stored with their sources.
/// Select plans with --plan; the selection is stored. No plan is assumed: a provider without a selected plan gets no
/// limits. An API has the limits of its smallest published plan until another is selected.
///
/// Safe to run again. Limits that were set by hand, or written or changed by another program, are kept. Budgets are
/// yours: see `usagectl limits set --budget`.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl limits init --plan vercel=pro --plan upstash=free --plan neon=launch"
)]
pub struct InitArgs {
    /// Plan in use; repeat for more
    #[arg(long = "plan", value_name = "PROVIDER=PLAN", value_parser = parse_plan)]
    plans: Vec<(String, String)>,

    /// Day of the month on which the billing periods of these plans begin; limits by the calendar MONTH keep theirs
    #[arg(long, value_name = "DAY", requires = "plans", value_parser = clap::value_parser!(u32).range(1..=31))]
    anchor_day: Option<u32>,

    /// Time zone of their billing periods, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", requires = "plans")]
    tz: Option<Zone>,

    /// Show the changes without writing them
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    author: Author,
}

fn parse_plan(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=');
    let (provider, plan) = pair.ok_or("expected PROVIDER=PLAN, such as vercel=pro")?;
    Ok((catalogue_name(provider)?, catalogue_name(plan)?))
}

pub fn run(context: &mut Context, args: InitArgs) -> Result<Outcome> {
    let mut providers = BTreeSet::new();
    let mut twice = args.plans.iter().map(|(provider, _)| provider);
    if let Some(provider) = twice.find(|provider| !providers.insert(*provider)) {
        let message = format!("--plan: two plans of {}", printable(provider));
        return Err(Error::usage(message).with_next("give one plan of each provider"));
    }
    let (by, now) = (args.author.name(), context.now);
    let signature = Signature { by: &by, now };
    let work = |context: &mut Context, db: &mut Db| initialise(context, db, &args, signature);
    let answer = sync::transact(context, args.dry_run, work)?;
    context.answer(&answer)?;
    for UnselectedProvider { provider, plans } in &answer.without_plan {
        context.info(format_args!(
            "no plan of {provider} is selected, so it has no limits: --plan {provider}={}",
            plans.join("|")
        ));
    }
    Ok(Outcome::DONE)
}

fn initialise(
    context: &mut Context,
    db: &mut Db,
    args: &InitArgs,
    signature: Signature<'_>,
) -> Result<Initialised> {
    let catalogue = catalogues::active(db)?;
    let mut selections = selections::all(db)?;
    let mut selected = Vec::new();
    for (provider, plan) in &args.plans {
        warn_of_calendar(context, catalogue.plan(provider, plan), args.anchor_day);
        let terms = PlanTerms::billed(args.anchor_day, args.tz);
        selected.extend(select(
            &catalogue,
            &selections,
            provider,
            plan,
            terms,
            signature,
        )?);
    }
    selections.extend(selected.iter().cloned());
    let changes = sync::changes(db, &catalogue, &selections, None, signature)?;
    if !args.dry_run {
        selections::insert(db, &selected)?;
        sync::save(db, &changes, signature.now)?;
    }
    // An API needs no selected plan, nor does a provider of which the application measures nothing.
    let is_measured = |plan: &Plan| plan.limits.iter().any(|it| it.application().is_some());
    let without_plan = catalogue.providers().into_iter().filter(|provider| {
        selection::current(&selections, provider, signature.now).is_none()
            && catalogue.plans_of(provider).any(is_measured)
    });
    let without_plan = without_plan.map(|provider| {
        let plans = catalogue
            .plans_of(provider)
            .filter(|plan| plan.cited.enabled);
        UnselectedProvider {
            provider: provider.to_owned(),
            plans: plans.map(|plan| plan.name.clone()).collect(),
        }
    });
    // In the order of the catalogue.
    let plans = catalogue.providers().into_iter();
    let plans = plans.filter_map(|it| selection::current(&selections, it, signature.now));
    Ok(Initialised {
        catalogue_version: catalogue.version.to_string(),
        dry_run: args.dry_run,
        plans: plans.cloned().collect(),
        without_plan: without_plan.collect(),
        changes,
    })
}
