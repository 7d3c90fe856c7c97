//! Bodies, sessions and servers that misbehave.

use std::pin::pin;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Error, advisory};
use advisory_tests::Database;
use futures_util::future::{Either, select};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool, Row as _};
use tokio::time::timeout;

async fn with_table(database: &Database, connections: u32) -> PgPool {
    let pool = database.pool(connections).await;
    pool.execute("CREATE TABLE written (n text)").await.unwrap();
    pool
}

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
    let database = Database::new().await;
    let pool = with_table(&database, 1).await;
    let lock = AdvisoryLock::new("copy");
    for outcome in [Ok(()), Err(Error::NotInTransaction)] {
        let failed = lock.transaction(&pool, async |tx| {
            let mut copy = tx.copy_in_raw("COPY written FROM STDIN").await?;
            copy.send(b"hello\n".as_slice()).await?;
            drop(copy);
            outcome
        });
        assert!(failed.await.is_err());
        assert_connections_answer_correctly(&pool).await;
        database.assert_nothing_leaked(&pool).await;
    }
    // The copy is dropped before its end.
    {
        let dropped = pin!(lock.transaction(&pool, async |tx| {
            let mut copy = tx.copy_in_raw("COPY written FROM STDIN").await?;
            copy.send(b"hello\n".as_slice()).await?;
            std::future::pending::<()>().await;
            Ok::<_, Error>(())
        }));
        let copying = pin!(database.wait_until_backends("a COPY", |backends| {
            backends.iter().any(|backend| {
                backend.query.starts_with("COPY") && backend.state.as_deref() == Some("active")
            })
        }));
        assert!(matches!(select(dropped, copying).await, Either::Right(_)));
    }
    assert_connections_answer_correctly(&pool).await;
    database.assert_nothing_leaked(&pool).await;
    lock.begin(&pool).await.unwrap().commit().await.unwrap();
}

#[tokio::test]
async fn refused_commit_keeps_its_connection_and_its_error() {
    let database = Database::new().await;
    let pool = database.pool(1).await;
    pool.execute("CREATE TABLE u (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        .await
        .unwrap();
    let pid: i32 = pool
        .fetch_one("SELECT pg_backend_pid()")
        .await
        .unwrap()
        .get(0);
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
    let still: i32 = pool
        .fetch_one("SELECT pg_backend_pid()")
        .await
        .unwrap()
        .get(0);
    assert_eq!(pid, still);
    database.assert_nothing_leaked(&pool).await;
}

/// The body drops a statement, which continues to run on the server. The transaction does not wait
/// for it.
#[tokio::test]
async fn statement_that_the_body_dropped_does_not_keep_the_lock() {
    let database = Database::new().await;
    let pool = database.pool(1).await;
    let started = Instant::now();
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
    assert!(
        started.elapsed() < Duration::from_mins(1),
        "{:?}",
        started.elapsed()
    );
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
    runtime.block_on(async {
        let held = pin!(database.wait_until_backends("an idle body", |backends| {
            backends
                .iter()
                .any(|b| b.state.as_deref() == Some("idle in transaction") && b.query == "SELECT 1")
        }));
        assert!(matches!(
            select(body.as_mut(), held).await,
            Either::Right(_)
        ));
    });
    let entered = runtime.enter();
    drop(body);
    drop(entered);
    // The runtime of the pool is not driven from here on.
    watching.block_on(database.wait_until_held(0));
}

#[advisory(key = "beside")]
async fn beside(pool: &PgPool, inside: &AtomicI32, database: &Database) -> Result<(), Error> {
    struct Leaves<'i>(&'i AtomicI32);
    impl Drop for Leaves<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    assert_eq!(
        inside.fetch_add(1, Ordering::SeqCst),
        0,
        "two bodies at once"
    );
    let _leaves = Leaves(inside);
    let mut conn = database.connection().await;
    for lock in database.advisory_locks().await {
        sqlx::query("SELECT pg_terminate_backend($1)")
            .bind(lock.pid)
            .execute(&mut conn)
            .await?;
    }
    std::future::pending().await
}

/// A body that does not use the connection with its lock is notified of a loss as well.
#[tokio::test]
async fn body_outside_its_transaction_is_dropped_with_the_transaction() {
    let database = Database::new().await;
    let pool = database.pool(2).await;
    let inside = AtomicI32::new(0);
    for _ in 0..2 {
        let lost = timeout(Duration::from_secs(20), beside(&pool, &inside, &database))
            .await
            .unwrap();
        assert!(lost.unwrap_err().is_lost());
    }
    database.assert_nothing_leaked(&pool).await;
}

#[advisory(key = "idle")]
async fn idle(pool: &PgPool) -> Result<(), Error> {
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    Ok(())
}

/// The transaction of the lock is idle by design, and must not be ended as an idle one.
#[tokio::test]
async fn transaction_of_a_body_outside_it_is_not_ended_as_idle() {
    let database = Database::new().await;
    let options = database
        .options()
        .options([("idle_in_transaction_session_timeout", "800ms")]);
    let pool = PgPool::connect_with(options).await.unwrap();
    idle(&pool).await.unwrap();
}

#[advisory(key = key, timeout = 0.02, side_effect = Skip)]
async fn skips(conn: &mut PgConnection, key: &str) -> Result<Option<()>, Error> {
    conn.execute("SELECT 1").await?;
    Ok(Some(()))
}

/// The answer to a dropped wait is not taken for the answer to the next one.
#[tokio::test]
async fn earlier_refusal_is_not_taken_for_a_new_one() {
    let database = Database::new().await;
    let pool = database.pool(2).await;
    let held = AdvisoryLock::all(["held", "held too"])
        .begin(&pool)
        .await
        .unwrap();
    let mut conn = database.connection().await;
    {
        let dropped = pin!(skips(&mut conn, "held"));
        let waits = pin!(database.wait_until_waiting(1));
        select(dropped, waits).await;
    }
    assert_eq!(skips(&mut conn, "free").await.unwrap(), Some(()));

    // In a transaction, which the refused wait has aborted. The error must report that, and not
    // that the lock is held.
    let mut tx = conn.begin().await.unwrap();
    {
        // Long enough to be observed while it waits, also on a busy machine.
        let dropped = AdvisoryLock::all(["held", "held too"]).timeout(Duration::from_millis(500));
        let dropped = pin!(dropped.acquire_xact(&mut tx));
        let waits = pin!(database.wait_until_waiting(1));
        select(dropped, waits).await;
    }
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
    conn.execute("INSERT INTO written VALUES ('mine')").await?;
    Ok(())
}

/// A transaction that was begun with raw SQL is not committed by the crate.
#[tokio::test]
async fn transaction_begun_with_raw_sql_is_refused_and_left_as_it_is() {
    let database = Database::new().await;
    let pool = with_table(&database, 1).await;
    let mut conn = database.connection().await;
    conn.execute("BEGIN; INSERT INTO written VALUES ('theirs')")
        .await
        .unwrap();
    let refused = on_connection(&mut conn).await.unwrap_err();
    assert!(matches!(refused, Error::Unsupported { .. }), "{refused:?}");
    conn.execute("COMMIT").await.unwrap();
    let written: i64 = sqlx::query_scalar("SELECT count(*) FROM written")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(written, 1);
}

/// A role without the privilege to see the holder gets "not acquired", and its connection is
/// usable.
#[tokio::test]
async fn refusal_without_privileges_names_no_holder() {
    let database = Database::new().await;
    let mut owner = database.connection().await;
    let role = format!("{}_reader", database.name());
    for statement in [
        format!("CREATE ROLE {role} LOGIN"),
        "REVOKE SELECT ON pg_catalog.pg_locks FROM PUBLIC".into(),
        "REVOKE SELECT ON pg_catalog.pg_stat_activity FROM PUBLIC".into(),
    ] {
        owner.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
    }
    advisory_core::lock(&mut owner, "held").await.unwrap();
    let mut conn = PgConnection::connect_with(&database.options().username(&role))
        .await
        .unwrap();
    for wait in [Duration::ZERO, Duration::from_millis(20)] {
        let mut tx = conn.begin().await.unwrap();
        let error = AdvisoryLock::new("held")
            .timeout(wait)
            .acquire_xact(&mut tx)
            .await
            .unwrap_err();
        let Error::NotAcquired { holders, .. } = &error else {
            panic!("{error:?}")
        };
        assert!(holders.is_empty());
        tx.execute("SELECT 1").await.unwrap();
        tx.commit().await.unwrap();
    }
    conn.close().await.unwrap();
    owner
        .execute(sqlx::AssertSqlSafe(format!("DROP ROLE {role}")))
        .await
        .unwrap();
}

/// The crate does not change the savepoints of the user.
#[tokio::test]
async fn savepoint_of_the_user_is_left_as_it_is() {
    let database = Database::new().await;
    let pool = with_table(&database, 1).await;
    let several = AdvisoryLock::all(["a", "b"]);
    let mut tx = pool.begin().await.unwrap();
    tx.execute("SAVEPOINT advisory; INSERT INTO written VALUES ('1')")
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

/// Leaves a pooled connection in a transaction, as a dropped `begin` of sqlx does.
async fn abandon_a_transaction(pool: &PgPool, statement: &'static str) {
    let mut conn = pool.acquire().await.unwrap();
    let _ = conn.execute(statement).await;
}

/// An abandoned transaction of other code is neither committed nor joined.
#[tokio::test]
async fn abandoned_transaction_in_the_pool_is_not_used() {
    let database = Database::new().await;
    let pool = with_table(&database, 1).await;
    let left = [
        "BEGIN ISOLATION LEVEL REPEATABLE READ; INSERT INTO written VALUES ('theirs')",
        "BEGIN READ ONLY; SELECT 1; SAVEPOINT theirs",
    ];
    let limit = Duration::from_secs(20);
    let locks = [
        AdvisoryLock::new("one"),
        AdvisoryLock::new("one").timeout(limit),
        AdvisoryLock::all(["one", "two"]),
    ];
    for (lock, abandoned) in locks.iter().flat_map(|lock| left.map(|left| (lock, left))) {
        let isolated = lock
            .clone()
            .isolation(advisory_core::Isolation::Serializable);
        abandon_a_transaction(&pool, abandoned).await;
        let mut tx = lock.begin(&pool).await.unwrap();
        let level: String = sqlx::query_scalar("SHOW transaction_isolation")
            .fetch_one(&mut *tx)
            .await
            .unwrap();
        assert_eq!(level, "read committed");
        tx.commit().await.unwrap();

        abandon_a_transaction(&pool, abandoned).await;
        lock.try_begin(&pool)
            .await
            .unwrap()
            .unwrap()
            .commit()
            .await
            .unwrap();
        abandon_a_transaction(&pool, abandoned).await;
        isolated.begin(&pool).await.unwrap().commit().await.unwrap();
        abandon_a_transaction(&pool, abandoned).await;
        isolated
            .try_begin(&pool)
            .await
            .unwrap()
            .unwrap()
            .commit()
            .await
            .unwrap();
        abandon_a_transaction(&pool, abandoned).await;
        lock.acquire(&pool).await.unwrap().release().await.unwrap();
        abandon_a_transaction(&pool, abandoned).await;
        lock.try_acquire(&pool)
            .await
            .unwrap()
            .unwrap()
            .release()
            .await
            .unwrap();
    }
    let written: i64 = sqlx::query_scalar("SELECT count(*) FROM written")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(written, 0);
    database.assert_nothing_leaked(&pool).await;
}
