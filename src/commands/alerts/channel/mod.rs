//! `alerts channel`: where notices go. One file for each of its commands.

pub mod add;
pub mod list;
pub mod remove;
pub mod test;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::domain::alert::channel::{Channel, SecretPlace};
use crate::error::{Error, Exit, Outcome, Result};
use crate::http::Secret;
use crate::output::printable;

/// Say where notices go
///
/// A rule speaks through the channels it names, and one that names none through all there are. Secrets are
/// never stored: a channel knows the name of the environment variable, or the file, that holds each. They
/// are read when notices are sent, so the variables must be set where `usagectl alerts check` runs. Without
/// a command, lists the channels.
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl --database-url sqlite:usage.db alerts channel")]
pub struct ChannelArgs {
    #[command(subcommand)]
    command: Option<ChannelCommand>,
}

#[derive(Debug, Subcommand)]
enum ChannelCommand {
    Add(Box<add::AddArgs>),
    List(list::ListArgs),
    Remove(remove::RemoveArgs),
    Test(test::TestArgs),
}

/// Does what was asked for.
pub fn run(context: &mut Context, args: ChannelArgs) -> Result<Outcome> {
    let command = args.command;
    match command.unwrap_or(ChannelCommand::List(list::ListArgs {})) {
        ChannelCommand::Add(args) => add::run(context, *args),
        ChannelCommand::List(args) => list::run(context, args),
        ChannelCommand::Remove(args) => remove::run(context, args),
        ChannelCommand::Test(args) => test::run(context, args),
    }
}

/// The channel of this name.
fn named(channels: Vec<Channel>, name: &str) -> Result<Channel> {
    let names: Vec<String> = channels
        .iter()
        .map(|channel| printable(&channel.name).into_owned())
        .collect();
    let found = channels.into_iter().find(|channel| channel.name == name);
    found.ok_or_else(|| {
        let others = match names.len() {
            0 => "there is none yet".to_owned(),
            _ => format!("there are {}", names.join(", ")),
        };
        let message = format!("there is no channel `{}`; {others}", printable(name));
        Error::message(Exit::Failed, message).with_next("usagectl alerts channel list")
    })
}

/// Whether a secret can be read here and now.
fn is_there(place: &SecretPlace) -> bool {
    match place {
        SecretPlace::Env(name) => Secret::from_env(name).is_ok(),
        SecretPlace::File(path) => Secret::from_file(path).is_ok(),
    }
}
