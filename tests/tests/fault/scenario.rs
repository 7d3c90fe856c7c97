//! A scenario: a verb with its lock, and the conditions under which it runs.

use std::sync::Arc;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Isolation};

use crate::env::{Env, Run};

pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) run: fn(Arc<Env>) -> Run,
    pub(crate) lock: AdvisoryLock,
    pub(crate) timeout: Timeout,
    pub(crate) rival: Rival,
    pub(crate) pool: PoolState,
    /// False if the scenario waits without a timeout. Its caller then has to notice a silent
    /// network.
    pub(crate) has_bound: bool,
    /// True if the row exists at the end.
    pub(crate) writes_row: bool,
}

/// The timeout of the scenario's lock.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timeout {
    Unset,
    Zero,
    Short,
    Long,
}

/// What another session, which may hold the lock at the start, does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rival {
    /// No other session holds the lock.
    None,
    /// The rival releases the lock when the scenario waits for it.
    Releases,
    /// The rival holds the lock until the scenario has ended.
    Holds,
}

/// The state of the pool on which a scenario runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum PoolState {
    /// A pool that has taken locks before.
    Used,
    /// A new pool for each run. The crate probes the connections at its first locks.
    New,
    /// A new pool for each run, on a database whose server has not been probed either.
    NewServer,
    /// A pool that checks every returned connection with `hygiene::after_release`.
    Hygienic,
}

impl PoolState {
    pub(crate) fn is_new_each_time(self) -> bool {
        matches!(self, Self::New | Self::NewServer)
    }
}

impl Scenario {
    /// A scenario on a used pool. Its lock has a timeout and is free.
    pub(crate) fn new(name: &'static str, run: fn(Arc<Env>) -> Run) -> Self {
        Self {
            name,
            run,
            lock: AdvisoryLock::new(1),
            timeout: Timeout::Long,
            rival: Rival::None,
            pool: PoolState::Used,
            has_bound: true,
            writes_row: true,
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

    /// Without a timeout, for a verb that then does not wait.
    pub(crate) fn without_timeout(mut self) -> Self {
        self.timeout = Timeout::Unset;
        self
    }

    /// Without a timeout, for a verb that then waits without a bound.
    pub(crate) fn without_bound(mut self) -> Self {
        self.has_bound = false;
        self.without_timeout()
    }

    /// The lock is granted after a wait.
    pub(crate) fn granted(mut self) -> Self {
        self.rival = Rival::Releases;
        self
    }

    /// The lock is not granted.
    pub(crate) fn refused(mut self) -> Self {
        self.rival = Rival::Holds;
        self.writes_row = false;
        self
    }

    /// The lock is not granted, and its timeout is zero.
    pub(crate) fn refused_at_once(mut self) -> Self {
        self.timeout = Timeout::Zero;
        self.refused()
    }

    /// The lock is not granted before its timeout.
    pub(crate) fn timed_out(mut self) -> Self {
        self.timeout = Timeout::Short;
        self.refused()
    }

    /// The row is rolled back.
    pub(crate) fn rolled_back(mut self) -> Self {
        self.writes_row = false;
        self
    }

    pub(crate) fn on(mut self, pool: PoolState) -> Self {
        self.pool = pool;
        self
    }
}
