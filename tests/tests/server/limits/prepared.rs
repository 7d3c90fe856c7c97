//! A prepared transaction holds its locks without a backend.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error};
use advisory_tests::{Database, is_ever};
use advisory_verbs::{Verb, holders};
use sqlx::{AssertSqlSafe, Executor as _, PgPool, PgTransaction};

/// Prepares a transaction that holds the lock. No backend holds the lock afterwards.
async fn prepare(lock: &AdvisoryLock, pool: &PgPool, name: &str) {
    let body = async |tx: &mut PgTransaction<'_>| {
        let prepare = format!("PREPARE TRANSACTION '{name}'");
        tx.execute(AssertSqlSafe(prepare)).await?;
        Ok::<_, Error>(())
    };
    lock.transaction(pool, body).await.unwrap();
}

async fn end(how: &str, pool: &PgPool, name: &str) {
    let end = format!("{how} PREPARED '{name}'");
    pool.execute(AssertSqlSafe(end)).await.unwrap();
}

/// Queries `pg_locks` directly, because the harness expects a backend for each lock.
async fn is_waited_for(pool: &PgPool) -> bool {
    let found = "SELECT EXISTS(SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
         WHERE l.locktype = 'advisory' AND NOT l.granted AND d.datname = current_database())";
    sqlx::query_scalar(found).fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn prepared_transaction_excludes_others_and_has_no_process() {
    let database = Database::on(super::large_server().await).await;
    let (pool, rivals) = (database.pool(2).await, database.pool(1).await);
    let name = database.name();
    for lock in [AdvisoryLock::new("one"), AdvisoryLock::all(["one", "two"])] {
        prepare(&lock, &pool, name).await;
        for wait in [Duration::ZERO, Duration::from_millis(20)] {
            let lock = lock.clone().timeout(wait);
            for verb in Verb::all(Verb::is_of_lock) {
                // The holder is not named if a busy machine does not find it in time.
                let names_the_holder = async || {
                    let refused = verb.assert_refused(&lock, &pool).await;
                    let holder = "held by a prepared transaction";
                    refused.is_none_or(|error| error.to_string().ends_with(holder))
                };
                assert!(is_ever(names_the_holder).await, "{verb}");
            }
            let mut tx = pool.begin().await.unwrap();
            let refused = lock.acquire_xact(&mut tx).await.unwrap_err();
            assert!(refused.is_not_acquired());
            tx.execute("SELECT 1").await.unwrap();
        }
        end("ROLLBACK", &pool, name).await;
        database.assert_nothing_leaked(&pool).await;

        // Together with a holder that has a process.
        prepare(&lock.clone().shared(), &pool, name).await;
        let held_by_rival = lock.clone().shared().begin(&rivals).await.unwrap();
        let names_both = async || {
            let refused = lock.clone().timeout(Duration::ZERO).begin(&pool).await;
            let error = refused.unwrap_err();
            let holders = holders(&error);
            let processes = holders.iter().filter(|holder| holder.pid != 0).count();
            (holders.len(), processes) == (2, 1)
        };
        assert!(is_ever(names_both).await);
        held_by_rival.rollback().await.unwrap();
        end("COMMIT", &pool, name).await;
        database.assert_nothing_leaked(&pool).await;
    }
}

#[tokio::test]
async fn waiter_gets_the_lock_when_the_prepared_transaction_ends() {
    let database = Database::on(super::large_server().await).await;
    let (pool, rivals) = (database.pool(2).await, database.pool(1).await);
    let (lock, name) = (AdvisoryLock::new("one").wait_forever(), database.name());
    for verb in Verb::all(Verb::can_wait) {
        for how in ["COMMIT", "ROLLBACK"] {
            prepare(&lock, &rivals, name).await;
            let end = async {
                while !is_waited_for(&rivals).await {}
                end(how, &rivals, name).await;
            };
            let (acquired, ()) = tokio::join!(verb.ask(&lock, &pool), end);
            assert!(acquired.unwrap(), "{verb}");
        }
    }
    database.assert_nothing_leaked(&pool).await;
}
