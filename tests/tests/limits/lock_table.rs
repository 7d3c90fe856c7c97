//! The lock table has no room (SQLSTATE 53200).

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, Isolation};
use advisory_tests::{Database, Server};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Executor as _, PgConnection, PgPool};
use tokio::sync::{Mutex, MutexGuard, OnceCell, oneshot};

use crate::{code, passed_on, verb};

/// A server whose lock table some hundred keys fill. It is one for all tests, and one test has it at a time.
async fn server() -> MutexGuard<'static, Server> {
    static SERVER: OnceCell<Mutex<Server>> = OnceCell::const_new();
    let start = async || {
        let settings = &[
            ("max_locks_per_transaction", "10"),
            ("max_connections", "20"),
            ("max_prepared_transactions", "0"),
            // It comes and goes, and takes locks of its own.
            ("autovacuum", "off"),
        ];
        Mutex::new(crate::server(settings).await)
    };
    SERVER.get_or_init(start).await.lock().await
}

/// Holds so many keys that there is no room for one more. While it does, nobody can connect, and the database cannot be watched:
/// that takes locks, too.
struct Crowd {
    conn: PgConnection,
    size: i32,
}

impl Crowd {
    async fn fill(database: &Database) -> Self {
        let conn = database.connection().await;
        let mut crowd = Self { conn, size: 0 };
        crowd.grow().await;
        crowd
    }

    async fn grow(&mut self) {
        loop {
            // Locks of the session, which stay when the statement fails.
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

    /// Makes room for some keys.
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

/// Opens a connection that the pool keeps, while there is room for it.
async fn warm(pool: &PgPool) {
    pool.execute("SELECT 1").await.unwrap();
}

fn locks() -> [AdvisoryLock; 6] {
    let one = AdvisoryLock::new("one");
    let several = AdvisoryLock::all(["one", "two", "three"]);
    let timeout = Duration::from_mins(1);
    [
        one.clone(),
        one.clone().timeout(timeout),
        one.clone().isolation(Isolation::Serializable),
        one.polling(Duration::from_millis(10)).timeout(timeout),
        several.clone(),
        several.timeout(timeout),
    ]
}

#[tokio::test]
async fn every_verb_says_that_the_table_is_full_and_what_to_raise() {
    let server = server().await;
    let database = Database::on(&server).await;
    let pool = database.pool(2).await;
    let mut crowd = Crowd::fill(&database).await;
    for verb in verb::every() {
        for lock in locks() {
            crowd.leave().await;
            warm(&pool).await;
            crowd.grow().await;
            let told = verb.ask(&lock, &pool).await;
            // A connection of the caller's takes no isolation level.
            if matches!(told, Err(Error::Unsupported { .. })) {
                continue;
            }
            let full = told.unwrap_err();
            assert!(matches!(full, Error::LockTableFull), "{}", verb.name);
            assert!(full.to_string().contains("`max_locks_per_transaction`"));

            crowd.leave().await;
            database.assert_nothing_leaked(&pool).await;
            assert!(verb.ask(&lock, &pool).await.unwrap(), "{}", verb.name);
        }
    }
}

#[tokio::test]
async fn of_several_keys_of_which_some_have_room_none_is_held() {
    let server = server().await;
    let database = Database::on(&server).await;
    let pool = database.pool(2).await;
    let mut crowd = Crowd::fill(&database).await;
    let many = AdvisoryLock::all(0..50);
    for verb in verb::of_lock() {
        for lock in [
            many.clone(),
            many.clone().timeout(Duration::from_mins(1)),
            many.clone().timeout(Duration::ZERO),
        ] {
            crowd.leave().await;
            warm(&pool).await;
            crowd.grow().await;
            crowd.shrink(20).await;
            let full = verb.ask(&lock, &pool).await;
            assert!(matches!(full, Err(Error::LockTableFull)), "{}", verb.name);
            crowd.leave().await;
            database.assert_nothing_leaked(&pool).await;
        }
    }
}

#[tokio::test]
async fn a_lock_that_was_taken_before_is_let_go_as_ever() {
    let server = server().await;
    let database = Database::on(&server).await;
    let pool = database.pool(2).await;
    for verb in verb::every() {
        let mut crowd = Crowd::fill(&database).await;
        crowd.leave().await;
        let (full, left) = oneshot::channel();
        let work = async move {
            crowd.grow().await;
            drop(full.send(crowd));
        };
        let lock = AdvisoryLock::new("one");
        warm(&pool).await;
        assert!(verb.run(&lock, &pool, work).await.unwrap(), "{}", verb.name);
        left.await.unwrap().leave().await;
        database.assert_nothing_leaked(&pool).await;
    }
}

/// A row that is written needs a lock in the same table. Its error is the statement's own, not one about the advisory lock.
#[tokio::test]
async fn a_statement_of_the_body_has_its_own_error_and_is_rolled_back() {
    let server = server().await;
    let database = Database::on(&server).await;
    let pool = database.pool(2).await;
    pool.execute("CREATE TABLE written (n int)").await.unwrap();
    let mut crowd = Crowd::fill(&database).await;
    crowd.leave().await;
    let lock = AdvisoryLock::new("one");
    let failed = lock.transaction(&pool, async |tx| {
        crowd.grow().await;
        tx.execute("INSERT INTO written VALUES (1)").await?;
        Ok::<_, Error>(())
    });
    let error = failed.await.unwrap_err();
    assert_eq!(passed_on(&error).as_deref(), Some("53200"));
    crowd.leave().await;
    database.assert_nothing_leaked(&pool).await;
}

/// The caller's way back, whatever has failed.
#[tokio::test]
async fn a_savepoint_of_the_callers_leads_back() {
    let server = server().await;
    let database = Database::on(&server).await;
    let pool = database.pool(2).await;
    let mut crowd = Crowd::fill(&database).await;
    for lock in locks() {
        for tries in [true, false] {
            crowd.leave().await;
            let mut tx = pool.begin().await.unwrap();
            tx.execute("SAVEPOINT before").await.unwrap();
            crowd.grow().await;
            let full = verb::join(tries, &lock, &mut tx).await;
            assert!(matches!(full, Err(Error::LockTableFull)));
            tx.execute("ROLLBACK TO SAVEPOINT before").await.unwrap();
            crowd.leave().await;
            lock.acquire_xact(&mut tx).await.unwrap();
            tx.commit().await.unwrap();
            database.assert_nothing_leaked(&pool).await;
        }
    }
}

/// A connection takes locks while it is opened: where there is no room, there is no new connection either.
#[tokio::test]
async fn a_pool_that_has_to_connect_says_so_too() {
    let server = server().await;
    let database = Database::on(&server).await;
    let pool = PgPoolOptions::new().connect_lazy_with(database.options());
    let mut crowd = Crowd::fill(&database).await;
    let lock = AdvisoryLock::new("one");
    let mut told = Vec::new();
    for verb in verb::on_pool() {
        told.push((verb.name, verb.ask(&lock, &pool).await));
    }
    // Before anything is said: others want the server.
    crowd.leave().await;
    for (name, full) in told {
        assert!(
            matches!(full, Err(Error::LockTableFull)),
            "{name}: {full:?}"
        );
    }
}
