//! Refused lines of `record` and `collect import`: reported on stderr, counted and kept in a rejects file.

use std::path::Path;

use chrono::{DateTime, Utc};

use crate::commands::prelude::*;
use crate::domain::format::counted;
use crate::ingest::{Code, Input, InputFailure, Refusal, RejectsFile};

/// This many refused lines are printed, and this many for one reason; the others are only counted.
const PRINTED_LINES: u64 = 20;
const PRINTED_OF_REASON: u64 = 3;

/// The refused lines of a run.
#[derive(Default)]
pub(super) struct Refusals {
    rejects: Option<RejectsFile>,
    printed: u64,
    reasons: Vec<Reason>,
}

/// Refused lines with one problem in one field.
struct Reason {
    code: Code,
    field: Option<String>,
    /// The first line.
    place: String,
    message: String,
    count: u64,
    printed: u64,
}

impl Refusals {
    /// Opens the rejects file, which must not be one of the inputs.
    pub(super) fn open(path: Option<&Path>, inputs: &[Input]) -> Result<Refusals> {
        let Some(path) = path else {
            return Ok(Refusals::default());
        };
        let shown = printable(&path.display().to_string()).into_owned();
        let failed = |error: std::io::Error| {
            let exit = match error.kind() {
                std::io::ErrorKind::InvalidInput => Exit::Usage,
                _ => Exit::Failed,
            };
            Error::new(exit, error)
                .context(format!("cannot write {shown}"))
                .with_next("give another file with --rejects; nothing was changed")
        };
        if let Some(input) = inputs.iter().find(|input| input.is_at(path)) {
            let message = format!(
                "--rejects {shown} is also the input {}",
                printable(&input.name)
            );
            return Err(Error::usage(message).with_next("give another file with --rejects"));
        }
        let file = RejectsFile::open(path).map_err(failed)?;
        Ok(Refusals {
            rejects: Some(file),
            ..Refusals::default()
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
        let problem = &refusal.problem;
        let mut reasons = self.reasons.iter_mut();
        let known = reasons.find(|it| it.code == problem.code && it.field == problem.field);
        let reason = match known {
            Some(reason) => reason,
            None => self.reasons.push_mut(Reason::new(refusal)),
        };
        reason.count += 1;
        if reason.printed < PRINTED_OF_REASON && self.printed < PRINTED_LINES {
            reason.printed += 1;
            self.printed += 1;
            context.warn(describe(refusal));
        }
    }

    /// The option that the message of the most frequent reason names.
    pub(super) fn missing_option(&self) -> Option<&str> {
        let reason = self.reasons.iter().max_by_key(|reason| reason.count)?;
        option_in(&reason.message)
    }

    /// Prints the number of lines that were not printed, by reason, and the inputs that could not be read.
    pub(super) fn report_rest(&self, context: &mut Context, failures: &[InputFailure]) {
        for reason in self.reasons.iter().filter(|it| it.count > it.printed) {
            let more = counted(reason.count - reason.printed, "more line");
            context.warn(format_args!(
                "{more} rejected for the reason of {}",
                reason.place
            ));
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

impl Reason {
    fn new(refusal: &Refusal) -> Reason {
        Reason {
            code: refusal.problem.code,
            field: refusal.problem.field.clone(),
            place: format!("{}:{}", printable(&refusal.origin.input), refusal.line),
            message: refusal.problem.message.clone(),
            count: 0,
            printed: 0,
        }
    }
}

/// The first option that a message names, with its value.
pub(super) fn option_in(message: &str) -> Option<&str> {
    let from = message.find(" --")? + 1;
    let option = &message[from..];
    let mut is_quoted = false;
    let end = option.find(|c| {
        is_quoted ^= c == '\'';
        !is_quoted && matches!(c, ',' | ';' | '(' | ')')
    });
    Some(option[..end.unwrap_or(option.len())].trim_end())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn option_ends_with_its_value() {
        for (message, expected) in [
            (
                "read as CSV (set another with --input-format)",
                "--input-format",
            ),
            (
                "has no zone; set one with --assume-tz, such as UTC",
                "--assume-tz",
            ),
            (
                "unknown: read it with --map 'a (b)=FIELD', or drop it",
                "--map 'a (b)=FIELD'",
            ),
        ] {
            assert_eq!(option_in(message), Some(expected));
        }
        assert_eq!(option_in("status_code is 700"), None);
    }
}
