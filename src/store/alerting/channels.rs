//! `usagectl_channels`: the destinations of notices.

use chrono::{DateTime, Utc};

use crate::domain::alert::channel::{Channel, ChannelKind, Settings};
use crate::domain::alert::rule::Severity;
use crate::store::prelude::*;
use crate::store::schema::usagectl_channels::{self, dsl};

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = usagectl_channels)]
struct Row {
    name: String,
    kind: String,
    settings: String,
    created_at: UtcTimestamp,
    not_before: Option<UtcTimestamp>,
    min_severity: Option<String>,
}

/// The channels, by name.
pub fn all(db: &mut Db) -> QueryResult<Vec<Channel>> {
    let rows: Vec<Row> = on!(db, |conn| dsl::usagectl_channels
        .order(dsl::name)
        .select(Row::as_select())
        .load(conn))?;
    // A CHECK of the column excludes other kinds.
    let channel = |row: Row| {
        let kind = ChannelKind::named(&row.kind)?;
        Some(Channel {
            settings: Settings::from_json(kind, &row.settings).ok(),
            kind,
            name: row.name,
            created_at: row.created_at.utc(),
            not_before: row.not_before.map(UtcTimestamp::utc),
            min_severity: row.min_severity.as_deref().and_then(Severity::named),
        })
    };
    Ok(rows.into_iter().filter_map(channel).collect())
}

/// Adds a channel; returns whether its name was free.
pub fn add(db: &mut Db, channel: &Channel, settings: &str) -> QueryResult<bool> {
    let row = Row {
        name: channel.name.clone(),
        kind: channel.kind.as_str().to_owned(),
        settings: settings.to_owned(),
        created_at: channel.created_at.into(),
        not_before: channel.not_before.map(UtcTimestamp::from),
        min_severity: channel.min_severity.map(|least| least.to_string()),
    };
    let added = on!(db, |conn| diesel::insert_into(dsl::usagectl_channels)
        .values(&row)
        .on_conflict_do_nothing()
        .execute(conn))?;
    Ok(added > 0)
}

/// Saves the time before which a channel accepts nothing.
pub fn set_not_before(db: &mut Db, name: &str, at: DateTime<Utc>) -> QueryResult<()> {
    on!(db, |conn| diesel::update(dsl::usagectl_channels)
        .filter(dsl::name.eq(name))
        .set(dsl::not_before.eq(Some(UtcTimestamp::new(at))))
        .execute(conn))?;
    Ok(())
}

/// Removes a channel; returns whether it existed. Rules keep its name: a rule without channels notifies all of them.
pub fn remove(db: &mut Db, name: &str) -> QueryResult<bool> {
    let removed = on!(db, |conn| diesel::delete(dsl::usagectl_channels)
        .filter(dsl::name.eq(name))
        .execute(conn))?;
    Ok(removed > 0)
}
