//! The test harness of the workspace.
//!
//! It starts private PostgreSQL servers, creates a database for each test, waits for states of the
//! server, counts round trips, and injects faults.
//!
//! ```no_run
//! # async fn test() {
//! use advisory_tests::Database;
//!
//! let database = Database::new().await; // starts the server at first use
//! let pool = database.pool(5).await;
//! // … one task waits for a lock that another task holds …
//! database.wait_until_waiting(1).await;
//! database.assert_nothing_leaked(&pool).await;
//! # }
//! ```
//!
//! # Modules
//!
//! A module imports only from the modules above it.
//!
//! | module | what it is for |
//! |---|---|
//! | `error` | [`StartError`]: why no server can be started |
//! | `environment` | reads the environment variables below |
//! | `depth` | [`Depth`]: how much the long families run |
//! | `notice` | prints messages that the test runner does not capture |
//! | `process` | child processes that end together with this process, and the account they run under |
//! | `cache` | the folder for downloads |
//! | `binaries` | finds or downloads the binaries of a PostgreSQL server |
//! | `server` | [`Server`]: starts, stops and restarts servers, and adds standbys |
//! | `database` | [`Database`]: one database for each test, and waiting for its state |
//! | `proxy` | [`Proxy`]: counts round trips, and delays or cuts connections |
//! | `pooler` | [`Pooler`], [`Pgpool`]: a PgBouncer or a pgpool-II in front of a server |
//! | `namespace` | [`Namespace`]: a program on a machine of its own, whose network can fail |
//! | `trace` | [`Trace`]: records what is reported through `tracing` |
//! | [`project`] | projects that depend on the crates, as users write them |
//! | [`foreign_client`] | lock packages of other languages, each in a process of its own |
//!
//! # Environment variables
//!
//! | variable | what it does |
//! |---|---|
//! | `ADVISORY_DATABASE_URL` | use this server, on which databases may be created and dropped, instead of a private one |
//! | `ADVISORY_POSTGRES_VERSION` | `14` to `18`: run a private server of exactly this major version |
//! | `ADVISORY_POSTGRES` | `fetch`: run prebuilt binaries even if the machine has its own |
//! | `ADVISORY_PGBOUNCER` | the path of the PgBouncer to run, instead of the machine's own |
//! | `ADVISORY_TEST_DEPTH` | `full`: the long families run everything, as in CI, in about three times the time; if not set, a sample of every kind |
//! | `ADVISORY_REQUIRE_POOLER` | if set, tests that need a PgBouncer or a pgpool-II fail without one instead of being skipped |
//! | `ADVISORY_REQUIRE_ORIGINALS` | if set, tests that need the lock packages of other languages fail without them |
//! | `TMPDIR` | the folder for the data of the servers; if not set, `/dev/shm` if 4 GiB are free there and in memory, or `/tmp` |
//! | `ADVISORY_PYTHON` | the Python that runs such packages, instead of the newest one on the `PATH` |

#![cfg(unix)]

mod binaries;
mod cache;
mod database;
mod depth;
mod environment;
mod error;
pub mod foreign_client;
mod namespace;
mod notice;
mod pooler;
mod process;
pub mod project;
mod proxy;
mod server;
mod trace;

pub use binaries::Version;
pub use cache::cache_folder;
pub use database::{
    BackendRow, Database, LockRow, WRITE, abandon_a_transaction, another_pool, by_our_clock,
    drop_after, drop_when, is_ever, scalar, written,
};
pub use depth::{Depth, by_depth, sample};
pub use error::StartError;
pub use namespace::{Link, Namespace};
pub use notice::print_notice;
pub use pooler::{Pgpool, Pooler, Pooling};
pub use proxy::{Cut, Message, Proxy, Side};
pub use server::{Server, Shutdown};
pub use trace::Trace;
