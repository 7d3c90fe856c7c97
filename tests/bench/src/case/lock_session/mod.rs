//! A session that holds many locks: how fast it is, what its waiters cost, and how fast a loss is
//! reported.

mod hot_key;
mod loss;
mod pairs;
mod waiters;
mod waiting;

use std::future::Future;
use std::sync::Arc;

use advisory_core::{AdvisoryLock, LockSession};
use futures_util::future::BoxFuture;
use sqlx::postgres::{PgAdvisoryLock, PgAdvisoryLockKey};
use sqlx::{PgConnection, PgPool};
use tokio::sync::Mutex;

use crate::Bench;
use crate::by_hand;
use crate::endpoint::Endpoint;
use crate::report::Report;

pub(crate) use self::waiting::wait_in_this_process;

pub(crate) async fn run(bench: &Bench) -> Report {
    let mut all = pairs::measure(bench).await;
    all.add(hot_key::measure(bench).await);
    all.add(waiters::measure(bench).await);
    all.add(loss::measure(bench).await);
    all
}

/// The size of the pool by hand.
const CONNECTIONS: u32 = 10;

/// Who takes the locks.
#[derive(Clone)]
enum Variant {
    LockSession(LockSession),
    ByHand(PgPool),
    /// One connection, on which the tasks take turns. With one task, this is the least that two
    /// messages take.
    InTurns(Arc<Mutex<PgConnection>>),
    Acquire(PgPool),
}

impl Variant {
    /// The variants and their names. The second one is what the others are compared with.
    async fn all(endpoint: &Endpoint) -> [(&'static str, Self); 4] {
        let pool = endpoint.pool_of(CONNECTIONS, true).await;
        let conn = pool.acquire().await.expect("the pool has a connection");
        let conn = Arc::new(Mutex::new(conn.detach()));
        [
            ("`LockSession`", Self::LockSession(LockSession::new(&pool))),
            ("sqlx `PgAdvisoryLock`", Self::ByHand(pool.clone())),
            ("one connection, in turns", Self::InTurns(conn)),
            ("`acquire(&pool)`", Self::Acquire(pool)),
        ]
    }

    /// Takes and releases the lock on a key. This is the work of one task.
    fn pair(&self, key: i64) -> impl Fn() -> BoxFuture<'static, ()> + Send + use<> {
        let (variant, ours) = (self.clone(), AdvisoryLock::new(key));
        let theirs = PgAdvisoryLock::with_key(PgAdvisoryLockKey::BigInt(key));
        move || match &variant {
            Self::LockSession(locks) => boxed(ours_on(ours.clone(), locks.clone())),
            Self::ByHand(pool) => boxed(theirs_on(theirs.clone(), pool.clone())),
            Self::InTurns(conn) => boxed(in_turns(Arc::clone(conn), key)),
            Self::Acquire(pool) => boxed(super::session::acquire(ours.clone(), pool.clone())),
        }
    }
}

async fn ours_on(lock: AdvisoryLock, locks: LockSession) -> Result<(), advisory_core::Error> {
    lock.acquire(&locks).await?.release().await
}

async fn theirs_on(lock: PgAdvisoryLock, pool: PgPool) -> Result<(), sqlx::Error> {
    let guard = lock.acquire(pool.acquire().await?).await?;
    guard.release_now().await.map(drop)
}

/// Tries until the lock is granted: a wait would keep the others from the connection.
async fn in_turns(conn: Arc<Mutex<PgConnection>>, key: i64) -> Result<(), sqlx::Error> {
    while !by_hand::try_lock(&mut *conn.lock().await, key).await? {
        tokio::task::yield_now().await;
    }
    by_hand::unlock(&mut *conn.lock().await, key).await
}

fn boxed<E: std::fmt::Debug>(
    work: impl Future<Output = Result<(), E>> + Send + 'static,
) -> BoxFuture<'static, ()> {
    Box::pin(async move { work.await.expect("the lock is granted") })
}
