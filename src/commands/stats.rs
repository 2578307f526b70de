//! `stats`: usage of a window, from roll-ups and rows.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use chrono::{DateTime, Utc};
use indicatif::ProgressBar;

use crate::args::{ApiFilter, Lookback, one_of};
use crate::commands::known_apis::require_known;
use crate::commands::limit_use::limit_use;
use crate::commands::prelude::*;
use crate::domain::format::counted;
use crate::domain::period::{Calendar, Granularity, Window};
use crate::domain::usage::read_plan::{ReadPlan, RowRange};
use crate::domain::usage::rollup::{ApiPeriod, LeftOut};
use crate::domain::usage::settings::{Mode, Settings};
use crate::domain::usage::stats::{Cells, Grouping, Lines, Sort, WITHOUT_ROWS};
use crate::domain::zone::Zone;
use crate::output::stats::StatsAnswer;
use crate::store::usage::rollups::{Level, RollupFilter, Scope, StaleByApi};
use crate::store::usage::{aggregates, lookback, read, rollups, settings};

/// Show requests, errors, response times, cost and cache hits
///
/// Shows each API, endpoint, user, method, status, error type, hour or day over the last 24 hours or another window. The
/// numbers are exact whether or not `usagectl aggregate` has run: fresh roll-ups are read, the rest is counted from the
/// rows. Users, methods, statuses and error types are counted from the rows, which takes longer; calls whose rows are
/// gone are one line, (pruned). Percentiles come from a histogram and are off by at most 0.8%. Response times are in
/// milliseconds, costs in credits, sizes in bytes.
///
/// The table fits the terminal, or 100 characters if stdout is not a terminal: TREND (requests over time; a dot is none)
/// gets shorter, then TREND, CACHED, COST, P99, P50 and RATE are left out, in this order. --wide shows all columns.
///
/// `--format prometheus` prints metrics for the textfile collector of the node exporter.
///
/// Requests that another program aggregated and whose rows were deleted are included; their response times are
/// unknown. If the triggers that record changed rows are missing, the exit code is 4.
#[derive(Args, Debug)]
#[command(after_help = example!("stats --last 7d --group-by endpoint"))]
pub struct StatsArgs {
    #[command(flatten)]
    filter: ApiFilter,

    #[command(flatten)]
    lookback: Lookback,

    /// What a line of the answer stands for
    #[arg(long, value_name = "DIMENSION", value_parser = one_of::<Grouping>(), default_value = "api")]
    group_by: Grouping,

    /// Show the first lines only, by requests or --sort; the total is that of all
    #[arg(long, value_name = "N")]
    top: Option<NonZeroUsize>,

    /// Order of the lines: the largest number first
    #[arg(long, value_name = "COLUMN", value_parser = one_of::<Sort>())]
    sort: Option<Sort>,

    /// Compare with the window of the same length before
    #[arg(long)]
    compare: bool,

    /// Time zone of days, dates and the trend [default: that of `usagectl aggregate --tz`]
    #[arg(long, value_name = "ZONE")]
    tz: Option<Zone>,

    /// Show all columns: also successes, error classes, sizes, share, and average, shortest and longest response time
    #[arg(long)]
    wide: bool,
}

/// From this number of hours of rows on, a progress bar is shown.
const PROGRESS_BAR_FROM_HOURS: i64 = 24;

pub fn run(context: &mut Context, args: StatsArgs) -> Result<Outcome> {
    if args.compare && args.group_by.is_of_time() {
        return Err(
            Error::usage("--compare needs a dimension other than hour and day")
                .with_next("usagectl stats --compare"),
        );
    }
    if args.sort == Some(Sort::Change) && !args.compare {
        return Err(Error::usage("--sort change needs --compare")
            .with_next("usagectl stats --compare --sort change"));
    }
    let mut db = context.open(Access::Read)?;
    let (window, cells, lines, limits, knows_changes) = db.read_tx(|db| -> Result<_> {
        let settings = settings::load(db)?;
        let calendar = args.tz.map_or(settings.calendar, |zone| Calendar { zone });
        let window = args.lookback.window(context.now, calendar)?;
        let cells = Cells::new(window, calendar);
        let mode = lookback::mode(db, settings)?;
        let unmarked = match mode {
            Some(Mode::Lookback) => {
                lookback::changed_hours(db, lookback::recent(settings, context.now))?
            }
            _ => BTreeSet::new(),
        };
        let mut lines = count(context, db, &args, settings, window, &unmarked)?;
        if args.compare {
            let before = window.from - (window.to - window.from);
            let before = Window::new(before.max(Window::ALL.from), window.from);
            lines.compare(count(context, db, &args, settings, before, &unmarked)?);
        }
        let limits = match args.group_by {
            Grouping::Api => limit_use(db, &args.filter.apis, window.to, mode)?,
            _ => BTreeMap::new(),
        };
        Ok((window, cells, lines, limits, mode.is_some()))
    })?;
    let left_out = lines.left_out;
    if left_out != LeftOut::default() {
        context.warn(format_args!(
            "left out {} and {} with invalid values",
            counted(left_out.costs, "cost"),
            counted(left_out.response_times, "response time")
        ));
    }
    let found = lines.finish(args.sort, args.top.map(NonZeroUsize::get));
    if found.total.surplus > 0 {
        context.info(format_args!(
            "{} known only from api_usage_aggregates, without response times",
            counted(found.total.surplus, "request")
        ));
    }
    context.answer(&StatsAnswer {
        window,
        cells,
        grouping: args.group_by,
        compared: args.compare,
        wide: args.wide,
        found,
        limits,
    })?;
    if knows_changes {
        return Ok(Outcome::DONE);
    }
    context.warn(
        "the triggers on api_usage are missing or disabled: rows changed since then may not be counted",
    );
    Ok(Outcome::with_next(Exit::Untrustworthy, "usagectl migrate"))
}

/// With the changed hours that are not marked.
fn stale_by_api(
    db: &mut Db,
    settings: Settings,
    window: Window,
    unmarked: &BTreeSet<ApiPeriod>,
) -> Result<StaleByApi> {
    let mut stale = rollups::stale_by_api(db, settings.calendar, window)?;
    for hour in unmarked {
        stale.insert(Granularity::Hourly, hour.clone());
    }
    Ok(stale)
}

fn count(
    context: &Context,
    db: &mut Db,
    args: &StatsArgs,
    settings: Settings,
    window: Window,
    unmarked: &BTreeSet<ApiPeriod>,
) -> Result<Lines> {
    let calendar = args.tz.map_or(settings.calendar, |zone| Calendar { zone });
    let cells = Cells::new(window, calendar);
    let longest = match args.group_by {
        Grouping::Hour => Granularity::Hourly,
        // The stored days are those of another zone.
        _ if calendar != settings.calendar => Granularity::Hourly,
        Grouping::Day => cells.granularity.min(Granularity::Daily),
        _ => cells.granularity,
    };
    let mut count = Count {
        args,
        settings,
        calendar,
        window,
        longest,
        lines: Lines::new(cells, args.group_by),
        bar: ProgressBar::hidden(),
    };
    if context.progress && args.group_by.is_of_rows() {
        let hours = (window.to - window.from).num_hours();
        if hours >= PROGRESS_BAR_FROM_HOURS {
            count.bar = ProgressBar::new(u64::try_from(hours).unwrap_or(0));
        }
    }
    count.run(db, unmarked)?;
    count.bar.finish_and_clear();
    Ok(count.lines)
}

struct Count<'a> {
    args: &'a StatsArgs,
    settings: Settings,
    /// Of the answer.
    calendar: Calendar,
    window: Window,
    /// No periods longer than those of the trend's cells are read.
    longest: Granularity,
    lines: Lines,
    bar: ProgressBar,
}

impl Count<'_> {
    fn run(&mut self, db: &mut Db, unmarked: &BTreeSet<ApiPeriod>) -> Result<()> {
        let mut known = rollups::known_apis(db)?;
        known.extend(unmarked.iter().map(|hour| hour.api_name.clone()));
        require_known(db, &self.args.filter.apis, &known)?;
        let apis: BTreeSet<&str> = if self.args.filter.apis.is_empty() {
            known.iter().map(String::as_str).collect()
        } else {
            self.args.filter.apis.iter().map(String::as_str).collect()
        };
        let grouping = self.args.group_by;
        let stale = stale_by_api(db, self.settings, self.window, unmarked)?;
        let midnights = self.midnights_in_hours();
        // APIs whose numbers come from the same sources are read together.
        let mut plans: BTreeMap<ReadPlan, BTreeSet<&str>> = BTreeMap::new();
        for api in apis {
            let mut stale = stale.of(api).clone();
            for hour in &midnights {
                stale.insert(Granularity::Hourly, *hour);
            }
            let plan = match grouping.is_of_rows() {
                true => ReadPlan {
                    rows: self.days(),
                    ..ReadPlan::default()
                },
                false => ReadPlan::new(self.window, self.longest, &stale),
            };
            plans.entry(plan).or_default().insert(api);
        }
        for (plan, apis) in &plans {
            for (granularity, window) in &plan.stored {
                self.read_stored(db, (*granularity).into(), &[*window], apis)?;
            }
            for window in &plan.rows {
                for range in RowRange::of_apis(apis, *window, known.len()) {
                    self.read_rows(db, &range, apis)?;
                }
                self.bar
                    .inc(u64::try_from((window.to - window.from).num_hours()).unwrap_or(0));
            }
            for level in rollups::WITHOUT_ROWS {
                self.read_stored(db, level, &plan.rows, apis)?;
            }
        }
        self.read_surplus(db, &stale)
    }

    /// The hours in which a day of the answer begins, where no stored days are read: their rows are counted.
    fn midnights_in_hours(&self) -> Vec<DateTime<Utc>> {
        let mut hours = Vec::new();
        if self.longest > Granularity::Hourly {
            return hours;
        }
        let mut day = self.calendar.start_of(Granularity::Daily, self.window.from);
        while day < self.window.to {
            let hour = Granularity::Hourly.start_of(day);
            hours.extend((hour != day).then_some(hour));
            day = self.calendar.end_of(Granularity::Daily, day);
        }
        hours
    }

    /// The window in parts of a day, so that progress is seen.
    fn days(&self) -> Vec<Window> {
        let mut days = Vec::new();
        let mut from = self.window.from;
        while from < self.window.to {
            let to = Granularity::Daily
                .end_of(Granularity::Daily.start_of(from))
                .min(self.window.to);
            days.push(Window::new(from, to));
            from = to;
        }
        days
    }

    /// Adds the stored roll-ups of a level that start in `windows`, which are in order.
    fn read_stored(
        &mut self,
        db: &mut Db,
        level: Level,
        windows: &[Window],
        apis: &BTreeSet<&str>,
    ) -> Result<()> {
        let (Some(first), Some(last)) = (windows.first(), windows.last()) else {
            return Ok(());
        };
        let scope = match self.args.group_by {
            Grouping::Endpoint => Scope::Endpoint,
            _ => Scope::Api,
        };
        let whole = Window::new(first.from, last.to);
        let is_of_rows = self.args.group_by.is_of_rows();
        let of = RollupFilter::all(apis, whole);
        rollups::for_each(db, level, &[scope], of, |stored| {
            let next = windows.partition_point(|window| window.to <= stored.start);
            if windows
                .get(next)
                .is_some_and(|window| window.contains(stored.start))
            {
                let value = if is_of_rows {
                    WITHOUT_ROWS
                } else {
                    stored.endpoint
                };
                self.lines
                    .add_stored(stored.api_name, value, stored.start, &stored.rollup?);
            }
            Ok(())
        })
    }

    fn read_rows(&mut self, db: &mut Db, range: &RowRange, apis: &BTreeSet<&str>) -> Result<()> {
        let column = match self.args.group_by {
            Grouping::User => "user_id",
            Grouping::Method => "method",
            Grouping::Status => "CAST(status_code AS TEXT)",
            Grouping::ErrorType => "error_type",
            Grouping::Api | Grouping::Endpoint | Grouping::Hour | Grouping::Day => "NULL",
        };
        let names = self.settings.endpoints;
        read::for_each_with(db, range, column, |row| {
            if apis.contains(row.api_name) {
                let value = match self.args.group_by {
                    Grouping::Endpoint => names.of(row.endpoint),
                    _ => row.group.unwrap_or_default().into(),
                };
                self.lines.add_call(row.api_name, &value, row.at, &row.call);
            }
        })?;
        Ok(())
    }

    /// Adds the requests that only the application's table counts.
    fn read_surplus(&mut self, db: &mut Db, stale: &StaleByApi) -> Result<()> {
        let only = &self.args.filter.apis;
        let calendar = self.settings.calendar;
        for (granularity, window) in Lines::surplus_windows(self.window, calendar) {
            for surplus in aggregates::surplus(db, granularity, calendar, window)? {
                let api = &surplus.period.api_name;
                if only.is_empty() || only.contains(api) {
                    self.lines.add_surplus(&surplus, stale.of(api));
                }
            }
        }
        Ok(())
    }
}
