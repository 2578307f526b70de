//! The answers of `alerts history`.

use super::deliveries::detail as notice_detail;
use super::{measured, value_cell};
use crate::domain::alert::delivery::Notice;
use crate::domain::alert::event::{Event, EventKind};
use crate::domain::alert::rule::{AlertType, Severity};
use crate::domain::alert::state::AlertStatus;
use crate::domain::format::{change, time};
use crate::domain::named::Named;
use crate::domain::period::Window;
use crate::output::prelude::*;

/// The events of a time range.
#[derive(Debug, Serialize)]
pub struct Events {
    #[serde(flatten, serialize_with = "json::window")]
    pub window: Window,
    pub events: Vec<Event>,
}

/// The notices created in a time range.
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

fn event_columns() -> Vec<columns::Column<'static, Event>> {
    type Column = columns::Column<'static, Event>;
    let value = |event: &Event, value| value_cell(is_percentage(event), value);
    let state = |state: Option<AlertStatus>| Cell::maybe(state.map(AlertStatus::as_str));
    vec![
        Column::left("AT", "at", |event| Cell::Time(event.at)),
        Column::csv_only("kind", |event| Cell::text(event.kind.as_str())),
        Column::csv_only("alert_id", |event| Cell::text(&event.alert.alert_id)),
        Column::left("API", "api_name", |event| Cell::text(&event.alert.api_name)),
        Column::left("TYPE", "alert_type", |event| {
            Cell::text(&event.alert.alert_type)
        }),
        Column::left("PERIOD", "period", |event| Cell::text(&event.alert.period)),
        Column::table_only("EVENT", |event| Cell::text(event_text(event))),
        Column::csv_only("from_state", move |event| state(event.from_state)),
        Column::csv_only("to_state", move |event| state(event.to_state)),
        Column::csv_only("severity", |event| {
            Cell::maybe(event.severity.map(Severity::as_str))
        }),
        Column::right("VALUE", "value", move |event| {
            value(event, event.observed.value)
        }),
        Column::right("THRESHOLD", "threshold", move |event| {
            value(event, event.observed.threshold)
        })
        .dropped(2),
        Column::csv_only("limit_value", |event| {
            Cell::or_missing(event.observed.limit_value, Cell::Number)
        }),
        Column::csv_only("episode", |event| Cell::maybe(event.episode.as_ref())),
        Column::csv_only("actor", |event| Cell::maybe(event.actor.as_ref())),
        Column::csv_only("note", |event| Cell::maybe(event.note.as_ref())),
        Column::csv_only("withdrawn_at", |event| {
            Cell::or_missing(event.withdrawn_at, Cell::Time)
        }),
        Column::table_only("NOTE", |event| Cell::text(detail(event))).dropped(1),
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

fn notice_columns() -> Vec<columns::Column<'static, Notice>> {
    type Column = columns::Column<'static, Notice>;
    vec![
        Column::left("AT", "created_at", |notice| {
            Cell::Time(notice.content.created_at)
        }),
        Column::csv_only("key", |notice| Cell::text(&notice.content.key)),
        Column::left("CHANNEL", "channel", |notice| Cell::text(&notice.channel)),
        Column::left("NOTICE", "kind", |notice| {
            Cell::text(notice.content.kind.as_str())
        }),
        Column::left("API", "api_name", |notice| {
            Cell::text(&notice.content.alert.api_name)
        }),
        Column::left("TYPE", "alert_type", |notice| {
            Cell::text(&notice.content.alert.alert_type)
        })
        .dropped(2),
        Column::left("PERIOD", "period", |notice| {
            Cell::text(&notice.content.alert.period)
        })
        .dropped(1),
        Column::left("DELIVERY", "delivery", |notice| {
            Cell::text(notice.delivery.as_str())
        }),
        Column::right("ATTEMPTS", "attempts", |notice| {
            Cell::count(notice.attempts)
        }),
        Column::csv_only("delivered_at", |notice| {
            Cell::or_missing(notice.delivered_at, Cell::Time)
        }),
        Column::csv_only("summary", |notice| Cell::text(&notice.content.summary)),
        Column::left("ERROR", "error", |notice| {
            Cell::maybe(notice_detail(notice))
        }),
    ]
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

    use crate::domain::alert::rule::AlertRef;

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
    fn detail_has_author_and_note() {
        let mut event = event(EventKind::Acknowledged);
        assert_eq!(detail(&event), "");
        event.note = Some("key exchanged".to_owned());
        assert_eq!(detail(&event), "key exchanged");
        event.actor = Some("anna".to_owned());
        assert_eq!(detail(&event), "by anna: key exchanged");
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
