//! `LockSession`: many locks on one session, and what can happen to that session.

mod cancel;
mod close;
mod hold;
mod load;
mod loss;
mod runtime;
mod share;
mod wait;

use std::time::Duration;

use advisory_core::{AdvisoryLock, LockSession, LockSessionGuard};
use advisory_tests::{Database, Proxy, Server};
use futures_util::future::join_all;
use nix::time::{ClockId, clock_gettime};
use sqlx::PgPool;
use tokio::sync::OnceCell;
use tokio::time::timeout;

/// Longer than anything here takes, also on a busy machine.
const HANG_TIMEOUT: Duration = Duration::from_mins(1);

/// Long enough for something to go wrong on an idle machine.
const NAP: Duration = Duration::from_millis(20);

/// What a future returns that must not hang.
async fn ends<T>(future: impl Future<Output = T>) -> T {
    let ended = timeout(HANG_TIMEOUT, future).await;
    ended.unwrap_or_else(|_| panic!("still pending after {HANG_TIMEOUT:?}"))
}

/// Polls a future that does not end meanwhile.
async fn poll_for(time: Duration, future: impl Future) {
    assert!(timeout(time, future).await.is_err(), "ended too early");
}

/// A database, a pool of so many connections, and a session on the pool.
async fn open(connections: u32) -> (Database, PgPool, LockSession) {
    let (database, pool) = Database::with_pool(connections).await;
    let locks = LockSession::new(&pool);
    (database, pool, locks)
}

/// Closes a session, after which nothing is left.
async fn assert_closes(locks: &LockSession, database: &Database, pool: &PgPool) {
    locks.close().await;
    database.assert_nothing_leaked(pool).await;
}

/// Acquires a lock for each key.
async fn acquire_each(
    locks: &LockSession,
    keys: impl IntoIterator<Item = i64>,
) -> Vec<LockSessionGuard> {
    let acquire = async |key| AdvisoryLock::new(key).acquire(locks).await.unwrap();
    join_all(keys.into_iter().map(acquire)).await
}

async fn release_all(guards: impl IntoIterator<Item = LockSessionGuard>) {
    for released in join_all(guards.into_iter().map(LockSessionGuard::release)).await {
        released.unwrap();
    }
}

/// A database, a proxy in front of it, and a pool through the proxy.
async fn through_proxy() -> (Database, Proxy, PgPool) {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let pool = proxy.pool(2).await;
    (database, proxy, pool)
}

async fn server(settings: &'static [(&str, &str)]) -> Server {
    let start = || Server::start_with(settings);
    tokio::task::spawn_blocking(start).await.unwrap().unwrap()
}

/// A server with a large lock table.
async fn large_server() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    SERVER
        .get_or_init(|| server(&[("max_locks_per_transaction", "1000")]))
        .await
}

/// The processor time that this thread, and so a `current_thread` runtime, uses until a future
/// ends. A busy machine does not change it.
async fn processor_time(future: impl Future<Output = ()>) -> Duration {
    let now = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let before = now();
    future.await;
    now().saturating_sub(before)
}

/// Polls a future that does not end meanwhile, and for which nothing spins.
async fn assert_sleeps(future: impl Future) {
    let used = processor_time(poll_for(Duration::from_secs(1), future)).await;
    assert!(used < Duration::from_millis(250), "{used:?} of 1 s");
}
