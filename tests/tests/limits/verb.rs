//! Every verb that takes a lock, as a value.

use std::pin::Pin;
use std::time::Duration;

use advisory_core::__private::{SessionTarget, Target};
use advisory_core::{AdvisoryLock, Error, Isolation, advisory};
use sqlx::pool::PoolConnection;
use sqlx::{Executor as _, PgPool, PgTransaction, Postgres};

/// The work under the lock.
pub(crate) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;
type Run = Pin<Box<dyn Future<Output = Result<bool, Error>> + Send>>;

pub(crate) struct Verb {
    pub(crate) name: &'static str,
    run: fn(AdvisoryLock, PgPool, Work) -> Run,
}

impl Verb {
    /// Takes and releases the lock. Returns `false` if the lock was not granted.
    pub(crate) fn ask(&self, lock: &AdvisoryLock, pool: &PgPool) -> Run {
        self.run(lock, pool, async {})
    }

    /// Takes the lock and runs `work`. Returns `false` if the lock was not granted.
    pub(crate) fn run(
        &self,
        lock: &AdvisoryLock,
        pool: &PgPool,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Run {
        (self.run)(lock.clone(), pool.clone(), Box::pin(work))
    }
}

const fn verb(name: &'static str, run: fn(AdvisoryLock, PgPool, Work) -> Run) -> Verb {
    Verb { name, run }
}

/// Verbs on a pool, with a transaction of their own.
static TRANSACTION: [Verb; 5] = [
    verb("begin", |lock, pool, work| {
        Box::pin(async move {
            let tx = lock.begin(&pool).await?;
            work.await;
            tx.commit().await?;
            Ok(true)
        })
    }),
    verb("try_begin", |lock, pool, work| {
        Box::pin(async move {
            let Some(tx) = lock.try_begin(&pool).await? else {
                return Ok(false);
            };
            work.await;
            tx.commit().await?;
            Ok(true)
        })
    }),
    verb("transaction", |lock, pool, work| {
        Box::pin(async move {
            let body = async |_: &mut PgTransaction<'_>| {
                work.await;
                Ok(true)
            };
            lock.transaction(&pool, body).await
        })
    }),
    verb("try_transaction", |lock, pool, work| {
        Box::pin(async move {
            let body = async |_: &mut PgTransaction<'_>| {
                work.await;
                Ok::<_, Error>(())
            };
            Ok(lock.try_transaction(&pool, body).await?.is_some())
        })
    }),
    verb("#[advisory(tx)]", |lock, pool, work| {
        Box::pin(async move { inside(&pool, lock, work).await.map(|()| true) })
    }),
];

/// Verbs on a pool, with a transaction of their own, outside which the body runs.
pub(crate) static BESIDE: [Verb; 2] = [
    verb("#[advisory] beside a transaction", |lock, pool, work| {
        Box::pin(async move { beside(&pool, lock, work).await.map(|()| true) })
    }),
    // The expansion of the attribute, which itself would need a timeout in place of the lock's own.
    verb("#[advisory(side_effect = Skip)]", |lock, pool, work| {
        Box::pin(async move {
            let Some(mut scope) = Target::try_enter(&pool, &lock).await? else {
                return Ok(false);
            };
            scope.until_lost(work).await?;
            scope.finish(true).await.map(|()| true)
        })
    }),
];

/// Verbs on a pool, with a session of their own.
pub(crate) static SESSION: [Verb; 4] = [
    verb("acquire", |lock, pool, work| {
        Box::pin(async move {
            let guard = lock.acquire(&pool).await?;
            guard.until_lost(work).await?;
            guard.release().await?;
            Ok(true)
        })
    }),
    verb("try_acquire", |lock, pool, work| {
        Box::pin(async move {
            let Some(guard) = lock.try_acquire(&pool).await? else {
                return Ok(false);
            };
            work.await;
            guard.release().await?;
            Ok(true)
        })
    }),
    verb("#[advisory(scope = session)]", |lock, pool, work| {
        Box::pin(async move { in_session(&pool, lock, work).await.map(|()| true) })
    }),
    verb(
        "#[advisory(scope = session, side_effect = Skip)]",
        |lock, pool, work| {
            Box::pin(async move {
                let Some(mut scope) = SessionTarget::try_enter(&pool, &lock).await? else {
                    return Ok(false);
                };
                scope.until_lost(work).await?;
                scope.finish(true).await.map(|()| true)
            })
        },
    ),
];

/// Verbs on a connection of the caller, which here is one of the pool.
static CONNECTION: [Verb; 4] = [
    verb("acquire_xact", |lock, pool, work| {
        Box::pin(async move {
            let mut tx = pool.begin().await?;
            lock.acquire_xact(&mut tx).await?;
            work.await;
            tx.commit().await?;
            Ok(true)
        })
    }),
    verb("try_acquire_xact", |lock, pool, work| {
        Box::pin(async move {
            let mut tx = pool.begin().await?;
            let acquired = lock.try_acquire_xact(&mut tx).await?;
            if acquired {
                work.await;
            }
            tx.commit().await?;
            Ok(acquired)
        })
    }),
    verb("#[advisory] in a transaction", |lock, pool, work| {
        Box::pin(async move {
            let mut tx = pool.begin().await?;
            joining(&mut tx, lock, work).await?;
            tx.commit().await?;
            Ok(true)
        })
    }),
    verb("#[advisory] on a connection", |lock, pool, work| {
        Box::pin(async move {
            let mut conn = pool.acquire().await?;
            on_connection(&mut conn, lock, work).await?;
            Ok(true)
        })
    }),
];

/// PostgreSQL's functions for the first key. The first function waits, the second does not.
static XACT_FUNCTIONS: [Verb; 2] = [
    verb("xact_lock", |lock, pool, work| {
        Box::pin(async move {
            let mut tx = pool.begin().await?;
            advisory_core::xact_lock(&mut tx, lock.keys()[0]).await?;
            work.await;
            tx.commit().await?;
            Ok(true)
        })
    }),
    verb("try_xact_lock", |lock, pool, work| {
        Box::pin(async move {
            let mut tx = pool.begin().await?;
            let acquired = advisory_core::try_xact_lock(&mut tx, lock.keys()[0]).await?;
            if acquired {
                work.await;
            }
            tx.commit().await?;
            Ok(acquired)
        })
    }),
];

/// PostgreSQL's functions for session locks.
static SESSION_FUNCTIONS: [Verb; 2] = [
    verb("lock", |lock, pool, work| {
        Box::pin(async move {
            // The documentation requires that if the wait fails or is dropped.
            let mut conn = pool.acquire().await?;
            conn.close_on_drop();
            advisory_core::lock(&mut conn, lock.keys()[0]).await?;
            work.await;
            advisory_core::unlock(&mut conn, lock.keys()[0]).await
        })
    }),
    verb("try_lock", |lock, pool, work| {
        Box::pin(async move {
            let mut conn = pool.acquire().await?;
            conn.close_on_drop();
            if !advisory_core::try_lock(&mut conn, lock.keys()[0]).await? {
                return Ok(false);
            }
            work.await;
            advisory_core::unlock(&mut conn, lock.keys()[0]).await
        })
    }),
];

/// On a pool, with a transaction of their own, whose isolation level can be chosen.
pub(crate) fn in_new_transaction() -> impl Iterator<Item = &'static Verb> + Clone {
    TRANSACTION.iter().chain(&BESIDE)
}

pub(crate) fn on_pool() -> impl Iterator<Item = &'static Verb> + Clone {
    in_new_transaction().chain(&SESSION)
}

/// The verbs of `AdvisoryLock`, and the attribute.
pub(crate) fn of_lock() -> impl Iterator<Item = &'static Verb> + Clone {
    on_pool().chain(&CONNECTION)
}

pub(crate) fn every() -> impl Iterator<Item = &'static Verb> + Clone {
    of_lock().chain(&XACT_FUNCTIONS).chain(&SESSION_FUNCTIONS)
}

/// The verbs whose lock ends with a transaction.
pub(crate) fn in_transaction() -> impl Iterator<Item = &'static Verb> + Clone {
    in_new_transaction()
        .chain(&CONNECTION)
        .chain(&XACT_FUNCTIONS)
}

/// The verbs that can wait.
pub(crate) fn waiting() -> impl Iterator<Item = &'static Verb> + Clone {
    of_lock().chain([&XACT_FUNCTIONS[0], &SESSION_FUNCTIONS[0]])
}

/// The lock that a rival holds, so that all of [`waits`] wait.
pub(crate) fn contended() -> AdvisoryLock {
    AdvisoryLock::all(["one", "two"])
}

/// Every verb that can wait, with every kind of wait.
pub(crate) fn waits() -> impl Iterator<Item = (&'static Verb, AdvisoryLock)> {
    let one = AdvisoryLock::new("one").wait_forever();
    let several = contended().wait_forever();
    let isolated = one.clone().isolation(Isolation::Serializable);
    let timeout = Duration::from_mins(1);
    let kinds = [
        one.clone(),
        one.timeout(timeout),
        several.clone(),
        several.timeout(timeout),
    ];
    let everywhere = waiting().flat_map(move |verb| kinds.clone().map(|lock| (verb, lock)));
    // The other verbs refuse an isolation level.
    everywhere.chain(in_new_transaction().map(move |verb| (verb, isolated.clone())))
}

/// Takes a lock in the caller's transaction, with one verb or the other.
pub(crate) async fn join(
    tries: bool,
    lock: &AdvisoryLock,
    tx: &mut PgTransaction<'_>,
) -> Result<bool, Error> {
    if tries {
        lock.try_acquire_xact(tx).await
    } else {
        lock.acquire_xact(tx).await.map(|()| true)
    }
}

#[advisory(key = lock)]
async fn beside(pool: &PgPool, lock: AdvisoryLock, work: Work) -> Result<(), Error> {
    work.await;
    Ok(())
}

#[advisory(key = lock, tx)]
async fn inside(pool: &PgPool, lock: AdvisoryLock, work: Work) -> Result<(), Error> {
    work.await;
    tx.execute("SELECT 1").await?;
    Ok(())
}

#[advisory(key = lock, scope = session)]
async fn in_session(pool: &PgPool, lock: AdvisoryLock, work: Work) -> Result<(), Error> {
    work.await;
    Ok(())
}

#[advisory(key = lock)]
async fn joining(tx: &mut PgTransaction<'_>, lock: AdvisoryLock, work: Work) -> Result<(), Error> {
    work.await;
    tx.execute("SELECT 1").await?;
    Ok(())
}

#[advisory(key = lock)]
async fn on_connection(
    conn: &mut PoolConnection<Postgres>,
    lock: AdvisoryLock,
    work: Work,
) -> Result<(), Error> {
    work.await;
    conn.execute("SELECT 1").await?;
    Ok(())
}
