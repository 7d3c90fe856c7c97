//! Taking a lock with each verb, and the critical section that runs under it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use advisory_core::{Error, LockSession, SessionGuard, fencing_token};
use advisory_history::Attempt;
use advisory_verbs::{Held, Verb};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::time::sleep;

use crate::client::{Client, draw, outcome, scope, success};
use crate::fleet::lock;
use crate::plan::{Cells, Plan};
use crate::schema;
use crate::update::IN_SESSION;

/// Why an attempt has failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Lock(#[from] Error),
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    /// Another session was in the critical section at the same time.
    #[error("{0}")]
    Overlap(String),
    /// The resource has seen a greater token: the lock was lost, and another session holds it.
    #[error("fenced")]
    Fenced,
}

/// The pools of a process.
#[derive(Clone)]
pub(crate) struct Pools {
    pub(crate) pool: PgPool,
    /// For writes on a connection that does not hold the lock. The faults of the network do not
    /// concern it, as if it led to another system.
    pub(crate) outside: PgPool,
    pub(crate) locks: LockSession,
}

/// Takes the lock and runs the critical section. Returns false if the lock was not granted.
pub(crate) async fn lock_and_run(
    pools: &Pools,
    plan: &Plan,
    client: &Client,
) -> Result<bool, Failure> {
    let scope = scope(plan.verb.scope());
    let attempt = Arc::new(client.attempt(plan.verb.name(), scope, &plan.lock));
    let written = Arc::<AtomicUsize>::default();
    let result = run(pools, plan, &attempt, &written).await;
    attempt.returned(outcome(&result, success(scope)));
    if let Ok(true) = result {
        let written = u64::try_from(written.load(Ordering::Relaxed)).unwrap_or_default();
        lock(&client.changes).add(&IN_SESSION, &"acknowledged", written);
    }
    result
}

async fn run(
    pools: &Pools,
    plan: &Plan,
    attempt: &Arc<Attempt>,
    written: &Arc<AtomicUsize>,
) -> Result<bool, Failure> {
    let (pool, plan_lock) = (&pools.pool, &plan.lock);
    match plan.verb {
        // With these two, the section writes in the session and beside it.
        Verb::Acquire => in_session(plan_lock.acquire(pool).await?, pools, plan, attempt).await,
        Verb::TryAcquire => match plan_lock.try_acquire(pool).await? {
            Some(guard) => in_session(guard, pools, plan, attempt).await,
            None => Ok(false),
        },
        verb => {
            let (plan, attempt, written) = (plan.clone(), attempt.clone(), written.clone());
            let running = verb.run(plan_lock, pool, |held| {
                Box::pin(body(held, plan, attempt, written))
            });
            running.await
        }
    }
}

/// Writes nothing if the body has no access to the connection that holds the lock. Stores how many
/// numbers are written.
async fn body(
    held: Held<'_>,
    plan: Plan,
    attempt: Arc<Attempt>,
    written: Arc<AtomicUsize>,
) -> Result<(), Failure> {
    let section = attempt.granted(None);
    let Some(conn) = held else {
        sleep(plan.work).await;
        return Ok(());
    };
    let token = if plan.fenced {
        Some(draw(&section, fencing_token(&mut *conn)).await?)
    } else {
        None
    };
    let keys = critical_section(conn, &plan, token).await?;
    if !plan.shared {
        written.store(keys.len(), Ordering::Relaxed);
    }
    Ok(())
}

/// Runs the critical section on the session that holds the lock, and writes to the resource on
/// another connection with a fencing token.
async fn in_session(
    mut guard: SessionGuard,
    pools: &Pools,
    plan: &Plan,
    attempt: &Attempt,
) -> Result<bool, Failure> {
    let section = attempt.granted(None);
    let token = if plan.fenced {
        Some(draw(&section, guard.fencing_token()).await?)
    } else {
        None
    };
    let mut tx = guard.connection().await?.begin().await?;
    let keys = critical_section(&mut tx, plan, token).await?;
    tx.commit().await?;
    if let Some(token) = token {
        guard
            .until_lost(write_with_token(&pools.outside, &keys, token))
            .await??;
    }
    drop(section);
    guard.release().await?;
    Ok(true)
}

async fn write_with_token(pool: &PgPool, keys: &[i32], token: i64) -> Result<(), Failure> {
    for key in keys {
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
/// instead. Returns the keys of the cells.
async fn critical_section(
    conn: &mut PgConnection,
    plan: &Plan,
    token: Option<i64>,
) -> Result<Vec<i32>, Failure> {
    let keys = match &plan.cells {
        Cells::Keys(keys) => keys.clone(),
        Cells::Slot { first, .. } => vec![first + held_slot(conn, plan).await?],
    };
    for key in &keys {
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
    Ok(keys)
}

/// Which slot this session holds, from 0 on.
async fn held_slot(conn: &mut PgConnection, plan: &Plan) -> Result<i32, Failure> {
    let key = plan.lock.keys()[0];
    let slots = (1..=plan.lock.id().permits()).map(|slot| key.slot(slot).to_pg_locks());
    let (classids, objids): (Vec<_>, Vec<_>) = slots
        .map(|(classid, objid, _)| (i64::from(classid), i64::from(objid)))
        .unzip();
    let held = sqlx::query_scalar(schema::HELD_SLOTS).bind(classids);
    let held: Vec<i32> = held.bind(objids).fetch_all(conn).await?;
    match held[..] {
        [slot] => Ok(slot),
        _ => Err(Failure::Overlap(format!(
            "slots {held:?} are held: {plan:?}"
        ))),
    }
}

async fn read(conn: &mut PgConnection, key: i32) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(schema::READ)
        .bind(key)
        .fetch_one(conn)
        .await
}
