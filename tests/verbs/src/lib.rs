//! Every verb that takes a lock, as a value.
//!
//! A test that runs "each verb" iterates over [`Verb::ALL`], or over those of a [`Scope`]. A new
//! verb is a row of the table in this file and an arm in `run`.
//!
//! A verb ends with an error when its lock or its server is lost, shares its lock with others if
//! the lock says so, and runs its body on every call. The tests rely on that. So `lead`, which
//! stands again after a loss and runs its body again, and the methods of `every`, which need a
//! table and run their body once, are no verbs here. Their tests are in `session::lead` and
//! `transaction::period`.
//!
//! ```no_run
//! # use advisory_core::{AdvisoryLock, Error};
//! # async fn test(pool: &sqlx::PgPool) -> Result<(), Error> {
//! use advisory_verbs::Verb;
//!
//! for verb in Verb::ALL {
//!     let acquired = verb.ask(&AdvisoryLock::new("one"), pool).await?;
//!     assert!(acquired, "{verb}");
//! }
//! # Ok(())
//! # }
//! ```

mod attribute;
mod function;
mod refusal;
mod run;
mod section;

use std::fmt;

pub use function::Function;
pub use refusal::{holders, unsupported};
pub use run::{Body, BodyError, Held, Work, begin, outcome, with_connection, with_holders};
pub use section::{Inside, Sections};

/// Where a verb holds its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In a transaction that the verb begins on a pool.
    NewTransaction,
    /// In a transaction of the caller.
    CallerTransaction,
    /// In a transaction that the verb begins on a connection of the caller.
    CallerConnection,
    /// In a session of its own.
    Session,
    /// In a session that holds any number of locks.
    LockSession,
    /// In the session of the caller's connection.
    CallerSession,
}

/// What the body of a verb can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The connection that holds the lock.
    Inside,
    /// Nothing of the verb's. The verb watches the connection that holds the lock meanwhile.
    Beside,
}

/// What a verb does if the lock is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The verb returns an error.
    Error,
    /// The verb reports the refusal, and does not wait unless a wait is set.
    Report,
}

macro_rules! verbs {
    ($($verb:ident, $name:literal, $scope:ident, $access:ident, $refusal:ident;)+) => {
        /// A verb that takes a lock.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Verb {
            $(#[doc = concat!("`", $name, "`")] $verb,)+
        }

        impl Verb {
            /// Every verb.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$verb),+];

            /// The name of the verb in the output of a test.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$verb => $name,)+
                }
            }

            /// Where the verb holds its lock.
            pub fn scope(self) -> Scope {
                match self {
                    $(Self::$verb => Scope::$scope,)+
                }
            }

            /// What the body can use.
            pub fn access(self) -> Access {
                match self {
                    $(Self::$verb => Access::$access,)+
                }
            }

            /// What the verb does if the lock is not granted.
            pub fn refusal(self) -> Refusal {
                match self {
                    $(Self::$verb => Refusal::$refusal,)+
                }
            }
        }
    };
}

verbs! {
    Begin, "begin", NewTransaction, Inside, Error;
    TryBegin, "try_begin", NewTransaction, Inside, Report;
    Transaction, "transaction", NewTransaction, Inside, Error;
    TryTransaction, "try_transaction", NewTransaction, Inside, Report;
    AttributeInside, "#[advisory(tx)]", NewTransaction, Inside, Error;
    AttributeOnPool, "#[advisory] on a pool", NewTransaction, Beside, Error;
    AttributeInsideSkipping, "#[advisory(tx)] that skips", NewTransaction, Inside, Report;
    AttributeSkipping, "#[advisory] that skips", NewTransaction, Beside, Report;
    AcquireXact, "acquire_xact", CallerTransaction, Inside, Error;
    TryAcquireXact, "try_acquire_xact", CallerTransaction, Inside, Report;
    AttributeOnTransaction, "#[advisory] on a transaction", CallerTransaction, Inside, Error;
    AttributeOnConnection, "#[advisory] on a connection", CallerConnection, Inside, Error;
    AttributeBesideConnection, "#[advisory(on = …)]", CallerConnection, Beside, Error;
    AttributeOnConnectionSkipping, "#[advisory] on a connection, that skips", CallerConnection, Inside, Report;
    Acquire, "acquire", Session, Beside, Error;
    TryAcquire, "try_acquire", Session, Inside, Report;
    AttributeInSession, "#[advisory] in a session", LockSession, Beside, Error;
    AttributeInSessionSkipping, "#[advisory] in a session, that skips", LockSession, Beside, Report;
    XactLock, "xact_lock", CallerTransaction, Inside, Error;
    TryXactLock, "try_xact_lock", CallerTransaction, Inside, Report;
    Lock, "lock", CallerSession, Inside, Error;
    TryLock, "try_lock", CallerSession, Inside, Report;
}

impl Verb {
    /// The verbs for which `is_wanted` returns true.
    pub fn all(is_wanted: fn(Self) -> bool) -> impl Iterator<Item = Self> + Clone {
        Self::ALL.into_iter().filter(move |verb| is_wanted(*verb))
    }

    /// True for PostgreSQL's own functions. They take one key, the first of the lock, and ignore
    /// the settings of the lock except for its mode.
    pub fn is_function(self) -> bool {
        matches!(
            self,
            Self::XactLock | Self::TryXactLock | Self::Lock | Self::TryLock
        )
    }

    /// True if the verb takes all keys of the lock, and its timeout.
    pub fn is_of_lock(self) -> bool {
        !self.is_function()
    }

    /// True if the verb waits for the lock, at least if a wait is set.
    pub fn can_wait(self) -> bool {
        self.is_of_lock() || self.refusal() == Refusal::Error
    }

    /// True if the wait is a statement of its own, which the server can end. Other waits continue
    /// when the session that queues for them ends.
    pub fn waits_in_statement(self) -> bool {
        self.can_wait() && self.scope() != Scope::LockSession
    }

    /// True if the verb takes a pool of the caller, and no connection.
    pub fn is_on_pool(self) -> bool {
        self.keeps_connection() || self.scope() == Scope::LockSession
    }

    /// True if the lock keeps a connection of the pool.
    pub fn keeps_connection(self) -> bool {
        matches!(self.scope(), Scope::NewTransaction | Scope::Session)
    }

    /// True if the verb takes an isolation level.
    pub fn takes_isolation(self) -> bool {
        self.scope() == Scope::NewTransaction
    }

    /// True if the verb opens a transaction and ends it.
    pub fn opens_transaction(self) -> bool {
        matches!(
            self.scope(),
            Scope::NewTransaction | Scope::CallerConnection
        )
    }

    /// True if the lock ends with a transaction.
    pub fn is_in_transaction(self) -> bool {
        !matches!(
            self.scope(),
            Scope::Session | Scope::LockSession | Scope::CallerSession
        )
    }

    /// True if the lock is taken in a transaction that the caller has begun; see
    /// [`join`](Self::join).
    pub fn is_in_callers_transaction(self) -> bool {
        self.scope() == Scope::CallerTransaction
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
