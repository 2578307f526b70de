//! What speaks against believing the limits.

use serde::Serialize;

use crate::domain::format::counted;
use crate::domain::plans::audit::{Finding, Matter};
use crate::output::Answer;
use crate::output::table::{Side, layout};

/// The answer of `limits audit`.
#[derive(Debug)]
pub struct Audit {
    /// The catalogue that the limits were compared with.
    pub catalogue_version: String,
    /// How many limits there are.
    pub looked_into: usize,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
}

impl Answer for Audit {
    fn table(&self, _width: Option<usize>) -> String {
        let looked_into = counted(self.looked_into as u64, "limit");
        if self.findings.is_empty() {
            return format!("{looked_into}, nothing found\n");
        }
        let columns = [
            ("MATTER", Side::Left),
            ("OF", Side::Left),
            ("DETAIL", Side::Left),
        ];
        let rows = self
            .findings
            .iter()
            .map(|it| vec![it.matter.to_string(), it.of.clone(), it.detail.clone()]);
        let findings = counted(self.findings.len() as u64, "finding");
        format!("{}\n{looked_into}, {findings}\n", layout(&columns, rows))
    }

    fn json(&self) -> impl Serialize {
        Json {
            catalogue_version: &self.catalogue_version,
            limits: self.looked_into,
            findings: self.findings.iter().map(FindingJson::new).collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = ["matter", "of", "detail"].map(str::to_owned).to_vec();
        let rows = self
            .findings
            .iter()
            .map(|it| vec![it.matter.to_string(), it.of.clone(), it.detail.clone()]);
        std::iter::once(header).chain(rows).collect()
    }
}

#[derive(Serialize)]
struct Json<'a> {
    catalogue_version: &'a str,
    limits: usize,
    findings: Vec<FindingJson<'a>>,
}

#[derive(Serialize)]
struct FindingJson<'a> {
    matter: Matter,
    of: &'a str,
    detail: &'a str,
}

impl FindingJson<'_> {
    fn new(finding: &Finding) -> FindingJson<'_> {
        FindingJson {
            matter: finding.matter,
            of: &finding.of,
            detail: &finding.detail,
        }
    }
}
