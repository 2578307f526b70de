//! Partitions of `api_usage` on PostgreSQL. No trigger runs when one is attached, detached, dropped or truncated, so
//! `aggregate` compares them with those of its last run.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::period::{Granularity, Window};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    pub name: String,
    /// Another one after the partition is attached again, truncated or rewritten, or gets our triggers.
    pub identity: String,
    /// The range of timestamps, as PostgreSQL writes it; nothing if the rows are divided by something else.
    pub bound: Option<String>,
}

impl Partition {
    /// Another one after the partition is attached again.
    pub fn attachment(&self) -> &str {
        let attachment = self.identity.split_once(' ');
        attachment.map_or(&self.identity, |(attachment, _)| attachment)
    }

    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Whether it has our triggers, which fire for rows that are written by its own name.
    pub fn has_triggers(&self) -> bool {
        self.identity.split(' ').count() == 3
    }
}

/// The windows whose rows may differ because of partitions that are in only one of two lists, by their identity or a
/// part of it.
pub fn changed_windows(
    before: &[Partition],
    now: &[Partition],
    identity: fn(&Partition) -> &str,
) -> Vec<Window> {
    let mut changed = BTreeMap::new();
    for partition in before.iter().chain(now) {
        let key = (&partition.name, identity(partition));
        if changed.remove(&key).is_none() {
            changed.insert(key, window(partition.bound.as_deref()));
        }
    }
    let mut windows: Vec<Window> = changed.into_values().collect();
    windows.sort_by_key(|window| window.from);
    Window::joined(windows)
}

/// The hours of a range; all of time if it is not one of timestamps.
fn window(bound: Option<&str>) -> Window {
    let range = || {
        let range = bound?
            .strip_prefix("FOR VALUES FROM (")?
            .strip_suffix(')')?;
        let (from, to) = range.split_once(") TO (")?;
        Some(Window::new(instant(from)?, instant(to)?).widened(Granularity::Hourly))
    };
    range().unwrap_or(Window::ALL)
}

fn instant(bound: &str) -> Option<DateTime<Utc>> {
    let at = match bound {
        "MINVALUE" => Window::ALL.from,
        "MAXVALUE" => Window::ALL.to,
        text => NaiveDateTime::parse_from_str(text, "'%Y-%m-%d %H:%M:%S%.f'")
            .ok()?
            .and_utc(),
    };
    Some(at.clamp(Window::ALL.from, Window::ALL.to))
}

/// How the rows of an hour differ from those that were counted, after a change of partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Rows are gone.
    Removed,
    /// There are further rows.
    Added,
    /// The rows whose calls were kept without them are there again.
    Returned,
    /// There are further rows, but not as many as calls are kept without rows.
    Unclear,
}

/// `counted`: the calls of the hour, with those that are `kept` without rows. Where the hour `is_waiting`, the
/// further rows may be new calls.
pub fn change(counted: u64, kept: u64, rows: u64, is_waiting: bool) -> Option<Change> {
    match rows.checked_sub(counted.saturating_sub(kept)) {
        None => Some(Change::Removed),
        Some(0) => None,
        Some(_) if kept == 0 => Some(Change::Added),
        Some(more) if more == kept && !is_waiting => Some(Change::Returned),
        Some(_) => Some(Change::Unclear),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::at;

    fn partition(name: &str, identity: &str, bound: &str) -> Partition {
        Partition {
            name: name.to_owned(),
            identity: identity.to_owned(),
            bound: Some(bound.to_owned()),
        }
    }

    #[test]
    fn changed_windows_are_those_of_new_missing_and_attached_partitions() {
        let january = "FOR VALUES FROM ('2026-01-01 00:00:00') TO ('2026-01-31 00:00:00')";
        let february = "FOR VALUES FROM ('2026-01-31 00:00:00') TO ('2026-02-03 10:30:00')";
        let (one, two) = (partition("1", "a", january), partition("2", "b", february));
        let both = [one.clone(), two.clone()];
        assert_eq!(changed_windows(&both, &both, Partition::identity), []);
        let of_one = Window::new(at("01-01T00:00"), at("01-31T00:00"));
        let of_two = Window::new(at("01-31T00:00"), at("02-03T11:00"));
        assert_eq!(
            changed_windows(&both, &[two], Partition::identity),
            [of_one]
        );
        assert_eq!(
            changed_windows(&[one], &both, Partition::identity),
            [of_two]
        );
        let attached = [partition("1", "c", january), both[1].clone()];
        assert_eq!(
            changed_windows(&both, &attached, Partition::identity),
            [of_one]
        );
        let joined = Window::new(of_one.from, of_two.to);
        assert_eq!(changed_windows(&[], &both, Partition::identity), [joined]);
        let truncated = [partition("1", "a 2", january), both[1].clone()];
        assert!(!truncated[0].has_triggers());
        assert!(partition("1", "a 2 3,4,5", january).has_triggers());
        assert_eq!(
            changed_windows(&both, &truncated, Partition::identity),
            [of_one]
        );
        assert_eq!(
            changed_windows(&both, &truncated, Partition::attachment),
            []
        );
    }

    #[test]
    fn window_of_another_bound_is_all_of_time() {
        let until = window(Some(
            "FOR VALUES FROM (MINVALUE) TO ('2026-01-31 00:00:00')",
        ));
        assert_eq!(until, Window::new(Window::ALL.from, at("01-31T00:00")));
        for bound in [
            None,
            Some("DEFAULT"),
            Some("FOR VALUES WITH (modulus 2, remainder 0)"),
            Some("FOR VALUES FROM ('31.01.2026 00:00:00') TO (MAXVALUE)"),
            Some("FOR VALUES FROM ('a', 1) TO ('b', 2)"),
        ] {
            assert_eq!(window(bound), Window::ALL, "{bound:?}");
        }
    }

    #[test]
    fn hour_with_kept_calls_and_other_rows_is_unclear() {
        assert_eq!(change(5, 0, 5, false), None);
        assert_eq!(change(5, 5, 0, false), None);
        assert_eq!(change(5, 2, 3, false), None);
        assert_eq!(change(5, 2, 2, false), Some(Change::Removed));
        assert_eq!(change(5, 0, 6, false), Some(Change::Added));
        assert_eq!(change(5, 5, 5, false), Some(Change::Returned));
        assert_eq!(change(5, 2, 5, false), Some(Change::Returned));
        assert_eq!(change(5, 5, 5, true), Some(Change::Unclear));
        for rows in [1, 4, 6] {
            assert_eq!(change(5, 5, rows, false), Some(Change::Unclear));
        }
    }
}
