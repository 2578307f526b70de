//! The fields that a language model writes about a recommendation.
//!
//! The model receives the facts as JSON and answers with short fields in a fixed form. A field with a number of this
//! unit, a time, a plan or a name that is not in the facts is dropped. In doubt it is dropped too. The other words are the
//! model's own and unchecked, so its text is labelled with its name.

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

    /// The accepted fields as one text, or the fault of one of the first two, which every summary requires.
    pub fn text(&self, facts: &Map<String, Value>, plans: &[String]) -> Result<String, String> {
        let known = Known::of(facts);
        let fields = [&self.situation, &self.action, &self.risk];
        let checked = |index: usize| {
            let (name, field) = (Fields::NAMES[index], fields[index].trim());
            let fault = known.fault(field, plans);
            fault.map_or(Ok(field), |it| {
                Err(format!("the {name} of the answer {it}"))
            })
        };
        let fields = [Some(checked(0)?), Some(checked(1)?), checked(2).ok()];
        Ok(fields.into_iter().flatten().collect::<Vec<_>>().join(" "))
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

/// The numbers and phrases of the facts.
struct Known {
    numbers: BTreeSet<(String, String)>,
    phrases: BTreeSet<String>,
}

impl Known {
    fn of(facts: &Map<String, Value>) -> Known {
        let texts = || facts.values().filter_map(Value::as_str);
        Known {
            numbers: texts().flat_map(fact_numbers).collect(),
            phrases: texts().flat_map(phrases).collect(),
        }
    }

    /// The fault of a field, if it has one.
    fn fault(&self, field: &str, plans: &[String]) -> Option<String> {
        // Letters and digits of other scripts may be numbers of no fact.
        let is_plain = |c: char| match c.is_ascii() {
            true => !c.is_control() && !"<>{}|".contains(c),
            false => "\u{2013}\u{2014}\u{2018}\u{2019}\u{201c}\u{201d}\u{2026}\u{2212}".contains(c),
        };
        Some(match field.chars().find(|c| !is_plain(*c)) {
            _ if field.is_empty() => "is missing or empty".to_owned(),
            _ if field.chars().count() > FIELD_LENGTH => {
                format!("is longer than {FIELD_LENGTH} characters")
            }
            Some(c) => format!("has the character U+{:04X}", u32::from(c)),
            None => {
                let what = self.unknown(field, plans)?;
                format!("has `{what}`, a number, time, plan or name that is not in the facts")
            }
        })
    }

    /// The first number, time, plan or name that is not in the facts.
    fn unknown(&self, field: &str, plans: &[String]) -> Option<String> {
        /// How number words begin, and a plan's other name: a word that only looks like one is dropped as well.
        const SPELLED: &str = "zero one two three thrice four five six seven eight nin ten eleven twel twen thir fort \
             fift hundred thousand million billion trillion dozen half halv quarter twice doubl tripl quadrupl coupl asyougo";
        let number = numbers(field).into_iter().find(|(number, unit)| {
            // A fact without a unit may be followed by any word.
            let is_known = |unit| self.numbers.contains(&(number.clone(), unit));
            !is_known(unit.clone()) && !is_known(String::new())
        });
        let plans: Vec<String> = plans.iter().filter_map(|it| phrases(it).pop()).collect();
        let is_claim = |phrase: &String| begins_with(phrase, SPELLED) || plans.contains(phrase);
        let claims = phrases(field)
            .into_iter()
            .filter(is_claim)
            .chain(names(field));
        let mut unknown = claims.filter(|it| !self.phrases.contains(it));
        let time = || unnumbered_time(field);
        number
            .map(|(number, _)| number)
            .or_else(time)
            .or_else(|| unknown.next())
    }
}

/// The numbers of a fact: those of an interval have the unit of the first.
fn fact_numbers(text: &str) -> impl Iterator<Item = (String, String)> {
    let mut first = None;
    numbers(text).into_iter().map(move |(number, unit)| {
        let usual = first.get_or_insert_with(|| unit.clone()).clone();
        (number, if unit.is_empty() { usual } else { unit })
    })
}

fn is_number(word: &str) -> bool {
    word.contains(|c: char| c.is_ascii_digit())
}

fn begins_with(word: &str, stems: &str) -> bool {
    stems.split_whitespace().any(|stem| word.starts_with(stem))
}

/// The words with a digit and their signs, each with the word that follows: its unit.
fn numbers(text: &str) -> Vec<(String, String)> {
    let is_sign = |c: char| "-\u{2212}\u{2013}.$€£¥".contains(c);
    let bare = |word: &str| {
        let word = word.trim_start_matches(|c: char| !c.is_alphanumeric() && !is_sign(c));
        let word = word.trim_end_matches(|c: char| !c.is_alphanumeric() && c != '%');
        word.to_lowercase()
    };
    let words = text.split_whitespace().map(bare).chain([String::new()]);
    let words: Vec<String> = words.collect();
    let pair = |pair: &[String]| {
        let unit = if is_number(&pair[1]) { "" } else { &pair[1] };
        is_number(&pair[0]).then(|| (pair[0].clone(), unit.to_owned()))
    };
    words.windows(2).filter_map(pair).collect()
}

/// A time without the number of a fact, such as `a few days` or `overnight`.
fn unnumbered_time(field: &str) -> Option<String> {
    const TIMES: &str = "hour day dai night overnight week fortnight month year today tomorrow";
    let mut before = "";
    words(&field.to_lowercase()).into_iter().find_map(|word| {
        let is_it = begins_with(word, TIMES) && !is_number(before);
        before = word;
        is_it.then(|| word.to_owned())
    })
}

/// The possible names: words in capitals within a sentence, and those beside `plan`.
fn names(field: &str) -> Vec<String> {
    const PLAIN: &str = "the a an this that your current next larger smaller cheaper new same recommended of to on is has \
         includes holds costs stops will would may and or for at with from if until";
    let all: Vec<&str> = field.split_whitespace().collect();
    let lower = |word: &str| phrases(word).pop().unwrap_or_default();
    let is_plan = |at: usize| all.get(at).is_some_and(|it| lower(it) == "plan");
    let name = |(index, word): (usize, &&str)| {
        let is_beside = is_plan(index + 1) || is_plan(index.wrapping_sub(1));
        let is_within = index > 0 && !all[index - 1].ends_with('.');
        let is_name = is_beside || is_within && word.starts_with(char::is_uppercase);
        let word = lower(word);
        (is_name && !PLAIN.split_whitespace().any(|it| it == word)).then_some(word)
    };
    all.iter().enumerate().filter_map(name).collect()
}

fn words(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| !c.is_alphanumeric());
    words.filter(|word| !word.is_empty()).collect()
}

/// The words in a text, and then those that follow each other joined: `fixed-5gb` and `fixed 5 GB` have `fixed5gb`.
fn phrases(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    let words = words(&text);
    // No name of a plan has more words.
    let joined = (1..=4).flat_map(|count| words.windows(count));
    joined.map(<[&str]>::concat).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::recommendation::facts::Choice;
    use crate::domain::recommendation::sample::facts;

    fn text(situation: &str) -> Result<String, String> {
        let fields = Fields {
            situation: situation.to_owned(),
            action: "Change the plan.".to_owned(),
            risk: "It may cost 77 dollars.".to_owned(),
        };
        let plans = ["free", "payg", "fixed-1gb", "fixed-5gb"].map(str::to_owned);
        let facts = facts_json(&Facts {
            target: Choice::Change {
                plan: "fixed-1gb".to_owned(),
            },
            ..facts()
        });
        fields.text(&facts, &plans)
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
        assert_eq!(text(&good), Ok(format!("{good} Change the plan.")));
        let good = "Move to fixed-1gb \u{2014} it\u{2019}s larger.";
        assert_eq!(text(good), Ok(format!("{good} Change the plan.")));
        let fault = text("It costs €20.00.").unwrap_err();
        assert!(fault.ends_with("has the character U+20AC"), "{fault}");
        for bad in [
            "Storage is at 999 MB.",
            "Storage is at ninety percent.",
            "Storage is at ninety-nine percent.",
            "Storage is at Ninetynine percent.",
            "It is three-quarters full.",
            "It lasts for seventeen days.",
            "Expect a thirty-day outage within a fortnight.",
            "It may cost thrice as much.",
            "Storage is full in a few days.",
            "Storage is full within the week.",
            "Usage doubles monthly.",
            "Storage is full tomorrow.",
            "Pay as you go instead.",
            "Take fixed 5gb.",
            "Take fixed-5 GB.",
            // The current plan has it in its name.
            "Full in 1 day.",
            // Of another unit.
            &format!("Storage is at {}.", usage.replace("MB", "GB")),
            &format!("Storage is at {}.", usage.replace(" MB", "%")),
            // The end of an interval has the unit of the fact.
            &format!("The limit is reached in {} hours.", interval_end()),
            "Move to Team Pro.",
            "Move to the plan team pro.",
            "Move to the team pro plan.",
            &format!("Storage is at -{usage}."),
            &format!("Storage is at .{usage}."),
            &format!("Storage is at {}.", usage.replace(' ', "x ")),
            &format!("Storage is at {}.", usage.replacen(' ', ",56 ", 1)),
            "Move to fixed-5gb.",
        ] {
            let fault = text(bad).unwrap_err();
            assert!(
                fault.ends_with("that is not in the facts"),
                "{bad}: {fault}"
            );
        }
    }

    #[test]
    fn reason_names_the_fault() {
        for (bad, expected) in [
            ("", "is missing or empty"),
            (
                &"a".repeat(FIELD_LENGTH + 1),
                "is longer than 240 characters",
            ),
            ("See <b>this</b>.", "has the character U+003C"),
            ("At \u{202e}244\u{202c} MB.", "has the character U+202E"),
            ("One\nline.", "has the character U+000A"),
            ("Storage is at ⅓ of the limit.", "has the character U+2153"),
            (
                "Storage is at ninety percent.",
                "has `ninety`, a number, time, plan or name that is not in the facts",
            ),
        ] {
            let expected = format!("the situation of the answer {expected}");
            assert_eq!(text(bad), Err(expected));
        }
    }
}
