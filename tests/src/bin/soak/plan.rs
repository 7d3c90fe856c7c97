//! What a task does next.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Isolation};

use crate::way::Way;

/// One attempt to hold some keys for a while.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) way: Way,
    /// In order, each once.
    pub(crate) keys: Vec<i32>,
    pub(crate) shared: bool,
    pub(crate) lock: AdvisoryLock,
    /// How long the keys are held.
    pub(crate) work: Duration,
    /// Whether a fencing token is taken.
    pub(crate) fenced: bool,
    /// When the whole future is dropped, wherever it is.
    pub(crate) drop_after: Option<Duration>,
}

impl Plan {
    pub(crate) fn random(keys: i32) -> Self {
        let way = Way::random();
        let several = way.takes_several() && one_in(4);
        let chosen: Vec<_> = (0..if several { 3 } else { 1 })
            .map(|_| fastrand::i32(0..keys))
            .collect();
        let keys: Vec<_> = (0..keys).filter(|key| chosen.contains(key)).collect();
        let shared = way.takes_several() && one_in(4);
        Self {
            way,
            lock: lock(way, &keys, shared),
            keys,
            shared,
            work: Duration::from_micros(fastrand::u64(..3_000)),
            fenced: !shared && one_in(4),
            drop_after: one_in(3).then(|| Duration::from_micros(fastrand::u64(..30_000))),
        }
    }
}

/// Every wait has an end: a wait on the caller's own transaction is not taken off the queue by dropping it.
fn lock(way: Way, keys: &[i32], shared: bool) -> AdvisoryLock {
    let mut lock = AdvisoryLock::all(keys.iter().copied()).response_timeout(Duration::from_secs(1));
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
    if way.is_session() {
        return lock.keepalive_interval(Duration::from_millis(500));
    }
    match fastrand::u8(..8) {
        _ if !way.opens_transaction() => lock,
        0 => lock.isolation(Isolation::RepeatableRead),
        1 => lock.isolation(Isolation::ReadCommitted),
        _ => lock,
    }
}

pub(crate) fn one_in(n: u8) -> bool {
    fastrand::u8(..n) == 0
}
