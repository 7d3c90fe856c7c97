//! The monitor: holders, waiters, and how to end them.

use std::time::Duration;

use advisory_core::monitor::{self, LockStatus};
use advisory_core::{AdvisoryLock, Error, Key, Mode, lock, lock_shared};
use advisory_tests::{Database, Proxy, Server};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgConnection};
use tokio::time::timeout;

async fn pid(conn: &mut PgConnection) -> i32 {
    let pid = sqlx::query_scalar("SELECT pg_backend_pid()");
    pid.fetch_one(conn).await.unwrap()
}

fn only(locks: Vec<LockStatus>) -> LockStatus {
    let [lock] = <[_; 1]>::try_from(locks).unwrap();
    lock
}

/// Waits until a waiter for the lock 1 is listed, and is as wanted.
async fn wait_until_listed(pool: &PgPool, is_wanted: fn(&LockStatus) -> bool) -> LockStatus {
    let listed = async {
        loop {
            let waiters = monitor::waiters(pool, 1).await.unwrap();
            if let Some(waiter) = waiters.into_iter().find(is_wanted) {
                return waiter;
            }
        }
    };
    timeout(Duration::from_secs(30), listed).await.unwrap()
}

#[tokio::test]
async fn every_key_is_listed_in_its_space_with_its_sign() {
    let (database, pool) = Database::with_pool(1).await;
    let mut conn = database.connection().await;
    let keys = [
        Key::BigInt(i64::MIN),
        Key::BigInt(-1),
        Key::BigInt(7),
        Key::IntPair(-1, i32::MIN),
        Key::IntPair(0, 7),
    ];
    for key in keys {
        lock(&mut conn, key).await.unwrap();
    }
    let mut seen: Vec<_> = monitor::locks(&pool).await.unwrap();
    seen.sort_by_key(|status| status.key);
    assert_eq!(
        seen.iter().map(|status| status.key).collect::<Vec<_>>(),
        keys
    );
    for key in keys {
        assert_eq!(only(monitor::holders(&pool, key).await.unwrap()).key, key);
        assert_eq!(monitor::waiters(&pool, key).await.unwrap(), []);
    }
}

#[tokio::test]
async fn holders_and_waiters_are_listed_with_their_sessions() {
    let (database, pool) = Database::with_pool(3).await;
    let billing = database.options().application_name("billing");
    let mut holder = billing.connect().await.unwrap();
    holder.execute("BEGIN").await.unwrap();
    lock_shared(&mut holder, "report").await.unwrap();
    let holder_pid = pid(&mut holder).await;
    let reports = AdvisoryLock::new("report");
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { reports.begin(&pool).await.map(drop) }
    });
    database.wait_until_waiting(1).await;

    let holds = only(monitor::holders(&pool, "report").await.unwrap());
    assert_eq!(
        (holds.mode, holds.granted, holds.pid),
        (Mode::Shared, true, holder_pid)
    );
    assert_eq!(holds.application_name.as_deref(), Some("billing"));
    assert_eq!(holds.state.as_deref(), Some("idle in transaction"));
    assert_eq!(holds.query.as_deref(), Some("SELECT pg_backend_pid()"));
    assert_eq!(holds.database, database.name());
    assert!(holds.user.is_some() && holds.client_addr.is_some());
    assert!(holds.transaction_age.is_some() && holds.state_age <= holds.session_age);
    assert!(holds.blocked_by.is_empty() && holds.gid.is_none());

    let waits = only(monitor::waiters(&pool, "report").await.unwrap());
    assert_eq!((waits.mode, waits.granted), (Mode::Exclusive, false));
    assert_eq!(waits.blocked_by, [holder_pid]);
    assert_eq!(waits.state.as_deref(), Some("active"));
    assert_eq!(waits.wait_event.as_deref(), Some("Lock: advisory"));
    assert!(waits.query.unwrap().contains("pg_advisory_xact_lock"));

    holder.execute("COMMIT").await.unwrap();
    // The server does not record the time of a session lock outside a transaction.
    assert_eq!(
        only(monitor::holders(&pool, "report").await.unwrap()).transaction_age,
        None
    );
    holder.close().await.unwrap();
    waiting.await.unwrap().unwrap();
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn duration_of_a_wait_is_not_that_of_its_transaction() {
    let (_database, pool) = Database::with_pool(3).await;
    let guard = AdvisoryLock::new(1).acquire(&pool).await.unwrap();
    let mut old = pool.begin().await.unwrap();
    old.execute("SELECT pg_sleep(0.3)").await.unwrap();
    let waiting = tokio::spawn(async move {
        let waited = AdvisoryLock::new(1).acquire_xact(&mut old).await;
        waited.map(|()| drop(old))
    });
    let waiter = wait_until_listed(&pool, |waiter| waiter.waiting_for.is_some()).await;
    // The session is at least as old as its transaction.
    let transaction = waiter.session_age.unwrap();
    assert!(waiter.waiting_for.unwrap() + Duration::from_millis(250) < transaction);
    guard.release().await.unwrap();
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn other_databases_are_listed_on_request() {
    let database = Database::new().await;
    let other = Database::new().await;
    let pool = database.pool(1).await;
    let mut elsewhere = other.connection().await;
    lock(&mut elsewhere, 4711).await.unwrap();
    assert_eq!(monitor::locks(&pool).await.unwrap(), []);
    assert_eq!(monitor::holders(&pool, 4711).await.unwrap(), []);
    let everywhere = monitor::locks_of_all_databases(&pool).await.unwrap();
    let seen = everywhere
        .iter()
        .find(|status| status.database == other.name());
    assert_eq!(seen.unwrap().key, Key::BigInt(4711));
}

#[tokio::test]
async fn missing_privileges_hide_fields_and_refuse_actions() {
    let (database, pool) = Database::with_pool(2).await;
    let guard = AdvisoryLock::new("report").acquire(&pool).await.unwrap();
    let mut conn = database.role().await.connect().await.unwrap();
    let status = only(monitor::locks(&mut conn).await.unwrap());
    assert_eq!(status.key, Key::from("report"));
    assert!(status.user.is_some());
    assert_eq!(
        (
            status.state,
            status.query,
            status.client_addr,
            status.session_age
        ),
        (None, None, None, None)
    );
    for refused in [
        monitor::cancel(&mut conn, status.pid).await,
        monitor::terminate(&mut conn, status.pid).await,
    ] {
        let Err(Error::Database(sqlx::Error::Database(error))) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(error.code().as_deref(), Some("42501"));
    }
    guard.release().await.unwrap();
}

#[tokio::test]
async fn cancelled_wait_ends_and_terminated_holder_releases() {
    let (database, pool) = Database::with_pool(3).await;
    let mut holder = database.connection().await;
    lock(&mut holder, 1).await.unwrap();
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { AdvisoryLock::new(1).begin(&pool).await.map(drop) }
    });
    database.wait_until_waiting(1).await;
    let waiter = only(monitor::waiters(&pool, 1).await.unwrap());
    assert!(monitor::cancel(&pool, waiter.pid).await.unwrap());
    let cancelled = waiting.await.unwrap().unwrap_err();
    assert!(matches!(cancelled, Error::Database(_)), "{cancelled:?}");

    let held = only(monitor::holders(&pool, 1).await.unwrap());
    assert!(monitor::terminate(&pool, held.pid).await.unwrap());
    database.wait_until_held(0).await;
}

#[tokio::test]
async fn backend_without_locks_is_not_signalled() {
    let (database, pool) = Database::with_pool(1).await;
    let mut stranger = database.connection().await;
    let stranger_pid = pid(&mut stranger).await;
    for pid in [stranger_pid, 0, -1, i32::MAX, i32::MIN] {
        assert!(!monitor::cancel(&pool, pid).await.unwrap());
        assert!(!monitor::terminate(&pool, pid).await.unwrap());
    }
    assert_eq!(pid(&mut stranger).await, stranger_pid);
}

#[tokio::test]
async fn prepared_transaction_is_a_holder_without_a_process() {
    let server = Server::start_with(&[("max_prepared_transactions", "2")]).unwrap();
    let database = Database::on(&server).await;
    let pool = database.pool(3).await;
    let mut conn = database.connection().await;
    // A savepoint that has written is a subtransaction with an id of its own.
    let prepare =
        "BEGIN; SELECT pg_advisory_xact_lock(1); CREATE TABLE a (); SAVEPOINT s; CREATE TABLE b ();
        PREPARE TRANSACTION 'transfer 7'";
    conn.execute(sqlx::raw_sql(prepare)).await.unwrap();
    let holder = only(monitor::holders(&pool, 1).await.unwrap());
    assert_eq!((holder.pid, holder.gid.as_deref()), (0, Some("transfer 7")));
    assert!(holder.transaction_age.is_some() && holder.user.is_some() && holder.state.is_none());

    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { AdvisoryLock::new(1).begin(&pool).await.map(drop) }
    });
    let waiter = wait_until_listed(&pool, |_| true).await;
    assert_eq!(waiter.blocked_by, [0]);
    conn.execute("ROLLBACK PREPARED 'transfer 7'")
        .await
        .unwrap();
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn objects_in_other_schemas_do_not_change_the_query() {
    let database = Database::new().await;
    let mut conn = database.connection().await;
    let traps = "CREATE SCHEMA trap; CREATE VIEW trap.pg_locks AS SELECT 1 AS pid;
        CREATE FUNCTION trap.date_part(text, interval) RETURNS float8 LANGUAGE sql AS 'SELECT 1/0.0';
        CREATE FUNCTION trap.never(oid, oid) RETURNS bool LANGUAGE sql AS 'SELECT false';
        CREATE OPERATOR trap.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = trap.never);
        SET search_path = trap, pg_catalog";
    conn.execute(sqlx::raw_sql(traps)).await.unwrap();
    lock(&mut conn, 1).await.unwrap();
    let own = only(monitor::locks(&mut conn).await.unwrap()).pid;
    assert_eq!(only(monitor::holders(&mut conn, 1).await.unwrap()).pid, own);
    conn.execute("SET search_path = pg_catalog").await.unwrap();
    assert_eq!(pid(&mut conn).await, own);
}

/// The `application_name` of the only connection of a pool.
async fn application(pool: &PgPool) -> String {
    let name = sqlx::query_scalar("SELECT current_setting('application_name')");
    name.fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn session_is_tagged_with_its_lock_only_on_request() {
    let database = Database::new().await;
    let watcher = database.pool(1).await;
    let long = "x".repeat(80);
    for own in ["", "billing"] {
        let options = database.options().application_name(own);
        let pool = PgPoolOptions::new().max_connections(1);
        let pool = pool.connect_with(options).await.unwrap();
        for name in ["sync(4)", "it's \\ 100 % ü", &long] {
            let lock = AdvisoryLock::new(name);
            let tagged = lock.clone().tag_session();
            for lock in [tagged.clone(), tagged.timeout(Duration::ZERO)] {
                let guard = lock.acquire(&pool).await.unwrap();
                let held = only(monitor::holders(&watcher, name).await.unwrap());
                let tag = held.tag().unwrap();
                match tag.strip_suffix('…') {
                    Some(start) => assert!(start.len() > 40 && name.starts_with(start)),
                    None => assert_eq!(tag, name),
                }
                let called = held.application_name.unwrap();
                assert!(called.starts_with(own) || tag.ends_with('…'), "{called}");
                guard.release().await.unwrap();
                assert_eq!(application(&pool).await, own);
            }
            let guard = lock.acquire(&pool).await.unwrap();
            let held = only(monitor::holders(&watcher, name).await.unwrap());
            assert_eq!(held.tag(), None);
            assert_eq!(held.application_name.unwrap_or_default(), own);
            guard.release().await.unwrap();
        }
    }
}

#[tokio::test]
async fn monitor_query_is_one_round_trip() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let pool = proxy.pool(1).await;
    monitor::locks(&pool).await.unwrap();
    for look in 0..3 {
        proxy.reset();
        match look {
            0 => drop(monitor::locks(&pool).await.unwrap()),
            1 => drop(monitor::holders(&pool, 1).await.unwrap()),
            _ => drop(monitor::cancel(&pool, 1).await.unwrap()),
        }
        assert_eq!(proxy.round_trips(), 1, "{}", proxy.dump());
    }
}
