//! Cumulative counters of servers: the increase since the last reading.

use chrono::{DateTime, Utc};

use super::point::midnight;
use crate::domain::format;

/// A counter as it was last read.
#[derive(Clone, Debug, PartialEq)]
pub struct Counter {
    pub name: String,
    /// Changes when the counter restarts: a server's run id, or a date.
    pub epoch: String,
    pub value: f64,
    pub read_at: DateTime<Utc>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Increase {
    /// Since the last reading. `None` for the first reading, and for a second one at the same instant.
    pub since_last: Option<f64>,
    /// On this UTC day, as far as it was observed.
    pub today: Option<f64>,
    /// Whether the counter restarted in between, so that some of the increase may be missing.
    pub reset: bool,
    /// The counters to store for the next reading.
    pub remember: Vec<Counter>,
}

/// The increase of a counter that now reads `value`.
///
/// An increase across midnight is attributed to the new day, since its split is unknown.
pub fn increase(
    known: &[Counter],
    name: &str,
    epoch: &str,
    value: f64,
    now: DateTime<Utc>,
) -> Increase {
    let daily_name = format!("{name} today");
    let find = |name: &str| known.iter().find(|counter| counter.name == name);
    let day = format::time(midnight(now));
    let counter = |name: &str, epoch: &str, value| Counter {
        name: name.to_owned(),
        epoch: epoch.to_owned(),
        value,
        read_at: now,
    };
    let Some(last) = find(name) else {
        return Increase {
            remember: vec![counter(name, epoch, value)],
            ..Increase::default()
        };
    };
    if last.read_at >= now {
        return Increase::default();
    }
    let reset = last.epoch != epoch || value < last.value;
    let since_last = if reset { value } else { value - last.value };
    let earlier_today = find(&daily_name).filter(|counter| counter.epoch == day);
    let today = earlier_today.map_or(0.0, |counter| counter.value) + since_last;
    Increase {
        since_last: Some(since_last),
        today: Some(today),
        reset,
        remember: vec![
            counter(name, epoch, value),
            counter(&daily_name, &day, today),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::at;

    /// The increases when a counter reads `value` at a time of January: since the last reading, and of the day.
    fn read(
        known: &mut Vec<Counter>,
        epoch: &str,
        value: f64,
        time: &str,
    ) -> (Option<f64>, Option<f64>, bool) {
        let now = at(&format!("2026-01-{time}:00Z"));
        let read = increase(known, "commands", epoch, value, now);
        for counter in read.remember {
            known.retain(|old| old.name != counter.name);
            known.push(counter);
        }
        (read.since_last, read.today, read.reset)
    }

    #[test]
    fn increase_is_the_difference_and_is_summed_per_day() {
        let known = &mut Vec::new();
        for (value, time, since_last, today) in [
            (100.0, "30T12:00", None, None),
            (130.0, "30T18:00", Some(30.0), Some(30.0)),
            (135.0, "30T18:15", Some(5.0), Some(35.0)),
            // A second reading at the same instant.
            (137.0, "30T18:15", None, None),
            (145.0, "31T06:00", Some(10.0), Some(10.0)),
        ] {
            assert_eq!(read(known, "a", value, time), (since_last, today, false));
        }
    }

    #[test]
    fn restarted_counter_begins_at_zero() {
        let known = &mut Vec::new();
        read(known, "a", 100.0, "30T12:00");
        // The run id changed, although the value is higher.
        let changed = read(known, "b", 120.0, "30T13:00");
        assert_eq!(changed, (Some(120.0), Some(120.0), true));
        let fell = read(known, "b", 7.0, "30T14:00");
        assert_eq!(fell, (Some(7.0), Some(127.0), true));
    }
}
