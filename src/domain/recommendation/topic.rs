//! The question that a recommendation answers.

use sha2::{Digest, Sha256};

use super::{Kind, Recommendation, hex};
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::named::Named;

/// One limit of one plan, which recommendations of any kind may be about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic {
    pub service: Service,
    pub metric: Metric,
    /// Database, project or team; empty where it has no name of its own.
    pub resource: String,
    pub plan: String,
}

impl Topic {
    /// The key of the question "what to do about this topic, by an answer of this kind": a SHA-256 in
    /// hexadecimal digits. At most one answer to a question is open.
    pub fn key(&self, kind: Kind) -> String {
        let parts = [
            self.service.as_str(),
            &self.resource,
            self.metric.as_str(),
            &self.plan,
            kind.as_str(),
        ];
        // Each part is preceded by its length, so that no part can contain a separator.
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        hex(&hash.finalize())
    }

    /// The keys of its questions, for all kinds.
    pub fn keys(&self) -> Vec<String> {
        Kind::ALL.iter().map(|kind| self.key(*kind)).collect()
    }

    /// Whether a recommendation is about this topic.
    pub fn matches(&self, it: &Recommendation) -> bool {
        it.tracking.as_ref().is_some_and(|tracking| {
            it.service == self.service
                && it.metric == Some(self.metric)
                && it.current_plan == self.plan
                && tracking.resource == self.resource
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(resource: &str, plan: &str) -> String {
        let topic = Topic {
            service: Service::VercelKv,
            metric: Metric::StorageMb,
            resource: resource.to_owned(),
            plan: plan.to_owned(),
        };
        topic.key(Kind::Upgrade)
    }

    #[test]
    fn key_differs_for_every_question() {
        assert_eq!(key("", "free").len(), 64);
        assert_eq!(key("", "free"), key("", "free"));
        assert_ne!(key("", "free"), key("free", ""));
        assert_ne!(key("cache", "free"), key("cach", "efree"));
    }
}
