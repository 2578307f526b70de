//! The delivery of waiting notices: each channel has a thread of its own, and several notices to one are sent
//! together where it can receive them.
//!
//! Delivery is at least once. An attempt is counted before it is made, and its success is saved after it. A run
//! that dies in between leaves the notice waiting; a later run sends it again under the same key, by which the
//! receiver recognizes it.
//!
//! No lock is held: a slow receiver must not delay the next check. Two runs at once send different notices, since each
//! counts an attempt only if no other has done so.

mod dispatcher;
mod lane;
mod report;
mod worker;

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use self::dispatcher::{ChannelLane, Dispatcher};
use self::lane::Budget;
pub(in crate::commands) use self::report::Report;
use crate::args::parse_duration;
use crate::commands::prelude::*;
use crate::domain::alert::channel::Channel;
use crate::domain::alert::delivery::{Delivery, DeliveryRun, Failure, Notice, is_worth_retrying};
use crate::domain::alert::notice::Content;
use crate::notify::{Message, Transport};
use crate::output::Format;
use crate::store::alerting::{channels, notices};

/// With waits of up to an hour, 20 attempts take half a day.
pub(in crate::commands) const MAX_ATTEMPTS: i32 = 20;

#[derive(Args, Clone, Copy, Debug)]
pub(in crate::commands) struct DeliverWithin {
    /// Time limit for sending notices; those left over are sent by the next run
    #[arg(long = "deliver-within", value_name = "DURATION", value_parser = parse_duration, default_value = "50s")]
    pub(in crate::commands) time: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(in crate::commands) struct Options {
    /// The number of failed attempts after which a notice is dropped.
    pub(in crate::commands) max_attempts: i32,
    /// Whether notices are sent before their next attempt is due.
    pub(in crate::commands) force: bool,
    /// Whether channels of kind stdout print to stderr, as stdout belongs to a program.
    pub(in crate::commands) to_stderr: bool,
    /// No request begins that is expected to end later, except the first of each channel.
    pub(in crate::commands) within: DeliverWithin,
}

/// Sends the due notices and saves each result.
pub(in crate::commands) fn deliver(
    context: &mut Context,
    db: &mut Db,
    options: Options,
) -> Result<Report> {
    let start = Instant::now();
    let (channels, waiting, mut earlier) = db.read_tx(|db| -> Result<_> {
        let waiting = notices::find_by_delivery(db, Delivery::Waiting)?;
        let earlier = notices::find_by_episodes(db, &episodes_of(&waiting))?;
        Ok((channels::all(db)?, waiting, earlier))
    })?;
    earlier.retain(Notice::may_have_arrived);
    let (transports, broken) = open(&channels);
    let not_before = channels.iter().map(|it| (it.name.clone(), it.not_before));
    let run = DeliveryRun::new(
        &waiting,
        not_before,
        context.now,
        options.max_attempts,
        options.force,
    );
    let lanes = transports.iter().map(|(channel, transport)| {
        let mut lane = ChannelLane::new(channel, transport, start);
        lane.lane.needs_refresh = transport.needs_refresh() && run.accepts(channel);
        lane
    });
    let mut dispatcher = Dispatcher {
        lanes: lanes.collect(),
        run,
        notices: waiting,
        earlier,
        budget: Budget::new(start, options.within.time),
        to_stderr: options.to_stderr,
        context,
        db,
    };
    dispatcher.plan(&broken)?;
    thread::scope(|scope| {
        let (sender, results) = mpsc::channel();
        let mut targets = Vec::new();
        for (lane, (_, transport)) in transports.iter().enumerate() {
            targets.push(worker::start(scope, transport, lane, sender.clone())?);
        }
        drop(sender);
        dispatcher.run(&targets, &results)
    })?;
    let notices = dispatcher.outcome();
    let mut failures = dispatcher.run.rejections;
    failures.extend(dispatcher.run.failures);
    Ok(Report {
        notices,
        failures,
        forced: options.force,
        at: context.time(),
    })
}

/// The transports of the channels, and the channels that cannot be used here, with the reason.
#[expect(clippy::type_complexity, reason = "a name would say no more")]
fn open(channels: &[Channel]) -> (Vec<(&str, Transport<'_>)>, Vec<(String, String)>) {
    let mut transports = Vec::new();
    let mut broken = Vec::new();
    for channel in channels {
        match Transport::open(channel) {
            Ok(transport) => transports.push((&channel.name[..], transport)),
            Err(reason) => broken.push((channel.name.clone(), reason)),
        }
    }
    (transports, broken)
}

/// Sends one notice through one channel, to test it.
pub(super) fn send_one(context: &mut Context, channel: &Channel, content: &Content) -> Result<()> {
    let failed = |reason: String| {
        let name = printable(&channel.name);
        let message = format!("the channel `{name}` failed: {reason}");
        Error::message(Exit::Unknown, message)
            .with_next("correct the channel, then run the same command again")
    };
    let transport = Transport::open(channel).map_err(&failed)?;
    let message = Message {
        notices: vec![Notice::new(content.clone(), 1, &channel.name)],
        earlier: Vec::new(),
        at: context.time(),
    };
    let sent = match &transport {
        Transport::Remote(remote) => remote.send(&message),
        Transport::Stdout(stdout) => {
            crate::notify::line(stdout, content).and_then(|line| print(context, &line, false))
        }
    };
    sent.map_err(|failure| {
        let detail = failure
            .detail
            .map(|detail| format!(" ({})", printable(&detail)));
        failed(failure.reason + &detail.unwrap_or_default())
    })
}

/// Sets dropped notices to waiting where they still matter. Returns their number.
pub(super) fn revive(db: &mut Db, dropped: &[Notice], now: DateTime<Utc>) -> Result<usize> {
    let of_episodes = notices::find_by_episodes(db, &episodes_of(dropped))?;
    let open = notices::open_episodes(db)?;
    let keys: Vec<&str> = dropped
        .iter()
        .filter(|notice| is_worth_retrying(notice, &of_episodes, &open))
        .map(|notice| notice.content.key.as_str())
        .collect();
    notices::set_waiting(db, &keys, now)?;
    Ok(keys.len())
}

fn episodes_of(notices: &[Notice]) -> BTreeSet<String> {
    let episodes = notices.iter().map(|notice| notice.episode.clone());
    episodes.collect()
}

/// Prints a notice, and flushes it before it counts as delivered.
fn print(context: &mut Context, line: &str, to_stderr: bool) -> Result<(), Failure> {
    if to_stderr || context.format != Format::Table {
        // Stdout belongs to a program; a line before its answer would break it.
        context.stderr_line(line);
        return Ok(());
    }
    let written = writeln!(context.stdout(), "{line}");
    written.map_err(Failure::of_channel)?;
    let flushed = context.flush();
    flushed.map_err(|_| Failure::of_channel("standard output is closed"))
}
