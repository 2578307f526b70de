//! What `collect prune` answers.

use chrono::NaiveDate;
use serde::Serialize;

use crate::domain::format::counted;
use crate::output::Answer;

/// What was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pruned {
    pub points: u64,
    /// The last day of which they are, if time reaches back so far.
    pub last_day: Option<NaiveDate>,
    /// Whether nothing was removed after all.
    pub dry_run: bool,
}

#[derive(Serialize)]
struct PrunedJson {
    points: u64,
    last_day: Option<String>,
    dry_run: bool,
}

impl Pruned {
    fn last_day(&self) -> Option<String> {
        self.last_day.map(|day| day.to_string())
    }
}

impl Answer for Pruned {
    fn table(&self, _width: Option<usize>) -> String {
        let points = counted(self.points, "point");
        let until = self
            .last_day()
            .map(|day| format!(" up to {day}"))
            .unwrap_or_default();
        match self.dry_run {
            true => format!("{points}{until} would be removed\n"),
            false => format!("{points}{until} removed; their days stay\n"),
        }
    }

    fn json(&self) -> impl Serialize {
        PrunedJson {
            points: self.points,
            last_day: self.last_day(),
            dry_run: self.dry_run,
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let day = self.last_day().unwrap_or_default();
        vec![
            vec![
                "points".to_owned(),
                "last_day".to_owned(),
                "dry_run".to_owned(),
            ],
            vec![self.points.to_string(), day, self.dry_run.to_string()],
        ]
    }
}
