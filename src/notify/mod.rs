//! Transports: each sends the content of a notice to one kind of channel. [`crate::domain::alert::delivery`]
//! decides when and in which order.

mod alertmanager;
mod endpoint;
mod exec;
mod slack;
mod stdout;
mod webhook;

use chrono::{DateTime, Utc};

use crate::domain::alert::channel::{Channel, Exec, Settings, Stdout};
use crate::domain::alert::delivery::{Failure, Notice};
use crate::domain::alert::notice::Content;

/// A notice to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub content: &'a Content,
    /// The notices of its episode that the channel may have received before.
    pub earlier: &'a [&'a Notice],
    pub now: DateTime<Utc>,
}

/// A channel whose secrets have been read.
pub enum Transport<'a> {
    Webhook(webhook::Receiver),
    Slack(endpoint::Endpoint),
    Alertmanager(alertmanager::Receiver<'a>),
    Exec(&'a Exec),
    Stdout(&'a Stdout),
}

impl<'a> Transport<'a> {
    /// Reads the secrets. An error is a wrong setting here, not a failure of the receiver.
    pub fn open(channel: &'a Channel) -> Result<Transport<'a>, String> {
        match &channel.settings {
            None => Err("its settings cannot be read: add the channel again".to_owned()),
            Some(Settings::Webhook(settings)) => {
                webhook::Receiver::open(settings).map(Transport::Webhook)
            }
            Some(Settings::Slack(settings)) => {
                endpoint::Endpoint::open(settings, "").map(Transport::Slack)
            }
            Some(Settings::Alertmanager(settings)) => {
                alertmanager::Receiver::open(settings).map(Transport::Alertmanager)
            }
            Some(Settings::Exec(exec)) => Ok(Transport::Exec(exec)),
            Some(Settings::Stdout(stdout)) => Ok(Transport::Stdout(stdout)),
        }
    }

    /// Sends a notice; `print` writes a line of a channel of kind stdout.
    pub fn send(
        &self,
        message: Message<'_>,
        print: &mut dyn FnMut(&str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Message {
            content,
            earlier,
            now,
        } = message;
        match self {
            Transport::Webhook(webhook) => webhook.send(content, now),
            Transport::Slack(endpoint) => slack::send(endpoint, content),
            Transport::Alertmanager(alertmanager) => alertmanager.send(content, earlier, now),
            Transport::Exec(exec) => exec::run(exec, content),
            Transport::Stdout(stdout) => print(&stdout::line(stdout, content)?),
        }
    }
}
