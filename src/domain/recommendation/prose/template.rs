//! The summary by template: always available, and always the same for the same facts.

use super::story::{Piece, Story, pieces};

/// Of each group, the first sentence whose slots all exist is used.
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
        "The benefit is {{avoided_loss}}.",
        "It breaks even at {{break_even_revenue}}.",
    ],
    &["The forecast is based on {{confidence}}."],
];

/// The summary of `story`.
pub fn template(story: &Story) -> String {
    let has_slots = |sentence: &[Piece<'_>]| {
        sentence.iter().all(|piece| match piece {
            Piece::Slot(name) => story.slot(name).is_some(),
            Piece::Words(_) => true,
        })
    };
    let sentence = |group: &&[&'static str]| {
        let mut sentences = group.iter().map(|sentence| pieces(sentence));
        sentences.find(|pieces| has_slots(pieces))
    };
    let sentences: Vec<_> = TEMPLATE.iter().filter_map(sentence).collect();
    story.fill(&sentences)
}
