//! `limits show`: what the catalogue says about a provider.

use clap::Args;

use super::plan::require_provider;
use crate::context::Context;
use crate::domain::plans::diff::Said;
use crate::domain::plans::selection;
use crate::error::{Outcome, Result};
use crate::output::limits::show::Shown;
use crate::store::db::Access;
use crate::store::plans::{catalogues, selections};

/// Show what the catalogue says about a provider's plans, and on which pages
///
/// Prices, what is included, what more costs and what happens at the limit; also what the application does not
/// measure, and what is not used since its source is of grade C.
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl limits show upstash --plan free")]
pub struct ShowArgs {
    /// Whose plans: vercel, upstash, neon, openai, or an API
    provider: String,

    /// Only this plan
    #[arg(long, value_name = "NAME")]
    plan: Option<String>,
}

/// Shows the rows.
pub fn run(context: &mut Context, args: ShowArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Read)?;
    let catalogue = catalogues::active(&mut db)?;
    let choices = selections::all(&mut db)?;
    require_provider(&catalogue, &args.provider)?;
    let in_use = selection::current(&choices, &args.provider, context.now);
    let rows = Said::all(&catalogue).into_iter().filter(|row| {
        row.provider == args.provider
            && args
                .plan
                .as_ref()
                .is_none_or(|plan| row.plan.as_ref() == Some(plan))
    });
    let answer = Shown {
        catalogue_version: catalogue.version.to_string(),
        provider: args.provider.clone(),
        plan_in_use: in_use.map(|choice| choice.plan.clone()),
        rows: rows.collect(),
    };
    context.answer(&answer)?;
    Ok(Outcome::DONE)
}
