//! How near the limits are.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{number, or_nothing};
use crate::domain::capacity::limit_status::{Standing, State};
use crate::domain::format::counted;
use crate::domain::metrics::names::MetricKind;
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::period::shown;
use crate::domain::plans::{AtLimit, LimitPeriod, Origin};
use crate::output::table::{Side, layout};
use crate::output::{Answer, printable};

/// The answer of `limits check`.
#[derive(Debug)]
pub struct Check {
    /// Every limit, and where it stands.
    pub standings: Vec<Standing>,
    pub now: DateTime<Utc>,
}

/// How many characters a bar has.
const WIDTH: usize = 20;

impl Check {
    fn count(&self, wanted: impl Fn(State) -> bool) -> usize {
        self.standings.iter().filter(|it| wanted(it.state)).count()
    }

    /// The line and the status that Nagios reads. There critical is worse than warning, and that worse than
    /// unknown.
    pub fn nagios(&self) -> (String, u8) {
        let worst = |wanted: fn(State) -> bool| {
            let of_state = self.standings.iter().filter(|it| wanted(it.state));
            let percent = |it: &Standing| it.percent.unwrap_or(0.0);
            of_state.max_by(|a, b| percent(a).total_cmp(&percent(b)))
        };
        let (word, status, what) = if let Some(it) = worst(State::is_critical) {
            ("CRITICAL", 2, it.line())
        } else if let Some(it) = worst(|state| state == State::Warning) {
            ("WARNING", 1, it.line())
        } else if let Some(it) = worst(State::is_unknown) {
            ("UNKNOWN", 3, it.line())
        } else if self.standings.is_empty() {
            ("UNKNOWN", 3, "there are no limits".to_owned())
        } else {
            let limits = counted(self.standings.len() as u64, "limit");
            ("OK", 0, format!("{limits}, none is near"))
        };
        let measured = self.standings.iter().filter_map(|it| {
            let label = it.name().replace([' ', '\'', '='], "_");
            Some(format!(
                "'{label}'={:.1}%;{};{}",
                it.percent?, it.limit.warning_percent, it.limit.critical_percent
            ))
        });
        let measured: Vec<String> = measured.collect();
        // What stands behind a bar is read as numbers.
        let line = format!(
            "{word} - {} | {}",
            what.replace('|', "/"),
            measured.join(" ")
        );
        (printable(line.trim_end()).into_owned(), status)
    }
}

impl Standing {
    fn name(&self) -> String {
        let limit = &self.limit;
        let resource = match self.resource.as_str() {
            "" => String::new(),
            resource => format!(" {resource}"),
        };
        format!(
            "{} {} {}{resource}",
            limit.service, limit.metric, limit.plan
        )
    }

    fn line(&self) -> String {
        let how = match (self.percent, &self.reason) {
            (Some(percent), _) => format!("{percent:.1}%"),
            (None, Some(reason)) => reason.clone(),
            (None, None) => "unknown".to_owned(),
        };
        format!("{} {} {how}", self.name(), self.state)
    }
}

/// What is used as a bar, with marks where the warning and the critical share are; beyond the limit it ends in `▶`.
fn bar(percent: f64, warning: f64, critical: f64) -> String {
    let cell = |percent: f64| (percent / 100.0 * WIDTH as f64).round() as usize;
    let filled = cell(percent.clamp(0.0, 100.0));
    let marks = [warning, critical].map(|mark| cell(mark.clamp(0.0, 100.0)).saturating_sub(1));
    let draw = |index: usize| match (index < filled, marks.contains(&index)) {
        (true, _) if percent > 100.0 && index + 1 == WIDTH => '▶',
        (true, true) => '▓',
        (true, false) => '█',
        (false, true) => '│',
        (false, false) => '·',
    };
    (0..WIDTH).map(draw).collect()
}

impl Answer for Check {
    fn table(&self, _width: Option<usize>) -> String {
        if self.standings.is_empty() {
            return "there are no limits\n".to_owned();
        }
        let resources = self.standings.iter().any(|it| !it.resource.is_empty());
        let mut columns = vec![
            ("SERVICE", Side::Left),
            ("METRIC", Side::Left),
            ("PLAN", Side::Left),
        ];
        if resources {
            columns.push(("OF", Side::Left));
        }
        columns.extend([
            ("STATE", Side::Left),
            ("USED", Side::Right),
            ("LIMIT", Side::Right),
            ("PERCENT", Side::Right),
            ("", Side::Left),
            ("OF PERIOD", Side::Right),
            ("MEASURED", Side::Left),
        ]);
        let dash = || "-".to_owned();
        let rows = self.standings.iter().map(|it| {
            let limit = &it.limit;
            let percent = |percent: f64| format!("{percent:.1}%");
            let drawn = match (it.percent, &it.reason) {
                (Some(percent), _) => bar(percent, limit.warning_percent, limit.critical_percent),
                (None, Some(reason)) => reason.clone(),
                (None, None) => String::new(),
            };
            let mut cells = vec![
                limit.service.to_string(),
                limit.metric.to_string(),
                limit.plan.clone(),
            ];
            if resources {
                cells.push(it.resource.clone());
            }
            cells.extend([
                it.state.to_string(),
                it.value.map_or_else(dash, number),
                number(limit.value),
                it.percent.map_or_else(dash, percent),
                drawn,
                it.elapsed_percent.map_or_else(dash, percent),
                it.measured_at.map_or_else(dash, shown),
            ]);
            cells
        });
        let table = layout(&columns, rows);
        let unknown = self.count(State::is_unknown);
        format!(
            "{table}\n{}: {} ok, {} at the warning, {} critical or over, {unknown} unknown\n",
            counted(self.standings.len() as u64, "limit"),
            self.count(|state| state == State::Ok),
            self.count(|state| state == State::Warning),
            self.count(State::is_critical),
        )
    }

    fn json(&self) -> impl Serialize {
        Json {
            now: shown(self.now),
            limits: self.standings.iter().map(StandingJson::new).collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = [
            "service",
            "metric",
            "plan",
            "resource",
            "state",
            "value",
            "limit_value",
            "percent",
            "warning_percent",
            "critical_percent",
            "period",
            "elapsed_percent",
            "measured_at",
            "reason",
        ];
        let rows = self.standings.iter().map(|it| {
            let limit = &it.limit;
            vec![
                limit.service.to_string(),
                limit.metric.to_string(),
                limit.plan.clone(),
                it.resource.clone(),
                it.state.to_string(),
                or_nothing(it.value),
                limit.value.to_string(),
                or_nothing(it.percent),
                limit.warning_percent.to_string(),
                limit.critical_percent.to_string(),
                or_nothing(limit.period),
                or_nothing(it.elapsed_percent),
                or_nothing(it.measured_at.map(shown)),
                or_nothing(it.reason.as_ref()),
            ]
        });
        std::iter::once(header.map(str::to_owned).to_vec())
            .chain(rows)
            .collect()
    }
}

#[derive(Serialize)]
struct Json<'a> {
    now: String,
    limits: Vec<StandingJson<'a>>,
}

#[derive(Serialize)]
struct StandingJson<'a> {
    service: Service,
    metric: Metric,
    plan: &'a str,
    resource: &'a str,
    state: State,
    value: Option<f64>,
    limit_value: Option<f64>,
    percent: Option<f64>,
    warning_percent: Option<f64>,
    critical_percent: Option<f64>,
    kind: MetricKind,
    period: Option<LimitPeriod>,
    elapsed_percent: Option<f64>,
    at_limit: AtLimit,
    origin: Origin,
    measured_at: Option<String>,
    reason: Option<&'a str>,
}

impl StandingJson<'_> {
    fn new(standing: &Standing) -> StandingJson<'_> {
        let limit = &standing.limit;
        let finite = |value: f64| Some(value).filter(|value| value.is_finite());
        StandingJson {
            service: limit.service,
            metric: limit.metric,
            plan: &limit.plan,
            resource: &standing.resource,
            state: standing.state,
            value: standing.value,
            limit_value: finite(limit.value),
            percent: standing.percent,
            warning_percent: finite(limit.warning_percent),
            critical_percent: finite(limit.critical_percent),
            kind: limit.kind,
            period: limit.period,
            elapsed_percent: standing.elapsed_percent,
            at_limit: limit.at_limit,
            origin: limit.origin,
            measured_at: standing.measured_at.map(shown),
            reason: standing.reason.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::bar;

    #[test]
    fn a_bar_shows_what_is_used_and_where_it_becomes_serious() {
        assert_eq!(bar(0.0, 75.0, 90.0), "··············│··│··");
        assert_eq!(bar(80.0, 75.0, 90.0), "██████████████▓█·│··");
        assert_eq!(bar(250.0, 75.0, 90.0), "██████████████▓██▓█▶");
    }
}
