//! The process and the data of a private server.

use std::ffi::OsStr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::process::{Account, Supervisor};

const INITDB_AND_SERVER: &str = concat!(include_str!("initdb.sh"), include_str!("server.sh"));

/// A server in a temporary folder, which listens on a unix socket in that folder. Both are removed
/// when this value is dropped.
pub(crate) struct Cluster {
    supervisor: Supervisor,
    binaries: PathBuf,
    arguments: Vec<String>,
}

/// What the data of a server are made from.
#[derive(Clone, Copy)]
enum Source<'a> {
    Initdb,
    New(&'a NewData),
    Primary(&'a Path),
}

/// The data of a server that was never started. A copy of them takes a third of the time of
/// `initdb`.
pub(crate) struct NewData(Supervisor);

impl NewData {
    /// Runs `initdb`, and blocks until it has ended.
    pub(crate) fn create(account: &Account, binaries: &Path) -> Result<Self, String> {
        let script = concat!(include_str!("initdb.sh"), ": >\"$1/initialized\"\n");
        let supervisor = Supervisor::of_program(account, script, &[binaries.as_ref()])?;
        supervisor.block_until(|| supervisor.folder().join("initialized").exists())?;
        Ok(Self(supervisor))
    }
}

impl Cluster {
    /// Starts a new server with `settings` in addition to those of the harness, and blocks until
    /// the server is ready. Without `new` it runs `initdb`.
    pub(crate) fn start(
        account: &Account,
        binaries: &Path,
        new: Option<&NewData>,
        settings: &[(&str, &str)],
    ) -> Result<Self, String> {
        let source = new.map_or(Source::Initdb, Source::New);
        let cluster = Self::run(account, binaries, source, arguments(settings))?;
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
        let primary = self.data();
        let copy = Self::run(
            account,
            &self.binaries,
            Source::Primary(&primary),
            arguments,
        )?;
        copy.supervisor.block_until(|| copy.has_ended())?;
        Ok(copy)
    }

    fn run(
        account: &Account,
        binaries: &Path,
        source: Source<'_>,
        arguments: Vec<String>,
    ) -> Result<Self, String> {
        let server = include_str!("server.sh");
        let (script, data, kind) = match source {
            Source::Initdb => (INITDB_AND_SERVER, PathBuf::new(), ""),
            Source::New(new) => (server, new.0.folder().join("data"), "new"),
            Source::Primary(data) => (server, data.to_owned(), "primary"),
        };
        let all: Vec<&OsStr> = [binaries.as_ref(), data.as_ref(), kind.as_ref()]
            .into_iter()
            .chain(arguments.iter().map(AsRef::as_ref))
            .collect();
        Ok(Self {
            supervisor: Supervisor::of_program(account, script, &all)?,
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
