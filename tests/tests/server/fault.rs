//! The harness itself: servers that stop and restart.

use advisory_tests::{Database, Server, Shutdown};
use sqlx::{Executor as _, PgExecutor};

/// A database with a durable row.
async fn with_row(server: &Server) -> Database {
    let database = Database::on(server).await;
    let mut connection = database.connection().await;
    let create = "SET synchronous_commit = on; CREATE TABLE t (); INSERT INTO t DEFAULT VALUES";
    connection.execute(create).await.unwrap();
    database
}

async fn rows(connection: impl PgExecutor<'_>) -> i64 {
    let count = sqlx::query_scalar("SELECT count(*) FROM t");
    count.fetch_one(connection).await.unwrap()
}

fn code(error: &sqlx::Error) -> Option<String> {
    let code = error.as_database_error()?.code()?;
    Some(code.into_owned())
}

#[tokio::test]
async fn server_restarts_after_every_shutdown() {
    let server = Server::start().unwrap();
    let database = with_row(&server).await;
    for (how, error_code) in [
        (Shutdown::Fast, Some("57P01")),
        (Shutdown::Immediate, None),
        (Shutdown::Kill, None),
    ] {
        let mut connection = database.connection().await;
        let held = tokio::spawn(async move {
            let hold = "SELECT pg_advisory_lock(1), pg_sleep(600)";
            connection.execute(hold).await.map(drop)
        });
        database.wait_until_held(1).await;
        server.restart(how).await;
        let error = held.await.unwrap().unwrap_err();
        assert_eq!(code(&error).as_deref(), error_code, "{how:?}: {error}");
        assert_eq!(database.advisory_locks().await, [], "{how:?}");
        assert_eq!(rows(&mut database.connection().await).await, 1, "{how:?}");
    }
}

#[tokio::test]
async fn killed_server_ends_a_busy_session() {
    let server = Server::start().unwrap();
    let database = Database::on(&server).await;
    let mut connection = database.connection().await;
    // This statement never checks whether its parent process is alive.
    let busy = tokio::spawn(async move {
        let count =
            "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b";
        connection.execute(count).await.map(drop)
    });
    database
        .wait_until_backends("one is busy", |backends| {
            let mut states = backends.iter().map(|backend| backend.state.as_deref());
            states.any(|state| state == Some("active"))
        })
        .await;
    server.stop(Shutdown::Kill).await;
    assert_eq!(code(&busy.await.unwrap().unwrap_err()), None);
}
