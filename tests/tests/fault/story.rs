//! What is done under a lock, from its beginning to its end.

use std::sync::Arc;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Isolation};

use crate::stage::{Stage, Tale};

pub(crate) struct Story {
    pub(crate) name: &'static str,
    pub(crate) tell: fn(Arc<Stage>) -> Tale,
    pub(crate) lock: AdvisoryLock,
    pub(crate) wait: Wait,
    pub(crate) rival: Rival,
    pub(crate) pool: Pool,
    /// False if it waits without an end: a silent network is then its caller's to notice.
    pub(crate) has_bound: bool,
    /// True if the row is there in the end.
    pub(crate) ends_well: bool,
}

/// The timeout of a story's lock.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    Unset,
    Zero,
    Short,
    Long,
}

/// Somebody else who has the lock when the story begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rival {
    Nobody,
    /// Lets it go once it is wanted.
    Leaves,
    Stays,
}

/// What a story is told on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pool {
    Used,
    /// A new one each time, whose first locks are looked at.
    New,
    /// A new one each time, to a server of which nothing is known either.
    First,
    /// One that looks at every connection that comes back.
    Hygienic,
}

impl Pool {
    pub(crate) fn is_new_each_time(self) -> bool {
        matches!(self, Self::New | Self::First)
    }
}

impl Story {
    /// A story on a used pool, of a lock with a timeout that nobody else wants.
    pub(crate) fn new(name: &'static str, tell: fn(Arc<Stage>) -> Tale) -> Self {
        Self {
            name,
            tell,
            lock: AdvisoryLock::new(1),
            wait: Wait::Long,
            rival: Rival::Nobody,
            pool: Pool::Used,
            has_bound: true,
            ends_well: true,
        }
    }

    pub(crate) fn several(mut self) -> Self {
        self.lock = AdvisoryLock::all([1, 2]);
        self
    }

    pub(crate) fn polling(mut self) -> Self {
        self.lock = self.lock.polling(Duration::from_millis(20));
        self
    }

    pub(crate) fn isolated(mut self) -> Self {
        self.lock = self.lock.isolation(Isolation::Serializable);
        self
    }

    /// Without a timeout, for a verb that does not wait then.
    pub(crate) fn without_timeout(mut self) -> Self {
        self.wait = Wait::Unset;
        self
    }

    /// Without a timeout, for a verb that waits all the same.
    pub(crate) fn for_ever(mut self) -> Self {
        self.has_bound = false;
        self.without_timeout()
    }

    /// The lock is granted after a wait.
    pub(crate) fn granted(mut self) -> Self {
        self.rival = Rival::Leaves;
        self
    }

    /// The lock is not to be had.
    pub(crate) fn refused(mut self) -> Self {
        self.rival = Rival::Stays;
        self.ends_well = false;
        self
    }

    /// The same, for a lock that says that it does not wait.
    pub(crate) fn refused_at_once(mut self) -> Self {
        self.wait = Wait::Zero;
        self.refused()
    }

    /// The same, after a wait.
    pub(crate) fn timed_out(mut self) -> Self {
        self.wait = Wait::Short;
        self.refused()
    }

    /// The row is taken back.
    pub(crate) fn rolled_back(mut self) -> Self {
        self.ends_well = false;
        self
    }

    pub(crate) fn on(mut self, pool: Pool) -> Self {
        self.pool = pool;
        self
    }
}
