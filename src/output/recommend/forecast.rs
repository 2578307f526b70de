//! What `recommend forecast` answers.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::domain::capacity::forecast::{LimitedSeries, RecentRate};
use crate::domain::forecast::{
    Band, Confidence, Crossing, DailyValue, DayNumber, Forecast, InsufficientData, PeriodTotal,
    Probability, day_date, day_number,
};
use crate::domain::format::counted;
use crate::domain::metrics::names::{Metric, MetricKind, Service};
use crate::domain::metrics::point::Point;
use crate::domain::period::shown;
use crate::domain::plans::LimitPeriod;
use crate::output::Answer;
use crate::output::chart::{Course, course};
use crate::output::printable;
use crate::output::table::{Side, amount, layout};

/// Forecasts of several series.
#[derive(Debug)]
pub struct Forecasts {
    pub now: DateTime<Utc>,
    pub items: Vec<Item>,
    /// Whether each is shown with a chart, and with what it was made from.
    pub explain: bool,
}

/// The forecast of one series.
#[derive(Debug)]
pub struct Item {
    /// The series and its limit.
    pub subject: LimitedSeries,
    pub newest: Option<Point>,
    /// The daily values that it was made from.
    pub past: Vec<DailyValue>,
    /// The forecast, or why there is none.
    pub answer: Result<Forecast, InsufficientData>,
    /// Of rates, how they did lately.
    pub lately: Option<RecentRate>,
}

const UNKNOWN: &str = "-";
/// So many days of the past are drawn.
const DRAWN_DAYS: DayNumber = 60;
const CHANCES: [&str; 3] = ["7 D", "30 D", "90 D"];
const LINES: [&str; 3] = ["warning", "critical", "limit"];

impl Item {
    /// The forecast, where one was made. Rates are not forecast.
    fn forecast(&self) -> Option<&Forecast> {
        let forecast = self.answer.as_ref().ok()?;
        (self.subject.kind != MetricKind::Rate).then_some(forecast)
    }

    /// What is compared with the limit: the level, what was used of the period, or how slow it was.
    fn now(&self) -> Option<f64> {
        match self.subject.kind {
            MetricKind::Gauge => Some(
                self.forecast()
                    .map_or(self.past.last()?.value, |it| it.latest),
            ),
            MetricKind::Period => Some(self.forecast()?.periods.first()?.used),
            MetricKind::Rate => Some(self.lately?.p95),
        }
    }

    /// The chart; what there is to say instead where too little is known to draw one.
    pub(super) fn drawn(&self) -> String {
        let chart = self.forecast().map(|forecast| chart(self, forecast));
        chart.unwrap_or_else(|| format!("{}\n", self.remark()))
    }

    /// What is compared with the limit, in words.
    pub(super) fn now_in_words(&self) -> String {
        self.now().map_or_else(|| UNKNOWN.to_owned(), amount)
    }

    /// What part of the limit that is, in words.
    pub(super) fn share_in_words(&self) -> String {
        self.share_of_limit()
            .map_or_else(|| UNKNOWN.to_owned(), percent)
    }

    /// In how many days the limit is reached, in words.
    pub(super) fn days_to_limit_in_words(&self) -> String {
        let forecast = self.forecast();
        let days = forecast.and_then(|it| Some(days_in_words(it.crossings.last()?, it.horizon)));
        days.unwrap_or_else(|| UNKNOWN.to_owned())
    }

    fn limit(&self) -> Option<f64> {
        self.subject.limit.as_ref().map(|limit| limit.value)
    }

    fn share_of_limit(&self) -> Option<f64> {
        Some(self.now()? / self.limit()?)
    }

    /// The last line is the limit itself.
    fn limit_passage(&self) -> Option<&Crossing> {
        self.forecast()?.crossings.last()
    }

    /// What is not in the numbers.
    fn remark(&self) -> String {
        let mut remarks = Vec::new();
        match (&self.answer, self.subject.kind) {
            (_, MetricKind::Rate) => {
                remarks.extend(self.lately.map(|it| lately_in_words(it, self.limit())))
            }
            (Err(missing), _) => remarks.push(insufficient(*missing)),
            (Ok(forecast), _) if forecast.confidence == Confidence::Low => {
                remarks.push("low confidence".to_owned());
            }
            _ => {}
        }
        if self.subject.limit.is_none() {
            remarks.push("no limit is known".to_owned());
        }
        remarks.join(", ")
    }
}

fn insufficient(missing: InsufficientData) -> String {
    let days = counted(missing.days as u64, "day");
    format!("insufficient data: {days} of {}", missing.needed)
}

fn lately_in_words(lately: RecentRate, limit: Option<f64>) -> String {
    let days = counted(lately.days as u64, "day");
    let worst = format!("p95 of {days}, worst {}", amount(lately.worst));
    match limit {
        Some(_) => format!("{worst}, over on {}", lately.over),
        None => worst,
    }
}

/// `16 (12 to 22)`; what lies beyond the horizon is told as that.
fn days_in_words(crossing: &Crossing, horizon: usize) -> String {
    let beyond = format!(">{horizon}");
    let word = |days: Option<u32>| days.map_or_else(|| beyond.clone(), |days| days.to_string());
    match crossing.days {
        [None, ..] => format!("not within {horizon}"),
        _ if crossing.reached => "reached".to_owned(),
        [_, _, Some(0)] => "today".to_owned(),
        [low, middle, high] => format!("{} ({} to {})", word(middle), word(low), word(high)),
    }
}

fn chance_in_words(chance: &Probability) -> String {
    chance.value.map_or_else(|| UNKNOWN.to_owned(), percent)
}

/// A share; one that is not certain does not look certain.
fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent > 0.0 && percent < 1.0 => "<1%".to_owned(),
        percent if percent > 99.0 && percent < 100.0 => ">99%".to_owned(),
        percent => format!("{percent:.0}%"),
    }
}

fn band_in_words(band: Band) -> String {
    format!(
        "{} ({} to {})",
        amount(band.p50),
        amount(band.p10),
        amount(band.p90)
    )
}

impl Answer for Forecasts {
    fn table(&self, _width: Option<usize>) -> String {
        if self.explain {
            let pages = self.items.iter().map(page).collect::<Vec<_>>();
            return pages.join("\n");
        }
        match self.items.as_slice() {
            [] => String::new(),
            [one] => page_without_basis(one),
            many => overview(many),
        }
    }

    fn json(&self) -> impl Serialize {
        Json {
            now: shown(self.now),
            series: self.items.iter().map(ItemJson::new).collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let mut header: Vec<String> = [
            "service", "metric", "resource", "kind", "plan", "now", "limit",
        ]
        .map(str::to_owned)
        .to_vec();
        for line in LINES {
            header.extend(["p10", "p50", "p90"].map(|p| format!("days_to_{line}_{p}")));
            header.extend([7, 30, 90].map(|days| format!("{line}_chance_{days}d")));
        }
        header.extend(
            [
                "total_p10",
                "total_p50",
                "total_p90",
                "chance_over",
                "remark",
            ]
            .map(str::to_owned),
        );
        let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
        let rows = self.items.iter().map(|item| {
            let subject = &item.subject;
            let mut row = vec![
                subject.series.service.to_string(),
                subject.series.metric.to_string(),
                subject.series.resource.clone(),
                subject.kind.to_string(),
                subject
                    .limit
                    .as_ref()
                    .map_or_else(String::new, |limit| limit.plan.clone()),
                number(item.now()),
                number(item.limit()),
            ];
            for at in 0..LINES.len() {
                let crossing = item.forecast().and_then(|it| it.crossings.get(at));
                for days in crossing.map_or([None; 3], |it| it.days) {
                    row.push(number(days.map(f64::from)));
                }
                let chances =
                    crossing.map_or([None; 3], |it| it.probabilities.map(|chance| chance.value));
                row.extend(chances.map(number));
            }
            let period = item.forecast().and_then(|it| it.periods.first());
            let total = period.map(|it| it.total);
            row.extend(
                [
                    total.map(|it| it.p10),
                    total.map(|it| it.p50),
                    total.map(|it| it.p90),
                ]
                .map(number),
            );
            row.push(number(
                period.and_then(|it| Some(it.chance_over(item.limit()?))),
            ));
            row.push(item.remark());
            row
        });
        std::iter::once(header).chain(rows).collect()
    }
}

/// A line for each series.
fn overview(items: &[Item]) -> String {
    let resources = items
        .iter()
        .any(|item| !item.subject.series.resource.is_empty());
    let mut columns = vec![("SERVICE", Side::Left), ("METRIC", Side::Left)];
    if resources {
        columns.push(("RESOURCE", Side::Left));
    }
    columns.extend([
        ("NOW", Side::Right),
        ("LIMIT", Side::Right),
        ("OF LIMIT", Side::Right),
        ("DAYS TO LIMIT", Side::Left),
    ]);
    columns.extend(CHANCES.map(|heading| (heading, Side::Right)));
    columns.extend([("THIS PERIOD", Side::Left), ("", Side::Left)]);
    let rows = items.iter().map(|item| {
        let series = &item.subject.series;
        let mut row = vec![series.service.to_string(), series.metric.to_string()];
        if resources {
            row.push(series.resource.clone());
        }
        let known = |value: Option<String>| value.unwrap_or_else(|| UNKNOWN.to_owned());
        row.push(known(item.now().map(amount)));
        row.push(known(item.limit().map(amount)));
        row.push(known(item.share_of_limit().map(percent)));
        let forecast = item.forecast();
        let crossing = item.limit_passage();
        let days = |crossing| forecast.map(|it| days_in_words(crossing, it.horizon));
        row.push(known(crossing.and_then(days)));
        for at in 0..CHANCES.len() {
            row.push(known(
                crossing.map(|it| chance_in_words(&it.probabilities[at])),
            ));
        }
        let total = forecast
            .and_then(|it| it.periods.first())
            .map(|it| band_in_words(it.total));
        row.push(known(total));
        row.push(item.remark());
        row
    });
    layout(&columns, rows)
}

/// One series with its chart.
fn page_without_basis(item: &Item) -> String {
    let subject = &item.subject;
    let mut text = printable(&subject.series.to_string()).into_owned();
    if let Some(limit) = &subject.limit {
        text.push_str(&format!(", plan {}", printable(&limit.plan)));
    }
    let now = match (item.now(), item.limit()) {
        (Some(now), Some(limit)) => {
            let share = percent(now / limit);
            format!(": {} of {} ({share})", amount(now), amount(limit))
        }
        (Some(now), None) => format!(": {}", amount(now)),
        (None, _) => String::new(),
    };
    text.push_str(&now);
    if let Some(newest) = &item.newest {
        text.push_str(&format!(", measured {}", shown(newest.at)));
    }
    text.push('\n');
    let remark = item.remark();
    if !remark.is_empty() {
        text.push_str(&format!("{remark}\n"));
    }
    let Some(forecast) = item.forecast() else {
        return text;
    };
    if !forecast.crossings.is_empty() {
        text.push('\n');
        text.push_str(&crossings(forecast));
    }
    if let Some(period) = forecast.periods.first().filter(|_| !counts_by_day(item)) {
        text.push_str(&format!("\n{}\n", total_in_words(period, item.limit())));
    }
    let chart = chart(item, forecast);
    if !chart.is_empty() {
        text.push_str(&format!("\n{chart}"));
    }
    text
}

/// The same, and what its forecast was made from.
fn page(item: &Item) -> String {
    let mut text = page_without_basis(item);
    if let Some(forecast) = item.forecast() {
        text.push('\n');
        for line in basis_in_words(forecast) {
            text.push_str(&format!("  {line}\n"));
        }
    }
    text
}

/// A limit of each day: the period is too short to be drawn.
fn counts_by_day(item: &Item) -> bool {
    item.subject.period == Some(LimitPeriod::Day)
}

fn crossings(forecast: &Forecast) -> String {
    let mut columns = vec![
        ("LINE", Side::Left),
        ("AT", Side::Right),
        ("IN DAYS", Side::Left),
    ];
    columns.extend(CHANCES.map(|heading| (heading, Side::Right)));
    let rows = forecast
        .crossings
        .iter()
        .zip(LINES)
        .map(|(crossing, name)| {
            let mut row = vec![
                name.to_owned(),
                amount(crossing.threshold),
                days_in_words(crossing, forecast.horizon),
            ];
            row.extend(crossing.probabilities.iter().map(chance_in_words));
            row
        });
    layout(&columns, rows)
}

fn total_in_words(period: &PeriodTotal, limit: Option<f64>) -> String {
    let mut text = format!(
        "{} to {}: {} used, {} at its end",
        day_date(period.from),
        day_date(period.to),
        amount(period.used),
        band_in_words(period.total)
    );
    if let Some(limit) = limit {
        let chance = percent(period.chance_over(limit));
        let over = amount(period.expected_overage(limit));
        text.push_str(&format!(
            ", {chance} over {}, by {over} on average",
            amount(limit)
        ));
    }
    text
}

fn chart(item: &Item, forecast: &Forecast) -> String {
    let names: Vec<String> = forecast
        .crossings
        .iter()
        .zip(LINES)
        .map(|(crossing, name)| format!("{name} {}", amount(crossing.threshold)))
        .collect();
    let values = forecast.crossings.iter().map(|crossing| crossing.threshold);
    let lines: Vec<(f64, &str)> = values.zip(names.iter().map(String::as_str)).collect();
    let days = item.past.iter().map(|day| (day.day, day.value));
    let sums = item.subject.kind == MetricKind::Period && !counts_by_day(item);
    let (past, ahead) = match forecast.periods.first().filter(|_| sums) {
        Some(period) => (sums_of(period, days), forecast.period_bands()),
        None => {
            let from = forecast.basis.last - DRAWN_DAYS;
            (
                days.filter(|(day, _)| *day > from).collect(),
                forecast.daily_bands(),
            )
        }
    };
    course(&Course {
        past: &past,
        ahead: &ahead,
        lines: &lines,
    })
}

/// What a period had come to on each of its days, brought to what is known of the last of them.
fn sums_of(
    period: &PeriodTotal,
    days: impl Iterator<Item = (DayNumber, f64)>,
) -> Vec<(DayNumber, f64)> {
    let mut sum = 0.0;
    let mut sums: Vec<(DayNumber, f64)> = days
        .filter(|(day, _)| *day >= period.from)
        .map(|(day, value)| {
            sum += value;
            (day, sum)
        })
        .collect();
    let unseen = period.used - sum;
    sums.iter_mut().for_each(|(_, sum)| *sum += unseen);
    sums
}

fn basis_in_words(forecast: &Forecast) -> Vec<String> {
    let basis = &forecast.basis;
    let gain = |drift: f64| match basis.drift_is_share {
        true => format!("{:+.2}% a day", drift * 100.0),
        false => format!(
            "{}{} a day",
            if drift > 0.0 { "+" } else { "" },
            amount(drift)
        ),
    };
    let mut lines = vec![format!(
        "made from {}, {} to {}",
        counted(basis.days as u64, "day"),
        day_date(basis.first),
        day_date(basis.last)
    )];
    lines.push(match basis.recent_share > 0.0 {
        true => format!(
            "pace: {}; in the last two weeks {}, with which {} of the futures go on",
            gain(basis.drift),
            gain(basis.recent_drift),
            percent(basis.recent_share)
        ),
        false => format!("pace: {}", gain(basis.drift)),
    });
    lines.push(format!(
        "an unexpected value moves the level by {} of the surprise (0% around a fixed line, 100% in a random walk)",
        percent(basis.alpha)
    ));
    if basis.weekdays {
        lines.push("weekdays differ by more than chance, and are told apart".to_owned());
    }
    if basis.spikes > 0 {
        lines.push(format!(
            "set aside: {}",
            counted(basis.spikes as u64, "isolated spike")
        ));
    }
    for day in &basis.resets {
        lines.push(format!(
            "on {} the level fell and stayed down; the pace goes on as if it had not",
            day_date(*day)
        ));
    }
    lines.push(format!(
        "the band is {:.2} times as wide as the model's own, by {}",
        basis.calibration.factor,
        counted(basis.calibration.checks as u64, "forecast of the past")
            .replace("forecast of the pasts", "forecasts of the past")
    ));
    lines
}

#[derive(Serialize)]
struct Json<'a> {
    now: String,
    series: Vec<ItemJson<'a>>,
}

#[derive(Serialize)]
pub(super) struct ItemJson<'a> {
    service: Service,
    metric: Metric,
    resource: &'a str,
    kind: MetricKind,
    plan: Option<&'a str>,
    now: Option<f64>,
    measured_at: Option<String>,
    limit: Option<f64>,
    /// `forecast`, `insufficient data` or `not forecast`.
    outcome: &'static str,
    days_of_data: usize,
    days_needed: Option<usize>,
    confidence: Option<&'static str>,
    horizon_days: Option<usize>,
    lines: Vec<LineJson>,
    period: Option<PeriodJson>,
    lately: Option<LatelyJson>,
    basis: Option<BasisJson>,
    bands: Vec<BandJson>,
}

#[derive(Serialize)]
struct LineJson {
    name: &'static str,
    at: f64,
    reached: bool,
    /// Null is: not within the horizon.
    days: DaysJson,
    chance_within_7_days: Option<f64>,
    chance_within_30_days: Option<f64>,
    chance_within_90_days: Option<f64>,
}

#[derive(Serialize)]
struct DaysJson {
    p10: Option<u32>,
    p50: Option<u32>,
    p90: Option<u32>,
}

#[derive(Serialize)]
struct PeriodJson {
    from: String,
    to: String,
    used: f64,
    total: QuantilesJson,
    chance_over: Option<f64>,
    expected_overage: Option<f64>,
    percent_of_period_over: f64,
}

#[derive(Serialize)]
struct QuantilesJson {
    p10: f64,
    p50: f64,
    p90: f64,
}

impl From<Band> for QuantilesJson {
    fn from(band: Band) -> QuantilesJson {
        let Band { p10, p50, p90 } = band;
        QuantilesJson { p10, p50, p90 }
    }
}

#[derive(Serialize)]
struct BandJson {
    day: String,
    #[serde(flatten)]
    value: QuantilesJson,
}

#[derive(Serialize)]
struct LatelyJson {
    days: usize,
    p95: f64,
    worst: f64,
    days_over: usize,
}

#[derive(Serialize)]
struct BasisJson {
    first: String,
    last: String,
    spikes: usize,
    resets: Vec<String>,
    weekdays: bool,
    drift: f64,
    recent_drift: f64,
    recent_share: f64,
    drift_is_share: bool,
    alpha: f64,
    calibration_factor: f64,
    calibration_checks: usize,
}

impl<'a> ItemJson<'a> {
    pub(super) fn new(item: &'a Item) -> ItemJson<'a> {
        let subject = &item.subject;
        let forecast = item.forecast();
        let missing = item.answer.as_ref().err();
        let rate = subject.kind == MetricKind::Rate;
        let line = |(crossing, name): (&Crossing, &'static str)| {
            let [p10, p50, p90] = crossing.days;
            let [week, month, quarter] = crossing.probabilities.map(|chance| chance.value);
            LineJson {
                name,
                at: crossing.threshold,
                reached: crossing.reached,
                days: DaysJson { p10, p50, p90 },
                chance_within_7_days: week,
                chance_within_30_days: month,
                chance_within_90_days: quarter,
            }
        };
        let today = item
            .newest
            .as_ref()
            .map_or(0, |newest| day_number(newest.at.date_naive()));
        let period = |period: &PeriodTotal| PeriodJson {
            from: day_date(period.from).to_string(),
            to: day_date(period.to).to_string(),
            used: period.used,
            total: period.total.into(),
            chance_over: item.limit().map(|limit| period.chance_over(limit)),
            expected_overage: item.limit().map(|limit| period.expected_overage(limit)),
            percent_of_period_over: {
                let length = f64::from(period.to - period.from).max(1.0);
                (f64::from(today - period.from) / length * 100.0).clamp(0.0, 100.0)
            },
        };
        let bands = forecast.map(Forecast::daily_bands).unwrap_or_default();
        ItemJson {
            service: subject.series.service,
            metric: subject.series.metric,
            resource: &subject.series.resource,
            kind: subject.kind,
            plan: subject.limit.as_ref().map(|limit| limit.plan.as_str()),
            now: item.now(),
            measured_at: item.newest.as_ref().map(|newest| shown(newest.at)),
            limit: item.limit(),
            outcome: match (rate, missing) {
                (true, _) => "not forecast",
                (_, Some(_)) => "insufficient data",
                (_, None) => "forecast",
            },
            days_of_data: missing.map_or(item.past.len(), |missing| missing.days),
            days_needed: missing.map(|missing| missing.needed),
            confidence: forecast.map(|forecast| match forecast.confidence {
                Confidence::Low => "low",
                Confidence::Normal => "normal",
            }),
            horizon_days: forecast.map(|forecast| forecast.horizon),
            lines: forecast.map_or_else(Vec::new, |it| {
                it.crossings.iter().zip(LINES).map(line).collect()
            }),
            period: forecast.and_then(|it| it.periods.first()).map(period),
            lately: item.lately.map(|lately| LatelyJson {
                days: lately.days,
                p95: lately.p95,
                worst: lately.worst,
                days_over: lately.over,
            }),
            basis: forecast.map(BasisJson::new),
            bands: bands
                .into_iter()
                .map(|(day, band)| BandJson {
                    day: day_date(day).to_string(),
                    value: band.into(),
                })
                .collect(),
        }
    }
}

impl BasisJson {
    fn new(forecast: &Forecast) -> BasisJson {
        let basis = &forecast.basis;
        BasisJson {
            first: day_date(basis.first).to_string(),
            last: day_date(basis.last).to_string(),
            spikes: basis.spikes,
            resets: basis
                .resets
                .iter()
                .map(|day| day_date(*day).to_string())
                .collect(),
            weekdays: basis.weekdays,
            drift: basis.drift,
            recent_drift: basis.recent_drift,
            recent_share: basis.recent_share,
            drift_is_share: basis.drift_is_share,
            alpha: basis.alpha,
            calibration_factor: basis.calibration.factor,
            calibration_checks: basis.calibration.checks,
        }
    }
}
