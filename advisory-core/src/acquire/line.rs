//! The tasks of this process that want one lock on one pool, first come, first served.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::lock::LockId;

/// The lines of one pool: one for each lock that a task wants just now.
pub(super) struct Lines {
    shards: [Mutex<HashMap<LockId, Arc<Line>>>; SHARDS],
    hasher: RandomState,
}

/// Two locks rarely meet in one of so many shards.
const SHARDS: usize = 64;

struct Line {
    /// One permit, the turn. Closed when the head lets the others through.
    turn: Semaphore,
    /// How often a head has begun or ended to ask the server: odd while one asks.
    asked: AtomicUsize,
}

impl Lines {
    pub(super) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
        }
    }

    fn shard(&self, lock: &LockId) -> MutexGuard<'_, HashMap<LockId, Arc<Line>>> {
        // The remainder is less than the number of shards.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "any bits of the hash will do"
        )]
        let index = self.hasher.hash_one(lock) as usize % SHARDS;
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the end of the line.
    pub(super) fn join(lines: &Arc<Self>, lock: &LockId) -> Turn {
        let lock = lock.without_name();
        let line = {
            let mut shard = lines.shard(&lock);
            let line = shard.entry(lock.clone()).or_insert_with(|| {
                Arc::new(Line {
                    turn: Semaphore::new(1),
                    asked: AtomicUsize::new(0),
                })
            });
            Arc::clone(line)
        };
        Turn {
            lines: Arc::clone(lines),
            lock,
            joined: line.asked.load(Ordering::Relaxed),
            line: Some(line),
            is_head: false,
        }
    }
}

/// A position in a line. Dropped, it passes the turn on, and the last one removes the line.
pub(super) struct Turn {
    lines: Arc<Lines>,
    lock: LockId,
    /// [`Line::asked`] when this task joined.
    joined: usize,
    /// `None` only while it is dropped.
    line: Option<Arc<Line>>,
    is_head: bool,
}

impl Turn {
    fn line(&self) -> &Line {
        self.line.as_ref().expect("BUG: left the line twice")
    }

    /// Takes the turn if nobody else has it or waits for it.
    pub(super) fn try_take(&mut self) -> bool {
        let taken = self.line().turn.try_acquire();
        self.is_head = taken.map(SemaphorePermit::forget).is_ok();
        self.is_head
    }

    /// Waits for the turn, or until the head lets all others through.
    pub(super) async fn take(&mut self) {
        let taken = self.line().turn.acquire().await;
        self.is_head = taken.map(SemaphorePermit::forget).is_ok();
    }

    /// Notes whether the head asks the server now, on a connection that it has.
    pub(super) fn note_asking(&self, is_asking: bool) {
        let asked = &self.line().asked;
        if self.is_head && (asked.load(Ordering::Relaxed) % 2 == 1) != is_asking {
            asked.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether no head has asked the server since this task joined, for want of a connection.
    pub(super) fn nobody_asked(&self) -> bool {
        self.joined.is_multiple_of(2) && self.line().asked.load(Ordering::Relaxed) == self.joined
    }

    /// Ends the line: nobody waits for this turn any more. Those who come later form a new line.
    pub(super) fn let_all_through(&self) {
        if self.is_head {
            self.lines.shard(&self.lock).remove(&self.lock);
            self.line().turn.close();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.note_asking(false);
        let mut shard = self.lines.shard(&self.lock);
        let Some(line) = self.line.take() else { return };
        if self.is_head {
            line.turn.add_permits(1);
        }
        let is_current = |known: &Arc<Line>| Arc::ptr_eq(known, &line);
        if shard.get(&self.lock).is_some_and(is_current) && Arc::strong_count(&line) == 2 {
            shard.remove(&self.lock);
        }
        // Dropped while the shard is locked, so that the last one sees that it is the last.
        drop(line);
    }
}
