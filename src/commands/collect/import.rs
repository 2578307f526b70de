//! `collect import`: reads measurements or a bill from a file or stdin.

use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use chrono::TimeDelta;
use clap::ValueEnum;

use crate::args::{parse_duration, parse_text};
use crate::commands::prelude::*;
use crate::commands::refused::Refusals;
use crate::domain::format::counted;
use crate::domain::format::shell_word;
use crate::domain::metrics::focus_bill::{Bill, Charge, CostKind};
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::NewPoint;
use crate::domain::metrics::stored_bill::{BillConflict, NewBill, StoredBill};
use crate::domain::zone::Zone;
use crate::ingest::{
    self, Format, FromLine, Input, InputFailure, ReadError, Refusal, TimeOptions, TimeUnit,
};
use crate::output::collect::ImportReport;
use crate::store::metrics::points::OnConflict;
use crate::store::metrics::{days, points};

/// Import metrics from a file or stdin
///
/// Reads NDJSON, a JSON array or CSV, plain or compressed with gzip or zstd, detected from the first bytes.
/// A line is one value: service, metric, value and timestamp, as in the application's table; optionally
/// metadata (an object), resource (database or project), id, and reading: level (state at the time),
/// cumulative (usage since period_start) or amount (usage since the previous value).
///
/// With `--kind focus` the lines are charges of a bill in the FOCUS format (1.0 and later), which Vercel and the large
/// clouds export. COST_USD has their cost by day, with the provider as its resource (Vercel's own has none, and that of a
/// line without a provider is `unknown`); a charge for several days is spread over them. Days without a charge, from the
/// first billing or charge period to the last charge of at most a day, are zero.
///
/// Several files of one bill add up; a line that is in two of them is refused. If it is exported again in other
/// files, give all of them and --replace. A later file of the same name replaces the values of its providers,
/// accounts and billing periods (without BillingPeriodStart, calendar months); stdin those of the same services,
/// regions and charge periods. A file is refused if another one has stored charges of it, or most of its resources
/// and SKUs with other amounts. It is also refused if it may be another part and not a correction of the stored file
/// of its name: if it has none of its resources and SKUs, or, without these, none of its charges and not all of its
/// services, regions and charge periods. Then
/// --replace or --name decides. A bill with a rejected line is not stored, unless --partial is given.
///
/// A rejected line is reported, counted and skipped; the exit code is then 3. Importing a file again changes
/// nothing; a corrected value replaces the stored one of the same series and time.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  usagectl collect import metrics.ndjson
  echo '{\"service\":\"VERCEL_KV\",\"metric\":\"STORAGE_MB\",\"value\":201.5,\"timestamp\":\"2026-01-31T12:00:00Z\"}' | usagectl collect import -")]
pub struct ImportArgs {
    /// Files to read; `-` or none for stdin. Those of a bill are stored as one
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Content of the input
    #[arg(long, alias = "input", value_enum, value_name = "KIND", default_value_t = Content::Metrics)]
    kind: Content,

    /// Resource of a bill: database, project or team [default: the provider of each line]
    #[arg(long, value_name = "NAME", value_parser = parse_text::<200>)]
    resource: Option<String>,

    /// Cost of a bill that COST_USD has
    #[arg(long, value_enum, value_name = "COST", default_value_t = Cost::Billed)]
    cost: Cost,

    /// Name of a bill: a later one of the same name replaces it [default: the names of the files]
    #[arg(long, value_name = "NAME", value_parser = parse_text::<200>)]
    name: Option<String>,

    /// Replace the stored bill by this one
    ///
    /// Also replaces stored files of other names with some of its charges, and those with only its resources and SKUs.
    #[arg(long)]
    replace: bool,

    /// Store a bill although lines of it were rejected
    #[arg(long)]
    partial: bool,

    /// Format of the input [default: detected]
    #[arg(long, value_enum, value_name = "FORMAT")]
    input_format: Option<Format>,

    /// Append rejected lines to this file
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,

    /// Unit of numeric times, counted from 1970
    #[arg(long, value_enum, value_name = "UNIT")]
    time_unit: Option<TimeUnit>,

    /// Zone of times without one: UTC, an offset such as +02:00, or a name such as Europe/Berlin
    #[arg(long, value_name = "ZONE", value_parser = ingest::parse_zone, allow_hyphen_values = true)]
    assume_tz: Option<Zone>,

    /// Reject times further in the future than this
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    max_future: std::time::Duration,
}

/// The content of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Content {
    /// Values of metrics
    Metrics,
    /// Charges of a bill in the FOCUS format
    Focus,
}

/// The cost of a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Cost {
    /// As invoiced
    Billed,
    /// With discounts and prepaid amounts spread
    Effective,
}

/// The default of `--max-future`.
pub(super) const MAX_FUTURE: TimeDelta = TimeDelta::minutes(5);

/// Points per transaction.
const BATCH: usize = 5_000;

pub fn run(context: &mut Context, args: ImportArgs) -> Result<Outcome> {
    let is_bill = args.kind == Content::Focus;
    let names_bill = args.resource.is_some() || args.name.is_some();
    if !is_bill && (args.partial || args.replace || names_bill || args.cost != Cost::Billed) {
        let message = "--resource, --cost, --name, --replace and --partial require --kind focus";
        return Err(Error::usage(message).with_next("usagectl collect import --help"));
    }
    let inputs = open(&args.files)?;
    let refusals = Refusals::open(args.rejects.as_deref(), &inputs)?;
    let mut db = context.open(Access::Write)?;
    let mut import = Import {
        times: TimeOptions {
            max_future: TimeDelta::from_std(args.max_future).unwrap_or(TimeDelta::MAX),
            time_unit: args.time_unit,
            assumed_zone: args.assume_tz,
            ..TimeOptions::new(context.now)
        },
        format: args.input_format,
        file: 0,
        context,
        db: &mut db,
        refusals,
        pending: Vec::new(),
        report: ImportReport::default(),
    };
    let broken = match args.kind {
        Content::Metrics => import.metrics(inputs)?,
        Content::Focus => import.bill(inputs, &args)?,
    };
    import.finish(broken, is_bill)
}

fn open(files: &[PathBuf]) -> Result<Vec<Input>> {
    if files.is_empty() && io::stdin().is_terminal() {
        let message = "no file given, and stdin is a terminal";
        return Err(Error::usage(message).with_next("usagectl collect import FILE"));
    }
    let path = |file: &PathBuf| file.canonicalize().unwrap_or_else(|_| file.clone());
    let mut paths: Vec<PathBuf> = files.iter().map(path).collect();
    paths.sort();
    let mut pairs = paths.iter().zip(paths.iter().skip(1));
    if let Some((twice, _)) = pairs.find(|(one, other)| one == other) {
        let message = format!("{} is given twice", printable(&twice.to_string_lossy()));
        return Err(Error::usage(message).with_next("give each file once"));
    }
    let stdin = [PathBuf::from("-")];
    let files = if files.is_empty() { &stdin } else { files };
    let inputs = files.iter().map(|path| {
        let opened = match path.as_os_str() == "-" {
            true => Input::stdin(),
            false => Input::open(path),
        };
        opened.map_err(|error| {
            Error::new(Exit::Failed, error).with_next("give a readable file; nothing was imported")
        })
    });
    inputs.collect()
}

/// The names of files, without their directories.
fn names_of(files: &[PathBuf]) -> String {
    let names = files.iter().filter_map(|file| file.file_name());
    let mut names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
    names.sort();
    match names.is_empty() {
        true => "-".to_owned(),
        false => names.join("+"),
    }
}

/// Rebuilds the days whose points changed, and warns about late points in pruned days.
pub(super) fn refresh(context: &mut Context, db: &mut Db) -> Result<u64> {
    let refreshed = days::refresh(db)?;
    if refreshed.sealed > 0 {
        context.warn(format_args!(
            "late points in {}: stored, but not added to the daily summaries",
            counted(refreshed.sealed, "pruned day")
        ));
    }
    Ok(refreshed.days)
}

/// The refusal of a bill that is in conflict with a stored one.
fn refused(stored: StoredBill, args: &ImportArgs) -> Error {
    let source = &stored.source;
    let file = printable(source.strip_prefix("focus:").unwrap_or(source));
    let of_other = || {
        match stored.is_other_cut {
        true => "if the bill was exported again, give all its files and --replace; if it is another bill, add another \
                 --resource, so that they add up"
            .to_owned(),
        false => {
            let name = shell_word(&file);
            format!(
                "add --name {name}, so that it replaces the values, or another --resource, so that they add up"
            )
        }
    }
    };
    let of_same = || {
        let mut command = "usagectl collect import --kind focus".to_owned();
        if let Some(resource) = &args.resource {
            command.push_str(&format!(" --resource {}", shell_word(resource)));
        }
        let paths = args
            .files
            .iter()
            .map(|path| shell_word(&path.to_string_lossy()));
        let path = match args.files.is_empty() {
            true => "FILE".to_owned(),
            false => paths.collect::<Vec<_>>().join(" "),
        };
        format!(
            "`{command} --replace {path}` if it corrects that bill, or `{command} --name NAME {path}` if it is another part"
        )
    };
    let another = format!(
        "another bill of the name {file} is stored for the same account and billing period"
    );
    let (what, next) = match stored.conflict {
        BillConflict::Charges => (
            format!("the bill, or a part of it, is stored already, from {file}"),
            of_other(),
        ),
        BillConflict::Items => (
            format!("the bill, or a part of it, is stored already with other amounts, from {file}"),
            of_other(),
        ),
        BillConflict::Name => (
            format!("{another}, and no resource or SKU is in both"),
            of_same(),
        ),
        BillConflict::Unclear => (
            format!("{another}, no charge is in both, and this one lacks charges of it"),
            of_same(),
        ),
    };
    Error::message(Exit::Refused, format!("{what}; nothing was imported")).with_next(next)
}

/// The refusal of files of one bill that would count a charge twice.
fn same_charge(charge: &str, files: [&PathBuf; 2]) -> Error {
    let [one, other] = files.map(|file| printable(&file.to_string_lossy()).into_owned());
    let charge = printable(charge);
    let message =
        format!("the same charge, {charge}, is in {one} and {other}; nothing was imported");
    let next = "give each charge once; if both are due, join the two files into one";
    Error::message(Exit::Refused, message).with_next(next)
}

struct Import<'a> {
    /// Number of the file that is read.
    file: usize,
    context: &'a mut Context,
    db: &'a mut Db,
    times: TimeOptions,
    format: Option<Format>,
    refusals: Refusals,
    pending: Vec<NewPoint>,
    report: ImportReport,
}

impl Import<'_> {
    fn metrics(&mut self, inputs: Vec<Input>) -> Result<Option<InputFailure>> {
        let broken = self.read(inputs, |import, point: NewPoint| {
            import.pending.push(point);
            if import.pending.len() >= BATCH {
                import.save()?;
            }
            Ok(())
        })?;
        self.save()?;
        Ok(broken)
    }

    /// Saves nothing of a truncated bill, and by default nothing of one with rejected lines: its sums would be wrong.
    fn bill(&mut self, inputs: Vec<Input>, args: &ImportArgs) -> Result<Option<InputFailure>> {
        let now = self.context.now;
        let providers = days::resources(self.db, Service::VercelPlatform, Metric::CostUsd)?;
        let bill = Bill::new(super::run::meters(self.db, now)?, now);
        let mut bill = bill.with_providers(providers);
        let mut files: HashMap<u64, usize> = HashMap::new();
        let (is_parted, mut repeated, mut without_effective) = (inputs.len() > 1, None, 0);
        let broken = self.read(inputs, |import, charge: Charge| {
            let file = import.file;
            if let Some(hash) = charge.fingerprint().filter(|_| is_parted) {
                let first = *files.entry(hash).or_insert(file);
                if first != file && repeated.is_none() {
                    repeated = Some((charge.to_string(), [first, file]));
                }
            }
            without_effective += u64::from(charge.effective.is_none());
            bill.add(&charge);
            Ok(())
        })?;
        if args.cost == Cost::Effective && without_effective > 0 {
            let charges = counted(without_effective, "charge");
            let message = format!("{charges} without an EffectiveCost; nothing was imported");
            return Err(Error::message(Exit::Refused, message).with_next("omit --cost effective"));
        }
        if let Some((charge, files)) = repeated {
            return Err(same_charge(
                &charge,
                files.map(|file| &args.files[file - 1]),
            ));
        }
        if broken.is_none() && self.report.read == 0 {
            self.context
                .warn("the bill has no charges: nothing was stored, and nothing of an earlier import was removed");
        }
        let is_stored = broken.is_none() && (self.report.refused == 0 || args.partial);
        if is_stored {
            let name = args.name.clone().unwrap_or_else(|| names_of(&args.files));
            let source = format!("focus:{name}");
            let cost = match args.cost {
                Cost::Billed => CostKind::Billed,
                Cost::Effective => CostKind::Effective,
            };
            let resource = args.resource.as_deref().unwrap_or("");
            let points = bill.points(&source, resource, cost);
            let metrics = bill.metrics();
            let new = NewBill::new(&points, &source, args.replace);
            let saved = points::save_bill(self.db, &points, &new, &metrics)?;
            let (saved, change) = saved.map_err(|stored| refused(stored, args))?;
            if change.overwritten > 0 {
                self.context.warn(format_args!(
                    "the stored bill of this name had other charges in {}; they were replaced",
                    counted(change.overwritten, "sum")
                ));
            }
            if !change.sources.is_empty() {
                let names = change.sources.iter();
                let names =
                    names.map(|it| printable(it.strip_prefix("focus:").unwrap_or(it)).into_owned());
                self.context.warn(format_args!(
                    "the stored files of this bill were replaced: {}",
                    names.collect::<Vec<_>>().join(", ")
                ));
            }
            let removed = &change.days;
            if let (Some(first), Some(last)) = (removed.first(), removed.last()) {
                self.context.warn(format_args!(
                    "the stored file of this name had charges on {} between {first} and {last} that this one lacks; they were removed",
                    counted(removed.len() as u64, "day")
                ));
            }
            self.report.saved = saved;
            self.report.bill = Some(bill.totals());
        }
        self.report.unknown_services = bill.unknown_services();
        Ok(broken)
    }

    fn read<L: FromLine>(
        &mut self,
        inputs: Vec<Input>,
        mut take: impl FnMut(&mut Self, L) -> Result<()>,
    ) -> Result<Option<InputFailure>> {
        let (format, times) = (self.format, self.times.clone());
        for input in inputs {
            self.file += 1;
            let ended = ingest::read_lines(input, format, &times, &mut |line| {
                self.report.read += 1;
                match line {
                    Ok(line) => take(self, line),
                    Err(refusal) => self.refuse(&refusal),
                }
            });
            match ended {
                Ok(()) => {}
                Err(ReadError::Input(failure)) => return Ok(Some(failure)),
                Err(ReadError::Stopped(error)) => {
                    let saved = self.report.saved;
                    return Err(error.context(match saved.inserted + saved.updated {
                        0 => "import stopped; nothing was imported",
                        _ => {
                            "import stopped; run the same command again: imported lines are skipped"
                        }
                    }));
                }
            }
        }
        Ok(None)
    }

    fn refuse(&mut self, refusal: &Refusal) -> Result<()> {
        self.report.refused += 1;
        self.refusals.report(self.context, refusal);
        self.refusals
            .keep(std::slice::from_ref(refusal), self.times.now)
    }

    fn save(&mut self) -> Result<()> {
        let saved = points::save(self.db, &self.pending, OnConflict::Replace)?;
        self.pending.clear();
        let sum = &mut self.report.saved;
        sum.inserted += saved.inserted;
        sum.updated += saved.updated;
        sum.unchanged += saved.unchanged;
        Ok(())
    }

    fn finish(self, broken: Option<InputFailure>, is_bill: bool) -> Result<Outcome> {
        let (context, mut report) = (self.context, self.report);
        for unknown in &report.unknown_services {
            context.warn(printable(&unknown.to_string()));
        }
        self.refusals.report_rest(context, broken.as_slice());
        report.days = refresh(context, self.db)?;
        context.answer(&report)?;
        let is_unstored = is_bill && report.bill.is_none();
        if is_unstored {
            context.warn("the bill cannot be read whole: nothing of it was stored");
        }
        let kept = self.refusals.close()?;
        let again = "run the same command again: imported lines are skipped";
        if broken.is_some() {
            let next = format!("correct the input, then {again}");
            return Ok(Outcome::with_next(Exit::Failed, next));
        }
        if report.read == 0 {
            if !is_bill {
                context.warn("the input has no lines: nothing was imported");
            }
            return Ok(Outcome::with_next(Exit::Unknown, "give a file with lines"));
        }
        let next = match kept {
            _ if report.refused == 0 => return Ok(Outcome::DONE),
            _ if is_unstored => "correct the rejected lines, or add --partial".to_owned(),
            Some(kept) => format!("correct the lines listed in {kept}, then {again}"),
            None => format!("correct the rejected lines, then {again}"),
        };
        Ok(Outcome::with_next(Exit::Incomplete, next))
    }
}
