//! The answer of `collect prune`.

use chrono::NaiveDate;

use crate::domain::format::counted;
use crate::output::prelude::*;

#[derive(Clone, Debug, Serialize)]
pub struct PruneReport {
    /// Number of removed points.
    pub points: u64,
    /// The last day that is pruned, unless it lies before the first year of the calendar.
    pub last_day: Option<NaiveDate>,
    pub dry_run: bool,
}

impl Answer for PruneReport {
    fn table(&self, _width: Option<usize>) -> String {
        let points = counted(self.points, "point");
        let until = self.last_day.map(|day| format!(" up to {day}"));
        let until = until.unwrap_or_default();
        if self.dry_run {
            format!("would remove {points}{until}\n")
        } else {
            format!("removed {points}{until}; their daily summaries are kept\n")
        }
    }

    fn json(&self) -> impl Serialize {
        self
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let day = self.last_day.map(|day| day.to_string());
        vec![
            ["points", "last_day", "dry_run"]
                .map(str::to_owned)
                .to_vec(),
            vec![
                self.points.to_string(),
                day.unwrap_or_default(),
                self.dry_run.to_string(),
            ],
        ]
    }
}
