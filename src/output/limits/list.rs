//! The stored limits.

use super::{Row, RowsJson, Shown};
use crate::domain::format::counted;
use crate::domain::plans::ApiLimit;
use crate::domain::plans::limit::ListedLimit;
use crate::output::prelude::*;

/// The limits of services and APIs: the answer of `limits list` and `limits set`.
#[derive(Debug, Default)]
pub struct LimitList {
    pub limits: Vec<ListedLimit>,
    pub api_limits: Vec<ApiLimit>,
    pub wide: bool,
}

impl LimitList {
    fn rows(&self) -> Vec<Row<'_>> {
        let of_services = self.limits.iter().map(Row::of_listed);
        let of_apis = self.api_limits.iter().map(Row::of_api);
        of_services.chain(of_apis).collect()
    }

    fn shown(&self) -> Shown {
        Shown {
            wide: self.wide,
            ..Shown::default()
        }
    }
}

impl Answer for LimitList {
    fn table(&self, width: Option<usize>) -> String {
        let rows = self.rows();
        let columns = self.shown().columns();
        let mut text = columns::table_or("no limits\n", &columns, &rows, width);
        let faults = rows.iter().filter_map(|row| {
            let (plan, fault) = (row.plan?, row.fault.as_ref()?);
            let line = format!("{} {plan}: {fault}", row.name());
            Some(printable(&line).into_owned() + "\n")
        });
        let faults: String = faults.collect();
        if !faults.is_empty() {
            text = format!("{text}\n{faults}");
        }
        text
    }

    fn json(&self) -> impl Serialize {
        RowsJson::new(self.rows())
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&self.shown().columns(), &self.rows())
    }
}

/// The removed limits: the answer of `limits remove`.
#[derive(Debug)]
pub struct RemovedLimits(pub LimitList);

impl RemovedLimits {
    fn count(&self) -> usize {
        self.0.limits.len() + self.0.api_limits.len()
    }
}

impl Answer for RemovedLimits {
    fn table(&self, width: Option<usize>) -> String {
        let removed = counted(self.count() as u64, "limit");
        format!("removed {removed}\n\n{}", self.0.table(width))
    }

    fn json(&self) -> impl Serialize {
        object! { removed: self.count(), ..self.0.json() }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        self.0.csv()
    }
}
