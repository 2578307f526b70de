//! SIGINT and SIGTERM during `migrate` and `rollback`: the running step is rolled back, and the state of the
//! database is printed.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::context::Context;
use crate::domain::schema::migration;
use crate::error::{Exit, Result};
use crate::store::db::{self, Access, Db};
use crate::store::migrations;
use crate::store::url::DatabaseUrl;

/// How long to wait until the server has cancelled a statement.
const CANCEL_CHECKS: u32 = 50;
const CANCEL_POLL: Duration = Duration::from_millis(100);

/// The command that continues an interrupted run.
#[derive(Clone, Debug)]
pub(in crate::commands) struct NextStep {
    /// If a migration is partly applied or reverted.
    pub(in crate::commands) if_partial: String,
    pub(in crate::commands) otherwise: String,
    /// The export that is restored.
    pub(in crate::commands) restored: Option<String>,
}

impl From<String> for NextStep {
    fn from(command: String) -> NextStep {
        NextStep {
            if_partial: command.clone(),
            otherwise: command,
            restored: None,
        }
    }
}

/// Whether [`end_on_signals`] has taken over from [`end_before_changes`].
static MAY_HAVE_CHANGED: AtomicBool = AtomicBool::new(false);

/// Ends the program when a signal arrives before [`end_on_signals`] is called. `next` is the same command.
pub(in crate::commands) fn end_before_changes(context: &Context, next: String) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let mut context = context.for_thread();
    thread::spawn(move || {
        if signals.forever().next().is_none() || MAY_HAVE_CHANGED.load(Ordering::SeqCst) {
            return;
        }
        // Of a signal between the two, so that this stays true.
        let _stopped = migrations::stop();
        let message = "interrupted; nothing was changed";
        context.conclude(Exit::Failed, Some(message), &next);
        process::exit(i32::from(Exit::Failed.code()));
    });
    Ok(())
}

/// Ends the program when a signal arrives. A second signal ends it at once.
pub(in crate::commands) fn end_on_signals(
    context: &Context,
    url: &DatabaseUrl,
    db: &mut Db,
    next: NextStep,
) -> Result<()> {
    let server_process = server_process(db)?;
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    MAY_HAVE_CHANGED.store(true, Ordering::SeqCst);
    let mut context = context.for_thread();
    let url = url.clone();
    thread::spawn(move || {
        if signals.forever().next().is_none() {
            return;
        }
        for signal in [SIGINT, SIGTERM] {
            let at_once = Arc::new(AtomicBool::new(true));
            let code = i32::from(Exit::Failed.code());
            let _ = flag::register_conditional_shutdown(signal, code, at_once);
        }
        // From here on nothing is committed, so the state below stays true.
        let _stopped = migrations::stop();
        let state = cancel_and_describe(&url, server_process, &next);
        let (message, next) = state.unwrap_or_else(|error| {
            let message = format!("interrupted; the state is unknown: {error}");
            (message, "usagectl status".to_owned())
        });
        context.conclude(Exit::Failed, Some(&message), &next);
        process::exit(i32::from(Exit::Failed.code()));
    });
    Ok(())
}

/// The process of this connection on a PostgreSQL server.
fn server_process(db: &mut Db) -> Result<Option<i32>> {
    match db {
        Db::Pg(postgres) => Ok(Some(postgres.server_process()?)),
        Db::Sqlite(_) => Ok(None),
    }
}

/// Cancels the running statement, then describes the state of the database and the next step.
fn cancel_and_describe(
    url: &DatabaseUrl,
    server_process: Option<i32>,
    next: &NextStep,
) -> Result<(String, String)> {
    let mut db = db::open(url, Access::Read)?;
    if let (Db::Pg(postgres), Some(pid)) = (&mut db, server_process) {
        for _ in 0..CANCEL_CHECKS {
            if !postgres.cancel(pid)? {
                break;
            }
            thread::sleep(CANCEL_POLL);
        }
    }
    let survey = migrations::survey(&mut db)?;
    let mut message = format!("interrupted; {}", migration::summary(&survey.statuses));
    if let Some(folder) = &next.restored {
        message.push_str(&format!("; {}", migration::restore_message(folder)));
    }
    if migrations::has_capture(&mut db)? {
        message.push_str("; the next rollback or migrate removes the triggers of the export");
    }
    let statuses = survey.statuses.iter();
    let is_partial = statuses.filter_map(|status| status.partial()).count() > 0;
    let command = match is_partial {
        true => &next.if_partial,
        false => &next.otherwise,
    };
    Ok((message, command.clone()))
}
