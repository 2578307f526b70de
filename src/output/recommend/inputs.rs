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

/// An input; without a value it is not set, or was removed.
#[derive(Debug, Serialize)]
pub struct InputLine {
    pub name: InputName,
    pub service: Option<Service>,
    pub value: Option<String>,
    pub updated_by: Option<String>,
    used_for: &'static str,
}

impl InputLine {
    pub fn unset(name: InputName, service: Option<Service>) -> InputLine {
        InputLine {
            name,
            service,
            value: None,
            updated_by: None,
            used_for: name.used_for(),
        }
    }

    pub fn new(name: InputName, stored: &StoredInput) -> InputLine {
        InputLine {
            value: Some(stored.value.clone()),
            updated_by: Some(stored.updated_by.clone()),
            ..InputLine::unset(name, stored.service)
        }
    }
}

impl Inputs {
    /// A line for each stored input, and one for each name that is not set at all.
    pub fn new(stored: &[StoredInput]) -> Inputs {
        let lines = |name: &InputName| {
            let of_name = stored.iter().filter(|it| it.name == name.as_str());
            let lines: Vec<_> = of_name.map(|it| InputLine::new(*name, it)).collect();
            match lines.is_empty() {
                true => vec![InputLine::unset(*name, None)],
                false => lines,
            }
        };
        let inputs = InputName::ALL.iter().flat_map(lines).collect();
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

impl Answer for InputLine {
    fn table(&self, _width: Option<usize>) -> String {
        let scope = self.service.map_or("all services", Named::as_str);
        match &self.value {
            Some(value) => format!("{} = {value} for {scope}\n", self.name),
            None => format!("{} removed for {scope}\n", self.name),
        }
    }

    fn json(&self) -> impl Serialize {
        self
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&columns(), std::slice::from_ref(self))
    }
}
