//! The answers of the `alerts silence` commands.

use chrono::{DateTime, Utc};

use super::Action;
use crate::domain::alert::rule::AlertType;
use crate::domain::alert::silence::Silence;
use crate::domain::format::{short_id, time, time_ms};
use crate::output::prelude::*;

type Column<'a> = columns::Column<'a, Silence>;

/// Listed silences, or those that a command changed.
#[derive(Debug)]
pub struct Silences {
    pub action: Option<Action>,
    pub silences: Vec<Silence>,
    pub now: DateTime<Utc>,
}

/// The state of a silence, in the words of Alertmanager.
fn state(silence: &Silence, now: DateTime<Utc>) -> &'static str {
    if silence.is_active(now) {
        "ACTIVE"
    } else if silence
        .ends_at
        .is_some_and(|end| end <= now || end <= silence.starts_at)
    {
        "EXPIRED"
    } else {
        "PENDING"
    }
}

fn matchers(silence: &Silence) -> String {
    let parts = [
        silence.api_name.clone(),
        silence.alert_type.as_ref().map(ToString::to_string),
        silence.alert_id.as_ref().map(|id| format!("rule {id}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        "all rules".to_owned()
    } else {
        parts.join(", ")
    }
}

fn end(silence: &Silence) -> String {
    let ends_at = silence.ends_at.map(time);
    ends_at.unwrap_or_else(|| "when resolved".to_owned())
}

impl Silences {
    fn ids(&self) -> Vec<String> {
        let ids = self.silences.iter().map(|silence| silence.id.clone());
        ids.collect()
    }

    fn columns(&self) -> Vec<Column<'_>> {
        let ids = self.ids();
        vec![
            Column::table_only("ID", move |it| Cell::text(short_id(&it.id, &ids))),
            Column::csv_only("id", |it| Cell::text(&it.id)),
            Column::left("STATE", "state", |it| Cell::text(state(it, self.now))),
            Column::table_only("MATCHES", |it| Cell::text(matchers(it))),
            Column::csv_only("api_name", |it| Cell::maybe(it.api_name.as_ref())),
            Column::csv_only("alert_type", |it| Cell::maybe(it.alert_type.as_ref())),
            Column::csv_only("alert_id", |it| Cell::maybe(it.alert_id.as_ref())),
            Column::left("STARTS", "starts_at", |it| Cell::Time(it.starts_at)).dropped(2),
            Column::table_only("ENDS", |it| Cell::text(end(it))),
            Column::csv_only("ends_at", |it| Cell::time(it.ends_at)),
            Column::left("BY", "created_by", |it| Cell::text(&it.created_by)).dropped(1),
            Column::left("REASON", "reason", |it| Cell::text(&it.reason)),
        ]
    }
}

impl Answer for Silences {
    fn table(&self, width: Option<usize>) -> String {
        if let Some(action) = self.action {
            let ids = self.ids();
            return lines(&self.silences, |silence| {
                format!(
                    "{} {}  silence of {} from {} to {}: {}",
                    action.words(),
                    short_id(&silence.id, &ids),
                    matchers(silence),
                    time(silence.starts_at),
                    end(silence),
                    silence.reason
                )
            });
        }
        if self.silences.is_empty() {
            return "no silences\n".to_owned();
        }
        columns::table(&self.columns(), &self.silences, width)
    }

    fn json(&self) -> impl Serialize {
        let silences = self.silences.iter().map(|silence| {
            object! {
                id: &silence.id,
                state: state(silence, self.now),
                api_name: &silence.api_name,
                alert_type: silence.alert_type.as_ref().map(AlertType::as_str),
                alert_id: &silence.alert_id,
                starts_at: time_ms(silence.starts_at),
                ends_at: silence.ends_at.map(time_ms),
                until_resolved: !silence.episodes.is_empty(),
                reason: &silence.reason,
                created_by: &silence.created_by,
                created_at: time_ms(silence.created_at),
            }
        });
        let action = self.action.map(|action| object! { action: action });
        object! { ..action, silences: silences.collect::<Vec<_>>() }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&self.columns(), &self.silences)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::at_ms as at;

    fn silence(starts: i64, ends: i64) -> Silence {
        Silence::sample(at(starts), at(ends))
    }

    #[test]
    fn state_follows_start_and_end() {
        let states = |starts, ends| [9, 10, 19, 20].map(|ms| state(&silence(starts, ends), at(ms)));
        assert_eq!(states(10, 20), ["PENDING", "ACTIVE", "ACTIVE", "EXPIRED"]);
        // Expired before it started.
        assert_eq!(state(&silence(30, 30), at(20)), "EXPIRED");
    }

    #[test]
    fn silence_without_matchers_matches_all_rules() {
        let mut some = silence(10, 20);
        assert_eq!(matchers(&some), "all rules");
        some.api_name = Some("tmdb".to_owned());
        some.alert_type = Some(AlertType::ErrorSpike);
        some.alert_id = Some("r1".to_owned());
        assert_eq!(matchers(&some), "tmdb, ERROR_SPIKE, rule r1");
    }

    #[test]
    fn csv_has_full_ids_and_milliseconds() {
        let listed = Silences {
            action: None,
            silences: vec![silence(10, 20)],
            now: at(10),
        };
        let rows = listed.csv();
        assert_eq!(rows[1][0], "s");
        assert_eq!(rows[1][1], "ACTIVE");
        assert_eq!(rows[1][5], "1970-01-01T00:00:00.010Z");
    }
}
