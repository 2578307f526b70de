//! The catalogue's rows of a provider.

use crate::domain::plans::diff::CatalogueRow;
use crate::output::prelude::*;

#[derive(Debug, Serialize)]
pub struct ProviderPlans {
    pub catalogue_version: String,
    pub provider: String,
    pub plan_in_use: Option<String>,
    pub rows: Vec<CatalogueRow>,
}

impl ProviderPlans {
    /// The sources in the order of their rows; tables refer to them by number.
    fn sources(&self) -> Vec<String> {
        let mut sources = Vec::new();
        for row in &self.rows {
            if let Some(source) = source(row)
                && !sources.contains(&source)
            {
                sources.push(source);
            }
        }
        sources
    }
}

fn source(row: &CatalogueRow) -> Option<String> {
    let citation = &row.citation;
    let url = citation.source.as_ref()?;
    let (date, grade) = (citation.page_date?, citation.grade?);
    Some(format!("{url} ({date}, grade {grade})"))
}

fn columns(sources: &[String]) -> Vec<Column<'_, CatalogueRow>> {
    type Col<'a> = Column<'a, CatalogueRow>;
    vec![
        Col::csv_only("plan", |row| Cell::maybe(row.plan.as_ref())),
        Col::left("WHAT", "what", |row| Cell::text(&row.what)),
        Col::left("TERMS", "terms", |row| Cell::text(&row.terms)),
        Col::table_only("SOURCE", move |row| {
            let source = source(row);
            let index = sources.iter().position(|it| Some(it) == source.as_ref());
            Cell::maybe(index.map(|index| format!("[{}]", index + 1)))
        }),
        Col::csv_only("grade", |row| Cell::maybe(row.citation.grade)),
        Col::csv_only("page_date", |row| Cell::maybe(row.citation.page_date)),
        Col::csv_only("source", |row| Cell::maybe(row.citation.source.as_ref())),
        Col::csv_only("note", |row| Cell::maybe(row.note.as_ref())),
    ]
}

impl Answer for ProviderPlans {
    fn table(&self, width: Option<usize>) -> String {
        let in_use = match &self.plan_in_use {
            Some(plan) => format!("plan in use: {plan}"),
            None => "no plan selected".to_owned(),
        };
        let (provider, version) = (&self.provider, &self.catalogue_version);
        let mut text = format!("{provider}, catalogue {version}, {in_use}\n");
        let sources = self.sources();
        for rows in self.rows.chunk_by(|a, b| a.plan == b.plan) {
            let plan = rows[0].plan.as_deref().unwrap_or("no plan");
            let table = columns::table(&columns(&sources), rows, width);
            text.push_str(&format!("\n{}\n{table}", printable(plan)));
            for row in rows {
                if let Some(note) = &row.note {
                    let note = format!("{}: {note}", row.what);
                    text.push_str(&format!("  {}\n", printable(&note)));
                }
            }
        }
        text.push('\n');
        for (index, source) in sources.iter().enumerate() {
            text.push_str(&format!("[{}] {}\n", index + 1, printable(source)));
        }
        text
    }

    fn json(&self) -> impl Serialize {
        self
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&columns(&[]), &self.rows)
    }
}
