//! How workloads connect to the server: directly or through a proxy.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use tokio_postgres::{Client, NoTls};

/// The size of a pool for a workload that needs one connection at a time. A returned connection is
/// busy for a moment with the ping of the pool.
const SMALL_POOL: u32 = 4;

/// The connection options of the server or of a proxy.
#[derive(Clone)]
pub(crate) struct Endpoint(pub(crate) PgConnectOptions);

impl Endpoint {
    /// A small pool that does not ping a connection before it lends it, so that only the lock is
    /// measured.
    pub(crate) async fn pool(&self) -> PgPool {
        self.pool_of(SMALL_POOL, false).await
    }

    /// A pool with so many open connections. If `pings` is true, it pings a connection before it
    /// lends it.
    pub(crate) async fn pool_of(&self, connections: u32, pings: bool) -> PgPool {
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .min_connections(connections)
            .acquire_timeout(Duration::from_secs(30))
            .test_before_acquire(pings)
            .connect_with(self.0.clone());
        pool.await.expect("the database can be reached")
    }

    /// As [`pool`](Self::pool), but without open connections.
    pub(crate) fn lazy_pool(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(SMALL_POOL)
            .acquire_timeout(Duration::from_secs(30))
            .test_before_acquire(false)
            .connect_lazy_with(self.0.clone())
    }

    /// A connection of `tokio-postgres`, which sends a message before the previous one is answered.
    pub(crate) async fn pipelining(&self) -> Client {
        let socket = self.0.get_socket().expect("a private server has a socket");
        let mut config = tokio_postgres::Config::new();
        config.host_path(socket).port(self.0.get_port());
        config.user(self.0.get_username());
        config.dbname(self.0.get_database().unwrap_or("postgres"));
        let (client, connection) = config
            .connect(NoTls)
            .await
            .expect("the database can be reached");
        tokio::spawn(connection);
        client
    }
}
