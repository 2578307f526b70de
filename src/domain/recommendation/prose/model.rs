//! The fields that a language model writes about a recommendation.
//!
//! The model receives the facts as JSON and answers with short fields in a fixed form. Each field has figures of its
//! own: with another number of this unit, another time, plan or name, or a link, it is dropped, in doubt too. The
//! other words are the model's own and unchecked, so its text is labelled with its name.

use serde_json::{Map, Value};

use super::summary::{effect, subject};
use crate::domain::recommendation::facts::Facts;

/// The longest field, in characters.
pub const FIELD_LENGTH: usize = 240;

/// The fields of an answer: how near the limit is; what to do, and at what cost; what may go wrong.
pub const FIELDS: [&str; 3] = ["situation", "action", "risk"];

/// The figures of each field: so few that none is taken for another, such as the price of another plan.
const FIGURES: [&str; 3] = [
    "usage limit usage_percent days_to_limit period_total",
    "target_cost",
    "chance_within_30_days chance_over hours_blocked avoided_loss",
];

type Object = Map<String, Value>;

/// The accepted fields as one text, or the fault of one of the first two, which every summary requires.
pub fn text(answer: &Object, facts: &Object, plans: &[String]) -> Result<String, String> {
    let checked = |name: &str| {
        let field = answer.get(name).and_then(Value::as_str);
        let field = field.unwrap_or_default().trim();
        let own = facts.get(name).and_then(Value::as_object);
        let known = facts.values().chain(own.into_iter().flat_map(Map::values));
        let known: Vec<&str> = known.filter_map(Value::as_str).collect();
        match fault(field, &known, plans) {
            None => Ok(field),
            Some(fault) => Err(format!("the {name} of the answer {fault}")),
        }
    };
    let [situation, action, risk] = FIELDS.map(checked);
    let fields = [Some(situation?), Some(action?), risk.ok()];
    Ok(fields.into_iter().flatten().collect::<Vec<_>>().join(" "))
}

/// The facts that the model receives: formatted figures by name, under the field that may state them.
pub fn facts_json(facts: &Facts) -> Object {
    let mut json = Map::new();
    let mut put = |name: &str, value: Value| json.insert(name.to_owned(), value);
    put("metric", subject(facts.service, facts.metric, "").into());
    put("current_plan", facts.current_plan.clone().into());
    put("recommendation", facts.target.to_string().into());
    put("priority", facts.priority.to_string().into());
    put("at_the_limit", effect(facts.at_limit).into());
    for (field, names) in FIELDS.iter().zip(FIGURES) {
        let mut own = facts.figures();
        own.retain(|(name, it)| names.split(' ').any(|it| it == *name) && it.value.is_some());
        let own = own.iter().map(|(name, it)| (*name, it.to_string()));
        put(field, own.collect());
    }
    json
}

/// The fault of a field beside the facts that it may state, if it has one.
fn fault(field: &str, facts: &[&str], plans: &[String]) -> Option<String> {
    // Letters and digits of other scripts may be numbers of no fact; other signs make links and markup.
    let is_plain = |c: char| match c.is_ascii() {
        true => !c.is_control() && !"<>{}[]|/\\@#*`".contains(c),
        false => "\u{2013}\u{2014}\u{2018}\u{2019}\u{201c}\u{201d}\u{2026}\u{2212}".contains(c),
    };
    let mut after_dots = field.split('.').skip(1);
    Some(match field.chars().find(|c| !is_plain(*c)) {
        _ if field.is_empty() => "is missing or empty".to_owned(),
        _ if field.chars().count() > FIELD_LENGTH => {
            format!("is longer than {FIELD_LENGTH} characters")
        }
        Some(c) => format!("has the character U+{:04X}", u32::from(c)),
        None if after_dots.any(|it| it.starts_with(char::is_alphabetic)) => "has a link".to_owned(),
        None => {
            let what = unknown(field, facts, plans)?;
            format!("has `{what}`, a number, time, plan or name that is not in its facts")
        }
    })
}

/// The first number, time, plan or name that is not in the facts.
fn unknown(field: &str, facts: &[&str], plans: &[String]) -> Option<String> {
    /// How number words begin, and a plan's other name: a word that only looks like one is dropped as well.
    const SPELLED: &str = "zero one two three thrice four five six seven eight nin ten eleven twel twen thir fort \
         fift hundred thousand million billion trillion dozen half halv quarter twice doubl tripl quadrupl coupl asyougo";
    let known: Vec<(String, String)> = facts.iter().flat_map(|it| fact_numbers(it)).collect();
    // A fact without a unit may be followed by any word.
    let is_known = |(number, unit): &(String, String)| {
        let mut same = known.iter().filter(|it| it.0 == *number);
        same.any(|it| it.1 == *unit || it.1.is_empty())
    };
    let number = numbers(field).into_iter().find(|it| !is_known(it));
    let known: Vec<String> = facts.iter().flat_map(|it| phrases(it)).collect();
    let plans: Vec<String> = plans.iter().filter_map(|it| phrases(it).pop()).collect();
    let is_claim = |phrase: &String| begins_with(phrase, SPELLED) || plans.contains(phrase);
    let claims = phrases(field).into_iter().filter(is_claim);
    let mut unknown = claims.chain(names(field)).filter(|it| !known.contains(it));
    let number = number.map(|(number, _)| number);
    let number = number.or_else(|| unnumbered_time(field));
    number.or_else(|| unknown.next())
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
        let end = |c: char| !c.is_alphanumeric() && c != '%';
        word.trim_end_matches(end).to_lowercase()
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

    fn answer(situation: &str, action: &str, risk: &str) -> Object {
        let fields = FIELDS.into_iter().zip([situation, action, risk]);
        let fields = fields.map(|(name, text)| (name.to_owned(), text.into()));
        fields.collect()
    }

    fn text(situation: &str) -> Result<String, String> {
        let risk = "It may cost 77 dollars.";
        let answer = answer(situation, "Change the plan.", risk);
        let plans = ["free", "payg", "fixed-1gb", "fixed-5gb"].map(str::to_owned);
        let facts = facts_json(&Facts {
            target: Choice::Change {
                plan: "fixed-1gb".to_owned(),
            },
            ..facts()
        });
        super::text(&answer, &facts, &plans)
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
                fault.ends_with("that is not in its facts"),
                "{bad}: {fault}"
            );
        }
    }

    #[test]
    fn figure_of_another_field_is_dropped() {
        let facts = facts_json(&facts());
        let cost = &facts["action"]["target_cost"];
        let (usage, cost) = (facts["situation"]["usage"].as_str(), cost.as_str());
        let (usage, cost) = (usage.unwrap(), cost.unwrap());
        let text = |situation: &str, action: &str| {
            let situation = format!("Storage is at {situation}.");
            let action = format!("The new price is {action}.");
            super::text(&answer(&situation, &action, ""), &facts, &[])
        };
        assert!(text(usage, cost).is_ok(), "{:?}", text(usage, cost));
        assert!(text(usage, usage).is_err());
        assert!(text(cost, cost).is_err());
        // The price of the plan in use is not given for that of another.
        assert!(!facts.values().any(|it| it.get("current_cost").is_some()));
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
            ("See https://example.com now.", "has the character U+002F"),
            ("See example.com for more.", "has a link"),
            ("It is **full**.", "has the character U+002A"),
            ("Storage is at ⅓ of the limit.", "has the character U+2153"),
            (
                "Storage is at ninety percent.",
                "has `ninety`, a number, time, plan or name that is not in its facts",
            ),
        ] {
            let expected = format!("the situation of the answer {expected}");
            assert_eq!(text(bad), Err(expected));
        }
    }
}
