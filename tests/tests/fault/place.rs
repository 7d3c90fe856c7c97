//! Where a story is told, and who else is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use advisory_core::{AdvisoryLock, Key, release_leftover_locks};
use advisory_tests::{BackendRow, Database, LockRow, Proxy, Server};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use tokio::sync::{Mutex, OnceCell};
use tokio::time::{Instant, sleep, timeout};

use crate::story::{Pool, Story};

/// How long the traces of a story may stay: promise 1 of the design.
const GRACE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(5);

/// A database for one story at a time, and a rival, who knows nothing of the library and of no proxy.
pub(crate) struct Place {
    pub(crate) database: Database,
    rival: Mutex<PgConnection>,
    rows: AtomicI64,
    is_spoilt: AtomicBool,
}

impl Place {
    pub(crate) async fn new() -> Self {
        static SERVER: OnceCell<Server> = OnceCell::const_new();
        // Every lane has a handful of connections.
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
            is_spoilt: AtomicBool::new(false),
        }
    }

    /// The place for a story: one of its own if nothing is to be known of the server.
    pub(crate) async fn of(story: &Story, place: Arc<Self>) -> Arc<Self> {
        match story.pool {
            Pool::First => Arc::new(Self::new().await),
            Pool::Used | Pool::New | Pool::Hygienic => place,
        }
    }

    /// Says that something was left here, which would be laid to the next story's charge.
    pub(crate) fn spoil(&self) {
        self.is_spoilt.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_spoilt(&self) -> bool {
        self.is_spoilt.load(Ordering::Relaxed)
    }

    /// A row that nobody has written yet.
    pub(crate) fn new_row(&self) -> i64 {
        self.rows.fetch_add(1, Ordering::Relaxed)
    }

    /// How often a row was written.
    pub(crate) async fn count(&self, row: i64) -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM written WHERE n = $1").bind(row);
        let mut rival = self.rival.lock().await;
        count.fetch_one(&mut *rival).await.unwrap()
    }

    /// The rival takes the last key: those before it are free.
    pub(crate) async fn seize(&self, lock: &AdvisoryLock) {
        let mut rival = self.rival.lock().await;
        rival.execute("BEGIN").await.unwrap();
        let last = numbers(lock).last().expect("every story has a key");
        let seize = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(last);
        seize.execute(&mut *rival).await.unwrap();
    }

    pub(crate) async fn leave(&self) {
        let mut rival = self.rival.lock().await;
        rival.execute("ROLLBACK").await.unwrap();
    }

    /// Whether the rival gets the lock at once.
    pub(crate) async fn is_free(&self, lock: &AdvisoryLock) -> bool {
        let mut rival = self.rival.lock().await;
        let mut tx = rival.begin().await.unwrap();
        let mut is_free = true;
        for number in numbers(lock) {
            let granted = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)").bind(number);
            let granted: bool = granted.fetch_one(&mut *tx).await.unwrap();
            is_free &= granted;
        }
        tx.rollback().await.unwrap();
        is_free
    }

    /// Waits until somebody wants the lock: waits in the queue, or has polled twice.
    pub(crate) async fn wait_until_wanted(&self, proxy: &Proxy) {
        let is_wanted = |locks: &[LockRow]| {
            let said = proxy.messages().into_iter().filter_map(|said| said.sql);
            let polls = said.filter(|sql| sql.contains("pg_try_advisory")).count();
            polls >= 2 || locks.iter().any(|lock| !lock.granted)
        };
        let wanted = self
            .database
            .wait_until_locks("one who wants it", is_wanted);
        wanted.await;
    }

    /// Waits until nothing of the pool is under way, and nobody is there besides but the rival, who has so many locks. False if
    /// that takes too long.
    pub(crate) async fn comes_to_rest(
        &self,
        pool: &PgPool,
        locks: usize,
        meanwhile: impl Fn(),
    ) -> bool {
        let rest = async {
            loop {
                meanwhile();
                if is_idle(pool) && self.is_at_rest(pool.num_idle(), locks).await {
                    return;
                }
                sleep(PAUSE).await;
            }
        };
        timeout(GRACE, rest).await.is_ok()
    }

    async fn is_at_rest(&self, idle: usize, locks: usize) -> bool {
        let backends = self.database.backends().await;
        let in_transaction = |backend: &&BackendRow| backend.in_transaction;
        backends.len() <= idle + 1
            && backends.iter().filter(in_transaction).count() == locks
            && self.database.advisory_locks().await.len() == locks
    }
}

/// Waits until nothing of the pool is under way.
///
/// # Panics
///
/// If that takes too long.
pub(crate) async fn idles(pool: &PgPool) {
    let deadline = Instant::now() + GRACE;
    while !is_idle(pool) {
        assert!(Instant::now() < deadline, "{pool:?}");
        sleep(PAUSE).await;
    }
}

fn is_idle(pool: &PgPool) -> bool {
    pool.size() as usize == pool.num_idle()
}

fn numbers(lock: &AdvisoryLock) -> impl Iterator<Item = i64> {
    lock.keys().iter().map(|key| match key {
        Key::BigInt(number) => *number,
        Key::IntPair(..) => unreachable!("no story has such a key"),
    })
}

/// A pool for a story, with a connection open.
pub(crate) async fn pool(story: &Story, proxy: &Proxy, is_silent: bool) -> PgPool {
    // In a silence it is the pool that finds out, when it asks a connection whether it is alive.
    let patience = Duration::from_secs(if is_silent { 2 } else { 20 });
    let mut options = PgPoolOptions::new()
        .max_connections(2)
        .acquire_timeout(patience);
    if story.pool == Pool::Hygienic {
        options = options.after_release(release_leftover_locks);
    }
    let pool = options.connect_with(proxy.options()).await.unwrap();
    if matches!(story.pool, Pool::Used | Pool::Hygienic) {
        let lock = AdvisoryLock::new(3);
        let tx = lock.begin(&pool).await.unwrap();
        tx.rollback().await.unwrap();
        let guard = lock.acquire(&pool).await.unwrap();
        guard.release().await.unwrap();
    }
    pool
}
