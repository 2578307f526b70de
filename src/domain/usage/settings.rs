//! Choices that hold for all roll-ups of a database.

use chrono::TimeDelta;

use super::endpoint::EndpointNames;
use crate::domain::named::named;
use crate::domain::period::Calendar;

named! {
    /// How changed hours are found.
    Mode, "mode" {
        /// Triggers on the application's table mark them.
        Triggers = "triggers",
        /// Their rows are compared with what an earlier run found.
        Lookback = "lookback",
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Of days and months.
    pub calendar: Calendar,
    /// Whether roll-ups keep the calls of the oldest rows when another program deletes these rows.
    pub keep_deleted: bool,
    pub endpoints: EndpointNames,
    /// The most endpoints of an API in a period; the calls of the others are counted as one.
    pub max_endpoints: u32,
    pub mode: Mode,
    /// How far back each run looks in that mode.
    pub lookback: TimeDelta,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            calendar: Calendar::UTC,
            keep_deleted: false,
            endpoints: EndpointNames::Template,
            max_endpoints: 1_000,
            mode: Mode::Triggers,
            lookback: TimeDelta::days(3),
        }
    }
}
