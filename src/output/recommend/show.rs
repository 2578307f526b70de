//! What `recommend show` answers: one page about one recommendation.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};

use super::forecast::{Item, ItemJson};
use super::history::{EntryJson, entries_json, entries_table};
use super::list::RecommendationJson;
use crate::domain::metrics::names::Status;
use crate::domain::named::Named;
use crate::domain::period::shown;
use crate::domain::recommendation::Recommendation;
use crate::domain::recommendation::facts::{Choice, Compared, Facts};
use crate::domain::recommendation::history::Entry;
use crate::domain::recommendation::prose::template::Prose;
use crate::domain::recommendation::transition::standing;
use crate::output::table::{Side, layout};
use crate::output::{Answer, printable};

/// All there is to know about a recommendation.
#[derive(Debug)]
pub struct Show<'a> {
    pub recommendation: &'a Recommendation,
    /// In words; none if another program made it.
    pub prose: Option<&'a Prose>,
    /// Where its metric is heading now; nothing if it was not measured.
    pub live: Option<&'a Item>,
    pub history: &'a [Entry],
}

#[derive(Serialize)]
struct ShowJson<'a> {
    recommendation: RecommendationJson<'a>,
    narrative: Option<ProseJson<'a>>,
    /// As `recommend forecast` tells it; null if nothing was measured.
    live: Option<ItemJson<'a>>,
    /// What was predicted and what came of it; null until it was measured.
    outcome: Option<Value>,
    history: Vec<EntryJson<'a>>,
}

#[derive(Serialize)]
struct ProseJson<'a> {
    /// `template` or `model`.
    source: &'static str,
    text: &'a str,
    model: Option<&'a str>,
    refused: Option<&'a str>,
    written_at: Option<DateTime<Utc>>,
}

impl<'a> From<&'a Prose> for ProseJson<'a> {
    fn from(prose: &'a Prose) -> ProseJson<'a> {
        let model = prose.model();
        ProseJson {
            source: if model.is_some() { "model" } else { "template" },
            text: prose.text(),
            model,
            refused: prose.refused(),
            written_at: match prose {
                Prose::Written(narrative) => Some(narrative.created_at),
                Prose::Template(_) => None,
            },
        }
    }
}

/// How wide a paragraph is.
const WIDTH: usize = 100;

/// Breaks a text into lines between its words.
fn wrapped(text: &str) -> String {
    let mut lines = String::new();
    let mut length = 0;
    for word in printable(text).split_whitespace() {
        let word_length = word.chars().count();
        if length > 0 && length + 1 + word_length > WIDTH {
            lines.push('\n');
            length = 0;
        }
        if length > 0 {
            lines.push(' ');
            length += 1;
        }
        lines.push_str(word);
        length += word_length;
    }
    lines.push('\n');
    lines
}

fn choice(choice: &Choice, current_plan: &str) -> String {
    match choice {
        Choice::Change { plan } => plan.clone(),
        Choice::Stay => format!("{current_plan} (stay and pay)"),
        Choice::UseLess => format!("{current_plan} (use less)"),
        Choice::Contract => "a contract".to_owned(),
    }
}

impl Show<'_> {
    fn head(&self) -> String {
        let it = self.recommendation;
        let version = standing(it, self.history.len()).version;
        let resource = it.own.as_ref().map_or("", |own| own.resource.as_str());
        let of = match resource {
            "" => String::new(),
            resource => format!(" of {}", printable(resource)),
        };
        let plans = if it.current_plan == it.recommended_plan {
            it.current_plan.clone()
        } else {
            format!("{} -> {}", it.current_plan, it.recommended_plan)
        };
        format!(
            "{} {}{of}: {}\n{}, {}, version {version}, id {}\n\n",
            it.service,
            it.metric.map_or("", Named::as_str),
            printable(&plans),
            it.priority,
            it.status,
            printable(&it.id),
        )
    }

    /// What came of it, as it was measured a fortnight after it was done, or later.
    fn outcome(&self) -> Option<Value> {
        let own = self.recommendation.own.as_ref()?;
        serde_json::from_str(own.outcome.as_ref()?).ok()
    }

    fn words(&self) -> String {
        let it = self.recommendation;
        let Some(prose) = self.prose else {
            return wrapped(&it.reason);
        };
        let mut text = wrapped(prose.text());
        if let Some(model) = prose.model() {
            text.push_str(&format!(
                "(sentences by {}, figures by usagectl)\n",
                printable(model)
            ));
        }
        text
    }
}

/// The outcome, a line for each of its fields.
fn outcome_table(outcome: &Map<String, Value>) -> String {
    let rows = outcome.iter().map(|(name, value)| {
        let value = match value {
            Value::Null => "unknown".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        vec![name.replace('_', " "), value]
    });
    layout(&[("OUTCOME", Side::Left), ("VALUE", Side::Left)], rows)
}

/// What was approved beside what is measured now.
fn then_and_now(facts: &Facts, live: Option<&Item>) -> String {
    let columns = [
        ("FIGURE", Side::Left),
        ("APPROVED", Side::Left),
        ("NOW", Side::Left),
    ];
    let now = |words: fn(&Item) -> String| live.map_or_else(|| "unknown".to_owned(), words);
    let measured = |item: &Item| {
        let newest = item.newest.as_ref();
        newest.map_or_else(String::new, |newest| shown(newest.at))
    };
    let rows = [
        ("in use", facts.usage.short(), now(Item::now_in_words)),
        (
            "of the limit",
            facts.usage_percent.short(),
            now(Item::share_in_words),
        ),
        (
            "days to the limit",
            facts.outlook.days_to_limit.to_string(),
            now(Item::days_to_limit_in_words),
        ),
        ("measured", shown(facts.measured_at), now(measured)),
    ];
    let rows = rows.into_iter();
    layout(
        &columns,
        rows.map(|(name, then, now)| vec![name.to_owned(), then, now]),
    )
}

fn figures(facts: &Facts) -> String {
    let rows = facts
        .figures()
        .into_iter()
        .map(|(_, meaning, figure)| vec![meaning.to_owned(), figure.to_string()]);
    layout(&[("FIGURE", Side::Left), ("VALUE", Side::Left)], rows)
}

fn compared(facts: &Facts) -> String {
    let columns = [
        ("CHOICE", Side::Left),
        ("INCLUDED", Side::Left),
        ("TOO SMALL IN", Side::Right),
        ("COST A BILLING PERIOD", Side::Left),
        ("MADE OF", Side::Left),
        ("WHY NOT", Side::Left),
    ];
    let row = |one: &Compared| {
        let parts = one.parts.iter();
        let parts = parts.map(|part| format!("{} {}", part.name, part.amount.short()));
        vec![
            choice(&one.choice, &facts.current_plan),
            match one.unlimited {
                true => "without limit".to_owned(),
                false => one.included.short(),
            },
            one.chance_exceeded.short(),
            one.cost.to_string(),
            parts.collect::<Vec<_>>().join(", "),
            one.against.clone().unwrap_or_default(),
        ]
    };
    layout(&columns, facts.compared.iter().map(row))
}

fn projections(facts: &Facts) -> String {
    let columns = [
        ("BILLING PERIODS", Side::Right),
        ("NOW", Side::Left),
        ("AFTER", Side::Left),
        ("CHEAPEST", Side::Left),
        ("EXTRA", Side::Left),
        ("", Side::Left),
    ];
    let rows = facts.money.projections.iter().map(|one| {
        vec![
            one.periods.to_string(),
            one.current.to_string(),
            one.target.to_string(),
            one.cheapest.to_string(),
            one.extra.to_string(),
            match one.extrapolated {
                true => "beyond the forecast".to_owned(),
                false => String::new(),
            },
        ]
    });
    layout(&columns, rows)
}

fn inputs(facts: &Facts) -> String {
    let columns = [
        ("INPUT", Side::Left),
        ("VALUE", Side::Left),
        ("FROM", Side::Left),
    ];
    let rows = facts.inputs.iter().map(|input| {
        let value = input.value.clone();
        vec![
            input.name.clone(),
            value.unwrap_or_else(|| "unknown".to_owned()),
            input.provenance.to_string(),
        ]
    });
    layout(&columns, rows)
}

fn missing(facts: &Facts) -> String {
    let rows = facts
        .missing
        .iter()
        .map(|missing| vec![missing.name.clone(), missing.unlocks.clone()]);
    layout(
        &[("NOT GIVEN", Side::Left), ("WOULD TELL", Side::Left)],
        rows,
    )
}

impl Answer for Show<'_> {
    fn table(&self, _width: Option<usize>) -> String {
        let mut text = self.head() + &self.words();
        let mut add = |there: bool, part: &dyn Fn() -> String| {
            if there {
                text.push('\n');
                text.push_str(&part());
            }
        };
        let nothing = || "nothing was measured\n".to_owned();
        add(self.recommendation.metric.is_some(), &|| {
            self.live.map_or_else(nothing, Item::drawn)
        });
        if let Some(facts) = self.recommendation.facts() {
            let approved = self.recommendation.status == Status::Approved;
            add(approved, &|| then_and_now(facts, self.live));
            add(true, &|| figures(facts));
            add(!facts.compared.is_empty(), &|| compared(facts));
            add(!facts.money.projections.is_empty(), &|| projections(facts));
            add(!facts.inputs.is_empty(), &|| inputs(facts));
            add(!facts.missing.is_empty(), &|| missing(facts));
        }
        if let Some(Value::Object(outcome)) = &self.outcome() {
            add(true, &|| outcome_table(outcome));
        }
        add(!self.history.is_empty(), &|| entries_table(self.history));
        text
    }

    fn json(&self) -> impl Serialize {
        ShowJson {
            recommendation: self.recommendation.into(),
            narrative: self.prose.map(Into::into),
            live: self.live.map(ItemJson::new),
            outcome: self.outcome(),
            history: entries_json(self.history),
        }
    }

    /// Every figure: its name, value, bounds and unit.
    fn csv(&self) -> Vec<Vec<String>> {
        let header = ["figure", "value", "low", "high"].map(str::to_owned);
        let mut rows = vec![header.to_vec()];
        let Some(facts) = self.recommendation.facts() else {
            return rows;
        };
        for (name, _, figure) in facts.figures() {
            let bound = |bound: Option<rust_decimal::Decimal>| {
                bound.map_or(String::new(), |bound| bound.to_string())
            };
            rows.push(vec![
                name.to_owned(),
                bound(figure.value),
                bound(figure.interval.map(|interval| interval.low)),
                bound(figure.interval.map(|interval| interval.high)),
            ]);
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paragraph_is_broken_between_words() {
        let text = wrapped(&"word ".repeat(30));
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH));
        assert_eq!(text.split_whitespace().count(), 30);
        assert_eq!(wrapped("a\u{1b}[31m"), "a\\u{1b}[31m\n");
    }
}
