//! `recommend`: upgrade recommendations and their life cycle.

pub mod ai;
pub mod approve;
pub mod backtest;
pub mod dismiss;
pub mod forecast;
pub mod history;
pub mod implement;
pub mod inputs;
pub mod list;
pub mod note;
pub mod reopen;
pub mod review;
pub mod run;
pub mod show;
pub mod transition;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::domain::recommendation::Recommendation;
use crate::error::{Error, Exit, Outcome, Result};
use crate::output::printable;
use crate::store::db::Db;
use crate::store::recommendation::recommendations;

/// Recommend plan changes from forecasts and published prices
///
/// Without a subcommand, lists the open recommendations.
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl --database-url sqlite:usage.db recommend")]
#[command(args_conflicts_with_subcommands = true)]
pub struct RecommendArgs {
    #[command(subcommand)]
    command: Option<RecommendCommand>,
    #[command(flatten)]
    list: list::ListArgs,
}

/// The recommendation that a command is about.
#[derive(Args, Debug)]
pub struct IdArg {
    /// Id of the recommendation, or a unique prefix of it
    #[arg(value_name = "ID")]
    pub id: String,
}

#[derive(Debug, Subcommand)]
enum RecommendCommand {
    Run(run::RunArgs),
    List(list::ListArgs),
    Show(show::ShowArgs),
    Inputs(inputs::InputsArgs),
    Review(review::ReviewArgs),
    Approve(approve::ApproveArgs),
    Implement(implement::ImplementArgs),
    Dismiss(dismiss::DismissArgs),
    Reopen(reopen::ReopenArgs),
    Note(note::NoteArgs),
    History(history::HistoryArgs),
    Forecast(forecast::ForecastArgs),
    Backtest(backtest::BacktestArgs),
}

pub fn run(context: &mut Context, args: RecommendArgs) -> Result<Outcome> {
    match args.command {
        None => list::run(context, args.list),
        Some(RecommendCommand::Backtest(args)) => backtest::run(context, args),
        Some(RecommendCommand::Forecast(args)) => forecast::run(context, args),
        Some(RecommendCommand::Run(args)) => run::run(context, args),
        Some(RecommendCommand::Inputs(args)) => inputs::run(context, args),
        Some(RecommendCommand::List(args)) => list::run(context, args),
        Some(RecommendCommand::Show(args)) => show::run(context, args),
        Some(RecommendCommand::Review(args)) => review::run(context, args),
        Some(RecommendCommand::Approve(args)) => approve::run(context, args),
        Some(RecommendCommand::Implement(args)) => implement::run(context, args),
        Some(RecommendCommand::Dismiss(args)) => dismiss::run(context, args),
        Some(RecommendCommand::Reopen(args)) => reopen::run(context, args),
        Some(RecommendCommand::Note(args)) => note::run(context, args),
        Some(RecommendCommand::History(args)) => history::run(context, args),
    }
}

/// Finds the recommendation with this id or unique prefix.
fn one(db: &mut Db, id: &str) -> Result<Recommendation> {
    let mut found = match id {
        // Every id starts with the empty text.
        "" => Vec::new(),
        _ => recommendations::find_by_prefix(db, id)?,
    };
    let message = match found.len() {
        1 => return Ok(found.remove(0)),
        0 => format!("no recommendation has the id `{}`", printable(id)),
        count => format!(
            "{count} recommendations have an id that starts with `{}`",
            printable(id)
        ),
    };
    Err(Error::message(Exit::Failed, message).with_next("usagectl recommend list --all"))
}
