//! What a command receives: the current time, the database to open, the streams to print to.

use std::ffi::OsStr;
use std::fmt::Display;
use std::fs;
use std::io::{self, BufRead, BufWriter, IsTerminal, Stderr, Stdout, Write};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use clap::parser::ValueSource;
use rustix::process::getuid;
use rustix::system::uname;

use crate::domain::format;
use crate::domain::format::printable;
use crate::domain::format::shell_word;
use crate::domain::schema::migration::Use;
use crate::error::{Error, ErrorDocument, Exit, Outcome, Result};
use crate::output::{Answer, Format};
use crate::store::db;
use crate::store::db::{Access, Db, OpenError};
use crate::store::lock::{LockRequest, RunKind, RunLock};
use crate::store::migrations;
use crate::store::unknown_values::take_skipped;
use crate::store::url::{self, DatabaseTarget, DatabaseUrl, UrlError, UrlSource};

/// How much is printed on stderr beside warnings and errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// `-q`: nothing.
    Quiet,
    /// Summaries.
    Normal,
    /// `-v`: also the database in use and each step.
    Verbose,
}

impl Verbosity {
    pub fn new(verbose: u8, quiet: bool) -> Verbosity {
        match (verbose, quiet) {
            (_, true) => Verbosity::Quiet,
            (0, false) => Verbosity::Normal,
            _ => Verbosity::Verbose,
        }
    }
}

/// The user and host that run the program, as `user@host`; recorded with changes.
pub fn current_user() -> String {
    let named = ["USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok());
    // A container often has a user id without a name.
    let user = named.unwrap_or_else(|| format!("uid{}", getuid().as_raw()));
    format!("{user}@{}", uname().nodename().to_string_lossy())
}

/// The subcommands, by which commands of ours are found in a sentence.
pub(crate) const SUBCOMMANDS: [&str; 13] = [
    "aggregate",
    "alerts",
    "collect",
    "completions",
    "limits",
    "man",
    "migrate",
    "prune",
    "recommend",
    "record",
    "rollback",
    "stats",
    "status",
];

fn output_failed(error: Error) -> Error {
    error
        .context("the command succeeded, but its output could not be written to stdout")
        .with_next("check the file or device that stdout is redirected to")
}

#[derive(Debug)]
pub struct Context {
    /// The time the program started, or `--now`. Nothing below the commands reads a clock.
    pub now: DateTime<Utc>,
    /// Whether `now` is `--now` and not the clock of this host.
    pub now_is_given: bool,
    /// Whether the answer was left out, because of -q, of a command whose exit code is one.
    pub is_answered_by_exit_code: bool,
    pub format: Format,
    /// When the program started, for [`Context::time`].
    started: Instant,
    /// Whether progress bars are drawn on stderr.
    pub progress: bool,
    verbosity: Verbosity,
    database_url: Option<String>,
    opened: Option<(DatabaseUrl, Access)>,
    /// The command, such as `usagectl alerts check`.
    command: String,
    /// The arguments of the command.
    pub arguments: clap::ArgMatches,
    stdout: BufWriter<Stdout>,
    stderr: Stderr,
}

impl Context {
    pub fn new(
        command: String,
        now: DateTime<Utc>,
        database_url: Option<String>,
        format: Format,
        verbosity: Verbosity,
        stderr_is_terminal: bool,
    ) -> Context {
        Context {
            now,
            now_is_given: false,
            is_answered_by_exit_code: false,
            started: Instant::now(),
            format,
            progress: stderr_is_terminal && verbosity > Verbosity::Quiet,
            verbosity,
            database_url,
            opened: None,
            command,
            arguments: clap::ArgMatches::default(),
            stdout: BufWriter::new(io::stdout()),
            stderr: io::stderr(),
        }
    }

    /// The time of an action that may be much later than `now`: the whole seconds since then are added, so that a
    /// quick command has one time.
    pub fn time(&self) -> DateTime<Utc> {
        let seconds = i64::try_from(self.started.elapsed().as_secs()).unwrap_or(0);
        self.now + TimeDelta::seconds(seconds)
    }

    /// The given options of `A`, in the order of declaration, to repeat them in a next step: ` --map 'a b=cost'`.
    pub fn repeated<A: clap::Args>(&self) -> String {
        let declared = A::augment_args(clap::Command::default());
        let given = declared.get_arguments().filter_map(|option| {
            let id = option.get_id().as_str();
            let is_given = self.arguments.value_source(id) == Some(ValueSource::CommandLine);
            let values = self.arguments.get_raw(id).filter(|_| is_given)?;
            let of_value = |value: &OsStr| {
                let name = option.get_long().unwrap_or_default();
                let value = value.to_string_lossy();
                let separator = if value.starts_with('-') { '=' } else { ' ' };
                format!(" --{name}{separator}{}", shell_word(&value))
            };
            Some(values.map(of_value).collect::<String>())
        });
        given.collect()
    }

    /// A context for another thread, which prints how the command ends.
    pub fn for_thread(&self) -> Context {
        Context::new(
            self.command.clone(),
            self.now,
            self.database_url.clone(),
            self.format,
            self.verbosity,
            false,
        )
    }

    /// Opens the database and checks that all of this program's migrations are applied.
    pub fn open(&mut self, access: Access) -> Result<Db> {
        let url = self.database_url(false)?;
        self.open_migrated(&url, access)
    }

    pub fn open_migrated(&mut self, url: &DatabaseUrl, access: Access) -> Result<Db> {
        let how = match access {
            Access::Read => Use::Read,
            Access::Write | Access::Create => Use::Change,
        };
        self.open_to(url, access, how)
    }

    /// Opens the database to insert usage records.
    pub fn open_to_record(&mut self) -> Result<Db> {
        let url = self.database_url(false)?;
        let mut db = self.open_to(&url, Access::Write, Use::Record)?;
        db.prepare_to_load()?;
        Ok(db)
    }

    fn open_to(&mut self, url: &DatabaseUrl, access: Access, how: Use) -> Result<Db> {
        let mut db = self.open_unchecked(url, access)?;
        let newer = migrations::require_current(&mut db, url, how)?;
        if !newer.is_empty() {
            self.warn(format_args!(
                "a newer version of usagectl has migrated the database ({}); \
                 the tables this command uses are unchanged",
                newer.join(", ")
            ));
        }
        Ok(db)
    }

    /// Opens the database without checking its schema.
    pub fn open_unchecked(&mut self, url: &DatabaseUrl, access: Access) -> Result<Db> {
        let db = db::open(url, access).map_err(|error| {
            let is_missing = matches!(error, OpenError::Missing(_));
            match Error::from(error) {
                error if is_missing && url.source == UrlSource::Default => {
                    error.with_next("set DATABASE_URL; or, to create this file: usagectl migrate")
                }
                error => error,
            }
        })?;
        self.opened = Some((url.clone(), access));
        self.detail(format_args!("using {} (from {})", url.target, url.source));
        for note in &url.notes {
            self.detail(note);
        }
        // SQLite keeps its log beside each name, so that programs with different names do not see each other.
        if let DatabaseTarget::Sqlite(path) = &url.target
            && fs::metadata(path).is_ok_and(|file| file.nlink() > 1)
        {
            self.warn(format_args!(
                "{} has several names (hard links): rows are lost if programs open it by different ones",
                path.display()
            ));
        }
        Ok(db)
    }

    /// The database that was opened last, and how.
    pub fn opened(&self) -> Option<&(DatabaseUrl, Access)> {
        self.opened.as_ref()
    }

    /// Finds the database URL; `prefer_direct` is for the commands that change the schema.
    pub fn database_url(&self, prefer_direct: bool) -> Result<DatabaseUrl> {
        let found = url::find(self.database_url.as_deref(), prefer_direct);
        let mut url = found.map_err(|error: UrlError| {
            let next = error.next_step();
            Error::new(error.exit(), error).with_next(next)
        })?;
        url.application.clone_from(&self.command);
        Ok(url)
    }

    /// Acquires the lock of a run that uses `db`, and prints the holder that it waits for.
    pub fn lock(
        &mut self,
        db: &mut Db,
        url: &DatabaseUrl,
        kind: RunKind,
        wait: Duration,
    ) -> Result<RunLock> {
        let now = self.now;
        RunLock::acquire(db, url, LockRequest { kind, wait, now }, &mut |holder| {
            let limit = format::duration(TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX));
            match holder {
                Some(holder) => self.info(format_args!("waiting up to {limit} for {holder}")),
                None => self.info(format_args!("waiting up to {limit} for another run")),
            }
        })
    }

    /// Prints the answer to stdout in the requested format.
    pub fn answer(&mut self, answer: &impl Answer) -> Result<()> {
        crate::output::print(&mut self.stdout, self.format, answer).map_err(output_failed)
    }

    /// As [`Self::answer`], of a command that runs unattended: nothing with --quiet.
    pub fn answer_unless_quiet(&mut self, answer: &impl Answer) -> Result<()> {
        match self.verbosity {
            Verbosity::Quiet => {
                self.is_answered_by_exit_code = true;
                Ok(())
            }
            _ => self.answer(answer),
        }
    }

    /// Prints the answer of a command that is done.
    pub fn finish(&mut self, answer: &impl Answer) -> Result<Outcome> {
        self.answer(answer)?;
        Ok(Outcome::DONE)
    }

    /// Stdout, for output that is not an answer: SQL, completions, man pages.
    pub fn stdout(&mut self) -> &mut impl Write {
        &mut self.stdout
    }

    pub fn flush(&mut self) -> Result<()> {
        self.stdout
            .flush()
            .map_err(|error| output_failed(error.into()))
    }

    /// Whether `-q` is given.
    pub fn is_quiet(&self) -> bool {
        self.verbosity == Verbosity::Quiet
    }

    /// Whether a person reads the answer: on a terminal, or under `-v`.
    pub fn is_watched(&self) -> bool {
        self.verbosity == Verbosity::Verbose || io::stdout().is_terminal()
    }

    /// Prints a detail on stderr under `-v`.
    pub fn detail(&mut self, text: impl Display) {
        if self.verbosity >= Verbosity::Verbose {
            self.stderr_line(text);
        }
    }

    /// Prints a summary on stderr, unless `-q` is given.
    pub fn info(&mut self, text: impl Display) {
        if self.verbosity >= Verbosity::Normal {
            self.stderr_line(text);
        }
    }

    /// Prints a question on stderr and returns the line read from stdin, trimmed; empty at end of input.
    pub fn prompt(&mut self, question: impl Display) -> Result<String> {
        let _ = write!(self.stderr, "{question}");
        let _ = self.stderr.flush();
        let mut line = String::new();
        if io::stdin().lock().read_line(&mut line)? == 0 {
            let _ = writeln!(self.stderr);
        }
        Ok(line.trim().to_owned())
    }

    /// Prints a warning on stderr; `-q` does not suppress it.
    pub fn warn(&mut self, text: impl Display) {
        self.stderr_line(format_args!("warning: {text}"));
    }

    /// Warns of each unknown enum value whose rows the command skipped.
    pub fn warn_of_skipped_rows(&mut self) {
        for (set, value) in take_skipped() {
            self.warn(format_args!(
                "rows with {set} {} are skipped: unknown to this version of usagectl",
                printable(&value)
            ));
        }
    }

    /// Prints an error on stderr that does not end the command.
    pub fn error(&mut self, text: impl Display) {
        self.stderr_line(format_args!("error: {text}"));
    }

    /// Prints a line on stderr at any verbosity.
    pub fn stderr_line(&mut self, text: impl Display) {
        let text = text.to_string();
        let lines: Vec<_> = text.split('\n').map(printable).collect();
        // Nothing can be reported when stderr is closed.
        let _ = writeln!(self.stderr, "{}", lines.join("\n"));
    }

    /// Prints how the command ended: an error, if it failed, and the next step; one JSON object under
    /// `--format json`.
    pub fn conclude(&mut self, exit: Exit, error: Option<&str>, next: &str) {
        let next = self.for_this_database(next);
        if self.format == Format::Json {
            let message = error.unwrap_or(exit.meaning());
            // JSON escapes by itself.
            let _ = writeln!(self.stderr, "{}", ErrorDocument::new(exit, message, &next));
            return;
        }
        if let Some(error) = error {
            self.error(error);
        }
        self.stderr_line(format_args!("next: {next}"));
    }

    /// Adds this run's `--database-url`, masked, to each command of ours in a next step.
    fn for_this_database(&self, next: &str) -> String {
        let Some(url) = self.database_url.as_deref().map(url::mask) else {
            return next.to_owned();
        };
        let with_url = format!("usagectl --database-url {} ", shell_word(&url));
        let mut parts = next.split("usagectl ");
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let word = part.split(|c: char| !c.is_ascii_lowercase()).next();
            let is_command = word.is_some_and(|word| SUBCOMMANDS.contains(&word));
            let opens = is_command && !part.ends_with(" --help");
            text.push_str(if opens { &with_url } else { "usagectl " });
            text.push_str(part);
        }
        text
    }

    /// The command whose help explains its arguments.
    pub fn help(&self) -> String {
        format!("{} --help", self.command)
    }
}
