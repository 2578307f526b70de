//! The status of the limits.

use chrono::{DateTime, Utc};

use crate::domain::capacity::Capacity;
use crate::domain::capacity::state::LimitState;
use crate::domain::format::counted;
use crate::domain::nagios::{NagiosAnswer, NagiosStatus, PerformanceValue};
use crate::domain::plans::LimitInForce;
use crate::output::chart::bar;
use crate::output::prelude::*;

#[derive(Debug)]
pub struct Check {
    pub limits: Vec<Capacity>,
    pub now: DateTime<Utc>,
}

/// The length of a bar in characters.
const WIDTH: usize = 10;

impl Check {
    pub fn any(&self, is_wanted: impl Fn(LimitState) -> bool) -> bool {
        self.count(is_wanted) > 0
    }

    fn count(&self, is_wanted: impl Fn(LimitState) -> bool) -> usize {
        self.limits.iter().filter(|it| is_wanted(it.state)).count()
    }

    /// The answer to Nagios, where warning and critical are worse than unknown.
    pub fn nagios(&self) -> NagiosAnswer {
        let worst = |is_wanted: fn(LimitState) -> bool| {
            let of_state = self.limits.iter().filter(|it| is_wanted(it.state));
            of_state.max_by(|a, b| {
                let order = |it: &Capacity| it.percent().unwrap_or(f64::NEG_INFINITY);
                order(a).total_cmp(&order(b))
            })
        };
        let (status, text) = if let Some(it) = worst(LimitState::is_critical) {
            (NagiosStatus::Critical, summary(it))
        } else if let Some(it) = worst(|state| state == LimitState::Warning) {
            (NagiosStatus::Warning, summary(it))
        } else if let Some(it) = worst(LimitState::is_unknown) {
            (NagiosStatus::Unknown, summary(it))
        } else if self.limits.is_empty() {
            (NagiosStatus::Unknown, "no limits".to_owned())
        } else {
            let limits = counted(self.limits.len() as u64, "limit");
            (NagiosStatus::Ok, format!("{limits} OK"))
        };
        let data = self.limits.iter().map(|it| PerformanceValue {
            label: name(it),
            value: it
                .percent()
                .map(|percent| format::rounded_percent(percent, 1)),
            unit: "%",
            warning: percents(it).map(|(warning, _)| warning),
            critical: percents(it).map(|(_, critical)| critical),
        });
        let data: Vec<PerformanceValue> = data.collect();
        NagiosAnswer::new(status, &printable(&text), &[], &data)
    }

    fn columns(&self) -> Vec<Column<'_, Capacity>> {
        type Col<'a> = Column<'a, Capacity>;
        let threshold = |name, of: fn(&LimitInForce) -> f64| {
            Col::csv_only(name, move |it| Cell::percent(it.limit.as_ref().map(of)))
        };
        vec![
            Col::left("SERVICE", "service", |it| Cell::text(it.series.service)),
            Col::left("METRIC", "metric", |it| Cell::text(it.series.metric)),
            Col::left("PLAN", "plan", |it| {
                Cell::maybe(it.limit.as_ref().map(|limit| &limit.plan))
            }),
            Col::table_only("RESOURCE", |it| Cell::Text(it.resources_text())).if_any(),
            Col::csv_only("resource", |it| Cell::text(it.resource())),
            Col::csv_only("resources", |it| Cell::count(it.resources as u64)),
            Col::left("STATE", "state", |it| Cell::text(it.state)),
            Col::right("USED", "value", |it| {
                Cell::measured(it.series.metric, it.usage).at_least(it.is_at_least())
            }),
            Col::right("LIMIT", "limit_value", |it| {
                Cell::measured(it.series.metric, it.limit_value())
            }),
            Col::right("% OF LIMIT", "percent", |it| {
                Cell::percent(it.percent()).at_least(it.is_at_least())
            }),
            Col::csv_only("at_least", |it| Cell::Bool(it.is_at_least())),
            Col::table_only("", |it| {
                let marks =
                    percents(it).map_or(Vec::new(), |(warning, critical)| vec![warning, critical]);
                let bar = |percent| bar(percent, &marks, 100.0, WIDTH);
                Cell::maybe(it.percent().map(bar))
            })
            .dropped(1),
            threshold("warning_percent", |limit| limit.warning_percent),
            threshold("critical_percent", |limit| limit.critical_percent),
            Col::csv_only("period", |it| {
                Cell::maybe(it.limit.as_ref().and_then(|limit| limit.period))
            }),
            Col::right("PERIOD", "elapsed_percent", |it| {
                Cell::percent(it.elapsed_percent)
            })
            .dropped(3),
            Col::table_only("AGE", |it| {
                Cell::or_missing(it.measured_at, |at| Cell::Duration(self.now - at))
            })
            .dropped(2),
            Col::csv_only("measured_at", |it| Cell::time(it.measured_at)),
            Col::csv_only("reason", |it| Cell::maybe(it.reason_text())),
        ]
    }
}

/// The warning and critical thresholds.
fn percents(status: &Capacity) -> Option<(f64, f64)> {
    let limit = status.limit.as_ref()?;
    Some((limit.warning_percent, limit.critical_percent))
}

fn name(status: &Capacity) -> String {
    let (service, metric) = (status.series.service, status.series.metric);
    let plan = status.limit.as_ref().map_or("", |limit| &limit.plan);
    let name = format!("{service} {metric} {plan}");
    match status.resource() {
        "" => name,
        resource => format!("{name} {resource}"),
    }
}

fn summary(status: &Capacity) -> String {
    let percent = status.percent().map(format::percent);
    let percent = percent.map(|it| format::at_least(it, status.is_at_least()));
    let detail = match (percent, status.reason_text()) {
        (Some(percent), Some(reason)) => format!("{percent}, {reason}"),
        (Some(percent), None) => percent,
        (None, Some(reason)) => reason,
        (None, None) => format::DASH.to_owned(),
    };
    let (name, span) = (name(status), status.span());
    format!("{name} {} {detail}{span}", status.state)
}

impl Answer for Check {
    fn table(&self, width: Option<usize>) -> String {
        if self.limits.is_empty() {
            return "no limits\n".to_owned();
        }
        let table = columns::table(&self.columns(), &self.limits, width);
        let with_reason = self.limits.iter().filter(|it| it.reason.is_some());
        let notes = lines(&with_reason.collect::<Vec<_>>(), |it| summary(it));
        let gap = if notes.is_empty() { "" } else { "\n" };
        format!(
            "{table}{gap}{notes}\n{}: {} OK, {} warning, {} critical or over, {} unknown\n",
            counted(self.limits.len() as u64, "limit"),
            self.count(|state| state == LimitState::Ok),
            self.count(|state| state == LimitState::Warning),
            self.count(LimitState::is_critical),
            self.count(LimitState::is_unknown),
        )
    }

    fn json(&self) -> impl Serialize {
        let limits = self.limits.iter().map(|it| {
            object! {
                ..&it.limit,
                resource: it.resource(),
                resources: it.resources,
                measure: it.measure,
                state: it.state,
                value: it.usage,
                percent: it.percent(),
                at_least: it.is_at_least(),
                elapsed_percent: it.elapsed_percent,
                missing_days: it.missing,
                measured_at: it.measured_at.map(format::time_ms),
                reason: it.reason_text(),
            }
        });
        object! { now: format::time_ms(self.now), limits: limits.collect::<Vec<_>>() }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&self.columns(), &self.limits)
    }
}
