//! The question that a recommendation answers.

use sha2::{Digest, Sha256};

use super::Recommendation;
use crate::domain::capacity::Capacity;
use crate::domain::format::hex;
use crate::domain::metrics::names::{Measure, Metric, Service};
use crate::domain::named::Named;
use crate::domain::plans::{LimitInForce, Origin};

/// The plan of a provider's resource, with all its metrics; or one budget of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic {
    /// The provider, or the service where no provider is known.
    pub provider: String,
    /// Database, project or team; empty where it has no name of its own, and for a plan of all resources together.
    pub resource: String,
    /// The plan in use; of a budget, its name.
    pub plan: String,
    pub budget: Option<(Service, Metric)>,
}

impl Topic {
    /// The question that a limit of a resource belongs to. One price for all resources is one question.
    pub fn of(limit: &LimitInForce, resource: &str) -> Topic {
        let is_budget = limit.origin == Origin::Budget;
        let provider = limit.provider.as_deref();
        Topic {
            provider: provider.unwrap_or(limit.service.as_str()).to_owned(),
            resource: match limit.has_one_price {
                true => String::new(),
                false => resource.to_owned(),
            },
            plan: limit.plan.clone(),
            budget: is_budget.then_some((limit.service, limit.metric)),
        }
    }

    /// As [`Self::of`]; nothing without a limit, or of a pace, which decides no plan.
    pub fn of_capacity(capacity: &Capacity) -> Option<Topic> {
        let limit = capacity.limit.as_ref()?;
        let is_pace = capacity.measure == Measure::Pace;
        (!is_pace).then(|| Topic::of(limit, capacity.resource()))
    }

    /// The key of the question: a SHA-256 in hexadecimal digits. At most one answer to a question is open, of any
    /// kind and about any plan.
    pub fn key(&self) -> String {
        let budget = |(service, metric)| format!("{service} {metric}");
        let budget = self.budget.map(budget).unwrap_or_default();
        let parts = [&self.provider, &self.resource, &budget];
        // Each part is preceded by its length, so that no part can contain a separator.
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        hex(&hash.finalize())
    }

    /// Whether a recommendation answers it.
    pub fn matches(&self, it: &Recommendation) -> bool {
        let tracking = it.tracking.as_ref();
        tracking.is_some_and(|tracking| tracking.question == self.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_differs_for_every_resource_and_not_for_the_plan() {
        let key = |provider: &str, resource: &str, plan: &str| {
            let topic = Topic {
                provider: provider.to_owned(),
                resource: resource.to_owned(),
                plan: plan.to_owned(),
                budget: None,
            };
            topic.key()
        };
        assert_eq!(key("upstash", "", "free").len(), 64);
        assert_eq!(key("upstash", "", "free"), key("upstash", "", "payg"));
        assert_ne!(key("upstash", "", "free"), key("", "upstash", "free"));
        let other = key("upstashcach", "e", "free");
        assert_ne!(key("upstash", "cache", "free"), other);
    }
}
