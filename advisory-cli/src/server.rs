//! The connection to the server.

use std::io::ErrorKind::TimedOut;
use std::time::Duration;

use clap::Args;
use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use tokio::time::timeout;

use crate::exit::Failure;

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The prefixes of a database URL. sqlx accepts any.
const URL_SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// The server to connect to.
#[derive(Args, Clone)]
pub(crate) struct Server {
    /// The database, as `postgres://user@host/name`. If not given, libpq's variables apply:
    /// `PGHOST`, `PGUSER`, `PGDATABASE` …
    #[arg(
        long,
        value_name = "URL",
        env = "DATABASE_URL",
        hide_env_values = true,
        global = true
    )]
    database_url: Option<String>,
}

impl Server {
    /// A pool of at most this many connections, on a server that has accepted a first one.
    pub(crate) async fn connect(&self, connections: u32) -> Result<PgPool, Failure> {
        let options = self.options()?;
        // A pool retries until its timeout, and then does not report the reason.
        let first = timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&options)).await;
        let first = first
            .unwrap_or_else(|_| Err(std::io::Error::from(TimedOut).into()))
            .map_err(|error| unreachable(&options, &error))?;
        // If closing fails, the pool's own connections report the fault.
        let _ = first.close().await;
        Ok(PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(CONNECT_TIMEOUT)
            .connect_lazy_with(options))
    }

    /// The options of a connection. Its `application_name` is `advisory` unless the user sets one.
    pub(crate) fn options(&self) -> Result<PgConnectOptions, Failure> {
        let options = match &self.database_url {
            Some(url) => parse_url(url)?,
            None => PgConnectOptions::new(),
        };
        Ok(match options.get_application_name() {
            Some(_) => options,
            None => options.application_name("advisory"),
        })
    }
}

/// The error does not repeat the URL, which may contain a password.
fn parse_url(url: &str) -> Result<PgConnectOptions, Failure> {
    let failure = |reason: String| {
        Failure::usage(format!(
            "the database URL cannot be read{reason}; expected `postgres://user@host/database`"
        ))
    };
    if !URL_SCHEMES.iter().any(|scheme| url.starts_with(scheme)) {
        return Err(failure(String::new()));
    }
    url.parse().map_err(|error| failure(format!(": {error}")))
}

fn unreachable(options: &PgConnectOptions, error: &sqlx::Error) -> Failure {
    let host = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => options.get_host().to_owned(),
    };
    let port = options.get_port();
    let database = options
        .get_database()
        .map_or(String::new(), |name| format!(", database `{name}`"));
    let message = format!(
        "cannot connect to {host}, port {port}{database}: {error}; \
         give another server with `--database-url` or `DATABASE_URL`"
    );
    Failure::unreachable(error, message)
}
