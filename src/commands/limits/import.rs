//! `limits import`: a newer catalogue, or one of the user's own.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;

use super::apply::{Applied, apply, rehearsable};
use crate::context::{self, Context};
use crate::domain::format::counted;
use crate::domain::plans::audit::OLD;
use crate::domain::plans::catalogue::Catalogue;
use crate::domain::plans::sync::Actor;
use crate::domain::plans::{diff, parse, selection};
use crate::error::{Error, Exit, Outcome, Result};
use crate::output::limits::import::Imported;
use crate::store::db::{Access, Db};
use crate::store::plans::{catalogues, selections};

/// Bring a newer catalogue of plans, or one of your own
///
/// The file is checked as a whole, and everything that is wrong is told with its line. Then follow what it says
/// otherwise than the catalogue in force, and what becomes of the limits of the plans in use. What was set by hand
/// stays. It is in force until one with a newer version comes, by hand or with a newer program.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl limits catalogue | sed 's/^version = .*/version = \"2027.1.1\"/' > mine.toml && usagectl limits import mine.toml --dry-run"
)]
pub struct ImportArgs {
    /// The file, or - for stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Only check it and show what would become of the limits
    #[arg(long)]
    dry_run: bool,

    /// Who imports it; user@host, unless given
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
}

/// Checks, keeps and applies the catalogue.
pub fn run(context: &mut Context, args: ImportArgs) -> Result<Outcome> {
    let wrong = "put the file right, then run the same command again";
    let bytes = read_file(&args.file).map_err(|error| {
        Error::from(error)
            .context(format!("cannot read {}", args.file.display()))
            .with_next("usagectl limits import FILE")
    })?;
    let catalogue =
        parse::parse_bytes(&bytes).map_err(|error| Error::from(error).with_next(wrong))?;
    let content = String::from_utf8(bytes)
        .map_err(|error| Error::new(Exit::Failed, error).with_next(wrong))?;
    let by = args.by.unwrap_or_else(context::current_user);
    let actor = Actor {
        by: &by,
        now: context.now,
    };
    warn_of_old_pages(context, &catalogue);
    let mut db = context.open(Access::Write)?;
    let answer = rehearsable(&mut db, args.dry_run, |db| {
        import(db, &catalogue, &content, actor, args.dry_run)
    })?;
    for plan in &answer.gone {
        context.warn(format_args!("{plan} is in use and not in this catalogue"));
    }
    context.answer(&answer)?;
    Ok(Outcome::DONE)
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    // One byte more than is allowed, so that what is too large is seen and not read.
    let most = parse::LARGEST_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(most).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(most).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn warn_of_old_pages(context: &mut Context, catalogue: &Catalogue) {
    let today = context.now.date_naive();
    let is_old = |day| today - day > OLD;
    let old = catalogue.sources.iter().filter(|source| {
        let day = source.page_date.earliest();
        day.is_none_or(is_old)
    });
    let old = old.count();
    if old > 0 {
        context.warn(format_args!(
            "{} older than 180 days or without a date: usagectl limits audit",
            counted(old as u64, "page")
        ));
    }
}

fn import(
    db: &mut Db,
    catalogue: &Catalogue,
    content: &str,
    actor: Actor<'_>,
    dry_run: bool,
) -> Result<Imported> {
    let held = catalogues::held(db)?;
    let before = &held.catalogue;
    let version = &catalogue.version;
    if *version == before.version && content != held.content {
        let message = format!("another catalogue of version {version} is in force");
        return Err(Error::message(Exit::Refused, message)
            .with_next("give the file a newer version, then run the same command again"));
    }
    if *version < before.version {
        let message = format!(
            "{version} is older than the catalogue in force, {}",
            before.version
        );
        return Err(Error::message(Exit::Refused, message)
            .with_next("give the file a newer version, then run the same command again"));
    }
    let is_new = *version != before.version;
    if is_new {
        catalogues::insert(db, version, content, actor.by, actor.now)?;
    }
    let choices = selections::all(db)?;
    let gone = choices.iter().filter(|it| {
        let in_use = selection::current(&choices, &it.provider, actor.now);
        in_use.is_some_and(|in_use| in_use.id == it.id)
            && catalogue.plan(&it.provider, &it.plan).is_none()
    });
    let gone = gone
        .map(|it| format!("{} {}", it.provider, it.plan))
        .collect();
    let Applied { limits, api_limits } = apply(db, catalogue, actor)?;
    Ok(Imported {
        version: version.to_string(),
        version_before: before.version.to_string(),
        dry_run,
        differences: diff::diff(before, catalogue),
        gone,
        limits,
        api_limits,
    })
}
