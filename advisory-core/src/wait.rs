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
    fn a_deadline_that_has_passed_still_asks_the_server() {
        let deadline = Deadline {
            started: Instant::now().checked_sub(SHORTEST * 3).unwrap(),
            wait: Wait::For(SHORTEST),
        };
        assert_eq!(deadline.left(), Wait::For(SHORTEST));
        assert_eq!(Deadline::start(Wait::Forever).left(), Wait::Forever);
    }
}
