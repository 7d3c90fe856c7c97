//! The connection to the server.

use std::time::Duration;

use clap::Args;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

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
    /// A pool of at most so many connections, one of which has answered.
    pub(crate) async fn connect(&self, connections: u32) -> Result<PgPool, Failure> {
        let options = self.options()?;
        let place = place(&options);
        PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(CONNECT_TIMEOUT)
            .connect_with(options)
            .await
            .map_err(|error| {
                let how = "give another with `--database-url` or `DATABASE_URL`";
                Failure::new(
                    Code::Unreachable,
                    format!("cannot connect to {place}: {error}; {how}"),
                )
            })
    }

    pub(crate) fn options(&self) -> Result<PgConnectOptions, Failure> {
        let options = match &self.database_url {
            // Its text may hold a password, so it is not repeated.
            Some(url) => url.parse().map_err(|error| {
                let expected = "expected `postgres://user@host/database`";
                Failure::new(
                    Code::Usage,
                    format!("the database URL cannot be read: {error}; {expected}"),
                )
            })?,
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
