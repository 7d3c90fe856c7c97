//! The verbs on sea-orm's transactions and connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, Isolation, Key, UnsupportedReason};
use advisory_tests::{Cut, Database, Pooler, Pooling, Proxy, WRITE, another_pool, written};
use advisory_verbs::with_holders;
use sea_orm::{
    AccessMode, ConnectionTrait, DatabaseBackend, DatabaseConnection, DatabaseTransaction, DbErr,
    IsolationLevel, MockDatabase, MockExecResult, Statement, TransactionTrait as _,
};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

type Db = DatabaseConnection;

fn db(pool: &PgPool) -> Db {
    pool.clone().into()
}

/// A lock on one key, and a lock on three keys in both key spaces, of which only the last is
/// contended.
fn locks() -> [AdvisoryLock; 2] {
    [
        AdvisoryLock::new((7, 7)),
        AdvisoryLock::all([Key::from(1), (2, 2).into(), (7, 7).into()]),
    ]
}

async fn text(conn: &impl ConnectionTrait, query: &str) -> String {
    let statement = Statement::from_string(DatabaseBackend::Postgres, query);
    let row = conn.query_one_raw(statement).await.unwrap().unwrap();
    row.try_get_by_index(0).unwrap()
}

async fn execute(conn: &impl ConnectionTrait, statement: &str) {
    conn.execute_unprepared(statement).await.unwrap();
}

#[tokio::test]
async fn transaction_holds_the_lock_until_it_ends() {
    let (database, pool) = Database::with_pool(4).await;
    let db = db(&pool);
    for lock in locks() {
        for commit in [true, false] {
            let tx = db.begin().await.unwrap();
            lock.acquire_xact(&tx).await.unwrap();
            database.wait_until_held(lock.id().keys().len()).await;
            assert!(lock.try_begin_sea_orm(&db).await.unwrap().is_none());
            if commit {
                tx.commit().await.unwrap();
            } else {
                tx.rollback().await.unwrap();
            }
            database.wait_until_held(0).await;
        }
    }
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn savepoint_of_a_nested_transaction_releases_the_lock_when_it_is_rolled_back() {
    let (database, pool) = Database::with_pool(2).await;
    let tx = db(&pool).begin().await.unwrap();
    let nested = tx.begin().await.unwrap();
    AdvisoryLock::new("a").acquire_xact(&nested).await.unwrap();
    nested.rollback().await.unwrap();
    database.wait_until_held(0).await;
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn refusal_leaves_the_transaction_as_it_was() {
    let (database, pool) = Database::with_table(4).await;
    let db = db(&pool);
    let holder = db.begin().await.unwrap();
    execute(&holder, "SET application_name = 'the holder'").await;
    locks()[0].acquire_xact(&holder).await.unwrap();

    for lock in locks() {
        for wait in [Duration::ZERO, Duration::from_millis(20)] {
            let lock = lock.clone().timeout(wait);
            let tx = db.begin().await.unwrap();
            execute(&tx, "SET LOCAL lock_timeout = '90s'").await;
            execute(&tx, WRITE).await;
            assert!(!lock.try_acquire_xact(&tx).await.unwrap());
            assert_eq!(text(&tx, "SHOW lock_timeout").await, "90s");
            let refused = with_holders(async || lock.acquire_xact(&tx).await).await;
            let error = refused.unwrap_err();
            let Error::NotAcquired { holders, .. } = &error else {
                panic!("{error:?}");
            };
            assert_eq!(holders.len(), 1, "{error}");
            assert_eq!(holders[0].application_name.as_deref(), Some("the holder"));
            assert!(holders[0].transaction_age.is_some(), "{error}");
            assert_eq!(text(&tx, "SHOW lock_timeout").await, "90s");
            // None of several keys is held, except by the holder.
            assert_eq!(database.advisory_locks().await.len(), 1);
            tx.commit().await.unwrap();
        }
    }
    assert_eq!(written(&pool).await, 4);
}

#[tokio::test]
async fn wait_is_granted_and_restores_lock_timeout() {
    let (database, pool) = Database::with_pool(4).await;
    let db = db(&pool);
    for lock in locks() {
        let holder = db.begin().await.unwrap();
        locks()[0].acquire_xact(&holder).await.unwrap();
        let tx = db.begin().await.unwrap();
        execute(&tx, "SET LOCAL lock_timeout = '1min'").await;
        let release = async {
            database.wait_until_waiting(1).await;
            holder.commit().await.unwrap();
        };
        let lock = lock.timeout(Duration::from_secs(20));
        let (acquired, ()) = tokio::join!(lock.acquire_xact(&tx), release);
        acquired.unwrap();
        assert_eq!(text(&tx, "SHOW lock_timeout").await, "1min");
        database.wait_until_held(lock.id().keys().len()).await;
        tx.rollback().await.unwrap();
    }
}

#[tokio::test]
async fn deadlock_is_an_error_and_leaves_the_transaction_usable() {
    let (database, pool) = Database::with_pool(4).await;
    let db = db(&pool);
    let (one, other) = (db.begin().await.unwrap(), db.begin().await.unwrap());
    let (a, b) = (AdvisoryLock::new("a"), AdvisoryLock::new("b"));
    a.acquire_xact(&one).await.unwrap();
    b.acquire_xact(&other).await.unwrap();
    let run = async |lock: &AdvisoryLock, tx: DatabaseTransaction| {
        let acquired = lock.acquire_xact(&tx).await;
        // It is usable in either case.
        assert_eq!(text(&tx, "SELECT 'usable'").await, "usable");
        tx.rollback().await.unwrap();
        acquired
    };
    let (one, other) = tokio::join!(run(&b, one), run(&a, other));
    let victims = [&one, &other].map(|result| result.as_ref().is_err_and(Error::is_deadlock));
    assert!(victims[0] ^ victims[1], "{one:?}, {other:?}");
    assert!(one.is_ok() || other.is_ok(), "{one:?}, {other:?}");
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn dropped_wait_on_a_transaction_is_cancelled_through_a_pool() {
    let (database, pool) = Database::with_pool(4).await;
    let db = db(&pool);
    let holder = AdvisoryLock::new("a").begin_sea_orm(&db).await.unwrap();
    let tx = db.begin().await.unwrap();
    let lock = AdvisoryLock::new("a").cancel_via(&pool);
    database.drop_when_waiting(lock.acquire_xact(&tx)).await;
    database.wait_until_waiting(0).await;
    drop(tx);
    holder.rollback().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

/// The timeout of a dropped wait is not taken for that of the next one.
#[tokio::test]
async fn timeout_of_a_dropped_wait_does_not_refuse_the_next_lock() {
    let (database, pool) = Database::with_pool(4).await;
    let db = db(&pool);
    let holder = locks()[0].begin_sea_orm(&db).await.unwrap();
    for next in [AdvisoryLock::all([3, 4]), AdvisoryLock::new(3)] {
        let tx = db.begin().await.unwrap();
        let short = locks()[0].clone().timeout(Duration::from_millis(300));
        database.drop_when_waiting(short.acquire_xact(&tx)).await;
        database.wait_until_waiting(0).await;
        let next = next.timeout(Duration::from_secs(20));
        let error = next.acquire_xact(&tx).await.unwrap_err();
        assert!(!error.is_not_acquired(), "{error:?}");
        tx.rollback().await.unwrap();
    }
    holder.rollback().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn begin_sees_what_the_last_holder_has_committed_at_every_level() {
    let (database, pool) = Database::with_table(4).await;
    let db = db(&pool);
    let name = database.name();
    for (rows, level) in (1..).zip(["read committed", "repeatable read", "serializable"]) {
        let default =
            format!("ALTER DATABASE \"{name}\" SET default_transaction_isolation = '{level}'");
        execute(&db, &default).await;
        // Its sessions begin with the new default.
        let pool = another_pool(&pool);
        let db = self::db(&pool);
        let lock = AdvisoryLock::new("a").timeout(Duration::from_secs(20));
        let holder = lock.begin_sea_orm(&db).await.unwrap();
        execute(&holder, WRITE).await;
        let release = async {
            database.wait_until_waiting(1).await;
            holder.commit().await.unwrap();
        };
        let (tx, ()) = tokio::join!(lock.begin_sea_orm(&db), release);
        let tx = tx.unwrap();
        let count = text(&tx, "SELECT count(*)::text FROM written").await;
        assert_eq!(count, rows.to_string());
        assert_eq!(text(&tx, "SHOW transaction_isolation").await, level);
        tx.commit().await.unwrap();
        pool.close().await;
    }
    let lock = AdvisoryLock::new("a").isolation(Isolation::RepeatableRead);
    let tx = lock.begin_sea_orm(&db).await.unwrap();
    assert_eq!(
        text(&tx, "SHOW transaction_isolation").await,
        "repeatable read"
    );
}

#[tokio::test]
async fn transaction_commits_on_ok_and_rolls_back_on_err() {
    let (database, pool) = Database::with_table(4).await;
    let db = db(&pool);
    for lock in locks() {
        let insert = async |tx: &DatabaseTransaction| {
            execute(tx, WRITE).await;
            Ok::<_, DbErr>(7)
        };
        assert_eq!(lock.transaction_sea_orm(&db, insert).await.unwrap(), 7);
        let fail = async |tx: &DatabaseTransaction| {
            execute(tx, WRITE).await;
            Err::<(), _>(DbErr::Custom("refused".into()))
        };
        let failed = lock.transaction_sea_orm(&db, fail).await;
        assert!(matches!(failed, Err(DbErr::Custom(_))), "{failed:?}");
        let holder = lock.begin_sea_orm(&db).await.unwrap();
        let skipped = lock.try_transaction_sea_orm(&db, insert).await;
        assert_eq!(skipped.unwrap(), None);
        holder.commit().await.unwrap();
        let done = lock.try_transaction_sea_orm(&db, insert).await;
        assert_eq!(done.unwrap(), Some(7));
    }
    assert_eq!(written(&pool).await, 4);
    database.assert_nothing_leaked(&pool).await;
}

/// sea-orm would report a commit of nothing as a success.
#[tokio::test]
async fn transaction_that_has_ended_before_its_commit_is_lost() {
    let (database, pool) = Database::with_pool(2).await;
    let db = db(&pool);
    let ended = AdvisoryLock::new("a")
        .transaction_sea_orm(&db, async |tx: &DatabaseTransaction| {
            execute(tx, "ROLLBACK").await;
            Ok::<_, Error>(())
        })
        .await;
    assert!(ended.as_ref().is_err_and(Error::is_lost), "{ended:?}");
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn refused_begin_names_the_holders_and_leaves_the_pool_whole() {
    let (database, pool) = Database::with_pool(2).await;
    let db = db(&pool);
    let mut other = database.connection().await;
    for lock in locks() {
        advisory_core::lock(&mut other, (7, 7)).await.unwrap();
        for wait in [Duration::ZERO, Duration::from_millis(20)] {
            let lock = lock.clone().timeout(wait);
            for _ in 0..3 {
                let refused = with_holders(async || lock.begin_sea_orm(&db).await).await;
                let error = refused.unwrap_err();
                let Error::NotAcquired { holders, .. } = &error else {
                    panic!("{error:?}");
                };
                assert_eq!(holders.len(), 1, "{error}");
                assert!(lock.try_begin_sea_orm(&db).await.unwrap().is_none());
            }
        }
        database.wait_until_held(1).await;
        advisory_core::unlock(&mut other, (7, 7)).await.unwrap();
    }
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn dropped_begin_leaves_the_queue_and_frees_its_connection() {
    let (database, pool) = Database::with_pool(3).await;
    let db = db(&pool);
    let holder = AdvisoryLock::new("a").begin_sea_orm(&db).await.unwrap();
    let lock = AdvisoryLock::new("a");
    database.drop_when_waiting(lock.begin_sea_orm(&db)).await;
    database.wait_until_waiting(0).await;
    holder.commit().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn future_that_is_dropped_at_any_message_leaks_nothing() {
    /// `BEGIN`, the lock, the body, the look whether it is still open, `COMMIT`.
    const MESSAGES: usize = 5;
    let (database, pool, proxy) = proxied().await;
    let db = db(&pool);
    let mut dropped = 0;
    for lock in locks() {
        for n in 1..=MESSAGES {
            proxy.reset();
            let seen = async {
                while proxy.messages().len() < n {
                    tokio::task::yield_now().await;
                }
            };
            let work = lock.transaction_sea_orm(&db, async |tx: &DatabaseTransaction| {
                execute(tx, "SELECT 1").await;
                Ok::<_, Error>(())
            });
            tokio::select! {
                biased;
                () = seen => dropped += 1,
                done = work => done.unwrap(),
            }
            database.assert_nothing_leaked(&pool).await;
        }
    }
    assert!(dropped > 0, "every call has ended before it was dropped");
}

#[tokio::test]
async fn session_lock_is_held_by_a_connection_of_the_pool() {
    let (database, pool) = Database::with_pool(3).await;
    let db = db(&pool);
    let lock = AdvisoryLock::new("a");
    let guard = lock.acquire(&db).await.unwrap();
    assert!(lock.try_acquire(&db).await.unwrap().is_none());
    guard.release().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn uncontended_lock_costs_one_round_trip() {
    let (_database, pool, proxy) = proxied().await;
    let db = db(&pool);
    for (name, lock) in ["one key", "three keys"].into_iter().zip(locks()) {
        for lock in [lock.clone(), lock.timeout(Duration::from_secs(20))] {
            // The first one looks whether the server holds locks.
            let first = lock.begin_sea_orm(&db).await.unwrap();
            first.rollback().await.unwrap();
            let tx = db.begin().await.unwrap();
            proxy.reset();
            lock.acquire_xact(&tx).await.unwrap();
            assert_eq!(proxy.round_trips(), 1, "{name}: {}", proxy.dump());
            proxy.reset();
            assert!(lock.try_acquire_xact(&tx).await.unwrap());
            assert_eq!(proxy.round_trips(), 1, "{name}: {}", proxy.dump());
            tx.rollback().await.unwrap();
        }
    }
    // BEGIN, and the lock; then the look whether it is still open, and COMMIT.
    let lock = AdvisoryLock::new("a");
    let run = lock.transaction_sea_orm(&db, async |_tx: &DatabaseTransaction| Ok::<_, Error>(()));
    proxy.reset();
    run.await.unwrap();
    // The pool's own pings are not counted.
    let spent = proxy.round_trips();
    assert!(spent <= 4, "{spent}: {}", proxy.dump());
}

async fn proxied() -> (Database, PgPool, Proxy) {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let pool = proxy.pool(2).await;
    (database, pool, proxy)
}

/// What a mock reports is not taken for a lock.
#[tokio::test]
async fn connections_to_other_databases_are_refused() {
    let unsupported = |error: &Error| {
        let Error::Unsupported { reason, .. } = error else {
            return false;
        };
        *reason == UnsupportedReason::NotPostgres
    };
    let lock = AdvisoryLock::new("a");
    for backend in [
        DatabaseBackend::Postgres,
        DatabaseBackend::MySql,
        DatabaseBackend::Sqlite,
    ] {
        let results = (0..4).map(|rows_affected| MockExecResult {
            last_insert_id: 0,
            rows_affected,
        });
        let db = MockDatabase::new(backend)
            .append_exec_results(results)
            .into_connection();
        assert!(unsupported(&lock.acquire(&db).await.unwrap_err()));
        assert!(unsupported(&lock.begin_sea_orm(&db).await.unwrap_err()));
        let tx = db.begin().await.unwrap();
        for _ in 0..6 {
            let error = lock.acquire_xact(&tx).await.unwrap_err();
            assert!(unsupported(&error), "{error:?}");
        }
    }
    let db = Db::default();
    let error = lock.begin_sea_orm(&db).await.unwrap_err();
    assert!(unsupported(&error), "{error:?}");
}

#[tokio::test]
async fn error_is_restored_from_sea_orm_s() {
    let error = Error::from(DbErr::from(Error::NotInTransaction));
    assert!(matches!(error, Error::NotInTransaction), "{error:?}");
    let error = Error::from(DbErr::from(Error::Database(sqlx::Error::PoolTimedOut)));
    assert!(
        matches!(error, Error::Database(sqlx::Error::PoolTimedOut)),
        "{error:?}"
    );
    let (_database, pool) = Database::with_pool(2).await;
    let holder = AdvisoryLock::new("a").begin(&pool).await.unwrap();
    let lock = AdvisoryLock::new("a").timeout(Duration::ZERO);
    let error: DbErr = lock.begin_sea_orm(&db(&pool)).await.unwrap_err().into();
    assert!(
        error.to_string().contains("advisory lock `a` not acquired"),
        "{error}"
    );
    assert!(Error::from(error).is_not_acquired());
    holder.rollback().await.unwrap();
}

#[tokio::test]
async fn setting_of_another_scope_is_refused() {
    let (_database, pool) = Database::with_pool(2).await;
    let tx = db(&pool)
        .begin_with_config(
            Some(IsolationLevel::ReadCommitted),
            Some(AccessMode::ReadWrite),
        )
        .await
        .unwrap();
    let lock = AdvisoryLock::new("a").isolation(Isolation::Serializable);
    let error = lock.acquire_xact(&tx).await.unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
}

/// A server that is gone is an error, and not a refusal.
#[tokio::test]
async fn cut_connection_is_an_error() {
    let (database, pool, proxy) = proxied().await;
    let db = db(&pool);
    let tx = db.begin().await.unwrap();
    let mut holder = database.connection().await;
    advisory_core::lock(&mut holder, "a").await.unwrap();
    let lock = AdvisoryLock::new("a").timeout(Duration::from_secs(20));
    let cut = async {
        database.wait_until_waiting(1).await;
        proxy.cut(Cut::Fin).await;
    };
    let (acquired, ()) = tokio::join!(lock.acquire_xact(&tx), cut);
    let error = acquired.unwrap_err();
    assert!(matches!(error, Error::Database(_)), "{error:?}");
}

/// Exclusion, and the right keys, where a session of the pooler serves many clients.
#[tokio::test]
async fn transactions_exclude_each_other_behind_a_pooler_in_transaction_mode() {
    let database = Database::new().await;
    let Some(pooler) = Pooler::try_start(&database, Pooling::Transaction, 2).await else {
        return;
    };
    let options = pooler.options();
    let pool = PgPoolOptions::new().max_connections(8);
    let db = self::db(&pool.connect_with(options).await.unwrap());
    let is_inside = Arc::new(AtomicBool::new(false));
    let section = |lock: AdvisoryLock| {
        let (db, is_inside) = (db.clone(), Arc::clone(&is_inside));
        async move {
            // Not prepared: old versions of PgBouncer mix prepared statements up.
            let section = async |tx: &DatabaseTransaction| {
                assert!(!is_inside.swap(true, Ordering::SeqCst), "two holders");
                execute(tx, "SELECT 1").await;
                is_inside.store(false, Ordering::SeqCst);
                Ok::<_, Error>(())
            };
            lock.transaction_sea_orm(&db, section).await.unwrap();
            let tx = db.begin().await.unwrap();
            lock.acquire_xact(&tx).await.unwrap();
            section(&tx).await.unwrap();
            tx.commit().await.unwrap();
        }
    };
    let tasks: Vec<_> = (0..40)
        .map(|n| tokio::spawn(section(locks()[n % 2].clone())))
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    database.wait_until_held(0).await;
}

/// Their answer is a number of rows, to which a slot adds none that matter.
#[tokio::test]
async fn permits_are_counted_in_every_transaction() {
    let (database, pool) = Database::with_pool(6).await;
    let db = db(&pool);
    let rivals = another_pool(&pool);
    let levels = [None, Some(Isolation::Serializable)];
    for level in levels {
        let export = AdvisoryLock::new("export").permits(2);
        let of_level = match level {
            Some(level) => export.clone().isolation(level),
            None => export.clone(),
        };
        let mut held = vec![
            export.begin(&rivals).await.unwrap(),
            export.begin(&rivals).await.unwrap(),
        ];
        let tx = db.begin().await.unwrap();
        for wait in [Duration::ZERO, Duration::from_millis(20)] {
            let of_level = of_level.clone().timeout(wait);
            assert!(of_level.try_begin_sea_orm(&db).await.unwrap().is_none());
            let export = export.clone().timeout(wait);
            let refused = with_holders(async || export.acquire_xact(&tx).await).await;
            match refused.unwrap_err() {
                Error::NotAcquired { holders, .. } => assert_eq!(holders.len(), 2),
                error => panic!("{error:?}"),
            }
        }
        held.pop().unwrap().rollback().await.unwrap();
        let waits = of_level.clone().timeout(Duration::from_secs(20));
        let granted = waits.begin_sea_orm(&db).await.unwrap();
        granted.rollback().await.unwrap();
        export.acquire_xact(&tx).await.unwrap();
        // Another one waits for a permit, and not for the rest of this transaction.
        let waiting = waits.begin_sea_orm(&db);
        let release = async {
            database
                .wait_until_locks("the first in the queue", |locks| locks.len() == 3)
                .await;
            held.pop().unwrap().rollback().await.unwrap();
        };
        let (waited, ()) = tokio::join!(waiting, release);
        waited.unwrap().rollback().await.unwrap();
        tx.rollback().await.unwrap();
        database.assert_nothing_leaked(&pool).await;
    }
}
