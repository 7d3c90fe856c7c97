//! Through PgBouncer with settings that the command has to bear.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use advisory_core::AdvisoryLock;
use advisory_tests::{Database, Pooler, Pooling};
use nix::sys::signal::Signal;
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use crate::command::{Running, advisory_as, command_with_url, output_of, wait_until};

/// PgBouncer refuses a connection with a parameter that it neither knows nor is set to ignore, and
/// sqlx sends `extra_float_digits`.
#[tokio::test]
async fn every_command_connects_through_a_pooler_that_ignores_no_parameter() {
    let database = Database::new().await;
    let Some(pooler) = Pooler::try_start(&database, Pooling::Session, 5).await else {
        return;
    };
    pooler.configure("ignore_startup_parameters =");
    for arguments in [
        &["ls"][..],
        &["tree"],
        &["doctor"],
        &["bench", "--seconds", "1"],
        &["explain", "sync"],
        &["setup"],
        &["lead", "sync", "--", "true"],
        &["run", "sync", "--", "true"],
    ] {
        let outcome = advisory_as(&pooler.options(), arguments).await;
        assert_eq!(outcome.code, 0, "{arguments:?}: {outcome:?}");
    }
    let refused = advisory_as(&pooler.options(), &["terminate", "1", "--yes"]).await;
    refused.assert_fails(1, &["pid 1 holds no advisory lock"]);
}

/// The only backend is taken by another client.
#[tokio::test]
async fn an_error_of_the_pooler_is_not_that_of_the_command() {
    let database = Database::new().await;
    let Some(pooler) = Pooler::try_start(&database, Pooling::Session, 1).await else {
        return;
    };
    pooler.configure("query_wait_timeout = 1");
    let mut other = PgConnection::connect_with(&pooler.options()).await.unwrap();
    other.ping().await.unwrap();
    let refused = advisory_as(&pooler.options(), &["run", "sync", "--", "true"]).await;
    refused.assert_fails(70, &["query_wait_timeout"]);
}

/// The role and the database of the server are not those of the URL.
#[tokio::test]
async fn own_locks_are_found_through_a_pooler_that_logs_in_as_another_role() {
    let database = Database::new().await;
    let Some(pooler) = Pooler::try_start(&database, Pooling::Session, 5).await else {
        return;
    };
    let name = database.name();
    let socket = database.options().get_socket().unwrap().clone();
    let socket = socket.display();
    pooler.configure(&format!(
        "[databases]\nalias = host={socket} port=5432 dbname={name} user=postgres"
    ));
    let options = pooler.options().username("somebody").database("alias");
    let none = advisory_as(&options, &["ls", "--mine"]).await;
    none.assert_silent(0);
    let expected = format!("no session of yours holds an advisory lock in database `{name}`");
    assert!(none.text().starts_with(&expected), "{none:?}");
    let pool = database.pool(1).await;
    let lock = AdvisoryLock::new("sync").tag_session();
    let holder = lock.acquire(&pool).await.unwrap();
    let mine = advisory_as(&options, &["ls", "--mine"]).await;
    mine.assert_silent(0);
    assert!(mine.text().contains("sync"), "{mine:?}");
    holder.release().await.unwrap();
}

const LOGIN_FAILING: &str =
    "server login has been failing, cached error: connect failed (server_login_retry)";
const NO_CONNECTIONS: &str = "no more connections allowed (max_client_conn)";
/// What does not pass by itself.
const LASTING: [&str; 4] = [
    "no such database: app",
    "unsupported startup parameter: extra_float_digits",
    "password authentication failed",
    "SSL required",
];

/// Answers each connection as PgBouncer does, with an error of SQLSTATE 08P01. Returns its URL, and
/// how many connections it has answered.
fn refuse_all(message: &'static str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("postgres://app:x@127.0.0.1:{port}/app?sslmode=disable");
    let answered = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&answered);
    thread::spawn(move || {
        for client in listener.incoming() {
            if client.and_then(|client| refuse(client, message)).is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    (url, answered)
}

fn refuse(mut client: TcpStream, message: &str) -> std::io::Result<()> {
    let mut length = [0; 4];
    client.read_exact(&mut length)?;
    let mut startup = vec![0; u32::from_be_bytes(length) as usize - length.len()];
    client.read_exact(&mut startup)?;
    let fields = format!("SFATAL\0VFATAL\0C08P01\0M{message}\0\0");
    let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
    client.write_all(&[b"E", &length[..], fields.as_bytes()].concat())
}

#[tokio::test]
async fn a_pooler_whose_server_is_away_is_tried_again() {
    for message in [LOGIN_FAILING, NO_CONNECTIONS] {
        let (url, answered) = refuse_all(message);
        let lead = ["lead", "-v", "sync", "--", "true"];
        let lead = Running::start(command_with_url(&url, &lead));
        wait_until("it tries again", || answered.load(Ordering::SeqCst) >= 2).await;
        lead.signal(Signal::SIGTERM);
        let outcome = lead.end().await;
        assert_eq!(outcome.code, 143, "{outcome:?}");
        let before = answered.load(Ordering::SeqCst);
        let run = ["run", "--timeout", "2", "sync", "--", "true"];
        let outcome = output_of(command_with_url(&url, &run)).await;
        outcome.assert_only_fails(69, message);
        assert!(answered.load(Ordering::SeqCst) > before + 1, "{outcome:?}");
    }
}

#[tokio::test]
async fn a_pooler_that_refuses_the_login_is_not_tried_again() {
    for message in LASTING {
        let (url, answered) = refuse_all(message);
        let run = ["run", "--timeout", "20", "sync", "--", "true"];
        let outcome = output_of(command_with_url(&url, &run)).await;
        outcome.assert_only_fails(69, message);
        assert_eq!(answered.load(Ordering::SeqCst), 1, "{message}");
    }
}
