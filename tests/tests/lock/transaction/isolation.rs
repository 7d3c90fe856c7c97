//! A transaction sees what the last holder of its lock has committed, at every isolation level.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, Isolation, Key, advisory};
use advisory_tests::{Database, scalar};
use advisory_verbs::with_connection;
use sqlx::{Executor as _, PgPool, PgTransaction};

const LEVELS: [Isolation; 3] = [
    Isolation::ReadCommitted,
    Isolation::RepeatableRead,
    Isolation::Serializable,
];

async fn counter(database: &Database) -> PgPool {
    let pool = database.pool(4).await;
    pool.execute("CREATE TABLE counter (n bigint); INSERT INTO counter VALUES (0)")
        .await
        .unwrap();
    pool
}

async fn read(tx: &mut PgTransaction<'_>) -> i64 {
    scalar(&mut **tx, "SELECT n FROM counter").await
}

async fn level(tx: &mut PgTransaction<'_>) -> String {
    scalar(&mut **tx, "SHOW transaction_isolation").await
}

/// The holder writes, and commits when another session waits.
async fn write_and_release(database: &Database, mut held: PgTransaction<'static>) {
    held.execute("UPDATE counter SET n = n + 1").await.unwrap();
    database.wait_until_waiting(1).await;
    held.commit().await.unwrap();
}

fn locks() -> [AdvisoryLock; 2] {
    [
        AdvisoryLock::new("one"),
        AdvisoryLock::all([Key::from(1), (2, 2).into()]),
    ]
}

#[tokio::test]
async fn first_read_sees_what_the_last_holder_committed_at_every_default_level() {
    let database = Database::new().await;
    let pool = counter(&database).await;
    assert_first_reads(&database, &pool).await;
    let default = "default_transaction_isolation";
    let pool = database.pool_with(10, default, "serializable").await;
    assert_first_reads(&database, &pool).await;
}

async fn assert_first_reads(database: &Database, pool: &PgPool) {
    let mut expected: i64 = scalar(pool, "SELECT n FROM counter").await;
    for lock in locks() {
        for isolation in LEVELS {
            for limit in [None, Some(Duration::from_secs(20))] {
                let held = lock.begin(pool).await.unwrap();
                let waiting = lock.clone().isolation(isolation);
                let waiting = limit
                    .iter()
                    .fold(waiting, |lock, limit| lock.timeout(*limit));
                let (tx, ()) = tokio::join!(waiting.begin(pool), write_and_release(database, held));
                let mut tx = tx.unwrap();
                expected += 1;
                assert_eq!(read(&mut tx).await, expected, "{isolation:?}");
                let name = level(&mut tx).await.replace(' ', "");
                assert_eq!(name, format!("{isolation:?}").to_lowercase());
                // The transaction can write what it has read without a serialization failure.
                tx.execute("UPDATE counter SET n = n").await.unwrap();
                assert_eq!(database.advisory_locks().await.len(), lock.keys().len());
                tx.commit().await.unwrap();
                assert!(database.advisory_locks().await.is_empty());
            }
        }
    }
    database.assert_nothing_leaked(pool).await;
}

/// The usual order: begin, lock, read.
#[tokio::test]
async fn naive_order_reads_the_state_before_the_wait() {
    let database = Database::new().await;
    let pool = counter(&database).await;
    let lock = AdvisoryLock::new("one");
    let held = lock.begin(&pool).await.unwrap();
    let naive = async {
        let mut tx = pool
            .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ")
            .await
            .unwrap();
        advisory_core::xact_lock(&mut tx, "one").await.unwrap();
        read(&mut tx).await
    };
    let (seen, ()) = tokio::join!(naive, write_and_release(&database, held));
    assert_eq!(seen, 0, "the server has changed: the naive order is right");
}

#[tokio::test]
async fn refusal_leaves_nothing() {
    let database = Database::new().await;
    let pool = counter(&database).await;
    for lock in locks() {
        let held = lock.begin(&pool).await.unwrap();
        for isolation in LEVELS {
            let lock = lock.clone().isolation(isolation);
            let refused = lock.try_begin(&pool).await;
            assert!(refused.unwrap().is_none());
            let limited = lock.timeout(Duration::from_millis(20));
            let refused = with_connection(async || limited.begin(&pool).await).await;
            assert!(refused.unwrap_err().is_not_acquired());
            let polling = limited.polling(Duration::from_millis(5));
            let refused = with_connection(async || polling.try_begin(&pool).await).await;
            assert!(refused.unwrap().is_none());
            // Only the holder has locks.
            assert_eq!(database.advisory_locks().await.len(), polling.keys().len());
        }
        held.rollback().await.unwrap();
        for isolation in LEVELS {
            let tx = lock
                .clone()
                .isolation(isolation)
                .try_begin(&pool)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(database.advisory_locks().await.len(), lock.keys().len());
            tx.commit().await.unwrap();
        }
    }
    database.assert_nothing_leaked(&pool).await;
}

#[advisory(key = "one", isolation = RepeatableRead, tx)]
async fn annotated(pool: &PgPool) -> Result<i64, Error> {
    assert_eq!(level(tx).await, "repeatable read");
    Ok(read(tx).await)
}

#[tokio::test]
async fn attribute_sets_the_isolation_level() {
    let database = Database::new().await;
    let pool = counter(&database).await;
    let held = AdvisoryLock::new("one").begin(&pool).await.unwrap();
    let (seen, ()) = tokio::join!(annotated(&pool), write_and_release(&database, held));
    assert_eq!(seen.unwrap(), 1);
    database.assert_nothing_leaked(&pool).await;
}
