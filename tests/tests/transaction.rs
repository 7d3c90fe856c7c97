//! Locks with a transaction of their own.

use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Error, Isolation};
use advisory_tests::Database;
use sqlx::{Executor as _, PgPool, Row as _};

/// A pool, and a table that its sessions write to.
async fn with_table(database: &Database, connections: u32) -> PgPool {
    let pool = database.pool(connections).await;
    pool.execute("CREATE TABLE written (n int)").await.unwrap();
    pool
}

async fn written(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM written")
        .fetch_one(pool)
        .await
        .unwrap()
}

const WRITE: &str = "INSERT INTO written VALUES (1)";

fn locks() -> [AdvisoryLock; 2] {
    [AdvisoryLock::new("one"), AdvisoryLock::all(["one", "two"])]
}

#[tokio::test]
async fn begin_opens_an_ordinary_transaction_that_holds_the_lock() {
    let database = Database::new().await;
    let pool = with_table(&database, 2).await;
    for lock in locks() {
        for lock in [
            lock.clone(),
            lock.clone().timeout(Duration::from_secs(5)),
            lock.wait_forever(),
        ] {
            let mut tx = lock.begin(&pool).await.unwrap();
            database.wait_until_held(lock.keys().len()).await;
            tx.execute(WRITE).await.unwrap();
            assert!(
                lock.clone()
                    .timeout(Duration::ZERO)
                    .try_begin(&pool)
                    .await
                    .unwrap()
                    .is_none()
            );
            tx.commit().await.unwrap();
            database.wait_until_held(0).await;

            let mut tx = lock.try_begin(&pool).await.unwrap().unwrap();
            tx.execute(WRITE).await.unwrap();
            drop(tx);
            database.assert_nothing_leaked(&pool).await;
        }
    }
    assert_eq!(written(&pool).await, 6);
}

#[tokio::test]
async fn settings_of_the_session_are_not_changed() {
    let database = Database::new().await;
    let pool = database.pool(1).await;
    pool.execute("SET lock_timeout = '90s'").await.unwrap();
    for lock in locks() {
        for lock in [
            lock.clone(),
            lock.clone().timeout(Duration::from_secs(5)),
            lock.wait_forever(),
        ] {
            let mut tx = lock.begin(&pool).await.unwrap();
            let inside: String = tx.fetch_one("SHOW lock_timeout").await.unwrap().get(0);
            tx.commit().await.unwrap();
            let after = pool.fetch_one("SHOW lock_timeout").await.unwrap().get(0);
            let interval = pool
                .fetch_one("SHOW client_connection_check_interval")
                .await
                .unwrap()
                .get(0);
            assert_eq!([inside, after, interval], ["90s", "90s", "0"]);
        }
    }
}

#[tokio::test]
async fn read_only_session_takes_locks_and_stays_read_only() {
    let database = Database::new().await;
    let pool = database.pool(1).await;
    pool.execute("SET default_transaction_read_only = on")
        .await
        .unwrap();
    let isolated = AdvisoryLock::new("one").isolation(Isolation::Serializable);
    for lock in locks().into_iter().chain([isolated]) {
        for tries in [false, true] {
            let mut tx = if tries {
                lock.try_begin(&pool).await.unwrap().unwrap()
            } else {
                lock.begin(&pool).await.unwrap()
            };
            let row = tx.fetch_one("SHOW transaction_read_only").await.unwrap();
            assert_eq!(row.get::<&str, _>(0), "on");
            tx.rollback().await.unwrap();
        }
        let mut guard = AdvisoryLock::from(lock.id()).acquire(&pool).await.unwrap();
        let session = guard.connection().await.unwrap();
        let row = session
            .fetch_one("SHOW default_transaction_read_only")
            .await
            .unwrap();
        assert_eq!(row.get::<&str, _>(0), "on");
        guard.release().await.unwrap();
    }
}

#[tokio::test]
async fn transaction_commits_on_ok_and_rolls_back_on_err() {
    let database = Database::new().await;
    let pool = with_table(&database, 2).await;
    let lock = AdvisoryLock::new("one");

    let value = lock.transaction(&pool, async |tx| {
        tx.execute(WRITE).await?;
        database.wait_until_held(1).await;
        Ok::<_, sqlx::Error>("done")
    });
    assert_eq!(value.await.unwrap(), "done");
    assert_eq!(written(&pool).await, 1);

    let refused = lock.transaction(&pool, async |tx| {
        tx.execute(WRITE).await?;
        Err::<(), _>(sqlx::Error::RowNotFound)
    });
    assert!(matches!(refused.await, Err(sqlx::Error::RowNotFound)));
    assert_eq!(written(&pool).await, 1);
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn panic_in_the_body_rolls_back() {
    let database = Database::new().await;
    let pool = with_table(&database, 1).await;
    let panicking = pool.clone();
    let task = tokio::spawn(async move {
        let body = async |tx: &mut sqlx::PgTransaction<'_>| {
            tx.execute(WRITE).await?;
            let rows: Vec<i32> = Vec::new();
            Ok::<_, Error>(rows[0])
        };
        AdvisoryLock::new("one").transaction(&panicking, body).await
    });
    assert!(task.await.unwrap_err().is_panic());
    database.assert_nothing_leaked(&pool).await;
    assert_eq!(written(&pool).await, 0);
}

#[tokio::test]
async fn try_transaction_skips_the_body_while_the_lock_is_held() {
    let database = Database::new().await;
    let pool = database.pool(3).await;
    for lock in locks() {
        let held = lock.begin(&pool).await.unwrap();
        let skipped = lock.try_transaction(&pool, async |_| -> Result<(), Error> {
            panic!("not skipped")
        });
        assert!(skipped.await.unwrap().is_none());
        held.commit().await.unwrap();
        let ran = lock
            .try_transaction(&pool, async |_| Ok::<_, Error>(7))
            .await
            .unwrap();
        assert_eq!(ran, Some(7));
    }
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn timeout_is_a_refusal_that_names_the_holder() {
    let database = Database::new().await;
    let pool = database.pool(2).await;
    for lock in locks() {
        let held = lock.begin(&pool).await.unwrap();
        for wait in [Duration::ZERO, Duration::from_millis(30)] {
            let lock = lock.clone().timeout(wait);
            assert!(lock.try_begin(&pool).await.unwrap().is_none());
            let error = lock.begin(&pool).await.unwrap_err();
            let Error::NotAcquired {
                waited, holders, ..
            } = &error
            else {
                panic!("{error:?}")
            };
            assert!(*waited >= wait);
            assert_eq!(holders.len(), 1, "{error}");
        }
        held.rollback().await.unwrap();
    }
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn exhausted_pool_is_an_error_within_the_deadline() {
    let database = Database::new().await;
    let pool = database.pool(1).await;
    let taken = pool.acquire().await.unwrap();
    let lock = AdvisoryLock::new("one").timeout(Duration::from_millis(100));
    let started = Instant::now();
    let error = lock.begin(&pool).await.unwrap_err();
    assert!(
        matches!(error, Error::Database(sqlx::Error::PoolTimedOut)),
        "{error:?}"
    );
    let error = lock.try_begin(&pool).await.unwrap_err();
    assert!(
        matches!(error, Error::Database(sqlx::Error::PoolTimedOut)),
        "{error:?}"
    );
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "the pool's own 30 s, not our 0.1 s"
    );
    drop(taken);
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn wait_for_a_connection_counts_against_the_timeout() {
    let database = Database::new().await;
    let pool = database.pool(2).await;
    let limit = Duration::from_secs(2);
    let lock = AdvisoryLock::new("one").timeout(limit);
    let _held = lock.begin(&pool).await.unwrap();
    let taken = pool.acquire().await.unwrap();
    let started = Instant::now();
    let free_the_connection = async {
        tokio::time::sleep(limit * 3 / 4).await;
        drop(taken);
    };
    let (refused, ()) = tokio::join!(lock.try_begin(&pool), free_the_connection);
    assert!(refused.unwrap().is_none());
    assert!(
        started.elapsed() < limit * 7 / 4,
        "waited the whole timeout again: {:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn deadlock_between_two_transactions_has_one_loser() {
    let database = Database::new().await;
    let pool = database.pool(4).await;
    let setting = format!(
        "ALTER DATABASE {} SET deadlock_timeout = '50ms'",
        database.name()
    );
    pool.execute(sqlx::AssertSqlSafe(setting)).await.unwrap();
    pool.close().await;
    let pool = database.pool(4).await;

    let cross = async |first: &str, second: &str| {
        AdvisoryLock::new(first)
            .transaction(&pool, async |tx| {
                database.wait_until_held(2).await;
                AdvisoryLock::new(second).acquire_xact(tx).await
            })
            .await
    };
    let (a, b) = tokio::join!(cross("a", "b"), cross("b", "a"));
    let loser = if a.is_err() { a.as_ref() } else { b.as_ref() }.unwrap_err();
    assert!(loser.is_deadlock(), "{loser:?}");
    assert!(a.is_ok() || b.is_ok(), "{a:?} {b:?}");
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn transaction_can_be_awaited_in_a_spawned_task() {
    let database = Database::new().await;
    let pool = with_table(&database, 2).await;
    let spawned = pool.clone();
    let task = tokio::spawn(async move {
        let lock = AdvisoryLock::new("spawned");
        lock.transaction(&spawned, async |tx| tx.execute(WRITE).await.map(drop))
            .await
    });
    task.await.unwrap().unwrap();
    assert_eq!(written(&pool).await, 1);
}
