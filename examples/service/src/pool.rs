//! The connections: a pool for requests, one for leadership, and a session for the locks of
//! tenants.

use advisory_core::LockSession;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

use crate::config::Config;

/// Two pools, so that requests cannot take the connections that the leader needs.
pub(crate) struct Pools {
    pub(crate) work: PgPool,
    /// Two connections: one holds the lock, and one is for the sweeps.
    pub(crate) leadership: PgPool,
    /// One connection beside the pools.
    pub(crate) locks: LockSession,
}

impl Pools {
    pub(crate) async fn open(config: &Config) -> Result<Self, sqlx::Error> {
        let options: PgConnectOptions = config.database_url.parse()?;
        let options = options.application_name(&config.instance);
        let work = PgPoolOptions::new()
            .max_connections(config.max_connections)
            .connect_with(options.clone())
            .await?;
        let leadership = PgPoolOptions::new().max_connections(2);
        Ok(Self {
            locks: LockSession::new(&work),
            work,
            leadership: leadership.connect_lazy_with(options),
        })
    }

    pub(crate) async fn close(&self) {
        self.locks.close().await;
        tokio::join!(self.work.close(), self.leadership.close());
    }
}
