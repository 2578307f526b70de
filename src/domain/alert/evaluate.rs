//! The evaluation of one rule for one API: which steps are due, which windows they require, and the value, level
//! and state of each step. `alerts check` and `alerts backtest` share it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};

use super::gaps::Gaps;
use super::rule::{ALL_APIS, AlertType, Rule, RuleFault};
use super::series::{Series, Tally};
use super::state::{
    AlertKey, AlertState, Change, HoldTimes, Level, Measurement, Observation, ThresholdReading,
};
use super::window::{Grid, stretch, window};
use crate::domain::format;
use crate::domain::period::{Period, Window};
use crate::domain::plans::selection::{Billing, BillingCalendars};
use crate::domain::plans::{ApiLimit, Unit};

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allowance {
    pub value: f64,
    /// In credits; otherwise in calls.
    pub of_credits: bool,
}

/// The limits of all APIs, and the calendars of their providers.
#[derive(Clone, Debug, Default)]
pub struct Providers {
    pub limits: HashMap<(String, Period), Allowance>,
    pub billing: BillingCalendars,
}

impl Providers {
    pub fn new(limits: &[ApiLimit], billing: BillingCalendars) -> Providers {
        let limits = limits.iter().map(|limit| {
            let allowance = Allowance {
                value: limit.value,
                of_credits: limit.unit == Unit::Credits,
            };
            ((limit.api_name.clone(), limit.period.clone()), allowance)
        });
        Providers {
            limits: limits.collect(),
            billing,
        }
    }

    /// A rule, applied to an API.
    pub fn target<'a>(&self, rule: &'a Rule, api_name: &'a str, grid: Grid) -> RuleTarget<'a> {
        let key = (api_name.to_owned(), rule.period.clone());
        RuleTarget {
            rule,
            api_name,
            grid,
            limit: self.limits.get(&key).copied(),
            billing: self.billing.of(api_name),
        }
    }
}

/// The usage of an API, as far as a round or a backtest requires it.
#[derive(Debug)]
pub struct ApiUsage {
    pub series: Series,
    /// The first known call.
    pub begins: Option<DateTime<Utc>>,
    pub gaps: Gaps,
}

/// A rule, applied to one API.
#[derive(Clone, Copy, Debug)]
pub struct RuleTarget<'a> {
    pub rule: &'a Rule,
    pub api_name: &'a str,
    /// The steps at which it is evaluated.
    pub grid: Grid,
    /// The API's limit for the rule's period.
    pub limit: Option<Allowance>,
    /// The calendar of the provider.
    pub billing: Billing,
}

#[derive(Clone, Debug, PartialEq)]
pub enum UnknownReason {
    RuleFault(RuleFault),
    NoLimit(Period),
    BadLimit(f64),
    BadBaseline,
    /// The API has no calls: its name may be mistyped.
    NoCalls,
    /// The API has been without calls since then, longer than the rule allows.
    NoCallSince(DateTime<Utc>),
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
                let limit = format::exact(*limit);
                write!(f, "invalid limit {limit}: expected a number above 0")
            }
            UnknownReason::BadBaseline => {
                f.write_str("invalid baseline: expected a duration and a factor above 0")
            }
            UnknownReason::NoCalls => f.write_str("no call to this API was recorded"),
            UnknownReason::NoCallSince(last) => {
                write!(f, "no call was recorded since {}", format::time(*last))
            }
            UnknownReason::ShortHistory { needed, begins } => write!(
                f,
                "not enough history: the baseline begins at {}, the first call was at {}",
                format::time(*needed),
                format::time(*begins)
            ),
        }
    }
}

struct Measured {
    /// None without a call whose percentage it would be, or if it is too small to be known.
    value: Option<f64>,
    threshold: f64,
    calls: u64,
    /// What the value is a percentage of, unless that is the limit.
    whole: Option<f64>,
}

impl<'a> RuleTarget<'a> {
    pub fn place(&self) -> AlertKey<'a> {
        AlertKey {
            alert_id: &self.rule.id,
            api_name: self.api_name,
        }
    }

    /// Whether it is a rule for all APIs that compares with a limit which this API does not have.
    pub fn is_left_out(&self) -> bool {
        self.rule.api_name == ALL_APIS && self.rule.needs_limit() && self.limit.is_none()
    }

    /// The unit of its limit, if its value is a percentage of one.
    pub fn limit_unit(&self) -> Option<Unit> {
        let limit = self.limit.filter(|_| self.rule.needs_limit())?;
        Some(match limit.of_credits {
            true => Unit::Credits,
            false => Unit::Calls,
        })
    }

    pub fn needs(&self, at: DateTime<Utc>) -> RequiredWindows {
        let mut needs = RequiredWindows {
            gap: self.gap_length().map(|least| (least, at)),
            ..RequiredWindows::default()
        };
        if self.rule.alert_type == AlertType::NoData {
            return needs;
        }
        let Some(window) = self.window(at) else {
            return needs;
        };
        if self.stretch().is_some() {
            needs.seconds = Some(window);
        } else {
            needs.window = Some(window);
        }
        needs.baseline = self.baseline(window);
        needs.recent = Some(self.recent(at));
        needs
    }

    pub fn billing(&self) -> Billing {
        let settings = &self.rule.settings;
        Billing {
            anchor_day: settings.month_starts.unwrap_or(self.billing.anchor_day),
            zone: settings.time_zone.unwrap_or(self.billing.zone),
        }
    }

    fn window(&self, at: DateTime<Utc>) -> Option<Window> {
        let rule = self.rule;
        window(&rule.period, rule.window(), self.billing(), at, self.grid)
    }

    fn stretch(&self) -> Option<TimeDelta> {
        stretch(&self.rule.period, self.rule.window())
    }

    /// The length of the gaps between calls that the rule depends on.
    fn gap_length(&self) -> Option<TimeDelta> {
        let rule = self.rule;
        if rule.alert_type != AlertType::NoData {
            return rule.no_data().map(|no_data| no_data.after);
        }
        let clear_below = rule.settings.clear_below.unwrap_or(rule.threshold);
        self.periods(rule.threshold.min(clear_below))
    }

    fn periods(&self, number: f64) -> Option<TimeDelta> {
        let length_ms = ms(self.rule.period.length()?) * number;
        // A number out of range becomes the nearest one in it.
        let length_ms = (length_ms.ceil() as i64).clamp(1, LONGEST_GAP_MS);
        Some(TimeDelta::milliseconds(length_ms))
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

    pub fn read(&self, at: DateTime<Utc>, usage: &ApiUsage) -> Measurement {
        let limit_value = match self.rule.alert_type {
            AlertType::RateLimitWarning => self.limit.map(|limit| limit.value),
            _ => None,
        };
        let no_data = self.rule.no_data().filter(|no_data| !no_data.always);
        let last_call = no_data.and_then(|no_data| usage.gaps.last_call(at, no_data.after));
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
            succeeded: self.has_success(at, &usage.series),
            no_data: last_call.map(|last| UnknownReason::NoCallSince(last).to_string()),
        };
        match self.measure(at, usage) {
            Ok(measured) => {
                (reading.level, reading.thresholds) = self.level(&measured);
                reading.observed.value = measured.value;
                reading.observed.threshold = Some(measured.threshold);
                reading.observed.limit_value = reading.observed.limit_value.or(measured.whole);
            }
            Err(reason) => reading.level = Level::Unknown(reason.to_string()),
        }
        reading
    }

    /// The calls that show that calls are recorded: those since the previous step, and all in the stretches of the step,
    /// since a call may follow failures that are in its busiest stretch and not be in that of the next step.
    fn recent(&self, at: DateTime<Utc>) -> Window {
        let stretches = self.stretch().and_then(|_| self.window(at));
        stretches.unwrap_or_else(|| Window::new(at - self.grid.step(), at))
    }

    /// Whether one of the recent calls succeeded. Any call ends a gap.
    fn has_success(&self, at: DateTime<Utc>, series: &Series) -> bool {
        if self.rule.alert_type == AlertType::NoData {
            return true;
        }
        let recent = series.tally(self.recent(at));
        recent.calls > recent.failed
    }

    fn measure(&self, at: DateTime<Utc>, usage: &ApiUsage) -> Result<Measured, UnknownReason> {
        let (rule, series) = (self.rule, &usage.series);
        rule.check().map_err(UnknownReason::RuleFault)?;
        let unknown_period =
            || UnknownReason::RuleFault(RuleFault::Period(rule.period.to_string()));
        let window = self.window(at).ok_or_else(unknown_period)?;
        let limit = self.limit()?;
        let begins = usage.begins.filter(|begins| *begins < at);
        let begins = begins.ok_or(UnknownReason::NoCalls)?;
        let gap = self.gap_length().unwrap_or(TimeDelta::MAX);
        let last_call = usage.gaps.last_call(at, gap);
        if rule.alert_type == AlertType::NoData {
            let length = rule.period.length().ok_or_else(unknown_period)?;
            return Ok(Measured {
                value: last_call.map(|last| ms(at - last) / ms(length)),
                threshold: rule.threshold,
                calls: u64::MAX,
                whole: None,
            });
        }
        if let Some(last) = last_call.filter(|_| rule.no_data().is_some_and(|it| it.always)) {
            return Err(UnknownReason::NoCallSince(last));
        }
        let tally = self.tally(window, series);
        let whole = if rule.settings.percent {
            Some(tally.calls as f64)
        } else {
            limit
        };
        let amount = self.amount(&tally);
        let mut measured = Measured {
            // Divided last, so that 48 of 60 are 80 percent and not a little less.
            value: match whole {
                Some(whole) if whole > 0.0 => Some((100.0 * amount / whole).min(f64::MAX)),
                Some(_) => None,
                None => Some(amount.min(f64::MAX)),
            },
            threshold: rule.threshold,
            calls: tally.calls,
            whole,
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
            let length = self.stretch().unwrap_or(window.to - window.from);
            let share = ms(length) / ms(baseline.to - baseline.from);
            let usual = self.amount(&series.tally(baseline)) * share;
            // A multiple of almost nothing is no spike: the threshold is a lower bound.
            measured.threshold = rule.threshold.max(settings.factor * usual).min(f64::MAX);
        }
        Ok(measured)
    }

    /// The window of the step `at`, and how much of the limit was used in it.
    pub fn limit_use(&self, at: DateTime<Utc>, series: &Series) -> Option<(Window, f64)> {
        let window = self.window(at)?;
        Some((window, self.amount(&self.tally(window, series))))
    }

    /// The calls in a window, or in its busiest stretch.
    fn tally(&self, window: Window, series: &Series) -> Tally {
        match self.stretch() {
            Some(length) => series.busiest(window, length, |tally| self.rank(tally)),
            None => series.tally(window),
        }
    }

    /// The order of the stretches of which the worst counts: those with too few calls come last.
    fn rank(&self, tally: &Tally) -> f64 {
        let amount = self.amount(tally);
        if tally.calls < self.rule.settings.min_requests || tally.calls == 0 {
            -1.0
        } else if self.rule.settings.percent {
            amount / tally.calls as f64
        } else {
            amount
        }
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
            _ if of_credits => tally.counted(Unit::Credits),
            _ => tally.counted(Unit::Calls),
        }
    }

    /// The level, and the thresholds above the lowest that are not clear. Each is left as far below it as the resolve
    /// threshold is below the lowest.
    fn level(&self, measured: &Measured) -> (Level, Vec<ThresholdReading>) {
        let settings = &self.rule.settings;
        let threshold = measured.threshold;
        let clear_below = settings
            .clear_below
            .filter(|clear| clear.is_finite())
            .map_or(threshold, |clear| clear.min(threshold));
        let Some(value) = measured.value else {
            return (Level::Clear, Vec::new());
        };
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
        usage: &ApiUsage,
    ) -> (Option<AlertState>, Vec<Change>) {
        let mut changes = Vec::new();
        for at in steps {
            let (next, change) = self.step(state, at, usage);
            changes.extend(change);
            state = Some(next);
        }
        (state, changes)
    }

    pub fn step(
        &self,
        before: Option<AlertState>,
        at: DateTime<Utc>,
        usage: &ApiUsage,
    ) -> (AlertState, Option<Change>) {
        let holds = HoldTimes {
            fire: self.rule.settings.hold,
            clear: self.rule.settings.clear_hold,
            requires_success: self.rule.no_data().is_some(),
        };
        let reading = self.read(at, usage);
        AlertState::step(before, reading, holds, self.place())
    }

    /// The start of the data that the step `at` depends on.
    pub fn reach(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        let Some(window) = self.window(at) else {
            return at;
        };
        let rule = self.rule;
        let is_no_data = rule.alert_type == AlertType::NoData;
        let gap = if is_no_data {
            self.periods(rule.highest_threshold())
        } else {
            self.gap_length()
        };
        let gap = at.checked_sub_signed(gap.unwrap_or_default());
        let gap = gap.unwrap_or(Window::ALL.from);
        if is_no_data {
            return gap;
        }
        let baseline = self.baseline(window).unwrap_or(window);
        window.from.min(baseline.from).min(gap)
    }
}

/// A thousand years.
const LONGEST_GAP_MS: i64 = 1_000 * 365 * 86_400_000;

fn ms(span: TimeDelta) -> f64 {
    span.num_milliseconds() as f64
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RequiredWindows {
    pub window: Option<Window>,
    pub baseline: Option<Window>,
    /// The time since the previous step.
    pub recent: Option<Window>,
    /// A window of which each second is tallied.
    pub seconds: Option<Window>,
    /// The least length of gaps between calls, and the end of the time to search.
    pub gap: Option<(TimeDelta, DateTime<Utc>)>,
}

impl RequiredWindows {
    /// The windows that are tallied as a whole.
    pub fn tallied(&self) -> impl Iterator<Item = Window> + use<> {
        let windows = [self.window, self.baseline, self.recent];
        windows.into_iter().flatten()
    }

    /// The least lengths of gaps that steps require, each with the time to search.
    pub fn gaps(needs: &[RequiredWindows]) -> BTreeMap<TimeDelta, Window> {
        let mut gaps: BTreeMap<TimeDelta, Window> = BTreeMap::new();
        for (least, at) in needs.iter().filter_map(|needs| needs.gap) {
            let from = at.checked_sub_signed(least).unwrap_or(Window::ALL.from);
            let from = from.max(Window::ALL.from);
            let all = gaps.entry(least).or_insert(Window::new(from, at));
            *all = Window::new(all.from.min(from), all.to.max(at));
        }
        gaps
    }
}

#[cfg(test)]
impl RuleTarget<'_> {
    /// A rule and its own API, without a limit.
    pub(crate) fn sample(rule: &Rule) -> RuleTarget<'_> {
        RuleTarget {
            rule,
            api_name: &rule.api_name,
            grid: Grid::MINUTES,
            limit: None,
            billing: Billing::default(),
        }
    }
}

/// The usage of these calls, for tests.
#[cfg(test)]
pub(crate) fn usage_of(
    needs: &[RequiredWindows],
    calls: &[(DateTime<Utc>, Tally)],
    begins: Option<DateTime<Utc>>,
) -> ApiUsage {
    use super::series::Demand;
    let windows = needs.iter().flat_map(RequiredWindows::tallied);
    let seconds = needs.iter().filter_map(|needs| needs.seconds);
    let mut series = Series::new(Demand::of_rows(windows, seconds));
    let rows: Vec<Window> = series.demand().rows.clone();
    for (at, tally) in calls {
        if rows.iter().any(|rows| rows.contains(*at)) {
            series.add_rows(*at, *tally);
        }
    }
    let mut times: Vec<DateTime<Utc>> = calls.iter().map(|(at, _)| *at).collect();
    times.sort_unstable();
    let mut gaps = Gaps::default();
    for (least, window) in RequiredWindows::gaps(needs) {
        let place = |at: DateTime<Utc>| times.partition_point(|time| *time < at);
        let before = |at| {
            let call = place(at).checked_sub(1).map(|place| times[place]);
            Ok::<_, ()>(call.or(begins.filter(|begins| *begins < at)))
        };
        let from = |at| Ok(times.get(place(at)).copied());
        gaps.insert(
            least,
            super::gaps::find(least, window, before, from).unwrap(),
        );
    }
    ApiUsage {
        series: series.finish(),
        begins,
        gaps,
    }
}

#[cfg(test)]
mod tests {
    use super::super::rule::{Baseline, Severity, Threshold};
    use super::*;
    use crate::domain::testing::at;

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

    fn target(rule: &Rule, limit: Option<Allowance>) -> RuleTarget<'_> {
        RuleTarget {
            limit,
            ..RuleTarget::sample(rule)
        }
    }

    /// The usage that these steps of this target need.
    fn usage(target: RuleTarget<'_>, steps: &[DateTime<Utc>], calls: &[Call]) -> ApiUsage {
        let needs: Vec<RequiredWindows> = steps.iter().map(|at| target.needs(*at)).collect();
        let tally =
            |&(at, success, cached, cost): &Call| (at, Tally::of_call(success, cached, cost));
        let begins = calls.iter().map(|call| call.0).min();
        let calls: Vec<_> = calls.iter().map(tally).collect();
        usage_of(&needs, &calls, begins)
    }

    fn read(rule: &Rule, limit: Option<Allowance>, calls: &[Call]) -> Measurement {
        let target = target(rule, limit);
        target.read(noon(), &usage(target, &[noon()], calls))
    }

    fn failed(from: DateTime<Utc>, count: i64) -> Vec<Call> {
        let call = |n| (from + TimeDelta::milliseconds(n), false, false, None);
        (0..count).map(call).collect()
    }

    #[test]
    fn cached_calls_and_their_credits_count_only_if_included() {
        let mut rule = rule(AlertType::RateLimitWarning, 80.0, Period::Minute);
        let call = |cached, credits| (noon() - TimeDelta::seconds(9), true, cached, Some(credits));
        let calls = [
            call(false, 0.1),
            call(false, 0.2),
            call(false, 0.6),
            call(true, 0.5),
        ];
        for (of_credits, limit, include_cached, expected) in [
            (false, 4.0, false, 75.0),
            (false, 4.0, true, 100.0),
            (true, 1.0, false, 90.0),
            (true, 1.0, true, 140.0),
        ] {
            rule.settings.include_cached = include_cached;
            let allowance = Allowance {
                value: limit,
                of_credits,
            };
            let observed = read(&rule, Some(allowance), &calls).observed;
            let found = (observed.value, observed.limit_value);
            assert_eq!(found, (Some(expected), Some(limit)));
        }
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
    fn success_after_the_failures_of_a_busiest_minute_counts() {
        let rule = rule(AlertType::ErrorSpike, 10.0, Period::Minute);
        let target = target(&rule, None);
        let success = (noon() + TimeDelta::seconds(10), true, false, None);
        let calls = [failed(noon() - TimeDelta::seconds(50), 20), vec![success]].concat();
        let steps = [0, 1, 2, 3].map(|minute| noon() + TimeDelta::minutes(minute));
        let usage = usage(target, &steps, &calls);
        let read = steps.map(|at| target.read(at, &usage));
        let found = read.map(|it| (it.observed.value, it.succeeded));
        let [over, clear] = [Some(20.0), Some(0.0)];
        let expected = [(over, false), (over, true), (clear, true), (clear, false)];
        assert_eq!(found, expected);
    }

    #[test]
    fn unknown_value_has_a_reason() {
        let rate = |threshold| rule(AlertType::RateLimitWarning, threshold, Period::Minute);
        let calls = [(noon() - TimeDelta::seconds(1), true, false, None)];
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
        let found = (reading.observed.value, reading.observed.threshold);
        assert_eq!(found, (Some(8.0), Some(6.0)));
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
    fn without_calls_there_is_no_percentage() {
        let mut rule = rule(AlertType::ErrorSpike, 5.0, Period::Hour);
        rule.settings.percent = true;
        let earlier = failed(noon() - TimeDelta::hours(3), 1);
        let none = read(&rule, None, &earlier);
        assert_eq!((none.observed.value, none.level), (None, Level::Clear));
    }

    #[test]
    fn higher_threshold_is_left_with_the_same_hysteresis() {
        let mut rule = rule(AlertType::ErrorSpike, 50.0, Period::Minute);
        rule.settings.higher = vec![Threshold::sample(100.0, Severity::Critical, &[])];
        rule.settings.clear_below = Some(40.0);
        let target = target(&rule, None);
        let mut state = None;
        let mut reached = Vec::new();
        for (minute, count) in [(0, 60), (1, 100), (2, 90), (3, 89), (4, 95), (5, 45)] {
            let at = noon() + TimeDelta::minutes(minute);
            let calls = failed(at - TimeDelta::seconds(30), count);
            let usage = usage(target, &[at], &calls);
            let (next, _) = target.step(state, at, &usage);
            reached.push((next.stages.len(), next.severity, next.observed.threshold));
            state = Some(next);
        }
        let warning = (0, Some(Severity::Warning), Some(50.0));
        let critical = (1, Some(Severity::Critical), Some(100.0));
        let expected = [warning, critical, critical, warning, warning, warning];
        assert_eq!(reached, expected);
    }
}
