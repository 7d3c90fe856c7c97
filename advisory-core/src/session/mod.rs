//! A session that holds a lock: its guard, whether it is alive, and its release.

mod backend;
mod beside;
mod guard;
mod held_lock;
mod liveness;
mod release;
mod watch;

pub(crate) use self::backend::Backend;
pub(crate) use self::beside::beside;
pub use self::guard::SessionGuard;
pub(crate) use self::held_lock::{HeldLock, send_on_pool};
pub(crate) use self::liveness::{Liveness, poll_socket, transaction_lost, until_lost};
