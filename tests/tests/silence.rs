//! A network that falls silent during a call: the call still ends in time.

use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Error, Isolation, advisory};
use advisory_tests::{Database, Proxy};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::time::timeout;

/// How long a call may take in addition to its timeout.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
/// The additional time that a busy machine may take.
const SLACK: Duration = Duration::from_secs(2);

fn lock() -> AdvisoryLock {
    AdvisoryLock::new(1).response_timeout(RESPONSE_TIMEOUT)
}

fn timed() -> AdvisoryLock {
    lock().timeout(Duration::from_millis(200))
}

#[advisory(key = timed())]
async fn on_pool(pool: &PgPool) -> Result<(), Error> {
    let _ = pool;
    Ok(())
}

#[advisory(key = timed())]
async fn on_connection(conn: &mut PgConnection) -> Result<(), Error> {
    let _ = conn;
    Ok(())
}

/// Asserts that a call returns an error in time, and that the error is not "not acquired".
async fn assert_fails_in_time<T>(what: &str, call: impl Future<Output = Result<T, Error>>) {
    let started = Instant::now();
    let outcome = timeout(Duration::from_secs(30), call).await;
    match outcome.unwrap_or_else(|elapsed| panic!("{what}: {elapsed}")) {
        Err(Error::Database(_)) => {}
        Err(other) => panic!("{what}: {other}"),
        Ok(_) => panic!("{what}: there was an answer"),
    }
    let spent = started.elapsed();
    let most = Duration::from_millis(200) + RESPONSE_TIMEOUT + SLACK;
    assert!(spent < most, "{what}: {spent:?}");
}

/// Waits until the pool has pinged the returned connection.
async fn wait_until_idle(pool: &PgPool) {
    while pool.num_idle() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn verb_with_a_timeout_ends_on_a_silent_network() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    // The ping of the pool would meet the silence first.
    let pool = sqlx::postgres::PgPoolOptions::new()
        .max_connections(1)
        .test_before_acquire(false)
        .connect_with(proxy.options())
        .await
        .unwrap();
    lock()
        .acquire(&pool)
        .await
        .unwrap()
        .release()
        .await
        .unwrap();
    let isolated = timed().isolation(Isolation::Serializable);
    let several = AdvisoryLock::all([1, 2])
        .timeout(Duration::from_millis(200))
        .response_timeout(RESPONSE_TIMEOUT);
    macro_rules! each {
        ($($name:literal => $verb:expr;)+) => {$(
            wait_until_idle(&pool).await;
            proxy.set_silent(true);
            assert_fails_in_time($name, $verb).await;
            proxy.set_silent(false);
            database.assert_nothing_leaked(&pool).await;
        )+};
    }
    each! {
        "begin" => timed().begin(&pool);
        "begin, several keys" => several.begin(&pool);
        "begin, isolated" => isolated.begin(&pool);
        "try_begin" => lock().try_begin(&pool);
        "try_begin, with a timeout" => timed().try_begin(&pool);
        "transaction" => timed().transaction(&pool, async |_| Ok::<_, Error>(()));
        "acquire" => timed().acquire(&pool);
        "try_acquire" => lock().try_acquire(&pool);
        "attribute on a pool" => on_pool(&pool);
    }
}

#[tokio::test]
async fn verb_on_the_callers_connection_ends_on_a_silent_network() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    macro_rules! each {
        ($($name:literal => |$conn:ident| $verb:expr;)+) => {$(
            let mut $conn = PgConnection::connect_with(&proxy.options()).await.unwrap();
            proxy.set_silent(true);
            assert_fails_in_time($name, $verb).await;
            drop($conn);
            proxy.set_silent(false);
        )+};
    }
    each! {
        "attribute on a connection" => |conn| on_connection(&mut conn);
    }
    macro_rules! each_in_a_transaction {
        ($($name:literal => |$tx:ident| $verb:expr;)+) => {$(
            let mut conn = PgConnection::connect_with(&proxy.options()).await.unwrap();
            let mut $tx = conn.begin().await.unwrap();
            proxy.set_silent(true);
            assert_fails_in_time($name, $verb).await;
            drop($tx);
            drop(conn);
            proxy.set_silent(false);
        )+};
    }
    each_in_a_transaction! {
        "acquire_xact" => |tx| timed().acquire_xact(&mut tx);
        "try_acquire_xact" => |tx| lock().try_acquire_xact(&mut tx);
        "try_acquire_xact, with a timeout" => |tx| timed().try_acquire_xact(&mut tx);
    }
    let pool = database.pool(1).await;
    database.assert_nothing_leaked(&pool).await;
}

/// Makes the network silent, and fails.
fn fail(proxy: &Proxy) -> Result<(), Error> {
    proxy.set_silent(true);
    Err(Error::Database(sqlx::Error::WorkerCrashed))
}

#[advisory(key = lock(), tx)]
async fn failing_on_pool(pool: &PgPool, proxy: &Proxy) -> Result<(), Error> {
    let _ = tx;
    fail(proxy)
}

#[advisory(key = lock())]
async fn failing_on_connection(conn: &mut PgConnection, proxy: &Proxy) -> Result<(), Error> {
    let _ = conn;
    fail(proxy)
}

#[tokio::test]
async fn failed_body_returns_although_its_rollback_is_not_answered() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let pool = proxy.pool(1).await;
    assert_fails_in_time("attribute on a pool", failing_on_pool(&pool, &proxy)).await;
    proxy.set_silent(false);
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn failed_body_on_a_connection_returns_although_its_rollback_is_not_answered() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let mut conn = PgConnection::connect_with(&proxy.options()).await.unwrap();
    let call = failing_on_connection(&mut conn, &proxy);
    assert_fails_in_time("attribute on a connection", call).await;
    drop(conn);
    proxy.set_silent(false);
    database
        .assert_nothing_leaked(&database.pool(1).await)
        .await;
}
