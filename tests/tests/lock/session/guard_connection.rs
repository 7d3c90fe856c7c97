//! The session of a guard, while the caller uses it: its loss is noticed, and its notifications
//! arrive.

use std::pin::pin;
use std::time::Duration;

use advisory_core::{AdvisoryLock, SessionGuard};
use advisory_tests::{Database, Proxy, scalar};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Executor as _, PgPool};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Longer than anything here takes, also on a busy machine.
const HANG_TIMEOUT: Duration = Duration::from_secs(30);

/// A guard whose session is not probed in the time of a test.
async fn acquire(pool: &PgPool) -> SessionGuard {
    let lock = AdvisoryLock::new("leader").keepalive_interval(Duration::from_hours(1));
    lock.acquire(pool).await.unwrap()
}

async fn terminate_locker(database: &Database) {
    database.terminate_lockers().await;
    database.wait_until_held(0).await;
}

#[tokio::test]
async fn loss_is_watched_beside_a_statement() {
    let (database, pool) = Database::with_pool(2).await;
    let mut guard = acquire(&pool).await;
    let mut lost = pin!(guard.lost());
    // Statements run beside the watch, which outlives each of them.
    for n in 0..3 {
        tokio::select! {
            () = &mut lost => panic!("the session is alive"),
            found = scalar::<i32>(guard.connection().await.unwrap(), "SELECT 1") => {
                assert_eq!(found, 1, "{n}");
            }
        }
    }
    let sleep = async {
        let conn = guard.connection().await.unwrap();
        conn.execute("SELECT pg_sleep(60)").await.unwrap_err();
    };
    let terminated = async {
        database.wait_until_asleep().await;
        database.terminate_lockers().await;
    };
    let watched = async { tokio::join!(&mut lost, sleep, terminated) };
    timeout(HANG_TIMEOUT, watched).await.unwrap();
    assert!(guard.is_lost());
    assert!(guard.release().await.unwrap_err().is_lost());
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn loss_is_noticed_while_the_connection_is_borrowed_and_idle() {
    for connections in [1, 2] {
        let (database, pool) = Database::with_pool(connections).await;
        let lock = AdvisoryLock::new("leader").keepalive_interval(Duration::from_millis(200));
        let mut guard = lock.acquire(&pool).await.unwrap();
        let lost = tokio::spawn(guard.lost());
        let conn = guard.connection().await.unwrap();
        conn.execute("SELECT 1").await.unwrap();
        terminate_locker(&database).await;
        timeout(HANG_TIMEOUT, lost).await.unwrap().unwrap();
        conn.execute("SELECT 1").await.unwrap_err();
        assert!(guard.connection().await.unwrap_err().is_lost());
        drop(guard);
        database.assert_nothing_leaked(&pool).await;
    }
}

#[tokio::test]
async fn silent_network_is_noticed_while_the_connection_is_borrowed_and_idle() {
    for connections in [1, 2] {
        let database = Database::new().await;
        let proxy = Proxy::start(&database).await;
        let pool = proxy.pool(connections).await;
        let lock = AdvisoryLock::new("leader").keepalive_interval(Duration::from_millis(200));
        let lock = lock.response_timeout(Duration::from_millis(500));
        let mut guard = lock.acquire(&pool).await.unwrap();
        let lost = tokio::spawn(guard.lost());
        guard.connection().await.unwrap();
        proxy.set_silent(true);
        timeout(HANG_TIMEOUT, lost).await.unwrap().unwrap();
        proxy.set_silent(false);
        drop(guard);
        database.assert_nothing_leaked(&pool).await;
    }
}

/// The next use of the guard reads the socket, and tells every watcher.
#[tokio::test]
async fn loss_that_a_statement_has_found_is_reported_by_the_next_use() {
    let (database, pool) = Database::with_pool(2).await;
    let mut guard = acquire(&pool).await;
    let mut lost = pin!(guard.lost());
    assert!(futures_util::poll!(lost.as_mut()).is_pending());
    terminate_locker(&database).await;
    let conn = guard.connection().await;
    if let Ok(conn) = conn {
        conn.execute("SELECT 1").await.unwrap_err();
    }
    // The server closes the connection a moment after its last message.
    let reported = async {
        loop {
            match guard.connection().await {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => break error,
            }
        }
    };
    let reported = timeout(HANG_TIMEOUT, reported).await.unwrap();
    assert!(reported.is_lost(), "{reported:?}");
    assert!(futures_util::poll!(lost.as_mut()).is_ready());
}

#[tokio::test]
async fn connection_in_use_is_not_a_loss() {
    let (database, pool) = Database::with_pool(2).await;
    let lock = AdvisoryLock::new("leader").keepalive_interval(Duration::from_millis(100));
    let mut guard = lock.acquire(&pool).await.unwrap();
    let lost = guard.lost();
    let conn = guard.connection().await.unwrap();
    // Several checks, some during a statement and some after it.
    let use_it = async {
        conn.execute("SELECT pg_sleep(0.5)").await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    tokio::select! {
        () = lost => panic!("the session is alive"),
        () = use_it => {}
    }
    guard.release().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

/// A pool whose connections run a statement first. Those beside it do not.
async fn pool_with_hook(database: &Database, hook: String) -> PgPool {
    let pool = PgPoolOptions::new().max_connections(2);
    let pool = pool.after_connect(move |conn, _| {
        let hook = hook.clone();
        Box::pin(async move { conn.execute(AssertSqlSafe(hook)).await.map(drop) })
    });
    pool.connect_with(database.options()).await.unwrap()
}

/// The connections that ask whether the session exists may have other settings, and other rights.
#[tokio::test]
async fn session_that_is_shown_differently_is_not_lost() {
    let database = Database::new().await;
    let role = database.role().await;
    for hook in [
        "SET TIME ZONE 'Asia/Kathmandu'".to_owned(),
        "SET DateStyle TO 'SQL, DMY'".to_owned(),
        format!("SET ROLE \"{}\"", role.get_username()),
    ] {
        let pool = pool_with_hook(&database, hook.clone()).await;
        let lock = AdvisoryLock::new("leader").keepalive_interval(Duration::from_millis(50));
        let mut guard = lock.acquire(&pool).await.unwrap();
        let lost = guard.lost();
        // An idle connection of the pool is asked first, and one beside it later.
        drop(pool.acquire().await.unwrap());
        let conn = guard.connection().await.unwrap();
        let statement = conn.execute("SELECT pg_sleep(2)");
        let busy = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let _taken = pool.acquire().await.unwrap();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = lost => panic!("{hook}: the session is alive"),
            () = busy => {}
            done = statement => drop(done.unwrap()),
        }
        guard.release().await.unwrap();
        database.assert_nothing_leaked(&pool).await;
        pool.close().await;
    }
}

#[tokio::test]
async fn watch_ends_with_the_guard() {
    let (database, pool) = Database::with_pool(1).await;
    let guard = acquire(&pool).await;
    let (released, dropped) = (tokio::spawn(guard.lost()), guard.lost());
    guard.release().await.unwrap();
    timeout(HANG_TIMEOUT, released).await.unwrap().unwrap();
    timeout(HANG_TIMEOUT, dropped).await.unwrap();

    let mut guard = acquire(&pool).await;
    let lost = guard.lost();
    guard.connection().await.unwrap();
    drop(guard);
    timeout(HANG_TIMEOUT, lost).await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

async fn notify(pool: &PgPool, payload: &str) {
    let notify = sqlx::query("SELECT pg_notify('jobs', $1)").bind(payload);
    notify.execute(pool).await.unwrap();
}

async fn payload(guard: &SessionGuard) -> String {
    let notification = timeout(HANG_TIMEOUT, guard.notification()).await.unwrap();
    notification.unwrap().payload().to_owned()
}

#[tokio::test]
async fn notifications_on_the_session_arrive() {
    let (database, pool) = Database::with_pool(2).await;
    let mut guard = acquire(&pool).await;
    let conn = guard.connection().await.unwrap();
    conn.execute("LISTEN jobs").await.unwrap();

    // While nobody watches, and while somebody waits.
    notify(&pool, "idle").await;
    assert_eq!(payload(&guard).await, "idle");
    let (waited, ()) = tokio::join!(payload(&guard), notify(&pool, "waited for"));
    assert_eq!(waited, "waited for");

    // While other watchers read the socket, and none of them asks for notifications.
    let watched = guard.until_lost(async {
        notify(&pool, "watched").await;
        tokio::task::yield_now().await;
        payload(&guard).await
    });
    assert_eq!(watched.await.unwrap(), "watched");

    // During a statement on the session, and in the order in which they were sent.
    let conn = guard.connection().await.unwrap();
    let (slept, ()) = tokio::join!(conn.execute("SELECT pg_sleep(0.5)"), async {
        database.wait_until_asleep().await;
        notify(&pool, "during").await;
        notify(&pool, "after").await;
    });
    slept.unwrap();
    assert_eq!(payload(&guard).await, "during");
    assert_eq!(payload(&guard).await, "after");

    // A dropped wait takes no notification with it.
    drop(timeout(Duration::from_millis(20), guard.notification()).await);
    notify(&pool, "kept").await;
    assert_eq!(payload(&guard).await, "kept");

    // The pool gets a connection that listens no more.
    guard.release().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
    let listening = "SELECT count(*) FROM pg_listening_channels()";
    assert_eq!(scalar::<i64>(&pool, listening).await, 0);
}

#[tokio::test]
async fn wait_for_a_notification_ends_with_the_session() {
    let (database, pool) = Database::with_pool(2).await;
    let guard = acquire(&pool).await;
    let waiting = tokio::spawn(guard.notification());
    database.terminate_lockers().await;
    let ended = timeout(HANG_TIMEOUT, waiting).await.unwrap().unwrap();
    assert!(ended.unwrap_err().is_lost());
}

#[tokio::test]
async fn notifications_that_nobody_takes_are_bounded() {
    let (_database, pool) = Database::with_pool(2).await;
    let mut guard = acquire(&pool).await;
    let conn = guard.connection().await.unwrap();
    conn.execute("LISTEN jobs").await.unwrap();
    let flood = "SELECT pg_notify('jobs', n::text) FROM generate_series(1, 2000) AS n";
    pool.execute(flood).await.unwrap();
    guard
        .connection()
        .await
        .unwrap()
        .execute("SELECT 1")
        .await
        .unwrap();
    assert!(!guard.is_lost());
    // The newest are kept.
    let mut kept = vec![payload(&guard).await];
    while kept.last().unwrap() != "2000" {
        kept.push(payload(&guard).await);
    }
    assert_eq!(kept.len(), 1024);
    assert_eq!(kept[0], "977");
}

/// The server is asked on connections beside the pool, where one is enough.
#[tokio::test]
async fn many_watchers_ask_the_server_on_one_connection() {
    let (database, pool) = Database::with_pool(1).await;
    let lock = AdvisoryLock::new("leader").keepalive_interval(Duration::from_millis(100));
    let mut guard = lock.acquire(&pool).await.unwrap();
    let mut watchers = JoinSet::new();
    for _ in 0..50 {
        watchers.spawn(guard.lost());
    }
    guard.connection().await.unwrap();
    let mut most = 0;
    for _ in 0..200 {
        most = most.max(database.backends().await.len());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!((2..10).contains(&most), "{most} connections");
    terminate_locker(&database).await;
    timeout(HANG_TIMEOUT, watchers.join_all()).await.unwrap();
}

struct NoWake;

impl std::task::Wake for NoWake {
    fn wake(self: std::sync::Arc<Self>) {}
}

#[tokio::test]
async fn a_watch_that_has_ended_keeps_nothing() {
    let (_database, pool) = Database::with_pool(1).await;
    let guard = acquire(&pool).await;
    let task = std::sync::Arc::new(NoWake);
    let waker = std::task::Waker::from(task.clone());
    let mut context = std::task::Context::from_waker(&waker);
    for _ in 0..100 {
        assert!(pin!(guard.lost()).poll(&mut context).is_pending());
    }
    drop(waker);
    assert_eq!(std::sync::Arc::strong_count(&task), 1);
}
