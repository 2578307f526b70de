//! `limits plan`: which plan of a provider is in use, and was.

use chrono::{DateTime, NaiveDate, TimeZone, Utc};
use chrono_tz::Tz;
use clap::Args;

use super::apply::apply;
use crate::args::parse_instant;
use crate::context::{self, Context};
use crate::domain::format::counted;
use crate::domain::id;
use crate::domain::plans::Catalogue;
use crate::domain::plans::selection;
use crate::domain::plans::selection::{Billing, PlanChoice};
use crate::domain::plans::sync::Actor;
use crate::error::{Error, Exit, Outcome, Result};
use crate::output::limits::plan::Choices;
use crate::output::printable;
use crate::store::db::{Access, Db};
use crate::store::plans::{catalogues, selections};

/// Say which plan of a provider is in use, or show what was said
///
/// With a provider and a plan, the plan is in use from now on, or --from a day; its limits are written as by
/// `usagectl limits init`. What is not given stays as it was: seats, region, the day and the zone in which billing
/// periods begin. Without a plan, shows every plan that was chosen, and when.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl limits plan vercel pro --seats 2 --anchor-day 15 --tz Europe/Berlin"
)]
pub struct PlanArgs {
    /// Whose plan: vercel, upstash, neon, openai, or an API
    provider: Option<String>,

    /// Which plan
    plan: Option<String>,

    /// From when on: a day such as 2026-02-01, at midnight of --tz, or a time (RFC 3339)
    #[arg(long, value_name = "DATE", requires = "plan", value_parser = parse_from)]
    from: Option<From>,

    /// How many seats are paid for
    #[arg(long, value_name = "N", requires = "plan", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    seats: Option<u32>,

    /// The provider's name of the region
    #[arg(long, value_name = "NAME", requires = "plan")]
    region: Option<String>,

    /// On which day of the month billing periods begin
    #[arg(long, value_name = "DAY", requires = "plan", value_parser = clap::value_parser!(u32).range(1..=31))]
    anchor_day: Option<u32>,

    /// The zone at whose midnight they begin, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", requires = "plan")]
    tz: Option<Tz>,

    /// Who says so; user@host, unless given
    #[arg(long, value_name = "WHO", requires = "plan")]
    by: Option<String>,
}

/// From when on a plan is in use.
#[derive(Clone, Copy, Debug)]
enum From {
    Day(NaiveDate),
    Instant(DateTime<Utc>),
}

fn parse_from(text: &str) -> Result<From, String> {
    if let Ok(day) = text.parse() {
        return Ok(From::Day(day));
    }
    let wrong = |_| "not a day such as 2026-02-01, nor an RFC 3339 time".to_owned();
    parse_instant(text).map(From::Instant).map_err(wrong)
}

/// A choice that is to be made; what is not given is taken from the one before.
pub(super) struct Choosing<'a> {
    provider: &'a str,
    plan: &'a str,
    from: Option<From>,
    seats: Option<u32>,
    region: Option<String>,
    anchor_day: Option<u32>,
    zone: Option<Tz>,
    actor: Actor<'a>,
}

impl<'a> Choosing<'a> {
    /// From now on, everything else as it was.
    pub(super) fn new(provider: &'a str, plan: &'a str, actor: Actor<'a>) -> Choosing<'a> {
        Choosing {
            provider,
            plan,
            from: None,
            seats: None,
            region: None,
            anchor_day: None,
            zone: None,
            actor,
        }
    }
}

/// Chooses a plan, or shows which were chosen.
pub fn run(context: &mut Context, args: PlanArgs) -> Result<Outcome> {
    let now = context.now;
    let provider = args.provider.as_deref();
    if let (Some(provider), Some(plan)) = (provider, args.plan.as_deref()) {
        let by = args.by.clone().unwrap_or_else(context::current_user);
        let actor = Actor { by: &by, now };
        let mut db = context.open(Access::Write)?;
        let (chosen, applied) = db.write_tx(|db| -> Result<_> {
            let catalogue = catalogues::active(db)?;
            let choosing = Choosing {
                from: args.from,
                seats: args.seats,
                region: args.region.clone(),
                anchor_day: args.anchor_day,
                zone: args.tz,
                ..Choosing::new(provider, plan, actor)
            };
            let chosen = choose(db, &catalogue, choosing)?;
            Ok((chosen, apply(db, &catalogue, actor)?))
        })?;
        let of_plans = applied.limits.iter().map(|change| change.change);
        let of_apis = applied.api_limits.iter().map(|change| change.change);
        let written = of_plans.chain(of_apis).filter(|change| change.writes());
        let written = counted(written.count() as u64, "limit");
        match chosen {
            Chosen::Anew => context.info(format_args!("{provider} {plan}: {written} written")),
            Chosen::Already => context.info(format_args!(
                "{provider} {plan} was in use already: {written} written"
            )),
        }
        context.answer(&history(&mut db, Some(provider), now)?)?;
        return Ok(Outcome::DONE);
    }
    let mut db = context.open(Access::Read)?;
    if let Some(provider) = provider {
        let catalogue = catalogues::active(&mut db)?;
        require_provider(&catalogue, provider)?;
    }
    context.answer(&history(&mut db, provider, now)?)?;
    Ok(Outcome::DONE)
}

fn history(db: &mut Db, provider: Option<&str>, now: DateTime<Utc>) -> Result<Choices> {
    let all = selections::all(db)?;
    let in_use = |choice: &PlanChoice| {
        let current = selection::current(&all, &choice.provider, now);
        current.is_some_and(|current| current.id == choice.id)
    };
    let wanted = |choice: &&PlanChoice| provider.is_none_or(|name| name == choice.provider);
    let choices = all.iter().filter(wanted);
    Ok(Choices {
        choices: choices
            .map(|choice| (choice.clone(), in_use(choice)))
            .collect(),
        now,
    })
}

/// Whether a choice was new.
pub(super) enum Chosen {
    /// It was.
    Anew,
    /// The same was in use.
    Already,
}

/// Writes a choice down, unless the same is in use.
pub(super) fn choose(db: &mut Db, catalogue: &Catalogue, choosing: Choosing<'_>) -> Result<Chosen> {
    let Choosing {
        provider,
        plan,
        actor,
        ..
    } = choosing;
    require_plan(catalogue, provider, plan)?;
    let all = selections::all(db)?;
    let before = selection::current(&all, provider, actor.now);
    let billing = before.map(|choice| choice.billing).unwrap_or_default();
    let billing = Billing {
        anchor_day: choosing.anchor_day.unwrap_or(billing.anchor_day),
        zone: choosing.zone.unwrap_or(billing.zone),
    };
    let valid_from = match choosing.from {
        None => actor.now,
        Some(From::Instant(at)) => at,
        Some(From::Day(day)) => start_of_day(billing.zone, day)?,
    };
    let choice = PlanChoice {
        id: id::unique(actor.now).to_string(),
        provider: provider.to_owned(),
        plan: plan.to_owned(),
        seats: choosing.seats.or(before.and_then(|choice| choice.seats)),
        region: choosing
            .region
            .or_else(|| before.and_then(|choice| choice.region.clone())),
        billing,
        valid_from,
        chosen_by: actor.by.to_owned(),
        created_at: actor.now,
    };
    let terms = |choice: &PlanChoice| {
        (
            choice.plan.clone(),
            choice.seats,
            choice.region.clone(),
            choice.billing,
        )
    };
    if choosing.from.is_none() && before.is_some_and(|before| terms(before) == terms(&choice)) {
        return Ok(Chosen::Already);
    }
    selections::insert(db, &choice)?;
    Ok(Chosen::Anew)
}

fn start_of_day(zone: Tz, day: NaiveDate) -> Result<DateTime<Utc>> {
    // Where the clocks leave midnight out the day begins an hour later.
    let hours = (0..=3).filter_map(|hour| day.and_hms_opt(hour, 0, 0));
    let mut instants = hours.filter_map(|at| zone.from_local_datetime(&at).earliest());
    let first = instants.next().map(|at| at.to_utc());
    first.ok_or_else(|| Error::usage(format!("{day} does not exist in {zone}")))
}

/// Makes sure that there are plans of a provider.
pub(super) fn require_provider(catalogue: &Catalogue, provider: &str) -> Result<()> {
    let providers = catalogue.providers();
    if providers.contains(&provider) {
        return Ok(());
    }
    let message = format!(
        "there is no provider `{}` in the catalogue {}; there are {}",
        printable(provider),
        catalogue.version,
        providers.join(", ")
    );
    Err(Error::message(Exit::Failed, message).with_next(
        "name one of these, or bring a catalogue that has it: usagectl limits import FILE",
    ))
}

/// Makes sure that a plan can be chosen.
pub(super) fn require_plan(catalogue: &Catalogue, provider: &str, plan: &str) -> Result<()> {
    require_provider(catalogue, provider)?;
    match catalogue.plan(provider, plan) {
        Some(found) if found.enabled => Ok(()),
        Some(found) => {
            let why = found.note.as_deref().unwrap_or("its source is of grade C");
            let message = format!("{provider} {plan} is shown only: {why}");
            Err(Error::message(Exit::Refused, message).with_next(
                "set the limits by hand (usagectl limits set), or bring a catalogue with a better source",
            ))
        }
        None => {
            let plans = catalogue.plans_of(provider).filter(|plan| plan.enabled);
            let plans: Vec<&str> = plans.map(|plan| plan.name.as_str()).collect();
            let message = format!(
                "{provider} has no plan `{}`; there are {}",
                printable(plan),
                plans.join(", ")
            );
            Err(Error::message(Exit::Failed, message).with_next("name one of these"))
        }
    }
}
