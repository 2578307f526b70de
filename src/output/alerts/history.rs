//! What `alerts history` answers.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::super::Answer;
use super::super::table::{Side, layout};
use super::deliveries::detail;
use super::event::EventJson;
use super::{measured, number};
use crate::domain::alert::delivery::{DropReason, Notice};
use crate::domain::alert::event::{Event, EventKind};
use crate::domain::alert::notice::Content;
use crate::domain::alert::rule::{AlertType, Severity};
use crate::domain::alert::state::State;
use crate::domain::period::{Window, shown};

/// What happened in a stretch of time.
#[derive(Debug)]
pub struct Events {
    pub window: Window,
    pub events: Vec<Event>,
}

/// What was told in a stretch of time.
#[derive(Debug)]
pub struct Notices {
    pub window: Window,
    pub notices: Vec<Notice>,
}

#[derive(Serialize)]
struct EventsJson<'a> {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    events: Vec<EventJson<'a>>,
}

/// What happened, in a word or two.
fn happened(event: &Event) -> String {
    let word = |state: Option<State>| state.map_or("-", State::as_str);
    match event.kind {
        EventKind::State => format!("{} > {}", word(event.from_state), word(event.to_state)),
        EventKind::Severity => match event.severity {
            Some(severity) => format!("now {}", severity.as_str()),
            None => "severity".to_owned(),
        },
        kind => kind.as_str().to_owned(),
    }
}

fn remarks(event: &Event) -> String {
    let by = event.actor.as_ref().map(|actor| format!("by {actor}"));
    let remarks: Vec<String> = by.into_iter().chain(event.note.clone()).collect();
    remarks.join(": ")
}

fn nothing(what: &str, window: Window) -> String {
    format!(
        "{what} from {} to {}\n",
        shown(window.from),
        shown(window.to)
    )
}

/// Events for people, a line each.
pub(super) fn event_table(events: &[Event]) -> String {
    let columns = [
        ("AT", Side::Left),
        ("API", Side::Left),
        ("TYPE", Side::Left),
        ("PERIOD", Side::Left),
        ("WHAT", Side::Left),
        ("VALUE", Side::Right),
        ("THRESHOLD", Side::Right),
        ("LIMIT", Side::Right),
        ("", Side::Left),
    ];
    let row = |event: &Event| {
        let concern = &event.concern;
        let alert_type = AlertType::named(&concern.alert_type);
        let value = |value: Option<f64>| {
            value.map_or_else(|| "-".to_owned(), |value| measured(&alert_type, value))
        };
        vec![
            shown(event.at),
            concern.api_name.clone(),
            concern.alert_type.clone(),
            concern.period.clone(),
            happened(event),
            value(event.value),
            value(event.threshold),
            event.limit_value.map_or_else(|| "-".to_owned(), number),
            remarks(event),
        ]
    };
    layout(&columns, events.iter().map(row))
}

impl Answer for Events {
    fn table(&self, _width: Option<usize>) -> String {
        if self.events.is_empty() {
            return nothing("nothing happened", self.window);
        }
        event_table(&self.events)
    }

    fn json(&self) -> impl Serialize {
        EventsJson {
            from: self.window.from,
            to: self.window.to,
            events: self.events.iter().map(EventJson::new).collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = [
            "at",
            "kind",
            "alert_id",
            "api_name",
            "alert_type",
            "period",
            "from_state",
            "to_state",
            "severity",
            "value",
            "threshold",
            "limit_value",
            "episode",
            "actor",
            "note",
        ];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        let plain = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
        rows.extend(self.events.iter().map(|event| {
            let state = |state: Option<State>| text(state.map(State::as_str));
            let concern = &event.concern;
            vec![
                shown(event.at),
                event.kind.as_str().to_owned(),
                concern.alert_id.clone(),
                concern.api_name.clone(),
                concern.alert_type.clone(),
                concern.period.clone(),
                state(event.from_state),
                state(event.to_state),
                text(event.severity.map(Severity::as_str)),
                plain(event.value),
                plain(event.threshold),
                plain(event.limit_value),
                text(event.episode.as_deref()),
                text(event.actor.as_deref()),
                text(event.note.as_deref()),
            ]
        }));
        rows
    }
}

#[derive(Serialize)]
struct NoticesJson<'a> {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    notices: Vec<NoticeJson<'a>>,
}

#[derive(Serialize)]
struct NoticeJson<'a> {
    channel: &'a str,
    number: i32,
    delivery: &'static str,
    attempts: i32,
    next_attempt_at: DateTime<Utc>,
    delivered_at: Option<DateTime<Utc>>,
    error: Option<&'a str>,
    drop_reason: Option<DropReason>,
    content: &'a Content,
}

impl Answer for Notices {
    fn table(&self, _width: Option<usize>) -> String {
        if self.notices.is_empty() {
            return nothing("nothing was to be told", self.window);
        }
        let columns = [
            ("AT", Side::Left),
            ("CHANNEL", Side::Left),
            ("NOTICE", Side::Left),
            ("DELIVERY", Side::Left),
            ("TRIES", Side::Right),
            ("SUMMARY", Side::Left),
            ("", Side::Left),
        ];
        let row = |notice: &Notice| {
            let content = &notice.content;
            vec![
                shown(content.created_at),
                notice.channel.clone(),
                content.kind.as_str().to_owned(),
                notice.delivery.as_str().to_owned(),
                notice.attempts.to_string(),
                content.summary.clone(),
                detail(notice).unwrap_or_default(),
            ]
        };
        layout(&columns, self.notices.iter().map(row))
    }

    fn json(&self) -> impl Serialize {
        NoticesJson {
            from: self.window.from,
            to: self.window.to,
            notices: self
                .notices
                .iter()
                .map(|notice| NoticeJson {
                    channel: &notice.channel,
                    number: notice.number,
                    delivery: notice.delivery.as_str(),
                    attempts: notice.attempts,
                    next_attempt_at: notice.next_attempt_at,
                    delivered_at: notice.delivered_at,
                    error: notice.error.as_deref(),
                    drop_reason: notice.drop_reason,
                    content: &notice.content,
                })
                .collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = [
            "created_at",
            "key",
            "channel",
            "kind",
            "delivery",
            "attempts",
            "delivered_at",
            "summary",
            "error",
        ];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        rows.extend(self.notices.iter().map(|notice| {
            let content = &notice.content;
            vec![
                shown(content.created_at),
                content.key.clone(),
                notice.channel.clone(),
                content.kind.as_str().to_owned(),
                notice.delivery.as_str().to_owned(),
                notice.attempts.to_string(),
                notice.delivered_at.map(shown).unwrap_or_default(),
                content.summary.clone(),
                detail(notice).unwrap_or_default(),
            ]
        }));
        rows
    }
}
