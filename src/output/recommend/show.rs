//! The answer of `recommend show`: one page about one recommendation.

use serde_json::{Map, Value};

use super::forecast::Item;
use super::history::{self, numbered};
use super::list::{now_json, other_metric, recommendation_json};
use super::{plans, resource};
use crate::domain::capacity::{Capacity, resources_text};
use crate::domain::format::counted;
use crate::domain::named::Named;
use crate::domain::recommendation::Recommendation;
use crate::domain::recommendation::facts::{Choice, Compared, Facts, MeterFacts, Projection};
use crate::domain::recommendation::figure::{Figure, Input, Needed, Provenance};
use crate::domain::recommendation::lifecycle::history::Entry;
use crate::domain::recommendation::lifecycle::is_frozen;
use crate::domain::recommendation::lifecycle::transition::version;
use crate::output::prelude::*;
use crate::output::wrap;

#[derive(Debug, Serialize)]
pub struct Summary {
    pub text: String,
    /// The model that wrote it; none for the template.
    pub model: Option<String>,
    /// Why the model's text was refused.
    pub refused: Option<String>,
}

#[derive(Debug)]
pub struct Show<'a> {
    pub recommendation: &'a Recommendation,
    /// None if another program created it.
    pub summary: Option<Summary>,
    /// The current forecast of its metric; none if it was not measured.
    pub live: Option<&'a Item>,
    /// The most urgent limit of its question now.
    pub now: Option<&'a Capacity>,
    pub history: &'a [Entry],
    /// Whether the table has everything, and not only one screen.
    pub all: bool,
}

/// Characters in a line of a paragraph.
const WIDTH: usize = 100;

fn paragraph(text: &str) -> String {
    let lines = wrap(&printable(text), WIDTH).into_iter();
    lines.map(|line| line + "\n").collect()
}

impl Show<'_> {
    fn head(&self) -> String {
        let it = self.recommendation;
        let version = version(it, self.history.len());
        let resource = match resource(it) {
            "" => String::new(),
            resource => format!(" of {}", printable(resource)),
        };
        let metric = it.metric.map_or(format::DASH, Named::as_str);
        format!(
            "{} {metric}{resource}: {}\n{}, {}, version {version}, id {}\n\n",
            it.service,
            printable(&plans(it)),
            it.priority,
            it.status,
            printable(&it.id),
        )
    }

    fn outcome(&self) -> Option<Map<String, Value>> {
        let tracking = self.recommendation.tracking.as_ref()?;
        serde_json::from_str(tracking.outcome.as_ref()?).ok()
    }

    fn paragraph(&self) -> String {
        let Some(summary) = &self.summary else {
            return paragraph(&self.recommendation.reason);
        };
        let mut text = paragraph(&summary.text);
        if let Some(model) = &summary.model {
            let model = printable(model);
            text.push_str(&format!("(written by {model})\n"));
        }
        text
    }

    /// The utilization that was decided on, beside the current one.
    fn decided_and_now(&self) -> Option<String> {
        let it = self.recommendation;
        let now = self.now.filter(|_| is_frozen(it.status))?;
        let facts = it.facts().map(|facts| facts.usage_percent.short());
        let then = || it.numbers.usage_percent.map(format::percent);
        let then = facts.or_else(then).unwrap_or_else(|| "unknown".to_owned());
        let (state, other) = (now.state, other_metric(it, now));
        let share = now.percent().map(format::percent);
        let share = share.unwrap_or_else(|| format::DASH.to_owned());
        let share = format::at_least(share, now.is_at_least());
        let now = [share]
            .into_iter()
            .chain(other)
            .collect::<Vec<_>>()
            .join(" ");
        let status = it.status;
        Some(format!(
            "{status} at {then} of the limit; now {now}, {state}\n"
        ))
    }
}

fn pairs(headers: [&'static str; 2], rows: Vec<(String, String)>) -> String {
    let columns = [
        Column::table_only(headers[0], |row: &(String, String)| Cell::text(&row.0)),
        Column::table_only(headers[1], |row: &(String, String)| Cell::text(&row.1)),
    ];
    columns::table(&columns, &rows, None)
}

fn outcome_table(outcome: &Map<String, Value>) -> String {
    let row = |(name, value): (&String, &Value)| {
        let value = match value {
            Value::Null => "unknown".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        (name.replace('_', " "), value)
    };
    pairs(["OUTCOME", "VALUE"], outcome.iter().map(row).collect())
}

fn figures(facts: &Facts) -> String {
    let row = |(name, figure): (&str, &Figure)| (name.replace('_', " "), figure.to_string());
    let rows = facts.figures().into_iter().map(row).collect();
    pairs(["FIGURE", "VALUE"], rows)
}

fn compared(facts: &Facts, choices: &[Compared], width: Option<usize>) -> String {
    type Col<'a> = Column<'a, Compared>;
    let current = &facts.current_plan;
    let columns = [
        Col::table_only("CHOICE", |one| {
            Cell::text(match &one.choice {
                Choice::Change { plan } => plan.clone(),
                Choice::Stay | Choice::UseLess | Choice::Watch => {
                    format!("{current} ({})", one.choice)
                }
                Choice::Contract => "contract".to_owned(),
            })
        }),
        Col::right("INCLUDED", "", |one| match one.unlimited {
            true => Cell::text("unlimited"),
            false => Cell::text(one.included.short()),
        }),
        Col::right("TOO SMALL", "", |one| {
            Cell::text(match one.chance_exceeded.value {
                None if !one.unmeasured.is_empty() => "not measured".to_owned(),
                _ => one.chance_exceeded.short(),
            })
        })
        .dropped(1),
        Col::right("COST", "", |one| {
            // One range of costs is enough: that of the recommended choice.
            Cell::text(match &one.against {
                None => one.cost.to_string(),
                Some(_) => one.cost.short(),
            })
        }),
        Col::table_only("WHY NOT", |one| {
            let meters = |names: &[String]| counted(names.len() as u64, "meter");
            let against = one.against.as_ref();
            // The paragraph of the recommended plan, and --all, name them.
            let is_short = against.is_some() && choices.len() <= 3;
            match (one.unmeasured.as_slice(), one.unforecast.as_slice()) {
                (unmeasured @ [_, ..], _) if is_short => {
                    Cell::text(format!("{} not measured", meters(unmeasured)))
                }
                ([], unforecast @ [_, ..]) if is_short => {
                    Cell::text(format!("{} without a forecast yet", meters(unforecast)))
                }
                _ => Cell::maybe(against),
            }
        }),
    ];
    let mut text = columns::table_or("", &columns, choices, width);
    if let Some(first) = facts.compared.first()
        && first.parts.len() > 1
    {
        let parts = first.parts.iter();
        let parts = parts.map(|part| format!("{} {}", part.name, part.amount.short()));
        let parts = parts.collect::<Vec<_>>().join(", ");
        text.push_str(&paragraph(&format!("Cost of {}: {parts}", first.choice)));
    }
    text
}

/// The recommended choice, staying, and the plan that costs the least of the others that are large enough.
fn three(facts: &Facts) -> Vec<Compared> {
    let all = &facts.compared;
    let stay = all.iter().position(|one| one.choice == Choice::Stay);
    let is_large = |one: &Compared| {
        let against = one.against.as_deref();
        let fits = matches!(against, Some("costs more" | "costs the same"))
            || against.is_some() && against == one.lacks().as_deref();
        matches!(one.choice, Choice::Change { .. }) && fits
    };
    let others = (1..all.len()).filter(|index| is_large(&all[*index]));
    let next = others.min_by_key(|index| all[*index].expected_cost.value);
    let mut shown: Vec<usize> = [Some(0), stay, next].into_iter().flatten().collect();
    shown.sort_unstable();
    shown.dedup();
    let shown = shown.into_iter().filter_map(|index| all.get(index));
    shown.cloned().collect()
}

fn meters(facts: &Facts) -> String {
    /// A plan with more limits needs more than one screen.
    const SHOWN: usize = 4;
    type Col<'a> = Column<'a, MeterFacts>;
    let shown = &facts.meters[..facts.meters.len().min(SHOWN)];
    let columns = [
        Col::table_only("METRIC", |it| {
            Cell::text(format!("{} {}", it.service, it.metric))
        }),
        Col::table_only("RESOURCE", |it| {
            Cell::Text(resources_text(&it.resource, it.resources))
        })
        .if_any(),
        Col::table_only("STATE", |it| Cell::text(it.state)),
        Col::right("USED", "", |it| Cell::text(it.usage.short())),
        Col::right("LIMIT", "", |it| Cell::text(it.limit.short())),
        Col::right("% OF LIMIT", "", |it| Cell::text(it.usage_percent.short())),
        Col::right("DAYS TO LIMIT", "", |it| {
            Cell::maybe(it.days_to_limit.value)
        }),
    ];
    columns::table_or("", &columns, shown, None)
}

fn projections(facts: &Facts) -> String {
    type Col<'a> = Column<'a, Projection>;
    let money = |figure: &Figure| Cell::text(figure.short());
    let columns = [
        Col::right("BILLING PERIODS", "", |one| Cell::count(one.periods)),
        Col::right("CURRENT PLAN", "", |one| money(&one.current)),
        Col::right("AFTER CHANGE", "", |one| money(&one.target)),
        Col::right("CHEAPEST", "", |one| money(&one.cheapest)),
        Col::table_only("EXTRA COST", |one| Cell::text(&one.extra)),
        Col::table_only("BASIS", |one| match one.extrapolated {
            true => Cell::text("extrapolated"),
            false => Cell::text("forecast"),
        }),
    ];
    columns::table_or("", &columns, &facts.money.projections, None)
}

/// The source of an input; for an unknown one, how to make it known.
fn source(input: &Input, facts: &Facts) -> String {
    match &input.provenance {
        Provenance::Measured { at } => format!("measured at {}", format::time(*at)),
        Provenance::Catalogue {
            source,
            page_date,
            version,
        } => {
            let [source, version] = [source, version].map(|it| it.as_deref().unwrap_or("unknown"));
            let date = page_date.as_deref().unwrap_or("undated");
            format!("catalogue {version}: {source}, {date}")
        }
        Provenance::User => "set by you".to_owned(),
        Provenance::Unknown { needs } => match needs {
            Needed::Measurement => "run usagectl collect run".to_owned(),
            Needed::Plan => {
                let provider = facts.provider.as_deref().unwrap_or("PROVIDER");
                format!("run usagectl limits plan {provider} PLAN")
            }
            Needed::Price => "ask the provider".to_owned(),
            Needed::Input => format!("run usagectl recommend inputs set {} VALUE", input.name),
        },
    }
}

fn inputs(facts: &Facts) -> String {
    type Col<'a> = Column<'a, Input>;
    let columns = [
        Col::table_only("INPUT", |input| Cell::text(&input.name)),
        Col::table_only("VALUE", |input| {
            Cell::text(input.value.as_deref().unwrap_or("unknown"))
        }),
        Col::table_only("SOURCE", |input| Cell::text(source(input, facts))),
    ];
    columns::table_or("", &columns, &facts.inputs, None)
}

impl Answer for Show<'_> {
    /// One screen: the paragraph, the limits, three plans and one range of costs; or everything.
    fn table(&self, width: Option<usize>) -> String {
        let it = self.recommendation;
        let facts = it.facts();
        let section = |table: &dyn Fn(&Facts) -> String| facts.map(table);
        let sections = if self.all {
            let chart = || self.live.map_or("not measured\n".to_owned(), Item::drawn);
            let history = numbered(self.history);
            vec![
                it.metric.map(|_| chart()),
                section(&figures),
                section(&|facts| compared(facts, &facts.compared, width)),
                section(&projections),
                section(&inputs),
                self.outcome().as_ref().map(outcome_table),
                Some(columns::table_or("", &history::columns(), &history, width)),
            ]
        } else {
            let id = printable(&it.id);
            vec![
                section(&meters),
                section(&|facts| compared(facts, &three(facts), width)),
                Some(format!("More: usagectl recommend show {id} --all\n")),
            ]
        };
        let mut text = self.head() + &self.paragraph();
        text.extend(self.decided_and_now());
        for section in sections.into_iter().flatten().filter(|it| !it.is_empty()) {
            text.push_str(&format!("\n{section}"));
        }
        text
    }

    fn json(&self) -> impl Serialize {
        object! {
            recommendation: recommendation_json(self.recommendation),
            narrative: self.summary.as_ref().map(|it| {
                let source = it.model.as_ref().map_or("template", |_| "model");
                object! { source: source, ..it }
            }),
            live: self.live.map(Item::json),
            now: now_json(self.now),
            outcome: self.outcome(),
            history: numbered(self.history),
        }
    }

    /// Every figure with its interval.
    fn csv(&self) -> Vec<Vec<String>> {
        type Row<'a> = (&'static str, &'a Figure);
        type Col<'a> = Column<'a, Row<'a>>;
        let columns = [
            Col::csv_only("figure", |row| Cell::text(row.0)),
            Col::csv_only("value", |row| Cell::maybe(row.1.value)),
            Col::csv_only("low", |row| Cell::maybe(row.1.interval.map(|it| it.low))),
            Col::csv_only("high", |row| {
                Cell::maybe(row.1.interval.and_then(|it| it.high))
            }),
            Col::csv_only("bound", |row| Cell::text(row.1.bound())),
        ];
        let figures = self.recommendation.facts().map(Facts::figures);
        columns::csv(&columns, &figures.unwrap_or_default())
    }
}

/// The request that `--ai` would send; the key is named and not printed.
#[derive(Debug)]
pub struct AiRequest {
    pub url: String,
    pub key_variable: Option<String>,
    pub body: Value,
}

impl Answer for AiRequest {
    fn table(&self, _width: Option<usize>) -> String {
        let key = self.key_variable.as_ref().map_or(String::new(), |name| {
            format!("Authorization: Bearer (the value of {name})\n")
        });
        let (url, body) = (&self.url, &self.body);
        format!("POST {url}\nContent-Type: application/json\n{key}\n{body}\n")
    }

    fn json(&self) -> impl Serialize {
        object! {
            url: &self.url,
            key_variable: self.key_variable.as_deref(),
            body: &self.body,
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = ["url", "body"].map(str::to_owned);
        let row = [self.url.clone(), self.body.to_string()];
        vec![header.to_vec(), row.to_vec()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraph_wraps_at_spaces() {
        let text = paragraph(&"word ".repeat(30));
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH));
        assert_eq!(text.split_whitespace().count(), 30);
        assert_eq!(paragraph("a\u{1b}[31m"), "a\\u{1b}[31m\n");
    }
}
