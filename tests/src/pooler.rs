//! A PgBouncer between clients and a server.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use sqlx::postgres::{PgConnectOptions, PgPool};

use crate::account::Account;
use crate::database::{self, Database};
use crate::keeper::Keeper;

/// Where distributions put it, beside `PATH`. Debian's folder is on no `PATH` but root's.
const FOLDERS: [&str; 6] = [
    "/usr/sbin",
    "/usr/local/sbin",
    "/usr/local/bin",
    "/opt/homebrew/bin",
    "/home/linuxbrew/.linuxbrew/bin",
    "/opt/local/bin",
];

/// When a client gives its backend to the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// After each transaction.
    Transaction,
    /// When it closes its connection.
    Session,
}

/// A PgBouncer of our own before a private server, with otherwise its own defaults, reachable through a unix socket.
///
/// Gone when it is dropped, and when the process ends, panics or is killed with SIGKILL.
pub struct Pooler {
    keeper: Keeper,
    options: PgConnectOptions,
}

impl Pooler {
    /// A pooler before the server of `database`, with so many backends for it.
    ///
    /// # Panics
    ///
    /// If there is no PgBouncer, or it does not start, or the server is not a private one: the pooler reaches it through its
    /// unix socket.
    pub async fn start(database: &Database, pooling: Pooling, backends: u32) -> Self {
        let program = program().unwrap_or_else(|reason| panic!("{reason}"));
        Self::run(program, database.options(), pooling, backends).await
    }

    /// As [`start`](Self::start), or `None` where there is no PgBouncer, which is said once on the process's standard error:
    /// the test is to be skipped.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start); for want of a PgBouncer only if `ADVISORY_PGBOUNCER` or `ADVISORY_REQUIRE_POOLER` is set.
    pub async fn try_start(database: &Database, pooling: Pooling, backends: u32) -> Option<Self> {
        static TOLD: Once = Once::new();
        match program() {
            Ok(program) => Some(Self::run(program, database.options(), pooling, backends).await),
            Err(reason) if is_required() => panic!("{reason}"),
            Err(reason) => {
                // Past libtest, which would show `eprintln!` only where a test fails.
                TOLD.call_once(|| {
                    let _ = writeln!(
                        std::io::stderr(),
                        "advisory-tests: SKIPPED what needs a pooler: {reason}"
                    );
                });
                None
            }
        }
    }

    /// How to connect to the database through this pooler.
    pub fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// A pool on the database through this pooler, otherwise as [`Database::pool`].
    ///
    /// # Panics
    ///
    /// If no connection can be had.
    pub async fn pool(&self, max_connections: u32) -> PgPool {
        database::pool(self.options(), max_connections).await
    }

    /// Kills it with SIGKILL and starts it again in its place. Whoever was connected is cut off. Blocks until it listens.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn restart(&self) {
        let old = self.pid().expect("BUG: a pooler that runs has a pid");
        let killed = Command::new("kill").args(["-KILL", &old]).status();
        assert!(killed.is_ok_and(|status| status.success()));
        let is_new = || self.is_ready() && self.pid().is_some_and(|pid| pid != old);
        let restarted = self.keeper.wait_until(is_new);
        restarted.unwrap_or_else(|reason| panic!("a pooler can be restarted: {reason}"));
    }

    async fn run(
        program: PathBuf,
        server: PgConnectOptions,
        pooling: Pooling,
        backends: u32,
    ) -> Self {
        let start = tokio::task::spawn_blocking(move || {
            let folder = server
                .get_socket()
                .ok_or("its server is not a private one")?;
            let keeper = keep(&program, folder, pooling, backends)?;
            let options = server.socket(keeper.folder()).port(5432);
            let pooler = Self { keeper, options };
            pooler.keeper.wait_until(|| pooler.is_ready())?;
            Ok::<_, String>(pooler)
        });
        let pooler = start.await.expect("BUG: starting it does not panic");
        pooler.unwrap_or_else(|reason| panic!("a pooler can be started: {reason}"))
    }

    fn is_ready(&self) -> bool {
        let socket = self.keeper.folder().join(".s.PGSQL.5432");
        self.pid().is_some() && UnixStream::connect(socket).is_ok()
    }

    /// The process, as it says itself.
    fn pid(&self) -> Option<String> {
        let text = fs::read_to_string(self.keeper.folder().join("pid")).ok()?;
        Some(text.trim_end().to_owned()).filter(|pid| !pid.is_empty())
    }
}

fn keep(program: &Path, server: &Path, pooling: Pooling, backends: u32) -> Result<Keeper, String> {
    let mode = match pooling {
        Pooling::Transaction => "transaction",
        Pooling::Session => "session",
    };
    let backends = backends.to_string();
    let arguments: [&OsStr; 4] = [
        program.as_ref(),
        server.as_ref(),
        mode.as_ref(),
        backends.as_ref(),
    ];
    // The server's own account: it refuses to run as root just the same.
    let account = Account::for_server()?;
    Keeper::of_program(&account, include_str!("pooler.sh"), &arguments)
}

/// The program that `ADVISORY_PGBOUNCER` names, else the machine's own.
fn program() -> Result<PathBuf, String> {
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
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(FOLDERS.map(PathBuf::from))
        .map(|folder| folder.join("pgbouncer"))
        .find(|program| program.is_file())
        .ok_or_else(|| {
            "no `pgbouncer` on this machine; install it (`apt install pgbouncer`, `dnf install pgbouncer`, \
             `brew install pgbouncer`), or set `ADVISORY_PGBOUNCER` to one"
                .into()
        })
}

/// Whether tests without a pooler are to fail. A program that was named must be there, too.
fn is_required() -> bool {
    variable("ADVISORY_REQUIRE_POOLER").is_some() || variable("ADVISORY_PGBOUNCER").is_some()
}

fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}
