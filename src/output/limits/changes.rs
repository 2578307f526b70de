//! The changes that bring the stored limits in line with a catalogue: the answers of `limits init` and
//! `limits import`.

use serde::{Serialize, Serializer};

use super::plan::selections_json;
use super::{Row, RowsJson, Shown};
use crate::domain::format;
use crate::domain::format::printable;
use crate::domain::plans::PlanSelection;
use crate::domain::plans::diff::DiffRow;
use crate::domain::plans::sync::{Changes, SyncAction};
use crate::output::{Answer, columns};

fn rows(changes: &Changes) -> Vec<Row<'_>> {
    let of_services = changes.limits.iter().map(Row::of_change);
    let of_apis = changes.api_limits.iter().map(Row::of_api_change);
    of_services.chain(of_apis).collect()
}

fn shown(rows: &[Row<'_>]) -> Shown {
    let any = |action| rows.iter().any(|row| row.change == Some(action));
    Shown {
        is_change: true,
        before: any(SyncAction::Updated),
        catalogue_value: any(SyncAction::Kept),
        ..Shown::default()
    }
}

pub(super) fn changes_table(changes: &Changes, width: Option<usize>) -> String {
    let rows = rows(changes);
    columns::table_or("no limits changed\n", &shown(&rows).columns(), &rows, width)
}

fn changes_csv(changes: &Changes) -> Vec<Vec<String>> {
    let rows = rows(changes);
    columns::csv(&shown(&rows).columns(), &rows)
}

/// For `#[serde(flatten)]`.
pub(super) fn json<S: Serializer>(changes: &Changes, serializer: S) -> Result<S::Ok, S::Error> {
    RowsJson::new(rows(changes)).serialize(serializer)
}

fn dry_run_note(dry_run: bool) -> &'static str {
    match dry_run {
        true => ", dry run: nothing was written",
        false => "",
    }
}

#[derive(Debug, Serialize)]
pub struct Initialised {
    pub catalogue_version: String,
    pub dry_run: bool,
    #[serde(serialize_with = "plans_json")]
    pub plans: Vec<PlanSelection>,
    pub without_plan: Vec<UnselectedProvider>,
    #[serde(flatten, serialize_with = "json")]
    pub changes: Changes,
}

fn plans_json<S: Serializer>(plans: &[PlanSelection], serializer: S) -> Result<S::Ok, S::Error> {
    let plans: Vec<_> = plans.iter().map(|it| (it.clone(), true)).collect();
    selections_json(&plans).serialize(serializer)
}

#[derive(Debug, Serialize)]
pub struct UnselectedProvider {
    pub provider: String,
    pub plans: Vec<String>,
}

impl Answer for Initialised {
    fn table(&self, width: Option<usize>) -> String {
        let plan = |it: &PlanSelection| format!("{} {}", it.provider, it.plan);
        let plans: Vec<String> = self.plans.iter().map(plan).collect();
        let plans = match plans.join(", ") {
            none if none.is_empty() => "no plan selected".to_owned(),
            plans => format!("plans in use: {plans}"),
        };
        let (version, note) = (&self.catalogue_version, dry_run_note(self.dry_run));
        let changes = changes_table(&self.changes, width);
        format!("catalogue {version}, {plans}{note}\n\n{changes}")
    }

    fn json(&self) -> impl Serialize {
        self
    }

    fn csv(&self) -> Vec<Vec<String>> {
        changes_csv(&self.changes)
    }
}

#[derive(Debug, Serialize)]
pub struct Imported {
    #[serde(rename = "catalogue_version")]
    pub version: String,
    pub version_before: String,
    pub dry_run: bool,
    pub differences: Vec<DiffRow>,
    /// The plans in use that the catalogue does not have.
    pub missing_plans: Vec<String>,
    #[serde(flatten, serialize_with = "json")]
    pub changes: Changes,
}

impl Answer for Imported {
    fn table(&self, width: Option<usize>) -> String {
        let difference = |it: &DiffRow| {
            let now = it.now.as_deref().unwrap_or(format::DASH);
            let terms = format::change(it.before.as_ref(), now);
            let (row, terms) = (printable(&it.row), printable(&terms));
            format!("{} {row}\n  {terms}\n", it.difference)
        };
        let differences = match self.differences.as_slice() {
            [] => "no differences\n".to_owned(),
            differences => differences.iter().map(difference).collect(),
        };
        let (version, before) = (&self.version, &self.version_before);
        let note = dry_run_note(self.dry_run);
        let changes = changes_table(&self.changes, width);
        format!("catalogue {version} (was {before}){note}\n\n{differences}\n{changes}")
    }

    fn json(&self) -> impl Serialize {
        self
    }

    fn csv(&self) -> Vec<Vec<String>> {
        changes_csv(&self.changes)
    }
}
