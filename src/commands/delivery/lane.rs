//! The lane of a channel in a delivery run: its notices in order, and when its next request may begin.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::domain::alert::delivery::Failure;
use crate::notify::Limits;

/// The longest `Retry-After` that is waited for within a run.
const SHORT_WAIT: Duration = Duration::from_secs(5);

/// The wait after an answer with `Retry-After: 0`.
const LEAST_WAIT: Duration = Duration::from_secs(1);

/// The number of waits without a success in between, after which the channel has failed: a receiver that refuses
/// every request must not use up the attempts of a notice in one run.
const MAX_WAITS: u32 = 3;

#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// `None` is no limit.
    end: Option<Instant>,
}

impl Budget {
    pub(super) fn new(start: Instant, time: Duration) -> Budget {
        Budget {
            end: start.checked_add(time),
        }
    }

    /// Whether a request that takes up to `time` ends within the budget.
    fn allows(self, start: Instant, time: Duration) -> bool {
        let end = start.checked_add(time);
        self.end
            .is_none_or(|limit| end.is_some_and(|end| end <= limit))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Send,
    WaitUntil(Instant),
    /// Its request has no answer yet.
    Busy,
    Done,
}

#[derive(Debug)]
pub(super) struct Lane {
    /// The indices of the notices to be sent.
    pub(super) queue: VecDeque<usize>,
    /// Whether its firing alerts are sent again after the queue.
    pub(super) needs_refresh: bool,
    limits: Limits,
    ready_at: Instant,
    begun_at: Instant,
    is_busy: bool,
    has_sent: bool,
    /// The longest time until an answer.
    slowest: Option<Duration>,
    one_by_one: bool,
    waits: u32,
}

impl Lane {
    pub(super) fn new(limits: Limits, start: Instant) -> Lane {
        Lane {
            queue: VecDeque::new(),
            needs_refresh: false,
            limits,
            ready_at: start,
            begun_at: start,
            is_busy: false,
            has_sent: false,
            slowest: None,
            one_by_one: false,
            waits: 0,
        }
    }

    pub(super) fn time_limit(&self) -> Duration {
        self.limits.time
    }

    /// The maximum number of notices in the next request.
    pub(super) fn group(&self) -> usize {
        if self.one_by_one {
            1
        } else {
            self.limits.group
        }
    }

    /// The time that its next request is expected to take, by the answers so far.
    fn expected(&self) -> Duration {
        let expected = self.slowest.map(|slowest| slowest * 2 + LEAST_WAIT);
        expected.map_or(self.limits.time, |it| it.min(self.limits.time))
    }

    fn end(&mut self, now: Instant) {
        self.is_busy = false;
        let time = now.saturating_duration_since(self.begun_at);
        self.slowest = self.slowest.max(Some(time));
    }

    /// The next step. No request begins that is expected to end after the budget, except the first.
    pub(super) fn step(&self, now: Instant, budget: Budget) -> Step {
        if self.is_busy {
            return Step::Busy;
        }
        if self.queue.is_empty() && !self.needs_refresh {
            return Step::Done;
        }
        let start = self.ready_at.max(now);
        if self.has_sent && !budget.allows(start, self.expected()) {
            Step::Done
        } else if start > now {
            Step::WaitUntil(start)
        } else {
            Step::Send
        }
    }

    pub(super) fn begin(&mut self, now: Instant) {
        self.is_busy = true;
        self.has_sent = true;
        self.begun_at = now;
        self.ready_at = now + self.limits.pace;
    }

    pub(super) fn succeed(&mut self, now: Instant) {
        self.end(now);
        self.waits = 0;
    }

    /// Records the failure of a request. If its notices can be sent again in this run, puts them back and returns
    /// the wait, which is zero for a rejected group: its notices are sent one by one.
    pub(super) fn fail(
        &mut self,
        sent: &[usize],
        failure: &Failure,
        now: Instant,
        budget: Budget,
    ) -> Option<Duration> {
        self.end(now);
        let wait = if sent.is_empty() {
            return None;
        } else if failure.channel_is_down {
            self.short_wait(failure, now, budget)?
        } else if sent.len() > 1 {
            self.one_by_one = true;
            Duration::ZERO
        } else {
            return None;
        };
        for index in sent.iter().rev() {
            self.queue.push_front(*index);
        }
        Some(wait)
    }

    /// The wait that the receiver asks for, if it is short enough.
    fn short_wait(&mut self, failure: &Failure, now: Instant, budget: Budget) -> Option<Duration> {
        let wait = failure.retry_after?.to_std().ok()?.max(LEAST_WAIT);
        if wait > SHORT_WAIT || self.waits == MAX_WAITS {
            return None;
        }
        let start = self.ready_at.max(now + wait);
        if !budget.allows(start, self.expected()) {
            return None;
        }
        self.waits += 1;
        self.ready_at = start;
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn lane(start: Instant) -> Lane {
        let limits = Limits {
            group: 100,
            pace: seconds(1),
            time: seconds(10),
        };
        let mut lane = Lane::new(limits, start);
        lane.queue.extend([0, 1, 2]);
        lane
    }

    fn busy(retry_after: i64) -> Failure {
        Failure {
            retry_after: Some(TimeDelta::seconds(retry_after)),
            ..Failure::of_channel("busy")
        }
    }

    #[test]
    fn only_the_first_request_may_end_after_the_budget() {
        let start = Instant::now();
        let mut lane = lane(start);
        let short = Budget::new(start, seconds(5));
        assert_eq!(lane.step(start, short), Step::Send);
        lane.begin(start);
        assert_eq!(lane.step(start, short), Step::Busy);
        // Its answer took 2 s: the next is expected within 5 s.
        let answered = start + seconds(2);
        lane.succeed(answered);
        assert_eq!(lane.step(answered, short), Step::Done);
        let exact = Budget::new(start, seconds(7));
        assert_eq!(lane.step(answered, exact), Step::Send);
        let later = answered + Duration::from_millis(1);
        assert_eq!(lane.step(later, exact), Step::Done);
        lane.begin(answered);
        lane.succeed(answered + seconds(8));
        let endless = Budget::new(start, Duration::MAX);
        assert_eq!(
            lane.step(answered, endless),
            Step::WaitUntil(answered + seconds(1))
        );
        // Twice 8 s is more than the time limit of a request.
        let late = Budget::new(start, seconds(20));
        assert_eq!(lane.step(start + seconds(10), late), Step::Send);
    }

    #[test]
    fn short_wait_is_waited_for_and_long_wait_is_not() {
        let start = Instant::now();
        let budget = Budget::new(start, seconds(50));
        let mut lane = lane(start);
        lane.queue.clear();
        lane.begin(start);
        assert_eq!(lane.fail(&[0, 1], &busy(6), start, budget), None);
        assert_eq!(
            lane.fail(&[0, 1], &busy(5), start, budget),
            Some(seconds(5))
        );
        assert_eq!(lane.queue, [0, 1]);
        let next = start + seconds(5);
        assert_eq!(lane.step(start, budget), Step::WaitUntil(next));
        let late = Budget::new(start, seconds(5));
        assert_eq!(lane.fail(&[0], &busy(5), start, late), None);
    }

    #[test]
    fn receiver_that_always_asks_to_wait_has_failed() {
        let start = Instant::now();
        let budget = Budget::new(start, seconds(50));
        let mut lane = lane(start);
        let waits = [0, 1, 1, 1].map(|wait| lane.fail(&[0], &busy(wait), start, budget));
        let second = Some(seconds(1));
        assert_eq!(waits, [second, second, second, None]);
        lane.succeed(start);
        assert_eq!(lane.fail(&[0], &busy(1), start, budget), second);
    }

    #[test]
    fn rejected_group_is_sent_one_by_one() {
        let start = Instant::now();
        let budget = Budget::new(start, seconds(50));
        let mut lane = lane(start);
        lane.queue.clear();
        let rejected = Failure::of_notice("400");
        let again = lane.fail(&[0, 1], &rejected, start, budget);
        assert_eq!((again, lane.group()), (Some(Duration::ZERO), 1));
        assert_eq!(lane.queue, [0, 1]);
        assert_eq!(lane.fail(&[0], &rejected, start, budget), None);
    }
}
