//! The connection to the server, which libpq's connection strings, environment variables and files
//! name.

mod candidate;
mod connection_string;
mod environment;
mod host;
mod login;
mod parameter;
mod password_file;
mod server_options;
mod service_file;
mod session_attributes;
mod settings;
mod tls;

use clap::Args;
use sqlx::postgres::{PgPool, PgPoolOptions};

use self::candidate::Candidates;
use self::environment::Environment;
use self::session_attributes::SessionAttributes;
use self::settings::Settings;
use crate::exit::Failure;

/// The server to connect to.
#[derive(Args, Clone)]
pub(crate) struct Server {
    /// The database, as a connection string of libpq: `postgres://user@host/name`, or
    /// `host=… dbname=…`. What it does not say, libpq's variables do: `PGSERVICE`, `PGHOST`,
    /// `PGUSER`, `PGDATABASE` …
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
        self.connect_to(connections, SessionAttributes::Any).await
    }

    /// As [`connect`](Self::connect). If `target_session_attrs` is not given, a standby is not
    /// wanted.
    pub(crate) async fn connect_to_primary(&self, connections: u32) -> Result<PgPool, Failure> {
        let wanted = SessionAttributes::Primary;
        self.connect_to(connections, wanted).await
    }

    async fn connect_to(
        &self,
        connections: u32,
        wanted: SessionAttributes,
    ) -> Result<PgPool, Failure> {
        let environment = Environment::read();
        let settings = Settings::read(self.database_url.as_deref(), &environment)?;
        let candidates = Candidates::read(&settings, &environment, wanted)?;
        // A pool retries until its timeout, and then does not report the reason.
        let options = candidates.find().await?;
        Ok(PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(candidates.connect_timeout())
            .connect_lazy_with(options))
    }
}
