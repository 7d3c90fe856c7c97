use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

/// The longest `lock_timeout`: the setting is a count of milliseconds in an `int4`.
const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);
/// The shortest: zero would switch the timeout off.
const SHORTEST: Duration = Duration::from_millis(1);

/// How long to wait for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// As the server's own `lock_timeout` says.
    Server,
    /// Not at all.
    No,
    /// At most this long, whatever the server's `lock_timeout`.
    For(Duration),
    /// Until it is granted, whatever the server's `lock_timeout`.
    Forever,
}

impl Wait {
    /// The wait that a timeout stands for: a fraction of a millisecond is no wait at all (never "for ever", which is what
    /// `lock_timeout = 0` means to the server), and more than `lock_timeout` can say is for ever.
    pub(crate) fn at_most(timeout: Duration) -> Self {
        match timeout {
            t if t < SHORTEST => Self::No,
            t if t > LONGEST => Self::Forever,
            t => Self::For(t),
        }
    }
}

/// One deadline for all that a call waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    started: Instant,
    wait: Wait,
}

impl Deadline {
    /// Starts the clock.
    pub(crate) fn start(wait: Wait) -> Self {
        Self {
            started: Instant::now(),
            wait,
        }
    }

    pub(crate) fn wait(&self) -> Wait {
        self.wait
    }

    /// Sleeps for about this long, between two polls; `false` if the deadline came first.
    pub(crate) async fn pause(&self, interval: Duration) -> bool {
        let pause = jitter(interval);
        let left = match self.wait {
            Wait::No => return false,
            Wait::For(limit) => limit.saturating_sub(self.waited()),
            Wait::Server | Wait::Forever => pause,
        };
        tokio::time::sleep(pause.min(left)).await;
        // At the deadline itself there is one last poll, unless it had come already.
        !left.is_zero()
    }

    pub(crate) fn waited(&self) -> Duration {
        self.started.elapsed()
    }

    /// What is left of the wait. A limit that has run out leaves the shortest wait there is, so that it is the server that
    /// says whether the lock was to be had.
    pub(crate) fn left(&self) -> Wait {
        match self.wait {
            Wait::For(limit) => Wait::For(limit.saturating_sub(self.waited()).max(SHORTEST)),
            other => other,
        }
    }
}

/// Between half and one and a half of the interval, so that those who poll do not do it all at once.
fn jitter(interval: Duration) -> Duration {
    // The hasher of the standard library is seeded at random, which is chance enough here.
    let chance = RandomState::new().hash_one(()) % 1024;
    let thousandths = 512 + u32::try_from(chance).expect("BUG: more than 1023");
    interval.saturating_mul(thousandths) / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_a_millisecond_is_no_wait() {
        assert_eq!(Wait::at_most(Duration::ZERO), Wait::No);
        assert_eq!(Wait::at_most(Duration::from_nanos(999_999)), Wait::No);
        assert_eq!(Wait::at_most(SHORTEST), Wait::For(SHORTEST));
    }

    #[test]
    fn more_than_the_server_can_count_is_for_ever() {
        assert_eq!(Wait::at_most(LONGEST), Wait::For(LONGEST));
        assert_eq!(Wait::at_most(LONGEST + SHORTEST), Wait::Forever);
        assert_eq!(Wait::at_most(Duration::MAX), Wait::Forever);
    }

    #[test]
    fn polls_are_spread_around_their_interval() {
        let interval = Duration::from_millis(100);
        let pauses: Vec<_> = (0..1000).map(|_| jitter(interval)).collect();
        assert!(
            pauses
                .iter()
                .all(|p| *p >= interval / 2 && *p < interval * 3 / 2)
        );
        assert!(
            pauses.iter().any(|p| *p < interval * 3 / 4)
                && pauses.iter().any(|p| *p > interval * 5 / 4)
        );
        assert_eq!(jitter(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn a_deadline_that_has_passed_still_asks_the_server() {
        let deadline = Deadline {
            started: Instant::now().checked_sub(SHORTEST * 3).unwrap(),
            wait: Wait::For(SHORTEST),
        };
        assert_eq!(deadline.left(), Wait::For(SHORTEST));
        assert_eq!(Deadline::start(Wait::Forever).left(), Wait::Forever);
    }
}
