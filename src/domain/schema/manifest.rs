//! The manifest of an export: what `rollback --export` wrote, and what `migrate --restore` reads back.
//!
//! An export is a folder: `manifest.json`, and zstd-compressed NDJSON files. Each table has a first part with the
//! rows of one snapshot, and further parts with the rows that changed until the drop. In later parts a row replaces
//! the row of the same key in earlier ones.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::dependents::DependentKind;

/// The version of the format. Raised when an older program cannot read it.
pub const FORMAT: u32 = 1;

/// The file name within the folder.
pub const MANIFEST: &str = "manifest.json";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    /// The version of usagectl that wrote it.
    pub tool_version: String,
    /// `postgresql` or `sqlite`.
    pub engine: String,
    /// The database without its password.
    pub database: String,
    pub application_schema: String,
    pub exported_at: String,
    /// PostgreSQL: the owner of `api_usage`. Exports of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// False until the last migration is reverted.
    pub complete: bool,
    /// In the order in which they were reverted.
    pub migrations: Vec<MigrationExport>,
}

/// The data lost when one migration was reverted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationExport {
    pub version: String,
    pub name: String,
    pub tables: Vec<TableExport>,
    /// Objects of the user that went with them.
    pub objects: Vec<UserObject>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableExport {
    pub table: String,
    /// Whether the table itself was dropped; otherwise only these columns were.
    pub dropped: bool,
    /// The names of the key columns.
    pub key: Vec<String>,
    /// The key first.
    pub columns: Vec<ColumnExport>,
    /// Of a dropped table all columns as they are declared, in the exporting engine's SQL. Exports of earlier versions
    /// have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub definitions: Vec<ColumnDefinition>,
    pub parts: Vec<Part>,
}

/// A column as `ADD COLUMN` takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDefinition {
    pub name: String,
    /// With its name, type, NOT NULL, default or generating expression.
    pub sql: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnExport {
    pub name: String,
    /// The declared type.
    #[serde(rename = "type")]
    pub declared: String,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub file: String,
    pub rows: u64,
    /// Keys of deleted rows.
    pub deleted: u64,
    /// Of the compressed file.
    pub sha256: String,
}

/// An index, trigger or other object of the user, as SQL that creates it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserObject {
    pub kind: DependentKind,
    pub name: String,
    pub table: String,
    pub sql: String,
}

/// Why a manifest cannot be restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    #[error("{MANIFEST} is not a manifest: {0}")]
    Malformed(String),
    #[error("{MANIFEST} has format {0}; this version of usagectl reads format {FORMAT}")]
    Format(u32),
    #[error("{MANIFEST} names the file `{0}`, which is not a plain file name")]
    FileName(String),
}

impl Manifest {
    /// A manifest without any data.
    pub fn new(
        engine: &str,
        database: String,
        application_schema: String,
        exported_at: String,
    ) -> Manifest {
        Manifest {
            format: FORMAT,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            engine: engine.to_owned(),
            database,
            application_schema,
            exported_at,
            owner: None,
            complete: false,
            migrations: Vec::new(),
        }
    }

    /// Whether it is of this database; another role may have written it.
    pub fn is_of(&self, database: &str) -> bool {
        let without_role = |name: &str| match name.split_once("://") {
            Some((scheme, address)) => {
                let (_, address) = address.rsplit_once('@').unwrap_or(("", address));
                format!("{scheme}://{address}")
            }
            None => name.to_owned(),
        };
        without_role(&self.database) == without_role(database)
    }

    pub fn parse(text: &str) -> Result<Manifest, ManifestError> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let malformed = |error: serde_json::Error| ManifestError::Malformed(error.to_string());
        let version: Version = serde_json::from_str(text).map_err(malformed)?;
        if version.format != FORMAT {
            return Err(ManifestError::Format(version.format));
        }
        let manifest: Manifest = serde_json::from_str(text).map_err(malformed)?;
        let strays = manifest.parts().find(|part| !is_file_name(&part.file));
        match strays {
            Some(part) => Err(ManifestError::FileName(part.file.clone())),
            None => Ok(manifest),
        }
    }

    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        let tables = self.migrations.iter().flat_map(|it| &it.tables);
        tables.flat_map(|table| &table.parts)
    }

    /// The newest version in it.
    pub fn newest_version(&self) -> Option<&str> {
        let versions = self.migrations.iter().map(|it| it.version.as_str());
        versions.max()
    }
}

impl MigrationExport {
    pub fn rows(&self) -> u64 {
        let parts = self.tables.iter().flat_map(|table| &table.parts);
        parts.map(|part| part.rows).sum()
    }
}

/// The name of a table's part: `20260123210146_api_usage.0.ndjson.zst`. Characters that a file name cannot have in
/// every system are replaced.
pub fn file_name(version: &str, table: &str, part: usize) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '_' {
            c
        } else {
            '-'
        }
    };
    let table: String = table.chars().map(plain).collect();
    format!("{version}_{table}.{part}.ndjson.zst")
}

fn is_file_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(is_plain)
}

/// A line of a part.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// The values, in the order of the table's columns.
    Row(Vec<Value>),
    /// The key of a row that was deleted.
    Deleted(Vec<Value>),
    /// All rows so far were deleted by TRUNCATE.
    Truncated,
}

const DELETED: &str = "$deleted";
const TRUNCATED: &str = "$truncated";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    #[error("not a JSON object")]
    NotAnObject,
    #[error("the column `{0}` is missing")]
    Missing(String),
}

impl Line {
    /// The line as JSON text, without a line end.
    pub fn write(&self, table: &TableExport) -> String {
        match self {
            Line::Row(values) => object(&table.columns, values),
            Line::Deleted(key) => format!("{{\"{DELETED}\":{}}}", object(&table.columns, key)),
            Line::Truncated => format!("{{\"{TRUNCATED}\":true}}"),
        }
    }

    pub fn parse(text: &str, table: &TableExport) -> Result<Line, LineError> {
        let Ok(Value::Object(mut object)) = serde_json::from_str(text) else {
            return Err(LineError::NotAnObject);
        };
        if object.contains_key(TRUNCATED) {
            return Ok(Line::Truncated);
        }
        let take = |object: &mut Map<String, Value>, columns: &[ColumnExport]| {
            let values = columns.iter().map(|column| {
                let value = object.remove(&column.name);
                value.ok_or_else(|| LineError::Missing(column.name.clone()))
            });
            values.collect::<Result<Vec<Value>, LineError>>()
        };
        match object.get_mut(DELETED) {
            Some(Value::Object(key)) => {
                let columns = table.columns.get(..table.key.len()).unwrap_or_default();
                take(key, columns).map(Line::Deleted)
            }
            Some(_) => Err(LineError::NotAnObject),
            None => take(&mut object, &table.columns).map(Line::Row),
        }
    }
}

/// A JSON object with the columns in their order.
fn object(columns: &[ColumnExport], values: &[Value]) -> String {
    let mut text = String::from("{");
    for (column, value) in columns.iter().zip(values) {
        if text.len() > 1 {
            text.push(',');
        }
        // Writing to a string does not fail.
        let _ = write!(text, "{}:{value}", Value::from(column.name.as_str()));
    }
    text + "}"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEXT: &str = r#"{
        "format": 1, "tool_version": "1.0.0", "engine": "sqlite", "database": "sqlite:a.db",
        "application_schema": "main", "exported_at": "2026-01-31T12:00:00.000Z", "complete": true,
        "migrations": [{"version": "1", "name": "one", "objects": [], "tables": [{
            "table": "api_usage", "dropped": false, "key": ["id"],
            "columns": [{"name": "id", "type": "text"}, {"name": "method", "type": "text"}],
            "parts": [{"file": "1_api_usage.0.ndjson.zst", "rows": 2, "deleted": 0, "sha256": "00"}]
        }]}]
    }"#;

    fn manifest() -> Manifest {
        Manifest::parse(TEXT).unwrap()
    }

    fn table() -> TableExport {
        manifest().migrations.remove(0).tables.remove(0)
    }

    #[test]
    fn manifest_of_another_role_is_of_the_same_database() {
        let manifest = Manifest {
            database: "postgresql://owner:***@host:5432/shop?schema=a".to_owned(),
            ..manifest()
        };
        for (database, is_same) in [
            ("postgresql://host:5432/shop?schema=a", true),
            ("postgresql://b@host:5432/shop?schema=a", true),
            ("postgresql://owner:***@host:5432/shop?schema=b", false),
            ("postgresql://owner:***@other:5432/shop?schema=a", false),
        ] {
            assert_eq!(manifest.is_of(database), is_same, "{database}");
        }
        assert!(self::manifest().is_of("sqlite:a.db"));
    }

    #[test]
    fn line_keeps_values_in_column_order() {
        let table = table();
        let row = Line::Row(vec![json!("a\n1"), json!(null)]);
        let deleted = Line::Deleted(vec![json!("a")]);
        for (line, text) in [
            (row, r#"{"id":"a\n1","method":null}"#),
            (deleted, r#"{"$deleted":{"id":"a"}}"#),
            (Line::Truncated, r#"{"$truncated":true}"#),
        ] {
            assert_eq!(line.write(&table), text);
            assert_eq!(Line::parse(text, &table), Ok(line));
        }
    }

    #[test]
    fn incomplete_line_is_refused() {
        let table = table();
        let missing = |name: &str| Err(LineError::Missing(name.to_owned()));
        assert_eq!(Line::parse(r#"{"id":"a"}"#, &table), missing("method"));
        assert_eq!(Line::parse(r#"{"$deleted":{}}"#, &table), missing("id"));
        for text in ["", "[]", r#"{"$deleted":1}"#] {
            assert_eq!(Line::parse(text, &table), Err(LineError::NotAnObject));
        }
    }

    #[test]
    fn manifest_is_read_back() {
        let manifest = manifest();
        let text = serde_json::to_string(&manifest).unwrap();
        assert_eq!(Manifest::parse(&text), Ok(manifest));
    }

    #[test]
    fn foreign_manifest_is_refused() {
        let mut other = manifest();
        other.migrations[0].tables[0].parts[0].file = "../secret".to_owned();
        let text = serde_json::to_string(&other).unwrap();
        let refused = Err(ManifestError::FileName("../secret".to_owned()));
        assert_eq!(Manifest::parse(&text), refused);
        let newer = r#"{"format":2,"anything":[]}"#;
        assert_eq!(Manifest::parse(newer), Err(ManifestError::Format(2)));
        let malformed = Manifest::parse("{}");
        assert!(matches!(malformed, Err(ManifestError::Malformed(_))));
    }

    #[test]
    fn file_names_are_plain() {
        let name = file_name("1", "we/ird \"table\"", 0);
        assert_eq!(name, "1_we-ird--table-.0.ndjson.zst");
        assert!(is_file_name(&name));
        assert!(!is_file_name(".hidden"));
    }
}
