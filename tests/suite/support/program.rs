//! The program, run as a user would run it, in surroundings that hold nothing else.

use std::ffi::OsStr;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;

use tempfile::TempDir;

use super::postgres::PASSWORD;

/// The moment at which every test runs.
pub const NOW: &str = "2026-01-31T12:00:00Z";

/// A home and a working directory that are empty at first and go with the test.
pub struct Sandbox {
    directory: TempDir,
}

impl Sandbox {
    pub fn new() -> Sandbox {
        let directory = tempfile::Builder::new().prefix("usagectl-test-").tempdir();
        let sandbox = Sandbox {
            directory: directory.expect("the temporary directory is writable"),
        };
        for part in ["home", "app"] {
            fs::create_dir(sandbox.path().join(part)).expect("the sandbox is writable");
        }
        sandbox
    }

    /// The directory of everything.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// `$HOME`; the embedded default database is in its `.local/share`.
    pub fn home(&self) -> PathBuf {
        self.path().join("home")
    }

    /// The working directory.
    pub fn work(&self) -> PathBuf {
        self.path().join("app")
    }

    /// Writes a file into the working directory and returns its path.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.work().join(name);
        fs::write(&path, content).expect("the sandbox is writable");
        path
    }

    /// The program with these arguments; no database is named.
    pub fn usagectl<I>(&self, args: I) -> Program
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let mut program = self.command(env!("CARGO_BIN_EXE_usagectl"));
        program.command.args(args);
        program
    }

    /// Another program, in the surroundings of ours.
    pub fn command(&self, program: &str) -> Program {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.home())
            .env("XDG_DATA_HOME", self.home().join(".local/share"))
            .env("NO_COLOR", "1")
            .env("USAGECTL_NOW", NOW)
            .current_dir(self.work());
        Program {
            command,
            stdin: Vec::new(),
            hidden: vec![(self.path().display().to_string(), "[dir]".to_owned())],
        }
    }
}

/// One run of the program, to be described and started.
pub struct Program {
    command: Command,
    stdin: Vec<u8>,
    /// What a snapshot shows under another name.
    hidden: Vec<(String, String)>,
}

impl Program {
    /// Names the database, in the environment.
    pub fn database(mut self, url: &str) -> Program {
        // Shown with its password masked. Before the directory, which a SQLite URL contains.
        let shown = url.replace(PASSWORD, "***");
        self.hidden.insert(0, (shown, "[database]".to_owned()));
        self.env("DATABASE_URL", url)
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Program {
        self.command.arg(arg);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Program {
        self.command.env(name, value);
        self
    }

    pub fn without_env(mut self, name: &str) -> Program {
        self.command.env_remove(name);
        self
    }

    /// Fixes the clock at another moment than [`NOW`].
    pub fn now(self, now: &str) -> Program {
        self.env("USAGECTL_NOW", now)
    }

    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Program {
        self.command.current_dir(directory);
        self
    }

    pub fn stdin(self, text: &str) -> Program {
        self.stdin_bytes(text)
    }

    pub fn stdin_bytes(mut self, bytes: impl Into<Vec<u8>>) -> Program {
        self.stdin = bytes.into();
        self
    }

    /// Runs the program to its end.
    pub fn run(mut self) -> Run {
        let stdin = std::mem::take(&mut self.stdin);
        let mut running = self.spawn();
        let mut pipe = running.child.stdin.take().expect("stdin is piped");
        let hidden = running.hidden;
        // Written beside reading: a program that answers while it reads must not wait for us.
        let writer = thread::spawn(move || match pipe.write_all(&stdin) {
            // It need not read to the end.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => panic!("stdin: {error}"),
            _ => {}
        });
        let output = running.child.wait_with_output().expect("the program runs");
        writer.join().expect("stdin was written");
        Run::new(output, hidden)
    }

    /// Starts the program with its stdin open, for tests of signals and of streams.
    pub fn spawn(mut self) -> Running {
        assert!(
            self.stdin.is_empty(),
            "write to the running program's stdin"
        );
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = self.command.spawn().expect("the program was built");
        Running {
            child,
            hidden: self.hidden,
        }
    }
}

/// The program at work. A test must wait for it or kill it.
pub struct Running {
    pub child: Child,
    hidden: Vec<(String, String)>,
}

impl Running {
    /// Writes to its stdin, which stays open.
    pub fn write(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().expect("stdin is open");
        stdin.write_all(text.as_bytes()).expect("stdin is read");
        stdin.flush().expect("stdin is read");
    }

    /// Sends a signal: `INT`, `TERM`, `KILL`.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -s {name}");
    }

    /// Closes its stdin and waits for its end.
    pub fn wait(self) -> Run {
        let output = self.child.wait_with_output();
        Run::new(output.expect("the program runs"), self.hidden)
    }
}

/// What a run said and how it ended.
#[derive(Debug)]
pub struct Run {
    pub stdout: String,
    pub stderr: String,
    /// 128 and the signal's number where a signal ended it, as in a shell.
    pub code: i32,
    hidden: Vec<(String, String)>,
}

impl Run {
    fn new(output: Output, hidden: Vec<(String, String)>) -> Run {
        let text = |bytes| String::from_utf8(bytes).expect("the program prints UTF-8");
        let run = Run {
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            code: exit_code(output.status),
            hidden,
        };
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(!said.contains(PASSWORD), "a password was shown: {said}");
        assert!(!said.contains("panicked at"), "{said}");
        run
    }

    /// Everything, for an inline snapshot: what differs from machine to machine is named in brackets.
    pub fn snapshot(&self) -> String {
        let mut shown = self.stdout.clone();
        if !self.stderr.is_empty() {
            shown.push_str("------- stderr -------\n");
            shown.push_str(&self.stderr);
        }
        shown.push_str(&format!("[exit status: {}]\n", self.code));
        for (what, name) in &self.hidden {
            shown = shown.replace(what, name);
        }
        hide_differences(&shown)
    }

    /// Asserts that the program ended in 0.
    #[track_caller]
    pub fn success(self) -> Run {
        assert_eq!(self.code, 0, "{}", self.snapshot());
        self
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    let signal = || 128 + status.signal().expect("ended by a signal if not by itself");
    status.code().unwrap_or_else(signal)
}

/// Hides what differs from run to run and from version to version, and the spaces at the ends of lines.
pub fn hide_differences(text: &str) -> String {
    let text = text.replace(env!("CARGO_PKG_VERSION"), "[version]");
    let lines = text.lines().map(hide_measurements);
    lines
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect()
}

/// Hides the numbers that no two runs have in common: `in 0.3 s`, `12,000 rows/s`, `PostgreSQL 15.18`.
fn hide_measurements(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let word = |i: Option<usize>| i.and_then(|i| words.get(i)).copied().unwrap_or_default();
    let bare = |text: &'static str| move |c: char| text.contains(c);
    let hide = |i: usize| {
        let number = words[i].trim_end_matches(bare(",.;:)"));
        let is_number = number.starts_with(|c: char| c.is_ascii_digit())
            && number.chars().all(|c| c.is_ascii_digit() || bare(".,")(c));
        let before = word(i.checked_sub(1)).trim_start_matches('(');
        let unit = word(Some(i + 1)).trim_end_matches(bare(",.;:)"));
        let name = match (before, unit) {
            ("PostgreSQL" | "SQLite", _) => "[version]",
            ("in" | "after", "s" | "ms") => "[time]",
            (_, unit) if unit.ends_with("/s") => "[rate]",
            _ => "",
        };
        match is_number && !name.is_empty() {
            true => name.to_owned() + &words[i][number.len()..],
            false => words[i].to_owned(),
        }
    };
    let words: Vec<String> = (0..words.len()).map(hide).collect();
    words.join(" ")
}

#[test]
fn measurements_are_hidden_and_data_is_not() {
    let line = "migrated in 0.3 s, 12,000 rows/s on PostgreSQL 15.18: done (after 12 ms)";
    assert_eq!(
        hide_measurements(line),
        "migrated in [time] s, [rate] rows/s on PostgreSQL [version]: done (after [time] ms)"
    );
    let data = "finnhub  p95 120 ms  in 4 hours, 0.15 credits";
    assert_eq!(hide_measurements(data), data);
}
