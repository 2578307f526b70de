//! What `alerts backtest` answers.

use crate::domain::named::Named;
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::super::table::{self, layout};
use super::super::{Answer, printable};
use super::measured;
use crate::domain::alert::backtest::PastEpisode;
use crate::domain::alert::event::Event;
use crate::domain::alert::notice::NoticeKind;
use crate::domain::alert::rule::{Rule, Severity};
use crate::domain::format::{count, counted};
use crate::domain::period::{Window, shown};

/// What a rule would have said.
#[derive(Debug)]
pub struct Backtest {
    pub rule: Rule,
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    pub steps: u64,
    /// What it would have said.
    pub side: Side,
    /// What that is compared with.
    pub beside: Option<Beside>,
    pub gone: Vec<Window>,
}

/// What came out of a replay.
#[derive(Debug, Default)]
pub struct Side {
    pub episodes: Vec<PastEpisode>,
    pub events: Vec<Event>,
    /// How many notices there would have been.
    pub notices: BTreeMap<NoticeKind, u64>,
    /// How many steps could not be judged.
    pub unknown_steps: u64,
}

/// What a replay is compared with.
#[derive(Debug)]
pub enum Beside {
    /// The rule as it stands.
    Original(Side),
    /// What checks found at the time.
    History(Vec<PastEpisode>),
}

impl Beside {
    fn episodes(&self) -> &[PastEpisode] {
        match self {
            Beside::Original(side) => &side.episodes,
            Beside::History(episodes) => episodes,
        }
    }

    /// What it is called, among others.
    fn name(&self) -> &'static str {
        match self {
            Beside::Original(_) => "as it stands",
            Beside::History(_) => "at the time",
        }
    }
}

impl Side {
    fn notices(&self) -> u64 {
        self.notices.values().sum()
    }
}

/// How long some episodes lasted together.
fn firing(episodes: &[PastEpisode], to: DateTime<Utc>) -> TimeDelta {
    let lasted = episodes.iter().map(|past| past.lasted(to));
    lasted.fold(TimeDelta::zero(), |sum, lasted| sum + lasted)
}

/// A span of time in the two units that matter most.
fn long_span(span: TimeDelta) -> String {
    let minutes = span.num_minutes();
    let (days, hours, minutes) = (minutes / 1_440, minutes / 60 % 24, minutes % 60);
    match (days, hours, minutes) {
        (0, 0, _) if span.num_seconds() % 60 != 0 => format!("{}s", span.num_seconds()),
        (0, 0, minutes) => format!("{minutes}m"),
        (0, hours, 0) => format!("{hours}h"),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, 0, _) => format!("{days}d"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

/// Whether an episode is on one side only. Where both sides have one that began at the same step, it is the
/// same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Both,
    Here,
    There,
}

impl Backtest {
    fn rows(&self) -> Vec<(Presence, &PastEpisode)> {
        let Some(beside) = &self.beside else {
            return self
                .side
                .episodes
                .iter()
                .map(|past| (Presence::Both, past))
                .collect();
        };
        let ids = |episodes: &[PastEpisode]| -> BTreeSet<String> {
            episodes.iter().map(|past| past.id.clone()).collect()
        };
        let (here, there) = (ids(&self.side.episodes), ids(beside.episodes()));
        let ours = self
            .side
            .episodes
            .iter()
            .map(|past| match there.contains(&past.id) {
                true => (Presence::Both, past),
                false => (Presence::Here, past),
            });
        let theirs = beside
            .episodes()
            .iter()
            .filter(|past| !here.contains(&past.id));
        let mut rows: Vec<_> = ours
            .chain(theirs.map(|past| (Presence::There, past)))
            .collect();
        rows.sort_by(|(_, a), (_, b)| (a.fired_at, &a.api_name).cmp(&(b.fired_at, &b.api_name)));
        rows
    }

    fn summary(&self, name: &str, episodes: &[PastEpisode], side: Option<&Side>) -> String {
        let mut text = format!(
            "{name}{}, firing {} of {}",
            counted(episodes.len() as u64, "episode"),
            long_span(firing(episodes, self.to)),
            long_span(self.to - self.from),
        );
        if let Some(side) = side {
            text.push_str(&format!(", {}", counted(side.notices(), "notice")));
            let kinds = side
                .notices
                .iter()
                .map(|(kind, number)| format!("{} {}", count(*number), kind.as_str()));
            let kinds: Vec<String> = kinds.collect();
            if !kinds.is_empty() {
                text.push_str(&format!(" ({})", kinds.join(", ")));
            }
            if side.unknown_steps > 0 {
                let steps = counted(side.unknown_steps, "step");
                let reason = side.events.iter().find_map(|event| event.note.as_deref());
                let reason = reason.map_or(String::new(), |reason| format!(" ({reason})"));
                text.push_str(&format!(", unknown in {steps}{}", printable(&reason)));
            }
        }
        text.push('\n');
        text
    }
}

impl Answer for Backtest {
    fn table(&self, _width: Option<usize>) -> String {
        let mut text = format!(
            "{}, threshold {}: {} to {}, {}\n\n",
            printable(&self.rule.to_string()),
            measured(&self.rule.alert_type, self.rule.threshold),
            shown(self.from),
            shown(self.to),
            counted(self.steps, "step"),
        );
        let rows = self.rows();
        if !rows.is_empty() {
            let mut columns = vec![
                ("API", table::Side::Left),
                ("FIRED", table::Side::Left),
                ("ENDED", table::Side::Left),
                ("LASTED", table::Side::Right),
                ("SEVERITY", table::Side::Left),
                ("PEAK", table::Side::Right),
            ];
            if self.beside.is_some() {
                columns.push(("ONLY", table::Side::Left));
            }
            let row = |(side, past): &(Presence, &PastEpisode)| {
                let mut row = vec![
                    past.api_name.clone(),
                    shown(past.fired_at),
                    past.ended_at.map_or_else(|| "-".to_owned(), shown),
                    long_span(past.lasted(self.to)),
                    past.severity.as_str().to_owned(),
                    past.peak.map_or_else(
                        || "-".to_owned(),
                        |peak| measured(&self.rule.alert_type, peak),
                    ),
                ];
                if let Some(beside) = &self.beside {
                    let only = match side {
                        Presence::Both => "",
                        Presence::Here => "here",
                        Presence::There => beside.name(),
                    };
                    row.push(only.to_owned());
                }
                row
            };
            text.push_str(&layout(&columns, rows.iter().map(row)));
            text.push('\n');
        }
        let (here, there) = match &self.beside {
            None => (String::new(), None),
            Some(beside) => ("here: ".to_owned(), Some(beside)),
        };
        text.push_str(&self.summary(&here, &self.side.episodes, Some(&self.side)));
        if let Some(beside) = there {
            let side = match beside {
                Beside::Original(side) => Some(side),
                Beside::History(_) => None,
            };
            let name = format!("{}: ", beside.name());
            text.push_str(&self.summary(&name, beside.episodes(), side));
        }
        for gone in &self.gone {
            text.push_str(&format!(
                "rows are gone between {} and {}\n",
                shown(gone.from),
                shown(gone.to)
            ));
        }
        text
    }

    fn json(&self) -> impl Serialize {
        let beside = self.beside.as_ref();
        BacktestJson {
            alert_id: &self.rule.id,
            api_name: &self.rule.api_name,
            alert_type: self.rule.alert_type.as_str(),
            period: self.rule.period.as_str(),
            threshold: self.rule.threshold,
            r#for: crate::domain::format::duration(self.rule.settings.hold),
            from: self.from,
            to: self.to,
            steps: self.steps,
            unknown_steps: self.side.unknown_steps,
            firing_seconds: firing(&self.side.episodes, self.to).num_seconds(),
            notices: NoticesJson::new(&self.side),
            episodes: self.side.episodes.iter().map(PastJson::new).collect(),
            events: &self.side.events,
            beside: beside.map(Beside::name),
            beside_episodes: beside
                .map(|beside| beside.episodes().iter().map(PastJson::new).collect()),
            rows_gone: self.gone.iter().map(|gone| [gone.from, gone.to]).collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = [
            "api_name", "fired_at", "ended_at", "seconds", "severity", "peak", "only",
        ];
        let row = |(side, past): (Presence, &PastEpisode)| {
            vec![
                past.api_name.clone(),
                shown(past.fired_at),
                past.ended_at.map_or_else(String::new, shown),
                past.lasted(self.to).num_seconds().to_string(),
                past.severity.as_str().to_owned(),
                past.peak.map_or_else(String::new, |peak| peak.to_string()),
                match side {
                    Presence::Both => "",
                    Presence::Here => "here",
                    Presence::There => "there",
                }
                .to_owned(),
            ]
        };
        let header = header.map(str::to_owned).to_vec();
        std::iter::once(header)
            .chain(self.rows().into_iter().map(row))
            .collect()
    }
}

#[derive(Serialize)]
struct BacktestJson<'a> {
    alert_id: &'a str,
    api_name: &'a str,
    alert_type: &'a str,
    period: &'a str,
    threshold: f64,
    r#for: String,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    steps: u64,
    unknown_steps: u64,
    firing_seconds: i64,
    notices: NoticesJson,
    episodes: Vec<PastJson<'a>>,
    events: &'a [Event],
    beside: Option<&'static str>,
    beside_episodes: Option<Vec<PastJson<'a>>>,
    rows_gone: Vec<[DateTime<Utc>; 2]>,
}

#[derive(Serialize)]
struct NoticesJson {
    firing: u64,
    reminder: u64,
    resolved: u64,
    missed: u64,
}

impl NoticesJson {
    fn new(side: &Side) -> NoticesJson {
        let of = |kind| side.notices.get(&kind).copied().unwrap_or(0);
        NoticesJson {
            firing: of(NoticeKind::Firing),
            reminder: of(NoticeKind::Reminder),
            resolved: of(NoticeKind::Resolved),
            missed: of(NoticeKind::Missed),
        }
    }
}

#[derive(Serialize)]
struct PastJson<'a> {
    episode: &'a str,
    api_name: &'a str,
    fired_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
    severity: &'static str,
    peak: Option<f64>,
}

impl PastJson<'_> {
    fn new(past: &PastEpisode) -> PastJson<'_> {
        PastJson {
            episode: &past.id,
            api_name: &past.api_name,
            fired_at: past.fired_at,
            ended_at: past.ended_at,
            severity: Severity::as_str(past.severity),
            peak: past.peak,
        }
    }
}
