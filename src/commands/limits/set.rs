//! `limits set`: sets or changes a limit by hand.

use chrono::{DateTime, Utc};
use clap::ArgGroup;

use super::plan::unknown_plan;
use crate::args::{Author, parse_api_name, parse_number, parse_percent, parse_text};
use crate::commands::known_apis::warn_of_unknown;
use crate::commands::prelude::*;
use crate::domain::metrics::names::{Metric, MetricKind, Service};
use crate::domain::period::Period;
use crate::domain::plans::edit::{ApiLimitEdit, EditFault, LimitEdit, only_plan, stored_limit};
use crate::domain::plans::limit::LimitRow;
use crate::domain::plans::sync::{BUDGET, Signature};
use crate::domain::plans::{
    AtLimit, Catalogue, LimitPeriod, PlanSelection, Unit, api_limit, selection,
};
use crate::output::limits::list::LimitList;
use crate::store::plans::{api_limits, catalogues, limits, selections};

/// Set or change a limit by hand
///
/// For an API give --api and --per, for a service --service and --metric. Omitted options keep their stored values; a
/// new limit requires VALUE.
///
/// A limit that you set is yours: no catalogue changes it. Thresholds alone (--warning, --critical) leave a limit of
/// the catalogue up to date. A value set by hand replaces the source that the catalogue had for it.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("what").required(true).args(["api", "service"]))]
#[command(after_help = "Examples:
  usagectl limits set --api finnhub --per MINUTE 60
  usagectl limits set --service VERCEL_KV --metric STORAGE_MB --plan free 256
  usagectl limits set --service AI_OPENAI --metric COST_USD --budget 50")]
pub struct SetArgs {
    /// API, by its name in api_usage
    #[arg(long, value_name = "NAME", value_parser = parse_api_name, requires = "per")]
    api: Option<String>,

    /// Service, such as VERCEL_KV
    #[arg(long, value_name = "SERVICE", requires = "metric")]
    service: Option<Service>,

    /// Metric, such as STORAGE_MB
    #[arg(long, value_name = "METRIC", requires = "service")]
    metric: Option<Metric>,

    /// Plan that has the limit [default: the plan in use]
    #[arg(long, value_name = "PLAN", requires = "service", value_parser = parse_text::<64>)]
    plan: Option<String>,

    /// Set a budget, which holds on every plan, for each resource on its own (of bills, each provider)
    #[arg(long, requires = "service")]
    budget: bool,

    /// Period of the limit
    ///
    /// SECOND, MINUTE, HOUR, DAY or MONTH for an API; DAY, MONTH or BILLING_MONTH for a service. A new limit of a
    /// service has the usual period of its metric.
    #[arg(long, value_name = "PERIOD", value_parser = parse_per)]
    per: Option<Per>,

    /// What an API's limit counts: CALLS, or CREDITS (the cost of the calls) [default: CALLS]
    #[arg(long, value_name = "UNIT", conflicts_with = "service")]
    unit: Option<Unit>,

    /// Warning threshold in percent of the limit [default: 75]
    #[arg(long, value_name = "PERCENT", conflicts_with = "api", value_parser = parse_threshold)]
    warning: Option<f64>,

    /// Critical threshold in percent of the limit [default: 90]
    #[arg(long, value_name = "PERCENT", conflicts_with = "api", value_parser = parse_threshold)]
    critical: Option<f64>,

    /// How usage is measured: GAUGE, PERIOD or RATE [default: as usual for the metric]
    #[arg(long, value_name = "KIND", requires = "service")]
    kind: Option<MetricKind>,

    /// Consequence: BILL, PAUSE, THROTTLE, REJECT, EVICT or UNKNOWN [default: UNKNOWN]
    #[arg(long, value_name = "CONSEQUENCE", requires = "service")]
    at_limit: Option<AtLimit>,

    /// Source of the value: an address or text
    #[arg(long, value_name = "TEXT", value_parser = parse_text::<2000>)]
    source: Option<String>,

    /// Note
    #[arg(long, value_name = "TEXT", requires = "service", value_parser = parse_text::<2000>)]
    note: Option<String>,

    #[command(flatten)]
    author: Author,

    /// Limit
    #[arg(value_name = "VALUE", allow_negative_numbers = true, value_parser = parse_number)]
    value: Option<f64>,
}

/// The period of a limit; some names fit an API only, some a service only.
#[derive(Clone, Debug)]
struct Per {
    of_api: Option<Period>,
    of_service: Option<LimitPeriod>,
}

fn parse_per(text: &str) -> Result<Per, String> {
    let per = Per {
        of_api: text.parse().ok(),
        of_service: text.parse().ok(),
    };
    if per.of_api.is_none() && per.of_service.is_none() {
        return Err("expected SECOND, MINUTE, HOUR, DAY, MONTH or BILLING_MONTH".to_owned());
    }
    Ok(per)
}

pub fn run(context: &mut Context, args: SetArgs) -> Result<Outcome> {
    let (by, now) = (args.author.name(), context.now);
    let signature = Signature { by: &by, now };
    let answer = match (&args.api, args.service, args.metric) {
        (Some(api), _, _) => {
            if args.author.is_given() {
                let message = "--by: the author of an API's limit is not recorded";
                return Err(Error::usage(message));
            }
            let api = api.clone();
            set_api_limit(context, &api, args)?
        }
        (_, Some(service), Some(metric)) => set_limit(context, service, metric, args, signature)?,
        // clap requires one of the two.
        _ => {
            let message = "expected --api and --per, or --service and --metric";
            return Err(Error::usage(message));
        }
    };
    context.finish(&answer)
}

fn set_api_limit(context: &mut Context, api: &str, args: SetArgs) -> Result<LimitList> {
    let period = args.per.and_then(|per| per.of_api);
    let period = period.ok_or_else(|| {
        Error::usage("--per: expected SECOND, MINUTE, HOUR, DAY or MONTH for an API")
    })?;
    let edit = ApiLimitEdit {
        value: args.value,
        unit: args.unit,
        source: args.source,
    };
    let mut db = context.open(Access::Write)?;
    let now = context.now;
    let limit = db.write_tx(|db| -> Result<_> {
        let limits = api_limits::all(db)?;
        let stored = api_limit::find(&limits, api, &period);
        let limit = edit.apply(api, &period, stored, now).map_err(usage)?;
        api_limits::set(db, &limit)?;
        Ok(limit)
    })?;
    warn_of_unknown(context, &mut db, [api])?;
    Ok(LimitList {
        api_limits: vec![limit],
        ..LimitList::default()
    })
}

fn set_limit(
    context: &mut Context,
    service: Service,
    metric: Metric,
    args: SetArgs,
    signature: Signature<'_>,
) -> Result<LimitList> {
    let period = args.per.map(|per| {
        let wrong = || Error::usage("--per: expected DAY, MONTH or BILLING_MONTH for a service");
        per.of_service.ok_or_else(wrong)
    });
    let edit = LimitEdit {
        value: args.value,
        warning_percent: args.warning,
        critical_percent: args.critical,
        kind: args.kind,
        period: period.transpose()?,
        at_limit: args.at_limit,
        source: args.source,
        note: args.note,
        is_budget: args.budget,
    };
    let plan = match args.plan {
        None if args.budget => Some(BUDGET.to_owned()),
        plan => plan,
    };
    let mut db = context.open(Access::Write)?;
    db.write_tx(|db| -> Result<LimitList> {
        let (rows, selections) = (limits::rows(db)?, selections::all(db)?);
        let catalogue = catalogues::active(db)?;
        let plan = match plan {
            Some(plan) => plan,
            None => {
                let of = (service, metric);
                implied_plan(&rows, &selections, &catalogue, of, signature.now)?
            }
        };
        let stored = stored_limit(&rows, service, metric, &plan);
        let provider = catalogue.provider_of(service).filter(|_| !edit.is_budget);
        let mut edit = edit;
        if let (None, Some(provider)) = (stored, provider) {
            let mut plans = catalogue.plans_of(provider);
            let Some(listed) = plans.find(|it| it.name.eq_ignore_ascii_case(&plan)) else {
                let unknown = unknown_plan(provider, &plan, catalogue.plans_of(provider));
                return Err(unknown.with_next("name one of these, or give --budget"));
            };
            // What the catalogue publishes beside the number stays.
            if let Some(limit) = listed.limit(service, metric) {
                edit.at_limit = edit.at_limit.or(Some(limit.at_limit));
            }
        }
        let plan = stored.map_or(plan.as_str(), |row| row.plan.as_str());
        let edited = edit.apply((service, metric, plan), stored, signature);
        let row = edited.map_err(usage)?;
        limits::write(db, &row, signature.now)?;
        let mut limits = limits::listed(db, signature.now)?;
        limits.retain(|it| {
            (it.row.service, it.row.metric, &it.row.plan) == (service, metric, &row.plan)
        });
        Ok(LimitList {
            limits,
            ..LimitList::default()
        })
    })
}

/// Parses a share of a limit: from 100 % on, the limit itself is reached.
fn parse_threshold(text: &str) -> Result<f64, String> {
    match parse_percent(text)? {
        percent if percent > 0.0 && percent <= 100.0 => Ok(percent),
        _ => Err("expected a percentage above 0 and up to 100".to_owned()),
    }
}

fn usage(fault: EditFault) -> Error {
    let next = match fault {
        EditFault::NoChange | EditFault::NoValue => "usagectl limits set --help",
        EditFault::Value(_) => "to have no limit: usagectl limits remove --help",
        EditFault::PeriodOfGauge => "omit --per, or add --kind PERIOD",
        EditFault::Limit(_) => "choose --warning below --critical, such as 75 and 90",
    };
    Error::usage(fault).with_next(next)
}

/// The plan in use, or the only plan that has a limit of the metric.
fn implied_plan(
    rows: &[LimitRow],
    selections: &[PlanSelection],
    catalogue: &Catalogue,
    (service, metric): (Service, Metric),
    now: DateTime<Utc>,
) -> Result<String> {
    let provider = catalogue.provider_of(service);
    let selected = provider.and_then(|provider| selection::current(selections, provider, now));
    let plan = selected.map(|selected| selected.plan.as_str());
    let plan = plan.or_else(|| only_plan(rows, service, metric));
    plan.map(str::to_owned).ok_or_else(|| {
        let (message, next) = match provider {
            Some(provider) => (
                format!("no plan of {provider} is selected"),
                format!("give --plan, or select one: usagectl limits plan {provider} PLAN"),
            ),
            None => (
                format!("no provider in the catalogue offers {service}, so no plan is in use"),
                "give --plan PLAN or --budget".to_owned(),
            ),
        };
        Error::usage(message).with_next(next)
    })
}
