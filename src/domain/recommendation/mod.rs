//! Recommendations, decided: what they say, and what becomes of them.
//!
//! A recommendation answers one [`Question`]. What it says is all in its [`Facts`]: figures that each name their
//! inputs. The prose and the application's columns are made from them, and nothing else.

pub mod assess;
pub mod candidates;
pub mod cost;
pub mod facts;
pub mod figure;
pub mod history;
pub mod inputs;
pub mod lifecycle;
pub mod priority;
pub mod prose;
pub mod reconcile;
#[cfg(test)]
pub(crate) mod sample;
pub mod transition;
pub mod trigger;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::metrics::names::{Metric, Priority, Service, Status};
use super::named::Named;
pub use facts::{Facts, Kind, StoredFacts};
pub use lifecycle::is_open;

/// What a recommendation answers. Of each question there is one open answer at most.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Question {
    pub service: Service,
    /// Which database, project or team of it; empty where it has no name of its own.
    pub resource: String,
    pub metric: Metric,
    pub current_plan: String,
    pub kind: Kind,
}

impl Question {
    /// The SHA-256 of all of it, in hexadecimal digits.
    pub fn key(&self) -> String {
        let parts = [
            self.service.as_str(),
            &self.resource,
            self.metric.as_str(),
            &self.current_plan,
            self.kind.as_str(),
        ];
        // A separator that no part contains by accident: each is preceded by its length.
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        hex(&hash.finalize())
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The numbers of a recommendation that the application has columns for; unknown ones are null there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Numbers {
    pub current_usage: Option<f64>,
    pub limit_value: Option<f64>,
    /// The one in percent of the other.
    pub usage_percent: Option<f64>,
    /// The middle of the forecast, from the newest measurement.
    pub days_to_limit: Option<i32>,
    /// Of a billing period on the current plan, in US dollars.
    pub current_cost: Option<f64>,
    /// Of a billing period on the recommended plan.
    pub projected_cost: Option<f64>,
    pub upgrade_cost: Option<f64>,
    /// The loss that is avoided, from the user's own inputs.
    pub revenue_impact: Option<f64>,
    /// That, without what the change costs.
    pub profit_impact: Option<f64>,
    /// The latter for each dollar of extra cost.
    pub roi: Option<f64>,
}

/// A row of the application's `UpgradeRecommendation`, and what only we know of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Recommendation {
    pub id: String,
    pub service: Service,
    /// Which metric; another program may have left it out.
    pub metric: Option<Metric>,
    /// The plan in use when it was made.
    pub current_plan: String,
    /// The plan to change to.
    pub recommended_plan: String,
    pub priority: Priority,
    /// Where it stands, by the application's own column.
    pub status: Status,
    /// Its numbers, as the application sees them.
    pub numbers: Numbers,
    /// Why, in a sentence or two.
    pub reason: String,
    pub benefits: Vec<String>,
    /// What may come of it, and of leaving it.
    pub risks: Vec<String>,
    /// Who looked at it last.
    pub reviewed_by: Option<String>,
    pub review_notes: Option<String>,
    pub reviewed_at: Option<DateTime<Utc>>,
    pub implemented_at: Option<DateTime<Utc>>,
    /// When its measurements are too old to act on.
    pub expires_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    /// When anything of it changed last.
    pub updated_at: DateTime<Utc>,
    /// What we keep beside it; nothing if another program made it.
    pub own: Option<Own>,
}

/// What is kept of a recommendation beyond the application's columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Own {
    /// The key of its [`Question`].
    pub question: String,
    /// Which database, project or team; empty where it has no name of its own.
    pub resource: String,
    pub kind: Kind,
    /// One more with every step in its history.
    pub version: i32,
    /// Where it stood when we last wrote or saw it.
    pub status: Status,
    pub facts: StoredFacts,
    /// Which catalogue they are from.
    pub catalogue_version: String,
    /// When `recommend run` reproduced it last.
    pub last_seen_at: DateTime<Utc>,
    /// How many times it did.
    pub seen_count: i32,
    /// How many runs since did not.
    pub unseen_count: i32,
    /// How many runs in a row found its condition gone.
    pub cleared_count: i32,
    /// Since when it was not reproduced.
    pub unseen_since: Option<DateTime<Utc>>,
    /// How urgent it was when it was dismissed.
    pub dismissed_priority: Option<Priority>,
    /// Until when it was dismissed.
    pub snoozed_until: Option<DateTime<Utc>>,
    /// How many times it came back.
    pub reopened_count: i32,
    /// The recommendation that answered the same question before.
    pub predecessor_id: Option<String>,
    /// What was predicted and what came, as JSON, after it was implemented.
    pub outcome: Option<String>,
}

impl Recommendation {
    /// What it says, if we made it and can still read it.
    pub fn facts(&self) -> Option<&Facts> {
        self.own.as_ref()?.facts.read.as_ref()
    }
}

/// The order in which recommendations are shown: the most urgent first, then the one whose limit is nearest.
pub fn by_urgency(a: &Recommendation, b: &Recommendation) -> std::cmp::Ordering {
    let days = |one: &Recommendation| one.numbers.days_to_limit.unwrap_or(i32::MAX);
    b.priority
        .cmp(&a.priority)
        .then_with(|| days(a).cmp(&days(b)))
        .then_with(|| a.created_at.cmp(&b.created_at))
        .then_with(|| a.id.cmp(&b.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(resource: &str, plan: &str) -> Question {
        Question {
            service: Service::VercelKv,
            resource: resource.to_owned(),
            metric: Metric::StorageMb,
            current_plan: plan.to_owned(),
            kind: Kind::Upgrade,
        }
    }

    #[test]
    fn a_question_has_one_key_and_no_other_question_has_it() {
        let key = question("", "free").key();
        assert_eq!(key.len(), 64);
        assert_eq!(key, question("", "free").key());
        assert_ne!(key, question("free", "").key());
        assert_ne!(
            question("cache", "free").key(),
            question("cach", "efree").key()
        );
    }
}
