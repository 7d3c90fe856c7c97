//! A full lock table (SQLSTATE 53200).

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, Isolation};
use advisory_tests::{Database, Server, sample};
use advisory_verbs::Verb;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Executor as _, PgConnection, PgPool};
use tokio::sync::{Mutex, MutexGuard, OnceCell, oneshot};

use super::{JOINING, code, passed_on};

/// A server whose lock table is filled by some hundred keys. All tests share it, and one test uses
/// it at a time.
async fn server() -> MutexGuard<'static, Server> {
    static SERVER: OnceCell<Mutex<Server>> = OnceCell::const_new();
    let start = async || {
        let settings = &[
            ("max_locks_per_transaction", "10"),
            ("max_connections", "20"),
            ("max_prepared_transactions", "0"),
            // Autovacuum takes locks at random times.
            ("autovacuum", "off"),
        ];
        Mutex::new(super::server(settings).await)
    };
    SERVER.get_or_init(start).await.lock().await
}

/// The server, which this test alone uses until it is dropped, a database on it, and a pool.
async fn database_with_pool() -> (MutexGuard<'static, Server>, Database, PgPool) {
    let server = server().await;
    let database = Database::on(&server).await;
    let pool = database.pool(2).await;
    (server, database, pool)
}

/// Fills the lock table. While it is full, nobody can connect and the harness cannot observe the
/// database, because both need locks.
struct FullLockTable {
    conn: PgConnection,
    size: i32,
}

impl FullLockTable {
    async fn fill(database: &Database) -> Self {
        let conn = database.connection().await;
        let mut lock_table = Self { conn, size: 0 };
        lock_table.grow().await;
        lock_table
    }

    async fn grow(&mut self) {
        loop {
            // Session locks remain when their statement fails.
            let more = "SELECT pg_advisory_lock(-1, n) FROM generate_series($1, $1 + 100000) AS n";
            let full = sqlx::query(more).bind(self.size).execute(&mut self.conn);
            assert_eq!(code(&full.await.unwrap_err()).as_deref(), Some("53200"));
            let size = self.count().await;
            if size == self.size {
                return;
            }
            self.size = size;
        }
    }

    async fn count(&mut self) -> i32 {
        let count = "SELECT count(*)::int4 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()";
        sqlx::query_scalar(count)
            .fetch_one(&mut self.conn)
            .await
            .unwrap()
    }

    /// Releases some keys.
    async fn shrink(&mut self, keys: i32) {
        for _ in 0..keys {
            self.size -= 1;
            let held = advisory_core::unlock(&mut self.conn, (-1, self.size)).await;
            assert!(held.unwrap());
        }
    }

    async fn leave(&mut self) {
        advisory_core::unlock_all(&mut self.conn).await.unwrap();
        self.size = 0;
    }
}

/// Opens a connection of the pool while the lock table has free entries.
async fn warm(pool: &PgPool) {
    pool.execute("SELECT 1").await.unwrap();
    // Another connection could not be opened later.
    while pool.num_idle() == 0 {
        tokio::task::yield_now().await;
    }
}

/// Locks that every verb of a lock takes, and the first of which every verb takes.
fn locks() -> [AdvisoryLock; 7] {
    let one = AdvisoryLock::new("one");
    let several = AdvisoryLock::all(["one", "two", "three"]);
    let permit = one.clone().permits(3);
    let timeout = Duration::from_mins(1);
    [
        one.clone(),
        one.clone().timeout(timeout),
        one.polling(Duration::from_millis(10)).timeout(timeout),
        several.clone(),
        several.timeout(timeout),
        permit.clone(),
        permit.timeout(timeout),
    ]
}

#[tokio::test]
async fn every_verb_reports_a_full_table_and_the_setting_to_raise() {
    let (_server, database, pool) = database_with_pool().await;
    let mut lock_table = FullLockTable::fill(&database).await;
    for verb in Verb::ALL {
        // The verbs that open no transaction refuse an isolation level.
        let isolated = AdvisoryLock::new("one").isolation(Isolation::Serializable);
        for lock in sample(verb as usize, locks().into_iter().chain([isolated])) {
            lock_table.leave().await;
            warm(&pool).await;
            lock_table.grow().await;
            let outcome = verb.ask(&lock, &pool).await;
            // A verb on the caller's connection refuses an isolation level.
            if matches!(outcome, Err(Error::Unsupported { .. })) {
                continue;
            }
            let full = outcome.unwrap_err();
            assert!(matches!(full, Error::LockTableFull), "{verb}");
            assert!(full.to_string().contains("`max_locks_per_transaction`"));

            lock_table.leave().await;
            database.assert_nothing_leaked(&pool).await;
            assert!(verb.ask(&lock, &pool).await.unwrap(), "{verb}");
        }
    }
}

#[tokio::test]
async fn lock_on_several_keys_that_do_not_fit_holds_none() {
    let (_server, database, pool) = database_with_pool().await;
    let mut lock_table = FullLockTable::fill(&database).await;
    let many = AdvisoryLock::all(0..50);
    for verb in Verb::all(Verb::is_of_lock) {
        let kinds = [
            many.clone(),
            many.clone().timeout(Duration::from_mins(1)),
            many.clone().timeout(Duration::ZERO),
        ];
        for lock in sample(verb as usize, kinds) {
            lock_table.leave().await;
            warm(&pool).await;
            lock_table.grow().await;
            lock_table.shrink(20).await;
            let full = verb.ask(&lock, &pool).await;
            assert!(matches!(full, Err(Error::LockTableFull)), "{verb}");
            lock_table.leave().await;
            database.assert_nothing_leaked(&pool).await;
        }
    }
}

#[tokio::test]
async fn earlier_lock_can_be_released_while_the_table_is_full() {
    let (_server, database, pool) = database_with_pool().await;
    for verb in Verb::ALL {
        let mut lock_table = FullLockTable::fill(&database).await;
        lock_table.leave().await;
        let (full, left) = oneshot::channel();
        let work = async move {
            lock_table.grow().await;
            drop(full.send(lock_table));
        };
        let lock = AdvisoryLock::new("one");
        warm(&pool).await;
        assert!(verb.hold(&lock, &pool, work).await.unwrap(), "{verb}");
        left.await.unwrap().leave().await;
        database.assert_nothing_leaked(&pool).await;
    }
}

/// Writing a row needs an entry in the same table. Its error is that of the statement, and not one
/// of the advisory lock.
#[tokio::test]
async fn statement_of_the_body_has_its_own_error_and_is_rolled_back() {
    let (_server, database, pool) = database_with_pool().await;
    pool.execute("CREATE TABLE written (n int)").await.unwrap();
    let mut lock_table = FullLockTable::fill(&database).await;
    lock_table.leave().await;
    let lock = AdvisoryLock::new("one");
    let failed = lock.transaction(&pool, async |tx| {
        lock_table.grow().await;
        tx.execute("INSERT INTO written VALUES (1)").await?;
        Ok::<_, Error>(())
    });
    let error = failed.await.unwrap_err();
    assert_eq!(passed_on(&error).as_deref(), Some("53200"));
    lock_table.leave().await;
    database.assert_nothing_leaked(&pool).await;
}

/// The caller can roll back to a savepoint after any error.
#[tokio::test]
async fn caller_can_roll_back_to_a_savepoint() {
    let (_server, database, pool) = database_with_pool().await;
    let mut lock_table = FullLockTable::fill(&database).await;
    for lock in locks() {
        for verb in JOINING {
            lock_table.leave().await;
            let mut tx = pool.begin().await.unwrap();
            tx.execute("SAVEPOINT before").await.unwrap();
            lock_table.grow().await;
            let full = verb.join(&lock, &mut tx).await;
            assert!(matches!(full, Err(Error::LockTableFull)));
            tx.execute("ROLLBACK TO SAVEPOINT before").await.unwrap();
            lock_table.leave().await;
            lock.acquire_xact(&mut tx).await.unwrap();
            tx.commit().await.unwrap();
            database.assert_nothing_leaked(&pool).await;
        }
    }
}

/// A new connection needs locks. If the lock table is full, it cannot be opened.
#[tokio::test]
async fn pool_that_has_to_connect_reports_a_full_table() {
    let server = server().await;
    let database = Database::on(&server).await;
    let pool = PgPoolOptions::new().connect_lazy_with(database.options());
    let mut lock_table = FullLockTable::fill(&database).await;
    let lock = AdvisoryLock::new("one");
    let mut outcomes = Vec::new();
    for verb in Verb::all(Verb::is_on_pool) {
        outcomes.push((verb, verb.ask(&lock, &pool).await));
    }
    // The server is released before the assertion, because other tests wait for it.
    lock_table.leave().await;
    for (name, full) in outcomes {
        assert!(
            matches!(full, Err(Error::LockTableFull)),
            "{name}: {full:?}"
        );
    }
}
