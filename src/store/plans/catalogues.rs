//! `usagectl_catalogues`: the catalogues that the user imported, whole, as they were.

use chrono::{DateTime, Utc};
use diesel::prelude::*;

use crate::domain::plans::Catalogue;
use crate::domain::plans::catalogue::{Invalid, Version};
use crate::domain::plans::parse::{self, EMBEDDED};
use crate::error::{Error, Exit, Result};
use crate::store::db::{Db, on};
use crate::store::schema::usagectl_catalogues;
use crate::store::schema::usagectl_catalogues::dsl;
use crate::store::time::UtcTimestamp;

/// A catalogue and the text that it was read from.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    pub catalogue: Catalogue,
    pub content: String,
    /// Who imported it and when; nobody, if it is the one compiled in.
    pub imported: Option<(String, DateTime<Utc>)>,
}

#[derive(Debug, Insertable, Queryable, Selectable)]
#[diesel(table_name = usagectl_catalogues)]
struct Row {
    version: String,
    content: String,
    imported_by: String,
    imported_at: UtcTimestamp,
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Error {
        Error::new(Exit::Failed, invalid)
    }
}

/// The catalogue in force: of the one compiled in and those imported, the newest.
pub fn active(db: &mut Db) -> Result<Catalogue> {
    Ok(held(db)?.catalogue)
}

/// As [`active`], with its text.
pub fn held(db: &mut Db) -> Result<Held> {
    let embedded = Catalogue::embedded()?;
    let rows: Vec<Row> = on!(db, |conn| dsl::usagectl_catalogues
        .select(Row::as_select())
        .load(conn))?;
    let newest = rows
        .into_iter()
        .filter_map(|row| Some((Version::parse(&row.version)?, row)))
        .max_by(|(a, _), (b, _)| a.cmp(b));
    let Some((_, row)) = newest.filter(|(version, _)| *version > embedded.version) else {
        return Ok(Held {
            catalogue: embedded,
            content: EMBEDDED.to_owned(),
            imported: None,
        });
    };
    let catalogue = parse::parse(&row.content).map_err(|invalid| {
        Error::new(Exit::Untrustworthy, invalid)
            .context(format!("the imported catalogue {}", row.version))
            .with_next("usagectl limits import FILE, with a sound one of a newer version")
    })?;
    Ok(Held {
        catalogue,
        content: row.content,
        imported: Some((row.imported_by, row.imported_at.utc())),
    })
}

/// The text of an imported catalogue.
pub fn content(db: &mut Db, version: &str) -> QueryResult<Option<String>> {
    let row = dsl::usagectl_catalogues
        .filter(dsl::version.eq(version))
        .select(dsl::content);
    on!(db, |conn| row.first(conn).optional())
}

/// Keeps a catalogue.
pub fn insert(
    db: &mut Db,
    version: &Version,
    content: &str,
    by: &str,
    at: DateTime<Utc>,
) -> QueryResult<()> {
    let row = Row {
        version: version.as_str().to_owned(),
        content: content.to_owned(),
        imported_by: by.to_owned(),
        imported_at: at.into(),
    };
    on!(db, |conn| diesel::insert_into(dsl::usagectl_catalogues)
        .values(&row)
        .execute(conn))?;
    Ok(())
}
