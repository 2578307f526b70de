//! The main thread of a delivery run: it hands notices to the threads of their channels and saves the results. Only
//! it uses the database.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use chrono::TimeDelta;

use super::lane::{Budget, Lane, Step};
use super::print;
use super::worker::{Done, Job, Target};
use crate::commands::prelude::*;
use crate::domain::alert::delivery::{
    self, Delivery, DeliveryRun, DropReason, Failure, NextStep, Notice, later,
};
use crate::domain::format::counted;
use crate::notify::{Message, Transport};
use crate::store::alerting::{channels, notices};

/// The time after a request's own limit in which its result is saved. Until then no other run sends its notices.
const CLAIM_MARGIN: TimeDelta = TimeDelta::seconds(10);

pub(super) struct ChannelLane {
    pub(super) channel: String,
    pub(super) lane: Lane,
    /// The indices of the notices of its request.
    sent: Vec<usize>,
}

pub(super) struct Dispatcher<'a> {
    pub(super) context: &'a mut Context,
    pub(super) db: &'a mut Db,
    pub(super) run: DeliveryRun,
    pub(super) notices: Vec<Notice>,
    /// The notices that may have arrived, of the episodes that have waiting ones.
    pub(super) earlier: Vec<Notice>,
    pub(super) lanes: Vec<ChannelLane>,
    pub(super) budget: Budget,
    /// Whether channels of kind stdout print to stderr.
    pub(super) to_stderr: bool,
}

impl ChannelLane {
    pub(super) fn new(channel: &str, transport: &Transport<'_>, start: Instant) -> ChannelLane {
        ChannelLane {
            channel: channel.to_owned(),
            lane: Lane::new(transport.limits(), start),
            sent: Vec::new(),
        }
    }
}

impl Dispatcher<'_> {
    /// Queues the notices that are due. `broken` holds the channels that cannot be used here, with the reason.
    pub(super) fn plan(&mut self, broken: &[(String, String)]) -> Result<()> {
        for index in 0..self.notices.len() {
            let notice = &mut self.notices[index];
            match self.run.next_step(notice) {
                NextStep::Send => {
                    let mut lanes = self.lanes.iter_mut();
                    if let Some(it) = lanes.find(|it| it.channel == notice.channel) {
                        it.lane.queue.push_back(index);
                        continue;
                    }
                    self.fail_setting(index, broken)?;
                }
                NextStep::Drop(reason) => {
                    notice.drop_for(reason);
                    let key = [&notice.content.key];
                    match reason {
                        DropReason::Superseded => {
                            notices::set_superseded(self.db, &key, self.context.now)?;
                        }
                        _ => notices::set_dropped(self.db, &key, reason)?,
                    }
                }
                NextStep::Wait => {}
            }
            self.run.finish(&self.notices[index]);
        }
        Ok(())
    }

    /// Records that a setting is wrong here; that costs the notice no attempt.
    fn fail_setting(&mut self, index: usize, broken: &[(String, String)]) -> Result<()> {
        let notice = &mut self.notices[index];
        if let Some((channel, reason)) = broken.iter().find(|(it, _)| *it == notice.channel) {
            notice.error = Some(reason.clone());
            notice.next_attempt_at = self.context.now;
            notices::set_failed(self.db, notice)?;
            self.run.fail_channel(channel, reason);
        }
        Ok(())
    }

    /// Sends the queued notices, until all lanes are done.
    pub(super) fn run(&mut self, targets: &[Target<'_>], results: &Receiver<Done>) -> Result<()> {
        loop {
            let mut is_busy = false;
            let mut wake: Option<Instant> = None;
            for (index, target) in targets.iter().enumerate() {
                match self.advance(index, target)? {
                    Step::Send | Step::Done => {}
                    Step::Busy => is_busy = true,
                    Step::WaitUntil(at) => wake = Some(wake.map_or(at, |wake| wake.min(at))),
                }
            }
            if !is_busy && wake.is_none() {
                return Ok(());
            }
            if let Some(done) = receive(results, wake)? {
                self.finish(done)?;
            }
        }
    }

    /// Hands requests to a lane's target until it must wait.
    fn advance(&mut self, index: usize, target: &Target<'_>) -> Result<Step> {
        loop {
            let lane = &self.lanes[index].lane;
            match lane.step(Instant::now(), self.budget) {
                Step::Send => self.send(index, target)?,
                step => return Ok(step),
            }
        }
    }

    fn send(&mut self, index: usize, target: &Target<'_>) -> Result<()> {
        let picked = self.pick(index);
        if picked.is_empty() {
            return self.refresh(index, target);
        }
        let claimed = self.claim(index, picked)?;
        if claimed.is_empty() {
            return Ok(());
        }
        let message = self.message(&claimed);
        self.lanes[index].sent = claimed;
        self.lanes[index].lane.begin(Instant::now());
        match target {
            Target::Worker(jobs) => hand(jobs.send(Job::Send(message))),
            Target::Stdout(stdout) => {
                let result = message.notices.iter().try_for_each(|notice| {
                    let line = crate::notify::line(stdout, &notice.content)?;
                    print(self.context, &line, self.to_stderr)
                });
                self.finish(Done {
                    lane: index,
                    result,
                })
            }
        }
    }

    /// Takes the notices of the next request from the queue.
    fn pick(&mut self, index: usize) -> Vec<usize> {
        let lane = &mut self.lanes[index].lane;
        let mut picked = Vec::new();
        while picked.len() < lane.group() {
            let Some(notice) = lane.queue.pop_front() else {
                break;
            };
            if self.run.is_unblocked(&self.notices[notice]) {
                picked.push(notice);
            }
        }
        picked
    }

    /// Counts the attempts that are about to be made. Notices that another run has claimed are left to it.
    fn claim(&mut self, index: usize, picked: Vec<usize>) -> Result<Vec<usize>> {
        let limit = TimeDelta::from_std(self.lanes[index].lane.time_limit());
        let limit = limit.unwrap_or(TimeDelta::MAX);
        let until = later(later(self.context.time(), limit), CLAIM_MARGIN);
        let (run, all) = (&mut self.run, &mut self.notices);
        self.db.write_tx(|db| {
            let mut claimed = Vec::new();
            for index in picked {
                let notice = &mut all[index];
                let mut counted = notice.clone();
                run.count_attempt(&mut counted);
                if notices::claim(db, notice, until.max(counted.next_attempt_at))? {
                    *notice = counted;
                    claimed.push(index);
                } else {
                    run.leave_to_other_run(notice);
                }
            }
            Ok(claimed)
        })
    }

    fn message(&self, claimed: &[usize]) -> Message {
        let notices = claimed.iter().map(|index| self.notices[*index].clone());
        let notices: Vec<Notice> = notices.collect();
        let is_earlier = |earlier: &&Notice| {
            notices.iter().any(|notice| {
                earlier.channel == notice.channel
                    && earlier.content.episode == notice.content.episode
                    && earlier.content.key != notice.content.key
            })
        };
        Message {
            earlier: self.earlier.iter().filter(is_earlier).cloned().collect(),
            at: self.context.time(),
            notices,
        }
    }

    /// Sends the firing alerts of a lane again, except those sent in this run.
    fn refresh(&mut self, index: usize, target: &Target<'_>) -> Result<()> {
        let ChannelLane { channel, lane, .. } = &mut self.lanes[index];
        let is_wanted = std::mem::take(&mut lane.needs_refresh);
        let Target::Worker(jobs) = target else {
            return Ok(());
        };
        if !is_wanted || self.run.failures.contains_key(channel) {
            return Ok(());
        }
        let open = notices::find_open_episode_notices(self.db)?;
        let of_channel: Vec<&Notice> = open.iter().filter(|it| it.channel == *channel).collect();
        let handled = |key: &str| self.notices.iter().any(|it| it.content.key == key);
        let firing = delivery::still_firing(&of_channel).into_iter();
        let firing: Vec<Notice> = firing
            .filter(|notice| !handled(&notice.content.key))
            .cloned()
            .collect();
        if firing.is_empty() {
            return Ok(());
        }
        self.context.detail(format_args!(
            "sending {} to `{}` again",
            counted(firing.len() as u64, "firing alert"),
            printable(channel)
        ));
        lane.begin(Instant::now());
        hand(jobs.send(Job::Refresh(firing, self.context.time())))
    }

    fn finish(&mut self, done: Done) -> Result<()> {
        let sent = std::mem::take(&mut self.lanes[done.lane].sent);
        match done.result {
            Ok(()) => {
                self.lanes[done.lane].lane.succeed(Instant::now());
                self.deliver(&sent)
            }
            Err(failure) => self.fail(done.lane, &sent, &failure),
        }
    }

    fn deliver(&mut self, sent: &[usize]) -> Result<()> {
        let at = self.context.time();
        for index in sent {
            let notice = &mut self.notices[*index];
            self.run.record_attempt(notice, Ok(()), at);
            self.earlier.push(notice.clone());
        }
        let delivered = &self.notices;
        let saved = self.db.write_tx(|db| {
            let mut keys = sent.iter().map(|index| &delivered[*index].content.key);
            keys.try_for_each(|key| notices::set_delivered(db, key, at))
        });
        saved.map_err(|error| {
            Error::from(error).context(
                "a notice was sent, but this could not be saved: it will be sent again under the same key",
            )
        })
    }

    fn fail(&mut self, index: usize, sent: &[usize], failure: &Failure) -> Result<()> {
        let ChannelLane { channel, lane, .. } = &mut self.lanes[index];
        let again = lane.fail(sent, failure, Instant::now(), self.budget);
        let again = again.and_then(|wait| TimeDelta::from_std(wait).ok());
        if let Some(detail) = &failure.detail {
            let (channel, detail) = (printable(channel), printable(detail));
            let answered = format_args!("the channel `{channel}` answered: {detail}");
            self.context.detail(answered);
        }
        let now = self.context.time();
        if again.is_none() && failure.channel_is_down {
            self.run.fail_channel(channel, &failure.reason);
        }
        if let Some(wait) = failure.retry_after {
            let at = later(now, wait);
            self.run.postpone(channel, at);
            channels::set_not_before(self.db, channel, at)?;
        }
        for index in sent {
            let notice = &mut self.notices[*index];
            if let Some(wait) = again {
                notice.error = Some(failure.reason.clone());
                notice.next_attempt_at = later(now, wait);
            } else {
                self.run.record_attempt(notice, Err(failure), now);
                self.run.finish(notice);
            }
        }
        let failed = &self.notices;
        self.db.write_tx(|db| {
            let mut failed = sent.iter().map(|index| &failed[*index]);
            failed.try_for_each(|notice| save_failure(db, notice))
        })
    }

    /// The notices as they are now, without those that another run is sending.
    pub(super) fn outcome(&mut self) -> Vec<Notice> {
        let mut notices = std::mem::take(&mut self.notices);
        notices.retain(|notice| {
            notice.delivery != Delivery::Waiting || !self.run.is_left_to_other_run(notice)
        });
        for notice in &mut notices {
            notice.next_attempt_at = self.run.next_attempt_at(notice);
        }
        notices
    }
}

fn save_failure(db: &mut Db, notice: &Notice) -> Result<()> {
    notices::set_failed(db, notice)?;
    if let Some(reason) = notice.drop_reason {
        notices::set_dropped(db, &[&notice.content.key], reason)?;
    }
    Ok(())
}

/// Waits for a result, until `wake` if that is given.
fn receive(results: &Receiver<Done>, wake: Option<Instant>) -> Result<Option<Done>> {
    let Some(wake) = wake else {
        return hand(results.recv()).map(Some);
    };
    match results.recv_timeout(wake.saturating_duration_since(Instant::now())) {
        Err(RecvTimeoutError::Timeout) => Ok(None),
        received => hand(received).map(Some),
    }
}

/// The failure of a channel between threads: the other thread has panicked.
fn hand<T, E>(handed: Result<T, E>) -> Result<T> {
    handed.map_err(|_| Error::message(Exit::Failed, "a thread of the delivery has failed"))
}
