//! Where rivals reach the server: directly, or by way of a proxy.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use tokio_postgres::{Client, NoTls};

/// How many connections the pool of somebody has who needs one at a time: a pooled connection that was handed back is busy for a
/// moment, with the pool's ping.
const FEW: u32 = 4;

/// Where the server is.
#[derive(Clone)]
pub(crate) struct Place(pub(crate) PgConnectOptions);

impl Place {
    /// A pool that does not ask whether a connection is alive before it lends it: what is measured is the lock alone.
    pub(crate) async fn pool(&self) -> PgPool {
        self.pool_of(FEW, false).await
    }

    /// A pool of so many connections, all of them open.
    pub(crate) async fn pool_of(&self, connections: u32, asks_before: bool) -> PgPool {
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .min_connections(connections)
            .acquire_timeout(Duration::from_secs(30))
            .test_before_acquire(asks_before)
            .connect_with(self.0.clone());
        pool.await.expect("the database can be reached")
    }

    /// A connection of a driver that sends a message before the last one is answered.
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
