//! Releases the lock of a session, and returns its connection to the pool.

use std::time::Duration;

use sqlx::postgres::{PgConnection, PgListener};
use sqlx::{Acquire as _, Row as _};
use tokio::time::timeout;

use super::liveness::Liveness;
use crate::error::Error;
use crate::lock::LockId;
use crate::on_drop::discard;
use crate::sql::send::{drain, send, send_for_row};
use crate::sql::session::{Saved, unlock};
use crate::sql::{sqlstate, transaction};
use crate::time_bounds::GRACE_PERIOD;

/// Releases the lock. The connection returns to the pool if it is clean, and is closed otherwise.
/// [`Error::Lost`] if the lock was not held any more.
pub(super) async fn release(lock: LockId, liveness: Box<Liveness>) -> Result<(), Error> {
    let (is_probing, limit) = (liveness.is_probing(), liveness.response_timeout);
    let (mut session, saved) = (liveness.session, liveness.saved);
    let is_reusable = liveness.is_reusable;
    // A probe has its own time to be answered.
    let drain_limit = if is_probing { limit } else { GRACE_PERIOD };
    if !drains_within(drain_limit, &mut session).await {
        discard(session);
        // Either the server does not answer a probe, or a dropped statement still runs. The server
        // ends that statement with its connection, and the lock with both.
        return if is_probing {
            Err(Error::lost(&lock))
        } else {
            Ok(())
        };
    }
    match timeout(limit, unlock_session(&lock, &saved, &mut session)).await {
        Ok(Ok(released)) => {
            if released.in_transaction || !released.held || !is_reusable {
                discard(session);
            }
            if released.held {
                Ok(())
            } else {
                Err(Error::lost(&lock))
            }
        }
        Ok(Err(error)) if !sqlstate::is_loss(&error) => {
            discard(session);
            Err(error.into())
        }
        Ok(Err(_)) | Err(_) => {
            discard(session);
            Err(Error::lost(&lock))
        }
    }
}

/// Whether the pending responses arrive in time. A connection that fails answers, too.
async fn drains_within(limit: Duration, session: &mut PgListener) -> bool {
    let drained = async { drain(session.acquire().await?).await };
    timeout(limit, drained).await.is_ok()
}

struct Released {
    held: bool,
    in_transaction: bool,
}

async fn unlock_session(
    lock: &LockId,
    saved: &Saved,
    session: &mut PgListener,
) -> Result<Released, sqlx::Error> {
    let conn = session.acquire().await?;
    let released = match send_unlock(lock, saved, conn).await {
        Err(error) if sqlstate::is_aborted_before(&error) => {
            send(&mut *conn, transaction::ROLLBACK).await?;
            Released {
                in_transaction: true,
                ..send_unlock(lock, saved, conn).await?
            }
        }
        released => released?,
    };
    if released.in_transaction {
        tracing::warn!(%lock, "released inside an open transaction, which is rolled back: commit before you release");
    }
    Ok(released)
}

async fn send_unlock(
    lock: &LockId,
    saved: &Saved,
    conn: &mut PgConnection,
) -> Result<Released, sqlx::Error> {
    let row = send_for_row(conn, unlock(lock, saved)).await?;
    Ok(Released {
        held: row.try_get(0)?,
        in_transaction: row.try_get(1)?,
    })
}
