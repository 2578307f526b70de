//! `limits`: what plans and APIs allow, where that is published, and how much of it is used.

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
pub mod sync;

use crate::commands::prelude::*;

use clap::Subcommand;

/// Manage the limits of plans and APIs
///
/// Without a command, lists them.
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
