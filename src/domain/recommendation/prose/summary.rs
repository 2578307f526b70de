//! The summary by template: always available, and always the same for the same facts.

use rust_decimal::Decimal;

use crate::domain::capacity::resources_text;
use crate::domain::metrics::names::{Metric, MetricKind, Service};
use crate::domain::plans::{AtLimit, default_kind};
use crate::domain::recommendation::candidates::Against;
use crate::domain::recommendation::facts::{
    Baseline, Choice, Compared, Facts, Kind, PeriodOutlook,
};
use crate::domain::recommendation::figure::{Figure, Unit};

/// The metric and its resource: `VERCEL_KV STORAGE_MB of cache`.
pub fn subject(service: Service, metric: Metric, resource: &str) -> String {
    match resource {
        "" => format!("{service} {metric}"),
        resource => format!("{service} {metric} of {resource}"),
    }
}

/// The consequence of reaching the limit, as a main clause.
pub fn effect(at_limit: AtLimit) -> &'static str {
    match at_limit {
        AtLimit::Bill => "usage continues and is billed",
        AtLimit::Pause => "the service pauses until the period ends",
        AtLimit::Throttle => "the service becomes slow",
        AtLimit::Reject => "the service answers with errors",
        AtLimit::Evict => "old data is removed",
        AtLimit::Unknown => "the consequence is unknown",
    }
}

/// The consequence, with the amount up to which usage is billed.
pub fn effect_text(facts: &Facts) -> String {
    let effect = effect(facts.at_limit);
    match &facts.ceiling {
        Some(ceiling) if facts.usage.value >= ceiling.value => {
            format!(
                "usage is billed up to {}, which is reached",
                ceiling.short()
            )
        }
        Some(ceiling) => format!("{effect}, up to {}", ceiling.short()),
        None => effect.to_owned(),
    }
}

/// A budget by its name: one without a name of its own is called `budget`.
fn budget(name: &str) -> String {
    match name {
        "budget" => name.to_owned(),
        name => format!("budget {name}"),
    }
}

/// The summary, one sentence after the other.
pub fn summary(facts: &Facts) -> String {
    let subject = subject(facts.service, facts.metric, &facts.resource);
    let (usage, limit) = (facts.usage.short(), facts.limit.short());
    let percent = facts.usage_percent.short();
    let plan = &facts.current_plan;
    let is_at = match facts.usage.at_least {
        true => "is",
        false => "is at",
    };
    let resources = facts.meters.first().map_or(0, |meter| meter.resources);
    let over = match resources {
        0 | 1 => String::new(),
        count => format!(" over {}", resources_text("", count)),
    };
    let is_budget = facts.kind == Kind::Budget;
    let share = match facts.usage.unit {
        _ if is_budget => format!(", {percent} of the {} of {limit}", budget(plan)),
        Unit::Of(Metric::UsagePercent) => String::new(),
        _ => format!(", {percent} of the limit of {limit}"),
    };
    let of_plan = match is_budget {
        true => String::new(),
        false => format!(" on the plan {plan}"),
    };
    let sentences = [
        Some(format!("{subject} {is_at} {usage}{over}{share}{of_plan}.")),
        Some(forecast(facts)),
        Some(format!("At the limit, {}.", effect_text(facts))),
        Some(action(facts)),
        benefit(facts),
    ];
    let sentences: Vec<String> = sentences.into_iter().flatten().collect();
    sentences.join(" ")
}

fn forecast(facts: &Facts) -> String {
    let outlook = &facts.outlook;
    let days = &outlook.days_to_limit;
    let mut text = if let Some(period) = &outlook.period {
        let (total, chance) = (&period.total, period.chance_over.short());
        format!(
            "The billing period is forecast to end at {total}, with a chance of {chance} to exceed the limit{}",
            next_period(facts, period)
        )
    } else if days.value.is_some_and(|days| days.is_zero()) {
        "The limit is reached".to_owned()
    } else if days.value.is_some() {
        format!("At this pace the limit is reached in {days}")
    } else if outlook.horizon.value.is_some_and(|days| !days.is_zero()) {
        let horizon = outlook.horizon.short();
        let chances = [&outlook.chance_90, &outlook.chance_30, &outlook.chance_7];
        let chance = chances.into_iter().find(|chance| chance.value.is_some());
        let chance = chance.filter(|chance| !chance.value.is_some_and(|it| it.is_zero()));
        let chance = chance.map(|chance| format!(" (a chance of {})", chance.short()));
        let chance = chance.unwrap_or_default();
        format!("The limit is not expected to be reached within {horizon}{chance}")
    } else if default_kind(facts.metric).0 == MetricKind::Rate {
        "A rate has no forecast".to_owned()
    } else {
        "A forecast requires two readings, an hour apart".to_owned()
    };
    if outlook.low_confidence && outlook.horizon.value.is_some_and(|days| !days.is_zero()) {
        text.push_str("; the confidence is low with less than 28 days of history");
    }
    text + "."
}

/// The reason of a recommendation where this period most likely keeps the limit.
fn next_period(facts: &Facts, period: &PeriodOutlook) -> String {
    let days = &facts.outlook.days_to_limit;
    if let Some(reaches) = Baseline::of(facts).reaches {
        let length = period.to - period.from;
        return match reaches {
            reaches if reaches < period.to => String::new(),
            reaches if reaches < period.to + length => {
                format!("; in the next period, the limit is reached in {days}")
            }
            _ => format!("; in a later period, the limit is reached in {days}"),
        };
    }
    // The chance in this period is a part of it.
    let soon = facts.meters.first().map(|meter| &meter.chance);
    let over = period.chance_over.value.unwrap_or_default();
    let soon = soon.filter(|soon| {
        soon.value
            .is_some_and(|soon| soon - over > over + Decimal::TEN)
    });
    soon.map_or_else(String::new, |soon| {
        format!(
            "; with the next period, it is {} within 30 days",
            soon.short()
        )
    })
}

fn action(facts: &Facts) -> String {
    let money = &facts.money;
    let plan = &facts.current_plan;
    let text = match &facts.target {
        Choice::Change { plan } => {
            let (cost, extra) = (cost(&money.target), extra(facts));
            format!("Recommended: change to the plan {plan}, {cost}{extra}")
        }
        Choice::Stay => {
            let cost = cost(&money.current);
            format!(
                "Recommended: stay on the plan {plan} and pay for usage beyond the limit, {cost}"
            )
        }
        Choice::UseLess => {
            let less = match facts.reduction.value {
                Some(less) if !less.is_zero() => format!(" by {}", facts.reduction.short()),
                _ => String::new(),
            };
            match facts.kind {
                Kind::Budget => format!("Recommended: use less{less}"),
                _ => format!("Recommended: stay on the plan {plan} and use less{less}"),
            }
        }
        Choice::Watch => {
            "Recommended: collect readings for a day before choosing a plan".to_owned()
        }
        Choice::Contract => {
            let reason = match plans_of_unknown_size(facts).as_slice() {
                [] => "no listed plan is large enough".to_owned(),
                [plan] => format!("the included amount of the plan {plan} is unknown"),
                plans => {
                    let plans = plans.join(", ");
                    format!("the included amounts of the plans {plans} are unknown")
                }
            };
            format!("Recommended: ask the provider for a contract, because {reason}")
        }
    };
    match facts.compared.first().and_then(Compared::lacks) {
        None => text + ".",
        Some(lacks) => format!("{text}; {lacks}."),
    }
}

/// The plans that may be large enough, because how much they include is unknown.
fn plans_of_unknown_size(facts: &Facts) -> Vec<&str> {
    let unknown = Against::SizeUnknown.to_string();
    let is_unknown = |one: &&Compared| one.against.as_ref() == Some(&unknown);
    let compared = facts.compared.iter().filter(is_unknown);
    let plans = compared.filter_map(|one| match &one.choice {
        Choice::Change { plan } => Some(plan.as_str()),
        _ => None,
    });
    plans.collect()
}

fn cost(figure: &Figure) -> String {
    match figure.value {
        Some(_) => format!("for {figure} a billing period"),
        None => "at an unknown cost".to_owned(),
    }
}

/// `, $10.00 more than now`, or nothing if it is unknown.
fn extra(facts: &Facts) -> String {
    let extra = &facts.money.extra;
    match extra.value {
        None => String::new(),
        Some(value) if value.is_zero() && !extra.at_least && is_all_usage(facts) => {
            ", with no added cost: usage is billed as before".to_owned()
        }
        Some(value) if value.is_zero() && !extra.at_least => ", as much as now".to_owned(),
        Some(value) if value.is_sign_negative() => {
            format!(", {} less than now", extra.negated().short())
        }
        Some(_) => format!(", {} more than now", extra.short()),
    }
}

/// Whether the recommended plan has no price of its own, so that all of its cost is usage.
fn is_all_usage(facts: &Facts) -> bool {
    let parts = facts.compared.first().map_or(&[][..], |one| &one.parts);
    let fixed = parts.first().and_then(|part| part.amount.value);
    parts.len() > 1 && fixed.is_some_and(|fixed| fixed.is_zero())
}

fn benefit(facts: &Facts) -> Option<String> {
    let money = &facts.money;
    if money.avoided_loss.value.is_some() {
        return Some(format!("It avoids a loss of {}.", money.avoided_loss));
    }
    let even = &money.break_even_revenue;
    let costs = even.value.is_some_and(|even| even > Decimal::ZERO);
    let changes = matches!(facts.target, Choice::Change { .. });
    (costs && changes).then(|| format!("It pays from a revenue of {} on.", even.short()))
}
