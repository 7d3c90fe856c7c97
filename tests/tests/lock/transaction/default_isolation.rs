//! Whatever the default isolation level is, a transaction that is opened under a lock sees what the
//! last holder of the lock has committed.

use std::sync::Arc;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, advisory};
use advisory_tests::{Database, Pooler, Pooling, by_depth, sample, scalar};
use advisory_verbs::{Access, Verb};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use tokio::task::JoinSet;

const LEVELS: [&str; 3] = ["read committed", "repeatable read", "serializable"];
const TASKS: usize = 6;

/// How a default isolation level is set.
#[derive(Clone, Copy, Debug)]
enum Source {
    Role,
    Database,
    Options,
    AfterConnect,
}

impl Source {
    const ALL: [Self; 4] = [
        Self::Role,
        Self::Database,
        Self::Options,
        Self::AfterConnect,
    ];

    /// A pool whose sessions have this default level.
    async fn pool(self, database: &Database, level: &str) -> PgPool {
        let mut options = database.options();
        let mut pool = PgPoolOptions::new().max_connections(TASKS.try_into().unwrap());
        let name = database.name();
        let set = format!("SET default_transaction_isolation = '{level}'");
        match self {
            Self::Role => {
                let role = format!("role_of_{name}");
                let alter = format!(
                    "CREATE ROLE \"{role}\" LOGIN SUPERUSER; \
                     ALTER ROLE \"{role}\" IN DATABASE \"{name}\" {set}"
                );
                database.execute(alter).await;
                options = options.username(&role);
            }
            Self::Database => {
                let alter = format!("ALTER DATABASE \"{name}\" {set}");
                database.execute(alter).await;
            }
            Self::Options => options = options.options([("default_transaction_isolation", level)]),
            Self::AfterConnect => {
                pool = pool.after_connect(move |conn, _| {
                    let set = set.clone();
                    Box::pin(async move {
                        conn.execute(sqlx::AssertSqlSafe(set)).await?;
                        Ok(())
                    })
                });
            }
        }
        pool.connect_with(options).await.unwrap()
    }
}

/// Removes the role that [`Source::Role`] made.
async fn remove_role(database: &Database) {
    let role = format!("role_of_{}", database.name());
    let drop = format!("DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\"");
    database.execute(drop).await;
}

/// Adds the next number. If the greatest number that it reads is not the last one, the insertion
/// violates the primary key.
async fn append(conn: &mut PgConnection) -> Result<(), Error> {
    let last: i64 = sqlx::query_scalar("SELECT COALESCE(max(n), 0) FROM series")
        .persistent(false)
        .fetch_one(&mut *conn)
        .await?;
    tokio::time::sleep(Duration::from_millis(2)).await;
    sqlx::query("INSERT INTO series VALUES ($1)")
        .bind(last + 1)
        .persistent(false)
        .execute(conn)
        .await?;
    Ok(())
}

/// The verbs that open a transaction in which their body runs.
fn verbs() -> Vec<Verb> {
    let verbs = Verb::all(Verb::opens_transaction);
    verbs
        .filter(|verb| verb.access() == Access::Inside)
        .collect()
}

/// Appends under the lock; `false` if the lock was not acquired.
async fn append_by(verb: Verb, lock: &AdvisoryLock, pool: &PgPool) -> Result<bool, Error> {
    let appended = verb.run(lock, pool, |held| {
        let conn = held.expect("the body runs in the transaction");
        Box::pin(append(conn))
    });
    appended.await
}

#[advisory(key = lock)]
async fn on_connection(conn: &mut PgConnection, lock: &AdvisoryLock) -> Result<(), Error> {
    append(conn).await
}

fn locks() -> [AdvisoryLock; 4] {
    let one = AdvisoryLock::new("one");
    let timeout = Duration::from_mins(1);
    [
        one.clone(),
        one.clone().timeout(timeout),
        one.timeout(timeout).polling(Duration::from_millis(2)),
        AdvisoryLock::all(["one", "two"]).timeout(timeout),
    ]
}

/// All tasks append by all verbs, and none reads what was there before another one committed.
async fn assert_no_stale_read(database: &Database, pool: &PgPool, context: &str) {
    let before = count(database).await;
    let locks: Vec<_> = sample(fastrand::usize(..2), locks()).collect();
    for lock in &locks {
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let (lock, pool, context) = (lock.clone(), pool.clone(), context.to_owned());
            tasks.spawn(async move {
                let mut verbs = verbs();
                let count = verbs.len();
                verbs.rotate_left(task % count);
                for verb in verbs {
                    loop {
                        let appended = append_by(verb, &lock, &pool).await;
                        match appended {
                            Ok(true) => break,
                            Ok(false) => tokio::time::sleep(Duration::from_millis(1)).await,
                            Err(error) => panic!("{context}: {verb}, {lock:?}: {error}"),
                        }
                    }
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    }
    let appended = usize::try_from(count(database).await - before).unwrap();
    assert_eq!(appended, locks.len() * TASKS * verbs().len(), "{context}");
}

async fn count(database: &Database) -> i64 {
    let mut conn = database.connection().await;
    scalar(&mut conn, "SELECT count(*) FROM series").await
}

/// The level of the transactions that the verbs open.
async fn level_of_begin(pool: &PgPool) -> String {
    let mut tx = AdvisoryLock::new("level").begin(pool).await.unwrap();
    scalar(&mut *tx, "SHOW transaction_isolation").await
}

async fn database_with_series() -> Database {
    let database = Database::new().await;
    let create = "CREATE TABLE series (n bigint PRIMARY KEY)";
    database.execute(create).await;
    database
}

#[tokio::test(flavor = "multi_thread")]
async fn every_verb_reads_what_the_last_holder_committed_at_every_default_level() {
    let database = database_with_series().await;
    for level in LEVELS {
        for source in sample(fastrand::usize(..2), Source::ALL) {
            let pool = source.pool(&database, level).await;
            let context = format!("{level}, set by {source:?}");
            assert_no_stale_read(&database, &pool, &context).await;
            // The level itself stays as it was set.
            assert_eq!(level_of_begin(&pool).await, level, "{context}");
            database.assert_nothing_leaked(&pool).await;
            pool.close().await;
            if matches!(source, Source::Role) {
                remove_role(&database).await;
            }
        }
        let reset = "RESET default_transaction_isolation";
        let reset = format!("ALTER DATABASE \"{}\" {reset}", database.name());
        database.execute(reset).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_verb_reads_what_the_last_holder_committed_behind_a_pooler() {
    let database = database_with_series().await;
    for level in sample(fastrand::usize(..2), LEVELS) {
        let name = database.name();
        let set =
            format!("ALTER DATABASE \"{name}\" SET default_transaction_isolation = '{level}'");
        database.execute(set).await;
        let Some(pooler) = Pooler::try_start(&database, Pooling::Transaction, 4).await else {
            return;
        };
        let pool = pooler.pool(TASKS.try_into().unwrap()).await;
        assert_no_stale_read(&database, &pool, &format!("{level}, behind a pooler")).await;
        database.assert_nothing_leaked(&pool).await;
        pool.close().await;
    }
}

/// A connection of the caller keeps the session locks that the caller holds on it, and gets no
/// other.
#[tokio::test]
async fn connection_of_the_caller_keeps_its_own_locks_at_every_default_level() {
    let database = Arc::new(database_with_series().await);
    for level in LEVELS {
        let options: PgConnectOptions = database
            .options()
            .options([("default_transaction_isolation", level)]);
        let mut conn = PgConnection::connect_with(&options).await.unwrap();
        let lock = AdvisoryLock::new("one");
        advisory_core::lock(&mut conn, "one").await.unwrap();
        on_connection(&mut conn, &lock).await.unwrap();
        assert_eq!(database.advisory_locks().await.len(), 1, "{level}");
        assert!(advisory_core::unlock(&mut conn, "one").await.unwrap());
        assert!(database.advisory_locks().await.is_empty(), "{level}");
        // Refused in time, it holds nothing.
        let pool = database.pool(1).await;
        let held = lock.begin(&pool).await.unwrap();
        let brief = lock.clone().timeout(Duration::from_millis(50));
        let refused = on_connection(&mut conn, &brief).await.unwrap_err();
        assert!(refused.is_not_acquired(), "{level}: {refused}");
        held.rollback().await.unwrap();
        database.wait_until_held(0).await;
        on_connection(&mut conn, &brief).await.unwrap();
        assert!(database.advisory_locks().await.is_empty(), "{level}");
        conn.close().await.unwrap();
        database.assert_nothing_leaked(&pool).await;
    }
}

/// A call that is dropped after any number of polls leaves nothing on the caller's connection.
#[tokio::test]
async fn dropped_call_on_a_connection_leaks_nothing_at_another_default_level() {
    let database = database_with_series().await;
    let pool = database.pool_with(1, "default_transaction_isolation", "serializable");
    let mut conn = pool.await.acquire().await.unwrap();
    for lock in locks() {
        for polls in 0.. {
            let call = on_connection(&mut conn, &lock);
            let is_over = advisory_tests::drop_after(polls, call).await.is_some();
            // The next use of the connection waits for what the dropped call has sent.
            conn.ping().await.unwrap();
            assert!(database.advisory_locks().await.is_empty(), "{polls} polls");
            let backends = database.backends().await;
            assert!(
                backends.iter().all(|backend| !backend.in_transaction),
                "{polls} polls: {backends:?}"
            );
            if is_over {
                break;
            }
        }
    }
}

/// The session takes the lock before the transaction does, and a cancel can arrive between.
#[tokio::test]
async fn dropped_and_cancelled_call_leaves_no_lock_in_the_session() {
    let database = Database::new().await;
    let options = database
        .options()
        .options([("default_transaction_isolation", "serializable")]);
    let mut conn = PgConnection::connect_with(&options).await.unwrap();
    let pid: i32 = scalar(&mut conn, "SELECT pg_backend_pid()").await;
    let mut rival = database.connection().await;
    let lock = AdvisoryLock::new(1);
    let (mut granted, mut cancelled) = (0, 0);
    for _ in 0..by_depth(300, 3_000) {
        advisory_core::lock(&mut rival, 1).await.unwrap();
        tokio::select! {
            // The last cancel may come late, and end this call.
            _ = on_connection(&mut conn, &lock) => {}
            () = database.wait_until_waiting(1) => {}
        }
        // The work between is a fraction of a millisecond.
        let end = "SELECT pg_advisory_unlock(1), (SELECT count(*) FROM generate_series(1, $1)), \
                   pg_cancel_backend($2)";
        let end = sqlx::query(end).bind(fastrand::i32(0..10_000)).bind(pid);
        end.execute(&mut rival).await.unwrap();
        match conn.ping().await {
            Ok(()) => granted += 1,
            Err(_) => cancelled += 1,
        }
        database.wait_until_held(0).await;
    }
    println!("{granted} granted, {cancelled} cancelled");
    assert!(granted > 0 && cancelled > 0, "the cancels have no effect");
}
