//! Everything a recommendation says, as figures: what it is stored as, and what its prose is made from.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::figure::{Figure, Input};
use super::{Numbers, hex};
use crate::domain::metrics::names::{Metric, Priority, Service};
use crate::domain::named::named;
use crate::domain::plans::AtLimit;

named! {
    /// What a recommendation is about.
    Kind, "kind" {
        /// The plan is too small: change to one that is not.
        Upgrade = "UPGRADE",
        /// The plan is larger than what is used.
        Downgrade = "DOWNGRADE",
        /// No plan is better: use less, or go on and pay.
        Reduce = "REDUCE",
        /// A budget of the user's own is running out.
        Budget = "BUDGET",
    }
}

/// What can be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Choice {
    /// Change to this plan.
    Change { plan: String },
    /// Stay on the plan and pay what goes beyond it.
    Stay,
    /// Stay on the plan and use less.
    UseLess,
    /// Ask the provider for a contract: no listed plan is large enough.
    Contract,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Choice::Change { plan } => plan,
            Choice::Stay => "stay and pay",
            Choice::UseLess => "use less",
            Choice::Contract => "ask for a contract",
        })
    }
}

/// One of the things that can be done, and what it comes to in a billing period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    pub choice: Choice,
    /// The included amount of the metric in question; unknown also where there is no limit.
    pub included: Figure,
    /// Whether the plan has no limit on it at all.
    pub unlimited: bool,
    /// In how many of 100 cases it is too small, for any metric of the service that stops at its limit.
    pub chance_exceeded: Figure,
    /// Of a billing period, all in all.
    pub cost: Figure,
    /// The mean, by which plans are compared.
    pub expected_cost: Figure,
    /// What the cost is made of, in the case in the middle; they add up to it.
    pub parts: Vec<Part>,
    /// Why it is not the answer, where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
}

/// A part of a cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub name: String,
    /// How much; a credit is negative.
    pub amount: Figure,
}

/// Where the metric is heading.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlook {
    /// Whether there is little to go by.
    pub low_confidence: bool,
    /// How far the forecast goes.
    pub horizon: Figure,
    /// Until the warning line is reached; unknown: not within the horizon.
    pub days_to_warning: Figure,
    /// Until the critical line is reached.
    pub days_to_critical: Figure,
    /// Until the limit is reached.
    pub days_to_limit: Figure,
    /// That the limit is reached within 7 days.
    pub chance_7: Figure,
    /// Within 30 days.
    pub chance_30: Figure,
    /// Within 90 days.
    pub chance_90: Figure,
    /// Of metrics that are counted by the billing period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<PeriodOutlook>,
}

/// How much a billing period will come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeriodOutlook {
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    /// How much of it is over.
    pub elapsed: Figure,
    pub total: Figure,
    /// That this is more than the plan includes.
    pub chance_over: Figure,
    /// How much more, in the mean over all cases.
    pub overage: Figure,
}

/// What it costs, and what it may be worth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// When the billing period begins that the costs are of: the next whole one.
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    /// Of that billing period now.
    pub current: Figure,
    /// Of a billing period after the change.
    pub target: Figure,
    /// The difference in the same cases; negative: a saving.
    pub extra: Figure,
    /// The same over one, three and twelve billing periods.
    pub projections: Vec<Projection>,
    /// Above this use in a billing period the change is the cheaper choice.
    pub break_even_use: Figure,
    /// In a billing period on the current plan, in the mean over all cases.
    pub hours_blocked: Figure,
    /// What these hours cost; known only where the user said what an hour is worth.
    pub avoided_loss: Figure,
    /// That, without the extra cost.
    pub net: Figure,
    /// Net for each dollar of extra cost.
    pub roi: Figure,
    /// What an hour must be worth for the change to pay.
    pub break_even_revenue: Figure,
}

/// Costs over several billing periods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Projection {
    pub periods: u32,
    /// Whether it goes beyond what was forecast: the last forecast period goes on.
    pub extrapolated: bool,
    pub current: Figure,
    pub target: Figure,
    /// Of the plan that costs least of those that are large enough, the current one among them.
    pub cheapest: Figure,
    pub extra: Figure,
}

/// An input that nobody gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Its name, as `recommend inputs set` takes it.
    pub name: String,
    /// What would be known with it.
    pub unlocks: String,
}

/// All that a recommendation says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub service: Service,
    pub metric: Metric,
    /// Which database, project or team; empty where it has no name of its own.
    pub resource: String,
    pub kind: Kind,
    pub provider: String,
    pub current_plan: String,
    pub target: Choice,
    pub priority: Priority,
    pub measured_at: DateTime<Utc>,
    pub usage: Figure,
    pub limit: Figure,
    /// The one in percent of the other.
    pub usage_percent: Figure,
    /// What happens at the limit.
    pub at_limit: AtLimit,
    /// Where the metric is heading.
    pub outlook: Outlook,
    /// Everything that was compared, the answer first.
    pub compared: Vec<Compared>,
    /// What it costs and is worth.
    pub money: Money,
    /// What the figures were made from.
    pub inputs: Vec<Input>,
    /// What would make more of them known.
    pub missing: Vec<Missing>,
    /// Which catalogue the prices are from.
    pub catalogue_version: String,
    /// What the history was told last; later facts are compared with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
}

/// What of the facts is worth a step in the history when it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    pub priority: Priority,
    pub target: Choice,
    /// When the limit is reached, in the middle of all cases.
    pub reaches: Option<DateTime<Utc>>,
    /// What the change adds to a billing period, in US dollars.
    pub extra: Option<Decimal>,
}

impl Baseline {
    /// Of these facts.
    pub fn of(facts: &Facts) -> Baseline {
        let days = facts.outlook.days_to_limit.value;
        let days = days.and_then(|days| TimeDelta::try_days(days.to_i64()?));
        Baseline {
            priority: facts.priority,
            target: facts.target.clone(),
            reaches: days.and_then(|days| facts.measured_at.checked_add_signed(days)),
            extra: facts.money.extra.value,
        }
    }
}

impl Facts {
    /// What the application's column for the recommended plan says.
    pub fn recommended_plan(&self) -> &str {
        match &self.target {
            Choice::Change { plan } => plan,
            Choice::Stay | Choice::UseLess => &self.current_plan,
            Choice::Contract => "contract",
        }
    }

    /// The application's columns.
    pub fn numbers(&self) -> Numbers {
        let days = self.outlook.days_to_limit.value;
        Numbers {
            current_usage: self.usage.as_float(),
            limit_value: self.limit.as_float(),
            usage_percent: self.usage_percent.as_float(),
            days_to_limit: days.and_then(|days| days.round().to_i32()),
            current_cost: self.money.current.as_float(),
            projected_cost: self.money.target.as_float(),
            upgrade_cost: self.money.extra.as_float(),
            revenue_impact: self.money.avoided_loss.as_float(),
            profit_impact: self.money.net.as_float(),
            roi: self.money.roi.as_float(),
        }
    }

    /// The figures with their names and what they mean, in the order of a page.
    pub fn figures(&self) -> Vec<(&'static str, &'static str, &Figure)> {
        let (outlook, money) = (&self.outlook, &self.money);
        let mut figures = vec![
            ("usage", "used now", &self.usage),
            ("limit", "allowed by the current plan", &self.limit),
            (
                "usage_percent",
                "used, of what is allowed",
                &self.usage_percent,
            ),
            (
                "days_to_warning",
                "time until the warning line",
                &outlook.days_to_warning,
            ),
            (
                "days_to_critical",
                "time until the critical line",
                &outlook.days_to_critical,
            ),
            (
                "days_to_limit",
                "time until the limit",
                &outlook.days_to_limit,
            ),
            (
                "chance_7",
                "chance that the limit is reached within a week",
                &outlook.chance_7,
            ),
            (
                "chance_30",
                "chance that the limit is reached within a month",
                &outlook.chance_30,
            ),
            (
                "chance_90",
                "chance that the limit is reached within three months",
                &outlook.chance_90,
            ),
        ];
        if let Some(period) = &outlook.period {
            figures.extend([
                (
                    "period_elapsed",
                    "how much of the billing period is over",
                    &period.elapsed,
                ),
                (
                    "period_total",
                    "use in the whole billing period",
                    &period.total,
                ),
                (
                    "chance_over",
                    "chance that the billing period goes over the limit",
                    &period.chance_over,
                ),
                ("overage", "expected use beyond the limit", &period.overage),
            ]);
        }
        figures.extend([
            (
                "current_cost",
                "cost of a billing period now",
                &money.current,
            ),
            (
                "target_cost",
                "cost of a billing period after the change",
                &money.target,
            ),
            (
                "extra_cost",
                "what the change adds to a billing period",
                &money.extra,
            ),
            (
                "break_even_use",
                "use above which the change is cheaper",
                &money.break_even_use,
            ),
            (
                "hours_blocked",
                "hours in which the current plan stops the service",
                &money.hours_blocked,
            ),
            (
                "avoided_loss",
                "loss that the change avoids",
                &money.avoided_loss,
            ),
            ("net", "avoided loss without the extra cost", &money.net),
            ("roi", "net for each dollar of extra cost", &money.roi),
            (
                "break_even_revenue",
                "revenue at which the change pays",
                &money.break_even_revenue,
            ),
        ]);
        figures
    }
}

/// Facts as they are stored: their text, its hash, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFacts {
    pub json: String,
    /// The SHA-256 of that, in hexadecimal digits: equal facts, equal hash.
    pub hash: String,
    /// What it says; nothing if another version wrote what this one does not understand.
    pub read: Option<Facts>,
}

impl StoredFacts {
    /// Facts to be stored.
    pub fn new(facts: Facts) -> Result<StoredFacts, serde_json::Error> {
        let json = serde_json::to_string(&facts)?;
        Ok(StoredFacts {
            hash: hex(&Sha256::digest(&json)),
            json,
            read: Some(facts),
        })
    }

    /// Facts that were stored.
    pub fn found(json: String, hash: String) -> StoredFacts {
        StoredFacts {
            read: serde_json::from_str(&json).ok(),
            json,
            hash,
        }
    }
}
