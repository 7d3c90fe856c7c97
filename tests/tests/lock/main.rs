//! Locks on one healthy server: what is sent, each scope, and waits.
//!
//! One binary, because most of these tests wait for a server: together they keep the processors
//! busy, and one after the other they would not.

mod lock_session;
mod session;
mod statement;
mod telemetry;
mod transaction;
mod wait;
