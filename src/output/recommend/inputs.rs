//! What `recommend inputs` answers.

use serde::Serialize;

use crate::domain::metrics::names::Service;
use crate::domain::named::Named;
use crate::domain::recommendation::inputs::{Given, Name};
use crate::output::Answer;
use crate::output::table::{Side, layout};

/// What was given, and so what was not.
#[derive(Debug)]
pub struct Inputs {
    pub given: Vec<Given>,
}

impl Inputs {
    /// A line for each that was given, and for each that was given for no service at all.
    fn lines(&self) -> Vec<(Name, Option<&Given>)> {
        let mut lines = Vec::new();
        for name in Name::ALL {
            let of_name = self
                .given
                .iter()
                .filter(|given| given.name == name.as_str());
            let before = lines.len();
            lines.extend(of_name.map(|given| (*name, Some(given))));
            if lines.len() == before {
                lines.push((*name, None));
            }
        }
        lines
    }
}

fn service(given: &Given) -> String {
    given
        .service
        .map_or("all".to_owned(), |service| service.to_string())
}

impl Answer for Inputs {
    fn table(&self, _width: Option<usize>) -> String {
        let columns = [
            ("INPUT", Side::Left),
            ("SERVICE", Side::Left),
            ("VALUE", Side::Left),
            ("BY", Side::Left),
            ("TELLS", Side::Left),
        ];
        let row = |(name, given): (Name, Option<&Given>)| {
            let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            vec![
                name.to_string(),
                or_dash(given.map(service)),
                given.map_or("not given".to_owned(), |given| given.value.clone()),
                or_dash(given.map(|given| given.updated_by.clone())),
                name.unlocks().to_owned(),
            ]
        };
        layout(&columns, self.lines().into_iter().map(row))
    }

    fn json(&self) -> impl Serialize {
        #[derive(Serialize)]
        struct InputJson<'a> {
            name: Name,
            service: Option<Service>,
            value: Option<&'a str>,
            updated_by: Option<&'a str>,
            unlocks: &'static str,
        }
        #[derive(Serialize)]
        struct InputsJson<'a> {
            inputs: Vec<InputJson<'a>>,
        }
        let inputs = self.lines().into_iter().map(|(name, given)| InputJson {
            name,
            service: given.and_then(|given| given.service),
            value: given.map(|given| given.value.as_str()),
            updated_by: given.map(|given| given.updated_by.as_str()),
            unlocks: name.unlocks(),
        });
        InputsJson {
            inputs: inputs.collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = ["input", "service", "value", "updated_by"];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        rows.extend(self.lines().into_iter().map(|(name, given)| {
            vec![
                name.to_string(),
                given.map_or(String::new(), service),
                given.map_or(String::new(), |given| given.value.clone()),
                given.map_or(String::new(), |given| given.updated_by.clone()),
            ]
        }));
        rows
    }
}
