//! What a recommendation says in words. Every figure in them is ours: a text has slots, and this file fills them.
//!
//! The template is always there and always the same for the same facts. A language model may be asked for other
//! sentences (`crate::llm`); it sees the names of slots and never what is in them, `verifier` reads
//! what it wrote, and the filled text is read once more: two locks that share no line.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use super::verifier;
use super::verifier::{Piece, Refusal};
use crate::domain::metrics::names::{Metric, Priority, Service};
use crate::domain::plans::AtLimit;
use crate::domain::recommendation::facts::{Choice, Facts, Kind};
use crate::domain::recommendation::figure::{Figure, Interval};

/// A figure, or a verdict, in words that say by themselves what it is: `a limit of 256 MB`. Wherever a sentence
/// puts it, it says nothing wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its name, of small letters and `_`.
    pub name: &'static str,
    /// What it is, for whoever writes sentences; without a figure.
    pub meaning: &'static str,
    /// What it is filled with.
    pub text: String,
    /// Whether no text may do without it.
    pub required: bool,
}

/// Which way the use goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Rising,
    Falling,
    Steady,
    /// The facts do not say.
    Unknown,
}

/// What the recommended choice costs, beside the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoneyWord {
    More,
    Less,
    Same,
    Unknown,
}

/// Everything that prose about a recommendation may say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    pub service: Service,
    pub metric: Metric,
    pub kind: Kind,
    pub priority: Priority,
    /// Which way the use goes.
    pub direction: Direction,
    /// Whether the limit is as good as reached: its chance is 99 % or more.
    pub certain: bool,
    /// Whether the limit is near, or likely to be reached within a month.
    pub pressing: bool,
    /// What the answer does to the cost.
    pub money: MoneyWord,
    /// What sentences can be filled with.
    pub slots: Vec<Slot>,
}

/// Prose that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Narrative {
    /// Of the facts it tells of; others are another story.
    pub facts_hash: String,
    pub model: String,
    pub text: String,
    /// Why it is the template, and not what the model wrote.
    pub refused: Option<String>,
    pub created_at: DateTime<Utc>,
}

impl Narrative {
    /// Whether it is what this model wrote about these facts.
    pub fn is_of(&self, facts_hash: &str, model: &str) -> bool {
        self.refused.is_none() && self.facts_hash == facts_hash && self.model == model
    }
}

/// The prose of a recommendation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prose {
    Template(String),
    /// A language model was asked; it may be ours all the same.
    Written(Narrative),
}

impl Prose {
    /// What it says.
    pub fn text(&self) -> &str {
        match self {
            Prose::Template(text) => text,
            Prose::Written(narrative) => &narrative.text,
        }
    }

    /// The model that wrote it, if one did.
    pub fn model(&self) -> Option<&str> {
        match self {
            Prose::Written(narrative) if narrative.refused.is_none() => Some(&narrative.model),
            _ => None,
        }
    }

    /// Why it is the template though a model was asked.
    pub fn refused(&self) -> Option<&str> {
        match self {
            Prose::Written(narrative) => narrative.refused.as_deref(),
            Prose::Template(_) => None,
        }
    }
}

/// A share of the limit from which on it may be called near.
const NEAR_PERCENT: u32 = 75;

/// The template: of each group, the first sentence whose slots are all there.
const TEMPLATE: &[&[&str]] = &[
    &[
        "{{subject}} has {{usage}}, {{usage_percent}}, on {{current_plan}} with {{limit}}.",
        "{{subject}} has {{usage}} on {{current_plan}}.",
    ],
    &[
        "The forecast is {{period_total}}, with {{chance_over}}.",
        "The forecast is {{days_to_limit}}, with {{chance}}.",
        "The forecast is {{days_to_limit}}.",
    ],
    &["At the limit, {{effect}}."],
    &["The recommendation is to {{action}}, with {{extra_cost}}."],
    &[
        "Against that stands {{avoided_loss}}.",
        "It is worth it from {{break_even_revenue}}.",
    ],
    &["All of this rests on {{confidence}}."],
];

impl Story {
    /// What can be said of `facts`.
    pub fn of(facts: &Facts) -> Story {
        let outlook = &facts.outlook;
        let at_least = |figure: &Figure, least: u32| {
            let least = Decimal::from(least);
            figure.value.is_some_and(|value| value >= least)
        };
        // Counters only rise; a level does if it is on its way to a line.
        let rising = outlook.period.is_some()
            || outlook.days_to_warning.value.is_some()
            || outlook.days_to_limit.value.is_some();
        let likely = at_least(&outlook.chance_30, 50)
            || outlook
                .period
                .as_ref()
                .is_some_and(|period| at_least(&period.chance_over, 50));
        Story {
            service: facts.service,
            metric: facts.metric,
            kind: facts.kind,
            priority: facts.priority,
            direction: match rising {
                true => Direction::Rising,
                false => Direction::Unknown,
            },
            certain: at_least(&outlook.chance_30, 99),
            pressing: likely || at_least(&facts.usage_percent, NEAR_PERCENT),
            money: match facts.money.extra.value {
                None => MoneyWord::Unknown,
                Some(extra) if extra.is_zero() => MoneyWord::Same,
                Some(extra) if extra.is_sign_negative() => MoneyWord::Less,
                Some(_) => MoneyWord::More,
            },
            slots: slots(facts),
        }
    }

    /// The text that is always there.
    pub fn template(&self) -> String {
        let sentences: Vec<&str> = TEMPLATE
            .iter()
            .filter_map(|group| group.iter().find(|text| self.has_slots_of(text)).copied())
            .collect();
        let pieces: Vec<Vec<Piece>> = sentences
            .iter()
            .map(|text| verifier::pieces(text))
            .collect();
        self.fill(&pieces)
    }

    /// The text that somebody else's sentences make.
    pub fn tell(&self, sentences: &[String]) -> Result<String, Refusal> {
        let pieces = verifier::verify(sentences, self)?;
        let text = self.fill(&pieces);
        let slots = pieces.iter().flatten().filter_map(|piece| match piece {
            Piece::Slot(name) => self.slot(name),
            Piece::Words(_) => None,
        });
        let ours: Vec<&str> = slots
            .flat_map(|slot| verifier::numbers(&slot.text))
            .collect();
        if verifier::numbers(&text) == ours {
            Ok(text)
        } else {
            Err(Refusal::Numbers)
        }
    }

    fn slot(&self, name: &str) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.name == name)
    }

    fn has_slots_of(&self, sentence: &str) -> bool {
        verifier::pieces(sentence).iter().all(|piece| match piece {
            Piece::Slot(name) => self.slot(name).is_some(),
            Piece::Words(_) => true,
        })
    }

    fn fill(&self, sentences: &[Vec<Piece>]) -> String {
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

fn slots(facts: &Facts) -> Vec<Slot> {
    let mut slots = Slots(Vec::new());
    let (outlook, money) = (&facts.outlook, &facts.money);
    let of = match facts.resource.as_str() {
        "" => String::new(),
        resource => format!(" of {resource}"),
    };
    slots.must(
        "subject",
        "the metric of the service that this is about",
        format!("{} {}{of}", facts.service, facts.metric),
    );
    slots.must(
        "usage",
        "the amount in use",
        format!("{} in use", facts.usage.short()),
    );
    if facts.limit.value.is_some() {
        slots.may(
            "limit",
            "the limit of the plan",
            format!("a limit of {}", facts.limit.short()),
        );
    }
    if facts.usage_percent.value.is_some() {
        let percent = facts.usage_percent.short();
        slots.may(
            "usage_percent",
            "the share of the limit in use",
            format!("{percent} of the limit"),
        );
    }
    slots.may(
        "current_plan",
        "the plan in use",
        format!("the plan {}", facts.current_plan),
    );
    if let Some(period) = &outlook.period {
        if period.total.value.is_some() {
            slots.may(
                "period_total",
                "the amount to be expected of the billing period",
                format!(
                    "{} in the whole billing period{}",
                    period.total.short(),
                    interval(&period.total)
                ),
            );
        }
        if period.chance_over.value.is_some() {
            let chance = period.chance_over.short();
            slots.may(
                "chance_over",
                "the chance that the billing period goes over the limit",
                format!("a chance of {chance} to go over the limit"),
            );
        }
    } else if facts.limit.value.is_some() {
        let days = &outlook.days_to_limit;
        let text = match (days.value, outlook.horizon.value) {
            (Some(_), _) => format!("{} until the limit{}", days.short(), interval(days)),
            (None, Some(_)) => format!("a limit out of reach for {}", outlook.horizon.short()),
            (None, None) => "an unknown time until the limit".to_owned(),
        };
        slots.may(
            "days_to_limit",
            "the time that is left until the limit",
            text,
        );
        if outlook.chance_30.value.is_some() {
            let chance = outlook.chance_30.short();
            slots.may(
                "chance",
                "the chance that the limit is reached soon",
                format!("a chance of {chance} to reach it within 30 days"),
            );
        }
    }
    let effect = match facts.at_limit {
        AtLimit::Bill => Some("use goes on and is billed"),
        AtLimit::Pause => Some("the service pauses until the period ends"),
        AtLimit::Throttle => Some("the service becomes slow"),
        AtLimit::Reject => Some("the service answers with errors"),
        AtLimit::Evict => Some("old data is removed"),
        AtLimit::Unknown => None,
    };
    if let Some(effect) = effect {
        slots.may(
            "effect",
            "what happens at the limit; a clause of its own",
            effect.to_owned(),
        );
    }
    let action = match &facts.target {
        Choice::Change { plan } => format!("change to the plan {plan}"),
        Choice::Stay => "stay on the plan and pay for what goes beyond it".to_owned(),
        Choice::UseLess => "stay on the plan and use less".to_owned(),
        Choice::Contract => "ask the provider for a contract".to_owned(),
    };
    slots.must("action", "what to do; an infinitive without `to`", action);
    slots.must(
        "extra_cost",
        "what the recommended choice adds to the cost, or saves",
        extra_cost(&money.extra),
    );
    if money.avoided_loss.value.is_some() {
        let loss = &money.avoided_loss;
        let text = format!("an avoided loss of {}{}", loss.short(), interval(loss));
        slots.may(
            "avoided_loss",
            "the loss that the recommended choice avoids",
            text,
        );
    } else if money.break_even_revenue.value.is_some() {
        let revenue = money.break_even_revenue.short();
        slots.may(
            "break_even_revenue",
            "what the service must earn for the recommended choice to be worth it",
            format!("a revenue of {revenue}"),
        );
    }
    if outlook.low_confidence {
        slots.may(
            "confidence",
            "how far the forecast can be trusted",
            "little history".to_owned(),
        );
    }
    slots.0
}

struct Slots(Vec<Slot>);

impl Slots {
    fn must(&mut self, name: &'static str, meaning: &'static str, text: String) {
        self.0.push(Slot {
            name,
            meaning,
            text,
            required: true,
        });
    }

    fn may(&mut self, name: &'static str, meaning: &'static str, text: String) {
        self.0.push(Slot {
            name,
            meaning,
            text,
            required: false,
        });
    }
}

fn extra_cost(extra: &Figure) -> String {
    let Some(value) = extra.value else {
        return "an extra cost that is unknown".to_owned();
    };
    if value.is_zero() && extra.interval.is_none() {
        return "no added cost".to_owned();
    }
    if !value.is_sign_negative() {
        return format!(
            "an extra cost of {} a billing period{}",
            extra.short(),
            interval(extra)
        );
    }
    let saving = match extra.interval {
        Some(Interval { low, high }) => Figure::between(-value, -high, -low, extra.unit),
        None => Figure::exact(-value, extra.unit),
    };
    format!(
        "a saving of {} a billing period{}",
        saving.short(),
        interval(&saving)
    )
}

/// ` (80 %: 22 to 58)`, or nothing.
fn interval(figure: &Figure) -> String {
    let (short, whole) = (figure.short(), figure.to_string());
    whole.strip_prefix(&short).unwrap_or_default().to_owned()
}
