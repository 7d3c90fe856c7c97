//! A server that refuses what the library asks beside the lock: a login, or the reading of a view.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, UnsupportedReason, monitor};
use advisory_tests::Database;
use advisory_verbs::with_connection;
use futures_util::future::{Either, select};
use sqlx::postgres::{PgPool, PgPoolOptions};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// The messages of the library's warnings in this thread.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("advisory_core") && *metadata.level() <= Level::WARN
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut Message(&self.0));
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Message<'w>(&'w Mutex<Vec<String>>);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0.lock().unwrap().push(format!("{value:?}"));
        }
    }
}

impl Warnings {
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// A role without privileges, and a pool of its connections, which are all open.
struct Restricted {
    database: Database,
    role: String,
    pool: PgPool,
}

impl Restricted {
    async fn new(connections: u32) -> Self {
        let database = Database::new().await;
        let role = format!("restricted_{}", database.name());
        let create = format!("CREATE ROLE \"{role}\" LOGIN PASSWORD 'restricted'");
        database.execute(create).await;
        let options = database.options().username(&role).password("restricted");
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .connect_with(options)
            .await
            .unwrap();
        let all = (0..connections).map(|_| pool.acquire());
        drop(futures_util::future::try_join_all(all).await.unwrap());
        Self {
            database,
            role,
            pool,
        }
    }

    async fn refuse_logins(&self) {
        let role = &self.role;
        self.database
            .execute(format!("ALTER ROLE \"{role}\" NOLOGIN"))
            .await;
    }

    async fn allow_logins(&self) {
        let role = &self.role;
        self.database
            .execute(format!("ALTER ROLE \"{role}\" LOGIN"))
            .await;
    }

    async fn drop_role(self) {
        self.pool.close().await;
        let role = &self.role;
        self.database.execute(format!("DROP ROLE \"{role}\"")).await;
    }
}

#[tokio::test]
async fn refused_login_is_not_tried_again_with_every_lock() {
    let warnings = Warnings::default();
    let _listening = tracing::subscriber::set_default(warnings.clone());
    let restricted = Restricted::new(3).await;
    restricted.refuse_logins().await;
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
    let (one, two) = tokio::join!(polling.acquire(pool), polling.try_acquire(pool));
    assert!(one.unwrap_err().is_not_acquired() && two.unwrap().is_none());
    held.release().await.unwrap();
    // After a second, and then after two, it is tried again.
    let warnings = warnings.all();
    assert!((1..=4).contains(&warnings.len()), "{warnings:#?}");
    assert!(warnings[0].contains("cannot tell whether"), "{warnings:?}");
    restricted.drop_role().await;
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
    restricted.refuse_logins().await;
    assert!(!is_known().await, "a transaction holds the lock");
    restricted.allow_logins().await;
    let known = async {
        while !is_known().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let known = tokio::time::timeout(Duration::from_secs(15), known).await;
    known.expect("a transaction holds all locks for a moment only");
    restricted.drop_role().await;
}

/// Drops a wait when it is in the queue.
async fn drop_wait(database: &Database, wait: impl Future) {
    let waits = pin!(database.wait_until_waiting(1));
    assert!(matches!(select(pin!(wait), waits).await, Either::Right(_)));
}

#[tokio::test]
async fn wait_that_cannot_be_cancelled_is_reported_once() {
    let warnings = Warnings::default();
    let _listening = tracing::subscriber::set_default(warnings.clone());
    // This role does not see what the sessions of another role run.
    let blind = Restricted::new(1).await;
    let pool = blind.database.pool(2).await;
    let lock = AdvisoryLock::new("one").cancel_via(&blind.pool);
    for attempt in 0..2 {
        let held = AdvisoryLock::new("one").begin(&pool).await.unwrap();
        let mut tx = pool.begin().await.unwrap();
        drop_wait(&blind.database, lock.acquire_xact(&mut tx)).await;
        // The search is over when its connection is closed: the pool has one.
        let of_role = |count: usize| {
            move |backends: &[advisory_tests::BackendRow]| backends.len() == 3 + count
        };
        blind
            .database
            .wait_until_backends("a search", of_role(1))
            .await;
        blind
            .database
            .wait_until_backends("no search", of_role(0))
            .await;
        held.rollback().await.unwrap();
        tx.rollback().await.unwrap();
        while attempt == 0 && warnings.all().is_empty() {
            tokio::task::yield_now().await;
        }
    }
    let warnings = warnings.all();
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(warnings[0].contains("was not found"), "{warnings:?}");
    blind.drop_role().await;
}

#[tokio::test]
async fn dropped_wait_does_not_repeat_a_refused_login() {
    let warnings = Warnings::default();
    let _listening = tracing::subscriber::set_default(warnings.clone());
    let restricted = Restricted::new(2).await;
    restricted.refuse_logins().await;
    let (database, pool) = (&restricted.database, &restricted.pool);
    let held = AdvisoryLock::new("one").begin(pool).await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    let lock = AdvisoryLock::new("one").cancel_via(pool);
    drop_wait(database, lock.acquire_xact(&mut tx)).await;
    // At once, and not after 30 s of attempts.
    let reported = async {
        while warnings.all().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), reported)
        .await
        .unwrap();
    held.rollback().await.unwrap();
    tx.rollback().await.unwrap();
    restricted.drop_role().await;
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
            let Error::Unsupported {
                reason: UnsupportedReason::MissingPrivilege { .. },
                ..
            } = &error
            else {
                panic!("{error:?}");
            };
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
            let error = refused.unwrap_err();
            let Error::NotAcquired { holders, .. } = error else {
                panic!("{error:?}");
            };
            assert!(holders.is_empty());
        }
        guard.release().await.unwrap();
        lock.acquire_xact(&mut tx).await.unwrap();
        tx.rollback().await.unwrap();
        lock.begin(pool).await.unwrap().rollback().await.unwrap();
        database.assert_nothing_leaked(pool).await;
        restricted.drop_role().await;
    }
}
