//! The limits there are.

use serde::Serialize;

use super::{number, or_dash, or_nothing};
use crate::domain::metrics::names::MetricKind;
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::period::shown;
use crate::domain::plans::limit::LimitRow;
use crate::domain::plans::{
    ApiLimit, ApiLimitOrigin, AtLimit, Grade, LimitPeriod, Origin, PageDate, Unit, usual_kind,
};
use crate::output::Answer;
use crate::output::table::{Side, layout};

/// The answer of `limits list`.
#[derive(Debug)]
pub struct Limits {
    /// What plans include, and budgets.
    pub limits: Vec<ListedLimit>,
    pub api_limits: Vec<ApiLimit>,
}

/// A limit of a service, and whether it counts.
#[derive(Debug)]
pub struct ListedLimit {
    pub row: LimitRow,
    /// Whether its plan is in use.
    pub in_force: bool,
    /// Why nothing can be compared with it, if so.
    pub fault: Option<String>,
}

impl Answer for Limits {
    fn table(&self, _width: Option<usize>) -> String {
        if self.limits.is_empty() && self.api_limits.is_empty() {
            return "no limits\n".to_owned();
        }
        let mut parts = Vec::new();
        if !self.limits.is_empty() {
            parts.push(limits_table(&self.limits));
        }
        if !self.api_limits.is_empty() {
            parts.push(api_limits_table(&self.api_limits));
        }
        parts.join("\n")
    }

    fn json(&self) -> impl Serialize {
        Json {
            limits: self.limits.iter().map(LimitJson::new).collect(),
            api_limits: self.api_limits.iter().map(ApiLimitJson::new).collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = [
            "api_name",
            "service",
            "metric",
            "plan",
            "kind",
            "period",
            "unit",
            "limit_value",
            "warning_percent",
            "critical_percent",
            "in_force",
            "origin",
            "grade",
            "page_date",
            "source",
            "catalogue_version",
        ];
        let limits = self.limits.iter().map(|limit| {
            let row = &limit.row;
            let LimitJson { kind, period, .. } = LimitJson::new(limit);
            let meaning = row.meaning.as_ref();
            vec![
                String::new(),
                row.service.to_string(),
                row.metric.to_string(),
                row.plan.clone(),
                kind.to_string(),
                or_nothing(period),
                String::new(),
                row.value.to_string(),
                row.warning_percent.to_string(),
                row.critical_percent.to_string(),
                limit.in_force.to_string(),
                row.origin().to_string(),
                or_nothing(meaning.and_then(|it| it.grade)),
                or_nothing(meaning.and_then(|it| it.page_date)),
                or_nothing(meaning.and_then(|it| it.source.as_ref())),
                or_nothing(meaning.and_then(|it| it.catalogue_version.as_ref())),
            ]
        });
        let api_limits = self.api_limits.iter().map(|limit| {
            vec![
                limit.api_name.clone(),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
                limit.period.to_string(),
                limit.unit.to_string(),
                limit.value.to_string(),
                String::new(),
                String::new(),
                "true".to_owned(),
                limit.origin.to_string(),
                or_nothing(limit.grade),
                or_nothing(limit.page_date),
                or_nothing(limit.source.as_ref()),
                or_nothing(limit.catalogue_version.as_ref()),
            ]
        });
        std::iter::once(header.map(str::to_owned).to_vec())
            .chain(limits)
            .chain(api_limits)
            .collect()
    }
}

fn limits_table(limits: &[ListedLimit]) -> String {
    let columns = [
        ("SERVICE", Side::Left),
        ("METRIC", Side::Left),
        ("PLAN", Side::Left),
        ("LIMIT", Side::Right),
        ("WARNING", Side::Right),
        ("CRITICAL", Side::Right),
        ("PER", Side::Left),
        ("HOLDS", Side::Left),
        ("ORIGIN", Side::Left),
        ("GRADE", Side::Left),
        ("PAGE OF", Side::Left),
        ("SOURCE", Side::Left),
    ];
    let rows = limits.iter().map(|limit| {
        let row = &limit.row;
        let meaning = row
            .meaning
            .as_ref()
            .filter(|_| row.origin() != Origin::Application);
        let holds = match (&limit.fault, limit.in_force) {
            (Some(fault), _) => format!("unknown: {fault}"),
            (None, true) => "yes".to_owned(),
            (None, false) => "no".to_owned(),
        };
        vec![
            row.service.to_string(),
            row.metric.to_string(),
            row.plan.clone(),
            number(row.value),
            format!("{}%", number(row.warning_percent)),
            format!("{}%", number(row.critical_percent)),
            or_dash(LimitJson::new(limit).period),
            holds,
            row.origin().to_string(),
            or_dash(meaning.and_then(|it| it.grade)),
            or_dash(meaning.and_then(|it| it.page_date)),
            or_dash(meaning.and_then(|it| it.source.as_ref())),
        ]
    });
    layout(&columns, rows)
}

pub(super) fn api_limits_table(api_limits: &[ApiLimit]) -> String {
    let columns = [
        ("API", Side::Left),
        ("PER", Side::Left),
        ("LIMIT", Side::Right),
        ("UNIT", Side::Left),
        ("ORIGIN", Side::Left),
        ("GRADE", Side::Left),
        ("PAGE OF", Side::Left),
        ("SOURCE", Side::Left),
    ];
    let rows = api_limits.iter().map(|limit| {
        vec![
            limit.api_name.clone(),
            limit.period.to_string(),
            number(limit.value),
            limit.unit.to_string(),
            limit.origin.to_string(),
            or_dash(limit.grade),
            or_dash(limit.page_date),
            or_dash(limit.source.as_ref()),
        ]
    });
    layout(&columns, rows)
}

#[derive(Serialize)]
struct Json<'a> {
    limits: Vec<LimitJson<'a>>,
    api_limits: Vec<ApiLimitJson<'a>>,
}

#[derive(Serialize)]
pub(super) struct LimitJson<'a> {
    service: Service,
    metric: Metric,
    plan: &'a str,
    /// Null where the row holds no number.
    limit_value: Option<f64>,
    warning_percent: Option<f64>,
    critical_percent: Option<f64>,
    kind: MetricKind,
    period: Option<LimitPeriod>,
    at_limit: AtLimit,
    in_force: bool,
    fault: Option<&'a str>,
    origin: Origin,
    grade: Option<Grade>,
    page_date: Option<PageDate>,
    source: Option<&'a str>,
    catalogue_version: Option<&'a str>,
    note: Option<&'a str>,
    updated_by: Option<&'a str>,
    updated_at: Option<String>,
}

impl LimitJson<'_> {
    pub(super) fn new(limit: &ListedLimit) -> LimitJson<'_> {
        let row = &limit.row;
        let all = row.meaning.as_ref();
        let (kind, period) = all.map_or_else(|| usual_kind(row.metric), |it| (it.kind, it.period));
        let meaning = all.filter(|_| row.origin() != Origin::Application);
        let finite = |value: f64| Some(value).filter(|value| value.is_finite());
        LimitJson {
            service: row.service,
            metric: row.metric,
            plan: &row.plan,
            limit_value: finite(row.value),
            warning_percent: finite(row.warning_percent),
            critical_percent: finite(row.critical_percent),
            kind,
            period,
            at_limit: all.map_or(AtLimit::Unknown, |it| it.at_limit),
            in_force: limit.in_force,
            fault: limit.fault.as_deref(),
            origin: row.origin(),
            grade: meaning.and_then(|it| it.grade),
            page_date: meaning.and_then(|it| it.page_date),
            source: meaning.and_then(|it| it.source.as_deref()),
            catalogue_version: meaning.and_then(|it| it.catalogue_version.as_deref()),
            note: meaning.and_then(|it| it.note.as_deref()),
            updated_by: meaning.map(|it| it.updated_by.as_str()),
            updated_at: meaning.map(|it| shown(it.updated_at)),
        }
    }
}

#[derive(Serialize)]
pub(super) struct ApiLimitJson<'a> {
    api_name: &'a str,
    period: &'a str,
    limit_value: f64,
    unit: Unit,
    origin: ApiLimitOrigin,
    grade: Option<Grade>,
    page_date: Option<PageDate>,
    source: Option<&'a str>,
    catalogue_version: Option<&'a str>,
    updated_at: String,
}

impl ApiLimitJson<'_> {
    pub(super) fn new(limit: &ApiLimit) -> ApiLimitJson<'_> {
        ApiLimitJson {
            api_name: &limit.api_name,
            period: limit.period.as_str(),
            limit_value: limit.value,
            unit: limit.unit,
            origin: limit.origin,
            grade: limit.grade,
            page_date: limit.page_date,
            source: limit.source.as_deref(),
            catalogue_version: limit.catalogue_version.as_deref(),
            updated_at: shown(limit.updated_at),
        }
    }
}
