//! PostgreSQL servers for tests.
//!
//! [`Server`] is a private server or an external one. A private server can be stopped and restarted
//! (`shutdown`), and followed by a second server (`standby`). `cluster` is the process and the data
//! of a private server, `external` the connection to a server that runs already.

mod block_on;
mod cluster;
mod external;
mod shutdown;
mod standby;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sqlx::postgres::PgConnectOptions;

use crate::binaries::{self, Version};
use crate::error::StartError;
use crate::process::{Account, program};
use cluster::{Cluster, NewData};
use external::External;

pub(crate) use block_on::block_on;
pub use shutdown::Shutdown;

static SHARED: OnceLock<Result<Server, StartError>> = OnceLock::new();

/// What the servers of [`Server::start`] are copies of.
static NEW: OnceLock<Result<NewData, String>> = OnceLock::new();

/// A PostgreSQL server: a private one, or the one that `ADVISORY_DATABASE_URL` names.
///
/// A private server listens only on a unix socket in a temporary folder. The server and the folder
/// are removed when this process ends, panics or is killed with SIGKILL, and when a server of
/// [`Server::start`] is dropped.
pub struct Server {
    origin: Origin,
    version: Version,
}

enum Origin {
    Private(Cluster),
    External(Box<External>),
}

impl Server {
    /// The server of this process, which is started at first use.
    ///
    /// # Panics
    ///
    /// If no server can be used. The message is that of the [`StartError`].
    #[track_caller]
    pub fn shared() -> &'static Self {
        match Self::try_shared() {
            Ok(server) => server,
            Err(error) => panic!("{error}"),
        }
    }

    /// The server of this process, which is started at first use: the server in
    /// `ADVISORY_DATABASE_URL` if the variable is set, otherwise a private server. The first call
    /// blocks for about a second.
    pub fn try_shared() -> Result<&'static Self, StartError> {
        SHARED
            .get_or_init(Self::from_env)
            .as_ref()
            .map_err(StartError::clone)
    }

    /// Starts another private server, which ends when it is dropped.
    pub fn start() -> Result<Self, StartError> {
        Self::start_with(&[])
    }

    /// As [`start`](Self::start), with settings of `postgresql.conf` in addition to those of the
    /// harness.
    pub fn start_with(settings: &[(&str, &str)]) -> Result<Self, StartError> {
        Self::start_private(|account, binaries| {
            let new = NEW.get_or_init(|| NewData::create(account, binaries));
            let new = new.as_ref().map_err(String::clone)?;
            Cluster::start(account, binaries, Some(new), settings)
        })
    }

    fn start_private(
        start: impl FnOnce(&Account, &Path) -> Result<Cluster, String>,
    ) -> Result<Self, StartError> {
        let account = Account::for_server().map_err(|reason| StartError::NoServer {
            tried: vec![reason],
        })?;
        let binaries = binaries::find(&account)?;
        let cluster = start(&account, &binaries.folder)
            .map_err(|reason| StartError::failed(&binaries.folder, reason))?;
        Ok(Self::private(cluster, binaries.version))
    }

    pub(crate) fn private(cluster: Cluster, version: Version) -> Self {
        Self {
            origin: Origin::Private(cluster),
            version,
        }
    }

    fn from_env() -> Result<Self, StartError> {
        match External::from_env() {
            Some(external) => external.map(|(server, version)| Self {
                origin: Origin::External(Box::new(server)),
                version,
            }),
            None => Self::start_private(|account, binaries| {
                Cluster::start(account, binaries, None, &[])
            }),
        }
    }

    /// The options to connect to the maintenance database: `postgres`, or the database in
    /// `ADVISORY_DATABASE_URL`.
    pub fn options(&self) -> PgConnectOptions {
        match &self.origin {
            Origin::Private(cluster) => cluster.options(),
            Origin::External(external) => external.options(),
        }
    }

    /// The folder of the server's unix socket; `None` if the server is not private.
    pub fn socket_dir(&self) -> Option<&Path> {
        match &self.origin {
            Origin::Private(cluster) => Some(cluster.socket_dir()),
            Origin::External(_) => None,
        }
    }

    /// True if the harness started the server, false if it is the server in
    /// `ADVISORY_DATABASE_URL`.
    pub fn is_private(&self) -> bool {
        self.socket_dir().is_some()
    }

    /// The version of the server.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The process and the data of a private server.
    #[track_caller]
    pub(crate) fn cluster(&self) -> &Cluster {
        match &self.origin {
            Origin::Private(cluster) => cluster,
            Origin::External(_) => {
                panic!("expected a private server, found the one in `ADVISORY_DATABASE_URL`")
            }
        }
    }

    /// The path of a PostgreSQL program, such as `pgbench`: from the folder of the server's
    /// binaries, or from `PATH`. An error, with the reason, if none of these runs.
    pub fn program(&self, name: &str) -> Result<PathBuf, String> {
        let same_folder = match &self.origin {
            Origin::Private(cluster) => Some(cluster.binaries().to_owned()),
            Origin::External(_) => None,
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = same_folder.into_iter().chain(std::env::split_paths(&path));
        program::find(name, folders)
    }

    /// The URL of a database on this server.
    pub(crate) fn url(&self, database: &str) -> String {
        match &self.origin {
            Origin::Private(cluster) => {
                let host = cluster.socket_dir().to_string_lossy();
                let host = utf8_percent_encode(&host, NON_ALPHANUMERIC);
                format!("postgresql:///{database}?host={host}&port=5432&user=postgres")
            }
            Origin::External(external) => external.url(database),
        }
    }
}
