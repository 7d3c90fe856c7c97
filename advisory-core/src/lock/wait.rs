//! How long to wait for a lock.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use crate::time_bounds::{LONGEST_LOCK_TIMEOUT, SHORTEST_LOCK_TIMEOUT};

/// How long to wait for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// As the server's own `lock_timeout` says.
    Server,
    /// Not at all.
    No,
    /// At most this long, whatever the server's `lock_timeout` is.
    For(Duration),
    /// Until the lock is granted, whatever the server's `lock_timeout` is.
    Forever,
}

impl Wait {
    /// The wait that a `lock_timeout` in milliseconds means.
    pub(crate) fn of_lock_timeout(milliseconds: u64) -> Self {
        match milliseconds {
            0 => Self::Forever,
            limit => Self::at_most(Duration::from_millis(limit)),
        }
    }

    /// The wait for a timeout. Less than a millisecond does not wait, because `lock_timeout = 0`
    /// would wait without a limit; more than `lock_timeout` can hold waits without a limit.
    pub(crate) fn at_most(timeout: Duration) -> Self {
        match timeout {
            t if t < SHORTEST_LOCK_TIMEOUT => Self::No,
            t if t > LONGEST_LOCK_TIMEOUT => Self::Forever,
            t => Self::For(t),
        }
    }
}

/// Between half and one and a half of the interval, so that several pollers spread out.
pub(crate) fn jitter(interval: Duration) -> Duration {
    // The hasher of the standard library has a random seed, which is random enough here.
    let random = RandomState::new().hash_one(()) % 1024;
    let thousandths = 512 + u32::try_from(random).expect("BUG: more than 1023");
    interval.saturating_mul(thousandths) / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_are_spread_around_their_interval() {
        let interval = Duration::from_millis(100);
        let pauses: Vec<_> = (0..1000).map(|_| jitter(interval)).collect();
        let in_range = |pause: &Duration| *pause >= interval / 2 && *pause < interval * 3 / 2;
        assert!(pauses.iter().all(in_range));
        assert!(pauses.iter().any(|pause| *pause < interval * 3 / 4));
        assert!(pauses.iter().any(|pause| *pause > interval * 5 / 4));
        assert_eq!(jitter(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn less_than_a_millisecond_does_not_wait() {
        assert_eq!(Wait::at_most(Duration::ZERO), Wait::No);
        assert_eq!(Wait::at_most(Duration::from_nanos(999_999)), Wait::No);
        let shortest = SHORTEST_LOCK_TIMEOUT;
        assert_eq!(Wait::at_most(shortest), Wait::For(shortest));
    }

    #[test]
    fn more_than_the_server_can_count_waits_without_a_limit() {
        let longest = LONGEST_LOCK_TIMEOUT;
        assert_eq!(Wait::at_most(longest), Wait::For(longest));
        let longer = longest + SHORTEST_LOCK_TIMEOUT;
        assert_eq!(Wait::at_most(longer), Wait::Forever);
        assert_eq!(Wait::at_most(Duration::MAX), Wait::Forever);
    }
}
