//! Behind a PgBouncer in transaction mode, at sqlx's default settings: promise 5 of the design.
//!
//! A backend belongs to a client for one transaction, and for one message outside of any. Whatever prepares a statement in
//! one message and runs it in another may run somebody else's, so the bodies here speak the simple protocol only.
//!
//! The server is always a private one, whatever `ADVISORY_DATABASE_URL` says: the pooler reaches it through its unix socket.

mod function;
mod restart;
mod scene;
mod session;
mod stage;
mod verb;
mod wait;
