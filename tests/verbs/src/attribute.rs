//! Functions with the attribute, one for each way in which it takes a lock.
//!
//! A function that skips needs its timeout as an argument of the attribute, which replaces that of
//! the lock. The verbs that skip therefore are what the attribute expands to.

use advisory_core::__private::{Body as Needs, SessionTarget, Target};
use advisory_core::{AdvisoryLock, advisory};
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, PgTransaction, Postgres};
use tokio::sync::Mutex;

use crate::run::{Body, BodyError};

#[advisory(key = lock, tx)]
pub(crate) async fn inside<E: BodyError>(
    pool: &PgPool,
    lock: &AdvisoryLock,
    body: Body<E>,
) -> Result<(), E> {
    body(Some(tx)).await
}

#[advisory(key = lock)]
pub(crate) async fn on_pool<E: BodyError>(
    pool: &PgPool,
    lock: &AdvisoryLock,
    body: Body<E>,
) -> Result<(), E> {
    body(None).await
}

#[advisory(key = lock)]
pub(crate) async fn on_transaction<E: BodyError>(
    tx: &mut PgTransaction<'_>,
    lock: &AdvisoryLock,
    body: Body<E>,
) -> Result<(), E> {
    body(Some(tx)).await
}

#[advisory(key = lock)]
pub(crate) async fn on_connection<E: BodyError>(
    conn: &mut PgConnection,
    lock: &AdvisoryLock,
    body: Body<E>,
) -> Result<(), E> {
    body(Some(conn)).await
}

#[advisory(key = lock, on = conn.lock().await)]
pub(crate) async fn beside_connection<E: BodyError>(
    conn: &Mutex<PoolConnection<Postgres>>,
    lock: &AdvisoryLock,
    body: Body<E>,
) -> Result<(), E> {
    body(None).await
}

#[advisory(key = lock, scope = session)]
pub(crate) async fn in_session<E: BodyError>(
    pool: &PgPool,
    lock: &AdvisoryLock,
    body: Body<E>,
) -> Result<(), E> {
    body(None).await
}

/// What the attribute expands to with `side_effect = Skip`: enters a scope, runs the body in it and
/// finishes it. Returns whether the lock was granted.
macro_rules! or_skip {
    ($entered:expr, $scope:ident => $outcome:expr) => {{
        let Some(mut $scope) = $entered.await? else {
            return Ok(false);
        };
        let outcome = $outcome;
        $scope.finish(outcome.is_ok()).await?;
        outcome.map(|()| true)
    }};
}

/// With `tx` and `side_effect = Skip`.
pub(crate) async fn inside_or_skip<E: BodyError>(
    pool: &PgPool,
    lock: &AdvisoryLock,
    body: Body<E>,
) -> Result<bool, E> {
    or_skip!(Target::try_enter(pool, lock, Needs::Inside), scope => {
        let held = scope.held();
        held.around(body(Some(scope.transaction()))).await
    })
}

/// With `side_effect = Skip`.
pub(crate) async fn on_pool_or_skip<E: BodyError>(
    pool: &PgPool,
    lock: &AdvisoryLock,
    body: Body<E>,
) -> Result<bool, E> {
    or_skip!(Target::try_enter(pool, lock, Needs::Unknown), scope => scope.until_lost(body(None)).await?)
}

/// On a connection, with `side_effect = Skip`.
pub(crate) async fn on_connection_or_skip<E: BodyError>(
    conn: &mut PgConnection,
    lock: &AdvisoryLock,
    body: Body<E>,
) -> Result<bool, E> {
    or_skip!(Target::try_enter(conn, lock, Needs::Inside), scope => {
        let held = scope.held();
        held.around(body(Some(scope.connection()))).await
    })
}

/// With `scope = session` and `side_effect = Skip`.
pub(crate) async fn in_session_or_skip<E: BodyError>(
    pool: &PgPool,
    lock: &AdvisoryLock,
    body: Body<E>,
) -> Result<bool, E> {
    let session = pool.in_session();
    or_skip!(session.try_enter(lock, Needs::Unknown), scope => scope.until_lost(body(None)).await?)
}
