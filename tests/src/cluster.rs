//! A private server.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::account::Account;
use crate::binary::Binaries;
use crate::error::StartError;
use crate::keeper::Keeper;

/// How long `initdb` and the start may take on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server of our own in a temporary folder, reachable through a unix socket in it. Gone when this is dropped.
pub(crate) struct Cluster {
    keeper: Keeper,
}

impl Cluster {
    /// A new server with these settings besides the harness's own.
    pub(crate) fn start(
        account: &Account,
        binaries: &Binaries,
        settings: &[(&str, &str)],
    ) -> Result<Self, StartError> {
        let failed = |reason| StartError::Failed {
            binaries: binaries.folder.to_string_lossy().into_owned(),
            reason,
        };
        let arguments: Vec<_> = settings
            .iter()
            .map(|(name, value)| format!("--{name}={value}"))
            .collect();
        let keeper = Keeper::of_server(account, &binaries.folder, &arguments).map_err(failed)?;
        let cluster = Self { keeper };
        cluster.wait_until_ready().map_err(failed)?;
        Ok(cluster)
    }

    pub(crate) fn socket_dir(&self) -> &Path {
        self.keeper.folder()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.socket_dir().join(".s.PGSQL.5432")
    }

    pub(crate) fn options(&self) -> PgConnectOptions {
        // What `PGPORT` and its like may have set is set again.
        PgConnectOptions::new_without_pgpass()
            .socket(self.socket_dir())
            .port(5432)
            .username("postgres")
            .database("postgres")
            .ssl_mode(PgSslMode::Disable)
            .application_name("advisory-tests")
    }

    fn wait_until_ready(&self) -> Result<(), String> {
        let start = Instant::now();
        while !self.is_ready() {
            if self.socket_dir().join("exit").exists() {
                return Err(self.log());
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("not ready after {PATIENCE:?}; {}", self.log()));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn is_ready(&self) -> bool {
        let pid_file = std::fs::read_to_string(self.socket_dir().join("data/postmaster.pid"))
            .unwrap_or_default();
        let status = pid_file.lines().nth(7).unwrap_or_default().trim_end();
        matches!(status, "ready" | "standby") && UnixStream::connect(self.socket()).is_ok()
    }

    /// The last lines of the server's output.
    fn log(&self) -> String {
        let log = std::fs::read_to_string(self.socket_dir().join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}
