//! The harness itself: servers that stop, restart, and are followed by a standby.

use advisory_tests::{Database, Proxy, Server, Shutdown};
use sqlx::{Executor as _, PgConnection, PgExecutor};

const ENDS: [Shutdown; 3] = [Shutdown::Fast, Shutdown::Immediate, Shutdown::Kill];

/// A database with a durable row.
async fn with_row(server: &Server) -> Database {
    let database = Database::on(server).await;
    let mut connection = database.connection().await;
    let create = "SET synchronous_commit = on; CREATE TABLE t (); INSERT INTO t DEFAULT VALUES";
    connection.execute(create).await.unwrap();
    database
}

async fn insert(connection: impl PgExecutor<'_>) -> sqlx::Result<()> {
    let insert = "INSERT INTO t DEFAULT VALUES";
    connection.execute(insert).await.map(drop)
}

async fn rows(connection: impl PgExecutor<'_>) -> i64 {
    let count = sqlx::query_scalar("SELECT count(*) FROM t");
    count.fetch_one(connection).await.unwrap()
}

async fn is_in_recovery(connection: &mut PgConnection) -> bool {
    let query = sqlx::query_scalar("SELECT pg_is_in_recovery()");
    query.fetch_one(connection).await.unwrap()
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
async fn stopped_server_refuses_connections_until_it_is_restarted() {
    let server = Server::start().unwrap();
    let database = with_row(&server).await;
    let pool = database.pool(2).await;
    for how in ENDS {
        server.stop(how).await;
        rows_are_refused(&database).await;
        server.stop(how).await;
        server.restart(how).await;
        assert_eq!(rows(&pool).await, 1, "{how:?}");
    }
}

async fn rows_are_refused(database: &Database) {
    use sqlx::ConnectOptions as _;
    let refused = database.options().connect().await;
    assert!(matches!(refused, Err(sqlx::Error::Io(_))), "{refused:?}");
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

#[tokio::test]
async fn standby_follows_until_it_is_promoted() {
    let primary = Server::start_with(&[("max_connections", "300")]).unwrap();
    let database = with_row(&primary).await;
    let standby = primary.standby().unwrap();
    let second = Database::at(&standby, &database);
    assert_eq!(standby.version(), primary.version());
    assert_eq!(second.name(), database.name());

    let mut reader = second.connection().await;
    assert!(is_in_recovery(&mut reader).await);
    assert_eq!(rows(&mut reader).await, 1);
    insert(&mut database.connection().await).await.unwrap();
    standby.wait_until_replayed(&primary).await;
    assert_eq!(rows(&mut reader).await, 2);
    let refused = insert(&mut reader).await.unwrap_err();
    assert_eq!(code(&refused).as_deref(), Some("25006"));

    // The state of the standby is observed, not that of the primary.
    reader
        .execute("SELECT pg_try_advisory_lock(1)")
        .await
        .unwrap();
    second.wait_until_held(1).await;
    assert_eq!(database.advisory_locks().await, []);

    standby.promote().await;
    insert(&mut reader).await.unwrap();
    assert_eq!(rows(&mut reader).await, 3);
    assert_eq!(rows(&mut database.connection().await).await, 2);
}

#[tokio::test]
async fn restarted_standby_catches_up() {
    let primary = Server::start().unwrap();
    let database = with_row(&primary).await;
    let standby = primary.standby().unwrap();
    let second = Database::at(&standby, &database);
    for how in ENDS {
        standby.stop(how).await;
        let mut writer = database.connection().await;
        insert(&mut writer).await.unwrap();
        // The primary must keep WAL that it could otherwise remove now.
        writer
            .execute("SELECT pg_switch_wal(); CHECKPOINT; SELECT pg_switch_wal(); CHECKPOINT")
            .await
            .unwrap();
        standby.restart(how).await;
        standby.wait_until_replayed(&primary).await;
        let expected = rows(&mut writer).await;
        assert_eq!(
            rows(&mut second.connection().await).await,
            expected,
            "{how:?}"
        );
    }
}

#[tokio::test]
async fn proxy_can_be_redirected_to_the_new_primary() {
    let primary = Server::start().unwrap();
    let database = with_row(&primary).await;
    let standby = primary.standby().unwrap();
    let second = Database::at(&standby, &database);
    let proxy = Proxy::start(&database).await;
    let pool = proxy.pool(2).await;
    insert(&pool).await.unwrap();

    standby.wait_until_replayed(&primary).await;
    proxy.set_target(&second);
    insert(&pool).await.unwrap(); // on the connection that was open
    assert_eq!(rows(&mut database.connection().await).await, 3);
    standby.wait_until_replayed(&primary).await;

    primary.stop(Shutdown::Kill).await;
    standby.promote().await;
    insert(&pool).await.unwrap();
    assert_eq!(rows(&mut second.connection().await).await, 4);
    // The promoted standby can have a standby as well.
    let third = standby.standby().unwrap();
    let third = Database::at(&third, &database);
    assert_eq!(rows(&mut third.connection().await).await, 4);
}
