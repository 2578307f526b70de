//! Verifies sentences that a language model wrote.
//!
//! The model writes sentences with slots such as `{{usage}}`. It never sees a figure, so every figure of its own is
//! invented, and so is every claim that the facts do not support. Accepted sentences are plain English in ASCII
//! letters, without numbers in any form, names, negations, or claims beyond the facts. In doubt a sentence is
//! refused: the template is always available.

use std::fmt;

use super::story::{CostChange, Direction, Piece, Story, pieces};
use crate::domain::metrics::names::Priority;
use crate::domain::recommendation::facts::Kind;

/// Maximum number of sentences.
pub const SENTENCES: usize = 8;

/// Maximum characters of a sentence with unfilled slots.
pub const SENTENCE_LENGTH: usize = 240;

const WORD_LENGTH: usize = 24;

/// Why a text is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    SentenceCount(usize),
    /// A required slot is not used.
    SlotMissing(&'static str),
    /// The number of the sentence, from 1, and its fault.
    Sentence(usize, Fault),
    /// The filled text contains other numbers than its slots.
    Numbers,
}

/// The fault of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    Empty,
    TooLong,
    /// A character that is not allowed: a digit, a currency sign, markup, another script.
    Character(char),
    /// Not exactly one sentence: a capital or a slot first, the only full stop last.
    Shape,
    UnknownSlot(String),
    /// The slot touches a word or another slot.
    GluedSlot(String),
    /// A word that is not allowed, and why.
    Word(String, &'static str),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::SentenceCount(count) => {
                write!(f, "{count} sentences: expected 1 to {SENTENCES}")
            }
            Refusal::SlotMissing(name) => write!(f, "the slot `{name}` is missing"),
            Refusal::Sentence(number, fault) => write!(f, "sentence {number} {fault}"),
            Refusal::Numbers => f.write_str("the text contains numbers that are not in the facts"),
        }
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Empty => f.write_str("is empty"),
            Fault::TooLong => write!(f, "is longer than {SENTENCE_LENGTH} characters"),
            Fault::Character(sign) => write!(f, "has the character `{}`", sign.escape_default()),
            Fault::Shape => f.write_str("is not one sentence that ends with a full stop"),
            Fault::UnknownSlot(name) => write!(f, "has the unknown slot `{name}`"),
            Fault::GluedSlot(name) => write!(f, "has the slot `{name}` without space around it"),
            Fault::Word(word, why) => write!(f, "has the word `{word}`: {why}"),
        }
    }
}

/// The text that verified sentences make.
pub fn render(sentences: &[String], story: &Story) -> Result<String, Refusal> {
    let pieces = verify(sentences, story)?;
    let text = story.fill(&pieces);
    let slots = pieces.iter().flatten().filter_map(|piece| match piece {
        Piece::Slot(name) => story.slot(name),
        Piece::Words(_) => None,
    });
    let expected: Vec<&str> = slots.flat_map(|slot| numbers(&slot.text)).collect();
    // A second check, which shares no code with the first.
    if numbers(&text) == expected {
        Ok(text)
    } else {
        Err(Refusal::Numbers)
    }
}

/// Verifies sentences against `story` and returns them in pieces, ready to fill.
pub fn verify<'a>(sentences: &'a [String], story: &Story) -> Result<Vec<Vec<Piece<'a>>>, Refusal> {
    if sentences.is_empty() || sentences.len() > SENTENCES {
        return Err(Refusal::SentenceCount(sentences.len()));
    }
    let mut verified = Vec::new();
    for (number, sentence) in (1..).zip(sentences) {
        let pieces = sentence_pieces(sentence, story);
        verified.push(pieces.map_err(|fault| Refusal::Sentence(number, fault))?);
    }
    let used = |name: &str| verified.iter().flatten().any(|p| *p == Piece::Slot(name));
    match story.slots.iter().find(|s| s.required && !used(s.name)) {
        Some(slot) => Err(Refusal::SlotMissing(slot.name)),
        None => Ok(verified),
    }
}

fn sentence_pieces<'a>(sentence: &'a str, story: &Story) -> Result<Vec<Piece<'a>>, Fault> {
    if sentence.chars().count() > SENTENCE_LENGTH {
        return Err(Fault::TooLong);
    }
    let pieces = pieces(sentence);
    let last = pieces.len().checked_sub(1).ok_or(Fault::Empty)?;
    let mut words: Vec<String> = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        match *piece {
            Piece::Slot(name) => {
                if !story.slots.iter().any(|slot| slot.name == name) {
                    // The name is printed, and may be of any length.
                    return Err(Fault::UnknownSlot(name.chars().take(40).collect()));
                }
                let before = index.checked_sub(1).map(|before| pieces[before]);
                if !stands_apart(before, pieces.get(index + 1).copied()) {
                    return Err(Fault::GluedSlot(name.to_owned()));
                }
            }
            Piece::Words(text) => {
                let at_end = index == last;
                check_characters(text, index == 0, at_end)?;
                words.extend(words_of(text)?);
            }
        }
    }
    if !matches!(pieces[last], Piece::Words(text) if text.ends_with('.')) {
        return Err(Fault::Shape);
    }
    check_words(&words, story)?;
    Ok(pieces)
}

/// Whether a slot stands apart: a character beside a figure would change it.
fn stands_apart(before: Option<Piece>, after: Option<Piece>) -> bool {
    let open = match before {
        None => true,
        Some(Piece::Words(text)) => text.ends_with([' ', '(']),
        Some(Piece::Slot(_)) => false,
    };
    let closed = match after {
        None => true,
        Some(Piece::Words(text)) => text.starts_with([' ', ',', '.', ';', ':', ')']),
        Some(Piece::Slot(_)) => false,
    };
    open && closed
}

/// Allows ASCII letters and some punctuation; a full stop only at the end, a capital only at the beginning. This
/// excludes digits of any script, names, addresses, Roman numerals, markup and lookalike letters.
fn check_characters(text: &str, at_start: bool, at_end: bool) -> Result<(), Fault> {
    for (index, sign) in text.char_indices() {
        let is_last = index + sign.len_utf8() == text.len();
        let allowed = match sign {
            'A'..='Z' => at_start && index == 0,
            '.' => at_end && is_last,
            _ => sign.is_ascii_lowercase() || " ,;:()'-".contains(sign),
        };
        if !allowed {
            return Err(match sign {
                'A'..='Z' | '.' => Fault::Shape,
                _ => Fault::Character(sign),
            });
        }
    }
    let begins = text.chars().next();
    if at_start && !begins.is_some_and(|sign| sign.is_ascii_uppercase()) {
        return Err(Fault::Shape);
    }
    Ok(())
}

/// The words of a text; hyphenated ones also joined: `twen-ty` is `twenty` too.
fn words_of(text: &str) -> Result<Vec<String>, Fault> {
    let mut words = Vec::new();
    for joined in text.split(|sign: char| !sign.is_ascii_alphabetic() && !"'-".contains(sign)) {
        let joined = joined.to_ascii_lowercase();
        let parts = joined.split('-');
        let whole = joined.contains('-').then(|| joined.replace('-', ""));
        for word in parts.map(str::to_owned).chain(whole) {
            let word = word.strip_suffix("'s").unwrap_or(&word);
            let fault = |why| {
                let shown: String = word.chars().take(WORD_LENGTH).collect();
                Err(Fault::Word(shown, why))
            };
            match word {
                "" | "a" => {}
                _ if word.contains('\'') => return fault("quoted or shortened"),
                _ if word.len() == 1 => return fault("a single letter"),
                _ if word.len() > WORD_LENGTH => return fault("too long"),
                _ => words.push(word.to_owned()),
            }
        }
    }
    Ok(words)
}

fn check_words(words: &[String], story: &Story) -> Result<(), Fault> {
    for word in words {
        let (mut is_supported, mut why) = (true, "");
        for line in CLAIMS.lines().filter(|line| !line.starts_with('#')) {
            if let Some((claim, reason)) = line.split_once(": ") {
                (is_supported, why) = (supports(story, claim), reason);
            } else if !is_supported && line.split_whitespace().any(|it| matches(it, word)) {
                return Err(Fault::Word(word.clone(), why));
            }
        }
    }
    Ok(())
}

/// Words that make a claim, with the name of the claim.
const CLAIMS: &str = include_str!("claims.txt");

/// Whether the facts support a claim.
fn supports(story: &Story, claim: &str) -> bool {
    match claim {
        "certainty" => story.certain,
        "rise" => story.direction == Direction::Rising,
        "fall" => story.direction == Direction::Falling,
        "standstill" => story.direction == Direction::Steady,
        "nearness" => story.pressing,
        "saving" => story.cost == CostChange::Less,
        "cost" => story.cost == CostChange::More,
        "urgency" => story.priority >= Priority::High,
        "upgrade" => story.kind == Kind::Upgrade,
        "downgrade" => story.kind == Kind::Downgrade,
        // No fact supports a number or a negation, nor what only a slot may state.
        _ => false,
    }
}

/// Whether a word is `pattern`, or begins with it where the pattern ends with a star.
fn matches(pattern: &str, word: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(stem) => word.starts_with(stem),
        None => word == pattern,
    }
}

/// The numbers of a text, in order: every word with a digit of any script in it, without the punctuation around
/// it. A number that is joined to another character is a different one.
pub fn numbers(text: &str) -> Vec<&str> {
    text.split_whitespace()
        .filter(|word| word.contains(char::is_numeric))
        .map(|word| word.trim_matches(['(', ')', ',', '.', ';', ':']))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::metrics::names::{Metric, Service};
    use crate::domain::recommendation::prose::story::Slot;

    fn story() -> Story {
        let slot = |name, text: &str, required| Slot {
            name,
            meaning: "",
            text: text.to_owned(),
            required,
        };
        Story {
            service: Service::VercelKv,
            metric: Metric::StorageMb,
            kind: Kind::Upgrade,
            priority: Priority::Medium,
            direction: Direction::Rising,
            certain: false,
            pressing: true,
            cost: CostChange::More,
            slots: vec![
                slot("usage", "235 MB in use", true),
                slot(
                    "extra_cost",
                    "an extra cost of $10.00 (80 %: 8.00 to 12.00)",
                    true,
                ),
                slot("current_plan", "the plan Fixed 250 MB", false),
            ],
        }
    }

    const GOOD: &str =
        "The store has {{usage}} and may outgrow {{current_plan}}, at {{extra_cost}}.";

    fn fault(sentence: &str) -> Option<Fault> {
        let sentences = [GOOD.to_owned(), sentence.to_owned()];
        match verify(&sentences, &story()) {
            Ok(_) => None,
            Err(Refusal::Sentence(2, fault)) => Some(fault),
            Err(other) => panic!("{sentence}: {other}"),
        }
    }

    fn sentences(text: &str) -> impl Iterator<Item = &str> {
        text.split(" | ")
    }

    #[test]
    fn plain_words_around_slots_are_accepted() {
        for sentence in [
            "It is growing and the plan's limit is close.",
            "An upgrade to {{current_plan}} would help; the longer history speaks for it.",
            "{{usage}} may soon be too much (or so the forecast says).",
            "The well-kept store often tends to keep its weight.",
        ] {
            assert_eq!(fault(sentence), None, "{sentence}");
        }
    }

    #[test]
    fn numbers_of_any_kind_are_refused() {
        for sentence in sentences(
            "It has 7. | It has ٣ more. | It has ３ more. | It has ½ more. | It has Ⅻ more. | \
             It has 十 more. | It takes twelve more. | It takes Twelve more. | Twelve more are there. | \
             It takes twenty-two more. | It takes twen-ty more. | It takes twentytwo more. | It doubled. | \
             It is halfway there. | It grew tenfold. | It is one of many. | It takes a dozen more. | \
             It takes some hundreds. | It is the second time. | It takes XII more. | \
             It takes {{usage}} times more. | It costs $ more. | It costs more %. | \
             It costs a few percent more. | It takes a month. | It is a t-e-n.",
        ) {
            assert!(fault(sentence).is_some(), "{sentence}");
        }
    }

    #[test]
    fn unsupported_claims_are_refused() {
        for sentence in sentences(
            "It will definitely be reached. | The use is falling. | The use is stable. | \
             The use is not growing. | The use isn't growing. | It is cheaper so. | It is free. | \
             It is urgent. | A downgrade would help. | It is safe to ignore this. | Contact the provider.",
        ) {
            assert!(
                matches!(fault(sentence), Some(Fault::Word(..))),
                "{sentence}"
            );
        }
        let mut story = story();
        (story.certain, story.cost) = (true, CostChange::Less);
        (story.direction, story.priority) = (Direction::Falling, Priority::Critical);
        story.kind = Kind::Downgrade;
        for sentence in sentences(
            "It will definitely be reached. | The use is falling. | It is cheaper so. | It is urgent. | \
             A downgrade would help.",
        ) {
            let sentences = [GOOD.to_owned(), sentence.to_owned()];
            assert!(verify(&sentences, &story).is_ok(), "{sentence}");
        }
    }

    #[test]
    fn markup_addresses_names_and_hidden_characters_are_refused() {
        let hidden = [
            "",
            ".",
            "See\u{1b}[31m this.",
            "See\nthis.",
            "See \u{202e}this.",
            "See th\u{200b}is.",
            "See th\u{456}s.",
        ];
        let plain = sentences(
            "See https://example.com for more. | See example.com for more. | See <b>this</b>. | \
             See `this`. | See [this](that). | Ask Jane about it. | this begins small. | \
             It ends without a stop | It is said. It is said again. | It is said! | It {{usage} is. | \
             It {{usage}}}} is. | It {{ usage }} is. | It {{evil}} is. | It {{usage}}{{usage}} is. | \
             It -{{usage}} is. | It {{usage}}k is. | It {{usage}}-{{usage}} is. | \
             It is {{{{usage}}}} big.",
        );
        for sentence in hidden.into_iter().chain(plain) {
            assert!(fault(sentence).is_some(), "{sentence}");
        }
        assert!(fault(&format!("It {}.", "is ".repeat(100))).is_some());
    }

    #[test]
    fn missing_slot_and_wrong_sentence_count_are_refused() {
        let refused = |sentences: &[&str]| {
            let sentences: Vec<String> = sentences.iter().map(|s| (*s).to_owned()).collect();
            verify(&sentences, &story()).unwrap_err()
        };
        assert_eq!(refused(&[]), Refusal::SentenceCount(0));
        assert_eq!(refused(&[GOOD; 9]), Refusal::SentenceCount(9));
        assert_eq!(
            refused(&["It has {{usage}}."]),
            Refusal::SlotMissing("extra_cost")
        );
    }

    /// A whole number in English.
    fn spelled(number: u64) -> String {
        const SMALL: &str = "zero one two three four five six seven eight nine ten eleven twelve \
            thirteen fourteen fifteen sixteen seventeen eighteen nineteen";
        const TENS: &str = "- ten twenty thirty forty fifty sixty seventy eighty ninety";
        let word = |words: &'static str, index: u64| {
            let words: Vec<&str> = words.split(' ').collect();
            words[index as usize].to_owned()
        };
        let rest = |more: u64| match more {
            0 => String::new(),
            more => format!(" {}", spelled(more)),
        };
        match number {
            0..20 => word(SMALL, number),
            20..100 => word(TENS, number / 10) + &rest(number % 10),
            _ => {
                let (size, name) = match number {
                    ..1_000 => (100, "hundred"),
                    1_000..1_000_000 => (1_000, "thousand"),
                    _ => (1_000_000, "million"),
                };
                format!("{} {name}{}", spelled(number / size), rest(number % size))
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn number_in_digits_is_refused(
            text in "[A-Z][a-z ,]{0,40}",
            digit in "\\p{N}",
            end in "[a-z ,]{0,40}\\.",
        ) {
            let sentence = format!("{text}{digit}{end}");
            prop_assert!(fault(&sentence).is_some(), "{}", sentence);
        }

        #[test]
        fn number_in_words_is_refused(
            number in 0_u64..1_000_000_000,
            joint in "[ -]|",
            suffix in "|s|th|fold",
            capital in any::<bool>(),
        ) {
            let number = spelled(number).replace(' ', &joint);
            let sentence = format!("It may take {number}{suffix} more.");
            prop_assert!(fault(&sentence).is_some(), "{}", sentence);
            if capital {
                let sentence = format!("{}{} are there.", number[..1].to_uppercase(), &number[1..]);
                prop_assert!(fault(&sentence).is_some(), "{}", sentence);
            }
        }

        #[test]
        fn accepted_sentence_is_ascii_without_digits(sentence in "(\\PC|[A-Za-z .,]|\\{\\{usage\\}\\}){0,60}") {
            let sentences = [GOOD.to_owned(), sentence.clone()];
            if verify(&sentences, &story()).is_ok() {
                let words = sentence.replace("{{usage}}", "");
                prop_assert!(words.is_ascii() && !words.contains(char::is_numeric));
            }
        }

        #[test]
        fn filled_text_has_only_the_numbers_of_its_slots(
            extra in "[a-z ,;:()-]{0,30}",
            after in "[a-z ,;:()-]{0,30}",
        ) {
            let story = story();
            let sentence = format!("It {extra}{{{{usage}}}}{after}{{{{current_plan}}}}.");
            if let Ok(text) = render(&[GOOD.to_owned(), sentence], &story) {
                let ours = ["235", "250", "$10.00", "80", "8.00", "12.00", "235", "250"];
                prop_assert_eq!(numbers(&text), ours);
            }
        }
    }
}
