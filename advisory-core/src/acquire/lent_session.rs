//! A lock of a [`LockSession`] behind a pooler that lends a session for a transaction at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::timeout;

use super::attempt::Attempt;
use super::pool::check_runtime;
use super::queue::{Body, Count};
use super::session::{ask_session, guard, holder_settings};
use crate::error::Error;
use crate::lock::Wait;
use crate::lock_session::{LentSessions, LockSession, LockSessionGuard, unless};
use crate::on_drop::{DiscardOnDrop, discard};
use crate::probe::Capabilities;
use crate::session::SessionGuard;
use crate::sql::session::LockLevel;
use crate::sql::sqlstate;
use crate::telemetry::{Scope, Waiting};
use crate::time_bounds::{
    FIRST_SWEEP, HAND_OVER_TIME, LENT_ASK_INTERVAL, LONGEST_SWEEP, SHORTEST_CHECK_OUT,
};

/// What has become of one question.
enum Answer {
    Granted(Box<SessionGuard>),
    Refused,
    /// The pooler has no session to lend, and says so; or nobody has answered in time.
    NoSession {
        is_known: bool,
    },
}

/// Acquires a lock; `None` if it is not granted in time. The wait takes no session.
pub(super) async fn acquire_lent(
    locks: &LockSession,
    attempt: &mut Attempt<'_>,
) -> Result<Option<LockSessionGuard>, Error> {
    check_runtime()?;
    let sessions = LentSessions::of(locks.pool());
    let asked = unless(locks.closed(), poll(locks, &sessions, attempt));
    let Some(granted) = asked.await else {
        return Err(sqlx::Error::PoolClosed.into());
    };
    Ok(granted?.map(|guard| LockSessionGuard::lent(*guard, locks)))
}

/// Waits for its turn, and asks until the lock is granted or the deadline has passed.
async fn poll(
    locks: &LockSession,
    sessions: &Arc<LentSessions>,
    attempt: &mut Attempt<'_>,
) -> Result<Option<Box<SessionGuard>>, Error> {
    let pool = sessions.pool.clone();
    if !attempt.take_turn(pool.clone(), Body::Inside, false).await? {
        return Ok(None);
    }
    let _waiting = Waiting::in_process(Scope::Session);
    let mut refusals = 0_u32;
    loop {
        attempt.learn_lock_timeout(&pool);
        if !wait_for_local_holder(sessions, attempt).await {
            return Ok(None);
        }
        let grants = sessions.grants();
        match ask(locks, sessions, attempt).await? {
            Answer::Granted(guard) => return Ok(Some(guard)),
            Answer::Refused => {
                refusals += 1;
                attempt.learn_lock_timeout(&pool);
                if !pause(sessions, attempt, refusals).await {
                    return Ok(None);
                }
            }
            Answer::NoSession { .. } if attempt.deadline.is_over() && refusals > 0 => {
                return Ok(None);
            }
            Answer::NoSession { is_known } => {
                let is_moving = sessions.is_holding() || sessions.grants() != grants;
                let may_pass = attempt.deadline.is_limited() || is_known || is_moving;
                if attempt.deadline.is_over() || !may_pass {
                    return Err(sqlx::Error::PoolTimedOut.into());
                }
            }
        }
    }
}

/// Waits in memory while this process holds the lock; `false` if the time is over.
async fn wait_for_local_holder(sessions: &LentSessions, attempt: &Attempt<'_>) -> bool {
    while let Some((since, mut end)) = sessions.local_holder(attempt.id()) {
        let released = async {
            let _ = end.changed().await;
        };
        let is_released = match attempt.deadline.left() {
            Wait::No => false,
            Wait::For(left) => timeout(left, released).await.is_ok(),
            Wait::Server | Wait::Forever => {
                released.await;
                true
            }
        };
        if !is_released {
            return false;
        }
        // Others get their chance.
        if since.elapsed() >= HAND_OVER_TIME && !attempt.deadline.pause(FIRST_SWEEP).await {
            return false;
        }
    }
    true
}

/// Asks the pooler for a session, and the server for the lock.
async fn ask(
    locks: &LockSession,
    sessions: &Arc<LentSessions>,
    attempt: &Attempt<'_>,
) -> Result<Answer, Error> {
    let limit = match attempt.deadline.left() {
        Wait::For(left) => left.max(SHORTEST_CHECK_OUT),
        _ => sessions.pool.options().get_acquire_timeout(),
    };
    let asked = async {
        let _asking = sessions.asking.acquire().await;
        ask_once(locks, sessions, attempt).await
    };
    match timeout(limit, Box::pin(asked)).await {
        Ok(Err(Error::Database(sqlx::Error::PoolTimedOut))) | Err(_) => {
            Ok(Answer::NoSession { is_known: false })
        }
        Ok(Err(Error::Database(error))) if sqlstate::is_pooler_full(&error) => {
            Ok(Answer::NoSession { is_known: true })
        }
        Ok(answer) => answer,
    }
}

async fn ask_once(
    locks: &LockSession,
    sessions: &Arc<LentSessions>,
    attempt: &Attempt<'_>,
) -> Result<Answer, Error> {
    let (lock, capabilities) = (attempt.lock(), Capabilities::of(&sessions.pool));
    let mut session = attempt.check_out_listener(&sessions.pool).await?;
    let settings = holder_settings(lock, LockLevel::Transaction, &capabilities);
    let asked = async move {
        // The pooler may let the message wait, which is bounded by the caller.
        let limit = Wait::Forever;
        let asked = ask_session(
            attempt,
            Wait::No,
            limit,
            &settings,
            &capabilities,
            &mut session,
        );
        let asked = asked.await;
        (session, asked)
    };
    match DiscardOnDrop::new(asked).await {
        (session, Ok(Some(holder))) => {
            let hold = sessions.hold(lock.id());
            let guard = guard(lock, locks.pool(), session, holder, Some(Box::new(hold)));
            Ok(Answer::Granted(Box::new(guard)))
        }
        (_, Ok(None)) => Ok(Answer::Refused),
        // After any error, the transaction may hold the lock.
        (session, Err(error)) => {
            discard(session);
            Err(error)
        }
    }
}

/// Pauses before the next question; `false` if there is no time for one. The more requests pause,
/// the longer is each pause.
async fn pause(sessions: &LentSessions, attempt: &Attempt<'_>, refusals: u32) -> bool {
    let _refused = Count::start(&sessions.refused);
    let refused = sessions.refused.load(Ordering::Relaxed);
    let pause = attempt.lock().polling_interval().unwrap_or_else(|| {
        let doubled = FIRST_SWEEP * (1 << refusals.min(8));
        let shared = LENT_ASK_INTERVAL.saturating_mul(u32::try_from(refused).unwrap_or(u32::MAX));
        doubled.min(LONGEST_SWEEP).max(shared)
    });
    attempt.deadline.pause(pause).await
}
