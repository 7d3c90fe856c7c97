//! A hot standby: a second server that replicates the first one.

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};
use tokio::time::{Duration, Instant, sleep};

use super::cluster::Cluster;
use super::{Server, block_on};
use crate::database::scalar;
use crate::error::StartError;
use crate::process::Account;

/// How long a standby may lag behind.
const REPLAY_TIMEOUT: Duration = Duration::from_secs(30);

impl Server {
    /// Starts a hot standby of this server: a second private server, which follows this one by
    /// streaming replication and accepts read-only sessions. It ends when it is dropped.
    ///
    /// The standby has the databases of this server; see [`Database::at`](crate::Database::at). The
    /// call blocks for about a second.
    ///
    /// # Panics
    ///
    /// If this server is not private.
    pub fn standby(&self) -> Result<Self, StartError> {
        let cluster = self.cluster();
        let standby = block_on(self.back_up(cluster))
            .and_then(|(standby, label)| standby.start_copy(&label).map(|()| standby));
        standby
            .map(|standby| Self::private(standby, self.version()))
            .map_err(|reason| StartError::failed(cluster.binaries(), reason))
    }

    /// Copies the data, and returns the copy and the label of the backup. The copy cannot start
    /// without the label.
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
        // With a replication slot, the primary keeps the WAL that the standby has not received,
        // also while they are disconnected.
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

    /// Promotes a standby, and returns when it accepts writes. The former primary continues as
    /// before if it is still running.
    ///
    /// # Panics
    ///
    /// If this server is not a standby.
    pub async fn promote(&self) {
        let mut connection = self.connect().await;
        let is_promoted: bool = scalar(&mut connection, "SELECT pg_promote()").await;
        assert!(is_promoted, "a standby can be promoted within a minute");
    }

    /// Waits until a standby has replayed everything that has been committed on `primary` so far.
    ///
    /// # Panics
    ///
    /// If that takes more than 30 s.
    pub async fn wait_until_replayed(&self, primary: &Server) {
        // The servers of the harness commit asynchronously. A synchronous commit that writes
        // something flushes all earlier commits as well.
        let flush = "BEGIN; SET LOCAL synchronous_commit = local; \
             SELECT pg_logical_emit_message(true, 'advisory-tests', ''); COMMIT";
        let mut connection = primary.connect().await;
        let answer = connection.execute(flush).await;
        answer.unwrap_or_else(|error| panic!("the primary can be written to: {error}"));
        let position = "SELECT pg_current_wal_flush_lsn()::text";
        let position: String = scalar(&mut connection, position).await;

        let mut connection = self.connect().await;
        let deadline = Instant::now() + REPLAY_TIMEOUT;
        loop {
            let is_replayed: bool =
                sqlx::query_scalar("SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn")
                    .bind(&position)
                    .fetch_one(&mut connection)
                    .await
                    .unwrap_or_else(|error| panic!("the standby can be queried: {error}"));
            if is_replayed {
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
