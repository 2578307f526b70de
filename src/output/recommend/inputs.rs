//! The answers of `recommend inputs`.

use crate::domain::metrics::names::Service;
use crate::domain::named::Named;
use crate::domain::recommendation::inputs::{InputName, StoredInput};
use crate::output::prelude::*;

/// All inputs, set or not.
#[derive(Debug, Serialize)]
pub struct Inputs {
    inputs: Vec<InputLine>,
}

#[derive(Debug, Serialize)]
struct InputLine {
    name: InputName,
    service: Option<Service>,
    value: Option<String>,
    updated_by: Option<String>,
    used_for: &'static str,
}

impl Inputs {
    /// A line for each stored input, and one for each name that is not set at all.
    pub fn new(stored: &[StoredInput]) -> Inputs {
        let line = |name: InputName, stored: Option<&StoredInput>| InputLine {
            name,
            service: stored.and_then(|it| it.service),
            value: stored.map(|it| it.value.clone()),
            updated_by: stored.map(|it| it.updated_by.clone()),
            used_for: name.used_for(),
        };
        let mut inputs = Vec::new();
        for name in InputName::ALL.iter().copied() {
            let of_name: Vec<_> = stored
                .iter()
                .filter(|it| it.name == name.as_str())
                .collect();
            if of_name.is_empty() {
                inputs.push(line(name, None));
            }
            inputs.extend(of_name.into_iter().map(|it| line(name, Some(it))));
        }
        Inputs { inputs }
    }
}

fn columns<'a>() -> Vec<Column<'a, InputLine>> {
    type Col<'a> = Column<'a, InputLine>;
    let service = |it: &InputLine| {
        let all = it.value.as_ref().map(|_| "all".to_owned());
        Cell::maybe(it.service.map(|service| service.to_string()).or(all))
    };
    vec![
        Col::left("INPUT", "input", |it| Cell::text(it.name)),
        Column::left("SERVICE", "service", service),
        Col::table_only("VALUE", |it| {
            Cell::text(it.value.as_deref().unwrap_or("not set"))
        }),
        Col::csv_only("value", |it| Cell::maybe(it.value.as_ref())),
        Col::left("BY", "updated_by", |it| Cell::maybe(it.updated_by.as_ref())),
        Col::table_only("USED FOR", |it| Cell::text(it.used_for)).dropped(1),
    ]
}

impl Answer for Inputs {
    fn table(&self, width: Option<usize>) -> String {
        columns::table(&columns(), &self.inputs, width)
    }

    fn json(&self) -> impl Serialize {
        self
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&columns(), &self.inputs)
    }
}

/// An input that was set, or without a value removed.
#[derive(Debug, Serialize)]
pub struct InputChange {
    pub name: InputName,
    pub service: Option<Service>,
    pub value: Option<String>,
    pub updated_by: Option<String>,
}

impl Answer for InputChange {
    fn table(&self, _width: Option<usize>) -> String {
        let scope = self
            .service
            .map_or("all services".to_owned(), |service| service.to_string());
        match &self.value {
            Some(value) => format!("{} = {value} for {scope}\n", self.name),
            None => format!("{} removed for {scope}\n", self.name),
        }
    }

    fn json(&self) -> impl Serialize {
        self
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = ["name", "service", "value", "updated_by"].map(str::to_owned);
        let text = |value: Option<String>| value.unwrap_or_default();
        let row = [
            self.name.to_string(),
            text(self.service.map(|service| service.to_string())),
            text(self.value.clone()),
            text(self.updated_by.clone()),
        ];
        vec![header.to_vec(), row.to_vec()]
    }
}
