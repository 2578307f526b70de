//! The command line: global options, the list of commands, the dispatch.
//!
//! The arguments of each command stand beside its `run`, in `commands/`.

use std::io::{self, IsTerminal};

use chrono::{DateTime, SubsecRound, Utc};
use clap::{ArgAction, Args, Parser, Subcommand};

use crate::args::parse_instant;
use crate::commands::{
    aggregate, alerts, collect, completions, limits, man, migrate, recommend, record, rollback,
    stats, status,
};
use crate::context::{Context, Verbosity};
use crate::error::{Exit, Outcome, Result};
use crate::output::Format;

/// Keep an application's API-usage and infrastructure monitoring database
///
/// One binary migrates and rolls back the schema, records usage, rolls it up and shows what happened,
/// in an embedded SQLite file or in the PostgreSQL database that the application itself uses.
#[derive(Debug, Parser)]
#[command(
    name = "usagectl",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(
    after_help = "Exit codes: 0 done · 1 failed · 2 usage · 3 not all of it · 4 not trustworthy · \
5 refused · 6 busy · 7 cannot connect · 10 warning · 11 critical · 12 unknown"
)]
pub struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command understands.
#[derive(Args, Debug)]
#[command(next_help_heading = "Global options")]
struct GlobalArgs {
    /// Database to use: sqlite:PATH, file:PATH or postgresql://...
    ///
    /// Otherwise DATABASE_URL, otherwise a .env file found upward, otherwise usagectl/usagectl.db in
    /// the user's data directory. `migrate` and `rollback` prefer DIRECT_URL to DATABASE_URL.
    // Not clap's `env`: whether the flag or the environment spoke decides about DIRECT_URL.
    #[arg(long, global = true, value_name = "URL", hide_short_help = false)]
    database_url: Option<String>,

    /// How to print the answer
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    format: Format,

    /// Act as if it were this moment (RFC 3339)
    #[arg(long, global = true, value_name = "TIME", env = "USAGECTL_NOW", value_parser = parse_instant)]
    now: Option<DateTime<Utc>>,

    /// Say more: the database in use, what was done
    #[arg(long, short, global = true, action = ArgAction::Count)]
    verbose: u8,

    /// Say nothing that is not the answer, a warning or an error
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
enum Command {
    Migrate(migrate::MigrateArgs),
    Rollback(rollback::RollbackArgs),
    Status(status::StatusArgs),
    Record(record::RecordArgs),
    Aggregate(aggregate::AggregateArgs),
    Stats(stats::StatsArgs),
    Alerts(alerts::AlertsArgs),
    Limits(limits::LimitsArgs),
    Collect(collect::CollectArgs),
    Recommend(recommend::RecommendArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// Runs the program and returns how it ends. Errors have been printed by then.
pub fn run() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are no errors; a closed pipe is none either.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            };
        }
    };
    let mut context = Context::new(
        cli.global
            .now
            .unwrap_or_else(|| Utc::now().trunc_subsecs(3)),
        cli.global.database_url,
        cli.global.format,
        Verbosity::new(cli.global.verbose, cli.global.quiet),
        io::stderr().is_terminal(),
    );
    let result = cli.command.run(&mut context).and_then(|outcome| {
        context.flush()?;
        Ok(outcome)
    });
    conclude(&mut context, result)
}

impl Command {
    fn run(self, context: &mut Context) -> Result<Outcome> {
        match self {
            Command::Migrate(args) => migrate::run(context, args),
            Command::Rollback(args) => rollback::run(context, args),
            Command::Status(args) => status::run(context, args),
            Command::Record(args) => record::run(context, args),
            Command::Aggregate(args) => aggregate::run(context, args),
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

/// Prints what there is to say about the end, the last line being the next command to run.
fn conclude(context: &mut Context, result: Result<Outcome>) -> Exit {
    match result {
        Ok(outcome) => {
            if let Some(next) = outcome.next {
                context.next_step(&next);
            }
            outcome.exit
        }
        Err(error) if error.is_closed_pipe() => Exit::Done,
        Err(error) => {
            // What was answered before the failure still belongs to the reader.
            let _ = context.flush();
            context.error(&error.to_string());
            context.next_step(error.next().unwrap_or("usagectl --help"));
            error.exit()
        }
    }
}

/// The definition of the command line, for completions, manual pages and tests.
pub fn definition() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }
}
