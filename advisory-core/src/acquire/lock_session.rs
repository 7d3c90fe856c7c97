//! A lock on a session that holds many.

use std::time::Duration;

use sqlx::postgres::PgPool;

use super::attempt::{Attempt, TryOnce};
use super::lent_session::acquire_lent;
use super::pool::check_runtime;
use crate::error::{Error, Holder, UnsupportedReason};
use crate::lock::{ScopedSetting, Wait};
use crate::lock_session::{LockSession, LockSessionGuard};
use crate::probe::Capabilities;
use crate::sql::session::LockLevel;
use crate::telemetry::{Scope, Waiting};
use crate::time_bounds::{FIRST_SLOT_PAUSE, LONGEST_SLOT_PAUSE};

/// The scope of a lock on a session that holds many. The wait takes no connection, and its
/// polls and its end are the session's own.
pub(crate) struct OnLockSession<'s>(pub(crate) &'s LockSession);

impl TryOnce for OnLockSession<'_> {
    const SCOPE: Scope = Scope::Session;
    const SETTINGS: &'static [ScopedSetting] =
        &[ScopedSetting::KeepaliveInterval, ScopedSetting::AtLeast];
    type Granted = LockSessionGuard;

    fn pool(&self) -> Option<PgPool> {
        Some(self.0.pool().clone())
    }

    async fn ask(&mut self, attempt: &mut Attempt<'_>) -> Result<Option<LockSessionGuard>, Error> {
        let capabilities = Capabilities::of(self.0.pool());
        if capabilities.known_lock_level() != Some(LockLevel::Transaction) {
            let asked = match attempt.id().semaphore() {
                None => self.try_once(attempt).await,
                Some(_) => self.ask_for_slot(attempt).await,
            };
            // The first session finds out that it is none.
            let is_lent = matches!(&asked, Err(Error::Unsupported { reason, .. })
                if *reason == UnsupportedReason::HeldByTransaction);
            if !is_lent {
                return asked;
            }
        }
        Box::pin(acquire_lent(self.0, attempt)).await
    }

    async fn try_once(&mut self, attempt: &Attempt<'_>) -> Result<Option<LockSessionGuard>, Error> {
        check_runtime()?;
        let _waiting = Waiting::in_process(Self::SCOPE);
        let wait = || attempt.deadline.left();
        self.0.ask(attempt.lock(), wait).await
    }

    async fn refused(&mut self, attempt: &Attempt<'_>) -> Result<Vec<Holder>, Error> {
        Ok(attempt.holders_via(self.0.pool()).await)
    }
}

impl OnLockSession<'_> {
    /// Asks for one of several slots until it is granted or the deadline has passed.
    async fn ask_for_slot(
        &self,
        attempt: &mut Attempt<'_>,
    ) -> Result<Option<LockSessionGuard>, Error> {
        check_runtime()?;
        let _waiting = Waiting::in_process(Self::SCOPE);
        let lock = attempt.lock();
        let asked = self.0.ask(lock, || Wait::No).await;
        if let Some(guard) = or_ask_again(attempt, asked)? {
            return Ok(Some(guard));
        }
        match lock.polling_interval() {
            _ if attempt.deadline.is_immediate() => Ok(None),
            Some(interval) => self.poll_for_slot(attempt, interval).await,
            None => self.queue_for_slot(attempt).await,
        }
    }

    /// Queues, and looks for a free slot as the first in the queue.
    async fn queue_for_slot(
        &self,
        attempt: &mut Attempt<'_>,
    ) -> Result<Option<LockSessionGuard>, Error> {
        loop {
            let wait = || attempt.deadline.left();
            let Some(turn) = self.0.ask_for_turn(attempt.lock(), wait).await? else {
                return Ok(None);
            };
            // The server measures no wait here.
            attempt.learn_lock_timeout(self.0.pool());
            let mut pause = FIRST_SLOT_PAUSE;
            while !turn.is_lost() {
                let asked = self.0.ask_in_turn(attempt.lock(), &turn).await;
                let guard = or_ask_again(attempt, asked)?;
                if guard.is_some() || !attempt.deadline.pause(pause).await {
                    return Ok(guard);
                }
                pause = LONGEST_SLOT_PAUSE.min(pause * 5 / 4);
            }
        }
    }

    async fn poll_for_slot(
        &self,
        attempt: &mut Attempt<'_>,
        interval: Duration,
    ) -> Result<Option<LockSessionGuard>, Error> {
        while attempt.deadline.pause(interval).await {
            let asked = self.0.ask(attempt.lock(), || Wait::No).await;
            if let Some(guard) = or_ask_again(attempt, asked)? {
                return Ok(Some(guard));
            }
        }
        Ok(None)
    }
}

/// A try fails when its session is lost, but a call that waits goes on with the next session.
fn or_ask_again<G>(
    attempt: &Attempt<'_>,
    asked: Result<Option<G>, Error>,
) -> Result<Option<G>, Error> {
    match asked {
        Err(Error::Database(sqlx::Error::Io(error))) if !attempt.deadline.is_immediate() => {
            tracing::debug!(%error, "a try for a permit was lost with its session");
            Ok(None)
        }
        asked => asked,
    }
}
