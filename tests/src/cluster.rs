//! A private server.

use std::iter;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::account::Account;
use crate::binary::Binaries;
use crate::error::StartError;
use crate::keeper::Keeper;

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
        let settings: Vec<_> = settings
            .iter()
            .map(|(name, value)| format!("--{name}={value}"))
            .collect();
        let arguments: Vec<_> = iter::once(binaries.folder.as_os_str())
            .chain(settings.iter().map(AsRef::as_ref))
            .collect();
        let keeper = Keeper::of_program(account, include_str!("server.sh"), &arguments);
        let cluster = Self {
            keeper: keeper.map_err(failed)?,
        };
        let ready = cluster.keeper.wait_until(|| cluster.is_ready());
        ready.map_err(failed)?;
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

    fn is_ready(&self) -> bool {
        let pid_file = std::fs::read_to_string(self.socket_dir().join("data/postmaster.pid"))
            .unwrap_or_default();
        let status = pid_file.lines().nth(7).unwrap_or_default().trim_end();
        matches!(status, "ready" | "standby") && UnixStream::connect(self.socket()).is_ok()
    }
}
