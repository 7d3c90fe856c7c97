//! A session that holds many locks: how fast it is, what its waiters cost, and how fast a loss is
//! reported.

mod hot_key;
mod loss;
mod pairs;
mod waiters;
mod waiting;

use std::future::Future;

use advisory_core::{AdvisoryLock, LockSession};
use futures_util::future::BoxFuture;
use sqlx::PgPool;
use sqlx::postgres::{PgAdvisoryLock, PgAdvisoryLockKey};

use crate::Bench;
use crate::endpoint::Endpoint;
use crate::report::Report;

pub(crate) use self::waiting::wait_in_this_process;

pub(crate) async fn run(bench: &Bench) -> Report {
    let mut all = pairs::measure(bench).await;
    for report in [
        hot_key::measure(bench).await,
        waiters::measure(bench).await,
        loss::measure(bench).await,
    ] {
        all.parts.extend(report.parts);
        all.plots.extend(report.plots);
        all.targets.extend(report.targets);
    }
    all
}

/// The size of the pool by hand.
const CONNECTIONS: u32 = 10;

/// Who takes the locks.
#[derive(Clone)]
enum Variant {
    LockSession(LockSession),
    ByHand(PgPool),
    Acquire(PgPool),
}

impl Variant {
    /// The variants and their names. The second one is what the others are compared with.
    async fn all(endpoint: &Endpoint) -> [(&'static str, Self); 4] {
        let pool = endpoint.pool_of(CONNECTIONS, true).await;
        let quiet = endpoint.pool_of(CONNECTIONS, false).await;
        [
            ("`LockSession`", Self::LockSession(LockSession::new(&pool))),
            ("sqlx `PgAdvisoryLock`", Self::ByHand(pool.clone())),
            ("… without the pings of the pool", Self::ByHand(quiet)),
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

fn boxed<E: std::fmt::Debug>(
    work: impl Future<Output = Result<(), E>> + Send + 'static,
) -> BoxFuture<'static, ()> {
    Box::pin(async move { work.await.expect("the lock is granted") })
}
