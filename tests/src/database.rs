//! A database for one test.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use tokio::sync::Mutex;

use crate::server::{Server, block_on};

/// A new, empty database for one test.
///
/// Dropped, together with whatever is connected to it, at the end of the test if the server is not a private one.
pub struct Database {
    name: String,
    url: String,
    maintenance: PgConnectOptions,
    /// The server goes with everything in it, or the database is not ours.
    is_left: bool,
    /// Connected to the maintenance database, so that it never shows among this database's backends.
    pub(crate) observer: Mutex<Option<PgConnection>>,
}

impl Database {
    /// A new database on the server of this process.
    ///
    /// # Panics
    ///
    /// If there is no server, or it refuses.
    pub async fn new() -> Self {
        Self::on(Server::shared()).await
    }

    /// A new database on `server`.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn on(server: &Server) -> Self {
        Self::of_name(server, unique_name()).await
    }

    /// A new database on the server of this process, whose name ends like this.
    ///
    /// # Panics
    ///
    /// If there is no server, or it refuses.
    pub async fn named(end: &str) -> Self {
        let name = format!("{}_{end}", unique_name());
        Self::of_name(Server::shared(), name).await
    }

    async fn of_name(server: &Server, name: String) -> Self {
        let database = Self {
            url: server.url(&name),
            maintenance: server.options(),
            is_left: server.is_private(),
            observer: Mutex::default(),
            name,
        };
        // Nobody can be connected to `template0`, and so nobody can be in the way.
        let create = format!(
            "CREATE DATABASE {} TEMPLATE template0",
            quoted(&database.name)
        );
        let mut connection = database.connect_to_maintenance().await;
        let created = sqlx::raw_sql(AssertSqlSafe(create))
            .execute(&mut connection)
            .await;
        created.unwrap_or_else(|error| panic!("a database can be created: {error}"));
        *database.observer.lock().await = Some(connection);
        database
    }

    /// The database of the same name on another server: a standby of the first, or one that has been promoted. It is not
    /// created, and not dropped.
    pub fn at(server: &Server, database: &Self) -> Self {
        Self {
            name: database.name.clone(),
            url: server.url(&database.name),
            maintenance: server.options(),
            is_left: true,
            observer: Mutex::default(),
        }
    }

    /// The name of the database.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A URL that sqlx and PostgreSQL's own tools understand.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// How to connect to the database.
    pub fn options(&self) -> PgConnectOptions {
        self.maintenance.clone().database(&self.name)
    }

    /// A pool on the database, with sqlx's default settings.
    ///
    /// # Panics
    ///
    /// If no connection can be had.
    pub async fn pool(&self, max_connections: u32) -> PgPool {
        pool(self.options(), max_connections).await
    }

    /// One connection to the database.
    ///
    /// # Panics
    ///
    /// If it cannot be had.
    pub async fn connection(&self) -> PgConnection {
        self.options()
            .connect()
            .await
            .unwrap_or_else(|error| panic!("the database can be reached: {error}"))
    }

    pub(crate) async fn connect_to_maintenance(&self) -> PgConnection {
        let options = self
            .maintenance
            .clone()
            .application_name("advisory-tests observer");
        options
            .connect()
            .await
            .unwrap_or_else(|error| panic!("the server can be reached: {error}"))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.is_left {
            return;
        }
        let options = self.maintenance.clone();
        let drop = format!(
            "DROP DATABASE IF EXISTS {} WITH (FORCE)",
            quoted(&self.name)
        );
        let dropped = block_on(async move {
            let mut connection = options.connect().await?;
            sqlx::raw_sql(AssertSqlSafe(drop))
                .execute(&mut connection)
                .await
        });
        if let Err(error) = dropped {
            eprintln!("advisory-tests: database {} stays: {error}", self.name);
        }
    }
}

pub(crate) async fn pool(options: PgConnectOptions, max_connections: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(Duration::from_secs(30))
        .connect_with(options)
        .await
        .unwrap_or_else(|error| panic!("the database can be reached: {error}"))
}

fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// A name that no other database has, on a server that may outlive us and be shared with others.
fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let time = SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap_or_default()
        .as_nanos();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("advisory_{}_{time:x}_{count}", std::process::id())
}
