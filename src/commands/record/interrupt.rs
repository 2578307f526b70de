//! SIGINT and SIGTERM: the complete lines read so far are recorded, and a statement that takes long is cancelled.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::commands::prelude::*;
use crate::store::db;
use crate::store::url::DatabaseUrl;

/// How long a running statement may take after the signal.
const GRACE: Duration = Duration::from_secs(1);

const POLL: Duration = Duration::from_millis(100);

/// Cancels the statement of a run that is stopped. SQLite's statements are short: a batch at most.
#[derive(Clone, Default)]
pub(super) struct Cancel {
    /// The server's processes that insert a batch.
    processes: Arc<Mutex<Vec<i32>>>,
    was_sent: Arc<AtomicBool>,
}

impl Cancel {
    /// Waits for `stop` in a thread, which ends with the program.
    pub(super) fn when(stop: &Arc<AtomicBool>, url: DatabaseUrl) -> Cancel {
        let cancel = Cancel::default();
        let (stop, watched) = (Arc::clone(stop), cancel.clone());
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                thread::sleep(POLL);
            }
            let stopped = Instant::now();
            loop {
                thread::sleep(POLL);
                let processes = watched.processes().clone();
                if !processes.is_empty() && stopped.elapsed() >= GRACE {
                    watched.was_sent.store(true, Ordering::Relaxed);
                    if let Ok(Db::Pg(mut postgres)) = db::open(&url, Access::Read) {
                        for process in processes {
                            let _ = postgres.cancel(process);
                        }
                    }
                }
            }
        });
        cancel
    }

    /// Runs `work`, which may be cancelled from now on.
    pub(super) fn during<T>(
        &self,
        db: &mut Db,
        work: impl FnOnce(&mut Db) -> Result<T>,
    ) -> Result<T> {
        let process = match db {
            Db::Pg(postgres) => Some(postgres.server_process()?),
            Db::Sqlite(_) => None,
        };
        self.processes().extend(process);
        let done = work(db);
        self.processes().retain(|other| Some(*other) != process);
        done
    }

    fn processes(&self) -> MutexGuard<'_, Vec<i32>> {
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn was_sent(&self) -> bool {
        self.was_sent.load(Ordering::Relaxed)
    }
}
