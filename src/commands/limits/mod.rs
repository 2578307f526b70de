//! `limits`: what plans and APIs allow, where that is written, and how near to it we are.

pub mod apply;
pub mod audit;
pub mod catalogue;
pub mod check;
pub mod import;
pub mod init;
pub mod list;
pub mod plan;
pub mod remove;
pub mod set;
pub mod show;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::domain::period::Period;
use crate::error::{Outcome, Result};

/// Keep the limits of plans and APIs, with where each is written
///
/// Bare `limits` lists them.
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl limits init --plan vercel=pro --plan upstash=free")]
pub struct LimitsArgs {
    #[command(subcommand)]
    command: Option<LimitsCommand>,
}

#[derive(Debug, Subcommand)]
enum LimitsCommand {
    Init(init::InitArgs),
    Plan(plan::PlanArgs),
    List(list::ListArgs),
    Show(show::ShowArgs),
    Set(set::SetArgs),
    Remove(remove::RemoveArgs),
    Check(check::CheckArgs),
    Import(import::ImportArgs),
    Catalogue(catalogue::CatalogueArgs),
    Audit(audit::AuditArgs),
}

/// Hands over to the command that is named.
pub fn run(context: &mut Context, args: LimitsArgs) -> Result<Outcome> {
    match args.command {
        None => list::run(context, list::ListArgs::default()),
        Some(LimitsCommand::Init(args)) => init::run(context, args),
        Some(LimitsCommand::Plan(args)) => plan::run(context, args),
        Some(LimitsCommand::List(args)) => list::run(context, args),
        Some(LimitsCommand::Show(args)) => show::run(context, args),
        Some(LimitsCommand::Set(args)) => set::run(context, args),
        Some(LimitsCommand::Remove(args)) => remove::run(context, args),
        Some(LimitsCommand::Check(args)) => check::run(context, args),
        Some(LimitsCommand::Import(args)) => import::run(context, args),
        Some(LimitsCommand::Catalogue(args)) => catalogue::run(context, args),
        Some(LimitsCommand::Audit(args)) => audit::run(context, args),
    }
}

/// Reads the period of an API's limit from the command line.
fn parse_period(text: &str) -> Result<Period, String> {
    let is_named = |period: &Period| period.as_str().eq_ignore_ascii_case(text);
    let known = Period::KNOWN.into_iter().find(is_named);
    known.ok_or_else(|| {
        let names = Period::KNOWN.map(|period| period.as_str().to_owned());
        format!("there are {}", names.join(", "))
    })
}
