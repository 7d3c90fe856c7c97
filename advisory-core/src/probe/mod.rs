//! What a server and a pool can do: found out once for each, and remembered.
//!
//! A server may answer PostgreSQL's lock functions and lock nothing. A pooler may give every
//! transaction of a connection another session. No address shows either; a look does.

mod capabilities;
mod pooler;

pub(crate) use self::capabilities::{Capabilities, check_lock_on};
