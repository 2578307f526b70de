//! What a command is handed: the moment it runs at, the database to open, where its answer goes.

use std::fmt::Display;
use std::fs;
use std::io::{self, BufRead, BufWriter, Stderr, Stdout, Write};
use std::os::unix::fs::MetadataExt;

use chrono::{DateTime, Utc};

use crate::error::{Error, Exit, Result, shell_word};
use crate::output::{Answer, Format};
use crate::store::db;
use crate::store::db::{Access, Db};
use crate::store::migrations;
use crate::store::url::{self, DatabaseUrl, UrlError};

/// How much is said on stderr beside warnings and errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// `-q`: nothing.
    Quiet,
    /// The summaries that people expect.
    Normal,
    /// `-v`: also which database is used and what was done to it.
    Verbose,
}

impl Verbosity {
    /// From the counts of `-v` and `-q`, which exclude each other.
    pub fn new(verbose: u8, quiet: bool) -> Verbosity {
        match (verbose, quiet) {
            (_, true) => Verbosity::Quiet,
            (0, false) => Verbosity::Normal,
            _ => Verbosity::Verbose,
        }
    }
}

/// Who runs the program, as user@host; for logs.
pub fn who() -> String {
    let named = ["USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok());
    // In a container there is often a number only.
    let numbered = || Some(format!("uid{}", fs::metadata("/proc/self").ok()?.uid()));
    let user = named
        .or_else(numbered)
        .unwrap_or_else(|| "unknown".to_owned());
    let host = fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| fs::read_to_string("/etc/hostname"))
        .unwrap_or_else(|_| "unknown".to_owned());
    format!("{user}@{}", host.trim())
}

/// An answer that nobody got. By then the command has done its work.
fn unanswered(error: Error) -> Error {
    error
        .context("what was to be done is done, but the answer cannot be written to stdout")
        .with_next("usagectl status")
}

/// The surroundings of one run of one command.
#[derive(Debug)]
pub struct Context {
    /// The moment the program started, or the one it was told. Nothing below reads a clock.
    pub now: DateTime<Utc>,
    /// How the answer is printed.
    pub format: Format,
    /// Whether progress may be drawn on stderr.
    pub progress: bool,
    verbosity: Verbosity,
    database_url: Option<String>,
    stdout: BufWriter<Stdout>,
    stderr: Stderr,
}

impl Context {
    /// The surroundings, from what the command line says.
    pub fn new(
        now: DateTime<Utc>,
        database_url: Option<String>,
        format: Format,
        verbosity: Verbosity,
        stderr_is_terminal: bool,
    ) -> Context {
        Context {
            now,
            format,
            progress: stderr_is_terminal && verbosity > Verbosity::Quiet,
            verbosity,
            database_url,
            stdout: BufWriter::new(io::stdout()),
            stderr: io::stderr(),
        }
    }

    /// Opens the database and makes sure that its schema is the one this program works with.
    pub fn open(&mut self, access: Access) -> Result<Db> {
        let url = self.database_url(false)?;
        self.open_migrated(&url, access)
    }

    /// As [`Context::open`], for a URL that was found before.
    pub fn open_migrated(&mut self, url: &DatabaseUrl, access: Access) -> Result<Db> {
        let mut db = self.open_unchecked(url, access)?;
        migrations::require_current(&mut db)?;
        Ok(db)
    }

    /// Opens the database whatever its schema; for `migrate`, `rollback` and `status`.
    pub fn open_unchecked(&mut self, url: &DatabaseUrl, access: Access) -> Result<Db> {
        let db = db::open(url, access)?;
        self.note(format_args!("using {} (from {})", url.target, url.source));
        for note in &url.notes {
            self.note(note);
        }
        Ok(db)
    }

    /// Finds the URL of the database; `prefer_direct` for the commands that change the schema.
    pub fn database_url(&self, prefer_direct: bool) -> Result<DatabaseUrl> {
        url::find(self.database_url.as_deref(), prefer_direct).map_err(|error: UrlError| {
            let cure = error.cure();
            Error::new(Exit::Usage, error).with_next(cure)
        })
    }

    /// Prints the answer to stdout, in the format that was asked for.
    pub fn answer(&mut self, answer: &impl Answer) -> Result<()> {
        crate::output::print(&mut self.stdout, self.format, answer).map_err(unanswered)
    }

    /// Stdout, for a command whose answer is not a table: SQL, a script, a page.
    pub fn stdout(&mut self) -> &mut impl Write {
        &mut self.stdout
    }

    /// Writes out what was answered so far.
    pub fn flush(&mut self) -> Result<()> {
        self.stdout
            .flush()
            .map_err(|error| unanswered(error.into()))
    }

    /// Says a detail that only `-v` asks for.
    pub fn note(&mut self, text: impl Display) {
        if self.verbosity >= Verbosity::Verbose {
            self.say(&text);
        }
    }

    /// Says what a person who runs the command expects to hear; `-q` silences it.
    pub fn tell(&mut self, text: impl Display) {
        if self.verbosity >= Verbosity::Normal {
            self.say(&text);
        }
    }

    /// Asks the person at the terminal, and returns the line they type, without space around it; an
    /// empty one if they close it.
    pub fn ask(&mut self, question: impl Display) -> Result<String> {
        let _ = write!(self.stderr, "{question}");
        let _ = self.stderr.flush();
        let mut line = String::new();
        if io::stdin().lock().read_line(&mut line)? == 0 {
            let _ = writeln!(self.stderr);
        }
        Ok(line.trim().to_owned())
    }

    /// Says on stderr what belongs to stdout, when stdout is one document for a program.
    pub fn aside(&mut self, text: impl Display) {
        self.say(&text);
    }

    /// Warns; nothing silences a warning.
    pub fn warn(&mut self, text: impl Display) {
        self.say(&format_args!("warning: {text}"));
    }

    /// Says why the command failed.
    pub fn error(&mut self, text: &str) {
        self.say(&format_args!("error: {text}"));
    }

    /// Says what to run next; the last line of every run that does not end in 0.
    ///
    /// A command of ours is said for the database that this run was given.
    pub fn next_step(&mut self, text: &str) {
        let database = self.database_url.as_deref().map(url::mask);
        match (database, text.strip_prefix("usagectl ")) {
            (Some(database), Some(arguments)) if !arguments.starts_with("--") => {
                let database = shell_word(&database);
                self.say(&format_args!(
                    "next: usagectl --database-url {database} {arguments}"
                ));
            }
            _ => self.say(&format_args!("next: {text}")),
        }
    }

    fn say(&mut self, text: &dyn Display) {
        // If stderr is gone there is nobody left to tell.
        let _ = writeln!(self.stderr, "{text}");
    }
}
