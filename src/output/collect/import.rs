//! The answer of `collect import` and `collect set`: every line is accounted for.

use rust_decimal::Decimal;

use crate::domain::format::count;
use crate::domain::metrics::focus_bill::UnknownService;
use crate::domain::metrics::point::Saved;
use crate::output::prelude::*;

/// Counts of the lines read and of the points in them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ImportReport {
    /// Lines that are not blank.
    pub read: u64,
    #[serde(flatten)]
    pub saved: Saved,
    pub refused: u64,
    /// Daily summaries that were rebuilt.
    pub days: u64,
    pub unknown_services: Vec<UnknownService>,
    /// The stored cost of a bill in US dollars: as billed, and as effective.
    #[serde(skip)]
    pub bill: Option<(Decimal, Decimal)>,
}

impl ImportReport {
    fn counts(&self) -> [(&'static str, u64); 6] {
        [
            ("read", self.read),
            ("inserted", self.saved.inserted),
            ("updated", self.saved.updated),
            ("unchanged", self.saved.unchanged),
            ("refused", self.refused),
            ("days rebuilt", self.days),
        ]
    }

    fn costs(&self) -> impl Iterator<Item = (&'static str, Decimal)> {
        let costs = self.bill.into_iter();
        costs.flat_map(|(billed, effective)| [("billed", billed), ("effective", effective)])
    }
}

impl Answer for ImportReport {
    fn table(&self, _width: Option<usize>) -> String {
        let line = |(name, number): (&str, u64)| format!("{name:<14}{:>10}\n", count(number));
        let mut text: String = self.counts().into_iter().map(line).collect();
        for (name, usd) in self.costs() {
            text.push_str(&format!("{name:<14}{:>10}\n", format::usd(usd)));
        }
        text
    }

    fn json(&self) -> impl Serialize {
        let [billed, effective] = ["billed", "effective"].map(|wanted| {
            let mut costs = self.costs();
            costs.find_map(|(name, usd)| (name == wanted).then(|| usd.normalize().to_string()))
        });
        object! { ..self, billed_usd: billed, effective_usd: effective }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let column = |(name, number): (&str, u64)| (name.replace(' ', "_"), number.to_string());
        let (names, counts) = self.counts().into_iter().map(column).unzip();
        vec![names, counts]
    }
}
