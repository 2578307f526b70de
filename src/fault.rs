//! Fault points: places at which a test ends the program to see that the next run completes its work.
//!
//! Only debug builds have them. `USAGECTL_FAULT=kill:statement:3` sends SIGKILL at the third point named
//! `statement`; `term` and `int` send SIGTERM and SIGINT, `*` counts points of every name.

/// A place before or after a statement, a ledger write, or the writing of a file.
#[cfg(not(debug_assertions))]
pub fn point(_name: &str) {}

/// A place before or after a statement, a ledger write, or the writing of a file.
#[cfg(debug_assertions)]
pub fn point(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static FAULT: OnceLock<Option<Fault>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let fault = FAULT.get_or_init(|| Fault::parse(&std::env::var("USAGECTL_FAULT").ok()?));
    let Some(fault) = fault.as_ref().filter(|fault| fault.is_at(name)) else {
        return;
    };
    if PASSED.fetch_add(1, Ordering::Relaxed) + 1 == fault.number {
        let _ = rustix::process::kill_process(rustix::process::getpid(), fault.signal);
        if fault.signal != rustix::process::Signal::KILL {
            // The thread that handles the signal ends the program meanwhile.
            std::thread::sleep(std::time::Duration::from_secs(20));
        }
    }
}

#[cfg(debug_assertions)]
#[derive(Debug)]
struct Fault {
    signal: rustix::process::Signal,
    name: String,
    number: u64,
}

#[cfg(debug_assertions)]
impl Fault {
    fn parse(text: &str) -> Option<Fault> {
        use rustix::process::Signal;
        let mut parts = text.split(':');
        let signal = match parts.next()? {
            "kill" => Signal::KILL,
            "term" => Signal::TERM,
            "int" => Signal::INT,
            _ => return None,
        };
        let name = parts.next()?.to_owned();
        let number = parts.next()?.parse().ok()?;
        Some(Fault {
            signal,
            name,
            number,
        })
    }

    fn is_at(&self, name: &str) -> bool {
        self.name == "*" || self.name == name
    }
}
