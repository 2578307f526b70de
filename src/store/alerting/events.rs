//! `usagectl_alert_events`: the history of rules. Rows are added, and withdrawn when their data changed.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};

use super::states::{read_stages, stages_json};
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
    withdrawn_at: Option<UtcTimestamp>,
    stages: Option<String>,
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
            withdrawn_at: event.withdrawn_at.map(UtcTimestamp::from),
            stages: stages_json(&event.stages),
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
            stages: read_stages(row.stages),
            observed: Observation {
                value: row.value,
                threshold: row.threshold,
                limit_value: row.limit_value,
            },
            actor: row.actor,
            note: row.note,
            withdrawn_at: row.withdrawn_at.map(UtcTimestamp::utc),
        }
    }
}

/// Fewer than any engine's limit for the values of one statement.
const PER_STATEMENT: usize = 200;

/// Inserts events. One that exists was withdrawn and found again, or stays unchanged.
pub fn insert(db: &mut Db, events: &[Event]) -> QueryResult<()> {
    for events in events.chunks(PER_STATEMENT) {
        let rows: Vec<Row> = events.iter().map(Row::from).collect();
        on!(db, |conn| diesel::insert_into(dsl::usagectl_alert_events)
            .values(&rows)
            .on_conflict(dsl::id)
            .do_update()
            .set(dsl::withdrawn_at.eq(None::<UtcTimestamp>))
            .execute(conn))?;
    }
    Ok(())
}

/// Marks events as withdrawn.
pub fn withdraw(db: &mut Db, ids: &[String], now: DateTime<Utc>) -> QueryResult<()> {
    for ids in ids.chunks(PER_STATEMENT) {
        on!(db, |conn| diesel::update(dsl::usagectl_alert_events)
            .filter(dsl::id.eq_any(ids))
            .set(dsl::withdrawn_at.eq(Some(UtcTimestamp::new(now))))
            .execute(conn))?;
    }
    Ok(())
}

/// The events of each rule and API after `after`, preceded by those from its last change of state up to `after` on, in
/// order. Withdrawn events, and rules without an event after `after`, are left out.
pub fn history(
    db: &mut Db,
    after: DateTime<Utc>,
) -> QueryResult<HashMap<(String, String), Vec<Event>>> {
    let changes = [EventKind::State.as_str(), EventKind::Severity.as_str()];
    let rows: Vec<Row> = on!(db, |conn| dsl::usagectl_alert_events
        .filter(dsl::at.gt(UtcTimestamp::new(after)))
        .filter(dsl::kind.eq_any(changes))
        .filter(dsl::withdrawn_at.is_null())
        .order((dsl::at, dsl::id))
        .select(Row::as_select())
        .load(conn))?;
    let mut history: HashMap<(String, String), Vec<Event>> = HashMap::new();
    for event in rows.into_iter().map(Event::from) {
        let alert = (event.alert.alert_id.clone(), event.alert.api_name.clone());
        history.entry(alert).or_default().push(event);
    }
    for (alert, events) in &mut history {
        let mut earlier = state_before(db, alert, after)?;
        earlier.append(events);
        *events = earlier;
    }
    Ok(history)
}

/// The episodes of withdrawn events after `after`, and the times in which a rule was UNKNOWN: they may be found again.
pub fn withdrawn_episodes(db: &mut Db, after: DateTime<Utc>) -> QueryResult<BTreeSet<String>> {
    let rows: Vec<Row> = on!(db, |conn| dsl::usagectl_alert_events
        .filter(dsl::at.gt(UtcTimestamp::new(after)))
        .filter(dsl::withdrawn_at.is_not_null())
        .select(Row::as_select())
        .load(conn))?;
    let events: Vec<Event> = rows.into_iter().map(Event::from).collect();
    let unknown = events.iter().filter_map(Event::unknown_episode);
    let unknown = unknown.map(|episode| episode.id);
    Ok(events
        .iter()
        .flat_map(Event::episodes)
        .chain(unknown)
        .collect())
}

/// The events of a rule and API from its last change of state up to `at` on, up to `at`.
fn state_before(
    db: &mut Db,
    alert: &(String, String),
    at: DateTime<Utc>,
) -> QueryResult<Vec<Event>> {
    let Some(state) = last(db, alert, EventKind::State, at)? else {
        return Ok(Vec::new());
    };
    let severity = match state.episode {
        Some(_) => last(db, alert, EventKind::Severity, at)?,
        None => None,
    };
    let severity = severity.filter(|severity| severity.at > state.at);
    Ok(std::iter::once(state).chain(severity).collect())
}

/// The last event of a kind of a rule and API up to `at`.
fn last(
    db: &mut Db,
    (alert_id, api_name): &(String, String),
    kind: EventKind,
    at: DateTime<Utc>,
) -> QueryResult<Option<Event>> {
    let row: Option<Row> = on!(db, |conn| dsl::usagectl_alert_events
        .filter(dsl::alert_id.eq(alert_id))
        .filter(dsl::api_name.eq(api_name))
        .filter(dsl::at.le(UtcTimestamp::new(at)))
        .filter(dsl::kind.eq(kind.as_str()))
        .filter(dsl::withdrawn_at.is_null())
        .order((dsl::at.desc(), dsl::id.desc()))
        .select(Row::as_select())
        .first(conn)
        .optional())?;
    Ok(row.map(Event::from))
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

/// The last events of a rule before `to`, at most `most`, in order; of some APIs, or of all if none are given.
pub fn last_of_rule(
    db: &mut Db,
    rule: &str,
    apis: &[String],
    to: DateTime<Utc>,
    most: i64,
) -> QueryResult<Vec<Event>> {
    let rows: Vec<Row> = on!(db, |conn| {
        let mut query = dsl::usagectl_alert_events
            .filter(dsl::alert_id.eq(rule))
            .filter(dsl::at.lt(UtcTimestamp::new(to)))
            .order((dsl::at.desc(), dsl::id.desc()))
            .limit(most)
            .select(Row::as_select())
            .into_boxed();
        if !apis.is_empty() {
            query = query.filter(dsl::api_name.eq_any(apis));
        }
        query.load(conn)
    })?;
    Ok(rows.into_iter().rev().map(Event::from).collect())
}
