//! `usagectl_catalogues`: the imported catalogues, as text.

use chrono::{DateTime, Utc};

use crate::domain::plans::Catalogue;
use crate::domain::plans::catalogue::{InvalidCatalogue, Version};
use crate::domain::plans::parse::{self, EMBEDDED};
use crate::error::{Error, Exit, Result};
use crate::store::prelude::*;
use crate::store::schema::usagectl_catalogues::{self, dsl};

#[derive(Clone, Debug, PartialEq)]
pub struct ActiveCatalogue {
    pub catalogue: Catalogue,
    /// The TOML that it was parsed from.
    pub content: String,
    /// The author and time of the import; none if it is the one compiled in.
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

impl From<InvalidCatalogue> for Error {
    fn from(invalid: InvalidCatalogue) -> Error {
        Error::new(Exit::Failed, invalid)
    }
}

/// The catalogue in force: the newest of the imported ones and the one compiled in.
pub fn active(db: &mut Db) -> Result<Catalogue> {
    Ok(active_with_text(db)?.catalogue)
}

pub fn active_with_text(db: &mut Db) -> Result<ActiveCatalogue> {
    let embedded = Catalogue::embedded()?;
    let rows: Vec<Row> = on!(db, |conn| dsl::usagectl_catalogues
        .select(Row::as_select())
        .load(conn))?;
    let versions = |row: Row| Some((Version::parse(&row.version)?, row));
    let versions = rows.into_iter().filter_map(versions);
    let newest = versions.max_by(|(a, _), (b, _)| a.cmp(b));
    let Some((_, row)) = newest.filter(|(version, _)| *version > embedded.version) else {
        return Ok(ActiveCatalogue {
            catalogue: embedded,
            content: EMBEDDED.to_owned(),
            imported: None,
        });
    };
    let catalogue = parse::parse(&row.content).map_err(|invalid| {
        Error::new(Exit::Untrustworthy, invalid)
            .context(format!("imported catalogue {}", row.version))
            .with_next("import a valid catalogue of a newer version: usagectl limits import FILE")
    })?;
    Ok(ActiveCatalogue {
        catalogue,
        content: row.content,
        imported: Some((row.imported_by, row.imported_at.utc())),
    })
}

pub fn insert(
    db: &mut Db,
    version: &Version,
    content: &str,
    by: &str,
    at: DateTime<Utc>,
) -> QueryResult<()> {
    let row = Row {
        version: version.to_string(),
        content: content.to_owned(),
        imported_by: by.to_owned(),
        imported_at: at.into(),
    };
    on!(db, |conn| diesel::insert_into(dsl::usagectl_catalogues)
        .values(&row)
        .execute(conn))?;
    Ok(())
}
