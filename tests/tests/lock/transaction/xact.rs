//! Locks in the caller's transaction.

use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Error, Key};
use advisory_tests::{Database, WRITE, by_our_clock, scalar, written};
use sqlx::{Connection as _, Executor as _, PgConnection, PgTransaction};

async fn lock_timeout(conn: &mut PgConnection) -> String {
    scalar(&mut *conn, "SHOW lock_timeout").await
}

/// A lock on one key, and a lock on three keys in both key spaces, of which only the last is
/// contended.
fn locks() -> [AdvisoryLock; 2] {
    [
        AdvisoryLock::new((7, 7)),
        AdvisoryLock::all([Key::from(1), (2, 2).into(), (7, 7).into()]),
    ]
}

async fn hold(conn: &mut PgConnection) -> PgTransaction<'_> {
    let mut held = conn.begin().await.unwrap();
    AdvisoryLock::new((7, 7))
        .acquire_xact(&mut held)
        .await
        .unwrap();
    held
}

#[tokio::test]
async fn refusal_leaves_the_transaction_as_it_was() {
    let database = Database::new().await;
    let (mut holder, mut conn) = (database.connection().await, database.connection().await);
    let _held = hold(&mut holder).await;
    conn.execute("SET lock_timeout = '90s'").await.unwrap();
    conn.execute("CREATE TABLE written (n int)").await.unwrap();

    for lock in locks() {
        for wait in [
            Duration::ZERO,
            Duration::from_micros(999),
            Duration::from_millis(20),
        ] {
            let lock = lock.clone().timeout(wait);
            let mut tx = conn.begin().await.unwrap();
            sqlx::query(WRITE).execute(&mut *tx).await.unwrap();
            assert!(!lock.try_acquire_xact(&mut tx).await.unwrap());
            assert_eq!(lock_timeout(&mut tx).await, "90s");
            let error = lock.acquire_xact(&mut tx).await.unwrap_err();
            assert!(error.is_not_acquired(), "{error:?}");
            assert_eq!(lock_timeout(&mut tx).await, "90s");
            // None of several keys is held, except by the rival.
            assert_eq!(database.advisory_locks().await.len(), 1);
            tx.commit().await.unwrap();
        }
    }
    assert_eq!(written(&mut conn).await, 6);
    assert_eq!(lock_timeout(&mut conn).await, "90s");
}

#[tokio::test]
async fn grant_restores_lock_timeout() {
    let database = Database::new().await;
    let mut conn = database.connection().await;
    for lock in locks() {
        for setting in ["0", "30s", "1min", "1500ms", "1d"] {
            let mut tx = conn.begin().await.unwrap();
            sqlx::query("SELECT set_config('lock_timeout', $1, true)")
                .bind(setting)
                .execute(&mut *tx)
                .await
                .unwrap();
            // Another session holds the lock first, so that the wait and its settings are sent.
            let mut holder = database.connection().await;
            let held = hold(&mut holder).await;
            let lock = lock.clone().timeout(Duration::from_secs(20));
            let release = async {
                database.wait_until_waiting(1).await;
                held.commit().await.unwrap();
            };
            let (acquired, ()) = tokio::join!(lock.acquire_xact(&mut tx), release);
            acquired.unwrap();
            assert_eq!(lock_timeout(&mut tx).await, setting);
            tx.rollback().await.unwrap();
            assert_eq!(lock_timeout(&mut conn).await, "0");
        }
    }
}

#[tokio::test]
async fn timeout_is_one_deadline_for_all_keys() {
    let database = Database::new().await;
    let limit = Duration::from_millis(400);
    let keys = 0..8;
    let mut holders = Vec::new();
    for key in keys.clone() {
        let mut conn = database.connection().await;
        advisory_core::lock(&mut conn, key).await.unwrap();
        holders.push(conn);
    }
    let mut conn = database.connection().await;
    let mut tx = conn.begin().await.unwrap();
    let started = Instant::now();
    let release = async {
        // Each key is released well within the timeout, but all together take too long.
        for (key, holder) in keys.clone().zip(&mut holders) {
            tokio::time::sleep(limit / 4).await;
            advisory_core::unlock(holder, key).await.unwrap();
        }
    };
    let lock = AdvisoryLock::all(keys.clone()).timeout(limit);
    let (acquired, ()) = tokio::join!(lock.try_acquire_xact(&mut tx), release);
    assert!(!acquired.unwrap(), "granted after {:?}", started.elapsed());
    database.wait_until_held(0).await;
}

#[tokio::test]
async fn lock_timeout_of_the_server_applies_without_a_timeout() {
    let database = Database::new().await;
    let (mut holder, mut conn) = (database.connection().await, database.connection().await);
    let held = hold(&mut holder).await;
    conn.execute("SET lock_timeout = '20ms'").await.unwrap();
    for lock in locks() {
        let mut tx = conn.begin().await.unwrap();
        let error = lock.acquire_xact(&mut tx).await.unwrap_err();
        assert!(error.is_not_acquired(), "{error:?}");
        assert_eq!(lock_timeout(&mut tx).await, "20ms");
    }

    let mut tx = conn.begin().await.unwrap();
    let lock = AdvisoryLock::new((7, 7)).wait_forever();
    let release = async {
        database.wait_until_waiting(1).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
        held.rollback().await.unwrap();
    };
    let (acquired, ()) = tokio::join!(lock.acquire_xact(&mut tx), release);
    acquired.unwrap();
    assert_eq!(lock_timeout(&mut tx).await, "20ms");
}

#[tokio::test]
async fn refusal_names_the_holder() {
    let database = Database::new().await;
    let mut holder = PgConnection::connect_with(&database.options().application_name("nightly"))
        .await
        .unwrap();
    let pid: i32 = scalar(&mut holder, "SELECT pg_backend_pid()").await;
    let _held = hold(&mut holder).await;

    let mut conn = database.connection().await;
    for lock in locks() {
        for wait in [Duration::ZERO, Duration::from_millis(20)] {
            let mut tx = conn.begin().await.unwrap();
            let limited = lock.clone().timeout(wait);
            let error = limited.acquire_xact(&mut tx).await.unwrap_err();
            let message = error.to_string();
            let Error::NotAcquired {
                lock: refused_lock,
                waited,
                holders,
                ..
            } = error
            else {
                panic!("{message}")
            };
            assert_eq!(refused_lock.keys(), lock.keys());
            assert!(waited >= by_our_clock(wait), "{waited:?}");
            let [holder] = &holders[..] else {
                panic!("{holders:?}")
            };
            assert_eq!(
                (holder.pid, holder.application_name.as_deref()),
                (pid, Some("nightly"))
            );
            assert!(holder.transaction_age.is_some());
            let named = format!("held by pid {pid} (nightly)");
            assert!(message.contains(&named), "{message}");
        }
    }
}

#[tokio::test]
async fn shared_holders_exclude_an_exclusive_one() {
    let database = Database::new().await;
    let (mut a, mut b) = (database.connection().await, database.connection().await);
    let mut c = database.connection().await;
    for lock in locks() {
        let (mut a, mut b) = (a.begin().await.unwrap(), b.begin().await.unwrap());
        let mut c = c.begin().await.unwrap();
        let shared = lock.clone().shared();
        shared.acquire_xact(&mut a).await.unwrap();
        assert!(shared.try_acquire_xact(&mut b).await.unwrap());
        assert!(!lock.try_acquire_xact(&mut c).await.unwrap());
        drop(a.rollback().await);
        drop(b.rollback().await);
        assert!(lock.try_acquire_xact(&mut c).await.unwrap());
    }
}

#[tokio::test]
async fn rollback_to_a_savepoint_releases_later_locks() {
    let database = Database::new().await;
    let mut conn = database.connection().await;
    let mut tx = conn.begin().await.unwrap();
    for lock in locks() {
        let mut nested = tx.begin().await.unwrap();
        lock.acquire_xact(&mut nested).await.unwrap();
        nested.rollback().await.unwrap();
        database.wait_until_held(0).await;
    }
    let mut nested = tx.begin().await.unwrap();
    AdvisoryLock::new(1)
        .acquire_xact(&mut nested)
        .await
        .unwrap();
    nested.commit().await.unwrap();
    database.wait_until_held(1).await;
}

#[tokio::test]
async fn aborted_transaction_is_reported() {
    let database = Database::new().await;
    let mut conn = database.connection().await;
    for lock in locks() {
        let mut tx = conn.begin().await.unwrap();
        tx.execute("SELECT 1/0").await.unwrap_err();
        let error = lock.acquire_xact(&mut tx).await.unwrap_err();
        assert!(
            error.to_string().contains("current transaction is aborted"),
            "{error}"
        );
    }
}
