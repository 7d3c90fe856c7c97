//! A task of a process as the client of a history.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use advisory_core::{AdvisoryLock, Error, Key};
use advisory_history::{Attempt, Mode, Outcome, Plan, Recorder, Scope, Section};

use crate::critical_section::Failure;
use crate::fleet::lock;
use crate::tally::Tally;

/// Records what one task asks for, one call at a time.
pub(crate) struct Client {
    recorder: Arc<Recorder>,
    process: u32,
    name: String,
    next_op: AtomicU64,
    /// The changes that were acknowledged, by workload.
    pub(crate) changes: Arc<Mutex<Tally>>,
}

impl Client {
    pub(crate) fn new(
        recorder: Arc<Recorder>,
        process: u32,
        task: u16,
        changes: Arc<Mutex<Tally>>,
    ) -> Self {
        Self {
            recorder,
            process,
            name: format!("{process}.{task}"),
            next_op: AtomicU64::new(0),
            changes,
        }
    }

    /// Records that a verb is called.
    pub(crate) fn attempt(&self, verb: &str, scope: Scope, lock: &AdvisoryLock) -> Attempt {
        let key = |key: &Key| match key {
            Key::BigInt(key) => *key,
            Key::IntPair(..) => unreachable!("BUG: every key of the test is one number"),
        };
        let plan = Plan {
            process: self.process,
            verb: verb.to_owned(),
            scope,
            keys: lock.keys().iter().map(key).collect(),
            mode: match lock.mode() {
                advisory_core::Mode::Shared => Mode::Shared,
                advisory_core::Mode::Exclusive => Mode::Exclusive,
            },
            permits: lock.id().permits(),
        };
        let op = self.next_op.fetch_add(1, Ordering::Relaxed);
        self.recorder.attempt(&self.name, op, plan)
    }
}

/// What the result of a call says about its lock, if success says `success`.
pub(crate) fn outcome(result: &Result<bool, Failure>, success: Outcome) -> Outcome {
    match result {
        Ok(true) => success,
        Ok(false) => Outcome::Refused,
        Err(Failure::Lock(Error::NotAcquired { .. })) => Outcome::Timeout,
        Err(Failure::Lock(Error::Lost { .. })) => Outcome::Lost,
        Err(_) => Outcome::Unknown,
    }
}

/// What success says about a lock of this scope.
pub(crate) fn success(scope: Scope) -> Outcome {
    match scope {
        Scope::Transaction | Scope::Session => Outcome::Released,
        Scope::LockSession => Outcome::Unconfirmed,
    }
}

/// The scope of a verb.
pub(crate) fn scope(scope: advisory_verbs::Scope) -> Scope {
    match scope {
        advisory_verbs::Scope::Session | advisory_verbs::Scope::CallerSession => Scope::Session,
        advisory_verbs::Scope::LockSession => Scope::LockSession,
        advisory_verbs::Scope::NewTransaction
        | advisory_verbs::Scope::CallerTransaction
        | advisory_verbs::Scope::CallerConnection => Scope::Transaction,
    }
}

/// Draws a fencing token, and records it.
pub(crate) async fn draw(
    section: &Section,
    token: impl Future<Output = Result<i64, Error>>,
) -> Result<i64, Error> {
    let invoked = advisory_history::now();
    let token = token.await?;
    section.token(invoked, token);
    Ok(token)
}

/// The terms of one call of `lead`, each of which is a call in the history.
pub(crate) struct Terms<'c> {
    client: &'c Client,
    verb: &'static str,
    scope: Scope,
    lock: AdvisoryLock,
    current: Mutex<Attempt>,
}

impl<'c> Terms<'c> {
    pub(crate) fn new(
        client: &'c Client,
        verb: &'static str,
        scope: Scope,
        lock: &AdvisoryLock,
    ) -> Self {
        Self {
            current: Mutex::new(client.attempt(verb, scope, lock)),
            client,
            verb,
            scope,
            lock: lock.clone(),
        }
    }

    /// Records the begin of a term.
    pub(crate) fn begin(&self, number: i64) -> TermSection<'_> {
        TermSection {
            section: Some(lock(&self.current).granted(Some(number))),
            terms: self,
            is_complete: false,
        }
    }

    /// Records the outcome of the call.
    pub(crate) fn returned(&self, outcome: Outcome) {
        lock(&self.current).returned(outcome);
    }
}

/// The section of a term. Unless it is complete, the leader has lost its term, and stands again.
pub(crate) struct TermSection<'t> {
    section: Option<Section>,
    terms: &'t Terms<'t>,
    is_complete: bool,
}

impl TermSection<'_> {
    pub(crate) fn complete(mut self) {
        self.is_complete = true;
    }
}

impl Drop for TermSection<'_> {
    fn drop(&mut self) {
        drop(self.section.take());
        if self.is_complete {
            return;
        }
        let terms = self.terms;
        let next = |attempt: &mut Attempt| {
            attempt.returned(Outcome::Lost);
            *attempt = terms.client.attempt(terms.verb, terms.scope, &terms.lock);
        };
        next(&mut lock(&terms.current));
    }
}
