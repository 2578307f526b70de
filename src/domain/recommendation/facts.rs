//! The facts of a recommendation: everything it states, as figures. They are stored, and its prose derives from
//! them.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Numbers;
use super::figure::{Figure, Input};
use crate::domain::capacity::state::LimitState;
use crate::domain::format::{hex, serialize_maybe_time, serialize_time};
use crate::domain::metrics::names::{Metric, Priority, Service};
use crate::domain::named::named;
use crate::domain::plans::AtLimit;

named! {
    /// The kind of answer that a recommendation gives.
    Kind, "kind" {
        /// The plan is too small: change to a larger one.
        Upgrade = "UPGRADE",
        /// The plan is larger than needed: change to a cheaper one.
        Downgrade = "DOWNGRADE",
        /// No plan is better: use less, or stay and pay.
        Reduce = "REDUCE",
        /// A budget set by the user is running out.
        Budget = "BUDGET",
    }
}

/// A possible action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Choice {
    Change {
        plan: String,
    },
    /// Stay on the plan and pay for usage beyond it.
    Stay,
    /// Stay on the plan and use less.
    UseLess,
    /// Ask the provider for a contract: no listed plan is large enough.
    Contract,
    /// Measure for longer: less than a day says nothing about the size of a plan.
    Watch,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Choice::Change { plan } => plan,
            Choice::Stay => "stay and pay",
            Choice::UseLess => "use less",
            Choice::Contract => "ask for a contract",
            Choice::Watch => "watch",
        })
    }
}

/// One of the compared choices, with its cost in a billing period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    pub choice: Choice,
    /// The included amount of the metric; unknown also where it is unlimited.
    pub included: Figure,
    pub unlimited: bool,
    /// Share of the cases in which a metric of the service stops at its limit on this plan.
    pub chance_exceeded: Figure,
    pub cost: Figure,
    /// The mean, by which plans are compared.
    pub expected_cost: Figure,
    /// The parts of the cost, which they add up to.
    pub parts: Vec<Part>,
    /// Unmeasured meters that the plan bills or holds less of than the plan in use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmeasured: Vec<String>,
    /// What the plan bills and is measured, but not long enough for a forecast.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unforecast: Vec<String>,
    /// Why it is not recommended; none for the recommended one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
}

impl Compared {
    /// What its cost lacks; none if it is whole.
    pub fn lacks(&self) -> Option<String> {
        let lists = [
            ("not measured", &self.unmeasured),
            ("no forecast yet", &self.unforecast),
        ];
        let lists = lists.into_iter().filter(|(_, names)| !names.is_empty());
        let lists = lists.map(|(reason, names)| format!("{reason}: {}", names.join(", ")));
        let lists: Vec<String> = lists.collect();
        (!lists.is_empty()).then(|| lists.join("; "))
    }
}

/// A part of a cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub name: String,
    /// Negative for a credit.
    pub amount: Figure,
}

/// One limit of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterFacts {
    pub service: Service,
    pub metric: Metric,
    pub resource: String,
    /// Number of resources whose sum it is.
    #[serde(default)]
    pub resources: usize,
    pub state: LimitState,
    pub usage: Figure,
    pub limit: Figure,
    pub usage_percent: Figure,
    /// The median; unknown: not reached within the horizon.
    pub days_to_limit: Figure,
    /// Chance of reaching the limit within 30 days, or within the horizon if that is nearer.
    pub chance: Figure,
}

/// The forecast of the metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlook {
    /// Whether the history is short.
    pub low_confidence: bool,
    pub horizon: Figure,
    /// Unknown: not reached within the horizon.
    pub days_to_warning: Figure,
    pub days_to_critical: Figure,
    pub days_to_limit: Figure,
    /// Chance of reaching the limit within 7 days.
    pub chance_7: Figure,
    pub chance_30: Figure,
    pub chance_90: Figure,
    /// Present for metrics that count by the billing period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<PeriodOutlook>,
}

/// The forecast of the current billing period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeriodOutlook {
    #[serde(serialize_with = "serialize_time")]
    pub from: DateTime<Utc>,
    #[serde(serialize_with = "serialize_time")]
    pub to: DateTime<Utc>,
    /// Elapsed share of the period.
    pub elapsed: Figure,
    pub total: Figure,
    /// Chance that the total exceeds the limit.
    pub chance_over: Figure,
    /// Mean usage beyond the limit.
    pub overage: Figure,
}

/// Costs and benefits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// Start of the billing period that the costs are for: the next whole one.
    #[serde(serialize_with = "serialize_time")]
    pub from: DateTime<Utc>,
    #[serde(serialize_with = "serialize_time")]
    pub to: DateTime<Utc>,
    /// Cost of that period on the current plan.
    pub current: Figure,
    /// Cost of that period after the change.
    pub target: Figure,
    /// The difference, case by case; negative for a saving.
    pub extra: Figure,
    /// The same over one, three and twelve billing periods.
    pub projections: Vec<Projection>,
    /// The usage in a billing period above which the change is cheaper.
    pub break_even_use: Figure,
    /// Mean hours of a billing period in which the current plan stops the service.
    pub hours_blocked: Figure,
    /// The loss in these hours; known only if the user set the revenue of an hour.
    pub avoided_loss: Figure,
    /// Avoided loss minus the extra cost.
    pub net: Figure,
    /// Net for each dollar of extra cost.
    pub roi: Figure,
    /// The hourly revenue from which on the change pays.
    pub break_even_revenue: Figure,
}

/// Costs over several billing periods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Projection {
    pub periods: u32,
    /// Whether it exceeds the forecast; a level then stays, and an amount continues at its daily rate.
    pub extrapolated: bool,
    pub current: Figure,
    pub target: Figure,
    /// Cost of the cheapest plan that is large enough, the current one included.
    pub cheapest: Figure,
    pub extra: Figure,
}

/// Everything a recommendation states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub service: Service,
    pub metric: Metric,
    /// Database, project or team; empty where it has no name of its own.
    pub resource: String,
    pub kind: Kind,
    pub provider: Option<String>,
    pub current_plan: String,
    pub target: Choice,
    pub priority: Priority,
    #[serde(serialize_with = "serialize_time")]
    pub measured_at: DateTime<Utc>,
    pub usage: Figure,
    pub limit: Figure,
    pub usage_percent: Figure,
    pub at_limit: AtLimit,
    /// The most that the plan allows, where usage beyond the limit is billed.
    #[serde(default)]
    pub ceiling: Option<Figure>,
    /// All limits of the plan, this one first.
    #[serde(default)]
    pub meters: Vec<MeterFacts>,
    pub outlook: Outlook,
    /// By how much the usage of a billing period must fall to stay within the limit in 95 % of the cases.
    pub reduction: Figure,
    /// All compared choices, the recommended one first.
    pub compared: Vec<Compared>,
    pub money: Money,
    /// Sources of the figures.
    pub inputs: Vec<Input>,
    pub catalogue_version: String,
    /// The state in the newest history entry; later facts are compared with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
}

/// The facts whose material change is recorded in the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    pub priority: Priority,
    pub target: Choice,
    /// When the limit is reached, by the median.
    #[serde(serialize_with = "serialize_maybe_time")]
    pub reaches: Option<DateTime<Utc>>,
    /// Extra cost of a billing period, in US dollars.
    pub extra: Option<Decimal>,
    /// Whether something that is not measured comes on top of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub extra_at_least: bool,
}

impl Baseline {
    pub fn of(facts: &Facts) -> Baseline {
        let days = facts.outlook.days_to_limit.value;
        let days = days.and_then(|days| TimeDelta::try_days(days.to_i64()?));
        Baseline {
            priority: facts.priority,
            target: facts.target.clone(),
            reaches: days.and_then(|days| facts.measured_at.checked_add_signed(days)),
            extra: facts.money.extra.value,
            extra_at_least: facts.money.extra.at_least,
        }
    }
}

impl Facts {
    /// For the application's column `recommendedPlan`.
    pub fn recommended_plan(&self) -> &str {
        match &self.target {
            Choice::Change { plan } => plan,
            Choice::Stay | Choice::UseLess | Choice::Watch => &self.current_plan,
            Choice::Contract => "contract",
        }
    }

    /// For the application's number columns.
    pub fn numbers(&self) -> Numbers {
        let days = self.outlook.days_to_limit.value;
        Numbers {
            current_usage: self.usage.as_float(),
            limit_value: self.limit.as_float(),
            usage_percent: self.usage_percent.as_float(),
            days_to_limit: days.and_then(|days| days.round().to_i32()),
            current_cost: self.money.current.exact_float(),
            projected_cost: self.money.target.exact_float(),
            upgrade_cost: self.money.extra.exact_float(),
            revenue_impact: self.money.avoided_loss.exact_float(),
            profit_impact: self.money.net.exact_float(),
            roi: self.money.roi.exact_float(),
        }
    }

    /// The figures with their names, in display order.
    pub fn figures(&self) -> Vec<(&'static str, &Figure)> {
        let (outlook, money) = (&self.outlook, &self.money);
        let mut figures = vec![
            ("usage", &self.usage),
            ("limit", &self.limit),
            ("usage_percent", &self.usage_percent),
            ("days_to_warning", &outlook.days_to_warning),
            ("days_to_critical", &outlook.days_to_critical),
            ("days_to_limit", &outlook.days_to_limit),
            ("chance_within_7_days", &outlook.chance_7),
            ("chance_within_30_days", &outlook.chance_30),
            ("chance_within_90_days", &outlook.chance_90),
        ];
        if let Some(period) = &outlook.period {
            figures.extend([
                ("period_elapsed", &period.elapsed),
                ("period_total", &period.total),
                ("chance_over", &period.chance_over),
                ("overage", &period.overage),
            ]);
        }
        figures.extend([
            ("current_cost", &money.current),
            ("target_cost", &money.target),
            ("extra_cost", &money.extra),
            ("break_even_use", &money.break_even_use),
            ("hours_blocked", &money.hours_blocked),
            ("avoided_loss", &money.avoided_loss),
            ("net", &money.net),
            ("roi", &money.roi),
            ("break_even_revenue", &money.break_even_revenue),
        ]);
        figures
    }
}

/// Facts as they are stored: their JSON, its hash, and the facts themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFacts {
    pub json: String,
    /// SHA-256 of the JSON, in hexadecimal digits: equal facts have equal hashes.
    pub hash: String,
    /// None if another version wrote what this one cannot read.
    pub read: Option<Facts>,
}

impl StoredFacts {
    pub fn new(facts: Facts) -> StoredFacts {
        // Facts hold text, numbers and lists of them, which always have a JSON form.
        let json = serde_json::to_string(&facts).unwrap_or_default();
        StoredFacts {
            hash: hex(&Sha256::digest(&json)),
            json,
            read: Some(facts),
        }
    }

    /// Facts as they were read from the database.
    pub fn parse(json: String, hash: String) -> StoredFacts {
        StoredFacts {
            read: serde_json::from_str(&json).ok(),
            json,
            hash,
        }
    }
}
