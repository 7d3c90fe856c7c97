//! A session that holds a lock: its guard, whether it is alive, and its release.

mod backend;
mod guard;
mod liveness;
mod release;
mod watch;

pub(crate) use self::backend::Backend;
pub use self::guard::SessionGuard;
pub(crate) use self::liveness::{Liveness, poll_socket, transaction_lost, until_lost};
