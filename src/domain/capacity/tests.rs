use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::{Point, PointMetadata, Reading};
use crate::domain::plans::limit::LimitFault;
use crate::domain::testing::{at, zone};
use crate::domain::zone::Zone;

fn now() -> DateTime<Utc> {
    at("2026-01-16T12:00:00Z")
}

/// A limit of 256 of this metric.
fn limit(metric: Metric) -> LimitInForce {
    let (kind, period) = default_kind(metric);
    LimitInForce {
        metric,
        kind,
        period,
        ..LimitInForce::sample()
    }
}

/// A series with a point at each of these times.
fn series(metric: Metric, reading: Reading, points: &[(DateTime<Utc>, f64)]) -> SeriesDays {
    let series = Series::new(Service::VercelKv, metric, "");
    let metadata = PointMetadata {
        reading: Some(reading),
        ..PointMetadata::default()
    };
    let point = |(at, value): &(_, _)| Point::from_row(metric, *at, *value, &metadata);
    let mut points: Vec<Point> = points.iter().filter_map(point).collect();
    points.sort_by_key(|point| point.at);
    let mut days: Vec<MetricDay> = Vec::new();
    for of_day in points.chunk_by(|a, b| a.at.date_naive() == b.at.date_naive()) {
        let day = MetricDay::from_points(&series, of_day.to_vec(), days.last());
        days.extend(day);
    }
    SeriesDays {
        series,
        days,
        points,
    }
}

fn hours_ago(points: &[(i64, f64)]) -> Vec<(DateTime<Utc>, f64)> {
    let at = |(hours, value): &(i64, f64)| (now() - TimeDelta::hours(*hours), *value);
    points.iter().map(at).collect()
}

/// The capacity of a limit of 256 at `now`.
fn capacity(metric: Metric, reading: Reading, points: &[(i64, f64)]) -> Capacity {
    of_limit(&limit(metric), reading, points, None)
}

fn of_limit(
    limit: &LimitInForce,
    reading: Reading,
    points: &[(i64, f64)],
    stale_after: Option<TimeDelta>,
) -> Capacity {
    let series = series(limit.metric, reading, &hours_ago(points));
    Capacity::new(&series, Some(limit), now(), stale_after)
}

fn levels(points: &[(i64, f64)]) -> Capacity {
    capacity(Metric::StorageMb, Reading::Level, points)
}

#[test]
fn percent_of_limit_decides_state() {
    for (value, expected) in [
        (0.0, LimitState::Ok),
        (191.9, LimitState::Ok),
        (192.0, LimitState::Warning),
        (230.4, LimitState::Critical),
        (256.0, LimitState::Over),
        (1e9, LimitState::Over),
    ] {
        assert_eq!(levels(&[(1, value)]).state, expected, "{value}");
    }
}

#[test]
fn missing_and_future_values_are_no_data() {
    for points in [&[][..], &[(-1, 5.0)]] {
        let found = levels(points);
        assert_eq!((found.state, found.usage), (LimitState::NoData, None));
    }
    let both = levels(&[(2, 5.0), (-1, 500.0)]);
    assert_eq!((both.state, both.usage), (LimitState::Ok, Some(5.0)));
}

#[test]
fn value_is_stale_after_three_missing_ones() {
    let every = |hours: i64, newest: i64| {
        let points: Vec<_> = (0..5).map(|n| (newest + n * hours, 10.0)).collect();
        levels(&points)
    };
    assert_eq!(every(24, 71).state, LimitState::Ok);
    assert_eq!(every(24, 73).state, LimitState::Stale);
    let stale = every(1, 4);
    assert_eq!((stale.state, stale.percent()), (LimitState::Stale, None));
    // The interval of a single value is unknown.
    assert_eq!(levels(&[(23, 10.0)]).state, LimitState::Ok);
    assert_eq!(levels(&[(25, 10.0)]).state, LimitState::Stale);
    let (limit, after) = (limit(Metric::StorageMb), Some(TimeDelta::hours(2)));
    let given = of_limit(&limit, Reading::Level, &[(71, 1.0), (95, 1.0)], after);
    assert_eq!(given.state, LimitState::Stale);
}

#[test]
fn value_of_earlier_period_is_stale() {
    let half = capacity(Metric::BandwidthGb, Reading::Cumulative, &[(1, 128.0)]);
    assert_eq!((half.state, half.percent()), (LimitState::Ok, Some(50.0)));
    assert_eq!(half.elapsed_percent, Some(50.0));
    // Measured before this period began.
    let mut anchored = limit(Metric::BandwidthGb);
    anchored.billing.anchor_day = 16;
    let points = hours_ago(&[(13, 128.0)]);
    let mut counter = series(Metric::BandwidthGb, Reading::Cumulative, &points);
    let before = Capacity::new(&counter, Some(&anchored), now(), None);
    assert_eq!(before.reason, Some(UnknownReason::EarlierPeriod));
    for day in &mut counter.days {
        day.last_at = now();
        day.period_start = Some(at("2025-12-16T00:00:00Z"));
    }
    let before = Capacity::new(&counter, Some(&anchored), now(), None);
    assert_eq!((before.state, before.usage), (LimitState::Stale, None));
}

#[test]
fn amounts_are_summed_in_the_zone_of_the_provider() {
    // Every hour one, from New Year in UTC on.
    let hours = (now() - at("2026-01-01T00:00:00Z")).num_hours();
    let points: Vec<(i64, f64)> = (0..=hours).map(|hour| (hour, 1.0)).collect();
    let series = series(Metric::BandwidthGb, Reading::Amount, &hours_ago(&points));
    let used = |zone, series: &SeriesDays| {
        let mut limit = limit(Metric::BandwidthGb);
        limit.billing.zone = zone;
        Capacity::new(series, Some(&limit), now(), None).usage
    };
    assert_eq!(used(Zone::UTC, &series), Some(hours as f64 + 1.0));
    // The month began five hours later in New York.
    let new_york = zone("America/New_York");
    assert_eq!(used(new_york, &series), Some(hours as f64 - 4.0));
    // Without points, the part of the day counts.
    let days = SeriesDays::of_days(&series.days).unwrap();
    assert_eq!(used(new_york, &days), Some(hours as f64 - 4.0));
    let partial = partial_days(&series.days, &[limit(Metric::BandwidthGb)], now());
    assert_eq!(partial, []);
}

#[test]
fn connections_count_with_the_peak_of_a_day() {
    let peaks = [(30, 999.0), (20, 240.0), (1, 5.0)];
    for metric in [Metric::Connections, Metric::LatencyMs] {
        let found = capacity(metric, Reading::Level, &peaks);
        let found = (found.usage, found.state);
        assert_eq!(found, (Some(240.0), LimitState::Critical), "{metric}");
    }
    let daily = capacity(Metric::Connections, Reading::Level, &peaks).daily;
    let values: Vec<f64> = daily.days.iter().map(|(_, value)| *value).collect();
    // The peak of the current day is not known yet.
    assert_eq!(values, [999.0]);
}

#[test]
fn pace_is_never_critical() {
    let (metric, reading) = (Metric::CommandsPerDay, Reading::Cumulative);
    let found = capacity(metric, reading, &[(1, 261.0)]);
    let found = (found.usage, found.state);
    assert_eq!(found, (Some(261.0), LimitState::Warning));
    // The month's commands are derived from it.
    let series = series(metric, reading, &hours_ago(&[(1, 261.0)]));
    let limits = [limit(Metric::RequestCount)];
    let all = capacities(&limits, vec![series], now(), None);
    let is_month = |it: &&Capacity| it.series.metric == Metric::RequestCount;
    let month = all.iter().find(is_month);
    assert_eq!(month.map(|it| it.usage), Some(Some(261.0)));
}

#[test]
fn invalid_limit_is_unknown() {
    for points in [&[(1, 10.0)][..], &[]] {
        let mut limit = limit(Metric::StorageMb);
        limit.fault = Some(LimitFault::Value(0.0));
        let found = of_limit(&limit, Reading::Level, points, None);
        assert_eq!((found.state, found.percent()), (LimitState::Unknown, None));
    }
}

#[test]
fn old_amount_that_has_reached_a_threshold_still_has() {
    let found = |each: f64| {
        let points = [8, 9, 10].map(|day| (24 * day, each));
        capacity(Metric::BandwidthGb, Reading::Amount, &points)
    };
    let expected = [
        LimitState::Stale,
        LimitState::Warning,
        LimitState::Critical,
        LimitState::Over,
    ];
    let states = [60.0, 70.0, 80.0, 90.0].map(|each| found(each).state);
    assert_eq!(states, expected);
    let reason = Some(UnknownReason::Old(TimeDelta::days(8)));
    assert_eq!(found(80.0).reason, reason);
    let level = capacity(Metric::StorageMb, Reading::Level, &[(24 * 8, 300.0)]);
    assert_eq!(level.state, LimitState::Stale);
}

#[test]
fn missing_days_that_could_change_the_state_make_it_unknown() {
    let amounts = |each: f64| {
        // Sixteen days, of which the 4th to the 10th are missing.
        let days = (0..16).filter(|day| !(6..=12).contains(day));
        let points: Vec<(i64, f64)> = days.map(|day| (12 + 24 * day, each)).collect();
        capacity(Metric::BandwidthGb, Reading::Amount, &points)
    };
    let missing = Some(MissingDays { missing: 7, of: 16 });
    let near = amounts(16.0);
    assert_eq!((near.state, near.missing), (LimitState::Unknown, missing));
    let reason = near.reason.unwrap().to_string();
    assert_eq!(reason, "7 of 16 days missing");
    let far = amounts(1.0);
    assert_eq!((far.state, far.missing), (LimitState::Ok, missing));
    // The measured amount is a lower bound.
    for (each, expected) in [
        (21.3, LimitState::Unknown),
        (21.4, LimitState::Warning),
        (25.7, LimitState::Critical),
        (40.0, LimitState::Over),
    ] {
        let found = amounts(each);
        assert_eq!((found.state, found.missing), (expected, missing), "{each}");
        let reason = missing.map(UnknownReason::Missing);
        assert_eq!(found.reason, reason);
    }
    let single = |amount| capacity(Metric::BandwidthGb, Reading::Amount, &[(12, amount)]).state;
    assert_eq!(single(250.0), LimitState::Critical);
    // One of sixteen days says nothing about the others.
    assert_eq!(single(0.1), LimitState::Unknown);
    // The forecast adds them.
    let total = far.forecast().unwrap().periods[0].total.p50;
    assert!((total - 31.0).abs() < 1.0, "{total}");
}

/// Two of the sixteen days of this period are measured, and a month before it.
#[test]
fn missing_days_may_hold_as_much_as_those_of_earlier_periods() {
    let found = |before: f64| {
        let before = (16..46).map(|day| (12 + 24 * day, before + (day % 3) as f64 / 10.0));
        let points: Vec<(i64, f64)> = before.chain([(36, 5.0), (12, 5.0)]).collect();
        let found = capacity(Metric::BandwidthGb, Reading::Amount, &points);
        let missing = MissingDays {
            missing: 14,
            of: 16,
        };
        assert_eq!((found.usage, found.missing), (Some(10.0), Some(missing)));
        let used = found.known_forecast().and_then(|forecast| forecast.used);
        (found.state, used.unwrap())
    };
    let (state, used) = found(6.0);
    assert_eq!(state, LimitState::Ok);
    assert!((75.0..125.0).contains(&used.p50), "{used:?}");
    let (state, used) = found(14.0);
    assert_eq!(state, LimitState::Unknown);
    assert!(used.p90 > 192.0, "{used:?}");
}

#[test]
fn pace_of_amounts_is_that_of_the_measured_days() {
    // Four of 16 days, of 3 each.
    let days = [0, 5, 9, 15].map(|day| (12 + 24 * day, 3.0));
    let found = capacity(Metric::BandwidthGb, Reading::Amount, &days);
    let forecast = found.known_forecast().unwrap();
    let total = forecast.periods[0].total.p50;
    assert!((90.0..96.0).contains(&total), "{total}");
    let used = forecast.used.unwrap().p50;
    assert!((46.0..50.0).contains(&used), "{used}");
}

#[test]
fn sum_of_amounts_at_the_limit_is_at_the_limit() {
    for (each, count, limit_value) in [(0.1, 10, 1.0), (3.6, 25, 90.0), (0.07, 14, 0.98)] {
        let begin = at("2026-01-01T00:00:00Z");
        let points = (0..count).map(|hour| (begin + TimeDelta::hours(hour), each));
        let points: Vec<_> = points.collect();
        let series = series(Metric::BandwidthGb, Reading::Amount, &points);
        let limit = LimitInForce {
            value: limit_value,
            ..limit(Metric::BandwidthGb)
        };
        let long = TimeDelta::days(60);
        let found = Capacity::new(&series, Some(&limit), now(), Some(long));
        assert_eq!(found.state, LimitState::Over, "{:?}", found.usage);
    }
}

/// A counter or amounts of 10 a day, read every six hours since November, except between these two times.
#[rstest]
#[case::over_a_period_boundary("2025-12-31T23:00:00Z", "2026-01-04T00:00:00Z")]
#[case::over_a_period_boundary_within_days("2025-12-29T05:00:00Z", "2026-01-04T06:00:00Z")]
#[case::until_now("2026-01-04T06:00:00Z", "2026-02-01T00:00:00Z")]
#[case::until_now_at_midnight("2026-01-04T00:00:00Z", "2026-02-01T00:00:00Z")]
#[case::until_now_since_the_last_period("2025-12-31T18:00:00Z", "2026-02-01T00:00:00Z")]
fn forecast_counts_each_day_once(
    #[case] last: &str,
    #[case] next: &str,
    #[values(Reading::Cumulative, Reading::Amount)] reading: Reading,
) {
    let now = at("2026-01-05T13:00:00Z");
    let begin = at("2025-11-01T00:00:00Z");
    let reads = (0..).map(|read| begin + TimeDelta::hours(6 * read));
    let reads = reads.take_while(|read| *read <= now);
    let reads = reads.filter(|read| *read <= at(last) || *read >= at(next));
    let value = |read: DateTime<Utc>| match reading {
        Reading::Amount => 2.5,
        _ => {
            let month = Billing::default()
                .period(LimitPeriod::BillingMonth, read)
                .from;
            (read - month).num_hours() as f64 / 2.4
        }
    };
    let points: Vec<(DateTime<Utc>, f64)> = reads.map(|read| (read, value(read))).collect();
    let series = series(Metric::BandwidthGb, reading, &points);
    let found = Capacity::new(&series, Some(&limit(Metric::BandwidthGb)), now, None);
    let total = found.forecast().unwrap().periods[0].total.p50;
    assert!((total - 310.0).abs() < 9.0, "{total}");
    // Stale usage has no known forecast.
    assert_eq!(found.known_forecast().is_none(), found.state.is_unknown());
}

#[test]
fn growth_across_a_gap_is_spread() {
    // A counter that grows by ten a day and is not read for five days.
    let days = (0..16).filter(|day| !(3..8).contains(day));
    let points = days.map(|day| (24 * day, 200.0 - 10.0 * day as f64));
    let points: Vec<(i64, f64)> = points.collect();
    let found = capacity(Metric::BandwidthGb, Reading::Cumulative, &points);
    let values: Vec<f64> = found.daily.days.iter().map(|(_, value)| *value).collect();
    assert_eq!(values, [10.0; 15]);
    // Until midnight, and read until noon again: the day before the gap lasts until noon, as the others do.
    let days = [(96, 100.0), (84, 105.0), (12, 135.0), (0, 140.0)];
    let found = capacity(Metric::BandwidthGb, Reading::Cumulative, &days);
    let values: Vec<f64> = found.daily.days.iter().map(|(_, value)| *value).collect();
    assert_eq!(values, [10.0; 4]);
    // A counter that restarted in the gap grew by an unknown amount.
    let restarted = [(0, 30.0), (24, 20.0), (96, 200.0)];
    let found = capacity(Metric::BandwidthGb, Reading::Cumulative, &restarted);
    assert_eq!(found.daily.days.len(), 1);
}

#[test]
fn two_readings_have_a_pace() {
    let found = levels(&[(1, 220.0), (25, 210.0)]);
    let forecast = found.forecast().unwrap();
    assert_eq!(forecast.crossings[2].days[1], Some(4));
    assert!(levels(&[(1, 220.0)]).forecast().is_err());
}

#[test]
fn periods_in_another_zone_start_on_the_nearest_day() {
    let mut seoul = limit(Metric::BandwidthGb).billing;
    seoul.zone = zone("Asia/Seoul");
    let starts = period_starts(seoul, LimitPeriod::BillingMonth, at("2026-01-10T00:00:00Z"));
    assert_eq!(forecast::day_date(starts[0]).to_string(), "2026-01-01");
    let starts = period_starts(seoul, LimitPeriod::Day, at("2026-01-10T00:00:00Z"));
    assert_eq!(starts.len(), DAYS_AHEAD + 3);
}

#[test]
fn incomplete_day_is_a_level_but_no_amount() {
    let start = at("2026-01-01T00:00:00Z");
    let value = |hour| (start + TimeDelta::hours(hour), hour as f64);
    let values: Vec<_> = (0..60).map(value).collect();
    let of = |kind| -> Vec<f64> {
        let days = readings::days_of(kind, &values).into_iter();
        days.map(|(_, value)| value).collect()
    };
    assert_eq!(of(MetricKind::Gauge), [23.0, 47.0, 59.0]);
    assert_eq!(of(MetricKind::Period), [276.0, 852.0]);
}

fn any_metric() -> impl Strategy<Value = Metric> {
    prop::sample::select(vec![
        Metric::StorageMb,
        Metric::Connections,
        Metric::BandwidthGb,
        Metric::CommandsPerDay,
        Metric::LatencyMs,
    ])
}

fn any_reading() -> impl Strategy<Value = Reading> {
    prop::sample::select(vec![Reading::Level, Reading::Cumulative, Reading::Amount])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// State, percentage, crossings and period of one capacity say the same.
    #[test]
    fn answers_of_one_capacity_agree(
        metric in any_metric(),
        reading in any_reading(),
        points in prop::collection::vec((0_i64..30 * 24, 0.0_f64..400.0), 0..60),
    ) {
        let found = capacity(metric, reading, &points);
        if let (Some(percent), false) = (found.percent(), found.measure == Measure::Pace) {
            prop_assert_eq!(percent >= 100.0, found.state == LimitState::Over);
            prop_assert_eq!(percent >= 90.0, found.state.is_critical());
        }
        prop_assert!(!found.state.is_unknown() || found.reason.is_some());
        let is_current = found.reason != Some(UnknownReason::EarlierPeriod);
        if let (Some(usage), Measure::Amount, true) = (found.usage, found.measure, is_current) {
            // With days missing, the state is at least that of the measured amount.
            let limit = limit(metric);
            let is_certain = usage / limit.value * 100.0 >= limit.warning_percent;
            prop_assert!(!(is_certain && found.state.is_unknown()));
        }
        if let (Some(used), LimitState::Ok) = (found.known_forecast().and_then(|it| it.used), found.state) {
            prop_assert!(used.p90 < 192.0, "{used:?} is beyond the warning line");
        }
        if let (Some(forecast), Some(usage)) = (found.known_forecast(), found.usage) {
            for crossing in &forecast.crossings {
                if is_current {
                    prop_assert_eq!(crossing.reached, usage >= crossing.threshold);
                }
                prop_assert!(crossing.probabilities.iter().flatten().is_sorted());
            }
            if let (Some(period), true) = (forecast.periods.first(), is_current) {
                prop_assert_eq!(period.used, usage);
            }
        }
    }
}

/// The capacity of an account's limit of 256, with levels or amounts by hours ago of each resource.
fn of_account(metric: Metric, reading: Reading, resources: &[&[(i64, f64)]]) -> Capacity {
    let limit = LimitInForce {
        is_of_account: true,
        ..limit(metric)
    };
    let parts = resources.iter().enumerate().map(|(index, points)| {
        let mut part = series(metric, reading, &hours_ago(points));
        part.series.resource = index.to_string();
        part
    });
    let parts: Vec<SeriesDays> = parts.collect();
    let mut all = capacities(&[limit], parts, now(), None);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[test]
fn limit_of_the_account_holds_for_the_sum() {
    let levels = |resources: &[&[(i64, f64)]]| {
        let found = of_account(Metric::StorageMb, Reading::Level, resources);
        (found.state, found.usage, found.is_at_least())
    };
    assert_eq!(
        levels(&[&[(1, 140.0)], &[(2, 130.0)]]),
        (LimitState::Over, Some(270.0), false)
    );
    // One is old: the others are at least in use.
    let old = (200, 200.0);
    assert_eq!(
        levels(&[&[(1, 140.0)], &[old]]),
        (LimitState::Stale, Some(140.0), true)
    );
    assert_eq!(
        levels(&[&[(1, 240.0)], &[old]]),
        (LimitState::Critical, Some(240.0), true)
    );
    assert_eq!(
        levels(&[&[old], &[old]]),
        (LimitState::Stale, Some(400.0), false)
    );
}

#[test]
fn days_of_the_account_are_sums_of_all_its_resources() {
    let day = |hours: i64| day_number((now() - TimeDelta::hours(hours)).date_naive());
    let levels: [&[_]; 2] = [&[(72, 1.0), (24, 2.0), (1, 3.0)], &[(48, 10.0), (24, 20.0)]];
    let found = of_account(Metric::StorageMb, Reading::Level, &levels);
    let expected = [
        (day(72), 1.0),
        (day(48), 11.0),
        (day(24), 22.0),
        (day(1), 23.0),
    ];
    assert_eq!(found.daily.days, expected);
    let amounts: [&[_]; 2] = [
        &[(96, 1.0), (72, 2.0), (48, 3.0), (24, 4.0)],
        &[(96, 5.0), (72, 10.0), (24, 15.0)],
    ];
    let found = of_account(Metric::BandwidthGb, Reading::Amount, &amounts);
    // One of them is missing on a day, and has its mean.
    let expected = [
        (day(96), 6.0),
        (day(72), 12.0),
        (day(48), 13.0),
        (day(24), 19.0),
    ];
    assert_eq!(found.daily.days, expected);
    assert_eq!(found.usage, Some(40.0));
    assert!(found.missing.is_some() && found.is_at_least());
}

#[test]
fn missing_days_of_the_account_are_those_of_each_resource() {
    let each = |amount: f64, days: &mut dyn Iterator<Item = i64>| -> Vec<(i64, f64)> {
        days.map(|day| (12 + 24 * day, amount)).collect()
    };
    let total = |shop: &[(i64, f64)]| {
        let blog = each(2.0, &mut (0..60));
        let found = of_account(Metric::BandwidthGb, Reading::Amount, &[&blog, shop]);
        let total = found.forecast().unwrap().periods[0].total.p50;
        (found.missing.map(|days| days.missing), total)
    };
    // It begins on the twelfth day of this period: 62 and 60 of the month.
    let (missing, of_new) = total(&each(3.0, &mut (0..5)));
    assert_eq!(missing, None);
    assert!((of_new - 122.0).abs() < 12.0, "{of_new}");
    // Five days of one of them are missing.
    let mut days = (0..60).filter(|day| !(3..8).contains(day));
    let (missing, of_gap) = total(&each(1.0, &mut days));
    assert_eq!(missing, Some(5));
    assert!((of_gap - 93.0).abs() < 2.0, "{of_gap}");
    // It is silent since five days.
    let (_, of_silent) = total(&each(1.0, &mut (5..60)));
    assert!((of_silent - 93.0).abs() < 2.0, "{of_silent}");
    // It is silent since before the period.
    let (_, of_silent) = total(&each(1.0, &mut (18..60)));
    assert!((of_silent - 93.0).abs() < 2.0, "{of_silent}");
}

#[test]
fn amount_of_the_future_is_not_spread_over_days_before_it() {
    let mut points: Vec<(i64, f64)> = (0..8).map(|week| (24 * (3 + 7 * week), 21.0)).collect();
    let known = of_account(Metric::BandwidthGb, Reading::Amount, &[&points]);
    points.push((-24 * 4, 7_000.0));
    let found = of_account(Metric::BandwidthGb, Reading::Amount, &[&points]);
    assert_eq!(found.usage, known.usage);
    assert_eq!(found.daily.days, known.daily.days);
}

#[rstest]
#[case::every_week(&[7, 7, 7, 7, 7, 7], 12.0)]
#[case::every_second_day(&[2; 20], 12.0)]
#[case::twice_a_week(&[3, 4, 3, 4, 3, 4, 3, 4, 3, 4], 12.0)]
fn rare_amounts_are_spread_over_the_days_since_the_one_before(
    #[case] gaps: &[i64],
    #[case] per_day: f64,
) {
    let mut ago = 0;
    let mut points = Vec::new();
    for gap in gaps {
        points.push((24 * ago, per_day * *gap as f64));
        ago += gap;
    }
    let found = of_account(Metric::BandwidthGb, Reading::Amount, &[&points]);
    assert_eq!(found.missing, None);
    assert_eq!(found.state, LimitState::Warning, "{:?}", found.usage);
    let total = found.known_forecast().unwrap().periods[0].total.p50;
    assert!((total - 31.0 * per_day).abs() < 12.0, "{total}");
    // A pace is that of a day.
    let commands = series(Metric::CommandsPerDay, Reading::Amount, &hours_ago(&points));
    let limit = limit(Metric::CommandsPerDay);
    let commands = Capacity::new(
        &commands.with_amounts_by_day(now()),
        Some(&limit),
        now(),
        None,
    );
    assert_eq!(commands.usage, Some(per_day));
}
