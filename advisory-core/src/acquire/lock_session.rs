//! A lock on a session that holds many.

use sqlx::postgres::PgPool;

use super::attempt::{Attempt, TryOnce};
use super::lent_session::acquire_lent;
use super::pool::check_runtime;
use crate::error::{Error, Holder, UnsupportedReason};
use crate::lock::ScopedSetting;
use crate::lock_session::{LockSession, LockSessionGuard};
use crate::probe::Capabilities;
use crate::sql::session::LockLevel;
use crate::telemetry::{Scope, Waiting};

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
            let asked = self.try_once(attempt).await;
            // The first session finds out that it is none.
            let is_lent = matches!(&asked, Err(Error::Unsupported { reason, .. })
                if *reason == UnsupportedReason::HeldByTransaction);
            if !is_lent {
                return asked;
            }
        }
        let _waiting = Waiting::in_process(Self::SCOPE);
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
