//! Through PgBouncer with settings that the command has to bear, and proxies without a server.

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

pub(super) const LOGIN_FAILING: &str =
    "server login has been failing, cached error: connect failed (server_login_retry)";
pub(super) const NO_CONNECTIONS: &str = "no more connections allowed (max_client_conn)";
/// What does not pass by itself: of PgBouncer, and of the server that it has logged in to.
const LASTING: [&str; 9] = [
    "no such database: app",
    "unsupported startup parameter: extra_float_digits",
    "password authentication failed",
    "SSL required",
    "database \"app\" does not exist",
    "no pg_hba.conf entry for host \"10.0.0.1\", user \"app\", database \"app\", no encryption",
    "role \"app\" is not permitted to log in",
    "permission denied for database \"app\"",
    "server login has been failing, cached error: password authentication failed for user \"app\" \
     (server_login_retry)",
];

/// Answers the first message of each connection, and closes it. Returns the port, and how many
/// connections there have been.
pub(super) fn answer_all(answer: Vec<u8>) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    thread::spawn(move || {
        for client in listener.incoming() {
            count.fetch_add(1, Ordering::SeqCst);
            let _ = client.and_then(|client| reply(client, &answer));
        }
    });
    (port, connections)
}

fn reply(mut client: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    let mut length = [0; 4];
    client.read_exact(&mut length)?;
    let mut startup = vec![0; u32::from_be_bytes(length) as usize - length.len()];
    client.read_exact(&mut startup)?;
    client.write_all(answer)
}

/// PgBouncer's answer with a message of SQLSTATE 08P01.
pub(super) fn refusal(message: &str) -> Vec<u8> {
    let fields = format!("SFATAL\0VFATAL\0C08P01\0M{message}\0\0");
    let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
    [b"E", &length[..], fields.as_bytes()].concat()
}

#[tokio::test]
async fn a_proxy_whose_server_is_away_is_tried_again() {
    let disable = " port=PORT sslmode=disable";
    #[rustfmt::skip]
    let attempts = [
        (disable, refusal(LOGIN_FAILING), LOGIN_FAILING),
        (disable, refusal(NO_CONNECTIONS), NO_CONNECTIONS),
        // Of two hosts, one is not as wanted, and one is away.
        (",127.0.0.1 port=PORT,1 sslmode=require", b"N".to_vec(), "does not support TLS"),
        // HAProxy closes the connection.
        (" port=PORT", Vec::new(), "unexpected response from SSLRequest"),
        // The server cannot fork.
        (" port=PORT", b"E".to_vec(), "unexpected response from SSLRequest"),
    ];
    let attempts =
        attempts.map(|(url, answer, text)| tokio::spawn(is_tried_again(url, answer, text)));
    for attempt in attempts {
        attempt.await.unwrap();
    }
}

async fn is_tried_again(url: &str, answer: Vec<u8>, text: &str) {
    let (port, connections) = answer_all(answer);
    let url = url.replace("PORT", &port.to_string());
    let url = format!("user=app password=x dbname=app host=127.0.0.1{url}");
    let lead = ["lead", "-v", "sync", "--", "true"];
    let lead = Running::start(command_with_url(&url, &lead));
    wait_until("it tries again", || connections.load(Ordering::SeqCst) >= 2).await;
    lead.signal(Signal::SIGTERM);
    let outcome = lead.end().await;
    assert_eq!(outcome.code, 143, "{outcome:?}");
    let before = connections.load(Ordering::SeqCst);
    let run = ["run", "--timeout", "2", "sync", "--", "true"];
    let outcome = output_of(command_with_url(&url, &run)).await;
    outcome.assert_only_fails(69, text);
    assert!(
        connections.load(Ordering::SeqCst) > before + 1,
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_pooler_that_refuses_the_login_is_not_tried_again() {
    for message in LASTING {
        let (port, connections) = answer_all(refusal(message));
        let url = format!("postgres://app:x@127.0.0.1:{port}/app?sslmode=disable");
        let run = ["run", "--timeout", "20", "sync", "--", "true"];
        let outcome = output_of(command_with_url(&url, &run)).await;
        outcome.assert_only_fails(69, message);
        assert_eq!(connections.load(Ordering::SeqCst), 1, "{message}");
    }
}
