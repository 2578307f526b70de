//! Runs the README. All `console` blocks are one session in one directory: a line that begins with `$ ` is a
//! command, the lines below are its output, stdout and stderr together. The commands of `crontab` and `yaml`
//! blocks must succeed.
//!
//! `USAGECTL_WRITE_README=1` writes the outputs into the README, for review.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::{Sandbox, hide_differences};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

/// Runs a line of shell with `usagectl` in the PATH, and returns its output and exit code.
fn shell(sandbox: &Sandbox, line: &str) -> (String, i32) {
    let programs = Path::new(env!("CARGO_BIN_EXE_usagectl")).parent().unwrap();
    let path = format!("{}:/usr/bin:/bin", programs.display());
    let run = sandbox
        .command("sh")
        .arg("-c")
        .arg(format!("{{ {line}\n}} 2>&1"))
        .env("PATH", path)
        .run();
    let directory = sandbox.work().display().to_string();
    (run.stdout.replace(&directory, "/srv/app"), run.code)
}

/// The output without measured times.
fn timeless(printed: &str) -> String {
    let timeless = |line: &str| match line.rsplit_once("Z ") {
        // The last column of `status`.
        Some((rest, ms)) if line.contains("  applied  ") && ms.trim().parse::<u32>().is_ok() => {
            format!("{rest}Z [time]")
        }
        _ => line.to_owned(),
    };
    let lines = hide_differences(printed);
    lines.lines().map(timeless).collect::<Vec<_>>().join("\n")
}

#[test]
fn readme_commands_print_their_documented_output_sqlite() {
    let readme = fs::read_to_string(README).unwrap();
    let sandbox = Sandbox::new();
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    symlink(examples, sandbox.work().join("examples")).unwrap();

    let mut written = String::new();
    let mut wrong = String::new();
    let mut language = None;
    let mut lines = readme.lines().peekable();
    while let Some(line) = lines.next() {
        writeln!(written, "{line}").unwrap();
        if let Some(fence) = line.strip_prefix("```") {
            language = (language.is_none() && !fence.is_empty()).then_some(fence);
            continue;
        }
        match language {
            Some("console") => {
                let command = line.strip_prefix("$ ").unwrap();
                let mut documented = String::new();
                while let Some(next) =
                    lines.next_if(|line| !line.starts_with("$ ") && !line.starts_with("```"))
                {
                    writeln!(documented, "{next}").unwrap();
                }
                let (printed, _) = shell(&sandbox, command);
                if timeless(&printed) != timeless(&documented) {
                    writeln!(wrong, "$ {command}\n{printed}").unwrap();
                }
                written.push_str(&printed);
            }
            // Five fields of time, then the command.
            Some("crontab") => {
                let command: Vec<&str> = line.split_whitespace().skip(5).collect();
                assert_eq!(
                    shell(&sandbox, &command.join(" ")),
                    (String::new(), 0),
                    "{line}"
                );
            }
            Some("yaml") => {
                let (_, command) = line.split_once("run: ").unwrap();
                let (printed, code) = shell(&sandbox, command);
                assert_eq!(code, 0, "{line}: {printed}");
            }
            _ => {}
        }
    }
    if env::var_os("USAGECTL_WRITE_README").is_some() {
        fs::write(README, written).unwrap();
    } else {
        assert!(
            wrong.is_empty(),
            "the README documents other output than:\n{wrong}"
        );
    }
}
