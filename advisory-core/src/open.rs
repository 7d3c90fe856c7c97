//! Opens the transaction that holds a lock.

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgPool, Postgres};
use sqlx::{AssertSqlSafe, Executor as _, PgTransaction, SqlSafeStr as _, Transaction, raw_sql};

use crate::abandon::{CloseOnDrop, close, settle};
use crate::fitness::Fitness;
use crate::patience::answer;
use crate::pool::connection;
use crate::sql::{acquired, message, state};
use crate::transaction::OwnTransaction;
use crate::wait::{Deadline, Wait};
use crate::{AdvisoryLock, Error, Isolation};

/// Opens a transaction that holds the lock; `None` if it was not to be had in time.
pub(crate) async fn open(
    lock: &AdvisoryLock,
    pool: &PgPool,
    deadline: Deadline,
) -> Result<Option<PgTransaction<'static>>, Error> {
    let Some(interval) = lock.polling_interval() else {
        return attempt(lock, pool, deadline, None).await;
    };
    loop {
        let transaction = attempt(lock, pool, deadline, Some(Wait::No)).await?;
        if transaction.is_some() || !deadline.pause(interval).await {
            return Ok(transaction);
        }
    }
}

/// Has a look at the first lock of a pool.
async fn checked(
    lock: &AdvisoryLock,
    fitness: &Fitness,
    transaction: PgTransaction<'static>,
) -> Result<PgTransaction<'static>, Error> {
    let mut transaction = OwnTransaction::new(transaction);
    let conn = transaction.get();
    fitness.check_lock(lock, conn).await?;
    Ok(transaction.into_inner())
}

/// One attempt. Without a wait of its own it waits for what is left.
async fn attempt(
    lock: &AdvisoryLock,
    pool: &PgPool,
    deadline: Deadline,
    wait: Option<Wait>,
) -> Result<Option<PgTransaction<'static>>, Error> {
    let conn = connection(pool, deadline).await?;
    let wait = wait.unwrap_or_else(|| deadline.left());
    answer(lock, wait, attempt_on(lock, pool, conn, wait)).await
}

async fn attempt_on(
    lock: &AdvisoryLock,
    pool: &PgPool,
    conn: PoolConnection<Postgres>,
    wait: Wait,
) -> Result<Option<PgTransaction<'static>>, Error> {
    let fitness = Fitness::of(pool);
    match open_on(lock, &fitness, conn, wait).await? {
        Some(transaction) => Ok(Some(checked(lock, &fitness, transaction).await?)),
        None => Ok(None),
    }
}

async fn open_on(
    lock: &AdvisoryLock,
    fitness: &Fitness,
    conn: PoolConnection<Postgres>,
    wait: Wait,
) -> Result<Option<PgTransaction<'static>>, Error> {
    if let Some(level @ (Isolation::RepeatableRead | Isolation::Serializable)) =
        lock.isolation_level()
    {
        let message = message::begin_isolated(lock, wait, level);
        return open_and_ask(lock, fitness, conn, message).await;
    }
    if wait == Wait::No {
        let message = message::begin_and_try(lock, fitness.platform());
        return open_and_ask(lock, fitness, conn, message).await;
    }
    let message = message::begin_and_lock(lock, wait, fitness.platform());
    match begin_with(conn, message).await {
        Ok(transaction) => Ok(Some(transaction)),
        Err(error) if state::is_lock_timeout(&error) => Ok(None),
        Err(error) => Err(fitness.failure(error, lock)),
    }
}

/// Sends a message that opens a transaction and says whether it has the lock, and hands the transaction to sqlx, or ends it.
async fn open_and_ask(
    lock: &AdvisoryLock,
    fitness: &Fitness,
    conn: PoolConnection<Postgres>,
    message: String,
) -> Result<Option<PgTransaction<'static>>, Error> {
    let (conn, answer) = CloseOnDrop::new(Box::pin(ask(conn, message))).await;
    match answer {
        Ok(true) => {
            let adopted = begin_with(conn, message::ADOPT.to_owned()).await;
            Ok(Some(adopted.map_err(|error| state::failure(error, lock))?))
        }
        Ok(false) => {
            settle(Box::pin(roll_back(conn)));
            Ok(None)
        }
        Err(error) if state::is_lock_timeout(&error) => Ok(None),
        // The session may hold the lock now.
        Err(error) => {
            close(conn);
            Err(fitness.failure(error, lock))
        }
    }
}

async fn ask(
    mut conn: PoolConnection<Postgres>,
    message: String,
) -> (PoolConnection<Postgres>, Result<bool, sqlx::Error>) {
    let rows = conn.fetch_all(raw_sql(AssertSqlSafe(message))).await;
    (conn, rows.and_then(|rows| acquired(&rows)))
}

/// Ends a transaction that sqlx does not know of.
async fn roll_back(mut conn: PoolConnection<Postgres>) {
    if conn.execute(message::ROLLBACK).await.is_err() {
        close(conn);
    }
}

async fn begin_with(
    conn: PoolConnection<Postgres>,
    message: String,
) -> Result<PgTransaction<'static>, sqlx::Error> {
    // Hidden, and the only way to a transaction on a connection that was acquired before: `Pool::begin_with` acquires its own,
    // outside our deadline. sqlx's drivers call it from their own crates.
    CloseOnDrop::new(Transaction::begin(
        conn,
        Some(AssertSqlSafe(message).into_sql_str()),
    ))
    .await
}
