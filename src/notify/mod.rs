//! Transports: each sends notices to one kind of channel. [`crate::domain::alert::delivery`] decides when and in
//! which order.

mod alertmanager;
mod endpoint;
mod exec;
mod retry_after;
mod signature;
mod slack;
mod stdout;
pub mod template;
mod webhook;

use std::time::Duration;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use crate::domain::alert::channel::{Channel, Exec, Settings, Stdout};
use crate::domain::alert::delivery::{Failure, Notice};
use crate::domain::alert::notice::Content;
use crate::domain::format::hex;

pub use alertmanager::OWN_LABELS;
pub use stdout::line;

/// The notices of one request.
#[derive(Clone, Debug)]
pub struct Message {
    /// In order, at most [`Limits::group`].
    pub notices: Vec<Notice>,
    /// The notices of the same episode that the channel may have received before.
    pub earlier: Vec<Notice>,
    /// The time of sending.
    pub at: DateTime<Utc>,
}

impl Message {
    fn contents(&self) -> impl Iterator<Item = &Content> {
        self.notices.iter().map(|notice| &notice.content)
    }

    /// The key of its notice. That of several is derived from theirs, so that it is the same whenever they are sent
    /// together.
    fn key(&self) -> String {
        let keys: Vec<&str> = self.contents().map(|content| &content.key[..]).collect();
        match &keys[..] {
            [key] => (*key).to_owned(),
            keys => hex(&Sha256::digest(keys.join("\n"))[..16]),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The maximum number of notices in one request.
    pub group: usize,
    /// The time from the beginning of one request to that of the next.
    pub pace: Duration,
    /// The time after which a request has ended.
    pub time: Duration,
}

/// One notice in a request, and no time of its own.
const ONE_AT_ONCE: Limits = Limits {
    group: 1,
    pace: Duration::ZERO,
    time: Duration::ZERO,
};

/// A channel whose secrets have been read.
pub enum Transport<'a> {
    Remote(Box<Remote<'a>>),
    Stdout(&'a Stdout),
}

/// A transport that may be slow.
pub enum Remote<'a> {
    Webhook(webhook::Receiver),
    Slack(endpoint::Endpoint),
    Alertmanager(alertmanager::Receiver<'a>),
    Exec(&'a Exec),
}

impl<'a> Transport<'a> {
    /// Reads the secrets. An error is a wrong setting here, not a failure of the receiver.
    pub fn open(channel: &'a Channel) -> Result<Transport<'a>, String> {
        let remote = match &channel.settings {
            None => return Err("its settings cannot be read: add the channel again".to_owned()),
            Some(Settings::Stdout(stdout)) => return Ok(Transport::Stdout(stdout)),
            Some(Settings::Webhook(settings)) => {
                Remote::Webhook(webhook::Receiver::open(settings)?)
            }
            Some(Settings::Slack(settings)) => {
                Remote::Slack(endpoint::Endpoint::open(settings, "")?)
            }
            Some(Settings::Alertmanager(settings)) => {
                Remote::Alertmanager(alertmanager::Receiver::open(settings)?)
            }
            Some(Settings::Exec(exec)) => Remote::Exec(exec),
        };
        Ok(Transport::Remote(Box::new(remote)))
    }

    pub fn limits(&self) -> Limits {
        match self {
            Transport::Remote(remote) => remote.limits(),
            Transport::Stdout(_) => ONE_AT_ONCE,
        }
    }

    /// Whether firing alerts must be sent again, since the receiver takes one that is not repeated for resolved.
    pub fn needs_refresh(&self) -> bool {
        match self {
            Transport::Remote(remote) => matches!(**remote, Remote::Alertmanager(_)),
            Transport::Stdout(_) => false,
        }
    }
}

impl Remote<'_> {
    fn limits(&self) -> Limits {
        match self {
            Remote::Webhook(webhook) => Limits {
                group: webhook.per_request(),
                time: webhook.endpoint.timeout(),
                ..ONE_AT_ONCE
            },
            Remote::Slack(endpoint) => Limits {
                group: slack::PER_MESSAGE,
                pace: slack::PACE,
                time: endpoint.timeout(),
            },
            Remote::Alertmanager(alertmanager) => Limits {
                time: alertmanager.timeout(),
                ..ONE_AT_ONCE
            },
            Remote::Exec(exec) => Limits {
                time: Duration::from_millis(exec.timeout_ms),
                ..ONE_AT_ONCE
            },
        }
    }

    pub fn send(&self, message: &Message) -> Result<(), Failure> {
        match self {
            Remote::Webhook(webhook) => webhook.send(message),
            Remote::Slack(endpoint) => slack::send(endpoint, message),
            Remote::Alertmanager(alertmanager) => alertmanager.send(message),
            Remote::Exec(exec) => message
                .contents()
                .try_for_each(|content| exec::run(exec, content)),
        }
    }

    /// Sends firing alerts again, see [`Transport::needs_refresh`].
    pub fn refresh(&self, firing: &[Notice], at: DateTime<Utc>) -> Result<(), Failure> {
        match self {
            Remote::Alertmanager(alertmanager) => alertmanager.hold(firing, at),
            Remote::Webhook(_) | Remote::Slack(_) | Remote::Exec(_) => Ok(()),
        }
    }
}
