//! A server that refuses what the library asks beside the lock: a login, or the reading of a view.

use std::time::Duration;

use advisory_core::{AdvisoryLock, UnsupportedReason, monitor};
use advisory_tests::{BackendRow, Database, Trace};
use advisory_verbs::{holders, unsupported, with_connection};
use sqlx::postgres::{PgPool, PgPoolOptions};
use tracing::Level;

/// Records the library's warnings.
fn warnings() -> Trace {
    Trace::start(|metadata| {
        metadata.target().starts_with("advisory_core") && *metadata.level() <= Level::WARN
    })
}

/// A database, and a pool of connections of a role without privileges, which are all open.
struct Restricted {
    database: Database,
    pool: PgPool,
}

impl Restricted {
    async fn new(connections: u32) -> Self {
        let database = Database::new().await;
        let pool = PgPoolOptions::new().max_connections(connections);
        let pool = pool.connect_with(database.role().await).await.unwrap();
        let all = (0..connections).map(|_| pool.acquire());
        drop(futures_util::future::try_join_all(all).await.unwrap());
        Self { database, pool }
    }

    async fn alter_role(&self, option: &str) {
        let role = self.database.name();
        let alter = format!("ALTER ROLE \"{role}\" {option}");
        self.database.execute(alter).await;
    }
}

#[tokio::test]
async fn refused_login_is_not_tried_again_with_every_lock() {
    let warnings = warnings();
    let restricted = Restricted::new(3).await;
    restricted.alter_role("NOLOGIN").await;
    let pool = &restricted.pool;
    let lock = AdvisoryLock::new("one");
    let held = lock.acquire(pool).await.unwrap();
    for _ in 0..5 {
        assert!(lock.try_acquire(pool).await.unwrap().is_none());
    }
    // Several at once, many times each.
    let polling = lock
        .polling(Duration::from_millis(5))
        .timeout(Duration::from_millis(200));
    let (one, two) = tokio::join!(
        with_connection(async || polling.acquire(pool).await),
        with_connection(async || polling.try_acquire(pool).await),
    );
    assert!(one.unwrap_err().is_not_acquired() && two.unwrap().is_none());
    held.release().await.unwrap();
    // After a second, and then after two, it is tried again.
    let warnings = warnings.take();
    assert!((1..=4).contains(&warnings.len()), "{warnings:#?}");
    assert!(warnings[0].contains("cannot tell whether"), "{warnings:?}");
}

/// As a server that starts, or has no connection left for a moment.
#[tokio::test]
async fn session_is_known_soon_after_a_login_was_refused() {
    let restricted = Restricted::new(2).await;
    let lock = AdvisoryLock::new("one");
    let is_known = async || {
        let mut guard = lock.acquire(&restricted.pool).await.unwrap();
        let is_known = guard.connection().await.is_ok();
        guard.release().await.unwrap();
        is_known
    };
    restricted.alter_role("NOLOGIN").await;
    assert!(!is_known().await, "a transaction holds the lock");
    restricted.alter_role("LOGIN").await;
    let known = async {
        while !is_known().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let known = tokio::time::timeout(Duration::from_secs(15), known).await;
    known.expect("a transaction holds all locks for a moment only");
}

#[tokio::test]
async fn wait_that_cannot_be_cancelled_is_reported_once() {
    let warnings = warnings();
    // This role does not see what the sessions of another role run.
    let blind = Restricted::new(1).await;
    let database = &blind.database;
    let pool = database.pool(2).await;
    let lock = AdvisoryLock::new("one").cancel_via(&blind.pool);
    let mut reported = Vec::new();
    for attempt in 0..2 {
        let held = AdvisoryLock::new("one").begin(&pool).await.unwrap();
        let mut tx = pool.begin().await.unwrap();
        database.drop_when_waiting(lock.acquire_xact(&mut tx)).await;
        // The search is over when its connection is closed: the pool has one.
        for (state, count) in [("a search", 4), ("no search", 3)] {
            let is_reached = |backends: &[BackendRow]| backends.len() == count;
            database.wait_until_backends(state, is_reached).await;
        }
        held.rollback().await.unwrap();
        tx.rollback().await.unwrap();
        while attempt == 0 && reported.is_empty() {
            tokio::task::yield_now().await;
            reported = warnings.take();
        }
    }
    reported.extend(warnings.take());
    assert_eq!(reported.len(), 1, "{reported:#?}");
    assert!(reported[0].contains("was not found"), "{reported:?}");
}

#[tokio::test]
async fn dropped_wait_does_not_repeat_a_refused_login() {
    let warnings = warnings();
    let restricted = Restricted::new(2).await;
    restricted.alter_role("NOLOGIN").await;
    let (database, pool) = (&restricted.database, &restricted.pool);
    let held = AdvisoryLock::new("one").begin(pool).await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    let lock = AdvisoryLock::new("one").cancel_via(pool);
    database.drop_when_waiting(lock.acquire_xact(&mut tx)).await;
    // At once, and not after 30 s of attempts.
    let reported = async {
        while warnings.take().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), reported)
        .await
        .unwrap();
    held.rollback().await.unwrap();
    tx.rollback().await.unwrap();
}

#[tokio::test]
async fn missing_right_on_a_view_is_named_and_breaks_no_lock() {
    for view in ["pg_locks", "pg_stat_activity"] {
        let restricted = Restricted::new(4).await;
        let (database, pool) = (&restricted.database, &restricted.pool);
        database
            .execute(format!("REVOKE SELECT ON pg_catalog.{view} FROM public"))
            .await;

        let lock = AdvisoryLock::new("one");
        let guard = lock.acquire(pool).await.unwrap();
        let refused = [
            monitor::locks(pool).await.unwrap_err(),
            monitor::locks_of_all_databases(pool).await.unwrap_err(),
            monitor::holders(pool, "one").await.unwrap_err(),
            monitor::waiters(pool, "one").await.unwrap_err(),
        ];
        for error in refused {
            let reason = unsupported(&error);
            assert!(matches!(reason, UnsupportedReason::MissingPrivilege { .. }));
            let text = error.to_string();
            assert!(
                text.contains(view) && text.contains("GRANT SELECT"),
                "{text}"
            );
        }
        // A refusal is still a refusal, and names no holders.
        let short = lock.clone().timeout(Duration::from_millis(20));
        let mut tx = pool.begin().await.unwrap();
        for refused in [
            with_connection(async || short.acquire(pool).await.map(drop)).await,
            with_connection(async || short.begin(pool).await.map(drop)).await,
            short.acquire_xact(&mut tx).await,
        ] {
            assert_eq!(holders(&refused.unwrap_err()), []);
        }
        guard.release().await.unwrap();
        lock.acquire_xact(&mut tx).await.unwrap();
        tx.rollback().await.unwrap();
        lock.begin(pool).await.unwrap().rollback().await.unwrap();
        database.assert_nothing_leaked(pool).await;
    }
}
