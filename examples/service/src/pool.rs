//! Connections: some for requests, some for leadership.

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

use crate::config::Config;

/// Two pools, so that no flood of requests keeps a leader from its work.
pub(crate) struct Pools {
    pub(crate) work: PgPool,
    /// Two connections: one holds the lock, one is for what is done under it.
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
