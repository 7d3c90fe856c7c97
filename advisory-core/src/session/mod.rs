//! A session that holds a lock: its guard, whether it is alive, and its release.

mod guard;
mod liveness;
mod release;

pub use self::guard::SessionGuard;
pub(crate) use self::liveness::{Liveness, transaction_lost, until_lost};
