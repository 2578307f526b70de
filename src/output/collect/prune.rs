//! The answer of `collect prune`.

use chrono::NaiveDate;

use crate::domain::format::counted;
use crate::output::prelude::*;

#[derive(Clone, Debug, Serialize)]
pub struct PruneReport {
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
        type Col = Column<'static, PruneReport>;
        let columns = [
            Col::csv_only("points", |it| Cell::count(it.points)),
            Col::csv_only("last_day", |it| Cell::maybe(it.last_day)),
            Col::csv_only("dry_run", |it| Cell::Bool(it.dry_run)),
        ];
        columns::csv(&columns, std::slice::from_ref(self))
    }
}
