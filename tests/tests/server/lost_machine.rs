//! A client whose machine vanishes: no packet comes any more, and no connection is closed.
//!
//! The client is this test binary, run again in a network namespace whose link is cut.

use std::env;
use std::future::pending;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Isolation, LockSession};
use advisory_tests::{Database, Link, Namespace, Server, print_notice};
use advisory_verbs::begin;
use futures_util::future::try_join_all;
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};

/// Within this time, the locks are free.
const BOUND: Duration = Duration::from_secs(15);

/// The variable with the server's URL, for the client.
const URL: &str = "ADVISORY_VANISHING_URL";

/// The locks that the client holds: a session of its own, a `LockSession`, a new transaction, and
/// one of the caller's; and the lock that it waits for.
const HELD: [i64; 4] = [1, 2, 3, 4];
const AWAITED: i64 = 5;

#[tokio::test]
#[ignore = "the client of the other test"]
async fn client() {
    let Ok(url) = env::var(URL) else { return };
    let pool = PgPool::connect(&url).await.unwrap();
    let lock = |key: i64| AdvisoryLock::new(key);
    let _own = lock(1).acquire(&pool).await.unwrap();
    let _shared = lock(2).acquire(&LockSession::new(&pool)).await.unwrap();
    let _transaction = lock(3).begin(&pool).await.unwrap();
    let mut callers = begin(&pool).await.unwrap();
    lock(4).acquire_xact(&mut callers).await.unwrap();
    lock(AWAITED).acquire(&pool).await.map(drop).unwrap();
    pending::<()>().await;
}

/// Over TCP, the settings of what holds a lock are those of its keepalives, and those of the server
/// after that.
#[tokio::test]
async fn keepalives_are_set_while_a_lock_is_held() {
    if !cfg!(target_os = "linux") {
        return print_notice(
            "SKIPPED the settings of keepalives: the machine has one loopback address",
        );
    }
    // Other servers have the port of the other addresses.
    let [.., high, low] = std::process::id().to_be_bytes();
    let address = format!("127.77.{high}.{low}");
    let server = Server::start_with(&[("listen_addresses", &address)]).unwrap();
    let database = Database::on(&server).await;
    let url = format!("postgres://postgres@{address}/{}", database.name());
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect(&url)
        .await
        .unwrap();
    let before = keepalives(&mut pool.acquire().await.unwrap()).await;
    assert_eq!(before[3], "0", "{before:?}");
    let lock = AdvisoryLock::new("one");
    let three = Duration::from_secs(3);
    // What is known of the server after the first lock changes the messages.
    for _ in 0..2 {
        for limit in [None, Some(Duration::ZERO), Some(three)] {
            let lock = limit.map_or(lock.clone(), |limit| lock.clone().timeout(limit));
            let long = lock
                .clone()
                .keepalive_interval(three * 10)
                .response_timeout(three);
            let mut guard = long.acquire(&pool).await.unwrap();
            let held = keepalives(guard.connection().await.unwrap()).await;
            assert_eq!(held, ["30", "1", "3", "33000"]);
            guard.release().await.unwrap();
            assert_eq!(keepalives(&mut pool.acquire().await.unwrap()).await, before);

            let default = ["5", "2", "3", "10000"];
            for isolation in [
                None,
                Some(Isolation::ReadCommitted),
                Some(Isolation::Serializable),
            ] {
                let lock = isolation.map_or(lock.clone(), |level| lock.clone().isolation(level));
                let mut tx = lock.begin(&pool).await.unwrap();
                assert_eq!(keepalives(&mut tx).await, default, "{isolation:?}");
                tx.commit().await.unwrap();
            }
            for lock in [
                lock.clone(),
                AdvisoryLock::all([1, 2]).timeout(three),
                AdvisoryLock::all([1, 2]),
            ] {
                let mut tx = pool.begin().await.unwrap();
                lock.acquire_xact(&mut tx).await.unwrap();
                assert_eq!(keepalives(&mut tx).await, default);
                tx.commit().await.unwrap();
            }
            assert_eq!(keepalives(&mut pool.acquire().await.unwrap()).await, before);
        }
    }
}

async fn keepalives(conn: &mut PgConnection) -> [String; 4] {
    let names = [
        "tcp_keepalives_idle",
        "tcp_keepalives_interval",
        "tcp_keepalives_count",
        "tcp_user_timeout",
    ];
    let mut values = names.map(str::to_owned);
    for value in &mut values {
        let setting = sqlx::query_scalar("SELECT current_setting($1)").bind(&*value);
        *value = setting.fetch_one(&mut *conn).await.unwrap();
    }
    values
}

struct Machine {
    server: Server,
    /// The link is cut by hand.
    namespace: Namespace,
    /// Dropped last.
    _hba: tempfile::TempDir,
}

/// A server that accepts TCP connections of one other machine, on which the client is to run.
async fn machine() -> Result<(Machine, Database), String> {
    let link = Link::new();
    let hba = tempfile::tempdir().unwrap();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(hba.path(), open).unwrap();
    let file = hba.path().join("pg_hba.conf");
    std::fs::write(&file, "local all all trust\nhost all all samenet trust\n").unwrap();
    let (address, file) = (link.address().to_string(), file.display().to_string());
    let client = env::current_exe().unwrap().display().to_string();
    let program = [
        "sh",
        "-c",
        "read -r url <\"$1\" && export ADVISORY_VANISHING_URL=\"$url\" && exec \"$2\" lost_machine::client --exact --ignored",
        "sh",
        &hba.path().join("url").display().to_string(),
        &client,
    ];
    let namespace = link.connect(&mut program.into_iter().map(str::to_owned))?;
    let settings = [("listen_addresses", &*address), ("hba_file", &*file)];
    let server = Server::start_with(&settings).unwrap_or_else(|error| panic!("{error}"));
    let database = Database::on(&server).await;
    let url = format!("postgres://postgres@{address}/{}\n", database.name());
    std::fs::write(hba.path().join("url"), url).unwrap();
    let machine = Machine {
        server,
        namespace,
        _hba: hba,
    };
    Ok((machine, database))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_locks_of_a_vanished_machine_are_free_within_the_stated_time() {
    let (mut machine, database) = match machine().await {
        Ok(machine) => machine,
        Err(reason) => {
            print_notice(&format!("SKIPPED the test of a vanished machine: {reason}"));
            return;
        }
    };
    let mut holder = database.connection().await;
    advisory_core::lock(&mut holder, AWAITED).await.unwrap();
    machine.namespace.start();
    database.wait_until_held(1 + HELD.len()).await;
    database.wait_until_waiting(1).await;

    let pool = PgPoolOptions::new()
        .max_connections(8)
        .connect_with(database.options());
    let pool = pool.await.unwrap();
    let waiting = try_join_all(HELD.map(|key| {
        let pool = pool.clone();
        tokio::spawn(async move {
            let lock = AdvisoryLock::new(key).timeout(Duration::from_mins(5));
            let guard = lock.acquire(&pool).await.unwrap();
            let granted = Instant::now();
            guard.release().await.unwrap();
            (key, granted)
        })
    }));
    let waiting = tokio::spawn(waiting);
    database.wait_until_waiting(1 + HELD.len()).await;
    machine.namespace.cut();
    let cut = Instant::now();
    for (key, granted) in waiting.await.unwrap().unwrap() {
        let after = granted - cut;
        println!("{key}: {after:?}");
        assert!(after < BOUND, "lock {key} was free after {after:?} only");
    }
    database.wait_until_waiting(0).await;
    println!("the queue was empty after {:?}", cut.elapsed());
    assert!(machine.server.is_private());
}
