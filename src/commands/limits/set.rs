//! `limits set`: a limit by hand.

use clap::{ArgGroup, Args};

use super::parse_period;
use crate::args::parse_api_name;
use crate::context::{self, Context};
use crate::domain::metrics::names::MetricKind;
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::period::Period;
use crate::domain::plans::limit::{LimitRow, Meaning};
use crate::domain::plans::sync::BUDGET;
use crate::domain::plans::{
    ApiLimit, ApiLimitOrigin, AtLimit, LimitPeriod, Origin, Unit, api_limit, selection, usual_kind,
};
use crate::error::{Error, Exit, Outcome, Result};
use crate::output::printable;
use crate::store::db::{Access, Db};
use crate::store::plans::{api_limits, catalogues, limits, selections};

/// Set a limit by hand
///
/// Either of an API (--api, --per), or of a service (--service, --metric) on a plan. Without --plan it is the plan
/// in use. With --budget it is a ceiling of your own that holds on every plan, beside the plan's limit.
///
/// What is set here is yours: no catalogue changes it.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("what").required(true).args(["api", "service"]))]
#[command(after_help = "Examples:
  usagectl limits set --api finnhub --per MINUTE 60
  usagectl limits set --service VERCEL_KV --metric STORAGE_MB --plan free 256
  usagectl limits set --service AI_OPENAI --metric COST_USD --budget 50")]
pub struct SetArgs {
    /// The API, by its name in api_usage
    #[arg(long, value_name = "NAME", value_parser = parse_api_name, requires = "per")]
    api: Option<String>,

    /// In how long a time: SECOND, MINUTE, HOUR, DAY, MONTH
    #[arg(long, value_name = "PERIOD", value_parser = parse_period, requires = "api")]
    per: Option<Period>,

    /// What the API counts: CALLS, or CREDITS, the cost of the calls
    #[arg(long, value_name = "UNIT", default_value_t = Unit::Calls, conflicts_with = "service")]
    unit: Unit,

    /// The service, such as VERCEL_KV
    #[arg(long, value_name = "SERVICE", requires = "metric")]
    service: Option<Service>,

    /// What of it, such as STORAGE_MB
    #[arg(long, value_name = "METRIC", requires = "service")]
    metric: Option<Metric>,

    #[command(flatten)]
    terms: Terms,

    /// Where it is written
    #[arg(long, value_name = "TEXT")]
    source: Option<String>,

    /// How much it is
    #[arg(value_name = "VALUE", allow_negative_numbers = true)]
    value: f64,
}

/// What only a limit of a service has.
#[derive(Args, Debug)]
struct Terms {
    /// The plan that has it; the one in use, unless given
    #[arg(long, value_name = "NAME", requires = "service")]
    plan: Option<String>,

    /// It is a ceiling of your own, whatever the plan
    #[arg(long, requires = "service")]
    budget: bool,

    /// From how many percent on to warn
    #[arg(
        long,
        value_name = "PERCENT",
        requires = "service",
        default_value_t = 75.0
    )]
    warning: f64,

    /// From how many percent on it is critical
    #[arg(
        long,
        value_name = "PERCENT",
        requires = "service",
        default_value_t = 90.0
    )]
    critical: f64,

    /// How it is measured: GAUGE, PERIOD or RATE; as usual for the metric, unless given
    #[arg(long, value_name = "KIND", requires = "service")]
    kind: Option<MetricKind>,

    /// In how long a time, of kind PERIOD: DAY, MONTH or BILLING_MONTH
    #[arg(long, value_name = "PERIOD", requires = "service")]
    period: Option<LimitPeriod>,

    /// What happens beyond: BILL, PAUSE, THROTTLE, REJECT, EVICT or UNKNOWN
    #[arg(long, value_name = "WHAT", requires = "service", default_value_t = AtLimit::Unknown)]
    at_limit: AtLimit,

    /// What else there is to say
    #[arg(long, value_name = "TEXT", requires = "service")]
    note: Option<String>,

    /// Who says so; user@host, unless given
    #[arg(long, value_name = "WHO", requires = "service")]
    by: Option<String>,
}

/// Writes the limit down.
pub fn run(context: &mut Context, args: SetArgs) -> Result<Outcome> {
    let value = api_limit::sound(args.value).map_err(|error| {
        Error::usage(error).with_next("usagectl limits remove --help, to have no limit")
    })?;
    match (args.api, args.per, args.service, args.metric) {
        (Some(api_name), Some(period), _, _) => {
            let limit = ApiLimit {
                api_name,
                period,
                unit: args.unit,
                value,
                origin: ApiLimitOrigin::User,
                source: args.source,
                page_date: None,
                grade: None,
                catalogue_version: None,
                updated_at: context.now,
            };
            set_api_limit(context, &limit)
        }
        (_, _, Some(service), Some(metric)) => {
            set_limit(context, service, metric, value, args.terms, args.source)
        }
        // clap has seen to it.
        _ => Err(Error::usage(
            "give --api and --per, or --service and --metric",
        )),
    }
}

fn set_api_limit(context: &mut Context, limit: &ApiLimit) -> Result<Outcome> {
    let mut db = context.open(Access::Write)?;
    api_limits::set(&mut db, limit)?;
    context.info(format_args!(
        "{} allows {} {} per {}",
        printable(&limit.api_name),
        limit.value,
        limit.unit,
        limit.period
    ));
    Ok(Outcome::DONE)
}

fn set_limit(
    context: &mut Context,
    service: Service,
    metric: Metric,
    value: f64,
    terms: Terms,
    source: Option<String>,
) -> Result<Outcome> {
    let (kind, period) = kind_and_period(metric, terms.kind, terms.period)?;
    let mut row = LimitRow {
        service,
        metric,
        plan: String::new(),
        value,
        warning_percent: terms.warning,
        critical_percent: terms.critical,
        meaning: Some(Meaning {
            origin: match terms.budget {
                true => Origin::Budget,
                false => Origin::User,
            },
            kind,
            period,
            at_limit: terms.at_limit,
            value,
            source,
            page_date: None,
            grade: None,
            catalogue_version: None,
            note: terms.note,
            updated_by: terms.by.unwrap_or_else(context::current_user),
            updated_at: context.now,
        }),
    };
    if let Some(fault) = row.fault() {
        return Err(Error::usage(fault)
            .with_next("let --warning be less than --critical, both above 0, such as 75 and 90"));
    }
    let mut db = context.open(Access::Write)?;
    let now = context.now;
    db.write_tx(|db| -> Result<()> {
        row.plan = match terms.plan {
            Some(plan) if plan.trim().is_empty() => {
                return Err(Error::usage("--plan: a plan has a name"));
            }
            Some(plan) => plan.trim().to_owned(),
            None if terms.budget => BUDGET.to_owned(),
            None => plan_in_use(db, service, now)?,
        };
        Ok(limits::write(db, &row, now)?)
    })?;
    context.info(format_args!(
        "{service} {metric} on {}: {value}, warning at {}%, critical at {}%",
        printable(&row.plan),
        row.warning_percent,
        row.critical_percent
    ));
    Ok(Outcome::DONE)
}

/// How the limit is measured: as said, else as usual for its metric.
fn kind_and_period(
    metric: Metric,
    kind: Option<MetricKind>,
    period: Option<LimitPeriod>,
) -> Result<(MetricKind, Option<LimitPeriod>)> {
    let (usual_kind, usual_period) = usual_kind(metric);
    let kind = kind.unwrap_or(usual_kind);
    match (kind, period.or(usual_period)) {
        (MetricKind::Gauge, _) if period.is_some() => {
            Err(Error::usage("--period: a gauge has none"))
        }
        (MetricKind::Gauge, _) => Ok((kind, None)),
        (MetricKind::Period, None) => Ok((kind, Some(LimitPeriod::BillingMonth))),
        (MetricKind::Rate, _) => Ok((kind, period)),
        (MetricKind::Period, period) => Ok((kind, period)),
    }
}

fn plan_in_use(
    db: &mut Db,
    service: Service,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<String> {
    let catalogue = catalogues::active(db)?;
    let choices = selections::all(db)?;
    let provider = catalogue.provider_of(service);
    let choice = provider.and_then(|provider| selection::current(&choices, provider, now));
    choice.map(|choice| choice.plan.clone()).ok_or_else(|| {
        let (message, next) = match provider {
            Some(provider) => (
                format!("nobody has said which plan of {provider} is in use"),
                format!("give --plan, or say so: usagectl limits plan {provider} PLAN"),
            ),
            None => (
                format!("nobody sells {service}, so it has no plan in use"),
                "give --plan NAME or --budget".to_owned(),
            ),
        };
        Error::message(Exit::Usage, message).with_next(next)
    })
}
