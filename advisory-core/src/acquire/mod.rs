//! Acquires a lock: one engine for every scope.
//!
//! [`Attempt`](attempt::Attempt) is one call of a method that acquires. It owns the deadline, the
//! span and the metric, the polls, the response timeout, and what a refusal becomes: an error that
//! names the holders, or a report. A scope implements [`TryOnce`](attempt::TryOnce): how to ask the
//! server once, and what a grant is.
//!
//! A new scope is a variant of [`Scope`](crate::telemetry::Scope), a file here with the public
//! methods and a type that implements `TryOnce`, and its messages in [`sql`](crate::sql); see
//! `docs/ARCHITECTURE.md`, "Where to add".

mod attempt;
mod caller_connection;
mod caller_transaction;
mod cancel;
mod deadline;
mod lent_session;
mod line;
mod lock_session;
mod new_transaction;
mod own_transaction;
mod pool;
mod queue;
#[cfg(feature = "sea-orm")]
pub(crate) mod sea_orm;
mod session;

pub(crate) use self::attempt::{acquire, try_acquire};
pub use self::caller_connection::ConnectionScope;
pub(crate) use self::new_transaction::run;
pub(crate) use self::own_transaction::{NewTransaction, OwnTransaction};
pub use self::queue::Body;
pub use self::session::SessionSource;
