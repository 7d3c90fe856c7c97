//! The verbs that take a lock.

use std::fmt;

/// A verb that takes a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
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

const ALL: [Verb; 14] = [
    Verb::Begin,
    Verb::TryBegin,
    Verb::Transaction,
    Verb::TryTransaction,
    Verb::AcquireXact,
    Verb::TryAcquireXact,
    Verb::XactLock,
    Verb::TryXactLock,
    Verb::OnPool,
    Verb::OnPoolSkipping,
    Verb::OnConnection,
    Verb::Acquire,
    Verb::TryAcquire,
    Verb::InSession,
];

impl Verb {
    pub(crate) fn random() -> Self {
        ALL[fastrand::usize(..ALL.len())]
    }

    pub(crate) fn is_session(self) -> bool {
        matches!(self, Self::Acquire | Self::TryAcquire | Self::InSession)
    }

    /// True if the verb opens a transaction whose isolation level can be chosen.
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

    /// True if the verb takes several keys and shared locks. The functions take one key, and this
    /// program takes exclusive locks with them.
    pub(crate) fn takes_several(self) -> bool {
        !matches!(self, Self::XactLock | Self::TryXactLock)
    }
}

impl fmt::Display for Verb {
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
