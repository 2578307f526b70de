//! The summary of a recommendation, and who wrote its sentences.

use chrono::{DateTime, Utc};

/// A summary that a language model was asked for, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Narrative {
    /// Hash of the facts it is about.
    pub facts_hash: String,
    pub model: String,
    pub text: String,
    /// Why the text is the template, and not by the model.
    pub refused: Option<String>,
    pub created_at: DateTime<Utc>,
}

impl Narrative {
    /// Whether the model wrote it about these facts.
    pub fn is_current(&self, facts_hash: &str, model: &str) -> bool {
        self.refused.is_none() && self.facts_hash == facts_hash && self.model == model
    }
}

/// The summary of a recommendation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prose {
    Template(String),
    /// A language model was asked; it may be the template all the same.
    Narrative(Narrative),
}

impl Prose {
    pub fn text(&self) -> &str {
        match self {
            Prose::Template(text) => text,
            Prose::Narrative(narrative) => &narrative.text,
        }
    }

    fn narrative(&self) -> Option<&Narrative> {
        match self {
            Prose::Narrative(narrative) => Some(narrative),
            Prose::Template(_) => None,
        }
    }

    /// The model that wrote it.
    pub fn model(&self) -> Option<&str> {
        let narrative = self.narrative()?;
        let is_written = narrative.refused.is_none();
        is_written.then_some(&narrative.model)
    }

    /// Why the model's answer was refused.
    pub fn refused(&self) -> Option<&str> {
        self.narrative()?.refused.as_deref()
    }

    pub fn written_at(&self) -> Option<DateTime<Utc>> {
        self.narrative().map(|narrative| narrative.created_at)
    }
}
