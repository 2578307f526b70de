//! `limits show`: the catalogue's rows of a provider.

use super::plan::{PROVIDER, catalogue_name, require_provider, unknown_plan};
use crate::commands::prelude::*;
use crate::domain::plans::diff::CatalogueRow;
use crate::domain::plans::selection;
use crate::output::limits::show::ProviderPlans;
use crate::store::plans::{catalogues, selections};

/// Show a provider's plans in the catalogue, with their sources
///
/// Shows prices, included amounts, overage and what happens at the limit. Also shows what the application does not
/// measure, and rows that are disabled because their source is of grade C.
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl limits show upstash --plan free")]
pub struct ShowArgs {
    #[arg(value_parser = catalogue_name, help = PROVIDER)]
    provider: String,

    /// Only this plan
    #[arg(long, value_name = "PLAN", value_parser = catalogue_name)]
    plan: Option<String>,
}

pub fn run(context: &mut Context, args: ShowArgs) -> Result<Outcome> {
    let mut db = context.open(Access::Read)?;
    let catalogue = catalogues::active(&mut db)?;
    let selections = selections::all(&mut db)?;
    require_provider(&catalogue, &args.provider)?;
    let in_use = selection::current(&selections, &args.provider, context.now);
    let mut rows = CatalogueRow::all(&catalogue);
    rows.retain(|row| {
        row.provider == args.provider && (args.plan.is_none() || row.plan == args.plan)
    });
    if let (true, Some(plan)) = (rows.is_empty(), &args.plan) {
        let listed = catalogue.plans_of(&args.provider);
        return Err(unknown_plan(&args.provider, plan, listed)
            .with_next(format!("usagectl limits show {}", args.provider)));
    }
    let answer = ProviderPlans {
        catalogue_version: catalogue.version.to_string(),
        plan_in_use: in_use.map(|selected| selected.plan.clone()),
        provider: args.provider,
        rows,
    };
    context.finish(&answer)
}
