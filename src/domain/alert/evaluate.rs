//! The evaluation of one rule for one API: which steps are due, which windows they require, and the value, level
//! and state of each step. `alerts check` and `alerts backtest` share it.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};

use super::rule::{AlertType, Rule, RuleFault};
use super::series::{Series, Tally};
use super::state::{
    AlertKey, AlertState, Change, HoldTimes, Level, Measurement, Observation, ThresholdReading,
};
use super::window::{Grid, window};
use crate::domain::format;
use crate::domain::period::{Period, Window};
use crate::domain::plans::Unit;

/// The limit of an API for a period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allowance {
    pub value: f64,
    /// In credits; otherwise in calls.
    pub of_credits: bool,
}

/// The usage of an API, as far as a round or a backtest requires it.
#[derive(Debug)]
pub struct ApiUsage {
    pub series: Series,
    /// The first known call.
    pub begins: Option<DateTime<Utc>>,
}

/// A rule, applied to one API.
#[derive(Clone, Copy, Debug)]
pub struct RuleTarget<'a> {
    pub rule: &'a Rule,
    pub api_name: &'a str,
    /// The API's limit for the rule's period.
    pub limit: Option<Allowance>,
}

/// Why the value of a rule is unknown.
#[derive(Clone, Debug, PartialEq)]
pub enum UnknownReason {
    RuleFault(RuleFault),
    NoLimit(Period),
    BadLimit(f64),
    BadBaseline,
    /// The API has no calls: its name may be mistyped.
    NoCalls,
    /// The baseline begins before the first known call.
    ShortHistory {
        needed: DateTime<Utc>,
        begins: DateTime<Utc>,
    },
}

impl fmt::Display for UnknownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnknownReason::RuleFault(fault) => fault.fmt(f),
            UnknownReason::NoLimit(period) => {
                write!(f, "no limit per {period} is set")
            }
            UnknownReason::BadLimit(limit) => {
                write!(f, "invalid limit {limit}: expected a number above 0")
            }
            UnknownReason::BadBaseline => {
                f.write_str("invalid baseline: expected a duration and a factor above 0")
            }
            UnknownReason::NoCalls => f.write_str("no call to this API was recorded"),
            UnknownReason::ShortHistory { needed, begins } => write!(
                f,
                "not enough history: the baseline begins at {}, the first call was at {}",
                format::time(*needed),
                format::time(*begins)
            ),
        }
    }
}

/// The value of a step.
struct Measured {
    value: f64,
    threshold: f64,
    calls: u64,
}

impl RuleTarget<'_> {
    /// The key of its state.
    pub fn place(&self) -> AlertKey<'_> {
        AlertKey {
            alert_id: &self.rule.id,
            api_name: self.api_name,
        }
    }

    /// The unit of its limit, if its value is a percentage of one.
    pub fn limit_unit(&self) -> Option<Unit> {
        let limit = self.limit.filter(|_| self.rule.needs_limit())?;
        Some(match limit.of_credits {
            true => Unit::Credits,
            false => Unit::Calls,
        })
    }

    /// The windows that the step `at` requires.
    pub fn needs(&self, at: DateTime<Utc>, grid: Grid) -> RequiredWindows {
        let mut needs = RequiredWindows::default();
        let Some(window) = self.window(at, grid) else {
            return needs;
        };
        if self.rule.period == Period::Second {
            needs.seconds = Some(window);
        } else {
            needs.window = Some(window);
        }
        needs.baseline = self.baseline(window);
        needs
    }

    fn window(&self, at: DateTime<Utc>, grid: Grid) -> Option<Window> {
        let settings = &self.rule.settings;
        window(
            &self.rule.period,
            settings.window,
            settings.time_zone,
            at,
            grid,
        )
    }

    fn baseline(&self, window: Window) -> Option<Window> {
        let baseline = self.rule.settings.baseline?;
        let asked = self.rule.alert_type == AlertType::ErrorSpike;
        let from = window.from.checked_sub_signed(baseline.over)?;
        let baseline = Window {
            from: from.max(Window::ALL.from),
            to: window.from,
        };
        (asked && !baseline.is_empty()).then_some(baseline)
    }

    /// Evaluates the step `at`. `begins` is the time of the first known call.
    pub fn read(
        &self,
        at: DateTime<Utc>,
        grid: Grid,
        series: &Series,
        begins: Option<DateTime<Utc>>,
    ) -> Measurement {
        let limit_value = match self.rule.alert_type {
            AlertType::RateLimitWarning => self.limit.map(|limit| limit.value),
            _ => None,
        };
        let mut reading = Measurement {
            at,
            observed: Observation {
                value: None,
                threshold: Some(self.rule.threshold).filter(|it| it.is_finite()),
                limit_value: limit_value.filter(|limit| limit.is_finite()),
            },
            level: Level::Clear,
            severity: self.rule.settings.severity,
            thresholds: Vec::new(),
        };
        match self.measure(at, grid, series, begins) {
            Ok(measured) => {
                (reading.level, reading.thresholds) = self.level(&measured);
                reading.observed.value = Some(measured.value);
                reading.observed.threshold = Some(measured.threshold);
            }
            Err(reason) => reading.level = Level::Unknown(reason.to_string()),
        }
        reading
    }

    fn measure(
        &self,
        at: DateTime<Utc>,
        grid: Grid,
        series: &Series,
        begins: Option<DateTime<Utc>>,
    ) -> Result<Measured, UnknownReason> {
        let rule = self.rule;
        rule.check().map_err(UnknownReason::RuleFault)?;
        let unknown_period =
            || UnknownReason::RuleFault(RuleFault::Period(rule.period.to_string()));
        let window = self.window(at, grid).ok_or_else(unknown_period)?;
        let limit = self.limit()?;
        let begins = begins
            .filter(|begins| *begins < at)
            .ok_or(UnknownReason::NoCalls)?;
        let tally = match rule.period {
            Period::Second => series.busiest_second(window, |tally| self.amount(tally)),
            _ => series.tally(window),
        };
        let amount = self.amount(&tally);
        let mut measured = Measured {
            // Divided last, so that 48 of 60 are 80 percent and not a little less.
            value: limit
                .map_or(amount, |limit| 100.0 * amount / limit)
                .min(f64::MAX),
            threshold: rule.threshold,
            calls: tally.calls,
        };
        if let (Some(settings), AlertType::ErrorSpike) = (rule.settings.baseline, &rule.alert_type)
        {
            let sound = settings.factor.is_finite() && settings.factor > 0.0;
            let baseline = self.baseline(window).filter(|_| sound);
            let baseline = baseline.ok_or(UnknownReason::BadBaseline)?;
            if begins > baseline.from {
                return Err(UnknownReason::ShortHistory {
                    needed: baseline.from,
                    begins,
                });
            }
            let length = match rule.period {
                Period::Second => TimeDelta::seconds(1),
                _ => window.to - window.from,
            };
            let share = ms(length) / ms(baseline.to - baseline.from);
            let usual = self.amount(&series.tally(baseline)) * share;
            // A multiple of almost nothing is no spike: the threshold is a lower bound.
            measured.threshold = rule.threshold.max(settings.factor * usual).min(f64::MAX);
        }
        Ok(measured)
    }

    /// The limit, for a rule whose value is a percentage of it.
    fn limit(&self) -> Result<Option<f64>, UnknownReason> {
        if self.rule.alert_type != AlertType::RateLimitWarning {
            return Ok(None);
        }
        let no_limit = || UnknownReason::NoLimit(self.rule.period.clone());
        let limit = self.limit.ok_or_else(no_limit)?.value;
        if limit.is_finite() && limit > 0.0 {
            Ok(Some(limit))
        } else {
            Err(UnknownReason::BadLimit(limit))
        }
    }

    /// The amount of some calls: calls, failed calls or credits.
    fn amount(&self, tally: &Tally) -> f64 {
        let of_credits = self.limit.is_some_and(|limit| limit.of_credits);
        match self.rule.alert_type {
            AlertType::CostThreshold => tally.cost.to_f64(),
            AlertType::ErrorSpike => tally.failed as f64,
            _ if self.rule.settings.include_cached && of_credits => tally.cost.to_f64(),
            _ if self.rule.settings.include_cached => tally.calls as f64,
            // A call that a cache answers never reaches the provider.
            _ if of_credits => tally.cost.minus(tally.cached_cost).to_f64(),
            _ => tally.calls.saturating_sub(tally.cached) as f64,
        }
    }

    /// The level, and the thresholds above the lowest that are not clear. Each is left as far below it as the resolve
    /// threshold is below the lowest.
    fn level(&self, measured: &Measured) -> (Level, Vec<ThresholdReading>) {
        let settings = &self.rule.settings;
        let (value, threshold) = (measured.value, measured.threshold);
        let clear_below = settings
            .clear_below
            .filter(|clear| clear.is_finite())
            .map_or(threshold, |clear| clear.min(threshold));
        if measured.calls < settings.min_requests || value < clear_below {
            return (Level::Clear, Vec::new());
        }
        let mut severity = settings.severity;
        let mut higher = Vec::new();
        for it in settings.higher.iter().filter(|it| it.value.is_finite()) {
            let in_force = it.value.max(threshold);
            let is_reached = value >= in_force;
            if is_reached {
                severity = it.severity;
            }
            if value >= in_force - (threshold - clear_below) {
                higher.push(ThresholdReading {
                    threshold: it.value,
                    in_force,
                    severity: it.severity,
                    is_reached,
                });
            }
        }
        if value >= threshold {
            (Level::Over(severity), higher)
        } else {
            (Level::Between, higher)
        }
    }

    /// Evaluates `steps` from a state. Returns the new state and the changes.
    pub fn advance(
        &self,
        mut state: Option<AlertState>,
        steps: impl IntoIterator<Item = DateTime<Utc>>,
        grid: Grid,
        series: &Series,
        begins: Option<DateTime<Utc>>,
    ) -> (Option<AlertState>, Vec<Change>) {
        let mut changes = Vec::new();
        for at in steps {
            let (next, change) = self.step(state, at, grid, series, begins);
            changes.extend(change);
            state = Some(next);
        }
        (state, changes)
    }

    /// Evaluates one step.
    pub fn step(
        &self,
        before: Option<AlertState>,
        at: DateTime<Utc>,
        grid: Grid,
        series: &Series,
        begins: Option<DateTime<Utc>>,
    ) -> (AlertState, Option<Change>) {
        let holds = HoldTimes {
            fire: self.rule.settings.hold,
            clear: self.rule.settings.clear_hold,
        };
        let reading = self.read(at, grid, series, begins);
        AlertState::step(before, reading, holds, self.place())
    }

    /// The start of the data that the step `at` depends on.
    pub fn reach(&self, at: DateTime<Utc>, grid: Grid) -> DateTime<Utc> {
        let Some(window) = self.window(at, grid) else {
            return at;
        };
        let baseline = self.baseline(window).unwrap_or(window);
        window.from.min(baseline.from)
    }
}

fn ms(span: TimeDelta) -> f64 {
    span.num_milliseconds() as f64
}

/// The windows that a step requires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequiredWindows {
    pub window: Option<Window>,
    pub baseline: Option<Window>,
    /// A window of which each second is tallied.
    pub seconds: Option<Window>,
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::rule::{Baseline, Severity, Threshold, TimeWindow};
    use super::super::series::Demand;
    use super::super::state::AlertStatus;
    use super::*;
    use crate::domain::testing::at;

    const GRID: Grid = Grid::MINUTES;

    fn noon() -> DateTime<Utc> {
        at("01-31T12:00")
    }

    fn rule(alert_type: AlertType, threshold: f64, period: Period) -> Rule {
        Rule {
            id: "rule".to_owned(),
            ..Rule::new("finnhub", alert_type, period, threshold)
        }
    }

    fn calls_per_period(value: f64) -> Option<Allowance> {
        Some(Allowance {
            value,
            of_credits: false,
        })
    }

    /// A call: time, success, cached, cost.
    type Call = (DateTime<Utc>, bool, bool, Option<f64>);

    /// The series that these steps of this target need.
    fn series(target: RuleTarget<'_>, steps: &[DateTime<Utc>], calls: &[Call]) -> Series {
        let needs: Vec<RequiredWindows> = steps.iter().map(|at| target.needs(*at, GRID)).collect();
        let windows = needs
            .iter()
            .flat_map(|needs| [needs.window, needs.baseline]);
        let seconds = needs.iter().filter_map(|needs| needs.seconds);
        let mut series = Series::new(Demand::of_rows(windows.flatten(), seconds));
        let rows: Vec<Window> = series.demand().rows.clone();
        for (at, success, cached, cost) in calls {
            if rows.iter().any(|rows| rows.contains(*at)) {
                series.add_rows(*at, Tally::of_call(*success, *cached, *cost));
            }
        }
        series.finish()
    }

    fn read(rule: &Rule, limit: Option<Allowance>, calls: &[Call]) -> Measurement {
        let target = RuleTarget {
            rule,
            api_name: "finnhub",
            limit,
        };
        let begins = calls.iter().map(|call| call.0).min();
        target.read(noon(), GRID, &series(target, &[noon()], calls), begins)
    }

    fn succeeded(count: i64, cached: bool) -> Vec<Call> {
        let call = |n| (noon() - TimeDelta::milliseconds(1 + n), true, cached, None);
        (0..count).map(call).collect()
    }

    fn failed(from: DateTime<Utc>, count: i64) -> Vec<Call> {
        let call = |n| (from + TimeDelta::milliseconds(n), false, false, None);
        (0..count).map(call).collect()
    }

    #[test]
    fn cached_calls_count_only_if_included() {
        let mut rule = rule(AlertType::RateLimitWarning, 80.0, Period::Minute);
        let calls = [succeeded(48, false), succeeded(30, true)].concat();
        let reading = read(&rule, calls_per_period(60.0), &calls);
        assert_eq!(reading.observed.value, Some(80.0));
        assert_eq!(reading.level, Level::Over(Severity::Warning));
        assert_eq!(reading.observed.limit_value, Some(60.0));
        rule.settings.include_cached = true;
        let reading = read(&rule, calls_per_period(60.0), &calls);
        assert_eq!(reading.observed.value, Some(130.0));
    }

    #[test]
    fn limit_in_credits_compares_with_cost() {
        let mut rule = rule(AlertType::RateLimitWarning, 80.0, Period::Day);
        let call = |cached, credits| (noon() - TimeDelta::hours(3), true, cached, Some(credits));
        let limit = Some(Allowance {
            value: 1.0,
            of_credits: true,
        });
        let calls = [
            call(false, 0.1),
            call(false, 0.2),
            call(false, 0.6),
            call(true, 0.5),
        ];
        assert_eq!(read(&rule, limit, &calls).observed.value, Some(90.0));
        rule.settings.include_cached = true;
        assert_eq!(read(&rule, limit, &calls).observed.value, Some(140.0));
    }

    #[test]
    fn busiest_second_of_the_minute_counts() {
        let rule = rule(AlertType::RateLimitWarning, 100.0, Period::Second);
        let second = |second: i64, count: i64| {
            let at = move |n| noon() - TimeDelta::milliseconds(1_000 * second - n);
            let calls = (0..count).map(move |n| (at(n), true, false, None));
            calls.collect::<Vec<Call>>()
        };
        let calls = [second(50, 20), second(49, 35), second(2, 9)].concat();
        let reading = read(&rule, calls_per_period(30.0), &calls);
        assert_eq!(reading.observed.value, Some(100.0 * 35.0 / 30.0));
    }

    #[test]
    fn unknown_value_has_a_reason() {
        let rate = |threshold| rule(AlertType::RateLimitWarning, threshold, Period::Minute);
        let calls = succeeded(1, false);
        let reason = |rule: &Rule, limit, calls: &[Call]| match read(rule, limit, calls).level {
            Level::Unknown(reason) => reason,
            level => panic!("{level:?}"),
        };
        let sixty = calls_per_period(60.0);
        assert!(reason(&rate(80.0), None, &calls).contains("no limit per MINUTE"));
        for limit in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(reason(&rate(80.0), calls_per_period(limit), &calls).contains("invalid limit"));
        }
        for threshold in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(reason(&rate(threshold), sixty, &calls).contains("invalid threshold"));
        }
        assert!(reason(&rate(80.0), sixty, &[]).contains("no call"));
        let week = rule(AlertType::ErrorSpike, 1.0, Period::named("WEEK"));
        assert!(reason(&week, None, &calls).contains("WEEK"));
        let latency = rule(AlertType::named("LATENCY"), 1.0, Period::Hour);
        assert!(reason(&latency, None, &calls).contains("LATENCY"));
    }

    #[test]
    fn error_spike_compares_with_count_or_baseline() {
        let mut rule = rule(AlertType::ErrorSpike, 10.0, Period::Hour);
        // 2 an hour for seven days, then 8 in the last hour.
        let week: Vec<Call> = (1..=168)
            .flat_map(|hours| failed(noon() - TimeDelta::hours(1 + hours), 2))
            .collect();
        let calls = [week, failed(noon() - TimeDelta::minutes(30), 8)].concat();
        assert_eq!(read(&rule, None, &calls).level, Level::Clear);
        rule.threshold = 5.0;
        rule.settings.baseline = Some(Baseline {
            over: TimeDelta::days(7),
            factor: 3.0,
        });
        let reading = read(&rule, None, &calls);
        assert_eq!(
            (reading.observed.value, reading.observed.threshold),
            (Some(8.0), Some(6.0))
        );
        assert_eq!(reading.level, Level::Over(Severity::Warning));
        // The threshold still holds: three times next to nothing is no spike.
        rule.threshold = 9.0;
        assert_eq!(read(&rule, None, &calls).level, Level::Clear);
        // Without the oldest hour the baseline is too short.
        let begins = noon() - TimeDelta::hours(168);
        let younger: Vec<Call> = calls.into_iter().filter(|call| call.0 >= begins).collect();
        let level = read(&rule, None, &younger).level;
        assert!(matches!(level, Level::Unknown(_)));
    }

    #[test]
    fn fewer_calls_than_minimum_are_clear() {
        let mut rule = rule(AlertType::ErrorSpike, 1.0, Period::Minute);
        let calls = failed(noon() - TimeDelta::seconds(30), 3);
        let warning = Level::Over(Severity::Warning);
        assert_eq!(read(&rule, None, &calls).level, warning);
        rule.settings.min_requests = 4;
        assert_eq!(read(&rule, None, &calls).level, Level::Clear);
        rule.settings.min_requests = 3;
        assert_eq!(read(&rule, None, &calls).level, warning);
    }

    #[test]
    fn value_is_clear_between_warning_or_critical() {
        let mut rule = rule(AlertType::ErrorSpike, 4.0, Period::Minute);
        rule.settings.higher = vec![critical(8.0)];
        rule.settings.clear_below = Some(2.0);
        let level = |count| {
            let failed = failed(noon() - TimeDelta::seconds(30), count);
            read(&rule, None, &[succeeded(1, false), failed].concat()).level
        };
        assert_eq!(level(1), Level::Clear);
        assert_eq!(level(2), Level::Between);
        assert_eq!(level(4), Level::Over(Severity::Warning));
        assert_eq!(level(8), Level::Over(Severity::Critical));
    }

    #[test]
    fn oscillation_with_hysteresis_is_one_episode() {
        let mut rule = rule(AlertType::RateLimitWarning, 80.0, Period::Minute);
        rule.settings.clear_below = Some(60.0);
        // 47, 49, 47, 49 ... calls a minute of 60: 78 and 82 percent; then quiet.
        let minute = |n: i64| {
            let count = if n % 2 == 0 { 47 } else { 49 };
            let from = noon() + TimeDelta::minutes(n);
            (0..count).map(move |call| (from + TimeDelta::milliseconds(call), true, false, None))
        };
        let calls: Vec<Call> = (0..60).flat_map(minute).collect();
        let target = RuleTarget {
            rule: &rule,
            api_name: "finnhub",
            limit: calls_per_period(60.0),
        };
        let steps: Vec<_> = GRID
            .steps(noon(), noon() + TimeDelta::minutes(90))
            .collect();
        let series = series(target, &steps, &calls);
        let (state, changes) = target.advance(None, steps, GRID, &series, Some(noon()));
        let states: Vec<_> = changes.iter().map(|change| change.to).collect();
        assert_eq!(states, [AlertStatus::Firing, AlertStatus::Ok]);
        assert_eq!(state.unwrap().status, AlertStatus::Ok);
    }

    fn critical(value: f64) -> Threshold {
        Threshold {
            value,
            severity: Severity::Critical,
            channels: Vec::new(),
        }
    }

    #[test]
    fn higher_threshold_is_left_with_the_same_hysteresis() {
        let mut rule = rule(AlertType::ErrorSpike, 50.0, Period::Minute);
        rule.settings.higher = vec![critical(100.0)];
        rule.settings.clear_below = Some(40.0);
        let target = RuleTarget {
            rule: &rule,
            api_name: "finnhub",
            limit: None,
        };
        let mut state = None;
        let mut reached = Vec::new();
        for (minute, count) in [(0, 60), (1, 100), (2, 90), (3, 89), (4, 95), (5, 45)] {
            let at = noon() + TimeDelta::minutes(minute);
            let calls = failed(at - TimeDelta::seconds(30), count);
            let series = series(target, &[at], &calls);
            let (next, _) =
                target.step(state, at, GRID, &series, Some(noon() - TimeDelta::days(1)));
            reached.push((next.stages.len(), next.severity, next.observed.threshold));
            state = Some(next);
        }
        let warning = (0, Some(Severity::Warning), Some(50.0));
        let critical = (1, Some(Severity::Critical), Some(100.0));
        assert_eq!(
            reached,
            [warning, critical, critical, warning, warning, warning]
        );
    }

    fn any_rule() -> impl Strategy<Value = Rule> {
        let types = proptest::sample::select(AlertType::KNOWN.to_vec());
        let periods = proptest::sample::select(Period::KNOWN.to_vec());
        (
            types,
            periods,
            1..40_i32,
            any::<bool>(),
            0..4_i64,
            0..4_i64,
            any::<bool>(),
        )
            .prop_map(
                |(alert_type, period, threshold, calendar, hold, clear_hold, baseline)| {
                    let mut rule = rule(alert_type, f64::from(threshold), period);
                    let settings = &mut rule.settings;
                    if calendar {
                        settings.window = TimeWindow::Calendar;
                        settings.time_zone = chrono_tz::Tz::Asia__Kathmandu;
                    }
                    settings.hold = TimeDelta::minutes(hold);
                    settings.clear_hold = TimeDelta::minutes(clear_hold);
                    settings.clear_below = (threshold % 2 == 0).then(|| f64::from(threshold) / 2.0);
                    if threshold % 3 == 0 {
                        settings.higher = vec![critical(f64::from(threshold) * 2.0)];
                    }
                    settings.baseline = baseline.then_some(Baseline {
                        over: TimeDelta::hours(2),
                        factor: 2.0,
                    });
                    rule
                },
            )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn chunked_evaluation_equals_stepwise_evaluation(
            rule in any_rule(),
            calls in vec((-180..300_i64, 0..60_000_i64, any::<bool>(), any::<bool>(), 0..9_i32), 0..150),
            mut chunks in vec(1..300_usize, 0..8),
        ) {
            let calls: Vec<Call> = calls
                .into_iter()
                .map(|(minute, ms, success, cached, cost)| {
                    let at = noon() + TimeDelta::minutes(minute) + TimeDelta::milliseconds(ms);
                    (at, success, cached, Some(f64::from(cost)))
                })
                .collect();
            let begins = calls.iter().map(|call| call.0).min();
            let target = RuleTarget { rule: &rule, api_name: "finnhub", limit: calls_per_period(7.0) };
            let steps: Vec<_> = GRID.steps(noon(), noon() + TimeDelta::minutes(300)).collect();
            let whole = series(target, &steps, &calls);
            let (expected, changes) = target.advance(None, steps.clone(), GRID, &whole, begins);

            chunks.push(300);
            let (mut rest, mut state, mut found) = (steps.as_slice(), None, Vec::new());
            for chunk in chunks {
                let (now, later) = rest.split_at(chunk.min(rest.len()));
                let part = series(target, now, &calls);
                let (next, more) = target.advance(state, now.to_vec(), GRID, &part, begins);
                found.extend(more);
                (state, rest) = (next, later);
            }
            prop_assert_eq!(found, changes);
            prop_assert_eq!(state, expected);
        }
    }
}
