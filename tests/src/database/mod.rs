//! A database for one test.
//!
//! [`Database`] creates and drops the database. `observer` reads `pg_locks` and `pg_stat_activity`,
//! and waits for a state. `table` is a table in which tests write. `role` creates a role without
//! privileges. `function` replaces PostgreSQL's lock functions. `libpq` gives the environment
//! variables with which libpq connects.

mod function;
mod libpq;
mod observer;
mod role;
mod table;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use tokio::sync::Mutex;

use crate::server::{Server, block_on};

pub use observer::{BackendRow, LockRow, by_our_clock, drop_after, drop_when, is_ever};
pub use table::{WRITE, abandon_a_transaction, scalar, written};

/// A new, empty database for one test.
///
/// On an external server, the database is dropped and its sessions are terminated when this value
/// is dropped. A private server ends with all its databases.
pub struct Database {
    name: String,
    url: String,
    maintenance: PgConnectOptions,
    /// False if the server is private and ends by itself, or if another value owns the database.
    is_dropped_with_self: bool,
    /// True if there is a role of the database's name, which is dropped with the database.
    has_role: AtomicBool,
    /// A connection to the maintenance database, which is not one of this database's backends.
    observer: Mutex<Option<PgConnection>>,
}

impl Database {
    /// A new database on the server of this process.
    ///
    /// # Panics
    ///
    /// If no server can be used, or the server refuses.
    pub async fn new() -> Self {
        Self::on(Server::shared()).await
    }

    /// A new database on `server`.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn on(server: &Server) -> Self {
        Self::create(server, unique_name()).await
    }

    /// A new database on the server of this process, whose name ends with `suffix`.
    ///
    /// # Panics
    ///
    /// If no server can be used, or the server refuses.
    pub async fn named(suffix: &str) -> Self {
        let name = format!("{}_{suffix}", unique_name());
        Self::create(Server::shared(), name).await
    }

    async fn create(server: &Server, name: String) -> Self {
        let database = Self {
            url: server.url(&name),
            maintenance: server.options(),
            is_dropped_with_self: !server.is_private(),
            has_role: AtomicBool::default(),
            observer: Mutex::default(),
            name,
        };
        // `template0` accepts no connections, so no session can block the copy.
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

    /// The database of the same name on a standby, or on a standby that has been promoted. The
    /// database is neither created nor dropped.
    pub fn at(server: &Server, database: &Self) -> Self {
        Self {
            name: database.name.clone(),
            url: server.url(&database.name),
            maintenance: server.options(),
            is_dropped_with_self: false,
            has_role: AtomicBool::default(),
            observer: Mutex::default(),
        }
    }

    /// The same database, reached with other options, as through a pooler. It is not dropped with
    /// the returned value.
    #[must_use]
    pub fn through(&self, options: PgConnectOptions) -> Self {
        Self {
            name: self.name.clone(),
            url: options.to_url_lossy().to_string(),
            maintenance: options,
            is_dropped_with_self: false,
            has_role: AtomicBool::default(),
            observer: Mutex::default(),
        }
    }

    /// The name of the database.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL of the database, for sqlx and PostgreSQL's own tools.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// The options to connect to the database.
    pub fn options(&self) -> PgConnectOptions {
        self.maintenance.clone().database(&self.name)
    }

    /// A pool on the database with sqlx's default settings.
    ///
    /// # Panics
    ///
    /// If the database cannot be reached.
    pub async fn pool(&self, max_connections: u32) -> PgPool {
        pool(self.options(), max_connections).await
    }

    /// As [`pool`](Self::pool), with a setting in each session, as in
    /// `database.pool_with(2, "lock_timeout", "1s")`.
    ///
    /// # Panics
    ///
    /// If the database cannot be reached.
    pub async fn pool_with(&self, max_connections: u32, setting: &str, value: &str) -> PgPool {
        pool(self.options().options([(setting, value)]), max_connections).await
    }

    /// One connection to the database.
    ///
    /// # Panics
    ///
    /// If the database cannot be reached.
    pub async fn connection(&self) -> PgConnection {
        self.options()
            .connect()
            .await
            .unwrap_or_else(|error| panic!("the database can be reached: {error}"))
    }

    async fn connect_to_maintenance(&self) -> PgConnection {
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
        if !self.is_dropped_with_self {
            return;
        }
        let options = self.maintenance.clone();
        let name = quoted(&self.name);
        let mut drops = vec![format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")];
        drops.extend(self.has_role.get_mut().then(|| format!("DROP ROLE {name}")));
        let dropped = block_on(async move {
            let mut connection = options.connect().await?;
            for drop in drops {
                let drop = sqlx::raw_sql(AssertSqlSafe(drop));
                drop.execute(&mut connection).await?;
            }
            Ok::<_, sqlx::Error>(())
        });
        if let Err(error) = dropped {
            eprintln!(
                "advisory-tests: database {} is not dropped: {error}",
                self.name
            );
        }
    }
}

/// A pool with sqlx's default settings, once its first connection is open.
pub(crate) async fn pool(options: PgConnectOptions, max_connections: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(Duration::from_secs(30))
        .connect_with(options)
        .await
        .unwrap_or_else(|error| panic!("the database can be reached: {error}"))
}

/// Another pool with the same settings, as another process would have: its waits on the server are
/// its own.
pub fn another_pool(pool: &PgPool) -> PgPool {
    let options = PgConnectOptions::clone(&pool.connect_options());
    pool.options().clone().connect_lazy_with(options)
}

fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// A name that is unique also on an external server, where other processes create databases as
/// well.
fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let time = SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap_or_default()
        .as_nanos();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("advisory_{}_{time:x}_{count}", std::process::id())
}
