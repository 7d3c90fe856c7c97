//! What is done under a lock, in each way to take one.

use advisory_core::{Error, SessionGuard, advisory, fencing_token};
use sqlx::{Connection as _, PgConnection, PgPool, PgTransaction};
use tokio::time::sleep;

use crate::plan::Plan;
use crate::schema;
use crate::way::Way;

/// How a stay ends that does not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Lock(#[from] Error),
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    /// Somebody else was inside.
    #[error("OVERLAP {0}")]
    Overlap(String),
    /// The outside has seen a greater token: the lock was lost, and somebody else holds it.
    #[error("fenced")]
    Fenced,
}

/// Where to take locks.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) pool: PgPool,
    /// For what is written from elsewhere than the session that holds the lock.
    pub(crate) outside: PgPool,
}

/// Takes the lock and stays for a while; false if the lock was not to be had.
pub(crate) async fn stay(place: &Place, plan: &Plan) -> Result<bool, Failure> {
    let (lock, pool) = (&plan.lock, &place.pool);
    match plan.way {
        Way::Begin => end(lock.begin(pool).await?, plan).await,
        Way::TryBegin => match lock.try_begin(pool).await? {
            Some(tx) => end(tx, plan).await,
            None => Ok(false),
        },
        Way::Transaction => {
            let body = async |tx: &mut PgTransaction<'_>| inside(tx, plan).await;
            lock.transaction(pool, body).await?;
            Ok(true)
        }
        Way::TryTransaction => {
            let body = async |tx: &mut PgTransaction<'_>| inside(tx, plan).await;
            Ok(lock.try_transaction(pool, body).await?.is_some())
        }
        Way::AcquireXact | Way::TryAcquireXact | Way::XactLock | Way::TryXactLock => {
            join(pool, plan).await
        }
        Way::OnPool => on_pool(pool, plan).await.map(|()| true),
        Way::OnPoolSkipping => Ok(on_pool_or_not(pool, plan).await?.is_some()),
        Way::OnConnection => {
            let mut conn = pool.acquire().await?;
            on_connection(&mut conn, plan).await.map(|()| true)
        }
        Way::Acquire => in_session(lock.acquire(pool).await?, place, plan).await,
        Way::TryAcquire => match lock.try_acquire(pool).await? {
            Some(guard) => in_session(guard, place, plan).await,
            None => Ok(false),
        },
        Way::InSession => watched(pool, plan).await.map(|()| true),
    }
}

/// In a transaction of the caller's.
async fn join(pool: &PgPool, plan: &Plan) -> Result<bool, Failure> {
    let mut tx = pool.begin().await?;
    let acquired = match plan.way {
        Way::AcquireXact => plan.lock.acquire_xact(&mut tx).await.map(|()| true),
        Way::TryAcquireXact => plan.lock.try_acquire_xact(&mut tx).await,
        Way::XactLock => {
            // The function waits as the server says.
            sqlx::query("SET LOCAL lock_timeout = '2s'")
                .execute(&mut *tx)
                .await?;
            let key = plan.keys[0];
            advisory_core::xact_lock(&mut tx, key).await.map(|()| true)
        }
        _ => advisory_core::try_xact_lock(&mut tx, plan.keys[0]).await,
    };
    if acquired? {
        return end(tx, plan).await;
    }
    tx.rollback().await?;
    Ok(false)
}

async fn end(mut tx: PgTransaction<'static>, plan: &Plan) -> Result<bool, Failure> {
    inside(&mut tx, plan).await?;
    tx.commit().await?;
    Ok(true)
}

#[advisory(key = &plan.lock, tx)]
async fn on_pool(pool: &PgPool, plan: &Plan) -> Result<(), Failure> {
    inside(tx, plan).await
}

#[advisory(key = &plan.lock, tx, timeout = 2, side_effect = Skip)]
async fn on_pool_or_not(pool: &PgPool, plan: &Plan) -> Result<Option<()>, Failure> {
    inside(tx, plan).await.map(Some)
}

// Its transaction is of the connection's own isolation level.
#[advisory(key = advisory_core::AdvisoryLock::all(plan.keys.iter().copied()), timeout = 2.0)]
async fn on_connection(conn: &mut PgConnection, plan: &Plan) -> Result<(), Failure> {
    let alone = Plan {
        shared: false,
        fenced: false,
        ..plan.clone()
    };
    stay_in(conn, &alone, None).await
}

/// Nothing here is written where the lock is held: only time passes.
#[advisory(key = &plan.lock, scope = session)]
async fn watched(pool: &PgPool, plan: &Plan) -> Result<(), Failure> {
    let _ = pool;
    sleep(plan.work).await;
    Ok(())
}

async fn inside(tx: &mut PgTransaction<'_>, plan: &Plan) -> Result<(), Failure> {
    let token = if plan.fenced {
        Some(fencing_token(&mut *tx).await?)
    } else {
        None
    };
    stay_in(tx, plan, token).await
}

/// On the session that holds the lock; and outside, from another connection, under the protection of a token.
async fn in_session(mut guard: SessionGuard, place: &Place, plan: &Plan) -> Result<bool, Failure> {
    let token = if plan.fenced {
        Some(guard.fencing_token().await?)
    } else {
        None
    };
    let mut tx = guard.connection().await?.begin().await?;
    stay_in(&mut tx, plan, token).await?;
    tx.commit().await?;
    if let Some(token) = token {
        guard
            .until_lost(outside(&place.outside, plan, token))
            .await??;
    }
    guard.release().await?;
    Ok(true)
}

async fn outside(pool: &PgPool, plan: &Plan, token: i64) -> Result<(), Failure> {
    for key in &plan.keys {
        let written = sqlx::query(schema::WRITE_OUTSIDE)
            .bind(key)
            .bind(token)
            .execute(pool)
            .await?;
        if written.rows_affected() == 0 {
            return Err(Failure::Fenced);
        }
    }
    Ok(())
}

/// Reads, waits, and writes or reads again.
async fn stay_in(conn: &mut PgConnection, plan: &Plan, token: Option<i64>) -> Result<(), Failure> {
    for key in &plan.keys {
        let before = read(conn, *key).await?;
        sleep(plan.work).await;
        if plan.shared {
            let after = read(conn, *key).await?;
            if before != after {
                let what = format!("key {key} was {before}, then {after}: {plan:?}");
                return Err(Failure::Overlap(what));
            }
            continue;
        }
        let written = sqlx::query(schema::WRITE)
            .bind(key)
            .bind(before + 1)
            .bind(token)
            .execute(&mut *conn)
            .await;
        written.map_err(|error| match error.as_database_error() {
            Some(known) if known.is_unique_violation() => {
                Failure::Overlap(format!("key {key}, number {}: {plan:?}", before + 1))
            }
            _ => error.into(),
        })?;
    }
    Ok(())
}

async fn read(conn: &mut PgConnection, key: i32) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(schema::READ)
        .bind(key)
        .fetch_one(conn)
        .await
}
