//! A pgpool-II between clients and a private server.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Once;

use sqlx::postgres::{PgConnectOptions, PgPool};

use super::{FOLDERS, is_required};
use crate::database::{self, Database};
use crate::notice::print_notice;
use crate::process::{Account, Supervisor, program};

/// A pgpool-II in front of a private server, which it regards as the primary of a cluster. It
/// listens on a unix socket, and never looks after the server by itself: only what clients send can
/// make it fail over.
///
/// The program ends when this value is dropped, and when this process ends, panics or is killed
/// with SIGKILL.
pub struct Pgpool {
    supervisor: Supervisor,
    options: PgConnectOptions,
}

impl Pgpool {
    /// Starts a pgpool-II in front of the server of `database`. Returns `None` if there is none on
    /// this machine, so that the test can be skipped. The first such call prints a notice.
    ///
    /// # Panics
    ///
    /// If it does not start, if the server is not private, or if there is no pgpool-II and
    /// `ADVISORY_REQUIRE_POOLER` is set.
    pub async fn try_start(database: &Database) -> Option<Self> {
        static NOTICE: Once = Once::new();
        match find_program() {
            Ok(program) => Some(Self::run(program, database.options()).await),
            Err(reason) if is_required() => panic!("{reason}"),
            Err(reason) => {
                NOTICE.call_once(|| {
                    print_notice(&format!("SKIPPED tests that need pgpool-II: {reason}"));
                });
                None
            }
        }
    }

    /// The options to connect to the database through this pgpool-II.
    pub fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// A pool on the database through this pgpool-II, otherwise as [`Database::pool`]. At most 16
    /// clients are connected at once.
    ///
    /// # Panics
    ///
    /// If the database cannot be reached.
    pub async fn pool(&self, max_connections: u32) -> PgPool {
        database::pool(self.options(), max_connections).await
    }

    /// Whether pgpool-II has detached the server, as after the failure of a primary.
    ///
    /// # Panics
    ///
    /// If its log cannot be read.
    pub fn has_failed_over(&self) -> bool {
        let log = fs::read_to_string(self.supervisor.folder().join("log"));
        let log = log.unwrap_or_else(|error| panic!("the log can be read: {error}"));
        log.contains("shutdown host") || log.contains("failover done")
    }

    async fn run(program: PathBuf, server: PgConnectOptions) -> Self {
        let start = tokio::task::spawn_blocking(move || {
            let folder = server.get_socket().ok_or("the server is not private")?;
            let arguments: [&OsStr; 2] = [program.as_ref(), folder.as_ref()];
            let account = Account::for_server()?;
            let script = include_str!("pgpool.sh");
            let supervisor = Supervisor::of_program(&account, script, &arguments)?;
            let socket = supervisor.folder().join(".s.PGSQL.5432");
            supervisor.block_until(|| UnixStream::connect(&socket).is_ok())?;
            let options = server.socket(supervisor.folder()).port(5432);
            Ok::<_, String>(Self {
                supervisor,
                options,
            })
        });
        let pooler = start.await.expect("BUG: starting a pooler does not panic");
        pooler.unwrap_or_else(|reason| panic!("pgpool-II can be started: {reason}"))
    }
}

fn find_program() -> Result<PathBuf, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(FOLDERS.map(PathBuf::from));
    program::find("pgpool", folders)
        .map_err(|reason| format!("{reason}; install it (`apt install pgpool2`)"))
}
