//! The harness of the workspace: private PostgreSQL servers for tests and examples, which can be ended, restarted and
//! followed by a standby, a database for each test, helpers that wait for a state on the server, a proxy that counts round
//! trips and fails when it is told to, and a pooler.
//!
//! ```no_run
//! # async fn test() {
//! use advisory_tests::Database;
//!
//! let database = Database::new().await; // starts the server at first use
//! let pool = database.pool(5).await;
//! // … one task waits for a lock that another one holds …
//! database.wait_until_waiting(1).await;
//! database.assert_nothing_leaked(&pool).await;
//! # }
//! ```
//!
//! | variable | what it does |
//! |---|---|
//! | `ADVISORY_DATABASE_URL` | use this server, whose databases may be created and dropped, in place of a private one |
//! | `ADVISORY_POSTGRES_VERSION` | `14` to `18`: run a private server of exactly this major version |
//! | `ADVISORY_POSTGRES` | `fetch`: run prebuilt binaries even where the machine has its own |
//! | `ADVISORY_PGBOUNCER` | the path of the PgBouncer to run, in place of the machine's own |
//! | `ADVISORY_REQUIRE_POOLER` | if set, tests that need a PgBouncer fail where there is none, instead of being skipped |
//! | `ADVISORY_REQUIRE_ORIGINALS` | if set, tests against the lock packages of other languages fail where those are not to be had |
//! | `ADVISORY_PYTHON` | the Python to run such packages with, in place of the newest on the `PATH` |

#![cfg(unix)]

mod account;
mod binary;
mod cache;
mod choice;
mod cluster;
mod database;
mod error;
mod external;
mod fault;
mod fetch;
mod keeper;
mod libpq;
mod line;
pub mod original;
mod pin;
mod pooler;
mod proxy;
mod relay;
mod server;
mod shutdown;
mod socket;
mod standby;
mod turn;
mod version;
mod watch;
mod wire;

pub use cache::cache_folder;
pub use database::Database;
pub use error::StartError;
pub use fault::{Cut, Side};
pub use pooler::{Pooler, Pooling};
pub use proxy::Proxy;
pub use server::Server;
pub use shutdown::Shutdown;
pub use turn::Message;
pub use version::Version;
pub use watch::{BackendRow, LockRow};
