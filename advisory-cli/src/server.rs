//! The connection to the server.

use std::io::ErrorKind::TimedOut;
use std::time::Duration;

use clap::Args;
use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use tokio::time::timeout;

use crate::exit::{Code, Failure};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Which server.
#[derive(Args, Clone)]
pub(crate) struct Server {
    /// The database, as `postgres://user@host/name`. If not given, libpq's variables say: `PGHOST`, `PGUSER`, `PGDATABASE` …
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
    /// A pool of at most so many connections, on a server that has answered.
    pub(crate) async fn connect(&self, connections: u32) -> Result<PgPool, Failure> {
        let options = self.options()?;
        // A pool tries again for as long as it may, and does not say what was wrong.
        let first = timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&options)).await;
        let answered = first.unwrap_or_else(|_| Err(std::io::Error::from(TimedOut).into()));
        let first = answered.map_err(|error| unreachable(&options, &error))?;
        // Its end is the server's business; a fault in it would show again soon enough.
        let _ = first.close().await;
        Ok(PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(CONNECT_TIMEOUT)
            .connect_lazy_with(options))
    }

    pub(crate) fn options(&self) -> Result<PgConnectOptions, Failure> {
        let options = match &self.database_url {
            // Its text may hold a password, so it is not repeated.
            Some(url) if SCHEMES.iter().any(|scheme| url.starts_with(scheme)) => url
                .parse()
                .map_err(|error| unreadable(&format!(": {error}")))?,
            Some(_) => return Err(unreadable("")),
            None => PgConnectOptions::new(),
        };
        Ok(named(options))
    }
}

/// As somebody who looks at `pg_stat_activity` finds us, unless the user has said otherwise.
fn named(options: PgConnectOptions) -> PgConnectOptions {
    match options.get_application_name() {
        Some(_) => options,
        None => options.application_name("advisory"),
    }
}

/// sqlx would take any.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

fn unreadable(why: &str) -> Failure {
    let expected = "expected `postgres://user@host/database`";
    let message = format!("the database URL cannot be read{why}; {expected}");
    Failure::new(Code::Usage, message)
}

fn unreachable(options: &PgConnectOptions, error: &sqlx::Error) -> Failure {
    let place = place(options);
    let how = "give another with `--database-url` or `DATABASE_URL`";
    let message = format!("cannot connect to {place}: {error}; {how}");
    Failure::new(Code::Unreachable, message)
}

fn place(options: &PgConnectOptions) -> String {
    let host = options.get_socket().map_or_else(
        || options.get_host().to_owned(),
        |socket| socket.display().to_string(),
    );
    let database = options
        .get_database()
        .map_or(String::new(), |name| format!(", database `{name}`"));
    format!("{host}, port {}{database}", options.get_port())
}
