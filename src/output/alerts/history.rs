//! The answers of `alerts history`.

use crate::domain::named::Named;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::super::columns::{self, Cell, Column};
use super::super::{Answer, json};
use super::deliveries::detail as notice_detail;
use super::event::EventJson;
use super::value_cell;
use crate::domain::alert::delivery::{DropReason, Notice};
use crate::domain::alert::event::{Event, EventKind};
use crate::domain::alert::notice::Content;
use crate::domain::alert::rule::{AlertType, Severity};
use crate::domain::alert::state::AlertStatus;
use crate::domain::format::{change, time};
use crate::domain::period::Window;

/// The events of a time range.
#[derive(Debug)]
pub struct Events {
    pub window: Window,
    pub events: Vec<Event>,
}

/// The notices created in a time range.
#[derive(Debug)]
pub struct Notices {
    pub window: Window,
    pub notices: Vec<Notice>,
}

#[derive(Serialize)]
struct EventsJson<'a> {
    #[serde(serialize_with = "json::time")]
    from: DateTime<Utc>,
    #[serde(serialize_with = "json::time")]
    to: DateTime<Utc>,
    events: Vec<EventJson<'a>>,
}

/// The change that an event records: `OK -> FIRING`, `now CRITICAL`, `ACKNOWLEDGED`.
fn event_text(event: &Event) -> String {
    match (event.kind, event.to_state, event.severity) {
        (EventKind::State, Some(to), _) => change(event.from_state, to),
        (EventKind::Severity, _, Some(severity)) => format!("now {}", severity.as_str()),
        (kind, ..) => kind.as_str().to_owned(),
    }
}

/// Author and note.
fn detail(event: &Event) -> String {
    let by = event.actor.as_ref().map(|actor| format!("by {actor}"));
    let parts: Vec<String> = by.into_iter().chain(event.note.clone()).collect();
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
    let value =
        |event: &Event, value| value_cell(&AlertType::named(&event.alert.alert_type), value);
    let state = |state: Option<AlertStatus>| Cell::maybe(state.map(AlertStatus::as_str));
    vec![
        Column::left("AT", "at", |event: &Event| Cell::Time(event.at)),
        Column::csv_only("kind", |event: &Event| Cell::text(event.kind.as_str())),
        Column::csv_only("alert_id", |event: &Event| {
            Cell::text(&event.alert.alert_id)
        }),
        Column::left("API", "api_name", |event: &Event| {
            Cell::text(&event.alert.api_name)
        }),
        Column::left("TYPE", "alert_type", |event: &Event| {
            Cell::text(&event.alert.alert_type)
        }),
        Column::left("PERIOD", "period", |event: &Event| {
            Cell::text(&event.alert.period)
        }),
        Column::table_only("EVENT", |event: &Event| Cell::text(event_text(event))),
        Column::csv_only("from_state", move |event: &Event| state(event.from_state)),
        Column::csv_only("to_state", move |event: &Event| state(event.to_state)),
        Column::csv_only("severity", |event: &Event| {
            Cell::maybe(event.severity.map(Severity::as_str))
        }),
        Column::right("VALUE", "value", move |event: &Event| {
            value(event, event.value)
        }),
        Column::right("THRESHOLD", "threshold", move |event: &Event| {
            value(event, event.threshold)
        })
        .dropped(2),
        Column::csv_only("limit_value", |event: &Event| {
            Cell::or_missing(event.limit_value, Cell::Number)
        }),
        Column::csv_only("episode", |event: &Event| {
            Cell::maybe(event.episode.as_ref())
        }),
        Column::csv_only("actor", |event: &Event| Cell::maybe(event.actor.as_ref())),
        Column::csv_only("note", |event: &Event| Cell::maybe(event.note.as_ref())),
        Column::table_only("DETAIL", |event: &Event| Cell::text(detail(event))).dropped(1),
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
        EventsJson {
            from: self.window.from,
            to: self.window.to,
            events: self.events.iter().map(EventJson::new).collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&event_columns(), &self.events)
    }
}

#[derive(Serialize)]
struct NoticesJson<'a> {
    #[serde(serialize_with = "json::time")]
    from: DateTime<Utc>,
    #[serde(serialize_with = "json::time")]
    to: DateTime<Utc>,
    notices: Vec<NoticeJson<'a>>,
}

#[derive(Serialize)]
struct NoticeJson<'a> {
    channel: &'a str,
    number: i32,
    delivery: &'static str,
    attempts: i32,
    #[serde(serialize_with = "json::time")]
    next_attempt_at: DateTime<Utc>,
    #[serde(serialize_with = "json::maybe_time")]
    delivered_at: Option<DateTime<Utc>>,
    error: Option<&'a str>,
    drop_reason: Option<DropReason>,
    content: &'a Content,
}

fn notice_columns() -> [Column<'static, Notice>; 12] {
    [
        Column::left("AT", "created_at", |notice: &Notice| {
            Cell::Time(notice.content.created_at)
        }),
        Column::csv_only("key", |notice: &Notice| Cell::text(&notice.content.key)),
        Column::left("CHANNEL", "channel", |notice: &Notice| {
            Cell::text(&notice.channel)
        }),
        Column::left("NOTICE", "kind", |notice: &Notice| {
            Cell::text(notice.content.kind.as_str())
        }),
        Column::left("API", "api_name", |notice: &Notice| {
            Cell::text(&notice.content.api_name)
        }),
        Column::left("TYPE", "alert_type", |notice: &Notice| {
            Cell::text(&notice.content.alert_type)
        })
        .dropped(2),
        Column::left("PERIOD", "period", |notice: &Notice| {
            Cell::text(&notice.content.period)
        })
        .dropped(1),
        Column::left("DELIVERY", "delivery", |notice: &Notice| {
            Cell::text(notice.delivery.as_str())
        }),
        Column::right("ATTEMPTS", "attempts", |notice: &Notice| {
            Cell::count(notice.attempts)
        }),
        Column::csv_only("delivered_at", |notice: &Notice| {
            Cell::or_missing(notice.delivered_at, Cell::Time)
        }),
        Column::csv_only("summary", |notice: &Notice| {
            Cell::text(&notice.content.summary)
        }),
        Column::left("ERROR", "error", |notice: &Notice| {
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
        let notices = self.notices.iter().map(|notice| NoticeJson {
            channel: &notice.channel,
            number: notice.number,
            delivery: notice.delivery.as_str(),
            attempts: notice.attempts,
            next_attempt_at: notice.next_attempt_at,
            delivered_at: notice.delivered_at,
            error: notice.error.as_deref(),
            drop_reason: notice.drop_reason,
            content: &notice.content,
        });
        NoticesJson {
            from: self.window.from,
            to: self.window.to,
            notices: notices.collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&notice_columns(), &self.notices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::event::AlertRef;

    fn event(kind: EventKind) -> Event {
        let alert = AlertRef {
            alert_id: "r1".to_owned(),
            api_name: "tmdb".to_owned(),
            alert_type: "RATE_LIMIT_WARNING".to_owned(),
            period: "MINUTE".to_owned(),
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
        (fired.value, fired.threshold) = (Some(83.3333), Some(80.0));
        let table = event_table(&[fired], None);
        assert!(
            table.lines().all(|line| line.chars().count() <= 100),
            "{table}"
        );
        assert!(table.contains("  83.3%      80.0%"), "{table}");
    }
}
