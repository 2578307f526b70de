//! The answer of `alerts backtest`.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

use super::{measured, value_cell};
use crate::domain::alert::backtest::{PastEpisode, ReplayResult};
use crate::domain::alert::notice::NoticeKind;
use crate::domain::alert::rule::Rule;
use crate::domain::format::{count, counted, duration, time_ms};
use crate::domain::named::Named;
use crate::domain::period::Window;
use crate::output::prelude::*;

/// The episodes and notices of a rule over past data.
#[derive(Debug)]
pub struct Backtest {
    pub rule: Rule,
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    pub steps: u64,
    pub result: ReplayResult,
    pub compared_with: Option<Comparison>,
    /// Periods of which rows are missing.
    pub missing: Vec<Window>,
}

/// What a replay is compared with.
#[derive(Debug)]
pub enum Comparison {
    /// A replay of the unchanged rule.
    Original(ReplayResult),
    /// The episodes that checks recorded.
    History(Vec<PastEpisode>),
}

impl Comparison {
    fn episodes(&self) -> &[PastEpisode] {
        match self {
            Comparison::Original(result) => &result.episodes,
            Comparison::History(episodes) => episodes,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Comparison::Original(_) => "original",
            Comparison::History(_) => "history",
        }
    }
}

/// The total duration of some episodes.
fn firing(episodes: &[PastEpisode], to: DateTime<Utc>) -> TimeDelta {
    let durations = episodes.iter().map(|past| past.lasted(to));
    durations.fold(TimeDelta::zero(), |sum, duration| sum + duration)
}

/// An episode, and the only side that has it. Episodes that fired at the same step are the same.
struct Row<'a> {
    past: &'a PastEpisode,
    only_in: Option<&'static str>,
}

impl Backtest {
    /// The name of the replayed rule in a comparison.
    fn name(&self) -> &'static str {
        match self.compared_with {
            Some(Comparison::Original(_)) => "changed",
            _ => "backtest",
        }
    }

    fn rows(&self) -> Vec<Row<'_>> {
        let ids = |episodes: &[PastEpisode]| -> BTreeSet<String> {
            episodes.iter().map(|past| past.id.clone()).collect()
        };
        let (compared, ours) = (self.compared_with.as_ref(), &self.result.episodes);
        let theirs = compared.map_or(&[][..], Comparison::episodes);
        let (our_ids, their_ids) = (ids(ours), ids(theirs));
        let ours = ours.iter().map(|past| Row {
            past,
            only_in: compared
                .filter(|_| !their_ids.contains(&past.id))
                .map(|_| self.name()),
        });
        let theirs = theirs.iter().filter(|past| !our_ids.contains(&past.id));
        let theirs = theirs.map(|past| Row {
            past,
            only_in: compared.map(Comparison::name),
        });
        let mut rows: Vec<Row<'_>> = ours.chain(theirs).collect();
        rows.sort_by_key(|row| (row.past.fired_at, &row.past.api_name));
        rows
    }

    fn columns(&self) -> Vec<Column<'_, Row<'_>>> {
        type Col<'a> = Column<'a, Row<'a>>;
        let is_percentage = self.rule.is_percentage();
        vec![
            Col::csv_only("episode", |row| Cell::text(&row.past.id)),
            Col::left("API", "api_name", |row| Cell::text(&row.past.api_name)),
            Col::left("FIRED", "fired_at", |row| Cell::Time(row.past.fired_at)),
            Col::left("ENDED", "ended_at", |row| Cell::time(row.past.ended_at)),
            Col::right("DURATION", "duration_ms", |row| {
                Cell::Duration(row.past.lasted(self.to))
            }),
            Col::left("SEVERITY", "severity", |row| Cell::text(row.past.severity)),
            Col::right("PEAK", "peak", move |row| {
                value_cell(is_percentage, row.past.peak)
            }),
            Col::left("ONLY IN", "only_in", |row| Cell::maybe(row.only_in))
                .in_table(self.compared_with.is_some()),
        ]
    }

    /// `1 episode, firing 3m of 1h, 2 notices (1 FIRING, 1 RESOLVED)`.
    fn summary(&self, episodes: &[PastEpisode], result: Option<&ReplayResult>) -> String {
        let mut text = format!(
            "{}, firing {} of {}",
            counted(episodes.len() as u64, "episode"),
            duration(firing(episodes, self.to)),
            duration(self.to - self.from),
        );
        if let Some(result) = result {
            let kinds = result.notices.iter();
            let kinds: Vec<String> = kinds
                .map(|(kind, number)| format!("{} {}", count(*number), kind.as_str()))
                .collect();
            let notices = counted(result.notices.values().sum(), "notice");
            text.push_str(&format!(", {notices}"));
            if !kinds.is_empty() {
                text.push_str(&format!(" ({})", kinds.join(", ")));
            }
            if result.unknown_steps > 0 {
                let steps = counted(result.unknown_steps, "step");
                let reason = result.events.iter().find_map(|event| event.note.as_deref());
                let reason = reason.map_or(String::new(), |reason| format!(" ({reason})"));
                text.push_str(&format!(", unknown in {steps}{}", printable(&reason)));
            }
        }
        text.push('\n');
        text
    }
}

impl Answer for Backtest {
    fn table(&self, width: Option<usize>) -> String {
        let mut text = format!(
            "{}, threshold {}: {} to {}, {}\n\n",
            printable(&self.rule.to_string()),
            measured(self.rule.is_percentage(), self.rule.threshold),
            format::time(self.from),
            format::time(self.to),
            counted(self.steps, "step"),
        );
        let rows = self.rows();
        if !rows.is_empty() {
            text.push_str(&columns::table(&self.columns(), &rows, width));
            text.push('\n');
        }
        let summary = self.summary(&self.result.episodes, Some(&self.result));
        match &self.compared_with {
            None => text.push_str(&summary),
            Some(compared) => {
                let result = match compared {
                    Comparison::Original(result) => Some(result),
                    Comparison::History(_) => None,
                };
                let other = self.summary(compared.episodes(), result);
                text.push_str(&format!(
                    "{}: {summary}{}: {other}",
                    self.name(),
                    compared.name()
                ));
            }
        }
        for missing in &self.missing {
            text.push_str(&format!(
                "rows are missing from {} to {}\n",
                format::time(missing.from),
                format::time(missing.to)
            ));
        }
        text
    }

    fn json(&self) -> impl Serialize {
        let compared = self.compared_with.as_ref();
        let (columns, rows) = (self.columns(), self.rows());
        let side = |other: Option<&str>| {
            let rows = rows.iter();
            let rows = rows.filter(|row| row.only_in.is_none() || row.only_in != other);
            rows.map(|row| columns::object(&columns, row))
                .collect::<Vec<_>>()
        };
        let missing = self.missing.iter();
        let missing = missing.map(|it| object! { from: time_ms(it.from), to: time_ms(it.to) });
        let notices = |kind| self.result.notices.get(&kind).copied().unwrap_or(0);
        object! {
            alert_id: Some(self.rule.id.as_str()).filter(|id| !id.is_empty()),
            api_name: &self.rule.api_name,
            alert_type: self.rule.alert_type.as_str(),
            period: self.rule.period.as_str(),
            threshold: self.rule.threshold,
            for_ms: self.rule.settings.hold.num_milliseconds(),
            from: time_ms(self.from),
            to: time_ms(self.to),
            steps: self.steps,
            unknown_steps: self.result.unknown_steps,
            firing_seconds: firing(&self.result.episodes, self.to).num_seconds(),
            notices: object! {
                firing: notices(NoticeKind::Firing),
                reminder: notices(NoticeKind::Reminder),
                resolved: notices(NoticeKind::Resolved),
                missed: notices(NoticeKind::Missed),
                unknown: notices(NoticeKind::Unknown),
                known: notices(NoticeKind::Known),
            },
            episodes: side(compared.map(Comparison::name)),
            events: &self.result.events,
            compared_with: compared.map(Comparison::name),
            compared_episodes: compared.map(|_| side(Some(self.name()))),
            missing_rows: missing.collect::<Vec<_>>(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&self.columns(), &self.rows())
    }
}
