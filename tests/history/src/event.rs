//! The lines of a history.

use serde::{Deserialize, Serialize};

/// A line of a history: an event of a call, or a fault.
///
/// A call has an `acquire`; then, if the lock is granted, `granted`, any number of `token` and
/// `release`; and in the end `returned`. `client` and `op` identify it. A client makes one call at
/// a time. If its process is killed, the rest of the call is missing. Times are nanoseconds of one
/// monotonic clock. The lines of different clients may be in any order.
///
/// ```
/// use advisory_history::Event;
///
/// let lines = r#"
/// {"event":"acquire","client":"2.17","op":4,"at":10,"process":2,"verb":"acquire","scope":"session","keys":[7],"mode":"exclusive","permits":1}
/// {"event":"granted","client":"2.17","op":4,"at":25}
/// {"event":"token","client":"2.17","op":4,"at":32,"invoked":26,"token":1125899906846976}
/// {"event":"release","client":"2.17","op":4,"at":40}
/// {"event":"returned","client":"2.17","op":4,"at":52,"outcome":"released"}
/// {"event":"fault","at":60,"ended":75,"fault":"every connection of a process reset","process":2}
/// "#;
/// for line in lines.trim().lines() {
///     let event: Event = serde_json::from_str(line)?;
///     assert_eq!(serde_json::to_string(&event)?, line);
/// }
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// A client calls a verb.
    Acquire {
        /// When it was called.
        #[serde(flatten)]
        moment: Moment,
        /// What the client asks for.
        #[serde(flatten)]
        plan: Plan,
    },
    /// The lock is granted, and the section under it begins.
    Granted {
        /// When the section began.
        #[serde(flatten)]
        moment: Moment,
        /// A fencing token that was drawn with the grant: the number of a leader's term.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        term: Option<i64>,
    },
    /// A fencing token is drawn under the lock.
    Token {
        /// When it was returned.
        #[serde(flatten)]
        moment: Moment,
        /// When it was asked for.
        invoked: u64,
        /// The token.
        token: i64,
    },
    /// The section under the lock has ended, or was dropped. The lock is not released before.
    Release {
        /// When the section ended.
        #[serde(flatten)]
        moment: Moment,
    },
    /// The call returns, or is dropped.
    Returned {
        /// When it returned.
        #[serde(flatten)]
        moment: Moment,
        /// What the client learns of the lock.
        outcome: Outcome,
    },
    /// Something fails on purpose.
    Fault {
        /// When it began.
        at: u64,
        /// When it was over.
        ended: u64,
        /// What failed.
        fault: String,
        /// The process that it concerned, or all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        process: Option<u32>,
    },
}

/// A moment of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The client, which makes one call at a time.
    pub client: String,
    /// The number of the call among those of the client.
    pub op: u64,
    /// The time.
    pub at: u64,
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The process of the client. Faults name it.
    pub process: u32,
    /// The name of the verb.
    pub verb: String,
    /// What holds the lock.
    pub scope: Scope,
    /// The keys of the lock.
    pub keys: Vec<i64>,
    /// The mode of the lock.
    pub mode: Mode,
    /// How many may hold the lock at once, in the eyes of this client.
    pub permits: u32,
}

/// What holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// A transaction.
    Transaction,
    /// A session of its own.
    Session,
    /// A session that holds many locks, and passes them on in memory.
    LockSession,
}

/// The mode of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Nobody else may hold it, or at most as many others as it has permits.
    Exclusive,
    /// Others may hold it in this mode.
    Shared,
}

/// What a client learns of a lock when its call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The server has confirmed the end of the lock: it was held until then.
    Released,
    /// The call succeeded, but the server did not say that the lock was still held.
    Unconfirmed,
    /// The lock was not granted, and the call did not wait.
    Refused,
    /// The lock was not granted in time.
    Timeout,
    /// The lock was lost while it was held.
    Lost,
    /// Anything else: an error, or a dropped call.
    Unknown,
}
