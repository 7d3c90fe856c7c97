//! Spans and metrics.

pub(crate) mod metric;
mod span;

pub(crate) use self::span::AcquireSpan;

/// Where a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// In the caller's transaction.
    CallerTransaction,
    /// In a transaction that is opened on a pool.
    NewTransaction,
    /// In a transaction that is opened on the caller's connection.
    CallerConnection,
    /// In a session of its own.
    Session,
}

impl Scope {
    /// The label in spans and metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::CallerTransaction | Self::NewTransaction | Self::CallerConnection => "xact",
            Self::Session => "session",
        }
    }
}

/// How an acquire ended; the label in spans and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Acquired,
    NotAcquired,
    Deadlock,
    Error,
    Dropped,
}

impl Outcome {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Acquired => "acquired",
            Self::NotAcquired => "not_acquired",
            Self::Deadlock => "deadlock",
            Self::Error => "error",
            Self::Dropped => "dropped",
        }
    }
}
