//! PostgreSQL advisory locks on [sqlx]: locks whose meaning the application decides, in the
//! database that it already has.
//!
//! Put a function under a lock:
//!
//! ```
//! use advisory_core::{Error, advisory};
//! use sqlx::{PgPool, PgTransaction};
//!
//! /// Joins the caller's transaction, which then holds the lock until it ends.
//! #[advisory(key = "sync({client_id})", timeout = 2)]
//! async fn sync_client(tx: &mut PgTransaction<'_>, client_id: i64) -> Result<(), Error> {
//!     // …
//!     Ok(())
//! }
//!
//! /// Opens a transaction of its own, `tx`.
//! #[advisory(key = "outbox", tx)]
//! async fn sweep(pool: &PgPool) -> Result<u64, Error> {
//!     let done = sqlx::query("DELETE FROM outbox WHERE sent").execute(&mut **tx).await?;
//!     Ok(done.rows_affected())
//! }
//!
//! /// Runs once a day in the whole fleet, by the server's clock. A session holds the lock, because
//! /// the work is long. `every` needs a table: `Periods::create` or `advisory setup` creates it.
//! #[advisory(key = "nightly", every = "1d", scope = session)]
//! async fn nightly(pool: &PgPool) -> Result<(), Error> {
//!     // …
//!     Ok(())
//! }
//! ```
//!
//! Or take the lock by hand. An [`AdvisoryLock`] is *what* to lock and *how long to wait*. Its
//! methods choose *where* the lock is held: [`acquire_xact`](AdvisoryLock::acquire_xact) in your
//! transaction, [`begin`](AdvisoryLock::begin) and [`transaction`](AdvisoryLock::transaction) in a
//! new one, [`acquire`](AdvisoryLock::acquire) in a session. [`xact_lock`], [`try_lock`],
//! [`unlock`] and the other functions are PostgreSQL's own, one statement each.
//!
//! # What a lock excludes
//!
//! A [`Key`] is one number of 64 bits or two numbers of 32 bits, in one database. Text is hashed by
//! a [`scheme`]; the default scheme is frozen, so a name means the same lock in every version of
//! your service. An advisory lock binds only code that asks for it: no `SELECT` and no `UPDATE`
//! waits for one.
//!
//! A *transaction* lock is released when its transaction ends, and the next holder sees what that
//! transaction has committed. A *session* lock is released when it is unlocked or its session ends;
//! a commit or a rollback does not affect it. Each lock of [`acquire`](AdvisoryLock::acquire) on a
//! pool keeps one connection. The locks of a [`LockSession`] share one, and so do those of the
//! attribute in session scope on a pool.
//!
//! # Leaders, and once per period
//!
//! [`AdvisoryLock::lead`] runs a closure on one instance of a fleet at a time. When that instance
//! ends, another one takes over. A lock alone keeps two runs from overlapping, but not from
//! following each other: [`AdvisoryLock::every`] runs a job once per period by the server's clock,
//! and [`AdvisoryLock::at_least`] keeps a session lock for a minimum time, even if the job is
//! shorter.
//!
//! # When the lock is not granted
//!
//! A method that *acquires* waits, and then fails with [`Error::NotAcquired`], which names the
//! holders. A method that *tries* returns `false` or `None`. Neither is ever the result of
//! anything else: a deadlock, a cancelled statement, a lost connection and an exhausted pool are
//! errors of their own.
//!
//! # When a future is dropped
//!
//! Every async function says under *Cancel safety* what happens to the lock, the connection and the
//! queue position. In short: if you pass a pool ([`begin`](AdvisoryLock::begin),
//! [`transaction`](AdvisoryLock::transaction), [`acquire`](AdvisoryLock::acquire), the attribute),
//! the future can be dropped at any point; within two seconds, the server neither holds nor waits
//! for the lock. If you pass *your* transaction or connection, dropping the future does not end the
//! wait: set a timeout, or [`cancel_via`](AdvisoryLock::cancel_via).
//!
//! # When the lock is lost
//!
//! If a transaction lock is lost, its transaction is rolled back; what the body has committed on
//! other connections stays. If a session ends, its lock is free, and the holder notices a moment
//! later: run work that must not be done twice under [`until_lost`](SessionGuard::until_lost),
//! which drops it then. If the session of a [`LockSession`] ends, all its guards are notified.
//!
//! A system other than PostgreSQL can refuse a holder that has lost its lock and does not know it
//! yet: give it a [`fencing_token`].
//!
//! # Where locks do not work
//!
//! A lock is refused with [`Error::Unsupported`] where it would exclude nobody: on a standby, on a
//! server whose lock functions do nothing, and, for a session lock, behind a pooler in statement
//! mode. To find out, the first lock of a pool costs one more round trip. The first session lock
//! costs one or two more, and opens a second connection for a moment. If that fails, a warning
//! is logged, and session locks are held by transactions until the check succeeds. The check is
//! repeated with the next session lock after a pause of 1 to 30 seconds.
//!
//! Behind a pooler in transaction mode, such as PgBouncer with `pool_mode = transaction`, locks
//! work with sqlx's default settings. A session lock is then held by an idle transaction: one
//! server connection of the pooler for each lock. Of PostgreSQL's functions, use only those for
//! transaction locks: [`lock`](crate::lock()) and the other session functions cannot detect a pooler.
//!
//! # Spans, metrics and monitoring
//!
//! Every acquire is a `tracing` span `advisory_lock` at debug level, with the fields `lock.name`,
//! `lock.key` (the first one), `lock.keys` (how many), `lock.scope` (`xact`, `session`),
//! `lock.mode` (`exclusive`, `shared`), `lock.outcome` (`acquired`, `not_acquired`, `deadlock`,
//! `error`, `dropped`) and `lock.wait_ms`. `lock.queue_ms` is the part of the wait behind other
//! calls of this process, if there was one. Likely mistakes are warnings: a snapshot that is older
//! than its lock, a guard released inside an open transaction, locks left on a pooled connection.
//! With the feature `metrics`, acquires and holds are counted. In the repository,
//! `cargo run --example spans` shows the spans, and
//! `cargo run --example prometheus --features metrics` a scrape of the metrics.
//!
//! [`monitor`] lists who holds a lock and who waits for it, and ends a session. The server knows
//! only numbers; [`AdvisoryLock::tag_session`] and [`AdvisoryLock::tag_statement`] add the name.
//! The command `advisory` shows all of it.
//!
//! # Features
//!
//! - `macros` (default): the attribute [`advisory`](macro@advisory).
//! - `interop`: a [`scheme`] for each system whose locks you may have to share (Django, Rails,
//!   .NET, Node …), and `known`, the keys of migration tools.
//! - `metrics`: counts and times, for the installed recorder of the crate
//!   [metrics](https://docs.rs/metrics); see `describe_metrics`.
//! - `migrate`: migration at start-up with sqlx's `Migrator`; see `migrate`.
//! - `sea-orm`: locks in the transactions of [sea-orm](https://docs.rs/sea-orm) 2, and on its
//!   connections to PostgreSQL: by the attribute, by [`acquire_xact`](AdvisoryLock::acquire_xact)
//!   and [`acquire`](AdvisoryLock::acquire), and by `begin_sea_orm` and `transaction_sea_orm`.
//! - `uuid`: a [`Key`] and an [`AdvisoryLock`] from a `Uuid` of the crate
//!   [uuid](https://docs.rs/uuid).
//!
//! The runtime is tokio; TLS is chosen with sqlx's own features.

// Only docs.rs has the compiler for it.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod acquire;
mod error;
mod executor;
mod fencing;
mod function;
mod key;
#[cfg(feature = "interop")]
pub mod known;
mod lead;
mod leftover;
mod lock;
mod lock_session;
mod macro_support;
#[cfg(feature = "migrate")]
mod migrate;
pub mod monitor;
mod nesting;
mod on_drop;
mod per_pool;
mod period;
mod probe;
pub mod scheme;
mod session;
mod skipped;
mod sql;
mod telemetry;
mod time_bounds;

pub use acquire::SessionSource;
pub use error::{EndedWait, Error, Holder, UnsupportedReason};
pub use executor::{LockExecutor, TransactionExecutor};
pub use fencing::fencing_token;
pub use function::{
    lock, lock_shared, try_lock, try_lock_shared, try_xact_lock, try_xact_lock_shared, unlock,
    unlock_all, unlock_shared, xact_lock, xact_lock_shared,
};
pub use key::{Key, ParseKeyError};
pub use lead::Term;
pub use leftover::release_leftover_locks;
pub use lock::{AdvisoryLock, Isolation, LockId, Mode};
pub use lock_session::{LockSession, LockSessionGuard};
#[cfg(feature = "migrate")]
pub use migrate::migrate;
pub use period::{PeriodicLock, Periods};
pub use scheme::KeyScheme;
pub use session::SessionGuard;
pub use skipped::Skipped;
#[cfg(feature = "metrics")]
pub use telemetry::metric::describe_metrics;

#[cfg(feature = "macros")]
pub use advisory_macros::advisory;

#[doc(hidden)]
pub mod __private {
    pub use crate::acquire::Body;
    // For the command.
    pub use crate::macro_support::{
        CallerScope, ConnectionScope, InSession, OnConnection, OnPool, Outcome, PoolScope, Proof,
        SessionScope, SessionTarget, SkippedOutcome, Target, lock, lock_with_scheme, map_err,
        prove, unwritable,
    };
    pub use crate::sql::sqlstate::is_lasting;
    /// Where a bare name in `scheme = …` is looked up.
    pub mod scheme {
        pub use crate::scheme::schemes::*;
    }
}

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../docs/RECIPES.md")]
struct Recipes;

#[cfg(doctest)]
#[doc = include_str!("../../docs/RELIABILITY.md")]
struct Reliability;

#[cfg(all(doctest, feature = "interop"))]
#[doc = include_str!("../../docs/INTEROP.md")]
struct Interop;

#[cfg(all(doctest, feature = "interop"))]
#[doc = include_str!("../../docs/COMING_FROM.md")]
struct ComingFrom;
