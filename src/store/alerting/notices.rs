//! `usagectl_notices`: notices and their delivery.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use diesel::dsl::count_star;
use diesel::result::Error as DieselError;

use super::states;
use crate::domain::alert::condition::ID_PREFIX;
use crate::domain::alert::delivery::{CLOCK_WAS_SET_BACK, Delivery, DropReason, Notice, later};
use crate::domain::alert::notice::NoticeKind;
use crate::domain::alert::notification_policy::refreshed;
use crate::domain::alert::state::{AlertRecord, AlertState};
use crate::store::prelude::*;
use crate::store::schema::usagectl_notices::{self, dsl};

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = usagectl_notices)]
struct Row {
    id: String,
    alert_id: String,
    api_name: String,
    episode: String,
    kind: String,
    number: i32,
    channel: String,
    content: String,
    created_at: UtcTimestamp,
    delivery: String,
    attempts: i32,
    next_attempt_at: UtcTimestamp,
    delivered_at: Option<UtcTimestamp>,
    error: Option<String>,
    drop_reason: Option<String>,
}

impl Row {
    fn new(notice: &Notice) -> QueryResult<Row> {
        let content = &notice.content;
        let json = serde_json::to_string(content);
        Ok(Row {
            id: content.key.clone(),
            alert_id: content.alert.alert_id.clone(),
            api_name: content.alert.api_name.clone(),
            episode: notice.episode.clone(),
            kind: content.kind.as_str().to_owned(),
            number: notice.number,
            channel: notice.channel.clone(),
            content: json.map_err(|error| DieselError::SerializationError(Box::new(error)))?,
            created_at: content.created_at.into(),
            delivery: notice.delivery.as_str().to_owned(),
            attempts: notice.attempts,
            next_attempt_at: notice.next_attempt_at.into(),
            delivered_at: notice.delivered_at.map(UtcTimestamp::from),
            error: notice.error.clone(),
            drop_reason: notice.drop_reason.map(|reason| reason.to_string()),
        })
    }

    fn notice(self) -> QueryResult<Notice> {
        let content = serde_json::from_str(&self.content).map_err(|error| {
            let message = format!("the notice {} cannot be read: {error}", self.id);
            DieselError::DeserializationError(message.into())
        })?;
        Ok(Notice {
            content,
            episode: self.episode,
            number: self.number,
            channel: self.channel,
            // A CHECK of the column excludes other states.
            delivery: Delivery::named(&self.delivery).unwrap_or(Delivery::Dropped),
            attempts: self.attempts,
            next_attempt_at: self.next_attempt_at.utc(),
            delivered_at: self.delivered_at.map(UtcTimestamp::utc),
            error: self.error,
            drop_reason: self.drop_reason.as_deref().and_then(DropReason::named),
        })
    }
}

/// In the order of sending.
fn notices(rows: Vec<Row>) -> QueryResult<Vec<Notice>> {
    let notices: QueryResult<Vec<Notice>> = rows.into_iter().map(Row::notice).collect();
    let mut notices = notices?;
    notices.sort_by_cached_key(|notice| {
        let content = &notice.content;
        (
            content.created_at,
            content.kind,
            notice.number,
            content.key.clone(),
        )
    });
    Ok(notices)
}

/// Fewer than any engine's limit for the values of one statement.
const PER_STATEMENT: usize = 500;

/// Inserts new notices. One whose key exists is the same notice and stays unchanged.
pub fn insert(db: &mut Db, notices: &[Notice]) -> QueryResult<()> {
    // Row by row: there are few, and Diesel has no batch with ON CONFLICT for SQLite.
    for notice in notices {
        let row = Row::new(notice)?;
        on!(db, |conn| diesel::insert_into(dsl::usagectl_notices)
            .values(&row)
            .on_conflict_do_nothing()
            .execute(conn))?;
    }
    Ok(())
}

/// All notices in a delivery state, in order.
pub fn find_by_delivery(db: &mut Db, delivery: Delivery) -> QueryResult<Vec<Notice>> {
    let rows: Vec<Row> = on!(db, |conn| dsl::usagectl_notices
        .filter(dsl::delivery.eq(delivery.as_str()))
        .select(Row::as_select())
        .load(conn))?;
    notices(rows)
}

/// The notices created from `from` to before `to`, in order.
pub fn created_between(
    db: &mut Db,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> QueryResult<Vec<Notice>> {
    let rows: Vec<Row> = on!(db, |conn| dsl::usagectl_notices
        .filter(dsl::created_at.ge(UtcTimestamp::new(from)))
        .filter(dsl::created_at.lt(UtcTimestamp::new(to)))
        .select(Row::as_select())
        .load(conn))?;
    notices(rows)
}

/// The number of notices in a delivery state.
pub fn count(db: &mut Db, delivery: Delivery) -> QueryResult<u64> {
    let found: i64 = on!(db, |conn| dsl::usagectl_notices
        .filter(dsl::delivery.eq(delivery.as_str()))
        .select(count_star())
        .first(conn))?;
    Ok(u64::try_from(found).unwrap_or(0))
}

/// All notices of these episodes, in order.
pub fn find_by_episodes(db: &mut Db, episodes: &BTreeSet<String>) -> QueryResult<Vec<Notice>> {
    let episodes: Vec<&String> = episodes.iter().collect();
    let mut found = Vec::new();
    for episodes in episodes.chunks(PER_STATEMENT) {
        let rows: Vec<Row> = on!(db, |conn| dsl::usagectl_notices
            .filter(dsl::episode.eq_any(episodes))
            .select(Row::as_select())
            .load(conn))?;
        found.extend(rows);
    }
    notices(found)
}

/// All notices of conditions, in order.
pub fn find_of_conditions(db: &mut Db) -> QueryResult<Vec<Notice>> {
    let rows: Vec<Row> = on!(db, |conn| dsl::usagectl_notices
        .filter(dsl::alert_id.like(format!("{ID_PREFIX}%")))
        .select(Row::as_select())
        .load(conn))?;
    notices(rows)
}

/// Makes the notices of an episode those of another, which was found instead.
pub fn move_to_episode(db: &mut Db, old: &str, new: &str) -> QueryResult<()> {
    on!(db, |conn| diesel::update(dsl::usagectl_notices)
        .filter(dsl::episode.eq(old))
        .set(dsl::episode.eq(new))
        .execute(conn))?;
    Ok(())
}

/// The notices of open episodes with their current values, in order, without reminders; and those of conditions.
pub fn find_open_episode_notices(db: &mut Db) -> QueryResult<Vec<Notice>> {
    let records = states::all(db)?;
    let episodes = records.iter().flat_map(|record| {
        let episodes = record.episodes();
        episodes.map(|episode| (episode, &record.state))
    });
    let open: HashMap<String, &AlertState> = episodes.collect();
    let mut notices = find_by_episodes(db, &open.keys().cloned().collect())?;
    notices.retain(|notice| notice.content.kind != NoticeKind::Reminder);
    for notice in &mut notices {
        if let Some(state) = open.get(&notice.episode) {
            *notice = refreshed(notice, state);
        }
    }
    notices.extend(find_of_conditions(db)?);
    Ok(notices)
}

/// The ids of open episodes, of the times in which a rule is UNKNOWN, and of all episodes of conditions: an ended one
/// has a notice of its end.
pub fn open_episodes(db: &mut Db) -> QueryResult<BTreeSet<String>> {
    let records = states::all(db)?;
    let unknown = records.iter().filter_map(AlertRecord::unknown_episode);
    let unknown = unknown.map(|episode| episode.id);
    let episodes = records.iter().flat_map(AlertRecord::episodes);
    let episodes: Vec<String> = episodes.chain(unknown).collect();
    let conditions = find_of_conditions(db)?.into_iter().map(|it| it.episode);
    Ok(episodes.into_iter().chain(conditions).collect())
}

/// Counts an attempt that is about to be made, after which the notice may have arrived. No other run sends it before
/// `until`. Returns whether the notice is still as it was read: another run may have claimed or dropped it.
pub fn claim(db: &mut Db, notice: &Notice, until: DateTime<Utc>) -> QueryResult<bool> {
    let claimed = on!(db, |conn| diesel::update(dsl::usagectl_notices)
        .filter(dsl::id.eq(&notice.content.key))
        .filter(dsl::attempts.eq(notice.attempts))
        .filter(dsl::delivery.eq(Delivery::Waiting.as_str()))
        .set((
            dsl::attempts.eq(dsl::attempts + 1),
            dsl::error.eq(None::<String>),
            dsl::next_attempt_at.eq(UtcTimestamp::new(until)),
        ))
        .execute(conn))?;
    Ok(claimed > 0)
}

/// Marks a notice as delivered, even one that was dropped while it was sent.
pub fn set_delivered(db: &mut Db, key: &str, at: DateTime<Utc>) -> QueryResult<()> {
    on!(db, |conn| diesel::update(dsl::usagectl_notices)
        .filter(dsl::id.eq(key))
        .set((
            dsl::delivery.eq(Delivery::Delivered.as_str()),
            dsl::delivered_at.eq(Some(UtcTimestamp::new(at))),
            dsl::error.eq(None::<String>),
            dsl::drop_reason.eq(None::<String>),
        ))
        .execute(conn))?;
    Ok(())
}

/// Saves the error of an attempt and the time of the next, unless another attempt was made since.
pub fn set_failed(db: &mut Db, notice: &Notice) -> QueryResult<()> {
    on!(db, |conn| diesel::update(dsl::usagectl_notices)
        .filter(dsl::id.eq(&notice.content.key))
        .filter(dsl::attempts.eq(notice.attempts))
        .set((
            dsl::error.eq(notice.error.as_deref()),
            dsl::next_attempt_at.eq(UtcTimestamp::new(notice.next_attempt_at)),
        ))
        .execute(conn))?;
    Ok(())
}

/// Makes the waiting notices of a channel due, except those in flight.
pub fn clear_backoff(db: &mut Db, channel: &str, now: DateTime<Utc>) -> QueryResult<()> {
    on!(db, |conn| diesel::update(dsl::usagectl_notices)
        .filter(dsl::channel.eq(channel))
        .filter(dsl::delivery.eq(Delivery::Waiting.as_str()))
        .filter(dsl::error.is_not_null())
        .set(dsl::next_attempt_at.eq(UtcTimestamp::new(now)))
        .execute(conn))?;
    Ok(())
}

/// Drops notices whose episode has ended, except those in flight: a later notice must wait for them.
pub fn set_superseded(
    db: &mut Db,
    keys: &[impl AsRef<str>],
    now: DateTime<Utc>,
) -> QueryResult<()> {
    let keys: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
    for keys in keys.chunks(PER_STATEMENT) {
        // The opposite of Notice::is_in_flight.
        let is_at_rest = dsl::attempts
            .eq(0)
            .or(dsl::error.is_not_null())
            .or(dsl::next_attempt_at.le(UtcTimestamp::new(now)))
            .or(dsl::next_attempt_at.gt(UtcTimestamp::new(later(now, CLOCK_WAS_SET_BACK))));
        on!(db, |conn| diesel::update(dsl::usagectl_notices)
            .filter(dsl::id.eq_any(keys))
            .filter(is_at_rest)
            .set((
                dsl::delivery.eq(Delivery::Dropped.as_str()),
                dsl::drop_reason.eq(Some(DropReason::Superseded.as_str())),
            ))
            .execute(conn))?;
    }
    Ok(())
}

/// Drops notices that are not to be sent any more.
pub fn set_dropped(db: &mut Db, keys: &[impl AsRef<str>], reason: DropReason) -> QueryResult<()> {
    let keys: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
    for keys in keys.chunks(PER_STATEMENT) {
        on!(db, |conn| diesel::update(dsl::usagectl_notices)
            .filter(dsl::id.eq_any(keys))
            .set((
                dsl::delivery.eq(Delivery::Dropped.as_str()),
                dsl::drop_reason.eq(Some(reason.as_str())),
            ))
            .execute(conn))?;
    }
    Ok(())
}

/// Sets held back or dropped notices to waiting.
pub fn set_waiting(db: &mut Db, keys: &[impl AsRef<str>], at: DateTime<Utc>) -> QueryResult<()> {
    let keys: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
    for keys in keys.chunks(PER_STATEMENT) {
        on!(db, |conn| diesel::update(dsl::usagectl_notices)
            .filter(dsl::id.eq_any(keys))
            .set((
                dsl::delivery.eq(Delivery::Waiting.as_str()),
                dsl::drop_reason.eq(None::<String>),
                dsl::next_attempt_at.eq(UtcTimestamp::new(at)),
            ))
            .execute(conn))?;
    }
    Ok(())
}
