//! `stats`: what happened in a stretch of time.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use clap::{Args, ValueEnum};

use crate::args::{ApiFilter, Lookback};
use crate::context::Context;
use crate::domain::format::counted;
use crate::domain::period::{Granularity, Window};
use crate::domain::usage::read_plan::Slice;
use crate::domain::usage::rollup::{ApiPeriod, LeftOut};
use crate::domain::usage::stats::{Cells, Lines, Plan, Stale};
use crate::error::{Error, Exit, Outcome, Result};
use crate::output::printable;
use crate::output::stats::Stats;
use crate::store::db::{Access, Db};
use crate::store::usage::rollups::Scope;
use crate::store::usage::{aggregates, dirty, read, rollups};

/// Show what happened: requests, errors, response times, cost, cache hits
///
/// Counts for each API, or each endpoint, over the last 24 hours or any other stretch of time. The answer
/// is exact to the row whether or not `usagectl aggregate` has run: what was rolled up is read from there,
/// the rest is counted from the rows. Percentiles come from a histogram and are at most 0.8% off.
///
/// If the triggers that tell which rows changed are missing, the answer is given all the same and the exit
/// code is 4.
///
/// Days and months that another program aggregated, and whose rows are gone since, are counted too; how
/// long those calls took is not known.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db stats --last 7d --by endpoint"
)]
pub struct StatsArgs {
    #[command(flatten)]
    filter: ApiFilter,

    #[command(flatten)]
    lookback: Lookback,

    /// What to count for each
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = By::Api)]
    by: By,
}

/// What a line of the answer stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// A line for each API
    Api,
    /// A line for each endpoint of each API
    Endpoint,
}

/// Counts and answers.
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
        Ok(dirty::triggers_are_in_place(db)?)
    })?;
    let left_out = count.lines.left_out;
    if left_out != LeftOut::default() {
        context.warn(format_args!(
            "left out {} and {} that make no sense",
            counted(left_out.costs, "cost"),
            counted(left_out.response_times, "response time")
        ));
    }
    let (lines, total) = count.lines.finish();
    if total.surplus > 0 {
        context.info(format_args!(
            "of these, {} known only from api_usage_aggregates, without their response times",
            counted(total.surplus, "request")
        ));
    }
    context.answer(&Stats {
        window,
        cells,
        by_endpoint: args.by == By::Endpoint,
        lines,
        total,
    })?;
    if in_place {
        return Ok(Outcome::DONE);
    }
    context.warn(
        "the triggers on api_usage are missing or disabled: rows changed since may not be counted",
    );
    Ok(Outcome::with_next(
        Exit::Untrustworthy,
        "usagectl aggregate --rebuild",
    ))
}

struct Count<'a> {
    args: &'a StatsArgs,
    window: Window,
    /// No longer periods are read than the chart has cells of.
    longest: Granularity,
    lines: Lines,
}

impl Count<'_> {
    fn run(&mut self, db: &mut Db) -> Result<()> {
        let known = rollups::known_apis(db)?;
        let asked: BTreeSet<&str> = if self.args.filter.apis.is_empty() {
            known.iter().map(String::as_str).collect()
        } else {
            require_known(db, &self.args.filter.apis, &known)?;
            self.args.filter.apis.iter().map(String::as_str).collect()
        };
        let stale = self.stale(db)?;
        let fresh = Stale::default();
        // APIs whose numbers come from the same places are read together.
        let mut plans: BTreeMap<Plan, BTreeSet<&str>> = BTreeMap::new();
        for api in asked {
            let stale = stale.get(api).unwrap_or(&fresh);
            let plan = Plan::new(self.window, self.longest, stale);
            plans.entry(plan).or_default().insert(api);
        }
        for (plan, apis) in &plans {
            for (granularity, window) in &plan.stored {
                self.read_stored(db, *granularity, *window, apis)?;
            }
            for window in &plan.rows {
                self.read_rows(db, *window, apis, known.len())?;
            }
        }
        if self.args.by == By::Api {
            self.read_surplus(db, &stale)?;
        }
        Ok(())
    }

    /// What changed since it was rolled up, in all periods that the window touches.
    fn stale(&self, db: &mut Db) -> Result<HashMap<String, Stale>> {
        let months = self.window.widened(Granularity::Monthly);
        let mut stale: HashMap<String, Stale> = HashMap::new();
        for hour in dirty::dirty_hours(db, months)? {
            let of = stale.entry(hour.api_name).or_default();
            of.insert(Granularity::Hourly, hour.start);
        }
        for (granularity, period) in rollups::stale_in(db, months)? {
            let of = stale.entry(period.api_name).or_default();
            of.insert(granularity, period.start);
        }
        Ok(stale)
    }

    fn read_stored(
        &mut self,
        db: &mut Db,
        granularity: Granularity,
        window: Window,
        apis: &BTreeSet<&str>,
    ) -> Result<()> {
        let scope = match self.args.by {
            By::Api => Scope::Api,
            By::Endpoint => Scope::Endpoint,
        };
        rollups::for_each(db, granularity, &[scope], apis, window, |stored| {
            let (api, endpoint) = (stored.api_name, stored.endpoint);
            self.lines
                .add_stored(api, endpoint, stored.start, &stored.rollup?);
            Ok(())
        })
    }

    fn read_rows(
        &mut self,
        db: &mut Db,
        window: Window,
        apis: &BTreeSet<&str>,
        known: usize,
    ) -> Result<()> {
        let slice = |api: Option<&str>| Slice {
            api_name: api.map(str::to_owned),
            window,
        };
        // For most APIs at once, one walk through time reads each page once.
        let slices: Vec<Slice> = if apis.len() > 1 && apis.len() * 2 >= known {
            vec![slice(None)]
        } else {
            apis.iter().map(|api| slice(Some(api))).collect()
        };
        for slice in slices {
            read::for_each(db, &slice, |row| {
                if apis.contains(row.api_name) {
                    let endpoint = match self.args.by {
                        By::Api => "",
                        By::Endpoint => row.endpoint,
                    };
                    self.lines
                        .add_call(row.api_name, endpoint, row.at, &row.call);
                }
            })?;
        }
        Ok(())
    }

    /// Adds what only the application's table still knows: of whole months, else of whole days, else of
    /// whole hours that no whole day contains.
    fn read_surplus(&mut self, db: &mut Db, stale: &HashMap<String, Stale>) -> Result<()> {
        let months = self.window.narrowed(Granularity::Monthly);
        let days = self.window.narrowed(Granularity::Daily);
        let [before, after] = self.window.narrowed(Granularity::Hourly).without(days);
        let mut months_added = BTreeSet::new();
        for (granularity, window) in [
            (Granularity::Monthly, months),
            (Granularity::Daily, days),
            (Granularity::Hourly, before),
            (Granularity::Hourly, after),
        ] {
            if window.is_empty() {
                continue;
            }
            for surplus in aggregates::surplus(db, granularity, window)? {
                let ApiPeriod { start, api_name } = surplus.period;
                let month = (api_name.clone(), Granularity::Monthly.start_of(start));
                let fresh = stale
                    .get(&api_name)
                    .is_none_or(|stale| stale.trusts(granularity, start));
                let asked =
                    self.args.filter.apis.is_empty() || self.args.filter.apis.contains(&api_name);
                // Rows that were never rolled up are counted here, and are no surplus.
                if asked && !months_added.contains(&month) && (fresh || surplus.rolled_up) {
                    self.lines
                        .add_surplus(&api_name, granularity, start, &surplus.rollup);
                    if granularity == Granularity::Monthly {
                        months_added.insert(month);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Makes sure that something is known about each API that the user names: a name that is not is most
/// likely mistyped, and the answer to it would look like silence.
pub(super) fn require_known(db: &mut Db, named: &[String], known: &BTreeSet<String>) -> Result<()> {
    const SHOWN: usize = 20;
    for api in named {
        if known.contains(api) || aggregates::exist_for(db, api)? {
            continue;
        }
        let names: Vec<_> = known
            .iter()
            .take(SHOWN)
            .map(|name| printable(name))
            .collect();
        let (names, next) = match names.len() {
            0 => ("nothing is recorded yet".to_owned(), "usagectl record"),
            _ => (
                format!("there are {}", names.join(", ")),
                "name one of these, or none for all",
            ),
        };
        let more = if known.len() > SHOWN { " and more" } else { "" };
        let message = format!("there is no API `{}`; {names}{more}", printable(api));
        return Err(Error::message(Exit::Failed, message).with_next(next));
    }
    Ok(())
}
