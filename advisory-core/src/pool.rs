//! Connections of the caller's pool, and what they cost of the deadline.

use std::pin::Pin;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgListener, PgPool, Postgres};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::error::Holder;
use crate::sql::{holder, state};
use crate::wait::{Deadline, Wait};
use crate::{AdvisoryLock, Error};

/// How long an error may take to find out who holds the lock.
const EXPLANATION: Duration = Duration::from_millis(100);

/// The least time a pool has to give a connection. A shorter wait for a lock would cut off the connection that is just being
/// opened or checked, close it, and find the next one in the same state.
const CHECK_OUT: Duration = Duration::from_millis(100);

/// A connection of the pool, within the deadline if there is one.
pub(crate) async fn connection(
    pool: &PgPool,
    deadline: Deadline,
) -> Result<PoolConnection<Postgres>, Error> {
    within(deadline, Box::pin(pool.acquire())).await
}

/// A connection of the pool that can be read without asking for anything, within the deadline if there is one.
pub(crate) async fn listener(pool: &PgPool, deadline: Deadline) -> Result<PgListener, Error> {
    let connecting = Box::pin(PgListener::connect_with(pool));
    let mut listener = within(deadline, connecting).await?;
    // A session that is gone is gone: another one would not hold the lock. A pool that closes waits for its connections.
    listener.eager_reconnect(false);
    listener.ignore_pool_close_event(true);
    Ok(listener)
}

/// What it waits for is boxed by the caller: it is some 8 KiB, and each future around it would hold and copy it several times.
async fn within<T>(
    deadline: Deadline,
    acquire: Pin<Box<impl Future<Output = Result<T, sqlx::Error>>>>,
) -> Result<T, Error> {
    if Handle::try_current().is_err() {
        let what = "locks need a tokio runtime; use sqlx with `runtime-tokio`";
        return Err(Error::Unsupported { what: what.into() });
    }
    let acquired = match deadline.left() {
        Wait::For(left) => timeout(left.max(CHECK_OUT), acquire).await,
        _ => Ok(acquire.await),
    };
    let acquired = acquired.unwrap_or(Err(sqlx::Error::PoolTimedOut));
    acquired.map_err(state::failure_of_message)
}

/// The error that says who holds the lock, if that is to be found out quickly.
pub(crate) async fn refusal(lock: &AdvisoryLock, pool: &PgPool, deadline: Deadline) -> Error {
    let waited = deadline.waited();
    let found = timeout(EXPLANATION, holders(lock, pool)).await;
    lock.not_acquired(
        waited,
        found.unwrap_or_else(|_| Ok(Vec::new())).unwrap_or_default(),
    )
}

async fn holders(lock: &AdvisoryLock, pool: &PgPool) -> Result<Vec<Holder>, sqlx::Error> {
    let mut conn = Box::pin(pool.acquire()).await?;
    holder::ask(&mut conn, holder::message(lock)).await
}
