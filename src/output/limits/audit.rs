//! The findings about the stored limits.

use crate::domain::format::counted;
use crate::domain::plans::audit::Finding;
use crate::output::prelude::*;

#[derive(Debug, Serialize)]
pub struct Audit {
    /// The catalogue that the limits were compared with.
    pub catalogue_version: String,
    pub limits: usize,
    /// The worst first.
    pub findings: Vec<Finding>,
}

fn columns() -> [Column<'static, Finding>; 3] {
    type Col<'a> = Column<'a, Finding>;
    [
        Col::left("ISSUE", "issue", |it| Cell::text(it.issue)),
        Col::left("LIMIT", "of", |it| Cell::text(&it.of)),
        Col::left("DETAIL", "detail", |it| Cell::text(&it.detail)),
    ]
}

impl Answer for Audit {
    fn table(&self, width: Option<usize>) -> String {
        let limits = counted(self.limits as u64, "limit");
        if self.findings.is_empty() {
            return format!("{limits}, no findings\n");
        }
        let table = columns::table(&columns(), &self.findings, width);
        let findings = counted(self.findings.len() as u64, "finding");
        format!("{table}\n{limits}, {findings}\n")
    }

    fn json(&self) -> impl Serialize {
        self
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&columns(), &self.findings)
    }
}
