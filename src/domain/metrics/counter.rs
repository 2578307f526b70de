//! Cumulative counters of servers: the increase since the last reading.

use chrono::{DateTime, TimeDelta, Utc};

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
    /// Since the last reading, by UTC day: the last instant of an earlier day, or that of this reading.
    pub amounts: Vec<(DateTime<Utc>, f64)>,
    /// On this UTC day, as far as it was observed.
    pub today: Option<f64>,
    /// The whole increase of each earlier UTC day since the last reading, with its last instant.
    pub earlier: Vec<(DateTime<Utc>, f64)>,
    /// Whether the counter restarted in between, so that some of the increase may be missing.
    pub reset: bool,
    /// The last reading, if it is too long ago to spread the increase over the days since.
    pub too_long_since: Option<DateTime<Utc>>,
    /// The counters to store for the next reading.
    pub remember: Vec<Counter>,
}

/// The increase of a counter that now reads `value`, of a server that has been up for `uptime` if that is known.
///
/// An increase over several days, such as after an outage of the collector, belongs to none of them alone: it is spread
/// over them. A server that was up before the last reading and has another epoch, or none and a lower value, is another
/// server, whose increase since then is unknown.
pub fn increase(
    known: &[Counter],
    name: &str,
    epoch: &str,
    value: f64,
    uptime: Option<TimeDelta>,
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
    let is_other = |last: &&Counter| {
        let started = uptime.map(|uptime| now - uptime);
        let is_new = last.epoch != epoch || epoch.is_empty() && value < last.value;
        is_new && started.is_some_and(|started| started < last.read_at)
    };
    let Some(last) = find(name).filter(|last| !is_other(last)) else {
        return Increase {
            remember: vec![counter(name, epoch, value)],
            ..Increase::default()
        };
    };
    if last.read_at >= now {
        return Increase::default();
    }
    if now - last.read_at > LONGEST {
        return Increase {
            remember: vec![counter(name, epoch, value)],
            too_long_since: Some(last.read_at),
            ..Increase::default()
        };
    }
    let reset = last.epoch != epoch || value < last.value;
    let since_last = if reset { value } else { value - last.value };
    let earlier_today = find(&daily_name).filter(|counter| counter.epoch == day);
    let amounts = spread(since_last, last.read_at, now);
    let on_day = |(at, amount): &(DateTime<Utc>, f64)| {
        let day = format::time(midnight(*at));
        let before = find(&daily_name).filter(|counter| counter.epoch == day);
        (*at, before.map_or(0.0, |counter| counter.value) + amount)
    };
    let earlier = amounts
        .iter()
        .filter(|(at, _)| midnight(*at) < midnight(now));
    let earlier = earlier.map(on_day).collect();
    let of_today = amounts.last().map_or(0.0, |(_, amount)| *amount);
    let today = earlier_today.map_or(0.0, |counter| counter.value) + of_today;
    Increase {
        since_last: Some(since_last),
        amounts,
        today: Some(today),
        earlier,
        reset,
        too_long_since: None,
        remember: vec![
            counter(name, epoch, value),
            counter(&daily_name, &day, today),
        ],
    }
}

/// The longest time that an increase is spread over, a value a day. Forecasts look back half of it.
const LONGEST: TimeDelta = TimeDelta::days(366);

/// An amount between two instants, by UTC day.
fn spread(amount: f64, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<(DateTime<Utc>, f64)> {
    let all = (to - from).num_milliseconds() as f64;
    let mut amounts = Vec::new();
    let mut begin = from;
    while begin < midnight(to) {
        let end = midnight(begin) + TimeDelta::days(1);
        let share = (end - begin).num_milliseconds() as f64 / all;
        amounts.push((end - TimeDelta::milliseconds(1), amount * share));
        begin = end;
    }
    amounts.push((to, amount * (to - begin).num_milliseconds() as f64 / all));
    amounts
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
        let read = increase(known, "commands", epoch, value, None, now);
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
            // A quarter of the time since then is of the new day.
            (159.0, "31T02:00", Some(24.0), Some(6.193548387096774)),
        ] {
            assert_eq!(read(known, "a", value, time), (since_last, today, false));
        }
    }

    #[test]
    fn increase_over_an_outage_is_spread_over_its_days() {
        let at = |text: &str| at(&format!("2026-01-{text}:00Z"));
        let amounts = spread(60_000.0, at("20T12:00"), at("25T12:00"));
        let days: Vec<f64> = amounts.iter().map(|(_, amount)| *amount).collect();
        let expected = [6_000.0, 12_000.0, 12_000.0, 12_000.0, 12_000.0, 6_000.0];
        assert_eq!(days, expected);
        assert_eq!(amounts[5].0, at("25T12:00"));
        // The amounts counted earlier on each day are included.
        let counter = |name: &str, epoch: &str, value| Counter {
            name: name.to_owned(),
            epoch: epoch.to_owned(),
            value,
            read_at: at("20T12:00"),
        };
        let known = [
            counter("c", "a", 0.0),
            counter("c today", "2026-01-20T00:00:00Z", 500.0),
        ];
        let read = increase(&known, "c", "a", 60_000.0, None, at("25T12:00"));
        let earlier: Vec<f64> = read.earlier.iter().map(|(_, amount)| *amount).collect();
        assert_eq!(earlier, [6_500.0, 12_000.0, 12_000.0, 12_000.0, 12_000.0]);
        assert_eq!(read.today, Some(6_000.0));
    }

    #[test]
    fn increase_is_spread_over_any_gap_or_unknown() {
        let now = at("2026-01-30T12:00:00Z");
        let of = |days: i64| {
            let known = Counter {
                name: "commands".to_owned(),
                epoch: "a".to_owned(),
                value: 100.0,
                read_at: now - TimeDelta::days(days),
            };
            increase(&[known], "commands", "a", 100.0 + 55_000.0, None, now)
        };
        let long = of(55);
        assert_eq!(long.amounts.len(), 56);
        assert!(long.amounts.iter().all(|(_, amount)| *amount <= 1_000.001));
        assert!(
            long.today
                .is_some_and(|today| (today - 500.0).abs() < 0.001)
        );
        let longest = of(367);
        assert_eq!(
            (longest.since_last, longest.today, longest.amounts),
            (None, None, vec![])
        );
        assert_eq!(longest.too_long_since, Some(now - TimeDelta::days(367)));
        assert_eq!(longest.remember[0].value, 55_100.0);
    }

    #[test]
    fn server_that_was_up_before_is_another_one() {
        let now = at("2026-01-30T13:00:00Z");
        let known = [Counter {
            name: "commands".to_owned(),
            epoch: "a".to_owned(),
            value: 100.0,
            read_at: now - TimeDelta::hours(1),
        }];
        let of = |uptime| increase(&known, "commands", "b", 200_000.0, Some(uptime), now);
        assert_eq!(of(TimeDelta::minutes(5)).since_last, Some(200_000.0));
        let other = of(TimeDelta::days(5));
        assert_eq!((other.since_last, other.remember.len()), (None, 1));
    }

    #[test]
    fn lower_value_without_an_epoch_is_of_another_server_unless_it_restarted() {
        let now = at("2026-01-30T13:00:00Z");
        let known = [Counter {
            name: "commands".to_owned(),
            epoch: String::new(),
            value: 200_000.0,
            read_at: now - TimeDelta::hours(1),
        }];
        let of = |value, uptime| increase(&known, "commands", "", value, Some(uptime), now);
        let other = of(150_000.0, TimeDelta::days(5));
        assert_eq!((other.since_last, other.reset), (None, false));
        let restarted = of(150.0, TimeDelta::minutes(5));
        assert_eq!((restarted.since_last, restarted.reset), (Some(150.0), true));
        // A failover that continues the count.
        let continued = of(200_010.0, TimeDelta::minutes(5));
        assert_eq!((continued.since_last, continued.reset), (Some(10.0), false));
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
