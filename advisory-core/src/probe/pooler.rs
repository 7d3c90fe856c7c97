//! Tells a session from a connection that a pooler lends a session to, for a transaction at a time.
//!
//! A connection beside the pool locks a random key, and closes. Where connections are sessions, the
//! lock ends with it. Behind a pooler that lends sessions, the lock stays in one of them until a
//! look happens to get that session, and releases the lock. No other session is affected.

use std::io::{Error as IoError, ErrorKind};
use std::time::Instant;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener};
use sqlx::{Acquire as _, ConnectOptions as _, Connection as _, Row as _};
use tokio::time::{sleep, timeout};

use crate::error::{Error, UnsupportedReason};
use crate::lock::{AdvisoryLock, LockId, Wait};
use crate::sql::send::{send, send_for_row};
use crate::sql::session::{find_probe, leave_probe};
use crate::sql::{sqlstate, transaction, unique_name};
use crate::time_bounds::{LONGEST_PROBE_PAUSE, PROBE_LIMIT, PROBE_PAUSE, SHORTEST_PROBE};

/// Why a pool is not known to have sessions.
pub(super) enum ProbeError {
    /// No connection beside the pool could be opened, or a look has failed.
    Inconclusive,
    Failed(Error),
}

/// What one look has shown.
enum ProbeState {
    /// The lock ended with its connection.
    Ended,
    /// A session still holds the lock.
    Held,
    /// This session held the lock, so a pooler has lent it; or this is another server.
    Lent,
}

/// Checks that the pool's connections are sessions of one server.
pub(super) async fn probe_pooler(
    lock: &AdvisoryLock,
    listener: &mut PgListener,
    options: &PgConnectOptions,
    wait: Wait,
) -> Result<(), ProbeError> {
    let probe = AdvisoryLock::new(unique_name("advisory session"));
    let longest = lock.response_limit() / 2;
    let limit = match wait {
        Wait::For(left) => left.min(longest),
        _ => longest,
    };
    let limit = limit.max(SHORTEST_PROBE);
    let left = timeout(limit, lock_and_close(options, probe.id())).await;
    let server = left
        .unwrap_or(Err(sqlx::Error::PoolTimedOut))
        .map_err(|error| inconclusive(lock, &error))?;
    match has_ended(listener, options, probe.id(), &server).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(ProbeError::Failed(Error::unsupported(
            UnsupportedReason::TransactionPooler,
        ))),
        Err(error) if sqlstate::is_loss(&error) || sqlstate::is_aborted_before(&error) => {
            Err(ProbeError::Failed(error.into()))
        }
        Err(error) => Err(match Error::of_lock(error, lock.id()) {
            Error::Database(error) => inconclusive(lock, &error),
            error => ProbeError::Failed(error),
        }),
    }
}

fn inconclusive(lock: &AdvisoryLock, error: &sqlx::Error) -> ProbeError {
    tracing::warn!(%lock, %error, "cannot tell whether the pool's connections are sessions");
    ProbeError::Inconclusive
}

/// Locks the key on a connection of its own, and closes the connection. Returns the server.
async fn lock_and_close(options: &PgConnectOptions, probe: &LockId) -> Result<String, sqlx::Error> {
    let mut conn = options.connect().await?;
    let row = send_for_row(&mut conn, leave_probe(probe)).await?;
    conn.close().await?;
    row.try_get(0)
}

/// Whether the lock has ended with its connection; false if it was found in a session that was lent
/// to us. A lock that stays and is not found proves nothing: the network may have lost the end of
/// its connection.
async fn has_ended(
    listener: &mut PgListener,
    options: &PgConnectOptions,
    probe: &LockId,
    server: &str,
) -> Result<bool, sqlx::Error> {
    let (started, mut pause) = (Instant::now(), PROBE_PAUSE);
    while started.elapsed() < PROBE_LIMIT {
        let conn = listener.acquire().await?;
        let mut state = look(conn, probe, server).await?;
        if matches!(state, ProbeState::Held) && pause == LONGEST_PROBE_PAUSE {
            state = look_in_another_session(conn, options, probe, server).await?;
        }
        match state {
            ProbeState::Ended => return Ok(true),
            ProbeState::Lent => return Ok(false),
            ProbeState::Held => {}
        }
        sleep(pause).await;
        pause = LONGEST_PROBE_PAUSE.min(pause * 2);
    }
    let unknown = "cannot tell whether the pool's connections are sessions: a lock stays though its connection was closed";
    Err(IoError::new(ErrorKind::TimedOut, unknown).into())
}

/// Looks from a second connection while this one is in a transaction. A pooler may lend us the same
/// session again and again; a transaction keeps it, so that the second connection gets another one.
async fn look_in_another_session(
    conn: &mut PgConnection,
    options: &PgConnectOptions,
    probe: &LockId,
    server: &str,
) -> Result<ProbeState, sqlx::Error> {
    send(&mut *conn, transaction::BEGIN).await?;
    let second = async {
        let mut other = options.connect().await?;
        let state = look(&mut other, probe, server).await?;
        other.close().await?;
        Ok::<_, sqlx::Error>(state)
    };
    let state = timeout(SHORTEST_PROBE, second).await;
    send(conn, transaction::ROLLBACK).await?;
    // Without a second connection there is nothing to see.
    Ok(state
        .unwrap_or(Ok(ProbeState::Held))
        .unwrap_or(ProbeState::Held))
}

async fn look(
    conn: &mut PgConnection,
    probe: &LockId,
    server: &str,
) -> Result<ProbeState, sqlx::Error> {
    let row = send_for_row(conn, find_probe(probe)).await?;
    let (is_held, was_ours, here): (bool, bool, &str) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    Ok(match is_held {
        _ if was_ours || here != server => ProbeState::Lent,
        true => ProbeState::Held,
        false => ProbeState::Ended,
    })
}
