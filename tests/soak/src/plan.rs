//! What a task does next.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Isolation};
use advisory_verbs::{Scope, Verb};

use crate::layout::Layout;

/// One attempt to hold some keys for some time.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) verb: Verb,
    /// What is written under the lock.
    pub(crate) cells: Cells,
    pub(crate) shared: bool,
    pub(crate) lock: AdvisoryLock,
    /// How long the keys are held.
    pub(crate) work: Duration,
    /// True if a fencing token is taken.
    pub(crate) fenced: bool,
}

impl Plan {
    pub(crate) fn random(layout: Layout) -> Self {
        let verb = random_verb();
        let cells = Cells::random(verb, layout);
        let shared = matches!(cells, Cells::Keys(_)) && one_in(4);
        // A wait in the caller's transaction does not leave the queue when it is dropped, so it has
        // a timeout.
        let timeout = match fastrand::u8(..4) {
            0 => Duration::ZERO,
            1 => Duration::from_millis(fastrand::u64(1..30)),
            _ => Duration::from_secs(2),
        };
        Self {
            verb,
            lock: lock(verb, &cells, shared).timeout(timeout),
            cells,
            shared,
            work: Duration::from_micros(fastrand::u64(..3_000)),
            fenced: !shared && one_in(4),
        }
    }
}

/// Each holder of a permit has a cell of its own, so two holders of one slot are found as two
/// holders of one key are.
#[derive(Clone, Debug)]
pub(crate) enum Cells {
    /// In ascending order, without duplicates.
    Keys(Vec<i32>),
    /// The slot that is held of a lock with several permits. The number is the cell of its first
    /// slot.
    Slot { first: i32, permits: u32 },
}

impl Cells {
    fn random(verb: Verb, layout: Layout) -> Self {
        if verb.is_of_lock() && one_in(4) {
            let first = layout.random_semaphore();
            // Not all instances of a service have the same number.
            let permits = if one_in(2) { 3 } else { 5 };
            return Self::Slot { first, permits };
        }
        let several = verb.is_of_lock() && one_in(4);
        let chosen: Vec<_> = (0..if several { 3 } else { 1 })
            .map(|_| fastrand::i32(layout.keys()))
            .collect();
        Self::Keys(layout.keys().filter(|key| chosen.contains(key)).collect())
    }

    fn lock(&self) -> AdvisoryLock {
        match self {
            Self::Keys(keys) => AdvisoryLock::all(keys.iter().copied()),
            Self::Slot { first, permits } => AdvisoryLock::new(*first).permits(*permits),
        }
    }
}

fn lock(verb: Verb, cells: &Cells, shared: bool) -> AdvisoryLock {
    let lock = cells.lock();
    let mut lock = lock.response_timeout(Duration::from_secs(1));
    if shared {
        lock = lock.shared();
    }
    if one_in(8) {
        lock = lock.polling(Duration::from_millis(3));
    }
    if let Scope::Session | Scope::LockSession = verb.scope() {
        return lock.keepalive_interval(Duration::from_millis(500));
    }
    match fastrand::u8(..8) {
        _ if !verb.takes_isolation() => lock,
        0 => lock.isolation(Isolation::RepeatableRead),
        1 => lock.isolation(Isolation::ReadCommitted),
        _ => lock,
    }
}

/// A verb. Not a function that locks in a session of the caller: the caller would have to write in
/// that session without a transaction.
fn random_verb() -> Verb {
    let verbs: Vec<_> = Verb::all(|verb| verb.scope() != Scope::CallerSession).collect();
    verbs[fastrand::usize(..verbs.len())]
}

pub(crate) fn one_in(n: u8) -> bool {
    fastrand::u8(..n) == 0
}
