//! The delivery loop: sends waiting notices through their channels and saves the results.
//!
//! Delivery is at least once. An attempt is counted before it is made, and its success is saved after it. A run
//! that dies in between leaves the notice waiting; the next run sends it again under the same key, by which the
//! receiver recognizes it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;

use chrono::{DateTime, Utc};

use crate::commands::prelude::*;
use crate::domain::alert::channel::Channel;
use crate::domain::alert::delivery::{
    self, Delivery, DeliveryRun, DropReason, Failure, NextStep, Notice, is_worth_retrying,
};
use crate::domain::alert::notice::Content;
use crate::domain::format::{self, counted};
use crate::error::shell_word;
use crate::notify::{Message, Transport};
use crate::output::Format;
use crate::output::alerts::deliveries::detail;
use crate::store::alerting::{channels, notices};

/// With waits of up to an hour, 20 attempts take half a day.
pub(super) const MAX_ATTEMPTS: i32 = 20;

#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    /// The number of failed attempts after which a notice is dropped.
    pub(super) max_attempts: i32,
    /// Whether notices are sent before their next attempt is due.
    pub(super) force: bool,
    /// Whether channels of kind stdout print to stderr, as stdout belongs to a program.
    pub(super) to_stderr: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            max_attempts: MAX_ATTEMPTS,
            force: false,
            to_stderr: false,
        }
    }
}

/// The result of a delivery run.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The notices that were waiting, as they are now.
    pub(super) notices: Vec<Notice>,
    /// The channels that failed, with the reason.
    failures: BTreeMap<String, String>,
}

impl Report {
    pub(super) fn count(&self, delivery: Delivery) -> u64 {
        let notices = self.notices.iter();
        notices.filter(|notice| notice.delivery == delivery).count() as u64
    }

    fn lost(&self) -> impl Iterator<Item = &Notice> {
        self.notices.iter().filter(|notice| notice.is_lost())
    }

    /// [`Exit::Unknown`] if a notice was not delivered or a channel failed.
    pub(super) fn outcome(&self) -> Outcome {
        let mut lost = self.lost();
        if let Some(notice) = lost.find(|it| it.drop_reason == Some(DropReason::NoChannel)) {
            let name = shell_word(&notice.channel);
            let next = format!("usagectl alerts channel add {name} ..., which sends them");
            return Outcome::with_next(Exit::Unknown, next);
        }
        if self.lost().next().is_some() {
            return Outcome::with_next(Exit::Unknown, "usagectl alerts deliver --retry-dropped");
        }
        if self.count(Delivery::Waiting) > 0 || !self.failures.is_empty() {
            return Outcome::with_next(Exit::Unknown, "usagectl alerts deliver");
        }
        Outcome::DONE
    }

    /// Warns of failed channels, and of notices that wait or were dropped.
    fn warn(&self, context: &mut Context) {
        for (channel, reason) in &self.failures {
            let (channel, reason) = (printable(channel), printable(reason));
            context.warn(format_args!("the channel `{channel}` failed: {reason}"));
        }
        let waiting = self.notices.iter();
        let waiting = waiting.filter(|notice| notice.delivery == Delivery::Waiting);
        if let Some(next) = waiting.map(|notice| notice.next_attempt_at).min() {
            context.warn(format_args!(
                "{} not delivered yet; next attempt at {}",
                counted(self.count(Delivery::Waiting), "notice"),
                format::time(next)
            ));
        }
        let mut dropped: BTreeMap<(&str, String), u64> = BTreeMap::new();
        for notice in self.lost() {
            let reason = detail(notice).unwrap_or_default();
            *dropped.entry((&notice.channel, reason)).or_default() += 1;
        }
        for ((channel, reason), count) in dropped {
            let (channel, reason) = (printable(channel), printable(&reason));
            let count = counted(count, "notice");
            context.warn(format_args!("{count} to `{channel}` dropped: {reason}"));
        }
    }
}

/// Sends the due notices, saves each result, and warns of undelivered notices.
///
/// The caller holds the lock of [`crate::store::lock::RunKind::Alerts`]: two runs at once would send the same
/// notices.
pub(super) fn deliver(context: &mut Context, db: &mut Db, options: Options) -> Result<Report> {
    let (channels, waiting, mut earlier) = db.read_tx(|db| -> Result<_> {
        let waiting = notices::find_by_delivery(db, Delivery::Waiting)?;
        let earlier = notices::find_by_episodes(db, &episodes_of(&waiting))?;
        Ok((channels::all(db)?, waiting, earlier))
    })?;
    earlier.retain(Notice::may_have_arrived);
    let mut sender = Sender {
        options,
        run: DeliveryRun::new(
            &waiting,
            channels.iter().map(|channel| channel.name.clone()),
            context.now,
            options.max_attempts,
            options.force,
        ),
        transports: channels
            .iter()
            .map(|channel| (channel.name.as_str(), Transport::open(channel)))
            .collect(),
        earlier,
    };
    let mut notices = waiting;
    for notice in &mut notices {
        match sender.run.next_step(notice) {
            NextStep::Send => sender.send(context, db, notice)?,
            NextStep::Drop(reason) => {
                notice.drop_for(reason);
                notices::set_dropped(db, &[&notice.content.key], reason)?;
            }
            NextStep::Wait => {}
        }
        sender.run.finish(notice);
    }
    sender.refresh_firing(context, db, &notices)?;
    let report = Report {
        notices,
        failures: sender.run.failures,
    };
    report.warn(context);
    Ok(report)
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
        content,
        earlier: &[],
        now: context.now,
    };
    let sent = transport.send(message, &mut |line| print(context, line, false));
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

/// One delivery run.
struct Sender<'a> {
    options: Options,
    run: DeliveryRun,
    transports: HashMap<&'a str, Result<Transport<'a>, String>>,
    /// The notices that may have arrived, of the episodes that have waiting ones.
    earlier: Vec<Notice>,
}

impl Sender<'_> {
    fn send(&mut self, context: &mut Context, db: &mut Db, notice: &mut Notice) -> Result<()> {
        let key = notice.content.key.clone();
        let transport = match self.transports.get(notice.channel.as_str()) {
            Some(Ok(transport)) => transport,
            Some(Err(reason)) => {
                // A setting is wrong here; that costs the notice no attempt.
                notices::set_failed(db, &key, reason, context.now)?;
                notice.error = Some(reason.clone());
                self.run.fail_channel(&notice.channel, reason);
                return Ok(());
            }
            None => return Ok(()),
        };
        self.run.count_attempt(notice);
        notices::count_attempt(db, &key, notice.next_attempt_at)?;
        let earlier = self.earlier.iter().filter(|earlier| {
            earlier.channel == notice.channel
                && earlier.content.episode == notice.content.episode
                && earlier.content.key != key
        });
        let earlier: Vec<&Notice> = earlier.collect();
        let message = Message {
            content: &notice.content,
            earlier: &earlier,
            now: context.now,
        };
        let to_stderr = self.options.to_stderr;
        db.renew_lock()?;
        let result = transport.send(message, &mut |line| print(context, line, to_stderr));
        self.run.record_attempt(notice, result.as_ref().map(drop));
        let Err(failure) = result else {
            let saved = notices::set_delivered(db, &key, context.now);
            saved.map_err(|error| {
                Error::from(error).context(
                    "a notice was sent, but this could not be saved: it will be sent again under the same key",
                )
            })?;
            self.earlier.push(notice.clone());
            return Ok(());
        };
        if let Some(detail) = &failure.detail {
            let (channel, detail) = (printable(&notice.channel), printable(detail));
            context.detail(format_args!("the channel `{channel}` answered: {detail}"));
        }
        notices::set_failed(db, &key, &failure.reason, notice.next_attempt_at)?;
        if let Some(reason) = notice.drop_reason {
            notices::set_dropped(db, &[&key], reason)?;
        }
        Ok(())
    }

    /// Sends firing alerts to each Alertmanager again: it takes an alert that is not repeated for resolved.
    fn refresh_firing(
        &mut self,
        context: &mut Context,
        db: &mut Db,
        handled: &[Notice],
    ) -> Result<()> {
        let mut open = None;
        for (name, transport) in &self.transports {
            let Ok(Transport::Alertmanager(alertmanager)) = transport else {
                continue;
            };
            if self.run.failures.contains_key(*name) {
                continue;
            }
            let open = match &mut open {
                Some(open) => open,
                None => open.insert(notices::find_open_episode_notices(db)?),
            };
            let of_channel: Vec<&Notice> = open.iter().filter(|it| it.channel == *name).collect();
            let mut firing = delivery::still_firing(&of_channel);
            let sent = |key: &str| handled.iter().any(|notice| notice.content.key == key);
            firing.retain(|notice| !sent(&notice.content.key));
            if firing.is_empty() {
                continue;
            }
            db.renew_lock()?;
            match alertmanager.hold(&firing, context.now) {
                Ok(()) => context.detail(format_args!(
                    "{} sent to `{}` again",
                    counted(firing.len() as u64, "firing alert"),
                    printable(name)
                )),
                Err(failure) => self.run.fail_channel(name, &failure.reason),
            }
        }
        Ok(())
    }
}
