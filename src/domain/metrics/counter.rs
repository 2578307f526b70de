//! Counters that a server keeps: what was counted since they were last read.

use chrono::{DateTime, SecondsFormat, Utc};

use super::point::midnight;

/// A counter as it was last read.
#[derive(Clone, Debug, PartialEq)]
pub struct Counter {
    pub name: String,
    /// What changes when it begins anew: a server's run id, or a date.
    pub epoch: String,
    pub value: f64,
    pub read_at: DateTime<Utc>,
}

/// What a reading of a counter says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Increase {
    /// What was counted since the last reading. None the first time, and if it was read at this moment.
    pub since_last: Option<f64>,
    /// What was counted on this UTC day, of what was seen.
    pub today: Option<f64>,
    /// Whether it began anew in between, so that something may be missing.
    pub reset: bool,
    pub remember: Vec<Counter>,
}

/// Reads a counter that stands at `value`.
///
/// What was counted across midnight belongs to the new day, whole: nobody knows how it was divided.
pub fn increase(
    known: &[Counter],
    name: &str,
    epoch: &str,
    value: f64,
    now: DateTime<Utc>,
) -> Increase {
    let of_day = format!("{name} today");
    let find = |name: &str| known.iter().find(|counter| counter.name == name);
    let day = midnight(now).to_rfc3339_opts(SecondsFormat::Secs, true);
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
    let before = find(&of_day).filter(|counter| counter.epoch == day);
    let today = before.map_or(0.0, |counter| counter.value) + since_last;
    Increase {
        since_last: Some(since_last),
        today: Some(today),
        reset,
        remember: vec![counter(name, epoch, value), counter(&of_day, &day, today)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        known: &mut Vec<Counter>,
        epoch: &str,
        value: f64,
        now: &str,
    ) -> (Option<f64>, Option<f64>, bool) {
        let read = increase(known, "commands", epoch, value, now.parse().unwrap());
        for counter in read.remember {
            known.retain(|old| old.name != counter.name);
            known.push(counter);
        }
        (read.since_last, read.today, read.reset)
    }

    #[test]
    fn a_counter_is_the_difference_to_the_last_time_and_its_sum_of_the_day() {
        let known = &mut Vec::new();
        assert_eq!(
            read(known, "a", 100.0, "2026-01-30T12:00:00Z"),
            (None, None, false)
        );
        assert_eq!(
            read(known, "a", 130.0, "2026-01-30T18:00:00Z"),
            (Some(30.0), Some(30.0), false)
        );
        assert_eq!(
            read(known, "a", 135.0, "2026-01-30T18:15:00Z"),
            (Some(5.0), Some(35.0), false)
        );
        // The same moment again says nothing new.
        assert_eq!(
            read(known, "a", 137.0, "2026-01-30T18:15:00Z"),
            (None, None, false)
        );
        assert_eq!(
            read(known, "a", 145.0, "2026-01-31T06:00:00Z"),
            (Some(10.0), Some(10.0), false)
        );
    }

    #[test]
    fn a_server_that_started_again_counts_from_nothing() {
        let known = &mut Vec::new();
        read(known, "a", 100.0, "2026-01-30T12:00:00Z");
        // The run id changed, though the counter is higher by now.
        assert_eq!(
            read(known, "b", 120.0, "2026-01-30T13:00:00Z"),
            (Some(120.0), Some(120.0), true)
        );
        assert_eq!(
            read(known, "b", 7.0, "2026-01-30T14:00:00Z"),
            (Some(7.0), Some(127.0), true)
        );
    }
}
