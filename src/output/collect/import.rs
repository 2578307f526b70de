//! What `collect import` and `collect set` answer: every line accounted for.

use serde::Serialize;

use crate::domain::format::count;
use crate::domain::metrics::point::Saved;
use crate::output::Answer;

/// What became of the lines that were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Lines that are not blank.
    pub read: u64,
    /// Lines with which something is wrong.
    pub refused: u64,
    /// What became of the points in the others.
    pub saved: Saved,
    /// Days that were summed up anew.
    pub days: u64,
    /// Names on a bill that stand for no service here.
    pub left_out: Vec<String>,
}

impl Imported {
    fn counts(&self) -> [(&'static str, u64); 6] {
        [
            ("read", self.read),
            ("inserted", self.saved.inserted),
            ("updated", self.saved.updated),
            ("unchanged", self.saved.unchanged),
            ("refused", self.refused),
            ("days summed up", self.days),
        ]
    }
}

#[derive(Serialize)]
struct ImportedJson<'a> {
    read: u64,
    inserted: u64,
    updated: u64,
    unchanged: u64,
    refused: u64,
    days: u64,
    unknown_services: &'a [String],
}

impl Answer for Imported {
    fn table(&self, _width: Option<usize>) -> String {
        let line = |(name, number): (&str, u64)| {
            format!("{name:<14}{:>10}\n", count(number.cast_signed()))
        };
        self.counts().into_iter().map(line).collect()
    }

    fn json(&self) -> impl Serialize {
        ImportedJson {
            read: self.read,
            inserted: self.saved.inserted,
            updated: self.saved.updated,
            unchanged: self.saved.unchanged,
            refused: self.refused,
            days: self.days,
            unknown_services: &self.left_out,
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let counts = self.counts();
        vec![
            counts
                .iter()
                .map(|(name, _)| name.replace(' ', "_"))
                .collect(),
            counts
                .iter()
                .map(|(_, number)| number.to_string())
                .collect(),
        ]
    }
}
