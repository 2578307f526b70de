//! Runs the program in a sandbox: an empty home and working directory, and a clean environment.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tempfile::TempDir;

use super::postgres::PASSWORD;

/// The current time of every run.
pub const NOW: &str = "2026-01-31T12:00:00Z";

/// An empty home and working directory, deleted after the test.
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

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// `$HOME`; the default database is in its `.local/share`.
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

    /// The program with these arguments and without a database URL.
    pub fn usagectl<I>(&self, args: I) -> Program
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let mut program = self.command(env!("CARGO_BIN_EXE_usagectl"));
        program.command.args(args);
        program
    }

    /// Another program in the same environment.
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

/// A run of the program to be configured and started.
pub struct Program {
    command: Command,
    stdin: Vec<u8>,
    /// Text that snapshots replace by a placeholder.
    hidden: Vec<(String, String)>,
}

impl Program {
    /// Sets DATABASE_URL.
    pub fn database(mut self, url: &str) -> Program {
        // Printed with its password masked. First, since a SQLite URL contains the directory.
        let shown = url.replace(PASSWORD, "***");
        self.hidden.insert(0, (shown, "[database]".to_owned()));
        self.env("DATABASE_URL", url)
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Program {
        self.command.arg(arg);
        self
    }

    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Program {
        self.command.args(args);
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

    /// Sets another current time than [`NOW`].
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
        // In a thread of its own: the program may print before it has read everything.
        let writer = thread::spawn(move || match pipe.write_all(&stdin) {
            // The program need not read everything.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => panic!("stdin: {error}"),
            _ => {}
        });
        let output = running.child.wait_with_output().expect("the program runs");
        writer.join().expect("stdin was written");
        Run::new(output, hidden)
    }

    /// Runs the program with a pseudo-terminal as stdin, on which `input` is typed.
    pub fn run_on_terminal(mut self, input: &str) -> Run {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pty is free");
        grantpt(&terminal).expect("the pty is ours");
        unlockpt(&terminal).expect("the pty is ours");
        let name = ptsname(&terminal, Vec::new()).expect("the pty has a name");
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let stdin = rustix::fs::open(name, flags, Mode::empty()).expect("the pty can be opened");
        let mut terminal = fs::File::from(terminal);
        terminal
            .write_all(input.as_bytes())
            .expect("the pty is open");
        self.command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = self.command.spawn().expect("the program was built");
        let output = child.wait_with_output().expect("the program runs");
        Run::new(output, self.hidden)
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

/// The running program. A test must wait for it or kill it.
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

    /// Reads stderr until a line contains `text`; the rest of stderr is discarded.
    pub fn wait_for_stderr(&mut self, text: &str) {
        let stderr = self.child.stderr.take().expect("stderr is piped");
        let mut lines = BufReader::new(stderr).lines();
        let found = lines.any(|line| line.expect("stderr is UTF-8").contains(text));
        assert!(found, "stderr ended before `{text}`");
        thread::spawn(move || lines.count());
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

/// The output and exit code of a run.
#[derive(Debug)]
pub struct Run {
    pub stdout: String,
    pub stderr: String,
    /// 128 plus the signal's number if a signal ended it, as in a shell.
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
        let output = format!("{}{}", run.stdout, run.stderr);
        assert!(
            !output.contains(PASSWORD),
            "a password was printed: {output}"
        );
        assert!(!output.contains("panicked at"), "{output}");
        // A next step that begins with a command can be run as it is; its arguments may be quoted.
        let mut commands = run
            .stderr
            .lines()
            .filter_map(|line| line.strip_prefix("next: usagectl "));
        let is_alone = |command: &str| {
            let words = command.split('\'').step_by(2);
            words
                .into_iter()
                .all(|it| ![", ", "; ", ": "].iter().any(|end| it.contains(end)))
        };
        assert!(commands.all(is_alone), "{output}");
        run
    }

    /// Output and exit code for a snapshot, with placeholders in brackets for varying text.
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

    /// Asserts exit code 0.
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

/// Replaces measurements and the version, and removes spaces at the ends of lines.
pub fn hide_differences(text: &str) -> String {
    let text = text.replace(env!("CARGO_PKG_VERSION"), "[version]");
    let lines = text.lines().map(hide_measurements);
    lines
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect()
}

/// Replaces measurements and processes: `in 0.3 s`, `12,000 rows/s`, `PostgreSQL 15.18`, `process 7 on web-1`.
fn hide_measurements(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let word = |i: Option<usize>| i.and_then(|i| words.get(i)).copied().unwrap_or_default();
    let bare = |text: &'static str| move |c: char| text.contains(c);
    let hide = |i: usize| {
        if i >= 3 && words[i - 1] == "on" && words[i - 3].ends_with("process") {
            return format!("[host]{}", if words[i].ends_with(',') { "," } else { "" });
        }
        let number = words[i].trim_end_matches(bare(",.;:)"));
        let is_number = number.starts_with(|c: char| c.is_ascii_digit())
            && number.chars().all(|c| c.is_ascii_digit() || bare(".,")(c));
        let before = word(i.checked_sub(1)).trim_start_matches('(');
        let unit = word(Some(i + 1)).trim_end_matches(bare(",.;:)"));
        let name = match (before, unit) {
            ("PostgreSQL" | "SQLite", _) => "[version]",
            ("process", "on") => "[pid]",
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
fn hide_measurements_keeps_data() {
    let line = "migrated in 0.3 s, 12,000 rows/s on PostgreSQL 15.18: done (after 12 ms)";
    assert_eq!(
        hide_measurements(line),
        "migrated in [time] s, [rate] rows/s on PostgreSQL [version]: done (after [time] ms)"
    );
    let data = "finnhub  p95 120 ms  in 4 hours, 0.15 credits";
    assert_eq!(hide_measurements(data), data);
}
