//! `usagectl_alert_events`: the history of rules. Rows are added and never changed.

use chrono::{DateTime, Utc};

use crate::domain::alert::event::{Event, EventKind};
use crate::domain::alert::rule::{AlertRef, Severity};
use crate::domain::alert::state::{AlertStatus, Observation};
use crate::store::prelude::*;
use crate::store::schema::usagectl_alert_events::{self, dsl};

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = usagectl_alert_events, treat_none_as_default_value = false)]
struct Row {
    id: String,
    alert_id: String,
    api_name: String,
    alert_type: String,
    period: String,
    at: UtcTimestamp,
    recorded_at: UtcTimestamp,
    kind: String,
    from_state: Option<String>,
    to_state: Option<String>,
    severity: Option<String>,
    episode: Option<String>,
    value: Option<f64>,
    threshold: Option<f64>,
    limit_value: Option<f64>,
    actor: Option<String>,
    note: Option<String>,
}

impl From<&Event> for Row {
    fn from(event: &Event) -> Row {
        let state = |state: Option<AlertStatus>| state.map(|state| state.as_str().to_owned());
        let alert = &event.alert;
        Row {
            id: event.id.clone(),
            alert_id: alert.alert_id.clone(),
            api_name: alert.api_name.clone(),
            alert_type: alert.alert_type.clone(),
            period: alert.period.clone(),
            at: event.at.into(),
            recorded_at: event.recorded_at.into(),
            kind: event.kind.as_str().to_owned(),
            from_state: state(event.from_state),
            to_state: state(event.to_state),
            severity: event.severity.map(|severity| severity.as_str().to_owned()),
            episode: event.episode.clone(),
            value: event.observed.value,
            threshold: event.observed.threshold,
            limit_value: event.observed.limit_value,
            actor: event.actor.clone(),
            note: event.note.clone(),
        }
    }
}

impl From<Row> for Event {
    fn from(row: Row) -> Event {
        Event {
            id: row.id,
            alert: AlertRef {
                alert_id: row.alert_id,
                api_name: row.api_name,
                alert_type: row.alert_type,
                period: row.period,
            },
            at: row.at.utc(),
            recorded_at: row.recorded_at.utc(),
            // A CHECK of the column excludes other kinds.
            kind: EventKind::named(&row.kind).unwrap_or(EventKind::State),
            from_state: row.from_state.as_deref().and_then(AlertStatus::named),
            to_state: row.to_state.as_deref().and_then(AlertStatus::named),
            severity: row.severity.as_deref().and_then(Severity::named),
            episode: row.episode,
            observed: Observation {
                value: row.value,
                threshold: row.threshold,
                limit_value: row.limit_value,
            },
            actor: row.actor,
            note: row.note,
        }
    }
}

/// Fewer than any engine's limit for the values of one statement.
const PER_STATEMENT: usize = 200;

/// Inserts events; one that exists stays unchanged.
pub fn insert(db: &mut Db, events: &[Event]) -> QueryResult<()> {
    for events in events.chunks(PER_STATEMENT) {
        let rows: Vec<Row> = events.iter().map(Row::from).collect();
        on!(db, |conn| diesel::insert_into(dsl::usagectl_alert_events)
            .values(&rows)
            .on_conflict_do_nothing()
            .execute(conn))?;
    }
    Ok(())
}

/// The events from `from` to before `to`, in order.
pub fn between(db: &mut Db, from: DateTime<Utc>, to: DateTime<Utc>) -> QueryResult<Vec<Event>> {
    let rows: Vec<Row> = on!(db, |conn| dsl::usagectl_alert_events
        .filter(dsl::at.ge(UtcTimestamp::new(from)))
        .filter(dsl::at.lt(UtcTimestamp::new(to)))
        .order((dsl::at, dsl::id))
        .select(Row::as_select())
        .load(conn))?;
    Ok(rows.into_iter().map(Event::from).collect())
}
