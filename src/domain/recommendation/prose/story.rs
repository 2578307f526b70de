//! The content of a recommendation's summary: slots with figures, and the claims that the facts support.
//!
//! A sentence has slots such as `{{usage}}`, which are filled here. The template and a language model both write
//! sentences around slots; a model never sees a figure.

use rust_decimal::Decimal;

use crate::domain::metrics::names::{Metric, Priority, Service};
use crate::domain::plans::AtLimit;
use crate::domain::recommendation::facts::{Choice, Facts, Kind};
use crate::domain::recommendation::figure::Figure;

/// A phrase with a figure or verdict that is correct in any sentence: `a limit of 256 MB`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Lowercase letters and `_`.
    pub name: &'static str,
    /// Description for the writer of sentences, without a figure.
    pub meaning: &'static str,
    pub text: String,
    /// Whether every text must use it.
    pub required: bool,
}

/// The direction of the usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Rising,
    Falling,
    Steady,
    Unknown,
}

/// The cost of the recommended choice compared with the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CostChange {
    More,
    Less,
    Same,
    Unknown,
}

/// Everything that a summary may state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    pub service: Service,
    pub metric: Metric,
    pub kind: Kind,
    pub priority: Priority,
    pub direction: Direction,
    /// The chance of reaching the limit within 30 days is at least 99 %.
    pub certain: bool,
    /// The limit is near, or likely to be reached within 30 days.
    pub pressing: bool,
    pub cost: CostChange,
    pub slots: Vec<Slot>,
}

/// A part of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Words(&'a str),
    /// To be filled with the slot of this name.
    Slot(&'a str),
}

/// Splits a sentence at its slots. Unpaired braces stay in the words.
pub fn pieces(sentence: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = sentence;
    while let Some((words, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else {
            break;
        };
        if !words.is_empty() {
            pieces.push(Piece::Words(words));
        }
        pieces.push(Piece::Slot(name));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Words(rest));
    }
    pieces
}

impl Story {
    pub fn of(facts: &Facts) -> Story {
        /// The percentage of the limit from which on it counts as near.
        const NEAR_PERCENT: u32 = 75;
        let outlook = &facts.outlook;
        let at_least = |figure: &Figure, least: u32| {
            let least = Decimal::from(least);
            figure.value.is_some_and(|value| value >= least)
        };
        // Counters only rise; a gauge rises if it is on its way to a line.
        let is_rising = outlook.period.is_some()
            || outlook.days_to_warning.value.is_some()
            || outlook.days_to_limit.value.is_some();
        let period_over = outlook.period.as_ref().map(|period| &period.chance_over);
        let is_likely = at_least(&outlook.chance_30, 50)
            || period_over.is_some_and(|chance| at_least(chance, 50));
        Story {
            service: facts.service,
            metric: facts.metric,
            kind: facts.kind,
            priority: facts.priority,
            direction: if is_rising {
                Direction::Rising
            } else {
                Direction::Unknown
            },
            certain: at_least(&outlook.chance_30, 99),
            pressing: is_likely || at_least(&facts.usage_percent, NEAR_PERCENT),
            cost: match facts.money.extra.value {
                None => CostChange::Unknown,
                Some(extra) if extra.is_zero() => CostChange::Same,
                Some(extra) if extra.is_sign_negative() => CostChange::Less,
                Some(_) => CostChange::More,
            },
            slots: slots(facts),
        }
    }

    pub fn slot(&self, name: &str) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.name == name)
    }

    /// Fills the slots of sentences and joins them.
    pub fn fill(&self, sentences: &[Vec<Piece<'_>>]) -> String {
        let filled = sentences.iter().map(|pieces| {
            let parts = pieces.iter().map(|piece| match piece {
                Piece::Words(text) => text,
                Piece::Slot(name) => self.slot(name).map_or("", |slot| slot.text.as_str()),
            });
            parts.collect::<String>()
        });
        filled.collect::<Vec<_>>().join(" ")
    }
}

/// The description of a slot for a writer of sentences, without a figure.
fn meaning(slot: &str) -> &'static str {
    match slot {
        "subject" => "the service and its metric",
        "usage" => "the amount in use",
        "limit" => "the limit of the plan",
        "usage_percent" => "the share of the limit in use",
        "current_plan" => "the plan in use",
        "period_total" => "the expected usage of the billing period",
        "chance_over" => "the chance of exceeding the limit in the billing period",
        "days_to_limit" => "the time until the limit is reached",
        "chance" => "the chance of reaching the limit soon",
        "effect" => "the effect of reaching the limit; a main clause",
        "action" => "the recommended action; an infinitive without `to`",
        "extra_cost" => "the cost or saving of the recommended choice",
        "avoided_loss" => "the loss that the recommended choice avoids",
        "break_even_revenue" => "the revenue from which on the recommended choice pays",
        _ => "the basis of the forecast",
    }
}

fn slots(facts: &Facts) -> Vec<Slot> {
    const REQUIRED: [&str; 4] = ["subject", "usage", "action", "extra_cost"];
    let mut slots = Vec::new();
    let mut add = |name: &'static str, text: Option<String>| {
        slots.extend(text.map(|text| Slot {
            name,
            meaning: meaning(name),
            text,
            required: REQUIRED.contains(&name),
        }));
    };
    let (outlook, money) = (&facts.outlook, &facts.money);
    let known = |figure: &Figure| figure.value.map(|_| figure.short());
    let with_interval = |figure: &Figure, name: &str| {
        let (value, interval) = (known(figure)?, figure.interval_text());
        Some(format!("{value} {name}{interval}"))
    };
    let resource = match facts.resource.as_str() {
        "" => String::new(),
        resource => format!(" of {resource}"),
    };
    let subject = format!("{} {}{resource}", facts.service, facts.metric);
    add("subject", Some(subject));
    add("usage", Some(format!("{} in use", facts.usage.short())));
    let limit = known(&facts.limit);
    add("limit", limit.as_ref().map(|it| format!("a limit of {it}")));
    let percent = known(&facts.usage_percent);
    add(
        "usage_percent",
        percent.map(|it| format!("{it} of the limit")),
    );
    add(
        "current_plan",
        Some(format!("the plan {}", facts.current_plan)),
    );
    if let Some(period) = &outlook.period {
        let total = with_interval(&period.total, "in the whole billing period");
        add("period_total", total);
        let chance = known(&period.chance_over);
        let chance = chance.map(|it| format!("a chance of {it} to exceed the limit"));
        add("chance_over", chance);
    } else if limit.is_some() {
        let days = with_interval(&outlook.days_to_limit, "until the limit");
        let days = days.unwrap_or_else(|| match known(&outlook.horizon) {
            Some(horizon) => format!("a limit not reached within {horizon}"),
            None => "an unknown time until the limit".to_owned(),
        });
        add("days_to_limit", Some(days));
        let chance = known(&outlook.chance_30);
        let chance = chance.map(|it| format!("a chance of {it} to reach it within 30 days"));
        add("chance", chance);
    }
    let effect = match facts.at_limit {
        AtLimit::Bill => Some("usage continues and is billed"),
        AtLimit::Pause => Some("the service pauses until the period ends"),
        AtLimit::Throttle => Some("the service becomes slow"),
        AtLimit::Reject => Some("the service answers with errors"),
        AtLimit::Evict => Some("old data is removed"),
        AtLimit::Unknown => None,
    };
    add("effect", effect.map(str::to_owned));
    let action = match &facts.target {
        Choice::Change { plan } => format!("change to the plan {plan}"),
        Choice::Stay => "stay on the plan and pay for usage beyond it".to_owned(),
        Choice::UseLess => "stay on the plan and use less".to_owned(),
        Choice::Contract => "ask the provider for a contract".to_owned(),
    };
    add("action", Some(action));
    add("extra_cost", Some(extra_cost(&money.extra)));
    if let Some(loss) = known(&money.avoided_loss) {
        let interval = money.avoided_loss.interval_text();
        let loss = format!("an avoided loss of {loss}{interval}");
        add("avoided_loss", Some(loss));
    } else {
        let revenue = known(&money.break_even_revenue);
        let revenue = revenue.map(|it| format!("a revenue of {it}"));
        add("break_even_revenue", revenue);
    }
    if outlook.low_confidence {
        add("confidence", Some("little history".to_owned()));
    }
    slots
}

fn extra_cost(extra: &Figure) -> String {
    let Some(value) = extra.value else {
        return "an unknown extra cost".to_owned();
    };
    if value.is_zero() && extra.interval.is_none() {
        return "no added cost".to_owned();
    }
    let (name, cost) = if value.is_sign_negative() {
        ("a saving", extra.negated())
    } else {
        ("an extra cost", extra.clone())
    };
    let (cost, interval) = (cost.short(), cost.interval_text());
    format!("{name} of {cost} a billing period{interval}")
}
