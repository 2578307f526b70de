//! The result of a delivery run, its warnings and its next step.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::commands::prelude::*;
use crate::domain::alert::delivery::{Delivery, DropReason, Notice};
use crate::domain::format::{self, counted};
use crate::error::shell_word;
use crate::output::alerts::deliveries::detail;

#[derive(Debug, Default)]
pub(in crate::commands) struct Report {
    /// The notices that were waiting, as they are now; without those that another run is sending.
    pub(in crate::commands) notices: Vec<Notice>,
    /// The channels that failed or rejected a notice, with the reason.
    pub(super) failures: BTreeMap<String, String>,
    /// Whether notices were sent before their next attempt was due.
    pub(super) forced: bool,
    /// The end of the run.
    pub(super) at: DateTime<Utc>,
}

impl Report {
    /// The number of notices that wait.
    pub(in crate::commands) fn undelivered(&self) -> u64 {
        self.waiting().count() as u64
    }

    fn waiting(&self) -> impl Iterator<Item = &Notice> {
        let notices = self.notices.iter();
        notices.filter(|notice| notice.delivery == Delivery::Waiting)
    }

    fn lost(&self) -> impl Iterator<Item = &Notice> {
        self.notices.iter().filter(|notice| notice.is_lost())
    }

    fn next_attempt_at(&self) -> Option<DateTime<Utc>> {
        self.waiting().map(|notice| notice.next_attempt_at).min()
    }

    /// Whether a channel failed or a notice was dropped in this run.
    pub(in crate::commands) fn has_failed(&self) -> bool {
        !self.failures.is_empty() || self.lost().next().is_some()
    }

    /// [`Exit::Unknown`] if a notice was not delivered or a channel failed.
    pub(in crate::commands) fn outcome(&self) -> Outcome {
        self.next().map_or(Outcome::DONE, |next| {
            Outcome::with_next(Exit::Unknown, next)
        })
    }

    /// The next step, which is never the same run again: a failed channel is tested first.
    fn next(&self) -> Option<String> {
        let mut lost = self.lost();
        if let Some(notice) = lost.find(|it| it.drop_reason == Some(DropReason::NoChannel)) {
            let name = shell_word(&notice.channel);
            return Some(format!(
                "to send them: usagectl alerts channel add {name} KIND"
            ));
        }
        let lost = self.lost().next();
        let refused = lost.or_else(|| self.waiting().find(|_| self.forced));
        let failed = self.failures.keys().next();
        if let Some(channel) = failed.or(refused.map(|notice| &notice.channel)) {
            let (name, options) = (shell_word(channel), self.delivery_options(lost.is_some()));
            return Some(format!(
                "usagectl alerts channel test {name} && usagectl alerts deliver{options}"
            ));
        }
        self.next_attempt_at().map(|next| match next > self.at {
            true => "usagectl alerts deliver --force".to_owned(),
            false => "usagectl alerts deliver --deliver-within 10m".to_owned(),
        })
    }

    /// The options that make `alerts deliver` send these notices now.
    fn delivery_options(&self, has_lost: bool) -> &'static str {
        match self.next_attempt_at() {
            _ if has_lost => " --retry-dropped",
            Some(next) if next > self.at => " --force",
            _ => "",
        }
    }

    /// Warns of failed channels, and of notices that wait or were dropped.
    pub(in crate::commands) fn warn(&self, context: &mut Context) {
        for (channel, reason) in &self.failures {
            let (channel, reason) = (printable(channel), printable(reason));
            context.warn(format_args!("the channel `{channel}` failed: {reason}"));
        }
        if let Some(next) = self.next_attempt_at() {
            let waiting = format!(
                "{} not delivered yet; next attempt at {}",
                counted(self.undelivered(), "notice"),
                format::time(next)
            );
            // With --quiet there is no other answer.
            match context.is_quiet() {
                true => context.error(waiting),
                false => context.warn(waiting),
            }
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
