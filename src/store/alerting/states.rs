//! `usagectl_alert_states`: the state of each rule per API; and `last_triggered` beside its rule.

use chrono::{DateTime, Utc};
use diesel::dsl::case_when;
use diesel::upsert::excluded;

use crate::domain::alert::origin::Origin;
use crate::domain::alert::rule::{AlertRef, Severity};
use crate::domain::alert::state::{
    Acknowledgement, AlertRecord, AlertState, AlertStatus, Episode, Observation, Stage,
};
use crate::store::prelude::*;
use crate::store::schema::{api_alerts, usagectl_alert_rules, usagectl_alert_states};

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = usagectl_alert_states, treat_none_as_default_value = false)]
struct Row {
    alert_id: String,
    api_name: String,
    alert_type: String,
    period: String,
    state: String,
    severity: Option<String>,
    since: UtcTimestamp,
    episode: Option<String>,
    fired_at: Option<UtcTimestamp>,
    evaluated_to: UtcTimestamp,
    value: Option<f64>,
    limit_value: Option<f64>,
    threshold: Option<f64>,
    reason: Option<String>,
    acknowledged_by: Option<String>,
    acknowledged_at: Option<UtcTimestamp>,
    acknowledged_note: Option<String>,
    conditions: Option<String>,
    origin_at: Option<UtcTimestamp>,
    origin_state: Option<String>,
    stages: Option<String>,
}

impl From<&AlertRecord> for Row {
    fn from(stored: &AlertRecord) -> Row {
        let AlertRecord { alert, state, .. } = stored;
        let episode = state.episode.as_ref();
        let acknowledged = stored.acknowledged.as_ref();
        let origin = stored.origin.as_ref();
        let origin_state = origin.and_then(|origin| origin.state.as_ref());
        Row {
            alert_id: alert.alert_id.clone(),
            api_name: alert.api_name.clone(),
            alert_type: alert.alert_type.clone(),
            period: alert.period.clone(),
            state: state.status.as_str().to_owned(),
            severity: state.severity.map(|severity| severity.as_str().to_owned()),
            since: state.since.into(),
            episode: episode.map(|episode| episode.id.clone()),
            fired_at: episode.map(|episode| episode.fired_at.into()),
            evaluated_to: state.evaluated_to.into(),
            value: state.observed.value,
            limit_value: state.observed.limit_value,
            threshold: state.observed.threshold,
            reason: state.reason.clone(),
            acknowledged_by: acknowledged.map(|it| it.by.clone()),
            acknowledged_at: acknowledged.map(|it| it.at.into()),
            acknowledged_note: acknowledged.and_then(|it| it.note.clone()),
            conditions: origin.map(|origin| origin.conditions.clone()),
            origin_at: origin.map(|origin| origin.at.into()),
            origin_state: origin_state.and_then(|state| serde_json::to_string(state).ok()),
            stages: stages_json(&state.stages),
        }
    }
}

impl From<Row> for AlertRecord {
    fn from(row: Row) -> AlertRecord {
        let acknowledged = row.acknowledged_by.zip(row.acknowledged_at);
        let origin_state = row.origin_state.as_deref().map(serde_json::from_str);
        let origin = match (row.conditions, row.origin_at, origin_state.transpose()) {
            (Some(conditions), Some(at), Ok(state)) => Some(Origin {
                conditions,
                at: at.utc(),
                state,
            }),
            _ => None,
        };
        AlertRecord {
            alert: AlertRef {
                alert_id: row.alert_id,
                api_name: row.api_name,
                alert_type: row.alert_type,
                period: row.period,
            },
            state: AlertState {
                // CHECKs of the columns exclude other names.
                status: AlertStatus::named(&row.state).unwrap_or(AlertStatus::Unknown),
                since: row.since.utc(),
                severity: row.severity.as_deref().and_then(Severity::named),
                episode: row.episode.map(|id| Episode {
                    id,
                    fired_at: row.fired_at.unwrap_or(row.since).utc(),
                }),
                stages: read_stages(row.stages),
                evaluated_to: row.evaluated_to.utc(),
                observed: Observation {
                    value: row.value,
                    limit_value: row.limit_value,
                    threshold: row.threshold,
                },
                reason: row.reason,
            },
            origin,
            acknowledged: acknowledged.map(|(by, at)| Acknowledgement {
                by,
                at: at.utc(),
                note: row.acknowledged_note,
            }),
        }
    }
}

/// Reached thresholds as a JSON array, if there are any.
pub(super) fn stages_json(stages: &[Stage]) -> Option<String> {
    let some = Some(stages).filter(|stages| !stages.is_empty())?;
    serde_json::to_string(some).ok()
}

pub(super) fn read_stages(json: Option<String>) -> Vec<Stage> {
    let stages = json.and_then(|json| serde_json::from_str(&json).ok());
    stages.unwrap_or_default()
}

/// All states, by rule and API.
pub fn all(db: &mut Db) -> QueryResult<Vec<AlertRecord>> {
    let rows: Vec<Row> = on!(db, |conn| usagectl_alert_states::table
        .select(Row::as_select())
        .load(conn))?;
    let mut stored: Vec<AlertRecord> = rows.into_iter().map(AlertRecord::from).collect();
    stored.sort_by(|a, b| a.alert.cmp(&b.alert));
    Ok(stored)
}

/// Fewer than any engine's limit for the values of one statement.
const PER_STATEMENT: usize = 200;

/// Inserts or replaces states. An acknowledgement is kept while its episode lasts; it may have been written
/// after the state was read.
pub fn save(db: &mut Db, states: &[AlertRecord]) -> QueryResult<()> {
    use usagectl_alert_states::dsl;
    for states in states.chunks(PER_STATEMENT) {
        let rows: Vec<Row> = states.iter().map(Row::from).collect();
        let same_episode = || dsl::episode.eq(excluded(dsl::episode));
        on!(db, |conn| diesel::insert_into(dsl::usagectl_alert_states)
            .values(&rows)
            .on_conflict((dsl::alert_id, dsl::api_name))
            .do_update()
            .set((
                dsl::alert_type.eq(excluded(dsl::alert_type)),
                dsl::period.eq(excluded(dsl::period)),
                dsl::state.eq(excluded(dsl::state)),
                dsl::severity.eq(excluded(dsl::severity)),
                dsl::since.eq(excluded(dsl::since)),
                dsl::episode.eq(excluded(dsl::episode)),
                dsl::fired_at.eq(excluded(dsl::fired_at)),
                dsl::evaluated_to.eq(excluded(dsl::evaluated_to)),
                dsl::value.eq(excluded(dsl::value)),
                dsl::limit_value.eq(excluded(dsl::limit_value)),
                dsl::threshold.eq(excluded(dsl::threshold)),
                dsl::reason.eq(excluded(dsl::reason)),
                dsl::stages.eq(excluded(dsl::stages)),
                dsl::conditions.eq(excluded(dsl::conditions)),
                dsl::origin_at.eq(excluded(dsl::origin_at)),
                dsl::origin_state.eq(excluded(dsl::origin_state)),
                dsl::acknowledged_by.eq(case_when(same_episode(), dsl::acknowledged_by)),
                dsl::acknowledged_at.eq(case_when(same_episode(), dsl::acknowledged_at)),
                dsl::acknowledged_note.eq(case_when(same_episode(), dsl::acknowledged_note)),
            ))
            .execute(conn))?;
    }
    Ok(())
}

/// Makes an open episode another, which was found instead: it keeps its acknowledgement.
pub fn replace_episode(db: &mut Db, old: &str, new: &str) -> QueryResult<()> {
    use usagectl_alert_states::dsl;
    on!(db, |conn| diesel::update(dsl::usagectl_alert_states)
        .filter(dsl::episode.eq(old))
        .set(dsl::episode.eq(new))
        .execute(conn))?;
    Ok(())
}

pub fn delete(db: &mut Db, alert: &AlertRef) -> QueryResult<()> {
    use usagectl_alert_states::dsl;
    on!(db, |conn| diesel::delete(dsl::usagectl_alert_states)
        .filter(dsl::alert_id.eq(&alert.alert_id))
        .filter(dsl::api_name.eq(&alert.api_name))
        .execute(conn))?;
    Ok(())
}

/// Acknowledges an episode. Returns whether it is still open.
pub fn acknowledge(db: &mut Db, episode: &str, known: &Acknowledgement) -> QueryResult<bool> {
    use usagectl_alert_states::dsl;
    let changed = on!(db, |conn| diesel::update(dsl::usagectl_alert_states)
        .filter(dsl::episode.eq(episode))
        .set((
            dsl::acknowledged_by.eq(Some(&known.by)),
            dsl::acknowledged_at.eq(Some(UtcTimestamp::new(known.at))),
            dsl::acknowledged_note.eq(known.note.as_deref()),
        ))
        .execute(conn))?;
    Ok(changed > 0)
}

/// Sets `last_triggered`, which the application shows.
pub fn set_last_triggered(
    db: &mut Db,
    alert_id: &str,
    fired_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    macro_rules! update {
        ($table:ident) => {{
            let change = diesel::update($table::table.find(alert_id)).set((
                $table::last_triggered.eq(Some(UtcTimestamp::new(fired_at))),
                $table::updated_at.eq(UtcTimestamp::new(now)),
            ));
            on!(db, |conn| change.execute(conn))?
        }};
    }
    if update!(api_alerts) == 0 {
        update!(usagectl_alert_rules);
    }
    Ok(())
}
