//! Locks behind a PgBouncer in transaction mode, with the default settings of sqlx.
//!
//! A backend belongs to a client for one transaction, or for one message outside a transaction. A
//! statement that is prepared in one message and run in another may run on a session that has
//! another statement of that name. So the bodies here use the simple protocol only.
//!
//! The server is always private, also if `ADVISORY_DATABASE_URL` is set, because the pooler
//! connects to its unix socket.

mod cut;
mod fixture;
mod function;
mod idle;
mod lead;
mod lent;
mod permits;
mod pgpool;
mod restart;
mod section;
mod session;
mod verb;
mod wait;
