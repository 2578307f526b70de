//! Recommendations as `recommend run` would have made them.

use usagectl::domain::infrastructure::{Metric, Priority, Service, Status};
use usagectl::domain::recommendation::{Kind, Numbers, Own, Recommendation, StoredFacts};

use super::program::NOW;

/// A recommendation for the key-value store that answers `question`.
pub fn recommendation(id: &str, question: &str, status: Status) -> Recommendation {
    let now = NOW.parse().unwrap();
    Recommendation {
        id: id.to_owned(),
        service: Service::VercelKv,
        metric: Some(Metric::StorageMb),
        current_plan: "free".to_owned(),
        recommended_plan: "payg".to_owned(),
        priority: Priority::High,
        status,
        numbers: Numbers {
            days_to_limit: Some(19),
            upgrade_cost: Some(0.44),
            ..Numbers::default()
        },
        reason: "It is nearly full.".to_owned(),
        benefits: vec!["Room \"enough\"".to_owned()],
        risks: vec![],
        reviewed_by: None,
        review_notes: None,
        reviewed_at: None,
        implemented_at: None,
        expires_at: Some(now),
        created_at: now,
        updated_at: now,
        own: Some(Own {
            question: question.to_owned(),
            resource: String::new(),
            kind: Kind::Upgrade,
            version: 1,
            status,
            facts: StoredFacts::found("{}".to_owned(), "hash".to_owned()),
            catalogue_version: "2026.11.21".to_owned(),
            last_seen_at: now,
            seen_count: 1,
            unseen_count: 0,
            cleared_count: 0,
            unseen_since: None,
            dismissed_priority: None,
            snoozed_until: None,
            reopened_count: 0,
            predecessor_id: None,
            outcome: None,
        }),
    }
}
