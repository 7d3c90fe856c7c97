//! The harness itself: a proxy that cuts connections, falls silent and delays data.

use std::io::ErrorKind;
use std::pin::pin;
use std::time::{Duration, Instant};

use advisory_tests::{Cut, Database, Proxy, Side};
use futures_util::poll;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgConnection};

async fn connect(proxy: &Proxy) -> PgConnection {
    proxy.options().connect().await.unwrap()
}

async fn both(database: &Database) -> [Proxy; 2] {
    [Proxy::start(database).await, Proxy::start_tcp(database)]
}

async fn insert(connection: &mut PgConnection, n: usize) -> sqlx::Result<()> {
    let query = sqlx::query("INSERT INTO t VALUES ($1)").bind(i64::try_from(n).unwrap());
    query.execute(connection).await.map(drop)
}

/// The committed rows, once no session is left that could add one.
async fn rows(database: &Database) -> Vec<i64> {
    database
        .wait_until_backends("nobody", <[_]>::is_empty)
        .await;
    let rows = sqlx::query_scalar("DELETE FROM t RETURNING n");
    rows.fetch_all(&mut database.connection().await)
        .await
        .unwrap()
}

#[tokio::test]
async fn statement_can_be_cut_after_each_of_its_messages() {
    let database = Database::new().await;
    let mut setup = database.connection().await;
    setup.execute("CREATE TABLE t (n int8)").await.unwrap();
    setup.close().await.unwrap();
    for proxy in both(&database).await {
        for (side, cut) in [
            (Side::Client, Cut::Fin),
            (Side::Client, Cut::Reset),
            (Side::Server, Cut::Fin),
            (Side::Server, Cut::Reset),
        ] {
            let mut succeeded = Vec::new();
            let mut n = 1;
            loop {
                proxy.cut_after(side, n, cut);
                let mut connection = connect(&proxy).await;
                proxy.reset();
                if insert(&mut connection, n).await.is_ok() {
                    succeeded.push(n);
                }
                if !proxy.has_cut() {
                    connection.close().await.unwrap();
                    break;
                }
                insert(&mut connection, 0).await.unwrap_err();
                n += 1;
            }
            let arrived = rows(&database).await;
            match side {
                // The last message of the client executes the statement. The client does not learn
                // that it was executed.
                Side::Client => {
                    assert_eq!(n - 1, proxy.messages().len(), "{}", proxy.dump());
                    assert_eq!(succeeded, [n]);
                    assert_eq!(arrived.len(), 2, "{arrived:?}");
                }
                // The last message of the server reports that the statement was executed.
                Side::Server => assert_eq!(succeeded, [n - 1, n]),
            }
        }
    }
}

#[tokio::test]
async fn cut_ends_every_connection_and_no_later_one() {
    let database = Database::new().await;
    for proxy in both(&database).await {
        for cut in [Cut::Fin, Cut::Reset] {
            let mut cut_off = [connect(&proxy).await, connect(&proxy).await];
            proxy.cut(cut).await;
            for connection in &mut cut_off {
                connection.execute("SELECT 1").await.unwrap_err();
            }
            database
                .wait_until_backends("nobody", <[_]>::is_empty)
                .await;
            connect(&proxy).await.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn client_distinguishes_a_reset_from_an_orderly_end() {
    let database = Database::new().await;
    let proxy = Proxy::start_tcp(&database);
    for (cut, is_reset) in [(Cut::Fin, false), (Cut::Reset, true)] {
        let mut connection = connect(&proxy).await;
        proxy.cut(cut).await;
        let error = connection.execute("SELECT 1").await.unwrap_err();
        let sqlx::Error::Io(error) = error else {
            panic!("{cut:?}: {error:?}");
        };
        let found = error.kind() == ErrorKind::ConnectionReset;
        assert_eq!(found, is_reset, "{cut:?}: {error:?}");
    }
}

#[tokio::test]
async fn connection_falls_silent_after_a_message_and_others_do_not() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let (mut silent, mut other) = (connect(&proxy).await, connect(&proxy).await);
    proxy.cut_after(Side::Client, 1, Cut::Silence);
    {
        let mut lock = pin!(silent.execute("SELECT pg_advisory_lock(1)"));
        assert!(poll!(lock.as_mut()).is_pending());
        database.wait_until_held(1).await;
        assert!(proxy.has_cut());
        for _ in 0..10 {
            other.execute("SELECT 1").await.unwrap();
            assert!(poll!(lock.as_mut()).is_pending());
        }
        proxy.set_silent(false);
        lock.await.unwrap();
    }
    silent.execute("SELECT 1").await.unwrap();

    // The data after the message is only delayed.
    proxy.cut_after(Side::Server, 2, Cut::Silence);
    let mut answer = pin!(sqlx::query_scalar::<_, i32>("SELECT 7").fetch_one(&mut silent));
    while !proxy.has_cut() {
        assert!(poll!(answer.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
    proxy.set_silent(false);
    assert_eq!(answer.await.unwrap(), 7);
}

#[tokio::test]
async fn silence_does_not_reach_the_server_and_can_be_cut() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let mut connection = connect(&proxy).await;
    proxy.cut(Cut::Silence).await;
    let lock = tokio::spawn(async move { connection.execute("SELECT pg_advisory_lock(1)").await });
    let mut other = connect(&proxy).await;
    other.execute("SELECT pg_advisory_lock(2)").await.unwrap();
    database.wait_until_held(1).await;
    assert!(!lock.is_finished());
    proxy.cut(Cut::Fin).await;
    lock.await.unwrap().unwrap_err();
    database.wait_until_held(0).await;
}

#[tokio::test]
async fn delay_adds_latency_and_keeps_throughput() {
    let delay = Duration::from_millis(50);
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let mut connection = connect(&proxy).await;
    connection.execute("CREATE TABLE t (n int8)").await.unwrap();
    proxy.set_delay(delay);
    let start = Instant::now();
    connection.execute("SELECT 1").await.unwrap();
    assert!(start.elapsed() >= delay * 2, "{:?}", start.elapsed());

    // If each chunk waited for the previous one, this would take 10 s.
    let start = Instant::now();
    let mut copy = connection.copy_in_raw("COPY t FROM STDIN").await.unwrap();
    for _ in 0..200 {
        copy.send("1234567\n".repeat(10_000).as_bytes())
            .await
            .unwrap();
    }
    assert_eq!(copy.finish().await.unwrap(), 2_000_000);
    println!("200 chunks took {:?}", start.elapsed());
    assert!(start.elapsed() < delay * 190, "{:?}", start.elapsed());

    drop(connection.begin().await.unwrap()); // queues a rollback
    proxy.reset();
    connection.ping().await.unwrap();
    assert_eq!(proxy.round_trips(), 1, "{}", proxy.dump());
}
