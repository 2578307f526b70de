//! `alerts`: rules, channels, silences and their evaluation. One file for each command.

pub mod ack;
pub mod add;
pub mod backtest;
pub mod channel;
pub mod check;
pub mod deliver;
pub mod disable;
pub mod enable;
pub mod history;
pub mod init;
pub mod list;
pub(super) mod reading;
pub mod remove;
mod rule_options;
mod rule_states;
mod rule_warnings;
pub mod set;
pub mod show;
pub mod silence;
pub mod status;

use clap::Subcommand;

use crate::commands::prelude::*;
use crate::domain::alert::lookup::{NotFound, find_rule};
use crate::domain::alert::rule::Rule;

/// Manage alert rules, evaluate them and send notifications
///
/// A rule watches one API, or each of them: how much of the rate limit is used, what the calls cost, how many
/// fail, or whether they cease. Rules are the rows of api_alerts, including those that the application writes; those
/// of type NO_DATA are in a table of usagectl. Without a command, the rules are listed.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = example!("alerts")
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

/// The rules that a command is about.
#[derive(Args, Clone, Debug)]
struct RuleRefs {
    /// Rules: id, unique prefix of an id, or API/TYPE/PERIOD
    #[arg(required = true, value_name = "RULE")]
    rules: Vec<String>,
}

impl RuleRefs {
    fn find(&self, rules: &[Rule]) -> Result<Vec<Rule>> {
        find_rules(rules, &self.rules)
    }
}

/// The rules that `references` name, each once, in the order of the references.
fn find_rules(rules: &[Rule], references: &[String]) -> Result<Vec<Rule>> {
    let mut found: Vec<Rule> = Vec::new();
    for reference in references {
        let rule = find_rule(rules, reference)?;
        if found.iter().all(|known| known.id != rule.id) {
            found.push(rule.clone());
        }
    }
    Ok(found)
}

impl From<NotFound> for Error {
    fn from(error: NotFound) -> Error {
        Error::new(Exit::Usage, error).with_next("usagectl alerts list")
    }
}

/// The rule was deleted between reading and writing it.
fn gone(rule: &Rule) -> Error {
    NotFound::None(rule.id.clone()).into()
}
