//! Delivery: waiting notices go to their channels, at least once, each under one key.
//!
//! A try is counted before it is made and its success noted after. Whoever dies between the two, or
//! loses the database there, sends the notice again under the same key, by which its receiver knows it.
//! Notices of one episode reach a channel in their order: while one waits, those after it wait too. A
//! channel that cannot be reached costs a run one time limit, however many notices wait for it.
//!
//! One file for each kind of channel. What they have in common when they speak HTTP is in `endpoint`.

mod alertmanager;
mod endpoint;
mod exec;
mod slack;
mod stdout;
mod webhook;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};

use crate::context::Context;
use crate::domain::alert::channel::{Channel, Exec, Settings, Stdout};
use crate::domain::alert::delivery::{self, Delivery, DropReason, Notice};
use crate::domain::alert::notice::Content;
use crate::domain::format::counted;
use crate::error::{Error, Exit, Outcome, Result};
use crate::output::alerts::deliveries::detail;
use crate::output::printable;
use crate::store::alerting::{channels, notices};
use crate::store::db::Db;

/// How much is tried.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// After so many failed tries a notice is dropped.
    pub max_attempts: i32,
    /// Whether notices are tried whose next try is not due yet.
    pub force: bool,
    /// Whether standard output belongs to a program: then what a channel prints goes to standard error.
    pub aside: bool,
}

/// With waits of up to an hour that is half a day of trouble.
pub const MAX_ATTEMPTS: i32 = 20;

impl Default for Options {
    fn default() -> Options {
        Options {
            max_attempts: MAX_ATTEMPTS,
            force: false,
            aside: false,
        }
    }
}

/// What became of the notices that waited.
#[derive(Debug, Default)]
pub struct Report {
    /// They, as they are now.
    pub notices: Vec<Notice>,
    /// Why a channel took no more, by its name.
    pub troubles: BTreeMap<String, String>,
}

impl Report {
    /// How many of them have come so far.
    pub fn count(&self, delivery: Delivery) -> u64 {
        let notices = self.notices.iter();
        notices.filter(|notice| notice.delivery == delivery).count() as u64
    }

    /// Notices that nobody has and nobody will get unless somebody acts. One that was superseded by the end
    /// of its episode is none: that end was told.
    fn lost(&self) -> impl Iterator<Item = &Notice> {
        self.notices.iter().filter(|notice| notice.is_lost())
    }

    /// How a command that delivered ends: [`Exit::Unknown`] if anything did not arrive.
    pub fn outcome(&self) -> Outcome {
        let gone = self
            .lost()
            .find(|notice| notice.drop_reason == Some(DropReason::NoChannel));
        if let Some(notice) = gone {
            let name = crate::error::shell_word(&notice.channel);
            let next = format!("usagectl alerts channel add {name} ..., which sends them");
            return Outcome::with_next(Exit::Unknown, next);
        }
        if self.lost().next().is_some() {
            return Outcome::with_next(Exit::Unknown, "usagectl alerts deliver --retry-dropped");
        }
        if self.count(Delivery::Waiting) > 0 || !self.troubles.is_empty() {
            return Outcome::with_next(Exit::Unknown, "usagectl alerts deliver");
        }
        Outcome::DONE
    }

    /// Says what people want to know.
    fn tell(&self, context: &mut Context) {
        for (channel, reason) in &self.troubles {
            let channel = printable(channel);
            let reason = printable(reason);
            context.warn(format_args!("the channel `{channel}` failed: {reason}"));
        }
        let waiting = self.count(Delivery::Waiting);
        if waiting > 0 {
            let due = self.notices.iter();
            let due = due.filter(|notice| notice.delivery == Delivery::Waiting);
            let next = due.map(|notice| notice.next_attempt_at).min();
            let next = next.map_or(String::new(), |at| {
                format!("; the next try is due at {}", at.format("%FT%TZ"))
            });
            context.warn(format_args!(
                "{} not delivered yet{next}",
                counted(waiting, "notice")
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

/// Why a notice did not arrive.
#[derive(Debug)]
struct Failure {
    reason: String,
    /// What may help whoever looks into it, and is not stored.
    detail: Option<String>,
    /// Whether the next notice would fare no better.
    channel_is_down: bool,
    /// How long the receiver wants to be left alone.
    retry_after: Option<TimeDelta>,
}

impl Failure {
    fn of_channel(reason: impl ToString) -> Failure {
        Failure {
            reason: reason.to_string(),
            detail: None,
            channel_is_down: true,
            retry_after: None,
        }
    }

    fn of_notice(reason: impl ToString) -> Failure {
        Failure {
            channel_is_down: false,
            ..Failure::of_channel(reason)
        }
    }
}

/// A channel with its secrets read, ready to be spoken to.
enum Receiver<'a> {
    Webhook(webhook::Receiver),
    Slack(endpoint::Endpoint),
    Alertmanager(alertmanager::Receiver<'a>),
    Exec(&'a Exec),
    Stdout(&'a Stdout),
}

impl<'a> Receiver<'a> {
    /// Reads the secrets. An error is something to put right here, not the receiver's fault.
    fn open(channel: &'a Channel) -> Result<Receiver<'a>, String> {
        match &channel.settings {
            None => Err("its settings cannot be read: add it again".to_owned()),
            Some(Settings::Webhook(settings)) => {
                webhook::Receiver::open(settings).map(Receiver::Webhook)
            }
            Some(Settings::Slack(settings)) => {
                endpoint::Endpoint::open(settings, "").map(Receiver::Slack)
            }
            Some(Settings::Alertmanager(settings)) => {
                alertmanager::Receiver::open(settings).map(Receiver::Alertmanager)
            }
            Some(Settings::Exec(exec)) => Ok(Receiver::Exec(exec)),
            Some(Settings::Stdout(stdout)) => Ok(Receiver::Stdout(stdout)),
        }
    }

    /// Sends one notice. `earlier` are those of its episode that this channel may have got before.
    fn send(
        &self,
        context: &mut Context,
        content: &Content,
        earlier: &[&Notice],
        aside: bool,
    ) -> Result<(), Failure> {
        match self {
            Receiver::Webhook(webhook) => webhook.send(content, context.now),
            Receiver::Slack(endpoint) => slack::send(endpoint, content),
            Receiver::Alertmanager(alertmanager) => {
                alertmanager.send(content, earlier, context.now)
            }
            Receiver::Exec(exec) => exec::run(exec, content),
            Receiver::Stdout(stdout) => stdout::print(context, stdout, content, aside),
        }
    }
}

/// Sends what waits, and tells people what did not arrive.
///
/// The caller holds the lock of [`crate::store::lock::RunKind::Alerts`]: two that deliver would send
/// the same notices.
pub fn deliver(context: &mut Context, db: &mut Db, options: &Options) -> Result<Report> {
    let channels = channels::all(db)?;
    let waiting = notices::find_by_delivery(db, Delivery::Waiting)?;
    let mut run = Run {
        options,
        receivers: HashMap::new(),
        earlier: earlier(db, &waiting)?,
        blocked: HashSet::new(),
        report: Report::default(),
    };
    for channel in &channels {
        run.receivers.insert(&channel.name, Receiver::open(channel));
    }
    let superseded = delivery::superseded(&waiting);
    for mut notice in waiting {
        if superseded.contains(&notice.content.key) {
            drop_one(db, &mut notice, DropReason::Superseded)?;
        } else if !run.receivers.contains_key(notice.channel.as_str()) {
            drop_one(db, &mut notice, DropReason::NoChannel)?;
        } else {
            run.consider(context, db, &mut notice)?;
        }
        run.report.notices.push(notice);
    }
    run.hold_firing_alerts(context, db)?;
    run.report.tell(context);
    Ok(run.report)
}

/// Sends one notice through one channel, for whoever wants to see whether it arrives.
pub fn send_one(context: &mut Context, channel: &Channel, content: &Content) -> Result<()> {
    let failed = |reason: String| {
        let name = printable(&channel.name);
        let message = format!("the channel `{name}` failed: {reason}");
        Error::message(Exit::Unknown, message)
            .with_next("put that right, then run the same command again")
    };
    let receiver = Receiver::open(channel).map_err(&failed)?;
    let sent = receiver.send(context, content, &[], false);
    sent.map_err(|failure| {
        let detail = failure
            .detail
            .map(|detail| format!(" ({})", printable(&detail)));
        failed(failure.reason + &detail.unwrap_or_default())
    })
}

/// What went out before, of the episodes that something waits of.
fn earlier(db: &mut Db, waiting: &[Notice]) -> Result<Vec<Notice>> {
    let episodes: BTreeSet<String> = waiting
        .iter()
        .map(|notice| notice.content.episode.clone())
        .collect();
    let found = notices::find_by_episodes(db, &episodes)?;
    Ok(found.into_iter().filter(Notice::may_have_arrived).collect())
}

fn drop_one(db: &mut Db, notice: &mut Notice, reason: DropReason) -> Result<()> {
    notices::set_dropped(db, &[&notice.content.key], reason)?;
    notice.delivery = Delivery::Dropped;
    notice.drop_reason = Some(reason);
    Ok(())
}

/// One run of [`deliver`].
struct Run<'a> {
    options: &'a Options,
    receivers: HashMap<&'a str, Result<Receiver<'a>, String>>,
    earlier: Vec<Notice>,
    /// Episodes of which something waits for a channel.
    blocked: HashSet<(String, String)>,
    report: Report,
}

impl Run<'_> {
    fn consider(&mut self, context: &mut Context, db: &mut Db, notice: &mut Notice) -> Result<()> {
        let episode = (notice.channel.clone(), notice.content.episode.clone());
        let due = self.options.force || notice.is_due(context.now);
        let channel_is_down = self.report.troubles.contains_key(&notice.channel);
        if due && !channel_is_down && !self.blocked.contains(&episode) {
            self.try_once(context, db, notice)?;
        }
        if notice.delivery == Delivery::Waiting {
            self.blocked.insert(episode);
        }
        Ok(())
    }

    fn try_once(&mut self, context: &mut Context, db: &mut Db, notice: &mut Notice) -> Result<()> {
        let key = notice.content.key.clone();
        let receiver = match self.receivers.get(notice.channel.as_str()) {
            Some(Ok(receiver)) => receiver,
            Some(Err(reason)) => {
                // No try: the notice has time until somebody puts it right.
                notices::set_failed(db, &key, reason, context.now)?;
                notice.error = Some(reason.clone());
                let channel = notice.channel.clone();
                self.report.troubles.insert(channel, reason.clone());
                return Ok(());
            }
            None => return Ok(()),
        };
        notice.attempts = notice.attempts.saturating_add(1);
        let wait = delivery::backoff(&key, notice.attempts);
        notice.next_attempt_at = later(context.now, wait);
        notices::count_attempt(db, &key, notice.next_attempt_at)?;
        let earlier: Vec<&Notice> = self
            .earlier
            .iter()
            .filter(|earlier| {
                earlier.channel == notice.channel
                    && earlier.content.episode == notice.content.episode
                    && earlier.content.key != key
            })
            .collect();
        match receiver.send(context, &notice.content, &earlier, self.options.aside) {
            Ok(()) => {
                let noted = notices::set_delivered(db, &key, context.now);
                noted.map_err(|error| {
                    Error::from(error).context(
                        "a notice was sent, but this cannot be noted: it will be sent again under the same key",
                    )
                })?;
                notice.delivery = Delivery::Delivered;
                notice.delivered_at = Some(context.now);
                notice.error = None;
                self.earlier.push(notice.clone());
            }
            Err(failure) => self.note_failure(context, db, notice, failure)?,
        }
        Ok(())
    }

    fn note_failure(
        &mut self,
        context: &mut Context,
        db: &mut Db,
        notice: &mut Notice,
        failure: Failure,
    ) -> Result<()> {
        let key = notice.content.key.clone();
        if let Some(detail) = failure.detail {
            let (channel, detail) = (printable(&notice.channel), printable(&detail));
            context.detail(format_args!("the channel `{channel}` says: {detail}"));
        }
        if let Some(wait) = failure.retry_after {
            notice.next_attempt_at = notice.next_attempt_at.max(later(context.now, wait));
        }
        notices::set_failed(db, &key, &failure.reason, notice.next_attempt_at)?;
        notice.error = Some(failure.reason.clone());
        if notice.attempts >= self.options.max_attempts {
            drop_one(db, notice, DropReason::GaveUp)?;
        }
        if failure.channel_is_down {
            let channel = notice.channel.clone();
            self.report.troubles.insert(channel, failure.reason);
        }
        Ok(())
    }

    /// Sends to each Alertmanager what still fires: it takes silence for an end.
    fn hold_firing_alerts(&mut self, context: &mut Context, db: &mut Db) -> Result<()> {
        let holders: Vec<&str> = self
            .receivers
            .iter()
            .filter(|(name, receiver)| {
                matches!(receiver, Ok(Receiver::Alertmanager(_)))
                    && !self.report.troubles.contains_key(**name)
            })
            .map(|(name, _)| *name)
            .collect();
        if holders.is_empty() {
            return Ok(());
        }
        let open = notices::find_open_episode_notices(db)?;
        for name in holders {
            let of_channel: Vec<&Notice> = open
                .iter()
                .filter(|notice| notice.channel == name)
                .collect();
            let mut firing = delivery::still_firing(&of_channel);
            // What was told in this run need not be told again.
            let told = &self.report.notices;
            firing.retain(|notice| {
                told.iter()
                    .all(|told| told.content.key != notice.content.key)
            });
            let Some(Ok(Receiver::Alertmanager(receiver))) = self.receivers.get(name) else {
                continue;
            };
            if firing.is_empty() {
                continue;
            }
            match receiver.hold(&firing, context.now) {
                Ok(()) => context.detail(format_args!(
                    "{} told to `{}` again",
                    counted(firing.len() as u64, "firing alert"),
                    printable(name)
                )),
                Err(failure) => {
                    let reason = failure.reason;
                    self.report.troubles.insert(name.to_owned(), reason);
                }
            }
        }
        Ok(())
    }
}

/// A moment after another; the last there is, if that is too far.
fn later(at: DateTime<Utc>, by: TimeDelta) -> DateTime<Utc> {
    at.checked_add_signed(by)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}
