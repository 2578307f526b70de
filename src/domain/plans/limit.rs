//! The limits in force: rows of the application's `InfrastructureLimit`, by any writer, and their details beyond its
//! columns.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::api_limit::check_value;
use super::catalogue::{AtLimit, Catalogue, LimitPeriod, PlanLimit, PriceScope, default_kind};
use super::selection::{self, Billing, PlanSelection};
use super::source::Citation;
use crate::domain::format;
use crate::domain::metrics::names::{Metric, MetricKind, Service};
use crate::domain::named::named;

named! {
    /// Who owns a limit: only its owner changes it.
    Origin, "origin" {
        /// The catalogue: `limits init` wrote it and keeps it up to date.
        Catalogue = "CATALOGUE",
        /// The user, by `limits set`.
        User = "USER",
        /// The user, as a limit of their own beside the plan's.
        Budget = "BUDGET",
        /// The application or another program, which wrote the row or changed it since.
        Application = "APPLICATION",
    }
}

/// Details of a limit that `InfrastructureLimit` has no columns for.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitDetails {
    pub origin: Origin,
    pub kind: MetricKind,
    pub period: Option<LimitPeriod>,
    pub at_limit: AtLimit,
    /// The value that was written; another program may have changed it since.
    pub value: f64,
    pub citation: Citation,
    pub note: Option<String>,
    pub updated_by: String,
    pub updated_at: DateTime<Utc>,
}

/// A row of `InfrastructureLimit` as stored: any program may have written anything.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitRow {
    pub service: Service,
    pub metric: Metric,
    pub plan: String,
    pub value: f64,
    pub warning_percent: f64,
    pub critical_percent: f64,
    /// None where this program never wrote the row.
    pub details: Option<LimitDetails>,
}

impl LimitRow {
    /// The owner: the last writer of the value.
    pub fn origin(&self) -> Origin {
        let details = self.own_details();
        details.map_or(Origin::Application, |details| details.origin)
    }

    /// The details, unless another program changed the value since.
    pub fn own_details(&self) -> Option<&LimitDetails> {
        let details = self.details.as_ref();
        details.filter(|details| details.value == self.value)
    }

    /// Where the value comes from.
    pub fn citation(&self) -> Citation {
        let citation = self.own_details().map(|details| &details.citation);
        citation.cloned().unwrap_or_default()
    }

    /// The kind and period, which stay valid if another program changes the value.
    pub fn kind(&self) -> (MetricKind, Option<LimitPeriod>) {
        match &self.details {
            Some(details) => (details.kind, details.period),
            None => default_kind(self.metric),
        }
    }

    pub fn at_limit(&self) -> AtLimit {
        let details = self.details.as_ref();
        details.map_or(AtLimit::Unknown, |details| details.at_limit)
    }

    fn is_budget(&self) -> bool {
        let details = self.details.as_ref();
        details.is_some_and(|details| details.origin == Origin::Budget)
    }

    /// Why usage cannot be compared with it, if so.
    pub fn fault(&self) -> Option<LimitFault> {
        let (warning, critical) = (self.warning_percent, self.critical_percent);
        if check_value(self.value).is_err() {
            return Some(LimitFault::Value(self.value));
        }
        let is_valid = |percent: f64| percent > 0.0 && percent <= 1_000.0;
        let are_valid = is_valid(warning) && is_valid(critical) && warning <= critical;
        (!are_valid).then_some(LimitFault::Percents { warning, critical })
    }
}

/// Why usage cannot be compared with a limit.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LimitFault {
    #[error("invalid limit {}: expected a number above 0", format::exact(*.0))]
    Value(f64),
    #[error(
        "invalid thresholds: warning {}%, critical {}%; expected 0 < warning <= critical",
        format::exact(*.warning),
        format::exact(*.critical)
    )]
    Percents { warning: f64, critical: f64 },
    /// Limits of several plans, none of which is selected.
    #[error("no plan selected; there are limits of {}", .0.join(", "))]
    NoPlan(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LimitInForce {
    pub service: Service,
    pub metric: Metric,
    /// The plan; of a budget, its name.
    pub plan: String,
    #[serde(rename = "limit_value")]
    pub value: f64,
    pub warning_percent: f64,
    pub critical_percent: f64,
    pub kind: MetricKind,
    pub period: Option<LimitPeriod>,
    pub at_limit: AtLimit,
    pub origin: Origin,
    #[serde(flatten)]
    pub citation: Citation,
    pub provider: Option<String>,
    /// Whether the plan counts usage of all resources of the account together.
    #[serde(skip)]
    pub is_of_account: bool,
    /// Whether the plan has one price for all resources.
    #[serde(skip)]
    pub has_one_price: bool,
    #[serde(skip)]
    pub billing: Billing,
    /// Why usage cannot be compared with it, if so.
    #[serde(skip)]
    pub fault: Option<LimitFault>,
}

/// The limits in force, by service and metric: those of the plans in use, and the budgets.
///
/// Where no plan is selected, the only row of a metric is in force; of several, the first, with a fault.
pub fn in_force(
    rows: &[LimitRow],
    selections: &[PlanSelection],
    catalogue: &Catalogue,
    now: DateTime<Utc>,
) -> Vec<LimitInForce> {
    let mut found = Vec::new();
    let meters: BTreeSet<_> = rows.iter().map(|row| (row.service, row.metric)).collect();
    for meter in meters {
        let provider = catalogue.provider_of(meter.0);
        let selected = provider.and_then(|it| selection::current(selections, it, now));
        let plans = rows.iter().map(|row| &row.plan);
        let plans = selected.iter().map(|selected| &selected.plan).chain(plans);
        let plans = plans.filter_map(|plan| catalogue.plan(provider?, &plan.to_lowercase()));
        let listed = plans.filter_map(|plan| plan.limit(meter.0, meter.1)).next();
        let is_of_account = listed.is_some_and(PlanLimit::is_of_account);
        let has_one_price = |row: &LimitRow| {
            let plan = provider.and_then(|it| catalogue.plan(it, &row.plan));
            plan.is_some_and(|plan| plan.scope == PriceScope::Provider)
        };
        // A budget holds for each resource on its own.
        let limit = |row: &LimitRow, fault| LimitInForce {
            is_of_account: is_of_account && !row.is_budget(),
            has_one_price: has_one_price(row) && !row.is_budget(),
            ..LimitInForce::new(row, provider, selected, fault)
        };
        let of_meter = rows.iter().filter(|row| (row.service, row.metric) == meter);
        let (budgets, of_plans): (Vec<&LimitRow>, Vec<&LimitRow>) =
            of_meter.partition(|row| row.is_budget());
        match (selected, of_plans.as_slice()) {
            (Some(selected), rows) => {
                let is_in_use = |row: &&&LimitRow| row.plan.eq_ignore_ascii_case(&selected.plan);
                found.extend(rows.iter().find(is_in_use).map(|row| limit(row, None)));
            }
            (None, []) => {}
            (None, [row]) => found.push(limit(row, None)),
            (None, [first, ..]) => {
                let plans = of_plans.iter().map(|row| row.plan.clone());
                found.push(limit(first, Some(LimitFault::NoPlan(plans.collect()))));
            }
        }
        found.extend(budgets.into_iter().map(|row| limit(row, None)));
    }
    found
}

/// A stored limit, and whether it is in force.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedLimit {
    pub row: LimitRow,
    pub in_force: bool,
    /// Why usage cannot be compared with it, if so.
    pub fault: Option<LimitFault>,
}

/// All rows, with those in force marked.
pub fn listed(
    rows: Vec<LimitRow>,
    selections: &[PlanSelection],
    catalogue: &Catalogue,
    now: DateTime<Utc>,
) -> Vec<ListedLimit> {
    let held = in_force(&rows, selections, catalogue, now);
    let listed = rows.into_iter().map(|row| {
        let found = held.iter().find(|limit| {
            (limit.service, limit.metric, &limit.plan) == (row.service, row.metric, &row.plan)
        });
        let fault = found.and_then(|limit| limit.fault.clone());
        ListedLimit {
            in_force: found.is_some_and(|limit| limit.fault.is_none()),
            fault: fault.or_else(|| row.fault()),
            row,
        }
    });
    listed.collect()
}

impl LimitInForce {
    fn new(
        row: &LimitRow,
        provider: Option<&str>,
        selected: Option<&PlanSelection>,
        fault: Option<LimitFault>,
    ) -> LimitInForce {
        let (kind, period) = row.kind();
        LimitInForce {
            service: row.service,
            metric: row.metric,
            plan: row.plan.clone(),
            value: row.value,
            warning_percent: row.warning_percent,
            critical_percent: row.critical_percent,
            kind,
            period,
            at_limit: row.at_limit(),
            origin: row.origin(),
            citation: row.citation(),
            provider: provider.map(str::to_owned),
            is_of_account: false,
            has_one_price: false,
            billing: selected.map(|it| it.billing).unwrap_or_default(),
            fault: fault.or_else(|| row.fault()),
        }
    }
}

#[cfg(test)]
impl LimitInForce {
    /// 256 MB of a key-value store on its free plan.
    pub(crate) fn sample() -> LimitInForce {
        LimitInForce {
            service: Service::VercelKv,
            metric: Metric::StorageMb,
            plan: "free".to_owned(),
            value: 256.0,
            warning_percent: 75.0,
            critical_percent: 90.0,
            kind: MetricKind::Gauge,
            period: None,
            at_limit: AtLimit::Reject,
            origin: Origin::User,
            citation: Citation::default(),
            provider: None,
            is_of_account: false,
            has_one_price: false,
            billing: Billing::default(),
            fault: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(metric: Metric, plan: &str, value: f64) -> LimitRow {
        LimitRow {
            service: Service::VercelKv,
            metric,
            plan: plan.to_owned(),
            value,
            warning_percent: 75.0,
            critical_percent: 90.0,
            details: None,
        }
    }

    fn written(row: LimitRow, origin: Origin) -> LimitRow {
        let details = LimitDetails {
            origin,
            kind: MetricKind::Gauge,
            period: None,
            at_limit: AtLimit::Reject,
            value: row.value,
            citation: Citation {
                source: Some("page".to_owned()),
                ..Citation::default()
            },
            note: None,
            updated_by: "ops".to_owned(),
            updated_at: DateTime::UNIX_EPOCH,
        };
        LimitRow {
            details: Some(details),
            ..row
        }
    }

    fn held(rows: &[LimitRow], plan: Option<&str>) -> Vec<(String, f64, Option<LimitFault>)> {
        let selected = plan.map(|plan| PlanSelection::sample("upstash", plan));
        let selected: Vec<PlanSelection> = selected.into_iter().collect();
        let catalogue = Catalogue::embedded().unwrap();
        let found = in_force(rows, &selected, &catalogue, DateTime::UNIX_EPOCH);
        let short = |limit: LimitInForce| (limit.plan, limit.value, limit.fault);
        found.into_iter().map(short).collect()
    }

    #[test]
    fn plan_in_use_decides_and_without_one_the_only_row() {
        let free = row(Metric::StorageMb, "Free", 256.0);
        let fixed = row(Metric::StorageMb, "fixed-1gb", 1000.0);
        let both = [free.clone(), fixed.clone()];
        let first = |fault| [("Free".to_owned(), 256.0, fault)];
        assert_eq!(held(&both, Some("free")), first(None));
        assert_eq!(held(&both, Some("payg")), []);
        assert_eq!(held(&[free], None), first(None));
        let plans = vec!["Free".to_owned(), "fixed-1gb".to_owned()];
        assert_eq!(held(&both, None), first(Some(LimitFault::NoPlan(plans))));
    }

    #[test]
    fn budget_is_in_force_beside_the_plan() {
        let budget = written(row(Metric::StorageMb, "budget", 200.0), Origin::Budget);
        let rows = [row(Metric::StorageMb, "free", 256.0), budget];
        let plans = |plan| {
            let held = held(&rows, plan).into_iter();
            held.map(|(plan, _, _)| plan).collect::<Vec<_>>()
        };
        assert_eq!(plans(Some("free")), ["free", "budget"]);
        assert_eq!(plans(None), ["free", "budget"]);
        assert_eq!(plans(Some("payg")), ["budget"]);
    }

    #[test]
    fn changed_row_belongs_to_the_application() {
        let ours = written(row(Metric::StorageMb, "free", 256.0), Origin::Catalogue);
        assert_eq!(ours.origin(), Origin::Catalogue);
        let changed = LimitRow {
            value: 512.0,
            ..ours
        };
        assert_eq!(changed.origin(), Origin::Application);
        let limit = LimitInForce::new(&changed, None, None, None);
        assert_eq!(limit.citation, Citation::default());
        assert_eq!(limit.kind, MetricKind::Gauge);
    }

    #[test]
    fn invalid_value_or_thresholds_are_a_fault() {
        for value in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300] {
            let fault = row(Metric::StorageMb, "free", value).fault();
            assert!(fault.is_some(), "{value}");
        }
        let percents = |warning_percent, critical_percent| LimitRow {
            warning_percent,
            critical_percent,
            ..row(Metric::StorageMb, "free", 256.0)
        };
        assert_eq!(percents(75.0, 90.0).fault(), None);
        const NAN: f64 = f64::NAN;
        for (warning, critical) in [(95.0, 90.0), (NAN, 90.0), (0.0, 90.0), (75.0, NAN)] {
            assert!(percents(warning, critical).fault().is_some());
        }
    }
}
