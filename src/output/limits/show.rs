//! What the catalogue says about a provider.

use serde::Serialize;

use super::{or_dash, or_nothing};
use crate::domain::plans::diff::Said;
use crate::domain::plans::{Grade, PageDate};
use crate::output::Answer;
use crate::output::table::{Side, layout};

/// The answer of `limits show`.
#[derive(Debug)]
pub struct Shown {
    /// The catalogue that says it.
    pub catalogue_version: String,
    pub provider: String,
    /// The one that is in use, if one was chosen.
    pub plan_in_use: Option<String>,
    /// What it says, row by row.
    pub rows: Vec<Said>,
}

impl Answer for Shown {
    fn table(&self, _width: Option<usize>) -> String {
        let in_use = match &self.plan_in_use {
            Some(plan) => format!("{plan} is in use"),
            None => "no plan is chosen".to_owned(),
        };
        let columns = [
            ("PLAN", Side::Left),
            ("WHAT", Side::Left),
            ("TERMS", Side::Left),
            ("GRADE", Side::Left),
            ("PAGE OF", Side::Left),
            ("SOURCE", Side::Left),
            ("NOTE", Side::Left),
        ];
        let rows = self.rows.iter().map(|row| {
            vec![
                or_dash(row.plan.as_ref()),
                row.what.clone(),
                row.terms.clone(),
                or_dash(row.grade),
                or_dash(row.page_date),
                or_dash(row.source.as_ref()),
                or_nothing(row.note.as_ref()),
            ]
        });
        format!(
            "{}, catalogue {}, {in_use}\n\n{}",
            self.provider,
            self.catalogue_version,
            layout(&columns, rows)
        )
    }

    fn json(&self) -> impl Serialize {
        Json {
            catalogue_version: &self.catalogue_version,
            provider: &self.provider,
            plan_in_use: self.plan_in_use.as_deref(),
            rows: self.rows.iter().map(RowJson::new).collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = [
            "plan",
            "what",
            "terms",
            "grade",
            "page_date",
            "source",
            "note",
        ];
        let rows = self.rows.iter().map(|row| {
            vec![
                or_nothing(row.plan.as_ref()),
                row.what.clone(),
                row.terms.clone(),
                or_nothing(row.grade),
                or_nothing(row.page_date),
                or_nothing(row.source.as_ref()),
                or_nothing(row.note.as_ref()),
            ]
        });
        std::iter::once(header.map(str::to_owned).to_vec())
            .chain(rows)
            .collect()
    }
}

#[derive(Serialize)]
struct Json<'a> {
    catalogue_version: &'a str,
    provider: &'a str,
    plan_in_use: Option<&'a str>,
    rows: Vec<RowJson<'a>>,
}

#[derive(Serialize)]
struct RowJson<'a> {
    plan: Option<&'a str>,
    what: &'a str,
    terms: &'a str,
    grade: Option<Grade>,
    page_date: Option<PageDate>,
    source: Option<&'a str>,
    note: Option<&'a str>,
}

impl RowJson<'_> {
    fn new(row: &Said) -> RowJson<'_> {
        RowJson {
            plan: row.plan.as_deref(),
            what: &row.what,
            terms: &row.terms,
            grade: row.grade,
            page_date: row.page_date,
            source: row.source.as_deref(),
            note: row.note.as_deref(),
        }
    }
}
