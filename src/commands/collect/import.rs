//! `collect import`: measurements and bills from a file or stdin.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use chrono::{FixedOffset, TimeDelta};
use clap::{Args, ValueEnum};

use crate::args::parse_duration;
use crate::context::Context;
use crate::domain::format::{count, counted};
use crate::domain::metrics::focus_bill::{Bill, Charge};
use crate::domain::metrics::point::{NewPoint, Saved};
use crate::error::{Error, Exit, Outcome, Result};
use crate::ingest::{
    self, Broken, Format, Found, Input, Line, Refusal, RejectsFile, Rules, TimeUnit,
};
use crate::output::collect::Imported;
use crate::output::printable;
use crate::store::db::{Access, Db};
use crate::store::metrics::days;
use crate::store::metrics::points;
use crate::store::metrics::points::Known;

/// Import metrics from a file or a pipe
///
/// Reads NDJSON, a JSON array or CSV, plain or compressed with gzip or zstd; the first bytes tell which.
/// A line is one value: service, metric, value and timestamp, as the application's table has them; and
/// optionally metadata (an object), resource (which database or project), reading (level: what there is;
/// cumulative: what was used since period_start; amount: what was used in a stretch of time of its own)
/// and id.
///
/// With `--kind focus` the lines are charges of a bill in the FOCUS format, as Vercel and the large
/// clouds export it; they are added up to amounts for each day.
///
/// A line that is refused is named and counted and does not stop the others; the exit code is then 3.
/// The same moment of the same series is one row: what is imported again changes nothing, and a value
/// that was corrected replaces the old one.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  usagectl collect import metrics.ndjson
  echo '{\"service\":\"VERCEL_KV\",\"metric\":\"STORAGE_MB\",\"value\":201.5,\"timestamp\":\"2026-01-31T12:00:00Z\"}' | usagectl collect import -")]
pub struct ImportArgs {
    /// File to read; stdin if there is none, or for `-`
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// What the lines are
    #[arg(long, value_enum, default_value_t = Kind::Metrics)]
    kind: Kind,

    /// Read this format, whatever the input begins with
    #[arg(long, value_enum, value_name = "FORMAT")]
    input_format: Option<Format>,

    /// Keep refused lines in this file, behind those that are in it
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,

    /// Read times that are numbers as seconds or milliseconds since 1970
    #[arg(long, value_enum, value_name = "UNIT")]
    time_unit: Option<TimeUnit>,

    /// Read times without a zone as of this one: UTC, or an offset such as +02:00
    #[arg(long, value_name = "ZONE", value_parser = ingest::zone_from_text, allow_hyphen_values = true)]
    assume_tz: Option<FixedOffset>,

    /// Refuse times further ahead of now than this
    #[arg(long, value_name = "SPAN", default_value = "5m", value_parser = parse_duration)]
    max_future: std::time::Duration,
}

/// What the lines of an input are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Values of metrics
    Metrics,
    /// Charges of a bill in the FOCUS format
    Focus,
}

/// How far ahead of now a time is believed.
pub(super) const MAX_FUTURE: TimeDelta = TimeDelta::minutes(5);

/// So many points go into one transaction.
const BATCH: usize = 5_000;

/// So many refused lines are named; then they are only counted.
const NAMED_LINES: u64 = 20;

/// Imports what the arguments name.
pub fn run(context: &mut Context, args: ImportArgs) -> Result<Outcome> {
    let input = open(args.file.as_deref())?;
    let rejects = args.rejects.as_deref().map(open_rejects).transpose()?;
    let mut db = context.open(Access::Write)?;
    let mut import = Import {
        rules: Rules {
            now: context.now,
            max_future: TimeDelta::from_std(args.max_future).unwrap_or(TimeDelta::MAX),
            time_unit: args.time_unit,
            assumed_zone: args.assume_tz,
        },
        format: args.input_format,
        context,
        db: &mut db,
        rejects,
        waiting: Vec::new(),
        read: 0,
        refused: 0,
        saved: Saved::default(),
    };
    let (broken, left_out) = match args.kind {
        Kind::Metrics => (import.metrics(input)?, Vec::new()),
        Kind::Focus => import.bill(input)?,
    };
    import.finish(broken, left_out)
}

fn open(file: Option<&Path>) -> Result<Input> {
    let stdin = Path::new("-");
    if file.is_none() && io::stdin().is_terminal() {
        let message = "nothing to import: no file is named, and stdin is a terminal";
        return Err(Error::usage(message).with_next("usagectl collect import FILE"));
    }
    let opened = match file.unwrap_or(stdin) {
        path if path == stdin => Input::stdin(),
        path => Input::open(path),
    };
    opened.map_err(|error| {
        Error::new(Exit::Failed, error)
            .with_next("name a file that can be read; nothing was imported")
    })
}

fn open_rejects(path: &Path) -> Result<RejectsFile> {
    RejectsFile::open(path).map_err(|error| {
        Error::new(Exit::Failed, error)
            .context(format!("cannot write {}", path.display()))
            .with_next("name a file that can be written; nothing was imported")
    })
}

/// Sums up the days whose points changed, and tells of late points that came too late.
pub(super) fn refresh(context: &mut Context, db: &mut Db) -> Result<u64> {
    let refreshed = days::refresh(db)?;
    if refreshed.sealed > 0 {
        context.warn(format_args!(
            "{} pruned before; what came late into them is stored and not summed up",
            match refreshed.sealed {
                1 => "1 day was".to_owned(),
                days => format!("{} days were", count(days.cast_signed())),
            }
        ));
    }
    Ok(refreshed.days)
}

/// Where reading an input ended before its end, and why.
type BrokenAt = Option<(u64, String)>;

struct Import<'a> {
    context: &'a mut Context,
    db: &'a mut Db,
    rules: Rules,
    format: Option<Format>,
    rejects: Option<RejectsFile>,
    waiting: Vec<NewPoint>,
    read: u64,
    refused: u64,
    saved: Saved,
}

impl Import<'_> {
    fn metrics(&mut self, input: Input) -> Result<BrokenAt> {
        let broken = self.read(input, |import, point: NewPoint| {
            import.waiting.push(point);
            match import.waiting.len() < BATCH {
                true => Ok(()),
                false => import.save(),
            }
        })?;
        self.save()?;
        Ok(broken)
    }

    /// A bill must be whole before it can be added up; one that breaks off is not saved.
    fn bill(&mut self, input: Input) -> Result<(BrokenAt, Vec<String>)> {
        let mut bill = Bill::default();
        let broken = self.read(input, |_, charge: Charge| {
            bill.add(&charge);
            Ok(())
        })?;
        if broken.is_none() {
            self.waiting = bill.points("focus", "");
            self.save()?;
        }
        Ok((broken, bill.left_out()))
    }

    fn read<L: Line>(
        &mut self,
        input: Input,
        mut take: impl FnMut(&mut Self, L) -> Result<()>,
    ) -> Result<BrokenAt> {
        let (format, rules) = (self.format, self.rules.clone());
        let ended = ingest::read_lines(input, format, &rules, &mut |found| {
            self.read += 1;
            match found {
                Found::Good(line) => take(self, line),
                Found::Refused(refusal) => self.refuse(&refusal),
            }
        });
        match ended {
            Ok(()) => Ok(None),
            Err(Broken::Input(line, reason)) => Ok(Some((line, reason))),
            Err(Broken::Taker(error)) => Err(error.context(match self.saved {
                Saved { inserted: 0, updated: 0, .. } => "importing stopped; nothing was imported".to_owned(),
                _ => "importing stopped; run the same command again: what is imported is not imported twice".to_owned(),
            })),
        }
    }

    fn refuse(&mut self, refusal: &Refusal) -> Result<()> {
        if self.refused < NAMED_LINES {
            let problem = &refusal.problem;
            let what = match &problem.field {
                Some(field) => format!("{} {}", printable(field), printable(&problem.message)),
                None => format!("the line {}", printable(&problem.message)),
            };
            let input = printable(&refusal.origin.input).into_owned();
            self.context
                .warn(format_args!("{input}:{}: {what}", refusal.line));
        }
        self.refused += 1;
        if let Some(rejects) = &mut self.rejects {
            let kept = rejects
                .write(refusal, self.rules.now)
                .and_then(|()| rejects.flush());
            kept.map_err(|error| {
                let path = rejects.path().display();
                Error::new(Exit::Failed, error)
                    .context(format!("cannot write {path}"))
                    .with_next("make room for the refused lines, then run the same command again")
            })?;
        }
        Ok(())
    }

    fn save(&mut self) -> Result<()> {
        let saved = points::save(self.db, &self.waiting, Known::IsReplaced)?;
        self.waiting.clear();
        self.saved.inserted += saved.inserted;
        self.saved.updated += saved.updated;
        self.saved.unchanged += saved.unchanged;
        Ok(())
    }

    fn finish(self, broken: BrokenAt, left_out: Vec<String>) -> Result<Outcome> {
        let Import {
            context,
            db,
            read,
            refused,
            saved,
            rejects,
            ..
        } = self;
        if refused > NAMED_LINES {
            let more = counted(refused - NAMED_LINES, "more line");
            context.warn(format_args!("{more} refused"));
        }
        for name in &left_out {
            let name = printable(name);
            context.warn(format_args!(
                "`{name}` is no service that is known here; its cost is in the sum, its amounts are in the metadata only"
            ));
        }
        if let Some((line, reason)) = &broken {
            context.error(&format!(
                "{}; it was read up to line {line}",
                printable(reason)
            ));
        }
        let days = refresh(context, db)?;
        context.answer(&Imported {
            read,
            refused,
            saved,
            days,
            left_out,
        })?;
        let kept = match rejects {
            Some(rejects) => {
                let kept = (!rejects.is_empty()).then(|| rejects.path().display().to_string());
                rejects.close()?;
                kept
            }
            None => None,
        };
        let again = "run the same command again: what is imported is not imported twice";
        Ok(match (broken, refused, kept) {
            (Some(_), _, _) => Outcome::with_next(
                Exit::Failed,
                format!("see to the input that could not be read, then {again}"),
            ),
            (None, 0, _) => Outcome::DONE,
            (None, _, Some(kept)) => Outcome::with_next(
                Exit::Incomplete,
                format!("correct the lines that {kept} shows in the input, then {again}"),
            ),
            (None, _, None) => Outcome::with_next(
                Exit::Incomplete,
                format!("correct the lines that are refused, then {again}"),
            ),
        })
    }
}
