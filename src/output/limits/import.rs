//! What an imported catalogue says otherwise, and what became of the limits.

use serde::Serialize;

use super::init::{ChangesJson, changes_csv, changes_table};
use crate::domain::plans::diff::{Difference, Entry};
use crate::domain::plans::sync::{ApiLimitChange, LimitChange};
use crate::output::Answer;
use crate::output::table::{Side, layout};

/// The answer of `limits import`.
#[derive(Debug)]
pub struct Imported {
    /// The catalogue that is in force now.
    pub version: String,
    pub version_before: String,
    pub dry_run: bool,
    pub differences: Vec<Entry>,
    /// The plans in use that it does not have.
    pub gone: Vec<String>,
    /// What became of the limits of plans.
    pub limits: Vec<LimitChange>,
    /// What became of the limits of APIs.
    pub api_limits: Vec<ApiLimitChange>,
}

impl Answer for Imported {
    fn table(&self, _width: Option<usize>) -> String {
        let rehearsal = if self.dry_run {
            ", nothing was written"
        } else {
            ""
        };
        let (before, version) = (&self.version_before, &self.version);
        let heading = format!("catalogue {version}, before it {before}{rehearsal}\n\n");
        let columns = [
            ("ROW", Side::Left),
            ("", Side::Left),
            ("BEFORE", Side::Left),
            ("NOW", Side::Left),
        ];
        let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let rows = self.differences.iter().map(|it| {
            let difference = it.difference.to_string();
            vec![
                difference,
                it.what.clone(),
                dash(&it.before),
                dash(&it.after),
            ]
        });
        let differences = match self.differences.is_empty() {
            true => "it says the same\n".to_owned(),
            false => layout(&columns, rows),
        };
        format!(
            "{heading}{differences}\n{}",
            changes_table(&self.limits, &self.api_limits)
        )
    }

    fn json(&self) -> impl Serialize {
        Json {
            catalogue_version: &self.version,
            version_before: &self.version_before,
            dry_run: self.dry_run,
            differences: self.differences.iter().map(EntryJson::new).collect(),
            plans_not_in_it: &self.gone,
            changes: ChangesJson::new(&self.limits, &self.api_limits),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        changes_csv(&self.limits, &self.api_limits)
    }
}

#[derive(Serialize)]
struct Json<'a> {
    catalogue_version: &'a str,
    version_before: &'a str,
    dry_run: bool,
    differences: Vec<EntryJson<'a>>,
    plans_not_in_it: &'a [String],
    #[serde(flatten)]
    changes: ChangesJson<'a>,
}

#[derive(Serialize)]
struct EntryJson<'a> {
    difference: Difference,
    row: &'a str,
    before: Option<&'a str>,
    now: Option<&'a str>,
}

impl EntryJson<'_> {
    fn new(entry: &Entry) -> EntryJson<'_> {
        EntryJson {
            difference: entry.difference,
            row: &entry.what,
            before: entry.before.as_deref(),
            now: entry.after.as_deref(),
        }
    }
}
