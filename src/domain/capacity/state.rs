//! The state of a limit.
//!
//! A missing measurement is never taken for zero, and an old one never for a current one.

use chrono::TimeDelta;

use super::MissingDays;
use super::together::Missing;
use crate::domain::format;
use crate::domain::metrics::names::Measure;
use crate::domain::named::named;
use crate::domain::plans::limit::{LimitFault, LimitInForce};

named! {
    /// The state of a limit.
    LimitState, "state" {
        Ok = "OK",
        Warning = "WARNING",
        Critical = "CRITICAL",
        /// At the limit or beyond.
        Over = "OVER",
        /// The newest value is too old.
        Stale = "STALE",
        NoData = "NO_DATA",
        /// The limit is invalid or ambiguous, or too many measurements are missing.
        Unknown = "UNKNOWN",
    }
}

impl LimitState {
    pub fn is_unknown(self) -> bool {
        matches!(
            self,
            LimitState::Stale | LimitState::NoData | LimitState::Unknown
        )
    }

    pub fn is_critical(self) -> bool {
        matches!(self, LimitState::Critical | LimitState::Over)
    }

    /// The state at a usage. A pace is advisory: it never stops anything by itself.
    fn at(usage: f64, limit: &LimitInForce, measure: Measure) -> LimitState {
        let percent = usage / limit.value * 100.0;
        let state = if percent >= 100.0 {
            LimitState::Over
        } else if percent >= limit.critical_percent {
            LimitState::Critical
        } else if percent >= limit.warning_percent {
            LimitState::Warning
        } else {
            LimitState::Ok
        };
        match measure {
            Measure::Pace if state.is_critical() => LimitState::Warning,
            _ => state,
        }
    }
}

/// Why the state of a limit is unknown, or its usage is only a lower bound.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum UnknownReason {
    #[error("no measurements")]
    NoData,
    #[error("newest value is of an earlier period")]
    EarlierPeriod,
    #[error("newest value is {} old", format::duration(*.0))]
    Old(TimeDelta),
    #[error(transparent)]
    Missing(MissingDays),
    /// Its state is known, and its cost is not computed.
    #[error("{} is too large to be assessed", format::number(*.0))]
    TooLarge(f64),
    #[error(transparent)]
    Fault(#[from] LimitFault),
}

/// The state, and why it is unknown or follows from a lower bound, if so. `unread` is why the measurements say nothing
/// about the present, and whether `usage` is a part of the usage for that reason.
///
/// With values missing, usage still has reached the thresholds below its measured part.
/// `estimate` is the highest likely usage with the missing days, if they can be estimated from earlier periods.
pub(super) fn of(
    limit: Option<&LimitInForce>,
    measure: Measure,
    usage: Option<f64>,
    missing: Option<Missing>,
    (unread, is_partial): (Option<UnknownReason>, bool),
    estimate: impl FnOnce() -> Option<f64>,
) -> (LimitState, Option<UnknownReason>) {
    if let Some(fault) = limit.and_then(|limit| limit.fault.clone()) {
        return (LimitState::Unknown, Some(fault.into()));
    }
    let (usage, limit) = match (unread, usage, limit) {
        (Some(why), Some(usage), Some(limit)) if is_partial => {
            return match LimitState::at(usage, limit, measure) {
                LimitState::Ok => (LimitState::Stale, Some(why)),
                reached => (reached, Some(why)),
            };
        }
        (Some(UnknownReason::NoData), _, _) | (None, None, _) => {
            return (LimitState::NoData, Some(UnknownReason::NoData));
        }
        (Some(reason), _, _) => return (LimitState::Stale, Some(reason)),
        (None, Some(_), None) => {
            return (
                LimitState::Ok,
                missing.map(|it| UnknownReason::Missing(it.days)),
            );
        }
        (None, Some(usage), Some(limit)) => (usage, limit),
    };
    let state = LimitState::at(usage, limit, measure);
    let Some(Missing { days, at_mean, .. }) = missing else {
        return (state, None);
    };
    // The missing days may hold as much as the others of this period, or of earlier ones: if a threshold would be
    // reached, the state is unknown. So it is without an estimate where more days are missing than measured.
    let is_ok = |usage| LimitState::at(usage, limit, measure) == LimitState::Ok;
    let is_estimated = || estimate().map_or(days.missing < days.of - days.missing, is_ok);
    let is_open = state == LimitState::Ok && !(is_ok(at_mean) && is_estimated());
    let state = if is_open { LimitState::Unknown } else { state };
    (state, Some(UnknownReason::Missing(days)))
}
