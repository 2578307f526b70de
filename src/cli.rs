//! The command line: global options, the list of commands, the dispatch, and clap's errors.
//!
//! The arguments of each command are declared beside its `run`, in `commands/`.

use std::env;
use std::io::{self, IsTerminal, Write};

use chrono::{DateTime, SubsecRound, Utc};
use clap::error::ErrorKind;
use clap::{ArgAction, Args, Parser, Subcommand};

use crate::args::parse_now;
use crate::commands::{
    aggregate, alerts, collect, completions, database_error, limits, man, migrate, prune,
    recommend, record, rollback, stats, status,
};
use crate::context::{Context, Verbosity};
use crate::domain::format::printable;
use crate::domain::nagios::NagiosAnswer;
use crate::error::{ErrorDocument, Exit, Outcome, Result};
use crate::output::Format;

/// Manage an application's API-usage and infrastructure monitoring database
///
/// Migrates and rolls back the schema, records and aggregates usage, raises alerts, checks limits, collects
/// metrics and recommends upgrades, in an embedded SQLite file or in the application's PostgreSQL database.
#[derive(Debug, Parser)]
#[command(
    name = "usagectl",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(
    after_help = "Exit codes: 0 done · 1 failed · 2 usage · 3 incomplete · 4 untrustworthy · \
5 refused · 6 busy · 7 unreachable · 10 warning · 11 critical · 12 unknown"
)]
pub struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Args, Debug)]
#[command(next_help_heading = "Global options")]
struct GlobalArgs {
    /// Database to use: sqlite:PATH, file:PATH or postgresql://...
    ///
    /// Otherwise DATABASE_URL, otherwise a .env file found upward or beside schema.prisma, otherwise
    /// usagectl/usagectl.db in the user's data directory. `migrate` and `rollback` prefer DIRECT_URL to DATABASE_URL.
    // Not clap's `env`: DIRECT_URL takes precedence over DATABASE_URL, but not over this flag.
    #[arg(long, global = true, value_name = "URL", hide_short_help = false)]
    database_url: Option<String>,

    /// Output format
    ///
    /// `usagectl stats` also has prometheus: metrics for the node exporter's textfile collector.
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    format: Format,

    /// Use this time as the current time (RFC 3339) [env: USAGECTL_NOW]
    // Not clap's `env`: usage lines would show the option as a required one.
    #[arg(long, global = true, value_name = "TIME", value_parser = parse_now)]
    now: Option<DateTime<Utc>>,

    /// Print more: the database in use, each step
    #[arg(long, short, global = true, action = ArgAction::Count)]
    verbose: u8,

    /// Print only the answer, warnings and errors
    ///
    /// `alerts check`, `collect run`, `limits check` and `recommend run` print no answer either, for cron, nor
    /// warnings that every run would repeat, nor the next command after 10, 11 and 12: the exit code is the answer.
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one of it")]
enum Command {
    Migrate(migrate::MigrateArgs),
    Rollback(rollback::RollbackArgs),
    Status(status::StatusArgs),
    Record(record::RecordArgs),
    Aggregate(aggregate::AggregateArgs),
    Prune(prune::PruneArgs),
    Stats(stats::StatsArgs),
    Alerts(alerts::AlertsArgs),
    Limits(limits::LimitsArgs),
    Collect(collect::CollectArgs),
    Recommend(recommend::RecommendArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// Runs the program and returns its exit code. Errors are printed.
pub fn run() -> Exit {
    let words = alerts::channel::add::with_marked_name(env::args_os().collect());
    let parsed = definition()
        .try_get_matches_from(words)
        .and_then(|matches| {
            let cli = <Cli as clap::FromArgMatches>::from_arg_matches(&matches);
            let mut cli = cli.map_err(|error| error.format(&mut definition()))?;
            if cli.global.now.is_none() {
                cli.global.now = now_of_environment()?;
            }
            let (command, arguments) = command_of(matches);
            if cli.global.format == Format::Prometheus && command != "usagectl stats" {
                let message = "--format prometheus is an option of `usagectl stats` only";
                return Err(definition().error(ErrorKind::InvalidValue, message));
            }
            Ok((cli, command, arguments))
        });
    let (cli, command, arguments) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return parse_failed(&error),
    };
    let mut context = Context::new(
        command.clone(),
        cli.global
            .now
            .unwrap_or_else(|| Utc::now().trunc_subsecs(3)),
        cli.global.database_url,
        cli.global.format,
        Verbosity::new(cli.global.verbose, cli.global.quiet),
        io::stderr().is_terminal(),
    );
    context.arguments = arguments;
    context.now_is_given = cli.global.now.is_some();
    let result = cli.command.run(&mut context).and_then(|outcome| {
        context.flush()?;
        Ok(outcome)
    });
    let result = result.map_err(|error| {
        let command = command.strip_prefix("usagectl ").unwrap_or_default();
        database_error::explain(&context, command, error)
    });
    conclude(&mut context, result)
}

fn now_of_environment() -> Result<Option<DateTime<Utc>>, clap::Error> {
    let text = env::var_os("USAGECTL_NOW").map(|text| text.to_string_lossy().into_owned());
    let now = text.map(|text| {
        parse_now(&text).map_err(|reason| {
            let message = format!("invalid USAGECTL_NOW `{}`: {reason}", printable(&text));
            definition().error(ErrorKind::InvalidValue, message)
        })
    });
    now.transpose()
}

impl Command {
    fn run(self, context: &mut Context) -> Result<Outcome> {
        match self {
            Command::Migrate(args) => migrate::run(context, args),
            Command::Rollback(args) => rollback::run(context, args),
            Command::Status(args) => status::run(context, args),
            Command::Record(args) => record::run(context, args),
            Command::Aggregate(args) => aggregate::run(context, args),
            Command::Prune(args) => prune::run(context, args),
            Command::Stats(args) => stats::run(context, args),
            Command::Alerts(args) => alerts::run(context, args),
            Command::Limits(args) => limits::run(context, args),
            Command::Collect(args) => collect::run(context, args),
            Command::Recommend(args) => recommend::run(context, args),
            Command::Completions(args) => completions::run(context, args, definition()),
            Command::Man(args) => man::run(context, args, definition()),
        }
    }
}

/// Prints how the command ended; the last line is the next command to run.
fn conclude(context: &mut Context, result: Result<Outcome>) -> Exit {
    context.warn_of_skipped_rows();
    match result {
        Ok(outcome) => {
            let is_state = matches!(outcome.exit, Exit::Warning | Exit::Critical | Exit::Unknown);
            let is_shown = !(is_state && context.is_answered_by_exit_code);
            if let Some(next) = outcome.next.filter(|_| is_shown) {
                context.conclude(outcome.exit, None, &next);
            }
            outcome.exit
        }
        Err(error) if error.is_closed_pipe() => Exit::Done,
        Err(error) => {
            // Output written before the failure is kept.
            let _ = context.flush();
            let next = error.next().map_or_else(|| context.help(), str::to_owned);
            context.conclude(error.exit(), Some(&error.to_string()), &next);
            error.exit()
        }
    }
}

/// Prints clap's message and the command whose help to read.
///
/// Help and version arrive here too; they go to stdout and are no failure, nor is a closed pipe.
fn parse_failed(error: &clap::Error) -> Exit {
    if !error.use_stderr() {
        let _ = error.print();
        return Exit::Done;
    }
    let arguments = arguments();
    let next = format!("{} --help", command_named(&arguments));
    let mut stderr = io::stderr();
    if arguments.iter().any(|argument| argument == "--nagios") {
        // Code 2 would be a critical state.
        let answer = NagiosAnswer::failed(&one_line(error));
        let _ = writeln!(io::stdout(), "{}", answer.text);
        let _ = writeln!(stderr, "next: {next}");
        return Exit::Nagios(answer.status);
    }
    let _ = if wants_json(&arguments) {
        let message = one_line(error);
        let document = ErrorDocument::new(Exit::Usage, &message, &next);
        writeln!(stderr, "{document}")
    } else {
        let _ = error.print();
        writeln!(stderr, "next: {next}")
    };
    Exit::Usage
}

fn arguments() -> Vec<String> {
    let arguments = env::args_os().skip(1);
    let text = |argument: std::ffi::OsString| argument.to_string_lossy().into_owned();
    arguments.map(text).collect()
}

/// Whether `--format json` is among arguments that clap did not accept.
fn wants_json(arguments: &[String]) -> bool {
    let pairs = arguments.windows(2);
    arguments.iter().any(|argument| argument == "--format=json")
        || pairs.into_iter().any(|pair| pair == ["--format", "json"])
}

/// The command that the arguments name, as far as it exists: `usagectl limits set`.
fn command_named(arguments: &[String]) -> String {
    let mut command = &definition();
    let mut name = command.get_name().to_owned();
    for argument in arguments {
        if let Some(inner) = command.find_subcommand(argument) {
            command = inner;
            name = format!("{name} {}", command.get_name());
        }
    }
    name
}

/// The command that was given, such as `usagectl limits set`, and its arguments.
fn command_of(mut matches: clap::ArgMatches) -> (String, clap::ArgMatches) {
    let mut command = "usagectl".to_owned();
    while let Some((name, inner)) = matches.remove_subcommand() {
        command = format!("{command} {name}");
        matches = inner;
    }
    (command, matches)
}

/// clap's message without its usage line and its hint to `--help`.
fn one_line(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "a subcommand or an argument is required".to_owned();
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let message = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty());
    message.collect::<Vec<_>>().join(" ")
}

/// The definition of the command line, for completions, manual pages and tests.
pub fn definition() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definition_passes_clap_checks() {
        definition().debug_assert();
    }

    #[test]
    fn subcommands_are_known_to_next_steps() {
        let mut names: Vec<_> = definition()
            .get_subcommands()
            .map(|it| it.get_name().to_owned())
            .collect();
        names.sort();
        assert_eq!(names, crate::context::SUBCOMMANDS);
    }

    #[test]
    fn command_is_found_among_options() {
        let named = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            command_named(&words)
        };
        assert_eq!(
            named(&["--format", "json", "limits", "set", "--x"]),
            "usagectl limits set"
        );
        assert_eq!(named(&["nonsense"]), "usagectl");
    }

    #[test]
    fn clap_error_becomes_one_line() {
        let parse = |words: &[&str]| one_line(&Cli::try_parse_from(words).unwrap_err());
        assert_eq!(
            parse(&["usagectl", "status", "--format", "xml"]),
            "invalid value 'xml' for '--format <FORMAT>' [possible values: table, json, csv]"
        );
        let expected = "a subcommand or an argument is required";
        assert_eq!(parse(&["usagectl"]), expected);
    }
}
