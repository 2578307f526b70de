//! What `alerts ack` answers.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::super::{Answer, printable};
use crate::domain::alert::event::Concern;
use crate::domain::alert::state::Episode;
use crate::domain::period::shown;

/// An episode that somebody knows of now.
#[derive(Debug)]
pub struct Acknowledgement {
    pub concern: Concern,
    pub episode: Episode,
    pub by: String,
    pub note: Option<String>,
}

/// All of them.
#[derive(Debug)]
pub struct Acknowledgements {
    /// In the order they were asked for.
    pub done: Vec<Acknowledgement>,
}

#[derive(Serialize)]
struct AcknowledgementsJson<'a> {
    acknowledged: Vec<AcknowledgementJson<'a>>,
}

#[derive(Serialize)]
struct AcknowledgementJson<'a> {
    alert_id: &'a str,
    api_name: &'a str,
    alert_type: &'a str,
    period: &'a str,
    episode: &'a str,
    fired_at: DateTime<Utc>,
    acknowledged_by: &'a str,
    note: Option<&'a str>,
}

impl Answer for Acknowledgements {
    fn table(&self, _width: Option<usize>) -> String {
        let line = |done: &Acknowledgement| {
            let Concern {
                api_name,
                alert_type,
                period,
                ..
            } = &done.concern;
            let text = format!(
                "acknowledged {api_name} {alert_type} per {period}, firing since {}, by {}",
                shown(done.episode.fired_at),
                done.by
            );
            printable(&text).into_owned() + "\n"
        };
        self.done.iter().map(line).collect()
    }

    fn json(&self) -> impl Serialize {
        AcknowledgementsJson {
            acknowledged: self
                .done
                .iter()
                .map(|done| AcknowledgementJson {
                    alert_id: &done.concern.alert_id,
                    api_name: &done.concern.api_name,
                    alert_type: &done.concern.alert_type,
                    period: &done.concern.period,
                    episode: &done.episode.id,
                    fired_at: done.episode.fired_at,
                    acknowledged_by: &done.by,
                    note: done.note.as_deref(),
                })
                .collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = ["alert_id", "api_name", "alert_type", "period", "episode"];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        rows.extend(self.done.iter().map(|done| {
            let concern = &done.concern;
            vec![
                concern.alert_id.clone(),
                concern.api_name.clone(),
                concern.alert_type.clone(),
                concern.period.clone(),
                done.episode.id.clone(),
            ]
        }));
        rows
    }
}
