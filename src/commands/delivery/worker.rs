//! The thread of a channel: it sends what the dispatcher hands to it, one request after another.

use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, Scope};

use chrono::{DateTime, Utc};

use crate::commands::prelude::*;
use crate::domain::alert::channel::Stdout;
use crate::domain::alert::delivery::{Failure, Notice};
use crate::notify::{Message, Remote, Transport};

pub(super) enum Job {
    Send(Message),
    /// Sends firing alerts again.
    Refresh(Vec<Notice>, DateTime<Utc>),
}

pub(super) struct Done {
    /// The index of the channel's lane.
    pub(super) lane: usize,
    pub(super) result: Result<(), Failure>,
}

/// Where the dispatcher sends a channel's notices.
pub(super) enum Target<'a> {
    Worker(Sender<Job>),
    /// The main thread prints them.
    Stdout(&'a Stdout),
}

/// Starts the thread of a channel, which ends when the target is dropped.
pub(super) fn start<'scope, 'env: 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    transport: &'env Transport<'_>,
    lane: usize,
    results: Sender<Done>,
) -> Result<Target<'env>> {
    let remote: &Remote<'_> = match transport {
        Transport::Stdout(stdout) => return Ok(Target::Stdout(stdout)),
        Transport::Remote(remote) => remote,
    };
    let (sender, jobs) = mpsc::channel();
    let thread = thread::Builder::new();
    thread
        .spawn_scoped(scope, move || work(remote, lane, jobs, &results))
        .map_err(|error| Error::from(error).context("cannot start a thread for a channel"))?;
    Ok(Target::Worker(sender))
}

fn work(remote: &Remote<'_>, lane: usize, jobs: Receiver<Job>, results: &Sender<Done>) {
    for job in jobs {
        let result = match job {
            Job::Send(message) => remote.send(&message),
            Job::Refresh(firing, at) => remote.refresh(&firing, at),
        };
        if results.send(Done { lane, result }).is_err() {
            return;
        }
    }
}
