//! A pgpool-II between clients and a private server.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use sqlx::postgres::{PgConnectOptions, PgPool};

use super::{Pooler, find_in_folders, is_required};
use crate::database::Database;
use crate::notice::found_or_skipped;
use crate::process::{Account, Supervisor};

/// A pgpool-II in front of a private server, which it regards as the primary of a cluster. It
/// listens on a unix socket, and never looks after the server by itself: only what clients send can
/// make it fail over.
///
/// The program ends when this value is dropped, and when this process ends, panics or is killed
/// with SIGKILL.
pub struct Pgpool(Pooler);

impl Pgpool {
    /// Starts a pgpool-II in front of the server of `database`. Returns `None` if there is none on
    /// this machine, so that the test can be skipped. The first such call prints a notice.
    ///
    /// # Panics
    ///
    /// If it does not start, if the server is not private, or if there is no pgpool-II and
    /// `ADVISORY_REQUIRE_POOLER` is set.
    pub async fn try_start(database: &Database) -> Option<Self> {
        let found = find_in_folders("pgpool", "pgpool2");
        let program = found_or_skipped("tests that need pgpool-II", found, is_required())?;
        let start = move |server: &Path| {
            let arguments: [&OsStr; 2] = [program.as_ref(), server.as_ref()];
            let account = Account::for_server()?;
            Supervisor::of_program(&account, include_str!("pgpool.sh"), &arguments)
        };
        Some(Self(Pooler::run_with(database.options(), start).await))
    }

    /// The options to connect to the database through this pgpool-II.
    pub fn options(&self) -> PgConnectOptions {
        self.0.options()
    }

    /// A pool on the database through this pgpool-II, otherwise as [`Database::pool`]. At most 16
    /// clients are connected at once.
    ///
    /// # Panics
    ///
    /// If the database cannot be reached.
    pub async fn pool(&self, max_connections: u32) -> PgPool {
        self.0.pool(max_connections).await
    }

    /// Whether pgpool-II has detached the server, as after the failure of a primary.
    ///
    /// # Panics
    ///
    /// If its log cannot be read.
    pub fn has_failed_over(&self) -> bool {
        let log = fs::read_to_string(self.0.supervisor.folder().join("log"));
        let log = log.unwrap_or_else(|error| panic!("the log can be read: {error}"));
        log.contains("shutdown host") || log.contains("failover done")
    }
}
