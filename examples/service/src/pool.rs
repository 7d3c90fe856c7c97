//! The connection pools: one for requests, one for leadership.

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

use crate::config::Config;

/// Two pools, so that requests cannot take the connections that the leader needs.
pub(crate) struct Pools {
    pub(crate) work: PgPool,
    /// Two connections: one holds the lock, and one is for the sweeps.
    pub(crate) leadership: PgPool,
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
            work,
            leadership: leadership.connect_lazy_with(options),
        })
    }

    pub(crate) async fn close(&self) {
        tokio::join!(self.work.close(), self.leadership.close());
    }
}
