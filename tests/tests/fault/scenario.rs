//! A scenario: a verb with its lock, and the conditions under which it runs.

use std::sync::Arc;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Isolation};
use advisory_verbs::{Scope, Verb};

use crate::env::{Env, Run};
use crate::verb;

pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) run: Box<dyn Fn(Arc<Env>) -> Run + Send + Sync>,
    pub(crate) lock: AdvisoryLock,
    pub(crate) timeout: Timeout,
    pub(crate) rival: Rival,
    pub(crate) pool: PoolState,
    /// False if the scenario waits without a timeout. Its caller then has to notice a silent
    /// network.
    pub(crate) has_bound: bool,
    /// The most sessions that stay open beside the pool.
    pub(crate) kept: usize,
    /// True if the row exists at the end.
    pub(crate) writes_row: bool,
}

/// The timeout of the scenario's lock.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timeout {
    Unset,
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
    /// A scenario of a verb on a used pool. Its lock has a timeout and is free.
    pub(crate) fn of(verb: Verb) -> Self {
        Self {
            name: verb.to_string(),
            run: Box::new(move |env| verb::run(verb, &env)),
            lock: AdvisoryLock::new(1),
            timeout: Timeout::Long,
            rival: Rival::None,
            pool: PoolState::Used,
            has_bound: true,
            kept: match verb.scope() {
                Scope::LockSession => 4,
                _ => 0,
            },
            writes_row: true,
        }
    }

    /// A scenario of another function.
    pub(crate) fn new(name: &str, run: fn(Arc<Env>) -> Run) -> Self {
        Self {
            name: name.to_owned(),
            run: Box::new(run),
            ..Self::of(Verb::Begin)
        }
    }

    fn named(mut self, what: &str) -> Self {
        self.name = format!("{}, {what}", self.name);
        self
    }

    pub(crate) fn several(mut self) -> Self {
        self.lock = AdvisoryLock::all([1, 2]);
        self.named("several")
    }

    /// One of several permits.
    pub(crate) fn permit(mut self) -> Self {
        self.lock = self.lock.permits(2);
        self.named("permit")
    }

    pub(crate) fn shared(mut self) -> Self {
        self.lock = self.lock.shared();
        self.named("shared")
    }

    pub(crate) fn polling(mut self) -> Self {
        self.lock = self.lock.polling(Duration::from_millis(20));
        self.named("polling")
    }

    pub(crate) fn isolated(mut self) -> Self {
        self.lock = self.lock.isolation(Isolation::Serializable);
        self.named("isolated")
    }

    /// Without a timeout, for a verb that then does not wait.
    pub(crate) fn without_timeout(mut self) -> Self {
        self.timeout = Timeout::Unset;
        self.named("no timeout")
    }

    /// Without a timeout, for a verb that then waits without a bound.
    pub(crate) fn without_bound(mut self) -> Self {
        self.has_bound = false;
        self.without_timeout()
    }

    /// The lock is granted after a wait.
    pub(crate) fn granted(mut self) -> Self {
        self.rival = Rival::Releases;
        self.named("granted")
    }

    /// The lock is not granted.
    pub(crate) fn refused(mut self) -> Self {
        self.rival = Rival::Holds;
        self.writes_row = false;
        self.named("refused")
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
        match pool {
            PoolState::New => self.named("first in the pool"),
            PoolState::NewServer => self.named("first on the server"),
            PoolState::Used | PoolState::Hygienic => self,
        }
    }
}
