//! The isolation level of a transaction.

/// The isolation level of a transaction that a verb opens; see [`AdvisoryLock::isolation`](crate::AdvisoryLock::isolation).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Each statement sees what was committed before it began: PostgreSQL's default.
    ReadCommitted,
    /// The transaction sees what was committed before its first statement.
    RepeatableRead,
    /// As `RepeatableRead`, and as if transactions ran one after the other.
    Serializable,
}
