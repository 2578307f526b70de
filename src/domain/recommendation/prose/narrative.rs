//! The summary that a language model was asked for, as it is stored.

use chrono::{DateTime, Utc};

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
