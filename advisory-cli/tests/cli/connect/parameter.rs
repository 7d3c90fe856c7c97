//! Each parameter and each variable of libpq is honoured, or refused with a line that says why.

use advisory_tests::Database;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::source::Source;

/// A name, its variable, a value, and a part of the refusal, or `None` if the value is accepted.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    Option<&'static str>,
);

/// The parameters in the documentation of libpq 14 to 18. Those that decide on the server, the
/// login and TLS have tests of their own as well.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    ("host", "PGHOST", "@abstract", Some("abstract sockets")),
    ("hostaddr", "PGHOSTADDR", "localhost", Some("expected an IP address")),
    ("port", "PGPORT", "none", Some("expected a port from 1 to 65535")),
    ("port", "PGPORT", "65536", Some("expected a port from 1 to 65535")),
    ("port", "PGPORT", "1,2", Some("expected 1 of them")),
    ("dbname", "PGDATABASE", "no such database", Some("does not exist")),
    ("user", "PGUSER", "no such role", Some("does not exist")),
    ("password", "PGPASSWORD", "not needed", None),
    ("passfile", "PGPASSFILE", "/nonexistent", None),
    ("require_auth", "PGREQUIREAUTH", "scram-sha-256", Some("cannot be restricted")),
    ("channel_binding", "PGCHANNELBINDING", "prefer", None),
    ("channel_binding", "PGCHANNELBINDING", "require", Some("channel binding is not supported")),
    ("connect_timeout", "PGCONNECT_TIMEOUT", "5", None),
    ("connect_timeout", "PGCONNECT_TIMEOUT", "0", None),
    ("connect_timeout", "PGCONNECT_TIMEOUT", "soon", Some("expected a whole number of seconds")),
    ("client_encoding", "PGCLIENTENCODING", "utf8", None),
    ("client_encoding", "PGCLIENTENCODING", "auto", None),
    ("client_encoding", "PGCLIENTENCODING", "LATIN1", Some("reads and writes UTF-8")),
    ("options", "PGOPTIONS", "-c lock_timeout=7s", None),
    ("options", "PGOPTIONS", "-c nonsense=1", Some("nonsense")),
    ("application_name", "PGAPPNAME", "mine", None),
    ("fallback_application_name", "", "mine", None),
    ("keepalives", "", "1", None),
    ("keepalives_idle", "", "30", None),
    ("keepalives_interval", "", "10", None),
    ("keepalives_count", "", "3", None),
    ("tcp_user_timeout", "", "5000", None),
    ("replication", "", "off", None),
    ("replication", "", "database", Some("takes no locks")),
    ("gssencmode", "PGGSSENCMODE", "prefer", None),
    ("gssencmode", "PGGSSENCMODE", "require", Some("GSSAPI is not supported")),
    ("sslmode", "PGSSLMODE", "disable", None),
    ("sslmode", "PGSSLMODE", "allow", None),
    ("sslmode", "PGSSLMODE", "prefer", None),
    ("sslmode", "PGSSLMODE", "require", None),
    ("sslmode", "PGSSLMODE", "verify-ca", None),
    ("sslmode", "PGSSLMODE", "verify-full", None),
    ("sslmode", "PGSSLMODE", "on", Some("expected one of `disable`")),
    ("sslnegotiation", "PGSSLNEGOTIATION", "postgres", None),
    ("sslnegotiation", "PGSSLNEGOTIATION", "direct", Some("begins with a request")),
    ("sslcompression", "PGSSLCOMPRESSION", "0", None),
    ("sslcompression", "PGSSLCOMPRESSION", "1", Some("never compressed")),
    ("sslcert", "PGSSLCERT", "/nonexistent", None),
    ("sslkey", "PGSSLKEY", "/nonexistent", None),
    ("sslkeylogfile", "", "/tmp/keys", Some("not logged")),
    ("sslpassword", "", "hidden", Some("decrypt the key")),
    ("sslcertmode", "PGSSLCERTMODE", "allow", None),
    ("sslcertmode", "PGSSLCERTMODE", "require", Some("if the server asks")),
    ("sslrootcert", "PGSSLROOTCERT", "/nonexistent", None),
    ("sslrootcert", "PGSSLROOTCERT", "system", None),
    ("sslcrl", "PGSSLCRL", "/nonexistent", Some("revocation lists are not checked")),
    ("sslcrldir", "PGSSLCRLDIR", "/nonexistent", Some("revocation lists are not checked")),
    ("sslsni", "PGSSLSNI", "1", None),
    ("sslsni", "PGSSLSNI", "0", Some("always sent")),
    ("requirepeer", "PGREQUIREPEER", "postgres", Some("not checked")),
    ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION", "TLSv1.2", None),
    ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION", "TLSv1.3", Some("1.2 and 1.3")),
    ("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION", "TLSv1.3", None),
    ("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION", "TLSv1.1", Some("1.2 and 1.3")),
    ("min_protocol_version", "PGMINPROTOCOLVERSION", "3.0", None),
    ("min_protocol_version", "PGMINPROTOCOLVERSION", "3.2", Some("protocol 3.0 is spoken")),
    ("max_protocol_version", "PGMAXPROTOCOLVERSION", "latest", None),
    ("max_protocol_version", "PGMAXPROTOCOLVERSION", "2.0", Some("protocol 3.0 is spoken")),
    ("krbsrvname", "PGKRBSRVNAME", "postgres", Some("GSSAPI is not supported")),
    ("gsslib", "PGGSSLIB", "gssapi", Some("GSSAPI is not supported")),
    ("gssdelegation", "PGGSSDELEGATION", "0", None),
    ("gssdelegation", "PGGSSDELEGATION", "1", Some("GSSAPI is not supported")),
    ("scram_client_key", "", "hidden", Some("the password itself")),
    ("scram_server_key", "", "hidden", Some("the password itself")),
    ("oauth_issuer", "", "https://example.com", Some("OAuth is not supported")),
    ("oauth_client_id", "", "me", Some("OAuth is not supported")),
    ("oauth_client_secret", "", "hidden", Some("OAuth is not supported")),
    ("oauth_scope", "", "all", Some("OAuth is not supported")),
    ("service", "PGSERVICE", "none", Some("the service `none` is not defined")),
    ("servicefile", "PGSERVICEFILE", "/nonexistent", None),
    ("target_session_attrs", "PGTARGETSESSIONATTRS", "any", None),
    ("target_session_attrs", "PGTARGETSESSIONATTRS", "read-write", None),
    ("target_session_attrs", "PGTARGETSESSIONATTRS", "primary", None),
    ("target_session_attrs", "PGTARGETSESSIONATTRS", "prefer-standby", None),
    ("target_session_attrs", "PGTARGETSESSIONATTRS", "standby", Some("it is a primary")),
    ("target_session_attrs", "PGTARGETSESSIONATTRS", "read-only", Some("it is read-write")),
    ("target_session_attrs", "PGTARGETSESSIONATTRS", "best", Some("expected one of `any`")),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS", "disable", None),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS", "random", None),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS", "yes", Some("expected `disable` or `random`")),
    ("", "PGREQUIRESSL", "1", None),
    ("", "PGDATESTYLE", "German", None),
    ("", "PGTZ", "Europe/Berlin", None),
    ("", "PGGEQO", "off", None),
    ("", "PGLOCALEDIR", "/nonexistent", None),
    ("", "PGSYSCONFDIR", "/nonexistent", None),
];

/// Runs the command with a parameter in a connection string of each kind, and in the variable.
async fn try_each_way(database: &Database, row: &Row) {
    let (name, variable, value, refusal) = *row;
    let source = Source::of(database);
    let mut ways = Vec::new();
    if !name.is_empty() {
        let quoted = format!("{name}='{value}'");
        let encoded = utf8_percent_encode(value, NON_ALPHANUMERIC);
        let url = format!("postgresql://?{name}={encoded}");
        for url in [quoted, url] {
            ways.push((
                url.clone(),
                source.run(&["ls", "--database-url", &url]).await,
            ));
        }
    }
    if !variable.is_empty() {
        let run = Source::of(database)
            .with(variable, value)
            .run(&["ls"])
            .await;
        ways.push((format!("{variable}={value}"), run));
    }
    for (way, outcome) in ways {
        match refusal {
            None => outcome.assert_silent(0),
            Some(text) => {
                assert!([2, 69].contains(&outcome.code), "{way}: {outcome:?}");
                outcome.assert_fails(outcome.code, &[text]);
                assert!(!outcome.stderr.contains("hidden"), "{way}: {outcome:?}");
                // A line of the server's source code.
                assert!(!outcome.stderr.contains("at line"), "{way}: {outcome:?}");
                assert!(
                    outcome.code == 69 || outcome.stderr.contains(value) || value == "hidden",
                    "{way}: {outcome:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn each_parameter_of_libpq_is_honoured_or_refused() {
    let database = Database::new().await;
    for row in TABLE {
        try_each_way(&database, row).await;
    }
}

#[tokio::test]
async fn a_parameter_that_libpq_does_not_know_is_refused() {
    let source = Source::empty();
    for url in ["postgres://x/y?hots=z", "hots=z"] {
        let refused = source.run(&["ls", "--database-url", url]).await;
        refused.assert_only_fails(2, "`hots` in the database URL is not a parameter of libpq");
    }
}

/// They say how the library uses the connection, and not where it goes.
#[tokio::test]
async fn parameters_of_prisma_and_sqlx_are_accepted() {
    let database = Database::new().await;
    let source = Source::of(&database);
    let url = "postgres://?schema=public&connection_limit=5&pgbouncer=true&pool_timeout=0\
               &statement-cache-capacity=10&ssl-mode=prefer&options[lock_timeout]=5s&ssl=true";
    Source::assert_is(&source.database(Some(url)).await, &database, url);
}

#[tokio::test]
async fn the_options_and_the_application_name_reach_the_server() {
    let database = Database::new().await;
    let source = Source::of(&database);
    let strings = [
        "options='-c lock_timeout=7777ms -cstatement_timeout=0' application_name=mine",
        "postgres://?options=-c%20lock_timeout%3D7777ms&application_name=mine",
        "postgres://?options[lock_timeout]=7777ms&application_name=mine",
        "postgres://?options=-c+lock_timeout%3D7777ms&fallback_application_name=mine",
    ];
    for url in strings {
        let arguments = ["doctor", "--json", "--database-url", url];
        let doctor = source.run(&arguments).await;
        assert!(doctor.text().contains("7777ms"), "{url}: {doctor:?}");
        let command = source.command(
            crate::command::ADVISORY,
            &["hold", "nightly", "--database-url", url],
        );
        let mut holding = crate::command::Running::start(command);
        database.wait_until_held(1).await;
        let is_named = |backends: &[advisory_tests::BackendRow]| {
            let mut backends = backends.iter();
            backends.any(|backend| backend.application_name.contains("mine"))
        };
        database.wait_until_backends("a named one", is_named).await;
        holding.close_input();
        holding.signal(nix::sys::signal::Signal::SIGTERM);
        holding.end().await;
        database.wait_until_held(0).await;
    }
}
