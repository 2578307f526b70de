//! The help pages of all commands, and their examples.
//!
//! The pages of `--help` are in `snapshots/`; `INSTA_UPDATE=always cargo test help` updates them.

use std::fs;
use std::io::Write;
use std::path::Path;

use clap::Command;
use flate2::{Compression, write::GzEncoder};
use usagectl::domain::metrics::names::Status;
use usagectl::store::db;
use usagectl::store::db::Access;
use usagectl::store::recommendation::recommendations;
use usagectl::store::url::{self, UrlSource};

use crate::support::recommendations::recommendation;
use crate::support::{Run, Sandbox};

/// Every command with its full name: `usagectl`, `usagectl migrate`, ...
fn commands() -> Vec<(String, Command)> {
    fn collect(command: &Command, name: String, found: &mut Vec<(String, Command)>) {
        for inner in command.get_subcommands() {
            if inner.get_name() != "help" {
                collect(inner, format!("{name} {}", inner.get_name()), found);
            }
        }
        found.push((name, command.clone()));
    }
    let mut found = Vec::new();
    collect(
        &usagectl::cli::definition(),
        "usagectl".to_owned(),
        &mut found,
    );
    found
}

/// The shell commands in a page's examples: the lines after `Example:` or `Examples:` that contain
/// `usagectl`.
fn examples(command: &Command) -> Vec<String> {
    let text = command
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    text.lines()
        .map(|line| {
            line.trim()
                .trim_start_matches("Examples:")
                .trim_start_matches("Example:")
                .trim()
        })
        .filter(|line| line.contains("usagectl "))
        .map(str::to_owned)
        .collect()
}

#[test]
fn help_pages_match_snapshots() {
    let sandbox = Sandbox::new();
    for (name, _) in commands() {
        let words: Vec<&str> = name.split(' ').skip(1).chain(["--help"]).collect();
        let page = sandbox.usagectl(&words).run().success();
        assert_eq!(page.stderr, "");
        insta::assert_snapshot!(name.replace(' ', "-"), page.stdout);
    }
}

/// `-h` fits on one screen; `--help` has the details.
#[test]
fn short_help_fits_on_one_screen() {
    let sandbox = Sandbox::new();
    for (name, command) in commands() {
        let words: Vec<&str> = name.split(' ').skip(1).chain(["-h"]).collect();
        let page = sandbox.usagectl(&words).run().success().stdout;
        let lines = page.lines().count();
        let options = command.get_arguments().count();
        let most = if options <= 10 { 40 } else { 45 };
        assert!(
            lines <= most,
            "`{name} -h` has {lines} lines, of {options} options"
        );
        let columns = page.lines().map(|line| line.chars().count()).max();
        // clap does not wrap usage lines.
        assert!(columns <= Some(115), "`{name} -h` has {columns:?} columns");
    }
}

#[test]
fn every_command_has_a_working_example() {
    let prepared = Sandbox::new();
    prepare(&prepared);
    for (name, command) in commands() {
        if name == "usagectl" {
            continue;
        }
        let examples = examples(&command);
        assert!(!examples.is_empty(), "`{name} --help` has no example");
        for example in examples {
            run_example(&example, &prepared);
        }
    }
}

/// Writes the files and the database that the examples name.
fn prepare(sandbox: &Sandbox) {
    let data = include_str!("../../examples/usage.ndjson");
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(data.as_bytes()).unwrap();
    sandbox.file("usage.ndjson.gz", packed.finish().unwrap());
    sandbox.file("usage.ndjson", data);
    sandbox.file("api.log", data);
    let metrics = include_str!("../../examples/metrics.ndjson");
    sandbox.file("metrics.ndjson", metrics);
    sandbox.file("export.csv", "ts,api\n1769860000,finnhub\n");
    sandbox.file("access.log", include_str!("../logs/combined.log"));
    let days = (1..=30).map(|day| format!("2026-01-{day:02},700\n"));
    let days: String = days.collect();
    sandbox.file("requests.csv", format!("timestamp,value\n{days}"));
    sandbox.file("bad.json", r#"{"api_name": "tmdb", "response_time": -80}"#);
    let prepare = "usagectl migrate
        usagectl record usage.ndjson
        usagectl record bad.json --rejects refused.ndjson || sed -i 's/: -80/: 80/' refused.ndjson
        usagectl aggregate
        usagectl alerts add --api finnhub --type RATE_LIMIT_WARNING --threshold 80 --period MINUTE
        usagectl limits set --api finnhub --per MINUTE 60
        usagectl alerts channel add console stdout
        usagectl recommend inputs set tolerance 0.05";
    shell(sandbox, prepare).success();
}

/// Runs a script beside the program.
fn shell(sandbox: &Sandbox, script: &str) -> Run {
    let program = Path::new(env!("CARGO_BIN_EXE_usagectl")).parent().unwrap();
    let path = format!("{}:/usr/bin:/bin", program.display());
    let shell = sandbox.command("sh").database("sqlite:usage.db");
    shell.env("PATH", path).arg("-euc").arg(script).run()
}

/// Runs an example in a copy of a prepared directory.
fn run_example(example: &str, prepared: &Sandbox) {
    let sandbox = Sandbox::new();
    for file in fs::read_dir(prepared.work()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), sandbox.work().join(file.file_name())).unwrap();
    }
    let completions = sandbox
        .home()
        .join(".local/share/bash-completion/completions");
    fs::create_dir_all(completions).unwrap();
    put_recommendation(&sandbox, example);
    // `tail -F` does not end.
    let example = &example.replace("tail -n +1 -F", "cat");
    // A program that reads the output need not be installed.
    let (example, _) = example
        .split_once(" | ")
        .filter(|(first, _)| first.contains("usagectl "))
        .unwrap_or((example, ""));
    let run = shell(&sandbox, example);
    assert_eq!(run.code, 0, "{example}\n{}", run.snapshot());
}

/// Inserts the recommendation that an example names, with the status that its command requires.
fn put_recommendation(sandbox: &Sandbox, example: &str) {
    let id = "019c0d2e-0000-7000-8000-000000000000";
    let status = match example {
        _ if !example.contains(&id[..8]) => return,
        _ if example.contains("recommend approve") => Status::Reviewed,
        _ if example.contains("recommend implement") => Status::Approved,
        _ if example.contains("recommend reopen") => Status::Dismissed,
        _ => Status::Pending,
    };
    let url = format!("sqlite:{}", sandbox.work().join("usage.db").display());
    let url = url::parse(&url, UrlSource::Flag).unwrap();
    let mut db = db::open(&url, Access::Write).unwrap();
    recommendations::insert(&mut db, &recommendation(id, "question", status)).unwrap();
}

#[test]
fn completions_name_every_command() {
    let sandbox = Sandbox::new();
    let names: Vec<String> = commands()
        .into_iter()
        // clap's completions for fish have two levels of commands.
        .filter(|(name, _)| name.split(' ').count() <= 3)
        .map(|(_, command)| command.get_name().to_owned())
        .collect();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = sandbox
            .usagectl(["completions", shell])
            .run()
            .success()
            .stdout;
        for name in &names {
            assert!(script.contains(name.as_str()), "{shell}: {name}");
        }
    }
}

#[test]
fn closed_pipe_is_success() {
    let sandbox = Sandbox::new();
    let script = "set -o pipefail; \"$0\" completions bash | true; \"$0\" --help | true";
    let run = sandbox
        .command("bash")
        .arg("-c")
        .arg(script)
        .arg(env!("CARGO_BIN_EXE_usagectl"))
        .run();
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
}
