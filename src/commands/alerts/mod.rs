//! `alerts`: rules, and what becomes of them. One file for each of its commands.

pub mod ack;
pub mod add;
mod advice;
pub mod backtest;
pub mod channel;
pub mod check;
pub mod deliver;
pub mod disable;
pub mod enable;
pub mod history;
pub mod init;
pub mod list;
mod options;
mod overview;
mod reading;
pub mod remove;
pub mod set;
pub mod show;
pub mod silence;
pub mod status;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::domain::alert::lookup::{NotFound, choose};
use crate::domain::alert::rule::Rule;
use crate::error::{Error, Exit, Outcome, Result};

/// Keep alert rules, check them, and tell who should know
///
/// A rule watches one API, or all: how much of its rate limit is used, what its calls cost, how many of them
/// fail. The rules are the rows of api_alerts, those that the application wrote included. Without a
/// command, lists them.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Example: usagectl --database-url sqlite:usage.db alerts"
)]
pub struct AlertsArgs {
    #[command(subcommand)]
    command: Option<AlertsCommand>,
    #[command(flatten)]
    list: list::ListArgs,
}

#[derive(Debug, Subcommand)]
enum AlertsCommand {
    Ack(ack::AckArgs),
    Add(add::AddArgs),
    Backtest(backtest::BacktestArgs),
    Channel(channel::ChannelArgs),
    Check(check::CheckArgs),
    Deliver(deliver::DeliverArgs),
    Disable(disable::DisableArgs),
    Enable(enable::EnableArgs),
    History(history::HistoryArgs),
    Init(init::InitArgs),
    List(list::ListArgs),
    Remove(remove::RemoveArgs),
    Set(set::SetArgs),
    Show(show::ShowArgs),
    Silence(silence::SilenceArgs),
    Status(status::StatusArgs),
}

/// Does what was asked for.
pub fn run(context: &mut Context, args: AlertsArgs) -> Result<Outcome> {
    match args.command.unwrap_or(AlertsCommand::List(args.list)) {
        AlertsCommand::Ack(args) => ack::run(context, args),
        AlertsCommand::Add(args) => add::run(context, args),
        AlertsCommand::Backtest(args) => backtest::run(context, args),
        AlertsCommand::Channel(args) => channel::run(context, args),
        AlertsCommand::Check(args) => check::run(context, args),
        AlertsCommand::Deliver(args) => deliver::run(context, args),
        AlertsCommand::Disable(args) => disable::run(context, args),
        AlertsCommand::Enable(args) => enable::run(context, args),
        AlertsCommand::History(args) => history::run(context, args),
        AlertsCommand::Init(args) => init::run(context, args),
        AlertsCommand::List(args) => list::run(context, args),
        AlertsCommand::Remove(args) => remove::run(context, args),
        AlertsCommand::Set(args) => set::run(context, args),
        AlertsCommand::Show(args) => show::run(context, args),
        AlertsCommand::Silence(args) => silence::run(context, args),
        AlertsCommand::Status(args) => status::run(context, args),
    }
}

/// The rules that these words mean, each once, in the order of the words.
fn chosen(rules: &[Rule], words: &[String]) -> Result<Vec<Rule>> {
    let mut found: Vec<Rule> = Vec::new();
    for word in words {
        let rule = choose(rules, word)?;
        if found.iter().all(|known| known.id != rule.id) {
            found.push(rule.clone());
        }
    }
    Ok(found)
}

impl From<NotFound> for Error {
    fn from(error: NotFound) -> Error {
        Error::new(Exit::Failed, error).with_next("usagectl alerts list")
    }
}

/// The rule went between two looks at it.
fn gone(rule: &Rule) -> Error {
    NotFound::None(rule.id.clone()).into()
}
