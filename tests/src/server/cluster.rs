//! The process and the data of a private server.

use std::ffi::OsStr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::process::{Account, Supervisor};

/// A server in a temporary folder, which listens on a unix socket in that folder. Both are removed
/// when this value is dropped.
pub(crate) struct Cluster {
    supervisor: Supervisor,
    binaries: PathBuf,
    arguments: Vec<String>,
}

impl Cluster {
    /// Starts a new server with `settings` in addition to those of the harness, and blocks until
    /// the server is ready.
    pub(crate) fn start(
        account: &Account,
        binaries: &Path,
        settings: &[(&str, &str)],
    ) -> Result<Self, String> {
        let cluster = Self::run(account, binaries, Path::new(""), arguments(settings))?;
        cluster.supervisor.block_until(|| cluster.is_ready())?;
        Ok(cluster)
    }

    /// Copies the data of this server, which must be in backup mode. The copy has the same settings
    /// and `settings`. It is not started.
    pub(crate) fn copy(
        &self,
        account: &Account,
        settings: &[(&str, &str)],
    ) -> Result<Self, String> {
        let arguments = [self.arguments.clone(), arguments(settings)].concat();
        let copy = Self::run(account, &self.binaries, &self.data(), arguments)?;
        copy.supervisor.block_until(|| copy.has_ended())?;
        Ok(copy)
    }

    fn run(
        account: &Account,
        binaries: &Path,
        primary: &Path,
        arguments: Vec<String>,
    ) -> Result<Self, String> {
        let all: Vec<&OsStr> = [binaries.as_ref(), primary.as_ref()]
            .into_iter()
            .chain(arguments.iter().map(AsRef::as_ref))
            .collect();
        Ok(Self {
            supervisor: Supervisor::of_program(account, include_str!("server.sh"), &all)?,
            binaries: binaries.to_owned(),
            arguments,
        })
    }

    /// Starts a copy with the label of its backup, and blocks until it is ready.
    pub(crate) fn start_copy(&self, label: &str) -> Result<(), String> {
        self.supervisor.append("data/backup_label", label)?;
        self.supervisor.run_again()?;
        self.supervisor.block_until(|| self.is_ready())
    }

    /// Starts the server again after it has ended, and waits until it is ready.
    pub(crate) async fn start_again(&self) -> Result<(), String> {
        self.supervisor.run_again()?;
        self.supervisor.wait_until(|| self.is_ready()).await
    }

    /// Waits until the last process of the server has ended.
    pub(crate) async fn wait_until_ended(&self) -> Result<(), String> {
        self.supervisor.wait_until(|| self.has_ended()).await
    }

    /// True if no process of the server is left.
    pub(crate) fn has_ended(&self) -> bool {
        self.supervisor.has_ended()
    }

    /// The process id of the postmaster, the parent of all other processes of the server.
    pub(crate) fn postmaster(&self) -> Option<i32> {
        self.pid_file().lines().next()?.parse().ok()
    }

    pub(crate) fn binaries(&self) -> &Path {
        &self.binaries
    }

    pub(crate) fn socket_dir(&self) -> &Path {
        self.supervisor.folder()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.socket_dir().join(".s.PGSQL.5432")
    }

    pub(crate) fn options(&self) -> PgConnectOptions {
        // Every option that libpq's variables may have set is overwritten.
        PgConnectOptions::new_without_pgpass()
            .socket(self.socket_dir())
            .port(5432)
            .username("postgres")
            .database("postgres")
            .ssl_mode(PgSslMode::Disable)
            .application_name("advisory-tests")
    }

    fn is_ready(&self) -> bool {
        let pid_file = self.pid_file();
        let status = pid_file.lines().nth(7).unwrap_or_default().trim_end();
        matches!(status, "ready" | "standby") && UnixStream::connect(self.socket()).is_ok()
    }

    fn data(&self) -> PathBuf {
        self.socket_dir().join("data")
    }

    fn pid_file(&self) -> String {
        std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default()
    }
}

fn arguments(settings: &[(&str, &str)]) -> Vec<String> {
    settings
        .iter()
        .map(|(name, value)| format!("--{name}={value}"))
        .collect()
}
