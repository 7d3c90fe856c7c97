//! A PgBouncer, or a pgpool-II, between clients and a private server.

mod pgpool;

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use sqlx::postgres::{PgConnectOptions, PgPool};

use crate::database::{self, Database};
use crate::environment::variable;
use crate::notice::found_or_skipped;
use crate::process::{Account, Supervisor, program};

pub use pgpool::Pgpool;

/// The folders in which distributions install poolers, besides `PATH`. Debian's folder is on the
/// `PATH` of root only.
const FOLDERS: [&str; 6] = [
    "/usr/sbin",
    "/usr/local/sbin",
    "/usr/local/bin",
    "/opt/homebrew/bin",
    "/home/linuxbrew/.linuxbrew/bin",
    "/opt/local/bin",
];

/// When the pooler gives the backend of a client to the next client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// After each transaction.
    Transaction,
    /// When the client closes its connection.
    Session,
    /// After each statement.
    Statement,
}

/// A PgBouncer in front of a private server. It listens on a unix socket, and has
/// its default settings but for the pooling mode and the number of backends.
///
/// The program ends when this value is dropped, and when this process ends, panics or is killed
/// with SIGKILL.
pub struct Pooler {
    supervisor: Supervisor,
    options: PgConnectOptions,
}

impl Pooler {
    /// Starts a pooler with `backends` backends in front of the server of `database`.
    ///
    /// # Panics
    ///
    /// If there is no PgBouncer, if it does not start, or if the server is not private. The pooler
    /// connects to the unix socket of a private server.
    pub async fn start(database: &Database, pooling: Pooling, backends: u32) -> Self {
        let program = find_program().unwrap_or_else(|reason| panic!("{reason}"));
        Self::run(program, database.options(), pooling, backends).await
    }

    /// As [`start`](Self::start). Returns `None` if there is no PgBouncer, so that the test can be
    /// skipped. The first such call prints a notice.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start), but without a PgBouncer only if `ADVISORY_PGBOUNCER` or
    /// `ADVISORY_REQUIRE_POOLER` is set.
    pub async fn try_start(database: &Database, pooling: Pooling, backends: u32) -> Option<Self> {
        let what = "tests that need a pooler";
        let program = found_or_skipped(what, find_program(), is_required())?;
        Some(Self::run(program, database.options(), pooling, backends).await)
    }

    /// The options to connect to the database through this pooler.
    pub fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// A pool on the database through this pooler, otherwise as [`Database::pool`].
    ///
    /// # Panics
    ///
    /// If the database cannot be reached.
    pub async fn pool(&self, max_connections: u32) -> PgPool {
        database::pool(self.options(), max_connections).await
    }

    /// Kills the pooler with SIGKILL and starts it again on the same socket. Blocks until the new
    /// process listens. The connections of all clients are lost.
    ///
    /// # Panics
    ///
    /// If the new process does not start.
    pub fn restart(&self) {
        let old = self.pid().expect("BUG: a pooler that runs has a pid");
        let killed = Command::new("kill").args(["-KILL", &old]).status();
        assert!(killed.is_ok_and(|status| status.success()));
        let is_new = || self.is_ready() && self.pid().is_some_and(|pid| pid != old);
        let restarted = self.supervisor.block_until(is_new);
        restarted.unwrap_or_else(|reason| panic!("a pooler can be restarted: {reason}"));
    }

    /// Adds a line to the configuration, and restarts the pooler as [`restart`](Self::restart).
    ///
    /// # Panics
    ///
    /// If the new process does not start.
    pub fn configure(&self, line: &str) {
        let file = "pgbouncer.ini";
        let appended = self.supervisor.append(file, line);
        let is_there = || {
            let text = fs::read_to_string(self.supervisor.folder().join(file));
            text.is_ok_and(|text| text.trim_end().ends_with(line))
        };
        let appended = appended.and_then(|()| self.supervisor.block_until(is_there));
        appended.unwrap_or_else(|reason| panic!("a pooler can be configured: {reason}"));
        self.restart();
    }

    async fn run(
        program: PathBuf,
        server: PgConnectOptions,
        pooling: Pooling,
        backends: u32,
    ) -> Self {
        let start = move |folder: &Path| supervise(&program, folder, pooling, backends);
        Self::run_with(server, start).await
    }

    async fn run_with(
        server: PgConnectOptions,
        start: impl FnOnce(&Path) -> Result<Supervisor, String> + Send + 'static,
    ) -> Self {
        let start = tokio::task::spawn_blocking(move || {
            let folder = server.get_socket().ok_or("the server is not private")?;
            let supervisor = start(folder)?;
            let options = server.socket(supervisor.folder()).port(5432);
            let pooler = Self {
                supervisor,
                options,
            };
            pooler.supervisor.block_until(|| pooler.is_ready())?;
            Ok::<_, String>(pooler)
        });
        let pooler = start.await.expect("BUG: starting a pooler does not panic");
        pooler.unwrap_or_else(|reason| panic!("a pooler can be started: {reason}"))
    }

    fn is_ready(&self) -> bool {
        let socket = self.supervisor.folder().join(".s.PGSQL.5432");
        self.pid().is_some() && UnixStream::connect(socket).is_ok()
    }

    /// The process id in the pooler's pid file; `None` if the file does not exist or is empty.
    fn pid(&self) -> Option<String> {
        let text = fs::read_to_string(self.supervisor.folder().join("pid")).ok()?;
        Some(text.trim_end().to_owned()).filter(|pid| !pid.is_empty())
    }
}

fn supervise(
    program: &Path,
    server: &Path,
    pooling: Pooling,
    backends: u32,
) -> Result<Supervisor, String> {
    let mode = match pooling {
        Pooling::Transaction => "transaction",
        Pooling::Session => "session",
        Pooling::Statement => "statement",
    };
    let backends = backends.to_string();
    let arguments: [&OsStr; 4] = [
        program.as_ref(),
        server.as_ref(),
        mode.as_ref(),
        backends.as_ref(),
    ];
    // PgBouncer refuses to run as root, as the server does.
    let account = Account::for_server()?;
    Supervisor::of_program(&account, include_str!("pooler.sh"), &arguments)
}

/// The program in `ADVISORY_PGBOUNCER`, or the machine's own if the variable is not set.
fn find_program() -> Result<PathBuf, String> {
    if let Some(named) = variable("ADVISORY_PGBOUNCER") {
        let named = PathBuf::from(named);
        return if named.is_file() {
            Ok(named)
        } else {
            Err(format!(
                "expected a program in `ADVISORY_PGBOUNCER`, found `{}`",
                named.display()
            ))
        };
    }
    let found = find_in_folders("pgbouncer", "pgbouncer");
    found.map_err(|reason| format!("{reason}, or set `ADVISORY_PGBOUNCER` to one"))
}

fn find_in_folders(name: &str, package: &str) -> Result<PathBuf, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(FOLDERS.map(PathBuf::from));
    program::find(name, folders).map_err(|reason| {
        format!(
            "{reason}; install it (`apt install {package}`, `dnf install {package}`, \
             `brew install {package}`)"
        )
    })
}

/// True if tests must fail without a pooler. A program in `ADVISORY_PGBOUNCER` must exist.
fn is_required() -> bool {
    variable("ADVISORY_REQUIRE_POOLER").is_some() || variable("ADVISORY_PGBOUNCER").is_some()
}
