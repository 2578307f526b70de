//! `stats`: usage of a window, from roll-ups and rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use clap::ValueEnum;

use crate::args::{ApiFilter, Lookback};
use crate::commands::known_apis::require_known;
use crate::commands::prelude::*;
use crate::domain::format::counted;
use crate::domain::period::{Granularity, Window};
use crate::domain::usage::read_plan::{ReadPlan, RowRange, StalePeriods};
use crate::domain::usage::rollup::LeftOut;
use crate::domain::usage::stats::{Cells, Lines};
use crate::output::stats::StatsAnswer;
use crate::store::migrations::TriggerSet;
use crate::store::usage::rollups::Scope;
use crate::store::usage::{aggregates, read, rollups};

/// Show requests, errors, response times, cost and cache hits
///
/// Shows each API, or each endpoint, over the last 24 hours or another window. The numbers are exact whether or
/// not `usagectl aggregate` has run: fresh roll-ups are read, the rest is counted from the rows. Percentiles come
/// from a histogram and are off by at most 0.8%. Response times are in milliseconds, costs in credits.
///
/// The table fits the terminal, or 100 characters if stdout is not a terminal: TREND (requests over time) gets
/// shorter, then TREND, CACHED, COST, P99, P50 and RATE are left out, in this order. --wide shows all columns.
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
    #[arg(long, value_enum, value_name = "GROUP", default_value_t = GroupBy::Api)]
    group_by: GroupBy,

    /// Show all columns: also successes, error classes, and average, shortest and longest response time
    #[arg(long)]
    wide: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum GroupBy {
    /// Each API
    Api,
    /// Each endpoint of each API
    Endpoint,
}

pub fn run(context: &mut Context, args: StatsArgs) -> Result<Outcome> {
    let window = args.lookback.window(context.now)?;
    let mut db = context.open(Access::Read)?;
    let cells = Cells::new(window);
    let mut count = Count {
        args: &args,
        window,
        longest: cells.granularity,
        lines: Lines::new(cells),
    };
    let in_place = db.read_tx(|db| -> Result<_> {
        count.run(db)?;
        Ok(TriggerSet::Usage.is_in_place(db)?)
    })?;
    let left_out = count.lines.left_out;
    if left_out != LeftOut::default() {
        context.warn(format_args!(
            "left out {} and {} with invalid values",
            counted(left_out.costs, "cost"),
            counted(left_out.response_times, "response time")
        ));
    }
    let (lines, total) = count.lines.finish();
    if total.surplus > 0 {
        context.info(format_args!(
            "{} known only from api_usage_aggregates, without response times",
            counted(total.surplus, "request")
        ));
    }
    context.answer(&StatsAnswer {
        window,
        cells,
        by_endpoint: args.group_by == GroupBy::Endpoint,
        wide: args.wide,
        lines,
        total,
    })?;
    if in_place {
        return Ok(Outcome::DONE);
    }
    context.warn(
        "the triggers on api_usage are missing or disabled: rows changed since then may not be counted",
    );
    Ok(Outcome::with_next(Exit::Untrustworthy, "usagectl migrate"))
}

struct Count<'a> {
    args: &'a StatsArgs,
    window: Window,
    /// No periods longer than those of the trend's cells are read.
    longest: Granularity,
    lines: Lines,
}

impl Count<'_> {
    fn run(&mut self, db: &mut Db) -> Result<()> {
        let known = rollups::known_apis(db)?;
        require_known(db, &self.args.filter.apis, &known)?;
        let apis: BTreeSet<&str> = if self.args.filter.apis.is_empty() {
            known.iter().map(String::as_str).collect()
        } else {
            self.args.filter.apis.iter().map(String::as_str).collect()
        };
        let stale = rollups::stale_by_api(db, self.window)?;
        let none = StalePeriods::default();
        // APIs whose numbers come from the same sources are read together.
        let mut plans: BTreeMap<ReadPlan, BTreeSet<&str>> = BTreeMap::new();
        for api in apis {
            let stale = stale.get(api).unwrap_or(&none);
            let plan = ReadPlan::new(self.window, self.longest, stale);
            plans.entry(plan).or_default().insert(api);
        }
        for (plan, apis) in &plans {
            for (granularity, window) in &plan.stored {
                self.read_stored(db, *granularity, *window, apis)?;
            }
            for window in &plan.rows {
                for range in RowRange::of_apis(apis, *window, known.len()) {
                    self.read_rows(db, &range, apis)?;
                }
            }
        }
        if self.args.group_by == GroupBy::Api {
            self.read_surplus(db, &stale)?;
        }
        Ok(())
    }

    fn read_stored(
        &mut self,
        db: &mut Db,
        granularity: Granularity,
        window: Window,
        apis: &BTreeSet<&str>,
    ) -> Result<()> {
        let scope = match self.args.group_by {
            GroupBy::Api => Scope::Api,
            GroupBy::Endpoint => Scope::Endpoint,
        };
        rollups::for_each(db, granularity, &[scope], apis, window, |stored| {
            let (api, endpoint) = (stored.api_name, stored.endpoint);
            self.lines
                .add_stored(api, endpoint, stored.start, &stored.rollup?);
            Ok(())
        })
    }

    fn read_rows(&mut self, db: &mut Db, range: &RowRange, apis: &BTreeSet<&str>) -> Result<()> {
        read::for_each(db, range, |row| {
            if apis.contains(row.api_name) {
                let endpoint = match self.args.group_by {
                    GroupBy::Api => "",
                    GroupBy::Endpoint => row.endpoint,
                };
                self.lines
                    .add_call(row.api_name, endpoint, row.at, &row.call);
            }
        })?;
        Ok(())
    }

    /// Adds the requests that only the application's table counts.
    fn read_surplus(&mut self, db: &mut Db, stale: &HashMap<String, StalePeriods>) -> Result<()> {
        let only = &self.args.filter.apis;
        for (granularity, window) in Lines::surplus_windows(self.window) {
            for surplus in aggregates::surplus(db, granularity, window)? {
                let api = &surplus.period.api_name;
                if only.is_empty() || only.contains(api) {
                    self.lines.add_surplus(&surplus, stale.get(api));
                }
            }
        }
        Ok(())
    }
}
