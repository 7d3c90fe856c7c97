//! Bodies, sessions and servers that misbehave.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, Isolation, advisory};
use advisory_tests::{
    Database, WRITE, abandon_a_transaction, another_pool, drop_when, is_ever, scalar, written,
};
use advisory_verbs::Verb;
use futures_util::future::join_all;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use tokio::time::timeout;

/// Asserts that each connection of the pool answers its own statements, and not earlier ones.
async fn assert_connections_answer_correctly(pool: &PgPool) {
    for n in 0..10 {
        assert!(
            pool.execute("INSERT INTO nowhere VALUES (1)")
                .await
                .is_err()
        );
        let answer: i32 = sqlx::query_scalar("SELECT $1")
            .bind(n)
            .fetch_one(pool)
            .await
            .unwrap();
        assert_eq!(answer, n);
    }
}

/// sqlx adds an error of its own to a dropped `COPY`, so the next statement on the connection gets
/// one answer too many.
#[tokio::test]
async fn dropped_copy_does_not_confuse_the_pool() {
    let (database, pool) = Database::with_table(1).await;
    let lock = AdvisoryLock::new("copy");
    for outcome in [Ok(()), Err(Error::NotInTransaction)] {
        let failed = lock.transaction(&pool, async |tx| {
            let mut copy = tx.copy_in_raw("COPY written FROM STDIN").await?;
            copy.send(b"1\n".as_slice()).await?;
            drop(copy);
            outcome
        });
        assert!(failed.await.is_err());
        assert_connections_answer_correctly(&pool).await;
        database.assert_nothing_leaked(&pool).await;
    }
    // The copy is dropped before its end.
    let dropped = lock.transaction(&pool, async |tx| {
        let mut copy = tx.copy_in_raw("COPY written FROM STDIN").await?;
        copy.send(b"1\n".as_slice()).await?;
        std::future::pending::<()>().await;
        Ok::<_, Error>(())
    });
    let copying = database.wait_until_backends("a COPY", |backends| {
        backends.iter().any(|backend| {
            backend.query.starts_with("COPY") && backend.state.as_deref() == Some("active")
        })
    });
    drop_when(copying, dropped).await;
    assert_connections_answer_correctly(&pool).await;
    database.assert_nothing_leaked(&pool).await;
    lock.begin(&pool).await.unwrap().commit().await.unwrap();
}

#[tokio::test]
async fn refused_commit_keeps_its_connection_and_its_error() {
    let (database, pool) = Database::with_pool(1).await;
    pool.execute("CREATE TABLE u (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        .await
        .unwrap();
    let pid: i32 = scalar(&pool, "SELECT pg_backend_pid()").await;
    let lock = AdvisoryLock::new("u");
    let refused = lock.transaction(&pool, async |tx| {
        tx.execute("INSERT INTO u VALUES (1), (1)").await?;
        Ok::<_, sqlx::Error>(())
    });
    let error = refused.await.unwrap_err();
    assert!(
        error.as_database_error().unwrap().is_unique_violation(),
        "{error}"
    );
    assert_connections_answer_correctly(&pool).await;
    let still: i32 = scalar(&pool, "SELECT pg_backend_pid()").await;
    assert_eq!(pid, still);
    database.assert_nothing_leaked(&pool).await;
}

/// The body drops a statement, which continues to run on the server. The transaction does not wait
/// for it.
#[tokio::test]
async fn statement_that_the_body_dropped_does_not_keep_the_lock() {
    let (database, pool) = Database::with_pool(1).await;
    let lock = AdvisoryLock::new("slow");
    let failed = lock.transaction(&pool, async |tx| {
        let slow = timeout(
            Duration::from_millis(50),
            tx.execute("SELECT pg_sleep(600)"),
        )
        .await;
        assert!(slow.is_err());
        Err::<(), _>(Error::NotInTransaction)
    });
    assert!(failed.await.is_err());
    database.assert_nothing_leaked(&pool).await;
}

/// Its answer, which may be an error, is not taken for that of the lock.
#[tokio::test]
async fn statement_that_a_hook_of_the_pool_dropped_is_not_the_answer() {
    let database = Database::new().await;
    let rival = database.pool(1).await;
    let held = AdvisoryLock::new("held").begin(&rival).await.unwrap();
    let held_lock = AdvisoryLock::new("held").timeout(Duration::from_millis(500));
    for left in ["SELECT pg_sleep(0.15)", "SELECT pg_sleep(0.15); SELECT 1/0"] {
        let pool = PgPoolOptions::new().before_acquire(move |conn, _| {
            Box::pin(async move {
                let _ = timeout(Duration::from_millis(10), conn.execute(left)).await;
                Ok(true)
            })
        });
        let pool = pool.connect_with(database.options()).await.unwrap();
        join_all(Verb::all(Verb::is_on_pool).map(async |verb| {
            let is_granted = match verb.ask(&held_lock, &pool).await {
                Err(error) if error.is_not_acquired() => false,
                asked => asked.unwrap(),
            };
            assert!(!is_granted, "{verb}");
            let free = AdvisoryLock::new(verb.to_string());
            assert!(verb.ask(&free, &pool).await.unwrap(), "{verb}");
        }))
        .await;
        pool.close().await;
    }
    held.rollback().await.unwrap();
    database.assert_nothing_leaked(&rival).await;
}

/// A busy runtime still sends the rollback.
#[test]
fn busy_runtime_does_not_keep_the_lock() {
    let watching = tokio::runtime::Runtime::new().unwrap();
    let database = watching.block_on(Database::new());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let pool = runtime.block_on(database.pool(1));
    let lock = AdvisoryLock::new("busy");
    let mut body = Box::pin(lock.transaction(&pool, async |tx| {
        tx.execute("SELECT 1").await?;
        std::future::pending::<()>().await;
        Ok::<_, Error>(())
    }));
    let held = database.wait_until_idle_after("SELECT 1");
    runtime.block_on(drop_when(held, body.as_mut()));
    let entered = runtime.enter();
    drop(body);
    drop(entered);
    // The runtime of the pool is not driven from here on.
    watching.block_on(database.wait_until_held(0));
}

#[advisory(key = "idle")]
async fn idle(pool: &PgPool) -> Result<(), Error> {
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    Ok(())
}

/// The transaction of the lock is idle by design, and must not be ended as an idle one.
#[tokio::test]
async fn transaction_of_a_body_outside_it_is_not_ended_as_idle() {
    let database = Database::new().await;
    let setting = "idle_in_transaction_session_timeout";
    let pool = database.pool_with(10, setting, "2s").await;
    assert!(is_ever(async || idle(&pool).await.is_ok()).await);
}

#[advisory(key = key, timeout = 0.02, side_effect = Skip)]
async fn skips(conn: &mut PgConnection, key: &str) -> Result<Option<()>, Error> {
    conn.execute("SELECT 1").await?;
    Ok(Some(()))
}

/// The answer to a dropped wait is not taken for the answer to the next one.
#[tokio::test]
async fn earlier_refusal_is_not_taken_for_a_new_one() {
    let (database, pool) = Database::with_pool(2).await;
    let held = AdvisoryLock::all(["held", "held too"])
        .begin(&pool)
        .await
        .unwrap();
    let mut conn = database.connection().await;
    tokio::select! {
        _ = skips(&mut conn, "held") => {}
        () = database.wait_until_waiting(1) => {}
    }
    assert_eq!(skips(&mut conn, "free").await.unwrap(), Some(()));

    // In a transaction, which the refused wait has aborted. The error must report that, and not
    // that the lock is held. On a busy machine the wait may end before it is dropped, and then the
    // next one is dropped.
    let dropped = AdvisoryLock::all(["held", "held too"]).timeout(Duration::from_secs(1));
    let mut tx = loop {
        let mut tx = conn.begin().await.unwrap();
        tokio::select! {
            _ = dropped.acquire_xact(&mut tx) => tx.rollback().await.unwrap(),
            () = database.wait_until_waiting(1) => break tx,
        }
    };
    database.wait_until_waiting(0).await;
    for error in [
        AdvisoryLock::all(["free", "free too"])
            .acquire_xact(&mut tx)
            .await
            .unwrap_err(),
        advisory_core::xact_lock(&mut tx, "free").await.unwrap_err(),
    ] {
        assert!(
            error.to_string().contains("transaction is aborted"),
            "{error}"
        );
    }
    drop(tx);
    held.rollback().await.unwrap();
}

#[advisory(key = "raw")]
async fn on_connection(conn: &mut PgConnection) -> Result<(), Error> {
    conn.execute(WRITE).await?;
    Ok(())
}

/// A transaction that was begun with raw SQL is not committed by the crate.
#[tokio::test]
async fn transaction_begun_with_raw_sql_is_refused_and_left_as_it_is() {
    let (database, pool) = Database::with_table(1).await;
    let mut conn = database.connection().await;
    conn.execute("BEGIN; INSERT INTO written VALUES (1)")
        .await
        .unwrap();
    let refused = on_connection(&mut conn).await.unwrap_err();
    assert!(matches!(refused, Error::Unsupported { .. }), "{refused:?}");
    conn.execute("COMMIT").await.unwrap();
    assert_eq!(written(&pool).await, 1);
}

/// The crate does not change the savepoints of the user.
#[tokio::test]
async fn savepoint_of_the_user_is_left_as_it_is() {
    let (database, pool) = Database::with_table(1).await;
    let several = AdvisoryLock::all(["a", "b"]);
    let mut tx = pool.begin().await.unwrap();
    tx.execute("SAVEPOINT advisory; INSERT INTO written VALUES (1)")
        .await
        .unwrap();
    several.acquire_xact(&mut tx).await.unwrap();
    tx.execute("SELECT 1/0").await.unwrap_err();
    assert!(
        several
            .acquire_xact(&mut tx)
            .await
            .unwrap_err()
            .to_string()
            .contains("transaction is aborted")
    );
    assert!(
        tx.execute("SELECT 1").await.is_err(),
        "the transaction is not usable again"
    );
    tx.execute("ROLLBACK TO SAVEPOINT advisory").await.unwrap();
    tx.commit().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

/// An abandoned transaction of other code is neither committed nor joined, and fails no verb if it
/// is aborted.
#[tokio::test]
async fn abandoned_transaction_in_the_pool_is_not_used() {
    let (database, pool) = Database::with_table(2).await;
    let left = [
        "BEGIN ISOLATION LEVEL REPEATABLE READ; INSERT INTO written VALUES (1)",
        "BEGIN READ ONLY; SELECT 1; SAVEPOINT theirs",
        "BEGIN; INSERT INTO written VALUES (1); SELECT 1/0",
    ];
    let one = AdvisoryLock::new("one");
    let isolated = one.clone().isolation(Isolation::Serializable);
    let limit = Duration::from_secs(20);
    let locks = [
        (one.clone(), false),
        (one.timeout(limit), false),
        (AdvisoryLock::all(["one", "two"]), false),
        (isolated, true),
    ];
    let cases = locks.iter().flat_map(|lock| left.map(|left| (lock, left)));
    for ((lock, is_isolated), abandoned) in cases {
        let is_isolated = *is_isolated;
        for verb in Verb::all(Verb::is_on_pool) {
            if is_isolated && !verb.takes_isolation() {
                continue;
            }
            abandon_a_transaction(&pool, abandoned).await;
            let level = verb.run(lock, &pool, move |held| {
                Box::pin(async move {
                    if let Some(conn) = held
                        && !is_isolated
                    {
                        let level: String = scalar(conn, "SHOW transaction_isolation").await;
                        assert_eq!(level, "read committed", "{verb}");
                    }
                    Ok::<_, Error>(())
                })
            });
            assert!(level.await.unwrap(), "{verb}");
        }
    }
    // One that no verb has met may be left.
    pool.close().await;
    let other = another_pool(&pool);
    assert_eq!(written(&other).await, 0);
    database.assert_nothing_leaked(&other).await;
}
