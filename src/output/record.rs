//! What `record` answers: every line accounted for.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::Answer;
use crate::domain::format::count;

/// What became of the lines that were read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Lines that are not blank. The next five add up to it.
    pub read: u64,
    /// Recorded now.
    pub inserted: u64,
    /// Recorded before, with the same content.
    pub duplicate: u64,
    /// Not recorded: the same id is recorded with other content.
    pub conflict: u64,
    /// Not recorded: something is wrong with the line.
    pub refused: u64,
    /// Not recorded after all: with `--atomic`, because of other lines.
    pub rolled_back: u64,
    /// Of those recorded, how many had their error message cut.
    pub cut: u64,
    /// Of those recorded, how many a second run could not know again.
    pub unrepeatable: u64,
    /// The earliest and the latest call among those recorded, now or before.
    pub span: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// Whether the input was read to its end.
    pub complete: bool,
    /// How long it took.
    pub seconds: f64,
}

impl Summary {
    fn lines_per_second(&self) -> f64 {
        // Under a millisecond no rate means anything.
        (self.read as f64 / self.seconds.max(0.001)).round()
    }

    fn counts(&self) -> [(&'static str, u64); 8] {
        [
            ("read", self.read),
            ("inserted", self.inserted),
            ("duplicate", self.duplicate),
            ("conflict", self.conflict),
            ("refused", self.refused),
            ("rolled_back", self.rolled_back),
            ("cut", self.cut),
            ("unrepeatable", self.unrepeatable),
        ]
    }
}

fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[derive(Serialize)]
struct SummaryJson {
    read: u64,
    inserted: u64,
    duplicate: u64,
    conflict: u64,
    refused: u64,
    rolled_back: u64,
    cut: u64,
    unrepeatable: u64,
    from: Option<String>,
    to: Option<String>,
    complete: bool,
    seconds: f64,
    lines_per_second: f64,
}

impl Answer for Summary {
    fn table(&self, _width: Option<usize>) -> String {
        let mut text = String::new();
        for (index, (name, number)) in self.counts().into_iter().enumerate() {
            // The last three are exceptions, told where there are any.
            if index < 5 || number > 0 {
                let number = count(number.cast_signed());
                text.push_str(&format!("{:<13}{number:>13}\n", name.replace('_', " ")));
            }
        }
        if let Some((from, to)) = self.span {
            text.push_str(&format!("from  {}\nto    {}\n", instant(from), instant(to)));
        }
        let rate = count(self.lines_per_second() as i64);
        text.push_str(&format!("in {:.1} s, {rate} lines/s\n", self.seconds));
        text
    }

    fn json(&self) -> impl Serialize {
        SummaryJson {
            read: self.read,
            inserted: self.inserted,
            duplicate: self.duplicate,
            conflict: self.conflict,
            refused: self.refused,
            rolled_back: self.rolled_back,
            cut: self.cut,
            unrepeatable: self.unrepeatable,
            from: self.span.map(|(from, _)| instant(from)),
            to: self.span.map(|(_, to)| instant(to)),
            complete: self.complete,
            seconds: (self.seconds * 1_000.0).round() / 1_000.0,
            lines_per_second: self.lines_per_second(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let (from, to) = self.span.unzip();
        let mut header: Vec<String> = self.counts().map(|(name, _)| name.to_owned()).to_vec();
        let mut row: Vec<String> = self.counts().map(|(_, number)| number.to_string()).to_vec();
        header.extend(["from", "to", "complete", "seconds"].map(str::to_owned));
        row.extend([
            from.map(instant).unwrap_or_default(),
            to.map(instant).unwrap_or_default(),
            self.complete.to_string(),
            format!("{:.3}", self.seconds),
        ]);
        vec![header, row]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_told_only_where_there_are_any() {
        let plain = Summary {
            read: 1_200,
            inserted: 1_200,
            complete: true,
            seconds: 0.5,
            ..Summary::default()
        };
        assert_eq!(
            plain.table(None),
            "read                 1,200\n\
             inserted             1,200\n\
             duplicate                0\n\
             conflict                 0\n\
             refused                  0\n\
             in 0.5 s, 2,400 lines/s\n"
        );
        let cut = Summary { cut: 3, ..plain };
        assert!(cut.table(None).contains("cut                      3\n"));
    }
}
