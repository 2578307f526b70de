//! Errors at the boundary of a command, and the one table of exit codes.
//!
//! Below the commands errors are typed (`store::db::OpenError`, `ingest::Refusal`, ...). At the boundary
//! each becomes an [`Error`]: an exit code, a cause, which is the message, and the next command to run.

use std::process::ExitCode;
use std::{fmt, io};

use serde::Serialize;

use crate::domain::nagios::NagiosStatus;

/// The version of all JSON documents. It is raised when a field is removed or changes its meaning, not for
/// new fields.
pub const JSON_SCHEMA: u32 = 1;

/// How the program ends. The numbers and names are a promise to scripts: they never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, in sync, nothing needs attention.
    Done,
    /// Failed; the message describes the current state.
    Failed,
    /// The command line was wrong.
    Usage,
    /// Finished in part: pending migrations, refused input lines, a failed collector.
    Incomplete,
    /// Not trustworthy: drift, an edited or unknown migration, a roll-up that differs from its rows.
    Untrustworthy,
    /// Refused and nothing changed: would lose data without consent, unsupported, unsafe.
    Refused,
    /// Another run or a table lock is in the way; safe to retry.
    Busy,
    /// The database cannot be reached.
    Unreachable,
    /// `--fail-on`: a warning state.
    Warning,
    /// `--fail-on`: a critical state.
    Critical,
    /// A state is unknown, or a notification is undelivered.
    Unknown,
    /// `--nagios`: the exit code of a Nagios plugin, which has a meaning of its own.
    Nagios(NagiosStatus),
}

impl Exit {
    /// The table of exit codes: number, `error.code`, and the message under `--format json` when the command itself
    /// did not fail.
    fn row(self) -> (u8, &'static str, &'static str) {
        match self {
            Exit::Done => (0, "done", "done"),
            Exit::Failed => (1, "failed", "the command failed"),
            Exit::Usage => (2, "usage", "the command line is invalid"),
            Exit::Incomplete => (3, "incomplete", "part of the work is pending or failed"),
            Exit::Untrustworthy => {
                let meaning = "the database differs from what this program or its rows require";
                (4, "untrustworthy", meaning)
            }
            Exit::Refused => (5, "refused", "refused; nothing was changed"),
            Exit::Busy => (6, "busy", "another run or a table lock is in the way"),
            Exit::Unreachable => (7, "unreachable", "cannot connect to the database"),
            Exit::Warning => (10, "warning", "a warning state was found"),
            Exit::Critical => (11, "critical", "a critical state was found"),
            Exit::Unknown => {
                let meaning = "a state is unknown or a notification is undelivered";
                (12, "unknown", meaning)
            }
            Exit::Nagios(status) => (status.code(), "nagios", "the check is not OK"),
        }
    }

    pub fn code(self) -> u8 {
        self.row().0
    }

    /// `error.code` in JSON.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    pub fn meaning(self) -> &'static str {
        self.row().2
    }

    pub fn is_retryable(self) -> bool {
        matches!(self, Exit::Busy | Exit::Unreachable)
    }
}

/// Stderr's last line under `--format json` when the exit code is not 0.
#[derive(Debug, Serialize)]
pub struct ErrorDocument<'a> {
    schema: u32,
    error: ErrorCode,
    exit: u8,
    retryable: bool,
    message: &'a str,
    next: &'a str,
}

#[derive(Debug, Serialize)]
struct ErrorCode {
    code: &'static str,
}

impl<'a> ErrorDocument<'a> {
    pub fn new(exit: Exit, message: &'a str, next: &'a str) -> ErrorDocument<'a> {
        ErrorDocument {
            schema: JSON_SCHEMA,
            error: ErrorCode { code: exit.name() },
            exit: exit.code(),
            retryable: exit.is_retryable(),
            message,
            next,
        }
    }
}

impl fmt::Display for ErrorDocument<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// The result of a command that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub exit: Exit,
    /// The next command to run; printed if present. Without news, and for Nagios, a command may be silent at any exit
    /// code.
    pub next: Option<String>,
}

impl Outcome {
    pub const DONE: Outcome = Outcome {
        exit: Exit::Done,
        next: None,
    };

    pub fn with_next(exit: Exit, next: impl Into<String>) -> Outcome {
        Outcome {
            exit,
            next: Some(next.into()),
        }
    }
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error at the boundary of a command.
#[derive(Debug)]
pub struct Error {
    exit: Exit,
    cause: anyhow::Error,
    next: Option<String>,
}

impl Error {
    pub fn new(exit: Exit, cause: impl Into<anyhow::Error>) -> Error {
        Error {
            exit,
            cause: cause.into(),
            next: None,
        }
    }

    pub fn message(exit: Exit, message: impl fmt::Display) -> Error {
        Error::new(exit, anyhow::anyhow!("{message}"))
    }

    /// A usage error that clap cannot detect: a name that does not exist, or flags with contradictory values.
    pub fn usage(message: impl fmt::Display) -> Error {
        Error::message(Exit::Usage, message)
    }

    /// Changes the exit code, for a command in which the error has another severity.
    #[must_use]
    pub fn with_exit(mut self, exit: Exit) -> Error {
        self.exit = exit;
        self
    }

    /// Sets the next command to run, or the thing to change.
    #[must_use]
    pub fn with_next(mut self, next: impl Into<String>) -> Error {
        self.next = Some(next.into());
        self
    }

    /// Adds the operation during which the error occurred.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display + Send + Sync + 'static) -> Error {
        self.cause = self.cause.context(doing);
        self
    }

    pub fn exit(&self) -> Exit {
        self.exit
    }

    pub fn next(&self) -> Option<&str> {
        self.next.as_deref()
    }

    /// The cause of this type.
    pub fn find<T: std::error::Error + Send + Sync + 'static>(&self) -> Option<&T> {
        self.cause.chain().find_map(|cause| cause.downcast_ref())
    }

    /// Whether [`Self::context`] added a value of this type.
    pub fn has_context<T: fmt::Display + fmt::Debug + Send + Sync + 'static>(&self) -> bool {
        self.cause.is::<T>()
    }

    /// Whether a statement failed in the database, for a reason without an exit code of its own.
    pub fn is_of_database(&self) -> bool {
        self.exit == Exit::Failed && self.find::<diesel::result::Error>().is_some()
    }

    /// Whether the reader of stdout has closed it (`usagectl ... | head`), which is a success.
    pub fn is_closed_pipe(&self) -> bool {
        let mut causes = self.cause.chain().filter_map(|cause| cause.downcast_ref());
        causes.any(|error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for Error {
    /// The message and its causes on one line, without repetitions.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut message = String::new();
        for cause in self.cause.chain() {
            let text = cause.to_string();
            if message.contains(&text) {
                continue;
            }
            if !message.is_empty() {
                message.push_str(": ");
            }
            message.push_str(text.trim_end());
        }
        f.write_str(&message)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::new(Exit::Failed, error)
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Error {
        // Keeps the kind of a wrapped I/O error, so that a closed pipe is recognised.
        if error.is_io() {
            Error::new(Exit::Failed, io::Error::from(error))
        } else {
            Error::new(Exit::Failed, error)
        }
    }
}

impl From<csv::Error> for Error {
    fn from(error: csv::Error) -> Error {
        match error.into_kind() {
            csv::ErrorKind::Io(io) => Error::new(Exit::Failed, io),
            other => Error::message(Exit::Failed, format!("{other:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_document_is_one_line_of_json() {
        let document = ErrorDocument::new(Exit::Busy, "table \"a\"\nis locked", "usagectl migrate");
        assert_eq!(
            document.to_string(),
            r#"{"schema":1,"error":{"code":"busy"},"exit":6,"retryable":true,"message":"table \"a\"\nis locked","next":"usagectl migrate"}"#
        );
    }

    #[test]
    fn closed_pipe_is_recognised_behind_context() {
        let error = Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("printing");
        assert!(error.is_closed_pipe());
        assert!(!Error::usage("no").is_closed_pipe());
    }

    #[test]
    fn repeated_cause_is_printed_once() {
        let error = Error::message(Exit::Failed, "disk full").context("writing: disk full");
        assert_eq!(error.to_string(), "writing: disk full");
    }
}
