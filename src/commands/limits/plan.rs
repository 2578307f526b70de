//! `limits plan`: the plan of a provider that is in use, and its history.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use super::sync;
use crate::args::{Author, parse_instant, parse_text};
use crate::commands::prelude::*;
use crate::domain::id;
use crate::domain::named::name_key;
use crate::domain::period::start_of_day;
use crate::domain::plans::selection::{Billing, PlanSelection};
use crate::domain::plans::sync::Signature;
use crate::domain::plans::{Catalogue, LimitPeriod, Plan, selection};
use crate::domain::zone::Zone;
use crate::output::limits::plan::{Selected, Selections};
use crate::store::plans::{catalogues, selections};

/// The help of a provider, which names those of the embedded catalogue that are no API.
pub(super) const PROVIDER: &str = "Provider: vercel, upstash, redis-cloud, neon, openai, or an API";

/// Set or show the plan in use
///
/// With a provider and a plan, selects the plan from now on, or from --from on, and writes its limits as
/// `usagectl limits init` does. Options that are not given keep their values of the previous selection. Without a
/// plan, shows all selections.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl limits plan vercel pro --seats 2 --anchor-day 15 --tz Europe/Berlin"
)]
pub struct PlanArgs {
    #[arg(value_parser = catalogue_name, help = PROVIDER)]
    provider: Option<String>,

    /// Plan to use
    #[arg(value_parser = catalogue_name)]
    plan: Option<String>,

    #[command(flatten)]
    terms: PlanTerms,

    #[command(flatten)]
    author: Author,
}

/// The terms of a selection; options that are not given keep their previous values.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct PlanTerms {
    /// Start: a day such as 2026-02-01, at midnight of --tz, or a time (RFC 3339) [default: now]
    #[arg(long, value_name = "TIME", requires = "plan", value_parser = parse_start)]
    from: Option<Start>,

    /// Number of paid seats
    #[arg(long, value_name = "N", requires = "plan", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    seats: Option<u32>,

    /// Region, by the provider's name
    #[arg(long, value_name = "NAME", requires = "plan", value_parser = parse_text::<200>)]
    region: Option<String>,

    /// Day of the month on which billing periods begin; limits by the calendar MONTH keep theirs
    #[arg(long, value_name = "DAY", requires = "plan", value_parser = clap::value_parser!(u32).range(1..=31))]
    anchor_day: Option<u32>,

    /// Time zone of billing periods, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", requires = "plan")]
    tz: Option<Zone>,
}

impl PlanTerms {
    /// Terms of the billing period alone.
    pub(super) fn billed(anchor_day: Option<u32>, tz: Option<Zone>) -> PlanTerms {
        PlanTerms {
            anchor_day,
            tz,
            ..PlanTerms::default()
        }
    }
}

/// When a plan begins to be in use.
#[derive(Clone, Copy, Debug)]
enum Start {
    Day(NaiveDate),
    Instant(DateTime<Utc>),
}

/// Parses the name of a provider or plan, which catalogues write in lower case.
pub(super) fn catalogue_name(text: &str) -> Result<String, String> {
    parse_text::<200>(text).map(|name| name_key(&name))
}

fn parse_start(text: &str) -> Result<Start, String> {
    if let Ok(day) = text.parse() {
        return Ok(Start::Day(day));
    }
    let invalid = |_| "expected a day such as 2026-02-01, or an RFC 3339 time".to_owned();
    parse_instant(text).map(Start::Instant).map_err(invalid)
}

pub fn run(context: &mut Context, args: PlanArgs) -> Result<Outcome> {
    let now = context.now;
    let provider = args.provider.as_deref();
    let answer = if let (Some(provider), Some(plan)) = (provider, &args.plan) {
        let by = args.author.name();
        let signature = Signature { by: &by, now };
        let mut db = context.open(Access::Write)?;
        db.write_tx(|db| -> Result<_> {
            let catalogue = catalogues::active(db)?;
            let chosen = catalogue.plan(provider, plan);
            warn_of_calendar(context, chosen, args.terms.anchor_day);
            let mut selections = selections::all(db)?;
            let selected = select(
                &catalogue,
                &selections,
                provider,
                plan,
                args.terms,
                signature,
            )?;
            let is_new = !selected.is_empty();
            selections::insert(db, &selected)?;
            selections.extend(selected);
            let mut changes =
                sync::changes(db, &catalogue, &selections, Some(provider), signature)?;
            sync::save(db, &changes, now)?;
            changes.retain_changed();
            Ok(Selections {
                selected: Some(Selected { is_new, changes }),
                ..history(db, Some(provider), now)?
            })
        })?
    } else {
        if args.author.is_given() {
            return Err(Error::usage("--by: requires a provider and a plan"));
        }
        let mut db = context.open(Access::Read)?;
        if let Some(provider) = provider {
            require_provider(&catalogues::active(&mut db)?, provider)?;
        }
        history(&mut db, provider, now)?
    };
    context.finish(&answer)
}

fn history(db: &mut Db, provider: Option<&str>, now: DateTime<Utc>) -> Result<Selections> {
    let all = selections::all(db)?;
    let in_use: Vec<&PlanSelection> = selection::in_use(&all, now).collect();
    let is_wanted = |it: &&PlanSelection| provider.is_none_or(|name| name == it.provider);
    let wanted = all.iter().filter(is_wanted);
    let selections = wanted.map(|it| (it.clone(), in_use.contains(&it)));
    Ok(Selections {
        selections: selections.collect(),
        now,
        selected: None,
    })
}

/// Warns if an anchor day is given and all amounts that a plan limits are those of calendar months.
pub(super) fn warn_of_calendar(
    context: &mut Context,
    plan: Option<&Plan>,
    anchor_day: Option<u32>,
) {
    let Some(plan) = plan.filter(|_| anchor_day.is_some_and(|day| day != 1)) else {
        return;
    };
    let mut periods = plan.limits_in_use().filter_map(|it| it.period).peekable();
    if periods.peek().is_some() && periods.all(|it| it != LimitPeriod::BillingMonth) {
        let (provider, name) = (&plan.provider, &plan.name);
        context.warn(format_args!(
            "--anchor-day changes no limit of {provider} {name}, which are by the calendar month"
        ));
    }
}

/// The selections to store; none if the same is in use.
pub(super) fn select(
    catalogue: &Catalogue,
    all: &[PlanSelection],
    provider: &str,
    plan: &str,
    terms: PlanTerms,
    signature: Signature<'_>,
) -> Result<Vec<PlanSelection>> {
    require_plan(catalogue, provider, plan)?;
    let before = selection::current(all, provider, signature.now);
    let billing = before.map(|it| it.billing).unwrap_or_default();
    let billing = Billing {
        anchor_day: terms.anchor_day.unwrap_or(billing.anchor_day),
        zone: terms.tz.unwrap_or(billing.zone),
    };
    // Of two that begin together the one created last is in use.
    let after = |before: Option<&PlanSelection>| {
        let next = before.map(|it| it.created_at + TimeDelta::milliseconds(1));
        next.map_or(signature.now, |next| next.max(signature.now))
    };
    let selected = PlanSelection {
        id: id::unique(signature.now).to_string(),
        provider: provider.to_owned(),
        plan: plan.to_owned(),
        seats: terms.seats.or(before.and_then(|it| it.seats)),
        region: terms.region.or(before.and_then(|it| it.region.clone())),
        billing,
        valid_from: match terms.from {
            None => signature.now,
            Some(Start::Instant(at)) => at,
            Some(Start::Day(day)) => start_of_day(billing.zone, day),
        },
        chosen_by: signature.by.to_owned(),
        created_at: after(before),
    };
    let is_same = |before: &PlanSelection| {
        (&before.plan, before.seats, &before.region, before.billing)
            == (&selected.plan, selected.seats, &selected.region, billing)
    };
    if terms.from.is_none() && before.is_some_and(is_same) {
        return Ok(Vec::new());
    }
    // From an earlier day on, the terms of the plan in use are these too.
    let in_use = before.filter(|it| it.plan == plan && it.valid_from > selected.valid_from);
    let corrected = in_use.map(|in_use| PlanSelection {
        id: id::unique(signature.now).to_string(),
        valid_from: in_use.valid_from,
        created_at: after(Some(&selected)),
        ..selected.clone()
    });
    Ok(std::iter::once(selected).chain(corrected).collect())
}

/// Checks that the catalogue has a provider.
pub(super) fn require_provider(catalogue: &Catalogue, provider: &str) -> Result<()> {
    let providers = catalogue.providers();
    if providers.contains(&provider) {
        return Ok(());
    }
    let (provider, version) = (printable(provider), &catalogue.version);
    let known = providers.join(", ");
    let message = format!("unknown provider `{provider}`; catalogue {version} has {known}");
    let next = "name one of these, or import a catalogue that has it: usagectl limits import FILE";
    Err(Error::usage(message).with_next(next))
}

/// Checks that a plan can be selected.
fn require_plan(catalogue: &Catalogue, provider: &str, plan: &str) -> Result<()> {
    require_provider(catalogue, provider)?;
    match catalogue.plan(provider, plan) {
        Some(found) if found.cited.enabled => Ok(()),
        Some(found) => {
            let why = found
                .cited
                .note
                .as_deref()
                .unwrap_or("its source is of grade C");
            let message = format!("{provider} {plan} is disabled: {why}");
            Err(Error::message(Exit::Refused, message).with_next(
                "set its limits by hand (usagectl limits set), or import a catalogue with a better source",
            ))
        }
        None => {
            let plans = catalogue
                .plans_of(provider)
                .filter(|plan| plan.cited.enabled);
            Err(unknown_plan(provider, plan, plans).with_next("name one of these"))
        }
    }
}

pub(super) fn unknown_plan<'a>(
    provider: &str,
    plan: &str,
    known: impl Iterator<Item = &'a Plan>,
) -> Error {
    let known: Vec<&str> = known.map(|plan| plan.name.as_str()).collect();
    let (plan, known) = (printable(plan), known.join(", "));
    Error::usage(format!("unknown plan `{plan}`; {provider} has {known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_the_providers_of_the_catalogue() {
        let catalogue = Catalogue::embedded().unwrap();
        let mut providers = catalogue.providers();
        let is_api = |plan: &Plan| !plan.api_limits.is_empty() || plan.limits.is_empty();
        providers.retain(|it| !catalogue.plans_of(it).all(is_api));
        let text = format!("Provider: {}, or an API", providers.join(", "));
        assert_eq!(PROVIDER, text);
    }
}
