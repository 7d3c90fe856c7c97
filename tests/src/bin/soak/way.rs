//! The ways to take a lock.

use std::fmt;

/// A way to take a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    Begin,
    TryBegin,
    Transaction,
    TryTransaction,
    AcquireXact,
    TryAcquireXact,
    XactLock,
    TryXactLock,
    OnPool,
    OnPoolSkipping,
    OnConnection,
    Acquire,
    TryAcquire,
    InSession,
}

const ALL: [Way; 14] = [
    Way::Begin,
    Way::TryBegin,
    Way::Transaction,
    Way::TryTransaction,
    Way::AcquireXact,
    Way::TryAcquireXact,
    Way::XactLock,
    Way::TryXactLock,
    Way::OnPool,
    Way::OnPoolSkipping,
    Way::OnConnection,
    Way::Acquire,
    Way::TryAcquire,
    Way::InSession,
];

impl Way {
    pub(crate) fn random() -> Self {
        ALL[fastrand::usize(..ALL.len())]
    }

    pub(crate) fn is_session(self) -> bool {
        matches!(self, Self::Acquire | Self::TryAcquire | Self::InSession)
    }

    /// Whether it opens a transaction on a pool, of an isolation level that can be chosen.
    pub(crate) fn opens_transaction(self) -> bool {
        matches!(
            self,
            Self::Begin
                | Self::TryBegin
                | Self::Transaction
                | Self::TryTransaction
                | Self::OnPool
                | Self::OnPoolSkipping
        )
    }

    /// PostgreSQL's functions take one key; the macros of this program give them exclusive ones only.
    pub(crate) fn takes_several(self) -> bool {
        !matches!(self, Self::XactLock | Self::TryXactLock)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Begin => "begin",
            Self::TryBegin => "try_begin",
            Self::Transaction => "transaction",
            Self::TryTransaction => "try_transaction",
            Self::AcquireXact => "acquire_xact",
            Self::TryAcquireXact => "try_acquire_xact",
            Self::XactLock => "xact_lock",
            Self::TryXactLock => "try_xact_lock",
            Self::OnPool => "#[advisory] on a pool",
            Self::OnPoolSkipping => "#[advisory] that skips",
            Self::OnConnection => "#[advisory] on a connection",
            Self::Acquire => "acquire",
            Self::TryAcquire => "try_acquire",
            Self::InSession => "#[advisory] in a session",
        })
    }
}
