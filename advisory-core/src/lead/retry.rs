//! Which errors a candidate survives, and how long it pauses after one.

use std::time::Duration;

use tokio::time::sleep;

use crate::error::{Error, UnsupportedReason};
use crate::lock::{LockId, jitter};
use crate::sql::sqlstate;
use crate::time_bounds::{FIRST_BACKOFF, LONGEST_BACKOFF};

/// The pause before the next attempt, which doubles with each one.
pub(super) struct Backoff {
    next: Duration,
    has_warned: bool,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            next: FIRST_BACKOFF,
            has_warned: false,
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
        if !is_temporary(&error) {
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
            error => sqlstate::is_interruption(error) || sqlstate::is_conflict(error),
        },
        Error::NotAcquired { .. } | Error::NotInTransaction => false,
    }
}
