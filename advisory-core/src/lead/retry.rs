//! Which errors a candidate survives, and how long it pauses after one.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::error::{Error, UnsupportedReason};
use crate::lock::{LockId, jitter};
use crate::sql::sqlstate;
use crate::time_bounds::{FAILOVER_LIMIT, FIRST_BACKOFF, LONGEST_BACKOFF};

/// The pause before the next attempt, which doubles with each one.
pub(super) struct Backoff {
    next: Duration,
    has_warned: bool,
    /// Since when each attempt has found that the pool leads to different servers.
    differs_since: Option<Instant>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            next: FIRST_BACKOFF,
            has_warned: false,
            differs_since: None,
        }
    }
}

impl Backoff {
    pub(super) async fn pause(&mut self) {
        sleep(jitter(self.next)).await;
        self.next = (self.next * 2).min(LONGEST_BACKOFF);
    }

    /// Pauses after an error that passes by itself, and returns any other.
    pub(super) async fn pause_after(&mut self, lock: &LockId, error: Error) -> Result<(), Error> {
        if !self.survives(&error, Instant::now()) {
            return Err(error);
        }
        if self.has_warned {
            tracing::debug!(%lock, %error, "cannot stand for election yet");
        } else {
            tracing::warn!(%lock, %error, "cannot stand for election, tries again");
        }
        self.has_warned = true;
        self.pause().await;
        Ok(())
    }

    /// To be called when an attempt has succeeded.
    pub(super) fn has_led(&mut self) {
        self.differs_since = None;
    }

    fn survives(&mut self, error: &Error, now: Instant) -> bool {
        let differs = matches!(
            error,
            Error::Unsupported { reason } if *reason == UnsupportedReason::UnfitPool
        );
        if !differs {
            self.differs_since = None;
            return is_temporary(error);
        }
        let since = *self.differs_since.get_or_insert(now);
        now.duration_since(since) < FAILOVER_LIMIT
    }
}

/// Whether a failed attempt to lead may succeed later without a change of the program, its
/// configuration or its rights.
fn is_temporary(error: &Error) -> bool {
    match error {
        Error::Lost { .. } | Error::Deadlock { .. } | Error::LockTableFull => true,
        Error::Unsupported { reason } => *reason == UnsupportedReason::Standby,
        Error::Database(error) => match error {
            sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed | sqlx::Error::Protocol(_) => {
                true
            }
            error if sqlstate::is_lasting(error) => false,
            error => sqlstate::is_interruption(error) || sqlstate::is_conflict(error),
        },
        Error::NotAcquired { .. } | Error::NotInTransaction => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_servers_are_a_failover_until_they_stay() {
        let mut backoff = Backoff::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let different = Error::unsupported(UnsupportedReason::UnfitPool);
        assert!(backoff.survives(&different, start));
        assert!(backoff.survives(&different, after(29)));
        // Another error between them is a sign of a change.
        assert!(backoff.survives(&Error::LockTableFull, after(30)));
        assert!(backoff.survives(&different, after(31)));
        assert!(backoff.survives(&different, after(60)));
        assert!(!backoff.survives(&different, after(61)));
        backoff.has_led();
        assert!(backoff.survives(&different, after(90)));
    }
}
