//! `limits import`: a newer catalogue, or one of the user's own.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::sync;
use crate::args::Author;
use crate::commands::prelude::*;
use crate::domain::format::counted;
use crate::domain::plans::audit::page;
use crate::domain::plans::catalogue::Catalogue;
use crate::domain::plans::sync::Signature;
use crate::domain::plans::{diff, parse, selection};
use crate::output::limits::changes::Imported;
use crate::store::plans::{catalogues, selections};

/// Import a catalogue of plans
///
/// Checks the whole file and reports every fault with its line. Then shows how it differs from the catalogue in
/// force, and updates the limits of the plans in use; those with another value are listed. Limits that were set by hand
/// are kept. The imported catalogue is
/// in force until one of a newer version is imported or comes with a newer program.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl limits catalogue | sed 's/^version = .*/version = \"2027.1.1\"/' > mine.toml && usagectl limits import mine.toml --dry-run"
)]
pub struct ImportArgs {
    /// Catalogue in TOML, or - for stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Check the file and show the changes without writing them
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    author: Author,
}

pub fn run(context: &mut Context, args: ImportArgs) -> Result<Outcome> {
    let next = "correct the file, then run the same command again";
    let bytes = read_file(&args.file).map_err(|error| {
        Error::from(error)
            .context(format!("cannot read {}", args.file.display()))
            .with_next("usagectl limits import FILE")
    })?;
    let catalogue =
        parse::parse_bytes(&bytes).map_err(|error| Error::from(error).with_next(next))?;
    let content = String::from_utf8(bytes)
        .map_err(|error| Error::new(Exit::Failed, error).with_next(next))?;
    let (by, now) = (args.author.name(), context.now);
    let signature = Signature { by: &by, now };
    warn_of_old_sources(context, &catalogue);
    let answer = sync::transact(context, args.dry_run, |_, db| {
        import(db, &catalogue, &content, signature, args.dry_run)
    })?;
    let (providers, mut next) = (catalogue.providers(), None);
    for plan in &answer.missing_plans {
        context.warn(format_args!("{plan} is in use but not in this catalogue"));
        let provider = plan.split(' ').next().filter(|it| providers.contains(it));
        next = next.or(provider.map(|it| format!("usagectl limits plan {it} PLAN")));
    }
    context.answer(&answer)?;
    Ok(Outcome {
        next,
        ..Outcome::DONE
    })
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    // One byte more than allowed, so that a file that is too large is noticed without reading it all.
    let most = parse::LARGEST_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(most).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(most).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn warn_of_old_sources(context: &mut Context, catalogue: &Catalogue) {
    let today = context.now.date_naive();
    let sources = catalogue.sources.iter();
    let old = sources.filter_map(|it| page(&it.url, it.page_date, Some(it.read_on), today));
    let old = old.count();
    if old > 0 {
        let sources = counted(old as u64, "source");
        context.warn(format_args!(
            "{sources} of the catalogue older than 180 days or without a date; of the limits in use: usagectl limits audit"
        ));
    }
}

fn import(
    db: &mut Db,
    catalogue: &Catalogue,
    content: &str,
    signature: Signature<'_>,
    dry_run: bool,
) -> Result<Imported> {
    let active = catalogues::active_with_text(db)?;
    let (before, version) = (&active.catalogue, &catalogue.version);
    let refused = |message| {
        let next = "give the file a newer version, then run the same command again";
        Err(Error::message(Exit::Refused, message).with_next(next))
    };
    if *version < before.version {
        let in_force = &before.version;
        let message = format!("{version} is older than the catalogue in force, {in_force}");
        return refused(message);
    }
    if *version == before.version && content != active.content {
        let message = format!("another catalogue of version {version} is in force");
        return refused(message);
    }
    if *version != before.version && !dry_run {
        catalogues::insert(db, version, content, signature.by, signature.now)?;
    }
    let selections = selections::all(db)?;
    let missing_plans = selection::in_use(&selections, signature.now)
        .filter(|it| catalogue.plan(&it.provider, &it.plan).is_none())
        .map(|it| format!("{} {}", it.provider, it.plan))
        .collect();
    let mut changes = sync::changes(db, catalogue, &selections, None, signature)?;
    if !dry_run {
        sync::save(db, &changes, signature.now)?;
    }
    changes.retain_new_values();
    Ok(Imported {
        version: version.to_string(),
        version_before: before.version.to_string(),
        dry_run,
        differences: diff::diff(before, catalogue),
        missing_plans,
        changes,
    })
}
