//! `recommend`: upgrade recommendations and their life cycle.

pub mod ai;
pub mod backtest;
pub mod dismiss;
pub mod forecast;
pub mod history;
pub mod inputs;
pub mod list;
pub mod run;
pub mod show;
pub mod transition;

use chrono::{DateTime, Utc};
use clap::Subcommand;

use self::transition::MoveArgs;
use crate::commands::prelude::*;
use crate::domain::capacity::Capacity;
use crate::domain::metrics::names::{Metric, Service, Status};
use crate::domain::recommendation::Recommendation;
use crate::store::metrics::readings;
use crate::store::plans::limits;
use crate::store::recommendation::recommendations;

/// Recommend plan changes from forecasts and published prices
///
/// Without a subcommand, lists the open recommendations.
#[derive(Args, Debug)]
#[command(after_help = example!("recommend"))]
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
    /// Recommendation: id, or unique prefix of an id
    #[arg(value_name = "ID")]
    pub id: String,
}

#[derive(Debug, Subcommand)]
enum RecommendCommand {
    Run(run::RunArgs),
    List(list::ListArgs),
    Show(show::ShowArgs),
    Inputs(inputs::InputsArgs),

    /// Mark a recommendation as reviewed
    ///
    /// Moves it from PENDING to REVIEWED, or from APPROVED back to REVIEWED to withdraw the approval. Its figures are
    /// still refreshed; if they change materially, it becomes PENDING again.
    #[command(after_help = example!("recommend review 019c0d2e --by ann"))]
    Review(MoveArgs),

    /// Approve a recommendation
    ///
    /// Moves it from REVIEWED to APPROVED and freezes its figures as the basis of the decision. If the input
    /// `single_reviewer` is true, a PENDING recommendation is reviewed and approved in one go; both moves are recorded.
    #[command(after_help = example!("recommend approve 019c0d2e --by ann"))]
    Approve(MoveArgs),

    /// Mark a recommendation as implemented
    ///
    /// Moves it from APPROVED to IMPLEMENTED, which is final. Select the new plan with `usagectl limits plan`: its limits
    /// are assessed from then on. If the old plan is still in use a day later and its limits are near, it is recommended
    /// again. From 14 days later on, `usagectl recommend run` compares the predicted values with measured ones.
    #[command(after_help = example!("recommend implement 019c0d2e --by ann"))]
    Implement(MoveArgs),

    Dismiss(dismiss::DismissArgs),

    /// Reopen a dismissed or expired recommendation
    ///
    /// Moves it from DISMISSED or EXPIRED to PENDING. Refused while another open recommendation answers the same
    /// question.
    #[command(after_help = example!("recommend reopen 019c0d2e --note \"the contract ended\""))]
    #[command(mut_arg("note", |note| note.required(true)))]
    Reopen(MoveArgs),

    /// Add a note to the history of a recommendation
    ///
    /// The status does not change.
    #[command(after_help = example!("recommend note 019c0d2e --note \"asked the provider\""))]
    #[command(mut_arg("note", |note| note.required(true)))]
    Note(MoveArgs),

    History(history::HistoryArgs),
    Forecast(forecast::ForecastArgs),
    Backtest(backtest::BacktestArgs),
}

pub fn run(context: &mut Context, args: RecommendArgs) -> Result<Outcome> {
    use RecommendCommand as Command;
    match args.command {
        None => list::run(context, args.list),
        Some(Command::Backtest(args)) => backtest::run(context, args),
        Some(Command::Forecast(args)) => forecast::run(context, args),
        Some(Command::Run(args)) => run::run(context, args),
        Some(Command::Inputs(args)) => inputs::run(context, args),
        Some(Command::List(args)) => list::run(context, args),
        Some(Command::Show(args)) => show::run(context, args),
        Some(Command::Dismiss(args)) => dismiss::run(context, args),
        Some(Command::History(args)) => history::run(context, args),
        Some(Command::Review(args)) => transition::run(context, &args, Status::Reviewed, None),
        Some(Command::Approve(args)) => transition::run(context, &args, Status::Approved, None),
        Some(Command::Implement(args)) => {
            transition::run(context, &args, Status::Implemented, None)
        }
        Some(Command::Reopen(args)) => transition::run(context, &args, Status::Pending, None),
        Some(Command::Note(args)) => transition::run(context, &args, None, None),
    }
}

/// The capacities of all measured metrics, or of those of one service or metric.
fn measured(
    db: &mut Db,
    of: (Option<Service>, Option<Metric>),
    now: DateTime<Utc>,
) -> Result<Vec<Capacity>> {
    let limits = limits::limits_in_force(db, now)?;
    let mut all = readings::capacities(db, of, &limits, now, None)?;
    all.retain(|it| it.measured_at.is_some());
    Ok(all)
}

/// Finds the recommendation with this id or unique prefix.
fn one(db: &mut Db, id: &str) -> Result<Recommendation> {
    let mut found = match id {
        // Every id starts with the empty text.
        "" => Vec::new(),
        _ => recommendations::find_by_prefix(db, id)?,
    };
    let id = printable(id);
    let message = match found.len() {
        1 => return Ok(found.remove(0)),
        0 => format!("no recommendation has the id `{id}`"),
        count => format!("{count} recommendations have an id that starts with `{id}`"),
    };
    Err(Error::usage(message).with_next("usagectl recommend list --all"))
}
