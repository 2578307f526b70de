//! The holder of a run lock: its description, and whether its process still runs.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::format;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Such as `usagectl alerts check`, or the application name of another program's session.
    pub application: String,
    pub process: String,
    /// The start of the run, by its own clock.
    pub since: Option<DateTime<Utc>>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({}", self.application, self.process)?;
        if let Some(since) = self.since {
            write!(f, ", since {}", format::time(since))?;
        }
        f.write_str(")")
    }
}

/// A process of this host that a later run can look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessIdentity {
    /// The boot of the host and the namespace that process ids are valid in.
    pub space: String,
    pub pid: i32,
    /// The start time, since the system reuses process ids.
    pub started: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    Running,
    Ended,
    /// On another host, in another container, or not recorded.
    Unknown,
}

/// Whether the process of a stored identity runs. `space` is that of this process, and `started` looks up the
/// start time of a process of this host.
pub fn liveness(
    stored: Option<&ProcessIdentity>,
    space: Option<&str>,
    started: impl FnOnce(i32) -> Option<String>,
) -> Liveness {
    match stored {
        Some(stored) if space == Some(stored.space.as_str()) => {
            if started(stored.pid).as_ref() == Some(&stored.started) {
                Liveness::Running
            } else {
                Liveness::Ended
            }
        }
        _ => Liveness::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_of_this_host_is_looked_up() {
        let stored = ProcessIdentity {
            space: "boot pid:[1]".to_owned(),
            pid: 7,
            started: "100".to_owned(),
        };
        let now = |space, started: Option<&str>| {
            liveness(Some(&stored), space, |pid| {
                assert_eq!(pid, 7);
                started.map(str::to_owned)
            })
        };
        let here = Some("boot pid:[1]");
        assert_eq!(now(here, Some("100")), Liveness::Running);
        assert_eq!(now(here, None), Liveness::Ended);
        // Its id belongs to another process by now.
        assert_eq!(now(here, Some("200")), Liveness::Ended);
        // A container on this host, another host, a system without /proc.
        assert_eq!(now(Some("boot pid:[2]"), None), Liveness::Unknown);
        assert_eq!(now(Some("other pid:[1]"), None), Liveness::Unknown);
        assert_eq!(now(None, None), Liveness::Unknown);
        assert_eq!(liveness(None, here, |_| None), Liveness::Unknown);
    }

    #[test]
    fn holder_is_described_with_and_without_start() {
        let mut holder = Holder {
            application: "usagectl aggregate".to_owned(),
            process: "process 7 on web-1".to_owned(),
            since: DateTime::from_timestamp(1_769_860_800, 0),
        };
        let expected = "`usagectl aggregate` (process 7 on web-1, since 2026-01-31T12:00:00Z)";
        assert_eq!(holder.to_string(), expected);
        holder.since = None;
        let expected = "`usagectl aggregate` (process 7 on web-1)";
        assert_eq!(holder.to_string(), expected);
    }
}
