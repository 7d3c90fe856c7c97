//! Which keys there are, and what each is for.
//!
//! All processes take new keys every [`EPOCH`], so that the history of one key stays short enough
//! for the checker. The keys of an epoch are those that the verbs compete for, the cells of locks
//! with several permits, and those of the workloads that write beside their lock.

use std::time::Duration;

use advisory_history::now;

use crate::update::Workload;

/// How long a set of keys is used.
const EPOCH: Duration = Duration::from_secs(20);

/// For how long the test causes faults in each epoch. The rest of the epoch has no faults, and only
/// then does a call prove something that succeeds without an answer of the server; see
/// `advisory-history`.
const DISRUPTED: Duration = Duration::from_secs(15);

/// How many locks of an epoch have several permits, and the most permits of such a lock.
const SEMAPHORES: i32 = 6;
const MOST_PERMITS: i32 = 5;

/// How many keys of an epoch each workload has.
const WORKLOAD_KEYS: i32 = 4;

/// The keys of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// How many keys the verbs compete for.
    pub(crate) keys: i32,
    /// When the run began, as [`now`].
    pub(crate) started: u64,
}

impl Layout {
    /// How many numbers a run of some length needs, from 0 on.
    pub(crate) fn count(self, run: Duration) -> i32 {
        // A call that is under way when the run ends may continue for a while.
        let epochs = run.as_secs() / EPOCH.as_secs() + 4;
        self.stride() * i32::try_from(epochs).unwrap_or(i32::MAX / self.stride())
    }

    /// Whether the test must not make anything fail now.
    pub(crate) fn is_calm(self) -> bool {
        let since = u128::from(now().saturating_sub(self.started)) % EPOCH.as_nanos();
        since > DISRUPTED.as_nanos()
    }

    /// Whether a run of some length has had time without faults.
    pub(crate) fn has_calm(run: Duration) -> bool {
        run >= EPOCH
    }

    /// The keys of the current epoch that the verbs compete for.
    pub(crate) fn keys(self) -> std::ops::Range<i32> {
        let first = self.first();
        first..first + self.keys
    }

    /// The first cell, which is also the key, of the first lock with several permits in the current
    /// epoch.
    pub(crate) fn first_semaphore(self) -> i32 {
        self.keys().end
    }

    /// The first cell, which is also the key, of a lock with several permits in the current epoch.
    pub(crate) fn random_semaphore(self) -> i32 {
        self.first_semaphore() + MOST_PERMITS * fastrand::i32(0..SEMAPHORES)
    }

    /// A key of a workload in the current epoch.
    pub(crate) fn random_key_of(self, workload: Workload) -> i32 {
        self.first() + self.offset(workload) + fastrand::i32(0..WORKLOAD_KEYS)
    }

    /// Whether a key is one of a workload.
    pub(crate) fn is_of(self, workload: Workload, key: i64) -> bool {
        let offset = i64::from(self.offset(workload));
        let range = offset..offset + i64::from(WORKLOAD_KEYS);
        range.contains(&(key % i64::from(self.stride())))
    }

    fn first(self) -> i32 {
        let epoch = now().saturating_sub(self.started) / EPOCH.as_secs() / 1_000_000_000;
        self.stride() * i32::try_from(epoch).unwrap_or_default()
    }

    fn offset(self, workload: Workload) -> i32 {
        let first = self.keys + SEMAPHORES * MOST_PERMITS;
        match workload {
            Workload::UntilLost => first,
            Workload::Fenced => first + WORKLOAD_KEYS,
        }
    }

    fn stride(self) -> i32 {
        self.offset(Workload::Fenced) + WORKLOAD_KEYS
    }
}
