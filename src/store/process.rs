//! This process and others of this host, as `/proc` shows them. Where it is missing, nothing is known of them.

use std::fs;

use rustix::process::getpid;
use rustix::system::uname;

use crate::domain::run_lock::ProcessIdentity;

pub(super) fn host_name() -> String {
    uname().nodename().to_string_lossy().into_owned()
}

pub(super) fn id() -> i32 {
    getpid().as_raw_pid()
}

pub(super) fn identity() -> Option<ProcessIdentity> {
    let pid = id();
    Some(ProcessIdentity {
        space: space()?,
        pid,
        started: started(pid)?,
    })
}

/// The boot of the host and the namespace of process ids.
pub(super) fn space() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

/// The start time of a process in clock ticks since boot; none once it has ended.
pub(super) fn started(pid: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    start_in(&stat)
}

/// The 22nd field. The second is the program's name, which may contain spaces and parentheses; the third is `Z`
/// for a process that has ended and is not waited for yet.
fn start_in(stat: &str) -> Option<String> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let start = fields.nth(18)?;
    (!matches!(state, "Z" | "X")).then(|| start.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_is_read_behind_any_program_name() {
        let stat = "7 (a) (b 3) S 1 7 7 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 12345 99 1";
        assert_eq!(start_in(stat).as_deref(), Some("12345"));
        assert_eq!(start_in(&stat.replace(" S ", " Z ")), None);
        assert_eq!(start_in("7 (a"), None);
    }
}
