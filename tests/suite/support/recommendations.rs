//! Recommendations as `recommend run` would have made them.

use usagectl::domain::metrics::names::{Metric, Priority, Service, Status};
use usagectl::domain::plans::AtLimit;
use usagectl::domain::recommendation::facts::{Choice, Facts, Money, Outlook};
use usagectl::domain::recommendation::figure::{Figure, Unit};
use usagectl::domain::recommendation::{Kind, Numbers, Recommendation, StoredFacts, Tracking};

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
        created_at: Some(now),
        updated_at: Some(now),
        tracking: Some(Tracking {
            question: question.to_owned(),
            resource: String::new(),
            kind: Kind::Upgrade,
            version: 1,
            status,
            facts: StoredFacts::parse("{}".to_owned(), "hash".to_owned()),
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

/// The facts of a key-value store that fills up.
pub fn facts() -> Facts {
    let number = |text: &str| text.parse().expect("a number");
    let exact = |text, unit| Figure::exact(number(text), unit);
    let between =
        |text, low, high, unit| Figure::between(number(text), number(low), number(high), unit);
    let dollars = |text| exact(text, Unit::Usd);
    let (storage, percent) = (Unit::Of(Metric::StorageMb), Unit::Percent);
    Facts {
        service: Service::VercelKv,
        metric: Metric::StorageMb,
        resource: String::new(),
        kind: Kind::Upgrade,
        provider: Some("upstash".to_owned()),
        current_plan: "free".to_owned(),
        target: Choice::Change {
            plan: "payg".to_owned(),
        },
        priority: Priority::High,
        measured_at: NOW.parse().expect("a moment"),
        usage: exact("228.4", storage),
        limit: exact("256", storage),
        usage_percent: exact("89.2", percent),
        at_limit: AtLimit::Reject,
        ceiling: None,
        meters: Vec::new(),
        outlook: Outlook {
            low_confidence: false,
            horizon: exact("90", Unit::Days),
            days_to_warning: exact("0", Unit::Days),
            days_to_critical: exact("3", Unit::Days),
            days_to_limit: between("19", "14", "27", Unit::Days),
            chance_7: exact("0", percent),
            chance_30: exact("96", percent),
            chance_90: exact("100", percent),
            period: None,
        },
        reduction: Figure::unknown(Unit::Percent),
        compared: Vec::new(),
        money: Money {
            from: "2026-02-01T00:00:00Z".parse().expect("a moment"),
            to: "2026-03-01T00:00:00Z".parse().expect("a moment"),
            current: dollars("0"),
            target: between("0.44", "0.4", "0.48", Unit::Usd),
            extra: between("0.44", "0.4", "0.48", Unit::Usd),
            projections: Vec::new(),
            break_even_use: Figure::unknown(storage),
            hours_blocked: exact("200", Unit::Hours),
            avoided_loss: Figure::unknown(Unit::Usd),
            net: Figure::unknown(Unit::Usd),
            roi: Figure::unknown(Unit::Ratio),
            break_even_revenue: exact("0.01", Unit::UsdPerHour),
        },
        inputs: Vec::new(),
        catalogue_version: "2026.11.21".to_owned(),
        baseline: None,
    }
}
