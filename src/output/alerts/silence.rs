//! Silences: listed, added, ended.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::super::table::{Side, layout};
use super::super::{Answer, printable};
use super::rule::short_id;
use crate::domain::alert::lookup::telling_length;
use crate::domain::alert::rule::AlertType;
use crate::domain::alert::silence::Silence;
use crate::domain::period::shown;

/// Some silences.
#[derive(Debug)]
pub struct Silences {
    silences: Vec<Silence>,
    now: DateTime<Utc>,
    /// What was done to them; nothing if they are only listed.
    done: Option<&'static str>,
}

impl Silences {
    /// As they are.
    pub fn listed(silences: Vec<Silence>, now: DateTime<Utc>) -> Silences {
        Silences {
            silences,
            now,
            done: None,
        }
    }

    /// A new one.
    pub fn added(silence: Silence) -> Silences {
        Silences {
            now: silence.created_at,
            silences: vec![silence],
            done: Some("added"),
        }
    }

    /// Some that were ended before their time.
    pub fn ended(silences: Vec<Silence>, now: DateTime<Utc>) -> Silences {
        Silences {
            silences,
            now,
            done: Some("ended"),
        }
    }

    fn state(&self, silence: &Silence) -> &'static str {
        if silence.is_active(self.now) {
            "ACTIVE"
        } else if silence.ends_at <= self.now || silence.ends_at <= silence.starts_at {
            "OVER"
        } else {
            "TO COME"
        }
    }
}

#[derive(Serialize)]
struct SilencesJson<'a> {
    silences: Vec<SilenceJson<'a>>,
}

#[derive(Serialize)]
struct SilenceJson<'a> {
    id: &'a str,
    state: &'static str,
    api_name: Option<&'a str>,
    alert_type: Option<&'a str>,
    alert_id: Option<&'a str>,
    starts_at: DateTime<Utc>,
    ends_at: DateTime<Utc>,
    reason: &'a str,
    created_by: &'a str,
    created_at: DateTime<Utc>,
}

/// What a silence is about, in words.
fn about(silence: &Silence) -> String {
    let parts = [
        silence.api_name.clone(),
        silence.alert_type.as_ref().map(ToString::to_string),
        silence.alert_id.as_ref().map(|id| format!("rule {id}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    match parts.is_empty() {
        true => "everything".to_owned(),
        false => parts.join(", "),
    }
}

impl Answer for Silences {
    fn table(&self, _width: Option<usize>) -> String {
        let length = telling_length(self.silences.iter().map(|silence| silence.id.as_str()));
        if let Some(done) = self.done {
            let line = |silence: &Silence| {
                let text = format!(
                    "{done} {}  silence of {} from {} to {}: {}",
                    short_id(&silence.id, length),
                    about(silence),
                    shown(silence.starts_at),
                    shown(silence.ends_at),
                    silence.reason
                );
                printable(&text).into_owned() + "\n"
            };
            return self.silences.iter().map(line).collect();
        }
        if self.silences.is_empty() {
            return "no silences\n".to_owned();
        }
        let columns = [
            ("ID", Side::Left),
            ("STATE", Side::Left),
            ("SILENT", Side::Left),
            ("FROM", Side::Left),
            ("TO", Side::Left),
            ("BY", Side::Left),
            ("REASON", Side::Left),
        ];
        let row = |silence: &Silence| {
            vec![
                short_id(&silence.id, length),
                self.state(silence).to_owned(),
                about(silence),
                shown(silence.starts_at),
                shown(silence.ends_at),
                silence.created_by.clone(),
                silence.reason.clone(),
            ]
        };
        layout(&columns, self.silences.iter().map(row))
    }

    fn json(&self) -> impl Serialize {
        SilencesJson {
            silences: self
                .silences
                .iter()
                .map(|silence| SilenceJson {
                    id: &silence.id,
                    state: self.state(silence),
                    api_name: silence.api_name.as_deref(),
                    alert_type: silence.alert_type.as_ref().map(AlertType::as_str),
                    alert_id: silence.alert_id.as_deref(),
                    starts_at: silence.starts_at,
                    ends_at: silence.ends_at,
                    reason: &silence.reason,
                    created_by: &silence.created_by,
                    created_at: silence.created_at,
                })
                .collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = [
            "id",
            "state",
            "api_name",
            "alert_type",
            "alert_id",
            "starts_at",
            "ends_at",
            "created_by",
            "reason",
        ];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        rows.extend(self.silences.iter().map(|silence| {
            let alert_type = silence.alert_type.as_ref();
            vec![
                silence.id.clone(),
                self.state(silence).to_owned(),
                silence.api_name.clone().unwrap_or_default(),
                alert_type.map(ToString::to_string).unwrap_or_default(),
                silence.alert_id.clone().unwrap_or_default(),
                shown(silence.starts_at),
                shown(silence.ends_at),
                silence.created_by.clone(),
                silence.reason.clone(),
            ]
        }));
        rows
    }
}
