//! The server the tests run on.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sqlx::postgres::PgConnectOptions;

use crate::account::Account;
use crate::choice;
use crate::cluster::Cluster;
use crate::error::StartError;
use crate::external::External;
use crate::version::Version;

static SHARED: OnceLock<Result<Server, StartError>> = OnceLock::new();

/// A PostgreSQL server: a private one, or the one that `ADVISORY_DATABASE_URL` names.
///
/// A private server listens on a unix socket in a temporary folder and nowhere else. Server and folder are gone when the
/// process ends, panics or is killed with SIGKILL, and when a server of [`Server::start`] is dropped.
pub struct Server {
    place: Place,
    version: Version,
}

enum Place {
    Private(Cluster),
    External(Box<External>),
}

impl Server {
    /// The server of this process, started at first use.
    ///
    /// # Panics
    ///
    /// If no server can be had, with the [`StartError`] that says why.
    #[track_caller]
    pub fn shared() -> &'static Self {
        match Self::try_shared() {
            Ok(server) => server,
            Err(error) => panic!("{error}"),
        }
    }

    /// The server of this process, started at first use: the one in `ADVISORY_DATABASE_URL` if that is set, else a
    /// private one. Blocks for about a second the first time.
    pub fn try_shared() -> Result<&'static Self, StartError> {
        SHARED
            .get_or_init(Self::from_env)
            .as_ref()
            .map_err(StartError::clone)
    }

    /// A private server more, gone when it is dropped.
    pub fn start() -> Result<Self, StartError> {
        Self::start_with(&[])
    }

    /// As [`start`](Self::start), with these settings of `postgresql.conf` on top of the harness's own.
    pub fn start_with(settings: &[(&str, &str)]) -> Result<Self, StartError> {
        let account = Account::for_server().map_err(|reason| StartError::NoServer {
            tried: vec![reason],
        })?;
        let binaries = choice::choose(&account)?;
        let cluster = Cluster::start(&account, &binaries.folder, settings)
            .map_err(|reason| StartError::failed(&binaries.folder, reason))?;
        Ok(Self::private(cluster, binaries.version))
    }

    pub(crate) fn private(cluster: Cluster, version: Version) -> Self {
        Self {
            place: Place::Private(cluster),
            version,
        }
    }

    fn from_env() -> Result<Self, StartError> {
        match External::from_env() {
            Some(external) => external.map(|(server, version)| Self {
                place: Place::External(Box::new(server)),
                version,
            }),
            None => Self::start(),
        }
    }

    /// How to connect to the maintenance database: `postgres`, or the one in `ADVISORY_DATABASE_URL`.
    pub fn options(&self) -> PgConnectOptions {
        match &self.place {
            Place::Private(cluster) => cluster.options(),
            Place::External(external) => external.options(),
        }
    }

    /// The folder with the server's unix socket; `None` if the server is not a private one.
    pub fn socket_dir(&self) -> Option<&Path> {
        match &self.place {
            Place::Private(cluster) => Some(cluster.socket_dir()),
            Place::External(_) => None,
        }
    }

    /// True if the server is ours alone, false if it is the one in `ADVISORY_DATABASE_URL`.
    pub fn is_private(&self) -> bool {
        self.socket_dir().is_some()
    }

    /// The version of the server.
    pub fn version(&self) -> Version {
        self.version
    }

    /// What is there only if the server is a private one.
    #[track_caller]
    pub(crate) fn cluster(&self) -> &Cluster {
        match &self.place {
            Place::Private(cluster) => cluster,
            Place::External(_) => panic!("expected a private server, found one of somebody else"),
        }
    }

    /// A program of PostgreSQL's beside the server's own, if it is there: `pgbench`, say.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        let beside = match &self.place {
            Place::Private(cluster) => Some(cluster.binaries().join(name)),
            Place::External(_) => None,
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let on_path = std::env::split_paths(&path).map(|folder| folder.join(name));
        beside
            .into_iter()
            .chain(on_path)
            .find(|file| file.is_file())
    }

    /// The URL of a database on this server.
    pub(crate) fn url(&self, database: &str) -> String {
        match &self.place {
            Place::Private(cluster) => {
                let host = cluster.socket_dir().to_string_lossy();
                let host = utf8_percent_encode(&host, NON_ALPHANUMERIC);
                format!("postgresql:///{database}?host={host}&port=5432&user=postgres")
            }
            Place::External(external) => external.url(database),
        }
    }
}

/// Runs a future to its end, also where a runtime is running already.
pub(crate) fn block_on<T: Send>(future: impl Future<Output = T> + Send) -> T {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime can be built");
        let output = runtime.block_on(future);
        // The search for a host's address cannot be stopped, and is not waited for.
        runtime.shutdown_background();
        output
    };
    let thread = thread::scope(|scope| scope.spawn(run).join());
    thread.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
