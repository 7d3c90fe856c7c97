//! Sessions that hold locks or wait for them.

use std::fmt::Display;

use advisory_tests::{Database, scalar};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, PgConnection};
use tokio::task::JoinHandle;

/// A session with this `application_name`.
pub(crate) async fn connected(database: &Database, application: &str) -> PgConnection {
    let options = database.options().application_name(application);
    options.connect().await.unwrap()
}

/// The process id of the session.
pub(crate) async fn pid(conn: &mut PgConnection) -> i32 {
    scalar(conn, "SELECT pg_backend_pid()").await
}

/// A session with this `application_name`, in a transaction.
pub(crate) async fn session(database: &Database, application: &str) -> PgConnection {
    let mut conn = connected(database, application).await;
    conn.execute("BEGIN").await.unwrap();
    conn
}

/// Takes the lock until the transaction ends.
pub(crate) async fn take_lock(conn: &mut PgConnection, shared: bool, key: impl Display) {
    let function = if shared {
        "pg_advisory_xact_lock_shared"
    } else {
        "pg_advisory_xact_lock"
    };
    let statement = format!("SELECT {function}({key})");
    conn.execute(AssertSqlSafe(statement)).await.unwrap();
}

/// A session that holds the lock.
pub(crate) async fn holder(
    database: &Database,
    application: &str,
    key: impl Display,
) -> PgConnection {
    let mut conn = session(database, application).await;
    take_lock(&mut conn, false, key).await;
    conn
}

/// A session that holds the locks 1 to `count`, outside a transaction.
pub(crate) async fn with_locks(
    database: &Database,
    application: &str,
    count: usize,
) -> PgConnection {
    let mut conn = connected(database, application).await;
    let statement = format!("SELECT pg_advisory_lock(g) FROM generate_series(1,{count}) g");
    conn.execute(AssertSqlSafe(statement)).await.unwrap();
    conn
}

/// Lets the session wait for the lock. `waiting` is how many sessions wait then.
pub(crate) async fn wait(
    database: &Database,
    mut conn: PgConnection,
    key: impl Display + Send + 'static,
    waiting: usize,
) -> JoinHandle<PgConnection> {
    let waits = tokio::spawn(async move {
        take_lock(&mut conn, false, key).await;
        conn
    });
    database.wait_until_waiting(waiting).await;
    waits
}
