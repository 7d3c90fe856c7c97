//! The database of a scenario, its pool, and a rival for its lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use advisory_core::{AdvisoryLock, Key, release_leftover_locks};
use advisory_tests::{BackendRow, Database, LockRow, Proxy, Server};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use tokio::sync::{Mutex, OnceCell};
use tokio::time::{Instant, sleep, timeout};

use crate::scenario::{PoolState, Scenario};

/// How long locks and transactions of a scenario may remain after its end. A leak remains, and a
/// busy machine may be late.
const LEAK_TIMEOUT: Duration = Duration::from_secs(10);
const INTERVAL: Duration = Duration::from_millis(5);

/// A database for one scenario at a time, and a rival: a session that uses neither the crate nor a
/// proxy.
pub(crate) struct Fixture {
    pub(crate) database: Database,
    rival: Mutex<PgConnection>,
    rows: AtomicI64,
    is_dirty: AtomicBool,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        static SERVER: OnceCell<Server> = OnceCell::const_new();
        // Every worker has several connections.
        let start = || Server::start_with(&[("max_connections", "500")]);
        let start = async || tokio::task::spawn_blocking(start).await.unwrap().unwrap();
        let database = Database::on(SERVER.get_or_init(start).await).await;
        let mut rival = database.connection().await;
        let create = "CREATE TABLE written (n int8)";
        rival.execute(create).await.unwrap();
        Self {
            database,
            rival: Mutex::new(rival),
            rows: AtomicI64::new(0),
            is_dirty: AtomicBool::new(false),
        }
    }

    /// The fixture for a scenario: a new one if the scenario needs a server that has not been
    /// probed.
    pub(crate) async fn of(scenario: &Scenario, fixture: Arc<Self>) -> Arc<Self> {
        match scenario.pool {
            PoolState::NewServer => Arc::new(Self::new().await),
            PoolState::Used | PoolState::New | PoolState::Hygienic => fixture,
        }
    }

    /// Marks the fixture as dirty: what a scenario has left would be taken for a leak of the next
    /// one.
    pub(crate) fn mark_dirty(&self) {
        self.is_dirty.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.is_dirty.load(Ordering::Relaxed)
    }

    /// A row that has not been written.
    pub(crate) fn new_row(&self) -> i64 {
        self.rows.fetch_add(1, Ordering::Relaxed)
    }

    /// How often a row has been written.
    pub(crate) async fn count(&self, row: i64) -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM written WHERE n = $1").bind(row);
        let mut rival = self.rival.lock().await;
        count.fetch_one(&mut *rival).await.unwrap()
    }

    /// The rival locks the last key, and the keys before it are free; or it takes all permits.
    pub(crate) async fn hold(&self, lock: &AdvisoryLock) {
        let mut rival = self.rival.lock().await;
        rival.execute("BEGIN").await.unwrap();
        for number in numbers(lock).rev().take(held_by_rival(lock)) {
            let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(number);
            lock.execute(&mut *rival).await.unwrap();
        }
    }

    /// The rival releases its lock.
    pub(crate) async fn release(&self) {
        let mut rival = self.rival.lock().await;
        rival.execute("ROLLBACK").await.unwrap();
    }

    /// True if the rival gets the lock at once.
    pub(crate) async fn is_free(&self, lock: &AdvisoryLock) -> bool {
        let mut rival = self.rival.lock().await;
        let mut tx = rival.begin().await.unwrap();
        let mut is_free = true;
        for number in numbers(lock).chain(turnstile(lock)) {
            let granted = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)").bind(number);
            let granted: bool = granted.fetch_one(&mut *tx).await.unwrap();
            is_free &= granted;
        }
        tx.rollback().await.unwrap();
        is_free
    }

    /// Waits until the scenario waits in the queue, or has polled twice. The first in the queue for
    /// a permit holds a lock.
    pub(crate) async fn wait_until_wanted(&self, lock: &AdvisoryLock, proxy: &Proxy) {
        let held = held_by_rival(lock);
        let is_wanted = |locks: &[LockRow]| {
            let messages = proxy.messages().into_iter();
            let statements = messages.filter_map(|message| message.sql);
            let polls = statements
                .filter(|sql| sql.contains("pg_try_advisory"))
                .count();
            polls >= 2 || locks.len() > held || locks.iter().any(|lock| !lock.granted)
        };
        let wanted = self
            .database
            .wait_until_locks("a waiter or a poller", is_wanted);
        wanted.await;
    }

    /// Waits until all connections of the pool are idle, and no session has a transaction or a lock
    /// except the rival with `held` locks in a transaction. At most `kept` sessions are open beside
    /// the pool. Returns false if that takes too long.
    pub(crate) async fn is_idle_soon(
        &self,
        pool: &PgPool,
        held: usize,
        kept: usize,
        meanwhile: impl Fn(),
    ) -> bool {
        let idle = async {
            loop {
                meanwhile();
                if is_idle(pool) && self.is_idle_with(pool.num_idle() + kept, held).await {
                    return;
                }
                sleep(INTERVAL).await;
            }
        };
        timeout(LEAK_TIMEOUT, idle).await.is_ok()
    }

    async fn is_idle_with(&self, idle: usize, held: usize) -> bool {
        let backends = self.database.backends().await;
        let in_transaction = |backend: &&BackendRow| backend.in_transaction;
        backends.len() <= idle + 1
            && backends.iter().filter(in_transaction).count() == usize::from(held > 0)
            && self.database.advisory_locks().await.len() == held
    }
}

/// Waits until all connections of the pool are idle.
///
/// # Panics
///
/// If that takes too long.
pub(crate) async fn wait_until_idle(pool: &PgPool) {
    let deadline = Instant::now() + LEAK_TIMEOUT;
    while !is_idle(pool) {
        assert!(Instant::now() < deadline, "{pool:?}");
        sleep(INTERVAL).await;
    }
}

fn is_idle(pool: &PgPool) -> bool {
    pool.size() as usize == pool.num_idle()
}

/// How many locks the rival holds.
pub(crate) fn held_by_rival(lock: &AdvisoryLock) -> usize {
    usize::try_from(lock.id().permits()).unwrap()
}

/// The keys of a lock, or the slots that are its permits.
pub(crate) fn keys(lock: &AdvisoryLock) -> Vec<Key> {
    let permits = 1..=lock.id().permits();
    let of_key = |key: &Key| permits.clone().map(|permit| key.slot(permit)).collect();
    lock.keys().iter().flat_map::<Vec<_>, _>(of_key).collect()
}

fn numbers(lock: &AdvisoryLock) -> impl DoubleEndedIterator<Item = i64> {
    keys(lock).into_iter().map(number)
}

/// What those lock who queue for a permit.
fn turnstile(lock: &AdvisoryLock) -> Option<i64> {
    (lock.id().permits() > 1).then(|| number(lock.keys()[0].slot(0)))
}

fn number(key: Key) -> i64 {
    match key {
        Key::BigInt(number) => number,
        Key::IntPair(..) => unreachable!("BUG: no scenario has such a key"),
    }
}

/// The pool of a scenario, with one open connection.
pub(crate) async fn pool(scenario: &Scenario, proxy: &Proxy, is_silent: bool) -> PgPool {
    // If a connection is silent, the pool notices when it checks whether the connection is alive.
    let acquire_timeout = Duration::from_secs(if is_silent { 2 } else { 20 });
    let mut options = PgPoolOptions::new()
        .max_connections(2)
        .acquire_timeout(acquire_timeout);
    if scenario.pool == PoolState::Hygienic {
        options = options.after_release(release_leftover_locks);
    }
    let pool = options.connect_with(proxy.options()).await.unwrap();
    if matches!(scenario.pool, PoolState::Used | PoolState::Hygienic) {
        let lock = AdvisoryLock::new(3);
        let tx = lock.begin(&pool).await.unwrap();
        tx.rollback().await.unwrap();
        let guard = lock.acquire(&pool).await.unwrap();
        guard.release().await.unwrap();
    }
    pool
}
