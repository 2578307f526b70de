//! Refused lines of `record` and `collect import`: reported on stderr, counted and kept in a rejects file.

use std::path::Path;

use chrono::{DateTime, Utc};

use crate::commands::prelude::*;
use crate::domain::format::counted;
use crate::ingest::{Input, InputFailure, Refusal, RejectsFile};

/// This many refused lines are printed; the others are only counted.
const PRINTED_LINES: u64 = 20;

/// The refused lines of a run.
#[derive(Default)]
pub(super) struct Refusals {
    rejects: Option<RejectsFile>,
    count: u64,
}

impl Refusals {
    /// Opens the rejects file, which must not be one of the inputs.
    pub(super) fn open(path: Option<&Path>, inputs: &[Input]) -> Result<Refusals> {
        let Some(path) = path else {
            return Ok(Refusals::default());
        };
        let failed = |error: std::io::Error| {
            Error::new(Exit::Failed, error)
                .context(format!("cannot write {}", path.display()))
                .with_next("give a writable file; nothing was changed")
        };
        let file = RejectsFile::open(path).map_err(failed)?;
        for input in inputs {
            if input.is_file(&file).map_err(failed)? {
                let message = format!(
                    "--rejects {} is also the input {}",
                    path.display(),
                    printable(&input.name)
                );
                return Err(Error::usage(message).with_next("give another file with --rejects"));
            }
        }
        Ok(Refusals {
            rejects: Some(file),
            count: 0,
        })
    }

    /// Writes lines to the rejects file. Call it before anything is committed, so that no line is lost.
    pub(super) fn keep(&mut self, refusals: &[Refusal], at: DateTime<Utc>) -> Result<()> {
        let Some(file) = &mut self.rejects else {
            return Ok(());
        };
        refusals
            .iter()
            .try_for_each(|refusal| file.write(refusal, at))
            .and_then(|()| file.flush())
            .map_err(|error| {
                Error::new(Exit::Failed, error)
                    .context(format!("cannot write {}", file.path().display()))
                    .with_next("free disk space, then run the same command again")
            })
    }

    /// Prints a line, unless enough were printed.
    pub(super) fn report(&mut self, context: &mut Context, refusal: &Refusal) {
        if self.count < PRINTED_LINES {
            context.warn(describe(refusal));
        }
        self.count += 1;
    }

    /// Prints the number of lines that were not printed, and the inputs that could not be read.
    pub(super) fn report_rest(&self, context: &mut Context, failures: &[InputFailure]) {
        if self.count > PRINTED_LINES {
            let more = counted(self.count - PRINTED_LINES, "more line");
            context.warn(format_args!("{more} rejected"));
        }
        for failure in failures {
            context.error(format_args!(
                "{}: {}; read up to line {}",
                printable(&failure.input),
                printable(&failure.reason),
                failure.line
            ));
        }
    }

    /// Closes the rejects file and returns its path if it has lines of this run.
    pub(super) fn close(self) -> Result<Option<String>> {
        let Some(file) = self.rejects else {
            return Ok(None);
        };
        let kept = (!file.is_empty()).then(|| file.path().display().to_string());
        file.close()?;
        Ok(kept)
    }
}

/// A refusal on one line: `usage.csv:7: status_code is 999, expected 100 to 599`.
fn describe(refusal: &Refusal) -> String {
    let problem = &refusal.problem;
    let subject = problem.field.as_deref().unwrap_or("the line");
    let text = format!("{} {}", printable(subject), printable(&problem.message));
    match refusal.origin.input.as_str() {
        // The command line itself.
        "" => text,
        input => format!("{}:{}: {text}", printable(input), refusal.line),
    }
}
