//! What became of the limits when they were brought in line with the catalogue.

use serde::Serialize;

use super::plan::ChoiceJson;
use super::{number, or_dash, or_nothing};
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::plans::limit::Origin;
use crate::domain::plans::sync::{ApiLimitChange, Change, LimitChange};
use crate::domain::plans::{ApiLimitOrigin, Grade, PageDate, PlanChoice};
use crate::output::Answer;
use crate::output::table::{Side, layout};

/// The answer of `limits init`.
#[derive(Debug)]
pub struct Initialised {
    pub catalogue_version: String,
    pub dry_run: bool,
    pub plans: Vec<PlanChoice>,
    /// The providers of which no plan is chosen, and their plans.
    pub without_plan: Vec<(String, Vec<String>)>,
    /// What became of the limits of plans.
    pub limits: Vec<LimitChange>,
    /// What became of the limits of APIs.
    pub api_limits: Vec<ApiLimitChange>,
}

impl Answer for Initialised {
    fn table(&self, _width: Option<usize>) -> String {
        let plans: Vec<String> = self
            .plans
            .iter()
            .map(|choice| format!("{} {}", choice.provider, choice.plan))
            .collect();
        let plans = match plans.is_empty() {
            true => "no plan is chosen".to_owned(),
            false => format!("in use: {}", plans.join(", ")),
        };
        let rehearsal = if self.dry_run {
            ", nothing was written"
        } else {
            ""
        };
        format!(
            "catalogue {}, {plans}{rehearsal}\n\n{}",
            self.catalogue_version,
            changes_table(&self.limits, &self.api_limits)
        )
    }

    fn json(&self) -> impl Serialize {
        Json {
            catalogue_version: &self.catalogue_version,
            dry_run: self.dry_run,
            plans: self
                .plans
                .iter()
                .map(|it| ChoiceJson::new(it, true))
                .collect(),
            without_plan: self
                .without_plan
                .iter()
                .map(|(provider, plans)| WithoutPlanJson { provider, plans })
                .collect(),
            changes: ChangesJson::new(&self.limits, &self.api_limits),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        changes_csv(&self.limits, &self.api_limits)
    }
}

/// The changes, one a line.
pub(super) fn changes_table(limits: &[LimitChange], api_limits: &[ApiLimitChange]) -> String {
    let columns = [
        ("CHANGE", Side::Left),
        ("LIMIT OF", Side::Left),
        ("PLAN", Side::Left),
        ("VALUE", Side::Right),
        ("BEFORE", Side::Right),
        ("PAGE OF", Side::Left),
        ("SOURCE", Side::Left),
    ];
    let before = |change: Change, before: Option<f64>| match change {
        Change::Updated => before.map_or_else(|| "-".to_owned(), number),
        _ => "-".to_owned(),
    };
    let of_plans = limits.iter().map(|change| {
        let row = &change.row;
        let meaning = row.meaning.as_ref();
        let of = match change.change {
            Change::Kept => (None, Some(kept(row.origin(), change.wanted))),
            _ => (
                meaning.and_then(|meaning| meaning.page_date),
                meaning.and_then(|meaning| meaning.source.clone()),
            ),
        };
        vec![
            change.change.to_string(),
            format!("{} {}", row.service, row.metric),
            row.plan.clone(),
            number(row.value),
            before(change.change, change.before),
            or_dash(of.0),
            or_dash(of.1),
        ]
    });
    let of_apis = api_limits.iter().map(|change| {
        let limit = &change.limit;
        let source = match (change.change, limit.origin) {
            (Change::Kept, _) => Some("set by the user".to_owned()),
            _ => limit.source.clone(),
        };
        vec![
            change.change.to_string(),
            format!("{} {} per {}", limit.api_name, limit.unit, limit.period),
            or_dash(change.plan.as_ref()),
            number(limit.value),
            before(change.change, change.before),
            or_dash(limit.page_date),
            or_dash(source),
        ]
    });
    let rows: Vec<_> = of_plans.chain(of_apis).collect();
    match rows.is_empty() {
        true => "no limits\n".to_owned(),
        false => layout(&columns, rows),
    }
}

/// Why a row stays, and what it would be.
fn kept(origin: Origin, wanted: f64) -> String {
    let whose = match origin {
        Origin::User => "set by the user",
        Origin::Budget => "a budget of the user",
        Origin::Catalogue | Origin::Application => "written by another program",
    };
    format!("{whose}; the catalogue says {}", number(wanted))
}

/// As [`changes_table`], for spreadsheets.
pub(super) fn changes_csv(
    limits: &[LimitChange],
    api_limits: &[ApiLimitChange],
) -> Vec<Vec<String>> {
    let header = [
        "change",
        "api_name",
        "period",
        "unit",
        "service",
        "metric",
        "plan",
        "limit_value",
        "value_before",
        "catalogue_value",
        "source",
    ];
    let of_plans = limits.iter().map(|change| {
        let row = &change.row;
        vec![
            change.change.to_string(),
            String::new(),
            String::new(),
            String::new(),
            row.service.to_string(),
            row.metric.to_string(),
            row.plan.clone(),
            row.value.to_string(),
            or_nothing(change.before),
            change.wanted.to_string(),
            or_nothing(row.meaning.as_ref().and_then(|it| it.source.as_ref())),
        ]
    });
    let of_apis = api_limits.iter().map(|change| {
        let limit = &change.limit;
        vec![
            change.change.to_string(),
            limit.api_name.clone(),
            limit.period.to_string(),
            limit.unit.to_string(),
            String::new(),
            String::new(),
            or_nothing(change.plan.as_ref()),
            limit.value.to_string(),
            or_nothing(change.before),
            String::new(),
            or_nothing(limit.source.as_ref()),
        ]
    });
    std::iter::once(header.map(str::to_owned).to_vec())
        .chain(of_plans)
        .chain(of_apis)
        .collect()
}

#[derive(Serialize)]
struct Json<'a> {
    catalogue_version: &'a str,
    dry_run: bool,
    plans: Vec<ChoiceJson<'a>>,
    without_plan: Vec<WithoutPlanJson<'a>>,
    #[serde(flatten)]
    changes: ChangesJson<'a>,
}

#[derive(Serialize)]
struct WithoutPlanJson<'a> {
    provider: &'a str,
    plans: &'a [String],
}

#[derive(Serialize)]
pub(super) struct ChangesJson<'a> {
    limits: Vec<LimitChangeJson<'a>>,
    api_limits: Vec<ApiLimitChangeJson<'a>>,
}

impl ChangesJson<'_> {
    pub(super) fn new<'a>(
        limits: &'a [LimitChange],
        api_limits: &'a [ApiLimitChange],
    ) -> ChangesJson<'a> {
        ChangesJson {
            limits: limits.iter().map(LimitChangeJson::new).collect(),
            api_limits: api_limits.iter().map(ApiLimitChangeJson::new).collect(),
        }
    }
}

#[derive(Serialize)]
struct LimitChangeJson<'a> {
    change: Change,
    service: Service,
    metric: Metric,
    plan: &'a str,
    limit_value: f64,
    value_before: Option<f64>,
    catalogue_value: f64,
    origin: Origin,
    source: Option<&'a str>,
    page_date: Option<PageDate>,
    grade: Option<Grade>,
}

impl LimitChangeJson<'_> {
    fn new(change: &LimitChange) -> LimitChangeJson<'_> {
        let row = &change.row;
        let meaning = row.meaning.as_ref();
        LimitChangeJson {
            change: change.change,
            service: row.service,
            metric: row.metric,
            plan: &row.plan,
            limit_value: row.value,
            value_before: change.before,
            catalogue_value: change.wanted,
            origin: row.origin(),
            source: meaning.and_then(|meaning| meaning.source.as_deref()),
            page_date: meaning.and_then(|meaning| meaning.page_date),
            grade: meaning.and_then(|meaning| meaning.grade),
        }
    }
}

#[derive(Serialize)]
struct ApiLimitChangeJson<'a> {
    change: Change,
    api_name: &'a str,
    period: &'a str,
    unit: crate::domain::plans::Unit,
    plan: Option<&'a str>,
    limit_value: f64,
    value_before: Option<f64>,
    origin: ApiLimitOrigin,
    source: Option<&'a str>,
    page_date: Option<PageDate>,
    grade: Option<Grade>,
}

impl ApiLimitChangeJson<'_> {
    fn new(change: &ApiLimitChange) -> ApiLimitChangeJson<'_> {
        let limit = &change.limit;
        ApiLimitChangeJson {
            change: change.change,
            api_name: &limit.api_name,
            period: limit.period.as_str(),
            unit: limit.unit,
            plan: change.plan.as_deref(),
            limit_value: limit.value,
            value_before: change.before,
            origin: limit.origin,
            source: limit.source.as_deref(),
            page_date: limit.page_date,
            grade: limit.grade,
        }
    }
}
