//! `alerts channel`: where notices are sent. One file for each command.

pub mod add;
pub mod list;
pub mod remove;
pub mod test;

use clap::Subcommand;

use crate::commands::prelude::*;
use crate::domain::alert::channel::{Channel, SecretPlace};
use crate::http::Secret;

/// Manage notification channels
///
/// A rule notifies the channels it names; a rule that names none notifies all of them. Secrets are never
/// stored: a channel has the name of the environment variable or of the file that holds each. They are read
/// when notices are sent, so the variables must be set where `usagectl alerts check` runs, in the environment or in a
/// .env file found upward. Without a command, the channels are listed.
#[derive(Args, Debug)]
#[command(after_help = example!("alerts channel"))]
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

pub fn run(context: &mut Context, args: ChannelArgs) -> Result<Outcome> {
    let command = args.command;
    match command.unwrap_or(ChannelCommand::List(list::ListArgs {})) {
        ChannelCommand::Add(args) => add::run(context, *args),
        ChannelCommand::List(args) => list::run(context, args),
        ChannelCommand::Remove(args) => remove::run(context, args),
        ChannelCommand::Test(args) => test::run(context, args),
    }
}

fn find(channels: Vec<Channel>, name: &str) -> Result<Channel> {
    let names = channels.iter().map(|channel| printable(&channel.name));
    let names = names.collect::<Vec<_>>().join(", ");
    let found = channels.into_iter().find(|channel| channel.name == name);
    found.ok_or_else(|| {
        let name = printable(name);
        let message = match names.as_str() {
            "" => format!("no channel `{name}`; none is defined"),
            names => format!("no channel `{name}`; expected one of {names}"),
        };
        Error::usage(message).with_next("usagectl alerts channel list")
    })
}

/// Whether this process can read a secret.
fn is_present(place: &SecretPlace) -> bool {
    match place {
        SecretPlace::Env(name) => Secret::from_variable(name).is_ok(),
        SecretPlace::File(path) => Secret::from_file(path).is_ok(),
    }
}
