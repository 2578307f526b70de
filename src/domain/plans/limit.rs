//! Which limits hold now: rows of the application's `InfrastructureLimit`, whoever wrote them, and what is known
//! about them beyond its columns.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::api_limit;
use super::catalogue::{AtLimit, Catalogue, LimitPeriod, usual_kind};
use super::selection;
use super::selection::{Billing, PlanChoice};
use super::source::{Grade, PageDate};
use crate::domain::metrics::names::MetricKind;
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::named::named;

named! {
    /// Who has the say about a limit.
    Origin, "origin" {
        /// The catalogue: `limits init` wrote it and keeps it up to date.
        Catalogue = "CATALOGUE",
        /// The user, by `limits set`.
        User = "USER",
        /// The user, as a ceiling of their own beside what the plan says.
        Budget = "BUDGET",
        /// The application, or another program: it wrote the row, or changed it since.
        Application = "APPLICATION",
    }
}

/// What is known of a limit beyond the columns of `InfrastructureLimit`.
#[derive(Clone, Debug, PartialEq)]
pub struct Meaning {
    /// Who wrote it through us.
    pub origin: Origin,
    pub kind: MetricKind,
    /// In how long a time.
    pub period: Option<LimitPeriod>,
    pub at_limit: AtLimit,
    /// The value as it was written.
    pub value: f64,
    /// Where it is written: an address, or the user's words.
    pub source: Option<String>,
    /// The date on that page.
    pub page_date: Option<PageDate>,
    /// How good the source is.
    pub grade: Option<Grade>,
    /// The catalogue that it came from.
    pub catalogue_version: Option<String>,
    /// What else there is to say.
    pub note: Option<String>,
    pub updated_by: String,
    pub updated_at: DateTime<Utc>,
}

/// A row of `InfrastructureLimit`, as it is found: any program may have written anything.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitRow {
    pub service: Service,
    pub metric: Metric,
    pub plan: String,
    pub value: f64,
    /// From how many percent on to warn.
    pub warning_percent: f64,
    /// From how many percent on it is critical.
    pub critical_percent: f64,
    /// What we know beyond that, if we wrote it.
    pub meaning: Option<Meaning>,
}

impl LimitRow {
    /// Who has the say about it. A row that is not as we wrote it belongs to whoever changed it.
    pub fn origin(&self) -> Origin {
        match &self.meaning {
            Some(meaning) if meaning.value == self.value => meaning.origin,
            _ => Origin::Application,
        }
    }

    /// Why nothing can be compared with it, if so.
    pub fn fault(&self) -> Option<String> {
        let (warning, critical) = (self.warning_percent, self.critical_percent);
        if api_limit::sound(self.value).is_err() {
            return Some(format!("{} is no limit", self.value));
        }
        let sound = |percent: f64| percent > 0.0 && percent <= 1_000.0;
        if !sound(warning) || !sound(critical) || warning > critical {
            return Some(format!(
                "it warns at {warning}% and is critical at {critical}%"
            ));
        }
        None
    }
}

/// A limit that holds.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitInForce {
    pub service: Service,
    pub metric: Metric,
    /// On which plan; of a budget, its name.
    pub plan: String,
    pub value: f64,
    /// From how many percent on to warn.
    pub warning_percent: f64,
    /// From how many percent on it is critical.
    pub critical_percent: f64,
    pub kind: MetricKind,
    /// In how long a time.
    pub period: Option<LimitPeriod>,
    pub at_limit: AtLimit,
    /// Who has the say about it.
    pub origin: Origin,
    pub source: Option<String>,
    /// The date on that page.
    pub page_date: Option<PageDate>,
    /// How good the source is.
    pub grade: Option<Grade>,
    /// The catalogue that it came from.
    pub catalogue_version: Option<String>,
    pub provider: Option<String>,
    /// When the provider's billing periods begin.
    pub billing: Billing,
    /// Why nothing can be compared with it, if so.
    pub fault: Option<String>,
}

/// The limits that hold now, by service and metric: those of the plan that is in use, and the budgets.
///
/// Where no plan is chosen the only row there is holds; of several nobody knows which, and that is said.
pub fn in_force(
    rows: &[LimitRow],
    choices: &[PlanChoice],
    catalogue: &Catalogue,
    now: DateTime<Utc>,
) -> Vec<LimitInForce> {
    let is_budget = |row: &&LimitRow| {
        let meaning = row.meaning.as_ref();
        meaning.is_some_and(|meaning| meaning.origin == Origin::Budget)
    };
    let mut found = Vec::new();
    let services: BTreeSet<Service> = rows.iter().map(|row| row.service).collect();
    for service in services {
        let provider = catalogue.provider_of(service);
        let choice = provider.and_then(|provider| selection::current(choices, provider, now));
        let of_service = || rows.iter().filter(move |row| row.service == service);
        let metrics: BTreeSet<Metric> = of_service().map(|row| row.metric).collect();
        let limit =
            |row: &LimitRow, fault: Option<String>| LimitInForce::of(row, provider, choice, fault);
        for metric in metrics {
            let of_metric = || of_service().filter(move |row| row.metric == metric);
            let of_plans: Vec<&LimitRow> = of_metric().filter(|row| !is_budget(row)).collect();
            match (choice, of_plans.as_slice()) {
                (Some(choice), rows) => {
                    let in_use = |row: &&&LimitRow| row.plan.eq_ignore_ascii_case(&choice.plan);
                    found.extend(rows.iter().find(in_use).map(|row| limit(row, None)));
                }
                (None, []) => {}
                (None, [row]) => found.push(limit(row, None)),
                (None, rows) => {
                    let plans: Vec<&str> = rows.iter().map(|row| row.plan.as_str()).collect();
                    let fault = format!(
                        "there are limits of {}, and nobody has said which plan is in use",
                        plans.join(", ")
                    );
                    found.push(limit(rows[0], Some(fault)));
                }
            }
            found.extend(of_metric().filter(is_budget).map(|row| limit(row, None)));
        }
    }
    found
}

impl LimitInForce {
    fn of(
        row: &LimitRow,
        provider: Option<&str>,
        choice: Option<&PlanChoice>,
        fault: Option<String>,
    ) -> LimitInForce {
        // Whoever changed the value did not change what is measured.
        let usual = usual_kind(row.metric);
        let meaning = row.meaning.as_ref();
        let (kind, period) = meaning.map_or(usual, |meaning| (meaning.kind, meaning.period));
        let origin = row.origin();
        let written = meaning.filter(|_| origin != Origin::Application);
        LimitInForce {
            service: row.service,
            metric: row.metric,
            plan: row.plan.clone(),
            value: row.value,
            warning_percent: row.warning_percent,
            critical_percent: row.critical_percent,
            kind,
            period,
            at_limit: meaning.map_or(AtLimit::Unknown, |meaning| meaning.at_limit),
            origin,
            source: written.and_then(|meaning| meaning.source.clone()),
            page_date: written.and_then(|meaning| meaning.page_date),
            grade: written.and_then(|meaning| meaning.grade),
            catalogue_version: written.and_then(|meaning| meaning.catalogue_version.clone()),
            provider: provider.map(str::to_owned),
            billing: choice.map(|choice| choice.billing).unwrap_or_default(),
            fault: fault.or_else(|| row.fault()),
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
            meaning: None,
        }
    }

    fn meant(row: LimitRow, origin: Origin, value: f64) -> LimitRow {
        let meaning = Meaning {
            origin,
            kind: MetricKind::Gauge,
            period: None,
            at_limit: AtLimit::Reject,
            value,
            source: Some("page".to_owned()),
            page_date: None,
            grade: None,
            catalogue_version: Some("2026.11.21".to_owned()),
            note: None,
            updated_by: "ops".to_owned(),
            updated_at: DateTime::UNIX_EPOCH,
        };
        LimitRow {
            meaning: Some(meaning),
            ..row
        }
    }

    fn held(rows: &[LimitRow], plan: Option<&str>) -> Vec<(String, f64, Option<String>)> {
        let choice = plan.map(|plan| PlanChoice {
            id: "1".to_owned(),
            provider: "upstash".to_owned(),
            plan: plan.to_owned(),
            seats: None,
            region: None,
            billing: Billing::default(),
            valid_from: DateTime::UNIX_EPOCH,
            chosen_by: "ops".to_owned(),
            created_at: DateTime::UNIX_EPOCH,
        });
        let choices: Vec<PlanChoice> = choice.into_iter().collect();
        let catalogue = Catalogue::embedded().unwrap();
        let found = in_force(rows, &choices, &catalogue, DateTime::UNIX_EPOCH);
        let short = |limit: LimitInForce| (limit.plan, limit.value, limit.fault);
        found.into_iter().map(short).collect()
    }

    #[test]
    fn the_plan_in_use_decides_and_without_one_the_only_row() {
        let free = row(Metric::StorageMb, "Free", 256.0);
        let fixed = row(Metric::StorageMb, "fixed-1gb", 1000.0);
        let both = [free.clone(), fixed.clone()];
        assert_eq!(
            held(&both, Some("free")),
            [("Free".to_owned(), 256.0, None)]
        );
        assert_eq!(held(&both, Some("payg")), []);
        assert_eq!(held(&[free], None), [("Free".to_owned(), 256.0, None)]);
        let unsure = held(&both, None);
        assert_eq!(unsure.len(), 1);
        assert!(
            unsure[0]
                .2
                .as_deref()
                .unwrap()
                .contains("which plan is in use")
        );
    }

    #[test]
    fn a_budget_holds_beside_the_plan() {
        let budget = meant(
            row(Metric::StorageMb, "budget", 200.0),
            Origin::Budget,
            200.0,
        );
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
    fn a_row_that_is_not_as_we_wrote_it_is_somebody_elses() {
        let ours = meant(
            row(Metric::StorageMb, "free", 256.0),
            Origin::Catalogue,
            256.0,
        );
        assert_eq!(ours.origin(), Origin::Catalogue);
        let changed = LimitRow {
            value: 512.0,
            ..ours
        };
        assert_eq!(changed.origin(), Origin::Application);
        let limit = LimitInForce::of(&changed, None, None, None);
        assert_eq!((limit.source, limit.kind), (None, MetricKind::Gauge));
    }

    #[test]
    fn a_row_that_makes_no_sense_says_so() {
        for value in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300] {
            assert!(
                row(Metric::StorageMb, "free", value).fault().is_some(),
                "{value}"
            );
        }
        let percents = |warning_percent, critical_percent| LimitRow {
            warning_percent,
            critical_percent,
            ..row(Metric::StorageMb, "free", 256.0)
        };
        assert_eq!(percents(75.0, 90.0).fault(), None);
        for (warning, critical) in [
            (95.0, 90.0),
            (f64::NAN, 90.0),
            (0.0, 90.0),
            (75.0, f64::NAN),
        ] {
            assert!(percents(warning, critical).fault().is_some());
        }
    }
}
