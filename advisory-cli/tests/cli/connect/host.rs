//! Several hosts, and which of them is wanted.

use advisory_tests::{Database, Server};

use super::pooler::{LOGIN_FAILING, NO_CONNECTIONS, answer_all, refusal};
use super::source::Source;

/// The folder of a server's socket.
fn socket(database: &Database) -> String {
    Source::of(database).get("PGHOST").to_owned()
}

#[tokio::test]
async fn hosts_are_tried_in_turn() {
    let database = Database::new().await;
    let source = Source::of(&database);
    let (host, name) = (socket(&database), database.name());
    let encoded = host.replace('/', "%2F");
    // PgBouncer beside a server that is away, and one that is full.
    let [away, full] = [LOGIN_FAILING, NO_CONNECTIONS].map(|text| answer_all(refusal(text)).0);
    for url in [
        format!("host=/nonexistent,{host}"),
        format!("host=127.0.0.1,{host} port=1,5432"),
        format!("host={host},/nonexistent port=5432"),
        format!("postgres://127.0.0.1:1,{encoded}:5432/{name}"),
        format!("postgres://postgres@[::1]:1,{encoded}:5432"),
        format!("postgres:///{name}?host=/nonexistent,{host}"),
        format!("host=/nonexistent,{host} load_balance_hosts=random"),
        format!("host=localhost,{host} port=1,5432"),
        format!("host=127.0.0.1,127.0.0.1,{host} port={away},{full},5432 sslmode=disable"),
    ] {
        Source::assert_is(&source.database(Some(&url)).await, &database, &url);
    }
    let source = source
        .with("PGHOST", &format!("localhost,{host}"))
        .with("PGPORT", "1,5432");
    Source::assert_is(&source.database(None).await, &database, "PGHOST");
}

#[tokio::test]
async fn an_error_names_each_host_with_its_reason() {
    let source = Source::empty();
    let url = "host=127.0.0.1,/nonexistent port=1,2 user=me";
    let refused = source.run(&["ls", "--database-url", url]).await;
    let texts = [
        "cannot connect to any of 2 servers: 127.0.0.1, port 1: ",
        "Connection refused",
        "; /nonexistent, port 2: ",
        "No such file",
    ];
    refused.assert_fails(69, &texts);
}

#[tokio::test]
async fn lists_of_different_lengths_are_refused() {
    let source = Source::empty();
    for (url, text) in [
        (
            "host=a,b port=1,2,3",
            "`port=1,2,3` in the database URL: expected 2 of them, one for each host, found 3",
        ),
        (
            "host=a,b hostaddr=127.0.0.1",
            "`host=a,b` in the database URL: expected 1 of them",
        ),
        (
            "postgres://a:1,b:x/",
            "expected a port from 1 to 65535 after a `:`, or `@` and a host",
        ),
    ] {
        let refused = source.run(&["ls", "--database-url", url]).await;
        refused.assert_only_fails(2, text);
    }
}

/// A wrong password is wrong on every server, and repeated attempts can lock the account.
#[tokio::test]
async fn a_refused_login_ends_the_search() {
    let database = Database::new().await;
    let source = Source::of(&database).with("PGUSER", "nobody at all");
    let url = format!("host={},/nonexistent", socket(&database));
    let refused = source.run(&["ls", "--database-url", &url]).await;
    refused.assert_fails(69, &["role \"nobody at all\" does not exist"]);
    assert!(!refused.stderr.contains("/nonexistent"), "{refused:?}");
}

#[tokio::test]
async fn hostaddr_is_connected_to_instead_of_the_name() {
    let source = Source::empty().with("PGUSER", "me");
    let url = "host=no.such.host.invalid hostaddr=127.0.0.1 port=1";
    let refused = source.run(&["ls", "--database-url", url]).await;
    let texts = [
        "no.such.host.invalid (127.0.0.1), port 1",
        "Connection refused",
    ];
    refused.assert_fails(69, &texts);
    let source = source.with("PGHOSTADDR", "127.0.0.1").with("PGPORT", "1");
    let refused = source.run(&["ls"]).await;
    refused.assert_fails(69, &["connect to 127.0.0.1, port 1", "Connection refused"]);
    let verified = format!("{url} sslmode=verify-full");
    let refused = source.run(&["ls", "--database-url", &verified]).await;
    refused.assert_only_fails(2, "`hostaddr=127.0.0.1` in the database URL: a certificate");
}

#[tokio::test]
async fn the_primary_and_the_standby_are_told_apart() {
    let primary = Server::start().unwrap();
    let database = Database::on(&primary).await;
    let standby = primary.standby().unwrap();
    standby.wait_until_replayed(&primary).await;
    let at_standby = Database::at(&standby, &database);
    let mut holder = database.connection().await;
    advisory_core::lock(&mut holder, 4242).await.unwrap();
    let (first, second) = (socket(&at_standby), socket(&database));
    let source = Source::of(&database);
    for (hosts, wanted, is_primary) in [
        ([&first, &second], "any", false),
        ([&first, &second], "read-write", true),
        ([&first, &second], "primary", true),
        ([&second, &first], "standby", false),
        ([&second, &first], "read-only", false),
        ([&second, &first], "prefer-standby", false),
        ([&second, &second], "prefer-standby", true),
    ] {
        let url = format!(
            "host={},{} target_session_attrs={wanted}",
            hosts[0], hosts[1]
        );
        let listed = source.run(&["ls", "--database-url", &url]).await;
        listed.assert_silent(0);
        assert_eq!(
            listed.text().contains("4242"),
            is_primary,
            "{url}: {listed:?}"
        );
    }
    let url = format!("host={first},{first} target_session_attrs=read-write");
    let refused = source.run(&["ls", "--database-url", &url]).await;
    refused.assert_fails(69, &["any of 2 servers", "it is read-only"]);
}
