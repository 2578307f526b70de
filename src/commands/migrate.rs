//! `migrate`: apply what is pending.

use std::time::Duration;

use clap::Args;

use crate::context::Context;
use crate::error::{Outcome, Result};
use crate::store::backend::Access;
use crate::store::lock::{RunKind, RunLock};
use crate::store::migrations::{self, Direction, Entry};

/// Apply pending migrations
///
/// Creates the SQLite file if there is none. Several runs at once are safe: one works, the others wait
/// and then find nothing left to do.
#[derive(Args, Debug)]
#[command(after_help = "Example: usagectl --database-url sqlite:usage.db migrate")]
pub struct MigrateArgs {}

/// How long to wait for another run.
const LOCK_WAIT: Duration = Duration::from_secs(60);

/// Applies every pending migration.
///
/// # Errors
///
/// When the database cannot be opened or a migration fails.
pub fn run(context: &mut Context, _args: MigrateArgs) -> Result<Outcome> {
    let url = context.database_url(true)?;
    let schema = migrations::application_schema(&url);
    let mut db = context.open_unchecked(&url, Access::Create)?;
    let _lock = RunLock::acquire(&url, RunKind::Migrate, LOCK_WAIT)?;
    let found = migrations::prepare(&mut db, schema)?;
    let entry = Entry {
        application_schema: schema,
        done_by: &crate::context::who(),
        at: context.now.into(),
    };
    for migration in migrations::ALL {
        if found
            .applied
            .iter()
            .any(|(version, _)| version == migration.version)
        {
            continue;
        }
        db.write_tx(|db| migrations::run(db, migration, Direction::Up, entry))?;
        context.tell(format_args!("applied {migration}"));
    }
    Ok(Outcome::DONE)
}
