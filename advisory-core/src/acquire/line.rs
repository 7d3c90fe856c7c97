//! The tasks of this process that want one lock on one pool, first come, first served.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::key::Key;
use crate::lock::LockId;

/// The lines of one pool: one for each lock that a task wants just now.
pub(super) struct Lines {
    shards: [Mutex<Shard>; SHARDS],
}

/// Few lines: they are searched one by one.
type Shard = Vec<(LockId, Arc<Line>)>;

/// Two locks rarely meet in one of so many shards. A power of two.
const SHARDS: usize = 256;

struct Line {
    /// One permit, the turn. Closed when the head lets the others through.
    turn: Semaphore,
    /// How often a head has got its first connection, or left: odd while the head has had one.
    asked: AtomicUsize,
}

impl Line {
    /// Whether the head has had a connection since its turn began.
    fn has_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed) % 2 == 1
    }
}

impl Lines {
    pub(super) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    fn shard(&self, lock: &LockId) -> MutexGuard<'_, Shard> {
        let bits = match lock.keys().first() {
            Some(Key::BigInt(key)) => key.cast_unsigned(),
            Some(Key::IntPair(high, low)) => {
                (u64::from(high.cast_unsigned()) << 32) | u64::from(low.cast_unsigned())
            }
            None => 0,
        };
        // Fibonacci hashing: the upper bits depend on all bits of the key.
        let hash = bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - SHARDS.ilog2());
        let index = usize::try_from(hash).expect("BUG: not less than the number of shards");
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let shards = self.shards.iter();
        shards.map(|shard| shard.lock().unwrap().len()).sum()
    }

    /// Joins the end of the line.
    pub(super) fn join(lines: &Arc<Self>, lock: &LockId) -> Turn {
        let lock = lock.without_name();
        let line = {
            let mut shard = lines.shard(&lock);
            let known = shard.iter().find(|(known, _)| *known == lock);
            let known = known.map(|(_, line)| Arc::clone(line));
            known.unwrap_or_else(|| {
                let line = Arc::new(Line {
                    turn: Semaphore::new(1),
                    asked: AtomicUsize::new(0),
                });
                shard.push((lock.clone(), Arc::clone(&line)));
                line
            })
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

    /// Notes that the head has a connection, on which it asks the server.
    pub(super) fn note_asking(&self) {
        if self.is_head && !self.line().has_asked() {
            self.line().asked.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether no head has had a connection since this task joined.
    pub(super) fn nobody_asked(&self) -> bool {
        self.joined.is_multiple_of(2) && self.line().asked.load(Ordering::Relaxed) == self.joined
    }

    /// If the head has had no connection, ends the line: nobody waits for this turn any more. Those
    /// who come later form a new line.
    pub(super) fn let_all_through(&self) {
        if self.is_head && !self.line().has_asked() {
            self.lines
                .shard(&self.lock)
                .retain(|(known, _)| *known != self.lock);
            self.line().turn.close();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(line) = self.line.take() else { return };
        if self.is_head {
            if line.has_asked() {
                line.asked.fetch_add(1, Ordering::Relaxed);
            }
            line.turn.add_permits(1);
        }
        let mut shard = self.lines.shard(&self.lock);
        let position = shard
            .iter()
            .position(|(_, known)| Arc::ptr_eq(known, &line));
        // The shard and this value know the line, and nobody else.
        if let Some(position) = position
            && Arc::strong_count(&line) == 2
        {
            shard.swap_remove(position);
        }
        // Dropped while the shard is locked, so that the last one sees that it is the last.
        drop(line);
    }
}
