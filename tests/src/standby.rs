//! A second server that follows the first.

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};
use tokio::time::{Duration, Instant, sleep};

use crate::account::Account;
use crate::cluster::Cluster;
use crate::error::StartError;
use crate::server::{Server, block_on};

/// How long a standby may lag behind.
const PATIENCE: Duration = Duration::from_secs(30);

impl Server {
    /// A hot standby of this server: a second private one, which follows it by streaming replication and answers those who
    /// only read. Gone when it is dropped; the databases of this one are there too, see [`Database::at`](crate::Database::at).
    ///
    /// Blocks for about a second.
    ///
    /// # Panics
    ///
    /// If this server is not a private one.
    pub fn standby(&self) -> Result<Self, StartError> {
        let cluster = self.cluster();
        let standby = block_on(self.back_up(cluster))
            .and_then(|(standby, label)| standby.start_copy(&label).map(|()| standby));
        standby
            .map(|standby| Self::private(standby, self.version()))
            .map_err(|reason| StartError::failed(cluster.binaries(), reason))
    }

    /// A copy of the data, and the label without which it is worth nothing.
    async fn back_up(&self, cluster: &Cluster) -> Result<(Cluster, String), String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let slot = format!("standby_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let primary = format!(
            "host='{}' port=5432 user=postgres application_name={slot}",
            cluster.socket_dir().display()
        );
        let settings = [
            ("primary_conninfo", &*primary),
            ("primary_slot_name", &slot),
        ];
        let (begin, end) = if self.version().major >= 15 {
            (
                "pg_backup_start('standby', true)",
                "pg_backup_stop(wait_for_archive => false)",
            )
        } else {
            (
                "pg_start_backup('standby', true, false)",
                "pg_stop_backup(false, false)",
            )
        };
        // From now on the primary keeps what the standby has not seen, also while they cannot reach each other.
        let reserve =
            format!("SELECT pg_create_physical_replication_slot('{slot}', true); SELECT {begin}");
        let label = format!("SELECT labelfile FROM {end}");

        let text = |error: sqlx::Error| error.to_string();
        let mut connection: PgConnection = self.options().connect().await.map_err(text)?;
        connection
            .execute(sqlx::raw_sql(AssertSqlSafe(reserve)))
            .await
            .map_err(text)?;
        let account = Account::for_server()?;
        let standby = cluster.copy(&account, &settings)?;
        let label = sqlx::query_scalar(AssertSqlSafe(label))
            .fetch_one(&mut connection)
            .await
            .map_err(text)?;
        Ok((standby, label))
    }

    /// Makes a standby a server in its own right, and returns when it can be written to. The one it followed goes on as
    /// before, if it still runs.
    ///
    /// # Panics
    ///
    /// If this server is not a standby.
    pub async fn promote(&self) {
        let mut connection = self.connect().await;
        let is_promoted: bool = sqlx::query_scalar("SELECT pg_promote()")
            .fetch_one(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("a standby can be promoted: {error}"));
        assert!(is_promoted, "a standby can be promoted within a minute");
    }

    /// Waits until a standby shows everything that has been committed on `primary` so far.
    ///
    /// # Panics
    ///
    /// If that has not come about in 30 s.
    pub async fn wait_until_replayed(&self, primary: &Server) {
        // The harness's servers commit asynchronously. One commit that does not, and has something to write, takes all
        // before it along.
        let flush = "BEGIN; SET LOCAL synchronous_commit = local; \
             SELECT pg_logical_emit_message(true, 'advisory-tests', ''); COMMIT";
        let mut connection = primary.connect().await;
        let answer = connection.execute(flush).await;
        answer.unwrap_or_else(|error| panic!("the primary can be written to: {error}"));
        let position: String = sqlx::query_scalar("SELECT pg_current_wal_flush_lsn()::text")
            .fetch_one(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("the primary can be asked: {error}"));

        let mut connection = self.connect().await;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let is_there: bool =
                sqlx::query_scalar("SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn")
                    .bind(&position)
                    .fetch_one(&mut connection)
                    .await
                    .unwrap_or_else(|error| panic!("the standby can be asked: {error}"));
            if is_there {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{position} has not been replayed"
            );
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn connect(&self) -> PgConnection {
        let connection = self.options().connect().await;
        connection.unwrap_or_else(|error| panic!("the server can be reached: {error}"))
    }
}
