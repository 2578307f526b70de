//! The answer of `recommend forecast`.

use chrono::{DateTime, Utc};

use crate::domain::capacity::Capacity;
use crate::domain::forecast::{
    Band, Basis, Confidence, Crossing, DayNumber, Forecast, InsufficientData, PeriodTotal,
    day_date, day_number,
};
use crate::domain::format::{at_least, count, counted, number, percent, time, time_ms, with_range};
use crate::domain::metrics::names::{Measure, Metric, MetricKind};
use crate::domain::plans::{LimitPeriod, Origin};
use crate::domain::recommendation::cost::decimal;
use crate::domain::recommendation::figure::{Unit, with_unit};
use crate::output::chart::{self, ForecastChart};
use crate::output::prelude::*;

#[derive(Debug)]
pub struct Forecasts {
    pub now: DateTime<Utc>,
    pub items: Vec<Item>,
    /// Whether each series is shown with a chart and the basis of its forecast.
    pub explain: bool,
}

#[derive(Debug)]
pub struct Item(pub Capacity);

const CHART_DAYS: DayNumber = 60;
/// Readings that a forecast of low confidence requires.
const FEWEST_READINGS: u32 = 2;
/// The thresholds, in the order of [`Forecast::crossings`].
const THRESHOLDS: [&str; 3] = ["warning", "critical", "limit"];

impl Item {
    /// `None` for rates, which are not forecast, and with insufficient data.
    fn forecast(&self) -> Option<&Forecast> {
        self.0.known_forecast()
    }

    /// As the limit has it: the daily values of a pace are forecast as levels.
    fn kind(&self) -> MetricKind {
        let limit = self.0.limit.as_ref();
        limit.map_or(self.0.kind, |limit| limit.kind)
    }

    fn plan(&self) -> Option<&str> {
        self.0.limit.as_ref().map(|limit| limit.plan.as_str())
    }

    fn current_period(&self) -> Option<&PeriodTotal> {
        self.forecast()?.periods.first()
    }

    /// The chart, or the note why there is none.
    pub(super) fn drawn(&self) -> String {
        let chart = self.forecast().map(|forecast| chart(self, forecast));
        chart.unwrap_or_else(|| format!("{}\n", self.note()))
    }

    /// A number that is a lower bound if the usage is.
    fn bound(&self, number: String) -> String {
        at_least(number, self.0.is_at_least())
    }

    fn value(&self, value: f64) -> String {
        let unit = Unit::Of(self.0.series.metric);
        match (self.0.series.metric, decimal(value)) {
            (Metric::CostUsd, Some(value)) => with_unit(value, unit),
            _ => number(value),
        }
    }

    fn days_to_limit(&self) -> Option<String> {
        let forecast = self.forecast()?;
        Some(days_text(forecast.crossings.last()?, forecast.horizon))
    }

    /// What limits the reliability of the forecast.
    fn caveats(&self) -> Vec<String> {
        let mut notes = Vec::new();
        notes.extend(self.0.reason.as_ref().map(ToString::to_string));
        match self.0.forecast() {
            _ if self.0.kind == MetricKind::Rate => {}
            Err(InsufficientData { days, needed }) => notes.push(match self.0.measure {
                Measure::Pace => format!("insufficient data: {days} of {needed} days"),
                Measure::Amount => {
                    "insufficient data: two readings of the period, an hour apart, are required"
                        .to_owned()
                }
                Measure::Level | Measure::Peak => {
                    "insufficient data: two readings, an hour apart, are required".to_owned()
                }
            }),
            Ok(forecast) if forecast.confidence == Confidence::Low => {
                notes.push("low confidence".to_owned());
            }
            Ok(_) => {}
        }
        notes
    }

    fn note(&self) -> String {
        let mut notes = self.caveats();
        if self.0.limit.is_none() {
            notes.push("no limit".to_owned());
        }
        notes.join(", ")
    }
}

/// Days until a threshold is reached: `16 (12 to 22)`, `>90` beyond the horizon.
fn days_text(crossing: &Crossing, horizon: usize) -> String {
    let text = |days: Option<u32>| days.map_or_else(|| format!(">{horizon}"), count);
    match crossing.days {
        [None, ..] => format!("not within {horizon}"),
        _ if crossing.reached => "reached".to_owned(),
        [_, _, Some(0)] => "today".to_owned(),
        [low, middle, high] => with_range(text(middle), text(low), Some(text(high))),
    }
}

fn probability(crossing: Option<&Crossing>, index: usize) -> Cell {
    let value = crossing.and_then(|it| it.probabilities[index]);
    Cell::percent(value.map(|value| value * 100.0))
}

/// The columns of the list; CSV also has the warning and critical thresholds.
fn item_columns<'a>() -> Vec<Column<'a, Item>> {
    type Col<'a> = Column<'a, Item>;
    const CSV: [&str; 3] = [
        "days_to_warning_p10 days_to_warning_p50 days_to_warning_p90 \
         warning_chance_7d warning_chance_30d warning_chance_90d",
        "days_to_critical_p10 days_to_critical_p50 days_to_critical_p90 \
         critical_chance_7d critical_chance_30d critical_chance_90d",
        "days_to_limit_p10 days_to_limit_p50 days_to_limit_p90 \
         limit_chance_7d limit_chance_30d limit_chance_90d",
    ];
    let money = |it: &Item, value| Cell::measured(it.0.series.metric, value);
    let mut columns = vec![
        Col::left("SERVICE", "service", |it| Cell::text(it.0.series.service)),
        Col::left("METRIC", "metric", |it| Cell::text(it.0.series.metric)),
        Col::table_only("RESOURCE", |it| Cell::Text(it.0.resources_text())).if_any(),
        Col::csv_only("resource", |it| Cell::text(it.0.resource())),
        Col::csv_only("resources", |it| Cell::count(it.0.resources as u64)),
        Col::csv_only("kind", |it| Cell::text(it.kind())),
        Col::csv_only("plan", |it| Cell::maybe(it.plan())),
        Col::right("NOW", "value", move |it| {
            money(it, it.0.usage).at_least(it.0.is_at_least())
        }),
        Col::right("LIMIT", "limit_value", move |it| {
            money(it, it.0.limit_value())
        }),
        Col::right("USED", "percent_of_limit", |it| {
            Cell::percent(it.0.percent()).at_least(it.0.is_at_least())
        }),
        Col::csv_only("at_least", |it| Cell::Bool(it.0.is_at_least())),
        Col::table_only("DAYS TO LIMIT", |it| Cell::maybe(it.days_to_limit())),
    ];
    for (threshold, names) in CSV.into_iter().enumerate() {
        for (index, name) in names.split(' ').enumerate() {
            columns.push(Col::csv_only(name, move |it| {
                let crossing = it.0.crossing(threshold);
                if index < 3 {
                    Cell::or_missing(crossing.and_then(|it| it.days[index]), Cell::count)
                } else {
                    Cell::number(crossing.and_then(|it| it.probabilities[index - 3]))
                }
            }));
        }
    }
    let total = |it: &Item| it.current_period().map(|it| it.total);
    columns.extend([
        Col::table_only("30D", |it| probability(it.0.crossing(2), 1)),
        Col::csv_only("total_p10", move |it| {
            Cell::number(total(it).map(|it| it.p10))
        }),
        Col::right("PERIOD END", "total_p50", move |it| {
            money(it, total(it).map(|it| it.p50))
        }),
        Col::csv_only("total_p90", move |it| {
            Cell::number(total(it).map(|it| it.p90))
        }),
        Col::csv_only("chance_over", |it| Cell::number(it.0.chance_over())),
        Col::csv_only("note", |it| Cell::text(it.note())),
        Col::table_only("NOTE", |it| match it.caveats().join(", ") {
            none if none.is_empty() => Cell::Missing,
            notes => Cell::Text(notes),
        })
        .dropped(1)
        .if_any(),
    ]);
    columns
}

impl Answer for Forecasts {
    fn table(&self, width: Option<usize>) -> String {
        match self.items.as_slice() {
            [] => String::new(),
            [one] if !self.explain => page(one, false),
            items if self.explain => {
                let pages = items.iter().map(|item| page(item, true));
                pages.collect::<Vec<_>>().join("\n")
            }
            items => columns::table(&item_columns(), items, width),
        }
    }

    fn json(&self) -> impl Serialize {
        object! {
            now: time_ms(self.now),
            series: self.items.iter().map(Item::json).collect::<Vec<_>>(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&item_columns(), &self.items)
    }
}

/// One series with its chart, and with the basis of its forecast if asked for.
fn page(item: &Item, explain: bool) -> String {
    let mut text = printable(&item.0.series.to_string()).into_owned();
    if let Some(limit) = &item.0.limit {
        let plan = printable(&limit.plan);
        text.push_str(&match (limit.origin, limit.plan.as_str()) {
            (Origin::Budget, "budget") => ", budget".to_owned(),
            (Origin::Budget, _) => format!(", budget {plan}"),
            _ => format!(", plan {plan}"),
        });
    }
    if let Some(now) = item.0.usage {
        text.push_str(&format!(": {}", item.bound(item.value(now))));
    }
    if let (Some(share), Some(limit)) = (item.0.percent(), item.0.limit_value()) {
        let share = item.bound(percent(share));
        text.push_str(&format!(" of {} ({share})", item.value(limit)));
    }
    text.push_str(&item.0.span());
    if let Some(at) = item.0.measured_at {
        text.push_str(&format!(", measured {}", time(at)));
    }
    text.push('\n');
    let note = item.note();
    if !note.is_empty() {
        text.push_str(&format!("{note}\n"));
    }
    let Some(forecast) = item.forecast() else {
        return text;
    };
    if !forecast.crossings.is_empty() {
        text.push_str(&format!("\n{}", crossings_table(item, forecast)));
    }
    if let Some(period) = forecast.periods.first().filter(|_| !is_daily_limit(item)) {
        let period = period_text(period, item);
        text.push_str(&format!("\n{period}\n"));
    }
    let chart = chart(item, forecast);
    if !chart.is_empty() {
        text.push_str(&format!("\n{chart}"));
    }
    if explain {
        text.push('\n');
        for line in basis_text(&forecast.basis) {
            text.push_str(&format!("  {line}\n"));
        }
    }
    text
}

/// A period of one day is too short for a chart.
fn is_daily_limit(item: &Item) -> bool {
    let limit = item.0.limit.as_ref();
    limit.is_some_and(|limit| limit.period == Some(LimitPeriod::Day))
}

fn crossings_table(item: &Item, forecast: &Forecast) -> String {
    type Row<'a> = (&'static str, &'a Crossing);
    type Col<'a> = Column<'a, Row<'a>>;
    let rows: Vec<Row<'_>> = THRESHOLDS.into_iter().zip(&forecast.crossings).collect();
    let days = |(_, crossing): &Row<'_>| Cell::text(days_text(crossing, forecast.horizon));
    let columns = [
        Col::left("THRESHOLD", "", |(name, _)| Cell::text(name)),
        Col::right("VALUE", "", |(_, it)| {
            Cell::measured(item.0.series.metric, Some(it.threshold))
        }),
        Column::left("DAYS", "", days),
        Col::right("WITHIN 7D", "", |(_, it)| probability(Some(it), 0)),
        Col::right("30D", "", |(_, it)| probability(Some(it), 1)),
        Col::right("90D", "", |(_, it)| probability(Some(it), 2)),
    ];
    columns::table(&columns, &rows, None)
}

fn period_text(period: &PeriodTotal, item: &Item) -> String {
    let [from, to] = [period.from, period.to].map(day_date);
    let value = |value| item.value(value);
    let used = item.0.usage.map(|used| item.bound(value(used)));
    let used = used.unwrap_or_else(|| "unknown".to_owned());
    let Band { p10, p50, p90 } = period.total;
    let total = with_range(value(p50), value(p10), Some(value(p90)));
    let mut text = format!("{from} to {to}: used {used}, expected total {total}");
    if let Some(limit) = item.0.limit_value() {
        let chance = percent(period.chance_over(limit) * 100.0);
        let [limit, overage] = [limit, period.expected_overage(limit)].map(value);
        text += &format!("; {chance} chance to exceed {limit}, expected overage {overage}");
    }
    text
}

fn chart(item: &Item, forecast: &Forecast) -> String {
    let values = forecast.crossings.iter().map(|it| it.threshold);
    let lines = values.zip(THRESHOLDS);
    let lines = lines.map(|(value, name)| (value, format!("{name} {}", item.value(value))));
    let lines: Vec<(f64, String)> = lines.collect();
    let days = item.0.daily.days.iter().copied();
    let cumulative = item.0.kind == MetricKind::Period && !is_daily_limit(item);
    let (past, ahead) = match forecast.periods.first().filter(|_| cumulative) {
        Some(period) => (running_total(period, days), forecast.period_bands()),
        None => {
            let from = day_number(forecast.basis.last) - CHART_DAYS;
            let past = days.filter(|(day, _)| *day > from);
            (past.collect(), forecast.daily_bands())
        }
    };
    chart::forecast(&ForecastChart {
        past: &past,
        ahead: &ahead,
        lines: &lines,
    })
}

/// The running total of a period on each of its days, shifted to end at its known usage; without the days before a
/// counter restarted.
fn running_total(
    period: &PeriodTotal,
    days: impl Iterator<Item = (DayNumber, f64)>,
) -> Vec<(DayNumber, f64)> {
    let mut sum = 0.0;
    let days = days.filter(|(day, _)| *day >= period.from);
    let totals = days.map(|(day, value)| {
        sum += value;
        (day, sum)
    });
    let mut totals: Vec<(DayNumber, f64)> = totals.collect();
    let missing = period.used - sum;
    totals.iter_mut().for_each(|(_, total)| *total += missing);
    totals.retain(|(_, total)| period.used < 0.0 || *total >= 0.0);
    totals
}

fn basis_text(basis: &Basis) -> Vec<String> {
    let drift = |drift: f64| {
        let sign = if drift > 0.0 { "+" } else { "" };
        if basis.drift_is_share {
            format!("{sign}{:.2}% a day", drift * 100.0)
        } else {
            format!("{sign}{} a day", number(drift))
        }
    };
    let mut trend = format!("trend: {}", drift(basis.drift));
    if basis.recent_share > 0.0 {
        let (drift, share) = (
            drift(basis.recent_drift),
            percent(basis.recent_share * 100.0),
        );
        trend += &format!("; last two weeks: {drift}, continued in {share} of the paths");
    }
    let (days, first, last) = (counted(basis.days as u64, "day"), basis.first, basis.last);
    let alpha = number(basis.alpha);
    let mut lines = vec![
        format!("history: {days}, {first} to {last}"),
        trend,
        format!("smoothing: alpha {alpha} (0: fixed line, 1: random walk)"),
    ];
    if basis.weekdays {
        lines.push("weekly pattern: yes".to_owned());
    }
    if basis.spikes > 0 {
        let spikes = counted(basis.spikes as u64, "isolated spike");
        lines.push(format!("ignored: {spikes}"));
    }
    let step = |day| format!("step on {day}: earlier values are moved to match");
    lines.extend(basis.resets.iter().map(step));
    let factor = basis.calibration.factor;
    let checks = counted(basis.calibration.checks as u64, "past forecast");
    let band = format!("band: {factor:.2} times the model's own, calibrated on {checks}");
    lines.push(band);
    lines
}

impl Item {
    pub(super) fn json(&self) -> impl Serialize {
        let (series, kind) = (&self.0.series, self.0.kind);
        let forecast = self.forecast();
        let missing = self.0.forecast().err();
        let by_readings = self.0.measure != Measure::Pace;
        let crossings = forecast.map_or(&[][..], |it| &it.crossings).iter();
        let thresholds = THRESHOLDS.into_iter().zip(crossings).map(threshold_json);
        let bands = forecast.map(Forecast::daily_bands).unwrap_or_default();
        let bands = bands.into_iter();
        let bands = bands.map(|(day, band)| object! { day: day_date(day), ..band });
        object! {
            service: series.service,
            metric: series.metric,
            resource: &series.resource,
            resources: self.0.resources,
            kind: self.kind(),
            measure: self.0.measure,
            plan: self.plan(),
            value: self.0.usage,
            measured_at: self.0.measured_at.map(time_ms),
            limit_value: self.0.limit_value(),
            percent: self.0.percent(),
            at_least: self.0.is_at_least(),
            state: self.0.limit.as_ref().map(|_| self.0.state),
            missing_days: self.0.missing,
            outcome: match (kind, missing) {
                (MetricKind::Rate, _) => "not forecast",
                (_, Some(_)) => "insufficient data",
                (_, None) if forecast.is_none() => "stale data",
                (_, None) => "forecast",
            },
            days_of_data: missing.map_or(self.0.daily.days.len(), |missing| missing.days),
            days_needed: missing.filter(|_| !by_readings).map(|missing| missing.needed),
            readings_needed: missing.filter(|_| by_readings).map(|_| FEWEST_READINGS),
            confidence: forecast.map(|forecast| forecast.confidence),
            horizon_days: forecast.map(|forecast| forecast.horizon),
            thresholds: thresholds.collect::<Vec<_>>(),
            period: self.current_period().map(|period| self.period_json(period)),
            basis: forecast.map(|forecast| &forecast.basis),
            bands: bands.collect::<Vec<_>>(),
        }
    }

    fn period_json(&self, period: &PeriodTotal) -> impl Serialize {
        let limit = self.0.limit_value();
        object! {
            from: day_date(period.from),
            to: day_date(period.to),
            used: self.0.usage,
            total: period.total,
            chance_over: self.0.chance_over(),
            expected_overage: limit.map(|limit| period.expected_overage(limit)),
            elapsed_percent: self.0.elapsed_percent,
        }
    }
}

fn threshold_json((name, crossing): (&'static str, &Crossing)) -> impl Serialize + use<> {
    // Null: not within the horizon.
    let [p10, p50, p90] = crossing.days;
    let [week, month, quarter] = crossing.probabilities;
    object! {
        name: name,
        value: crossing.threshold,
        reached: crossing.reached,
        days: object! { p10: p10, p50: p50, p90: p90 },
        chance_within_7_days: week,
        chance_within_30_days: month,
        chance_within_90_days: quarter,
    }
}
