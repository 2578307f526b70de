//! `usagectl_run_locks`: the run locks of a PostgreSQL database, which work behind a transaction pooler.
//!
//! A session lock would stay on the pooler's server session, and a transaction that holds one would occupy a
//! second session, which the pool may not have. So a run leases its lock: it owns a row that expires [`LEASE`]
//! after the last renewal. Each transaction of the run
//!
//! * holds a shared advisory lock: a lease is only taken over under the exclusive one, so never in the middle
//!   of a transaction, however long it is;
//! * reads the row: after a takeover the run ends before it writes;
//! * renews a lease of which a third is over.
//!
//! A lease is taken over when its process has ended, if that was on this host, else when it has expired.
//! Acquiring and releasing are one round trip each and not flushed to disk: a crash of the server, which undoes
//! them, ends the run too.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use diesel::dsl::sql_query;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text, Timestamp};

use super::lock::{KEY_SPACE, RunKind};
use super::process;
use super::time::UtcTimestamp;
use super::tuples::LoadTuples;
use crate::domain::named::Named;
use crate::domain::run_lock::{Holder, Liveness, ProcessIdentity, liveness};

/// Longer than a pause between two transactions of a run.
const LEASE: Duration = Duration::from_secs(60);

/// A lease that this process holds.
#[derive(Debug)]
pub struct Lease {
    kind: RunKind,
    token: String,
    renewed_at: Instant,
}

/// Another run took over the lease.
#[derive(Debug, thiserror::Error)]
#[error("another `usagectl {}` took over: this run did not reach the server for {} seconds", .0, LEASE.as_secs())]
pub(super) struct LeaseLost(RunKind);

/// The lease that another run holds, or held.
struct Found {
    token: String,
    holder: Holder,
    /// Of the holder.
    liveness: Liveness,
    has_expired: bool,
}

/// The server's clock in UTC, as it advances within a transaction.
const NOW: &str = "(clock_timestamp() AT TIME ZONE 'UTC')";

/// Makes the commit of the statement return before it is flushed.
const UNFLUSHED: &str = "SELECT set_config('synchronous_commit', 'off', true)";

/// A try to acquire a lease, outside a transaction. The inner error is the holder that prevents it.
pub fn acquire(
    conn: &mut PgConnection,
    kind: RunKind,
    application: &str,
    since: DateTime<Utc>,
) -> QueryResult<Result<Lease, Holder>> {
    let renewed_at = Instant::now();
    let token = crate::domain::id::unique(since).to_string();
    let identity = process::identity();
    let columns =
        "token, application, host, pid, process_space, process_started, since, expires_at";
    let values = format!("$2, $3, $4, $5, $6, $7, $8, {NOW} + $9 * interval '1 ms'");
    macro_rules! bound {
        ($query:expr) => {
            sql_query($query)
                .bind::<Text, _>(kind.as_str())
                .bind::<Text, _>(&token)
                .bind::<Text, _>(application)
                .bind::<Text, _>(process::host_name())
                .bind::<Integer, _>(process::id())
                .bind::<Nullable<Text>, _>(identity.as_ref().map(|it| it.space.as_str()))
                .bind::<Nullable<Text>, _>(identity.as_ref().map(|it| it.started.as_str()))
                .bind::<Timestamp, _>(UtcTimestamp::new(since))
                .bind::<BigInt, _>(lease_ms())
        };
    }
    let insert = format!(
        "WITH unflushed AS ({UNFLUSHED})
         INSERT INTO usagectl.usagectl_run_locks (kind, {columns})
         SELECT $1, {values} FROM unflushed ON CONFLICT (kind) DO NOTHING"
    );
    let mut acquired = bound!(insert).execute(conn)?;
    if acquired == 0 {
        let Some(found) = find(conn, kind)? else {
            // Released in between.
            return acquire(conn, kind, application, since);
        };
        let has_ended = found.liveness == Liveness::Ended;
        if has_ended || (found.has_expired && found.liveness == Liveness::Unknown) {
            // The lock is tried last, for a row that may be taken over.
            let take_over = format!(
                "UPDATE usagectl.usagectl_run_locks SET ({columns}) = ROW ({values})
                 WHERE kind = $1 AND token = $10 AND CASE WHEN $11 OR expires_at <= {NOW}
                     THEN pg_try_advisory_xact_lock($12, $13) ELSE false END"
            );
            acquired = bound!(take_over)
                .bind::<Text, _>(&found.token)
                .bind::<Bool, _>(has_ended)
                .bind::<Integer, _>(KEY_SPACE)
                .bind::<Integer, _>(kind.number())
                .execute(conn)?;
        }
        if acquired == 0 {
            return Ok(Err(found.holder));
        }
    }
    Ok(Ok(Lease {
        kind,
        token,
        renewed_at,
    }))
}

fn find(conn: &mut PgConnection, kind: RunKind) -> QueryResult<Option<Found>> {
    let query = format!(
        "SELECT token, application, host, pid, process_space, process_started, since, expires_at <= {NOW}
         FROM usagectl.usagectl_run_locks WHERE kind = $1"
    );
    type Row = (
        String,
        String,
        String,
        i32,
        Option<String>,
        Option<String>,
        UtcTimestamp,
        bool,
    );
    let query = sql_query(query).bind::<Text, _>(kind.as_str());
    let row: Option<Row> = query.row(conn).optional()?;
    Ok(row.map(
        |(token, application, host, pid, space, started, since, has_expired)| {
            let identity = space.zip(started);
            let identity = identity.map(|(space, started)| ProcessIdentity {
                space,
                pid,
                started,
            });
            Found {
                token,
                holder: Holder {
                    application,
                    process: format!("process {pid} on {host}"),
                    since: Some(since.utc()),
                },
                liveness: liveness(
                    identity.as_ref(),
                    process::space().as_deref(),
                    process::started,
                ),
                has_expired,
            }
        },
    ))
}

fn lease_ms() -> i64 {
    i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX)
}

macro_rules! of_lease {
    ($lease:ident, $query:expr) => {
        sql_query($query)
            .bind::<Text, _>($lease.kind.as_str())
            .bind::<Text, _>(&$lease.token)
    };
}

impl Lease {
    /// Takes the shared lock; sent with BEGIN.
    pub fn lock_statement(&self) -> String {
        let number = self.kind.number();
        format!("SELECT pg_advisory_xact_lock_shared({KEY_SPACE}, {number})")
    }

    /// Fails if the lease was lost, and renews it when due; at the beginning of each transaction.
    pub fn check(&mut self, conn: &mut PgConnection) -> QueryResult<()> {
        if self.is_due() {
            return self.renew(conn);
        }
        let query = "SELECT EXISTS (SELECT 1 FROM usagectl.usagectl_run_locks WHERE kind = $1 AND token = $2)";
        match of_lease!(self, query).row(conn)? {
            true => Ok(()),
            false => Err(self.lost()),
        }
    }

    /// Renews the lease if the transaction was long, before it is committed.
    pub fn renew_if_due(&mut self, conn: &mut PgConnection) -> QueryResult<()> {
        if self.is_due() {
            self.renew(conn)?;
        }
        Ok(())
    }

    /// Outside a transaction.
    pub fn release(&self, conn: &mut PgConnection) -> QueryResult<()> {
        let query = format!(
            "WITH unflushed AS ({UNFLUSHED})
             DELETE FROM usagectl.usagectl_run_locks USING unflushed WHERE kind = $1 AND token = $2"
        );
        of_lease!(self, query).execute(conn).map(drop)
    }

    fn is_due(&self) -> bool {
        self.renewed_at.elapsed() > LEASE / 3
    }

    fn renew(&mut self, conn: &mut PgConnection) -> QueryResult<()> {
        let renewed_at = Instant::now();
        let query = format!(
            "UPDATE usagectl.usagectl_run_locks SET expires_at = {NOW} + $3 * interval '1 ms'
             WHERE kind = $1 AND token = $2"
        );
        let query = of_lease!(self, query).bind::<BigInt, _>(lease_ms());
        if query.execute(conn)? == 0 {
            return Err(self.lost());
        }
        self.renewed_at = renewed_at;
        Ok(())
    }

    fn lost(&self) -> diesel::result::Error {
        diesel::result::Error::QueryBuilderError(Box::new(LeaseLost(self.kind)))
    }
}
