//! Taking a lock with each verb, and the critical section that runs under it.

use advisory_core::{Error, SessionGuard, advisory, fencing_token};
use sqlx::{Connection as _, PgConnection, PgPool, PgTransaction};
use tokio::time::sleep;

use crate::plan::Plan;
use crate::schema;
use crate::verb::Verb;

/// Why an attempt has failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Lock(#[from] Error),
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    /// Another session was in the critical section at the same time.
    #[error("OVERLAP {0}")]
    Overlap(String),
    /// The resource has seen a greater token: the lock was lost, and another session holds it.
    #[error("fenced")]
    Fenced,
}

/// The pools of a process.
#[derive(Clone)]
pub(crate) struct Pools {
    pub(crate) pool: PgPool,
    /// For writes on a connection that does not hold the lock.
    pub(crate) outside: PgPool,
}

/// Takes the lock and runs the critical section. Returns false if the lock was not granted.
pub(crate) async fn lock_and_run(pools: &Pools, plan: &Plan) -> Result<bool, Failure> {
    let (lock, pool) = (&plan.lock, &pools.pool);
    match plan.verb {
        Verb::Begin => run_and_commit(lock.begin(pool).await?, plan).await,
        Verb::TryBegin => match lock.try_begin(pool).await? {
            Some(tx) => run_and_commit(tx, plan).await,
            None => Ok(false),
        },
        Verb::Transaction => {
            let body = async |tx: &mut PgTransaction<'_>| in_transaction(tx, plan).await;
            lock.transaction(pool, body).await?;
            Ok(true)
        }
        Verb::TryTransaction => {
            let body = async |tx: &mut PgTransaction<'_>| in_transaction(tx, plan).await;
            Ok(lock.try_transaction(pool, body).await?.is_some())
        }
        Verb::AcquireXact | Verb::TryAcquireXact | Verb::XactLock | Verb::TryXactLock => {
            join(pool, plan).await
        }
        Verb::OnPool => on_pool(pool, plan).await.map(|()| true),
        Verb::OnPoolSkipping => Ok(on_pool_or_skip(pool, plan).await?.is_some()),
        Verb::OnConnection => {
            let mut conn = pool.acquire().await?;
            on_connection(&mut conn, plan).await.map(|()| true)
        }
        Verb::Acquire => in_session(lock.acquire(pool).await?, pools, plan).await,
        Verb::TryAcquire => match lock.try_acquire(pool).await? {
            Some(guard) => in_session(guard, pools, plan).await,
            None => Ok(false),
        },
        Verb::InSession => beside_session(pool, plan).await.map(|()| true),
    }
}

/// Takes the lock in a transaction of the caller.
async fn join(pool: &PgPool, plan: &Plan) -> Result<bool, Failure> {
    let mut tx = pool.begin().await?;
    let acquired = match plan.verb {
        Verb::AcquireXact => plan.lock.acquire_xact(&mut tx).await.map(|()| true),
        Verb::TryAcquireXact => plan.lock.try_acquire_xact(&mut tx).await,
        Verb::XactLock => {
            // The function waits as long as `lock_timeout` allows.
            sqlx::query("SET LOCAL lock_timeout = '2s'")
                .execute(&mut *tx)
                .await?;
            let key = plan.keys[0];
            advisory_core::xact_lock(&mut tx, key).await.map(|()| true)
        }
        _ => advisory_core::try_xact_lock(&mut tx, plan.keys[0]).await,
    };
    if acquired? {
        return run_and_commit(tx, plan).await;
    }
    tx.rollback().await?;
    Ok(false)
}

async fn run_and_commit(mut tx: PgTransaction<'static>, plan: &Plan) -> Result<bool, Failure> {
    in_transaction(&mut tx, plan).await?;
    tx.commit().await?;
    Ok(true)
}

#[advisory(key = &plan.lock, tx)]
async fn on_pool(pool: &PgPool, plan: &Plan) -> Result<(), Failure> {
    in_transaction(tx, plan).await
}

#[advisory(key = &plan.lock, tx, timeout = plan.timeout, side_effect = Skip)]
async fn on_pool_or_skip(pool: &PgPool, plan: &Plan) -> Result<Option<()>, Failure> {
    in_transaction(tx, plan).await.map(Some)
}

// The transaction has the isolation level of the connection.
#[advisory(key = advisory_core::AdvisoryLock::all(plan.keys.iter().copied()), timeout = 2.0)]
async fn on_connection(conn: &mut PgConnection, plan: &Plan) -> Result<(), Failure> {
    let alone = Plan {
        shared: false,
        fenced: false,
        ..plan.clone()
    };
    critical_section(conn, &alone, None).await
}

/// Writes nothing, because the body has no access to the session that holds the lock.
#[advisory(key = &plan.lock, scope = session)]
async fn beside_session(pool: &PgPool, plan: &Plan) -> Result<(), Failure> {
    let _ = pool;
    sleep(plan.work).await;
    Ok(())
}

async fn in_transaction(tx: &mut PgTransaction<'_>, plan: &Plan) -> Result<(), Failure> {
    let token = if plan.fenced {
        Some(fencing_token(&mut *tx).await?)
    } else {
        None
    };
    critical_section(tx, plan, token).await
}

/// Runs the critical section on the session that holds the lock, and writes to the resource on
/// another connection with a fencing token.
async fn in_session(mut guard: SessionGuard, pools: &Pools, plan: &Plan) -> Result<bool, Failure> {
    let token = if plan.fenced {
        Some(guard.fencing_token().await?)
    } else {
        None
    };
    let mut tx = guard.connection().await?.begin().await?;
    critical_section(&mut tx, plan, token).await?;
    tx.commit().await?;
    if let Some(token) = token {
        guard
            .until_lost(write_with_token(&pools.outside, plan, token))
            .await??;
    }
    guard.release().await?;
    Ok(true)
}

async fn write_with_token(pool: &PgPool, plan: &Plan, token: i64) -> Result<(), Failure> {
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

/// Reads each number, waits, and writes the next number. A shared holder reads the number again
/// instead.
async fn critical_section(
    conn: &mut PgConnection,
    plan: &Plan,
    token: Option<i64>,
) -> Result<(), Failure> {
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
