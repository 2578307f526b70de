//! Whether the clock that decides which steps are due can be right.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::format;

/// The difference from which on a clock is wrong.
pub const CLOCK_ERROR: TimeDelta = TimeDelta::minutes(2);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClockProblem {
    /// The clock of the database server differs.
    Server {
        host: DateTime<Utc>,
        server: DateTime<Utc>,
    },
    /// A call was recorded with a later time.
    LaterRow {
        host: DateTime<Utc>,
        row: DateTime<Utc>,
    },
}

impl ClockProblem {
    /// Compares the clock of this host with the server's and with the newest row.
    pub fn find(
        host: DateTime<Utc>,
        server: Option<DateTime<Utc>>,
        newest_row: Option<DateTime<Utc>>,
    ) -> Option<ClockProblem> {
        let server = server.filter(|server| (host - *server).abs() >= CLOCK_ERROR);
        let row = newest_row.filter(|row| *row - host >= CLOCK_ERROR);
        server
            .map(|server| ClockProblem::Server { host, server })
            .or(row.map(|row| ClockProblem::LaterRow { host, row }))
    }
}

impl fmt::Display for ClockProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClockProblem::Server { host, server } => write!(
                f,
                "the clocks differ: {} on this host, {} on the database server",
                format::time(*host),
                format::time(*server)
            ),
            ClockProblem::LaterRow { host, row } => write!(
                f,
                "it is {} on this host, but a call was recorded for {}",
                format::time(*host),
                format::time(*row)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::at_minute as at;

    #[test]
    fn clock_two_minutes_off_is_a_problem() {
        let find = |server, row| ClockProblem::find(at(0), Some(server), Some(row));
        let second = TimeDelta::seconds(1);
        assert_eq!(find(at(2) - second, at(2) - second), None);
        assert_eq!(find(at(-2) + second, at(-100)), None);
        for server in [at(2), at(-2)] {
            let (host, found) = (at(0), find(server, at(-100)));
            assert_eq!(found, Some(ClockProblem::Server { host, server }));
        }
        let row = at(2);
        let later = ClockProblem::LaterRow { host: at(0), row };
        assert_eq!(find(at(0), row), Some(later));
        assert_eq!(ClockProblem::find(at(0), None, None), None);
    }

    #[test]
    fn problem_names_both_times() {
        let found = ClockProblem::find(at(0), Some(at(90)), None).unwrap();
        assert_eq!(
            found.to_string(),
            "the clocks differ: 2026-01-31T12:00:00Z on this host, 2026-01-31T13:30:00Z on the database server"
        );
    }
}
