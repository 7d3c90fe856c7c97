//! What a task does next.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Isolation};

use crate::verb::Verb;

/// One attempt to hold some keys for some time.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) verb: Verb,
    /// In ascending order, without duplicates.
    pub(crate) keys: Vec<i32>,
    pub(crate) shared: bool,
    pub(crate) lock: AdvisoryLock,
    /// How long the keys are held.
    pub(crate) work: Duration,
    /// True if a fencing token is taken.
    pub(crate) fenced: bool,
    /// When the future is dropped, at any point of its execution.
    pub(crate) drop_after: Option<Duration>,
}

impl Plan {
    pub(crate) fn random(keys: i32) -> Self {
        let verb = Verb::random();
        let several = verb.takes_several() && one_in(4);
        let chosen: Vec<_> = (0..if several { 3 } else { 1 })
            .map(|_| fastrand::i32(0..keys))
            .collect();
        let keys: Vec<_> = (0..keys).filter(|key| chosen.contains(key)).collect();
        let shared = verb.takes_several() && one_in(4);
        Self {
            verb,
            lock: lock(&keys, shared),
            keys,
            shared,
            work: Duration::from_micros(fastrand::u64(..3_000)),
            fenced: !shared && one_in(4),
            drop_after: one_in(3).then(|| Duration::from_micros(fastrand::u64(..30_000))),
        }
    }
}

/// The lock always has a timeout, because a wait in the caller's transaction does not leave the
/// queue when it is dropped.
fn lock(keys: &[i32], shared: bool) -> AdvisoryLock {
    let mut lock = AdvisoryLock::all(keys.iter().copied()).probing(Duration::from_millis(500));
    if shared {
        lock = lock.shared();
    }
    lock = lock.timeout(match fastrand::u8(..4) {
        0 => Duration::ZERO,
        1 => Duration::from_millis(fastrand::u64(1..30)),
        _ => Duration::from_secs(2),
    });
    if one_in(8) {
        lock = lock.polling(Duration::from_millis(3));
    }
    match fastrand::u8(..8) {
        0 => lock.isolation(Isolation::RepeatableRead),
        1 => lock.isolation(Isolation::ReadCommitted),
        _ => lock,
    }
}

pub(crate) fn one_in(n: u8) -> bool {
    fastrand::u8(..n) == 0
}
