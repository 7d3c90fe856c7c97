//! Alone or shared.

use std::fmt;

/// Whom a holder keeps out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Everybody (`ExclusiveLock` in `pg_locks`).
    Exclusive,
    /// Those who want it exclusively (`ShareLock`); see [`AdvisoryLock::shared`](crate::AdvisoryLock::shared).
    Shared,
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Exclusive => "exclusive",
            Self::Shared => "shared",
        }
    }
}

/// Writes `exclusive` or `shared`.
impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
