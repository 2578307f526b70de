//! The answers of `alerts history`.

use super::deliveries::notice_columns;
use super::{measured, value_cell};
use crate::domain::alert::delivery::Notice;
use crate::domain::alert::event::{Event, EventKind};
use crate::domain::alert::rule::AlertType;
use crate::domain::format::{change, time};
use crate::domain::named::Named;
use crate::domain::period::Window;
use crate::output::prelude::*;

#[derive(Debug, Serialize)]
pub struct Events {
    #[serde(flatten, serialize_with = "json::window")]
    pub window: Window,
    pub events: Vec<Event>,
}

#[derive(Debug, Serialize)]
pub struct Notices {
    #[serde(flatten, serialize_with = "json::window")]
    pub window: Window,
    pub notices: Vec<Notice>,
}

fn is_percentage(event: &Event) -> bool {
    let alert_type = AlertType::named(&event.alert.alert_type);
    event.observed.is_percentage(&alert_type)
}

/// The change that an event records: `OK -> FIRING`, `now CRITICAL at 100.0%`, `ACKNOWLEDGED`.
fn event_text(event: &Event) -> String {
    match (event.kind, event.to_state, event.severity) {
        (EventKind::State, Some(to), _) => change(event.from_state, to),
        (EventKind::Severity, _, Some(severity)) => {
            let threshold = event.observed.threshold;
            let threshold = threshold.map(|it| measured(is_percentage(event), it));
            let at = threshold.map_or(String::new(), |threshold| format!(" at {threshold}"));
            format!("now {}{at}", severity.as_str())
        }
        (kind, ..) => kind.as_str().to_owned(),
    }
}

/// Author and note, and whether it was withdrawn.
fn detail(event: &Event) -> String {
    let withdrawn = event.withdrawn_at;
    let withdrawn = withdrawn.map(|at| format!("corrected at {}", time(at)));
    let by = event.actor.as_ref().map(|actor| format!("by {actor}"));
    let parts = withdrawn.into_iter().chain(by).chain(event.note.clone());
    let parts: Vec<String> = parts.collect();
    parts.join(": ")
}

fn none_in(things: &str, window: Window) -> String {
    format!(
        "no {things} from {} to {}\n",
        time(window.from),
        time(window.to)
    )
}

fn event_columns() -> Vec<Column<'static, Event>> {
    type Col = Column<'static, Event>;
    let value = |it: &Event, value| value_cell(is_percentage(it), value);
    vec![
        Col::left("AT", "at", |it| Cell::Time(it.at)),
        Col::csv_only("kind", |it| Cell::text(it.kind)),
        Col::csv_only("alert_id", |it| Cell::text(&it.alert.alert_id)),
        Col::left("API", "api_name", |it| Cell::text(&it.alert.api_name)),
        Col::left("TYPE", "alert_type", |it| Cell::text(&it.alert.alert_type)),
        Col::left("PERIOD", "period", |it| Cell::text(&it.alert.period)),
        Col::table_only("EVENT", |it| Cell::text(event_text(it))),
        Col::csv_only("from_state", |it| Cell::maybe(it.from_state)),
        Col::csv_only("to_state", |it| Cell::maybe(it.to_state)),
        Col::csv_only("severity", |it| Cell::maybe(it.severity)),
        Col::right("VALUE", "value", move |it| value(it, it.observed.value)),
        Col::right("THRESHOLD", "threshold", move |it| {
            value(it, it.observed.threshold)
        })
        .dropped(2),
        Col::csv_only("limit_value", |it| Cell::number(it.observed.limit_value)),
        Col::csv_only("episode", |it| Cell::maybe(it.episode.as_ref())),
        Col::csv_only("actor", |it| Cell::maybe(it.actor.as_ref())),
        Col::csv_only("note", |it| Cell::maybe(it.note.as_ref())),
        Col::csv_only("withdrawn_at", |it| Cell::time(it.withdrawn_at)),
        Col::table_only("NOTE", |it| Cell::text(detail(it))).dropped(1),
    ]
}

pub(super) fn event_table(events: &[Event], width: Option<usize>) -> String {
    columns::table(&event_columns(), events, width)
}

impl Answer for Events {
    fn table(&self, width: Option<usize>) -> String {
        if self.events.is_empty() {
            return none_in("events", self.window);
        }
        event_table(&self.events, width)
    }

    fn json(&self) -> impl Serialize {
        self
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&event_columns(), &self.events)
    }
}

impl Answer for Notices {
    fn table(&self, width: Option<usize>) -> String {
        if self.notices.is_empty() {
            return none_in("notices", self.window);
        }
        columns::table(&notice_columns(), &self.notices, width)
    }

    fn json(&self) -> impl Serialize {
        self
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&notice_columns(), &self.notices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    use crate::domain::alert::rule::{AlertRef, Severity};
    use crate::domain::alert::state::AlertStatus;

    fn event(kind: EventKind) -> Event {
        let alert = AlertRef {
            api_name: "tmdb".to_owned(),
            ..AlertRef::sample()
        };
        let at = DateTime::from_timestamp_millis(0).unwrap();
        Event::new(alert, kind, at, at)
    }

    #[test]
    fn event_text_names_the_change() {
        let mut fired = event(EventKind::State);
        fired.to_state = Some(AlertStatus::Firing);
        assert_eq!(event_text(&fired), "- -> FIRING");
        fired.from_state = Some(AlertStatus::Pending);
        assert_eq!(event_text(&fired), "PENDING -> FIRING");
        let mut worse = event(EventKind::Severity);
        assert_eq!(event_text(&worse), "SEVERITY");
        worse.severity = Some(Severity::Critical);
        assert_eq!(event_text(&worse), "now CRITICAL");
        worse.observed.threshold = Some(100.0);
        assert_eq!(event_text(&worse), "now CRITICAL at 100.0%");
        assert_eq!(event_text(&event(EventKind::Skipped)), "SKIPPED");
    }

    #[test]
    fn table_fits_100_characters() {
        let mut fired = event(EventKind::State);
        fired.to_state = Some(AlertStatus::Firing);
        fired.from_state = Some(AlertStatus::Recovering);
        (fired.observed.value, fired.observed.threshold) = (Some(83.3333), Some(80.0));
        let table = event_table(&[fired], None);
        assert!(
            table.lines().all(|line| line.chars().count() <= 100),
            "{table}"
        );
        assert!(table.contains("  83.3%      80.0%"), "{table}");
    }
}
