//! What a Nagios plugin answers: a status and one line.

use super::named::{Named, named};

named! {
    NagiosStatus, "Nagios status" {
        Ok = "OK",
        Warning = "WARNING",
        Critical = "CRITICAL",
        Unknown = "UNKNOWN",
    }
}

impl NagiosStatus {
    pub fn code(self) -> u8 {
        match self {
            NagiosStatus::Ok => 0,
            NagiosStatus::Warning => 1,
            NagiosStatus::Critical => 2,
            NagiosStatus::Unknown => 3,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NagiosAnswer {
    pub status: NagiosStatus,
    pub line: String,
}

impl NagiosAnswer {
    /// `STATUS - text | performance data`. Nagios splits the line at the bar, so a bar in `text` is replaced.
    pub fn new(status: NagiosStatus, text: &str, performance_data: &str) -> NagiosAnswer {
        let mut line = format!("{} - {}", status.as_str(), text.replace('|', "/"));
        if !performance_data.is_empty() {
            line = format!("{line} | {performance_data}");
        }
        NagiosAnswer { status, line }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bar_separates_text_from_performance_data() {
        let line = |text, data| NagiosAnswer::new(NagiosStatus::Warning, text, data).line;
        assert_eq!(line("a|b", "firing=1"), "WARNING - a/b | firing=1");
        assert_eq!(line("no channel", ""), "WARNING - no channel");
    }
}
