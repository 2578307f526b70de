//! What can go wrong, what to do about it, and the one table of exit codes.
//!
//! Below the commands errors are typed (`store::StoreError`, `ingest::Refusal`, ...). At the
//! boundary of a command each becomes an [`Error`]: a kind, which decides the exit code; a cause,
//! which is the message; and the next command to run, when we know it.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// How the program ends. The numbers are a promise to scripts: they never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, in sync, nothing needs attention.
    Done = 0,
    /// Failed; the message says what is now true.
    Failed = 1,
    /// The command line was wrong.
    Usage = 2,
    /// Finished, but not all of it: pending migrations, refused input lines, a failed collector.
    Incomplete = 3,
    /// Not trustworthy: drift, an edited or unknown migration, a roll-up that differs from its rows.
    Untrustworthy = 4,
    /// Refused and nothing changed: would lose data without consent, unsupported, unsafe.
    Refused = 5,
    /// Another run or a table lock holds it; safe to retry.
    Busy = 6,
    /// The database cannot be reached.
    Unreachable = 7,
    /// `--fail-on`: a warning state.
    Warning = 10,
    /// `--fail-on`: a critical state.
    Critical = 11,
    /// The state is unknown, or a notice was not delivered.
    Unknown = 12,
}

impl Exit {
    /// Which of two results a command that met both reports: 7, 1, 4, 12, 11, 10, 3, then the rest.
    pub fn worse(self, other: Exit) -> Exit {
        if self.rank() <= other.rank() {
            self
        } else {
            other
        }
    }

    fn rank(self) -> u8 {
        match self {
            Exit::Unreachable => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Refused => 3,
            Exit::Busy => 4,
            Exit::Untrustworthy => 5,
            Exit::Unknown => 6,
            Exit::Critical => 7,
            Exit::Warning => 8,
            Exit::Incomplete => 9,
            Exit::Done => 10,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// How a command that ran to its end ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The exit code.
    pub exit: Exit,
    /// The next command to run; always present when `exit` is not [`Exit::Done`].
    pub next: Option<String>,
}

impl Outcome {
    /// Everything was done and nothing needs attention.
    pub const DONE: Outcome = Outcome {
        exit: Exit::Done,
        next: None,
    };

    /// Finished with something that needs attention, and the command that attends to it.
    pub fn with_next(exit: Exit, next: impl Into<String>) -> Outcome {
        Outcome {
            exit,
            next: Some(next.into()),
        }
    }
}

/// A command's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error at the boundary of a command.
#[derive(Debug)]
pub struct Error {
    exit: Exit,
    cause: anyhow::Error,
    next: Option<String>,
}

impl Error {
    /// An error that ends the program with `exit`.
    pub fn new(exit: Exit, cause: impl Into<anyhow::Error>) -> Error {
        Error {
            exit,
            cause: cause.into(),
            next: None,
        }
    }

    /// An error whose message is a sentence of ours.
    pub fn message(exit: Exit, message: impl fmt::Display) -> Error {
        Error::new(exit, anyhow::anyhow!("{message}"))
    }

    /// Wrong usage that clap cannot see, such as two flags whose values contradict each other.
    pub fn usage(message: impl fmt::Display) -> Error {
        Error::message(Exit::Usage, message)
    }

    /// Ends the program with another code: what is wrong may weigh differently in one command.
    #[must_use]
    pub fn with_exit(mut self, exit: Exit) -> Error {
        self.exit = exit;
        self
    }

    /// Names the next command to run, or the thing to change.
    #[must_use]
    pub fn with_next(mut self, next: impl Into<String>) -> Error {
        self.next = Some(next.into());
        self
    }

    /// Says what was being done when the error came up.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display + Send + Sync + 'static) -> Error {
        self.cause = self.cause.context(doing);
        self
    }

    /// The exit code this error ends the program with.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// The next command to run, if we know it.
    pub fn next(&self) -> Option<&str> {
        self.next.as_deref()
    }

    /// Whether the reader of our output went away, which is no error of ours (`usagectl ... | head`).
    pub fn is_closed_pipe(&self) -> bool {
        self.cause.chain().any(|cause| {
            cause
                .downcast_ref::<io::Error>()
                .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
        })
    }
}

impl fmt::Display for Error {
    /// The message and its causes, on one line, each said once.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = String::new();
        for cause in self.cause.chain() {
            let text = cause.to_string();
            if said.contains(&text) {
                continue;
            }
            if !said.is_empty() {
                said.push_str(": ");
            }
            said.push_str(text.trim_end());
        }
        f.write_str(&said)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::new(Exit::Failed, error)
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Error {
        // A write into a closed pipe arrives here wrapped; keep its kind so that it stays quiet.
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

/// A word as a shell reads it back.
pub fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-:@=,+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_order_decides_between_two_results() {
        let order = [
            Exit::Unreachable,
            Exit::Failed,
            Exit::Untrustworthy,
            Exit::Unknown,
            Exit::Critical,
            Exit::Warning,
            Exit::Incomplete,
            Exit::Done,
        ];
        for (i, worse) in order.iter().enumerate() {
            for better in &order[i..] {
                assert_eq!(worse.worse(*better), *worse);
                assert_eq!(better.worse(*worse), *worse);
            }
        }
    }

    #[test]
    fn a_closed_pipe_is_recognised_behind_its_context() {
        let error = Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("printing");
        assert!(error.is_closed_pipe());
        assert!(!Error::usage("no").is_closed_pipe());
    }

    #[test]
    fn causes_are_said_once() {
        let error = Error::message(Exit::Failed, "disk full").context("writing: disk full");
        assert_eq!(error.to_string(), "writing: disk full");
    }

    #[test]
    fn a_word_survives_the_shell() {
        assert_eq!(shell_word("sqlite:/srv/data-1.db"), "sqlite:/srv/data-1.db");
        assert_eq!(shell_word("~/it's"), r"'~/it'\''s'");
        assert_eq!(shell_word("a?b&c"), "'a?b&c'");
    }
}
