//! The fields that a language model writes about a recommendation.
//!
//! The model receives the facts as JSON and answers with short fields in a fixed form. A field with a number of this
//! unit, a plan or a name that is not in the facts is dropped. The other words are the model's own and unchecked, so its text is labelled
//! with its name.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::summary::{effect, subject};
use crate::domain::recommendation::facts::Facts;

/// The longest field, in characters.
pub const FIELD_LENGTH: usize = 240;

/// The answer of the model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Fields {
    /// How near the limit is.
    pub situation: String,
    /// What to do, and at what cost.
    pub action: String,
    /// What may go wrong.
    pub risk: String,
}

impl Fields {
    pub const NAMES: [&str; 3] = ["situation", "action", "risk"];

    /// The accepted fields as one text; `None` without the first two, which every summary requires.
    pub fn text(&self, facts: &Map<String, Value>, plans: &[String]) -> Option<String> {
        let known = Known::of(facts);
        let fields = [&self.situation, &self.action, &self.risk];
        let [situation, action, risk] = fields.map(|field| {
            let field = field.trim();
            known.accepts(field, plans).then_some(field)
        });
        let fields = [Some(situation?), Some(action?), risk];
        Some(fields.into_iter().flatten().collect::<Vec<_>>().join(" "))
    }
}

/// The facts that the model receives: formatted figures by name.
pub fn facts_json(facts: &Facts) -> Map<String, Value> {
    let mut json = Map::new();
    let mut put = |name: &str, text: String| json.insert(name.to_owned(), Value::String(text));
    put("metric", subject(facts.service, facts.metric, ""));
    put("current_plan", facts.current_plan.clone());
    put("recommendation", facts.target.to_string());
    put("priority", facts.priority.to_string());
    put("at_the_limit", effect(facts.at_limit).to_owned());
    for (name, figure) in facts.figures() {
        if figure.value.is_some() {
            put(name, figure.to_string());
        }
    }
    json
}

/// The numbers and words of the facts.
struct Known {
    numbers: BTreeSet<(String, String)>,
    words: BTreeSet<String>,
}

impl Known {
    fn of(facts: &Map<String, Value>) -> Known {
        let texts = || facts.values().filter_map(Value::as_str);
        Known {
            numbers: texts().flat_map(fact_numbers).collect(),
            words: texts().flat_map(words).collect(),
        }
    }

    fn accepts(&self, field: &str, plans: &[String]) -> bool {
        const SPELLED: &str = "two three four five six seven eight nine ten eleven twelve twenty thirty forty \
             fifty sixty seventy eighty ninety hundred thousand million billion dozen half twice double triple";
        let is_plain = !field.is_empty()
            && field.chars().count() <= FIELD_LENGTH
            && !field.chars().any(|c| c.is_control() || "<>{}|".contains(c));
        // Digits of other scripts are numbers of no fact.
        let is_foreign = |c: char| c.is_numeric() && !c.is_ascii_digit();
        is_plain
            && !field.chars().any(is_foreign)
            && numbers(field).all(|(number, unit)| {
                // A fact without a unit may be followed by any word.
                let is_known = |unit| self.numbers.contains(&(number.clone(), unit));
                is_known(unit) || is_known(String::new())
            })
            && names(field).all(|name| words(&name).all(|word| self.words.contains(&word)))
            && words(field).all(|word| {
                let is_number = SPELLED.split_whitespace().any(|spelled| spelled == word);
                let is_plan = plans.contains(&word);
                self.words.contains(&word) || !(is_number || is_plan)
            })
    }
}

/// The numbers of a fact: those of an interval have the unit of the first.
fn fact_numbers(text: &str) -> impl Iterator<Item = (String, String)> {
    let mut first = None;
    numbers(text).map(move |(number, unit)| {
        let usual = first.get_or_insert_with(|| unit.clone()).clone();
        (number, if unit.is_empty() { usual } else { unit })
    })
}

/// The words with a digit, with their sign and without separators of thousands, each with the word that follows: its unit. A
/// plan's name gives no number.
fn numbers(text: &str) -> impl Iterator<Item = (String, String)> {
    let is_sign = |c: char| "-\u{2212}\u{2013}.$€£¥".contains(c);
    let bare = move |word: &str| {
        let word = word.trim_start_matches(|c: char| !c.is_alphanumeric() && !is_sign(c));
        let word = word.trim_end_matches(|c: char| !c.is_alphanumeric() && c != '%');
        word.to_lowercase()
    };
    let following = text.split_whitespace().skip(1).chain([""]);
    let is_number = |word: &str| word.contains(|c: char| c.is_ascii_digit());
    let following = following.map(move |word| if is_number(word) { "" } else { word });
    let pairs = text.split_whitespace().zip(following);
    let pairs = pairs.filter(move |(word, _)| is_number(word));
    pairs.map(move |(number, unit)| {
        let number = bare(number);
        let mut groups = number.split(',').skip(1);
        let is_grouped = groups.all(|it| it.find('.').unwrap_or(it.len()) == 3);
        match is_grouped {
            true => (number.replace(',', ""), bare(unit)),
            false => (number, bare(unit)),
        }
    })
}

/// The possible names: words in capitals within a sentence, and those beside `plan`.
fn names(field: &str) -> impl Iterator<Item = String> {
    const PLAIN: &str = "the a an this that your current next larger smaller cheaper new same recommended of to on is has \
         includes holds costs stops will would may and or for at with from if until";
    let all: Vec<&str> = field.split_whitespace().collect();
    let lower = |word: &str| {
        word.trim_matches(|c: char| !c.is_alphanumeric())
            .to_lowercase()
    };
    let name = |(index, word): (usize, &&str)| {
        let is_plan = |at: usize| all.get(at).is_some_and(|it| lower(it) == "plan");
        let is_beside = is_plan(index + 1) || is_plan(index.wrapping_sub(1));
        let is_within = index > 0 && !all[index - 1].ends_with('.');
        let is_name = is_beside || is_within && word.starts_with(char::is_uppercase);
        let word = lower(word);
        (is_name && !PLAIN.split_whitespace().any(|it| it == word)).then_some(word)
    };
    let names: Vec<String> = all.iter().enumerate().filter_map(name).collect();
    names.into_iter()
}

/// The words in a text, as plans are spelled.
fn words(text: &str) -> impl Iterator<Item = String> {
    let parts = text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_')));
    parts.filter(|word| !word.is_empty()).map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::recommendation::sample::facts;

    fn text(situation: &str) -> Option<String> {
        let fields = Fields {
            situation: situation.to_owned(),
            action: "Change the plan.".to_owned(),
            risk: "It may cost 77 dollars.".to_owned(),
        };
        let plans = ["free", "fixed-1gb", "fixed-5gb"].map(str::to_owned);
        fields.text(&facts_json(&facts()), &plans)
    }

    /// A number that only the interval of the days to the limit has.
    fn interval_end() -> String {
        let days = facts().outlook.days_to_limit.to_string();
        let (_, last) = days.trim_end_matches(')').rsplit_once(' ').unwrap();
        last.to_owned()
    }

    #[test]
    fn field_with_a_number_or_plan_outside_the_facts_is_dropped() {
        let usage = facts().usage.short();
        let good = format!("Storage is at {usage} on the plan free.");
        // The risk has a number that is not in the facts.
        assert_eq!(text(&good), Some(format!("{good} Change the plan.")));
        for bad in [
            "",
            "Storage is at 999 MB.",
            "Storage is at ⅓ of the limit.",
            "Storage is at ninety percent.",
            // The current plan has it in its name.
            "Full in 1 day.",
            // Of another unit.
            &format!("Storage is at {}.", usage.replace("MB", "GB")),
            &format!("Storage is at {}.", usage.replace(" MB", "%")),
            // The end of an interval has the unit of the fact.
            &format!("The limit is reached in {} hours.", interval_end()),
            "It costs €20.00.",
            "Move to Team Pro.",
            "Move to the plan team pro.",
            "Move to the team pro plan.",
            &format!("Storage is at -{usage}."),
            &format!("Storage is at .{usage}."),
            &format!("Storage is at {}.", usage.replace(' ', "x ")),
            &format!("Storage is at {}.", usage.replacen(' ', ",56 ", 1)),
            "Move to fixed-5gb.",
            "See <b>this</b>.",
            &"a".repeat(FIELD_LENGTH + 1),
        ] {
            assert_eq!(text(bad), None, "{bad}");
        }
    }
}
