//! What `recommend run` answers.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::list::RecommendationJson;
use super::short_id;
use crate::domain::format::counted;
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::recommendation::Recommendation;
use crate::domain::recommendation::history::Entry;
use crate::domain::recommendation::reconcile::{Done, Step, Topic};
use crate::output::table::{Side, layout};
use crate::output::{Answer, printable};

/// What was done to one recommendation.
#[derive(Debug)]
pub struct Line {
    pub done: Done,
    /// The recommendation as it is now.
    pub recommendation: Recommendation,
    pub entries: Vec<Entry>,
    pub at: DateTime<Utc>,
}

impl Line {
    /// Of a step that was taken.
    pub fn of(step: Step, at: DateTime<Utc>) -> Line {
        Line {
            done: step.done,
            recommendation: step.after,
            entries: step.entries,
            at,
        }
    }
}

/// A limit of which nothing can be said.
#[derive(Debug)]
pub struct Silence {
    pub topic: Topic,
    pub why: String,
}

/// What a run did.
#[derive(Debug)]
pub struct Run {
    pub dry_run: bool,
    /// How many limits there are.
    pub limits: usize,
    /// What was done, in order.
    pub lines: Vec<Line>,
    /// The limits of which nothing can be said.
    pub silent: Vec<Silence>,
}

impl Answer for Run {
    fn table(&self, _width: Option<usize>) -> String {
        let mut text = String::new();
        let ids: Vec<String> = self
            .lines
            .iter()
            .map(|line| line.recommendation.id.clone())
            .collect();
        if !self.lines.is_empty() {
            let columns = [
                ("ID", Side::Left),
                ("WHAT", Side::Left),
                ("PRIORITY", Side::Left),
                ("STATUS", Side::Left),
                ("SERVICE", Side::Left),
                ("METRIC", Side::Left),
                ("PLAN", Side::Left),
            ];
            let rows = self.lines.iter().map(|line| {
                let it = &line.recommendation;
                vec![
                    short_id(&it.id, &ids).to_owned(),
                    line.done.as_str().to_owned(),
                    it.priority.to_string(),
                    it.status.to_string(),
                    it.service.to_string(),
                    it.metric
                        .map_or("-".to_owned(), |metric| metric.to_string()),
                    super::plans(it),
                ]
            });
            text.push_str(&layout(&columns, rows));
            for line in &self.lines {
                for change in line.entries.iter().flat_map(|entry| &entry.changes) {
                    let id = short_id(&line.recommendation.id, &ids);
                    let change = format!(
                        "{id}: {} was {}, is {}\n",
                        change.name, change.from, change.to
                    );
                    text.push_str(&printable(change.trim_end()));
                    text.push('\n');
                }
            }
            text.push('\n');
        }
        for silence in &self.silent {
            let topic = &silence.topic;
            let name = format!("{} {} ({})", topic.service, topic.metric, topic.plan);
            text.push_str(&printable(&format!("unknown: {name}: {}", silence.why)));
            text.push('\n');
        }
        let limits = counted(self.limits as u64, "limit");
        let lines = counted(self.lines.len() as u64, "recommendation");
        let dry = if self.dry_run {
            "; nothing was written"
        } else {
            ""
        };
        text.push_str(&format!("{limits} judged, {lines}{dry}\n"));
        text
    }

    fn json(&self) -> impl Serialize {
        #[derive(Serialize)]
        struct LineJson<'a> {
            done: &'static str,
            #[serde(flatten)]
            recommendation: RecommendationJson<'a>,
        }
        #[derive(Serialize)]
        struct SilenceJson<'a> {
            service: Service,
            metric: Metric,
            plan: &'a str,
            resource: &'a str,
            reason: &'a str,
        }
        #[derive(Serialize)]
        struct RunJson<'a> {
            dry_run: bool,
            limits: usize,
            recommendations: Vec<LineJson<'a>>,
            unknown: Vec<SilenceJson<'a>>,
        }
        RunJson {
            dry_run: self.dry_run,
            limits: self.limits,
            recommendations: self
                .lines
                .iter()
                .map(|line| LineJson {
                    done: line.done.as_str(),
                    recommendation: (&line.recommendation).into(),
                })
                .collect(),
            unknown: self
                .silent
                .iter()
                .map(|silence| SilenceJson {
                    service: silence.topic.service,
                    metric: silence.topic.metric,
                    plan: &silence.topic.plan,
                    resource: &silence.topic.resource,
                    reason: &silence.why,
                })
                .collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = [
            "id",
            "done",
            "priority",
            "status",
            "service",
            "metric",
            "current_plan",
            "recommended_plan",
        ];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        rows.extend(self.lines.iter().map(|line| {
            let it = &line.recommendation;
            vec![
                it.id.clone(),
                line.done.as_str().to_owned(),
                it.priority.to_string(),
                it.status.to_string(),
                it.service.to_string(),
                it.metric.map_or(String::new(), |metric| metric.to_string()),
                it.current_plan.clone(),
                it.recommended_plan.clone(),
            ]
        }));
        rows
    }
}
