//! One deadline for everything that a call waits for.

use std::time::{Duration, Instant};

use crate::lock::{Wait, jitter};
use crate::time_bounds::SHORTEST_LOCK_TIMEOUT;

/// One deadline for everything that a call waits for: a pooled connection, the polls, the lock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    started: Instant,
    wait: Wait,
}

impl Deadline {
    /// Starts the clock.
    pub(super) fn start(wait: Wait) -> Self {
        Self {
            started: Instant::now(),
            wait,
        }
    }

    pub(super) fn waited(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether the time is over.
    pub(super) fn has_passed(&self) -> bool {
        matches!(self.wait, Wait::For(limit) if self.waited() >= limit)
    }

    /// Whether the call knows how long it waits.
    pub(super) fn is_limited(&self) -> bool {
        matches!(self.wait, Wait::No | Wait::For(_))
    }

    /// Whether the call does not wait any more.
    pub(super) fn is_over(&self) -> bool {
        self.is_immediate() || self.has_passed()
    }

    /// Whether the call does not wait at all.
    pub(super) fn is_immediate(&self) -> bool {
        self.wait == Wait::No
    }

    /// Takes over the server's own limit, where it decides.
    pub(super) fn bound(&mut self, limit: Wait) {
        if self.wait == Wait::Server {
            self.wait = limit;
        }
    }

    /// What is left of the wait. After the deadline it is the shortest wait there is, so that the
    /// server has the last word.
    pub(super) fn left(&self) -> Wait {
        match self.wait {
            Wait::For(limit) => Wait::For(
                limit
                    .saturating_sub(self.waited())
                    .max(SHORTEST_LOCK_TIMEOUT),
            ),
            other => other,
        }
    }

    /// Sleeps for about this long between two polls; `false` if there is no time for another poll.
    pub(super) async fn pause(&self, interval: Duration) -> bool {
        let pause = jitter(interval);
        let left = match self.wait {
            Wait::No => return false,
            Wait::For(limit) => Some(limit.saturating_sub(self.waited())),
            Wait::Server | Wait::Forever => None,
        };
        tokio::time::sleep(left.map_or(pause, |left| pause.min(left))).await;
        // The last poll is made at the deadline itself, unless the deadline had passed before.
        left.is_none_or(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_that_has_passed_still_asks_the_server() {
        let deadline = Deadline {
            started: Instant::now()
                .checked_sub(SHORTEST_LOCK_TIMEOUT * 3)
                .unwrap(),
            wait: Wait::For(SHORTEST_LOCK_TIMEOUT),
        };
        assert_eq!(deadline.left(), Wait::For(SHORTEST_LOCK_TIMEOUT));
        assert_eq!(Deadline::start(Wait::Forever).left(), Wait::Forever);
    }
}
