//! The answers of `limits`.
//!
//! A limit of a service and one of an API are rows of the same lists: [`Row`] has the columns of both. Tables leave
//! out the address of the source, which is in CSV, JSON, `limits show` and `limits list --wide`.

pub mod audit;
pub mod changes;
pub mod check;
pub mod list;
pub mod plan;
pub mod show;

use chrono::{DateTime, Utc};

use crate::domain::metrics::names::{Metric, MetricKind, Service};
use crate::domain::plans::limit::{LimitRow, ListedLimit};
use crate::domain::plans::sync::{ApiLimitChange, LimitChange, SyncAction};
use crate::domain::plans::{ApiLimit, AtLimit, Citation, Unit};
use crate::output::prelude::*;

/// A limit of a service or an API. JSON leaves out what the limit does not have.
#[derive(Default, Serialize)]
struct Row<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<SyncAction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<Service>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<Metric>,
    plan: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<MetricKind>,
    period: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<Unit>,
    /// Null where the row does not hold a number.
    limit_value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_before: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    catalogue_value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    critical_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_limit: Option<AtLimit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_force: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
    origin: String,
    #[serde(flatten)]
    citation: Citation,
    note: Option<&'a str>,
    updated_by: Option<&'a str>,
    #[serde(serialize_with = "json::maybe_time")]
    updated_at: Option<DateTime<Utc>>,
}

impl<'a> Row<'a> {
    fn of_service(row: &'a LimitRow) -> Row<'a> {
        let (kind, period) = row.kind();
        let details = row.own_details();
        Row {
            service: Some(row.service),
            metric: Some(row.metric),
            plan: Some(&row.plan),
            kind: Some(kind),
            period: period.map(|period| period.to_string()),
            limit_value: row.value,
            warning_percent: Some(row.warning_percent),
            critical_percent: Some(row.critical_percent),
            at_limit: Some(row.at_limit()),
            origin: row.origin().to_string(),
            citation: row.citation(),
            note: details.and_then(|details| details.note.as_deref()),
            updated_by: details.map(|details| details.updated_by.as_str()),
            updated_at: details.map(|details| details.updated_at),
            ..Row::default()
        }
    }

    fn of_api(limit: &'a ApiLimit) -> Row<'a> {
        Row {
            api_name: Some(&limit.api_name),
            period: Some(limit.period.to_string()),
            unit: Some(limit.unit),
            limit_value: limit.value,
            in_force: Some(true),
            origin: limit.origin.to_string(),
            citation: limit.citation.clone(),
            updated_at: Some(limit.updated_at),
            ..Row::default()
        }
    }

    fn of_listed(limit: &'a ListedLimit) -> Row<'a> {
        Row {
            in_force: Some(limit.in_force),
            fault: limit.fault.as_ref().map(ToString::to_string),
            ..Row::of_service(&limit.row)
        }
    }

    fn of_change(change: &'a LimitChange) -> Row<'a> {
        Row {
            change: Some(change.change),
            value_before: change.before,
            catalogue_value: Some(change.wanted),
            ..Row::of_service(&change.row)
        }
    }

    fn of_api_change(change: &'a ApiLimitChange) -> Row<'a> {
        Row {
            change: Some(change.change),
            plan: change.plan.as_deref(),
            value_before: change.before,
            catalogue_value: change.wanted,
            in_force: None,
            ..Row::of_api(&change.limit)
        }
    }

    fn name(&self) -> String {
        match (self.service, self.metric, self.api_name, self.unit) {
            (Some(service), Some(metric), _, _) => format!("{service} {metric}"),
            (_, _, Some(api), Some(unit)) => format!("{api} {unit}"),
            _ => String::new(),
        }
    }

    fn thresholds(&self) -> Cell {
        match (self.warning_percent, self.critical_percent) {
            (Some(warning), Some(critical)) => {
                let [warning, critical] = [warning, critical].map(format::percent);
                Cell::text(format!("{warning} / {critical}"))
            }
            _ => Cell::Missing,
        }
    }

    fn active(&self) -> Cell {
        match (&self.fault, self.in_force) {
            (None, Some(in_force)) => Cell::Bool(in_force),
            _ => Cell::text("unknown"),
        }
    }
}

/// Which optional columns the table of a list has; CSV has all.
#[derive(Clone, Copy, Default)]
struct Shown {
    wide: bool,
    is_change: bool,
    before: bool,
    catalogue_value: bool,
}

impl Shown {
    fn columns<'r>(self) -> Vec<Column<'r, Row<'r>>> {
        type CellOf<'r> = fn(&Row<'r>) -> Cell;
        // A column without a header is in CSV only.
        let column = |header, name, cell: CellOf<'r>| match header {
            None => Column::csv_only(name, cell),
            Some(header @ "LIMIT") => Column::right(header, name, cell),
            Some(header) => Column::left(header, name, cell),
        };
        let mut columns = vec![
            Column::table_only("METRIC", |it: &Row<'r>| Cell::text(it.name())),
            column(None, "api_name", |it| Cell::maybe(it.api_name)),
            column(None, "service", |it| Cell::maybe(it.service)),
            column(None, "metric", |it| Cell::maybe(it.metric)),
            column(Some("PLAN"), "plan", |it| Cell::maybe(it.plan)),
            column(None, "kind", |it| Cell::maybe(it.kind)),
            column(Some("PER"), "period", |it| Cell::maybe(it.period.as_ref())),
            column(None, "unit", |it| Cell::maybe(it.unit)),
            column(Some("LIMIT"), "limit_value", |it| {
                Cell::measured(it.metric, Some(it.limit_value))
            }),
        ];
        let number = |header, name, value: fn(&Row<'r>) -> Option<f64>| match header {
            None => Column::csv_only(name, move |it| Cell::number(value(it))),
            Some(header) => Column::right(header, name, move |it| Cell::number(value(it))),
        };
        if self.is_change {
            let change = column(Some("CHANGE"), "change", |it| Cell::maybe(it.change));
            columns.insert(0, change);
            let before = self.before.then_some("BEFORE");
            columns.push(number(before, "value_before", |it| it.value_before));
            let catalogue = self.catalogue_value.then_some("CATALOGUE");
            columns.push(number(catalogue, "catalogue_value", |it| {
                it.catalogue_value
            }));
        }
        columns.push(number(None, "warning_percent", |it| it.warning_percent));
        columns.push(number(None, "critical_percent", |it| it.critical_percent));
        if !self.is_change {
            columns.push(Column::table_only("THRESHOLDS", Row::thresholds));
            columns.push(column(Some("ACTIVE"), "in_force", Row::active));
        }
        let wide = |header| self.wide.then_some(header);
        // Without kept limits all are the catalogue's.
        let origin = (!self.is_change || self.catalogue_value).then_some("ORIGIN");
        let date = (self.wide || origin.is_none()).then_some("SOURCE DATE");
        columns.extend([
            column(origin, "origin", |it| Cell::text(&it.origin)),
            column(wide("GRADE"), "grade", |it| Cell::maybe(it.citation.grade)).dropped(2),
            column(date, "page_date", |it| Cell::maybe(it.citation.page_date)).dropped(3),
            column(wide("SOURCE"), "source", |it| {
                Cell::maybe(it.citation.source.as_ref())
            })
            .dropped(1),
            column(None, "catalogue_version", |it| {
                Cell::maybe(it.citation.catalogue_version.as_ref())
            }),
        ]);
        columns
    }
}

#[derive(Serialize)]
struct RowsJson<'a> {
    limits: Vec<Row<'a>>,
    api_limits: Vec<Row<'a>>,
}

impl RowsJson<'_> {
    fn new(rows: Vec<Row<'_>>) -> RowsJson<'_> {
        let (limits, api_limits) = rows.into_iter().partition(|row| row.api_name.is_none());
        RowsJson { limits, api_limits }
    }
}
