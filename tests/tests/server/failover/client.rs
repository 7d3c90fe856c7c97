//! Clients that hold a lock or wait for it, one for each verb.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error};
use advisory_verbs::{Access, Refusal, Scope, Verb, Work};
use sqlx::PgPool;

use super::pair::Fault;
use super::timeline::Timeline;
use super::{PROBING, RESPONSE_TIMEOUT};

/// The verbs that return an error if the lock is not granted, and one that skips.
pub(crate) fn clients() -> impl Iterator<Item = Verb> + Clone {
    let is_client = |verb: Verb| verb.is_of_lock() && verb.refusal() == Refusal::Error;
    Verb::all(is_client).chain([Verb::AttributeInSessionSkipping])
}

/// What notifies a body that its lock is lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Notification {
    /// The guard of its session.
    Guard,
    /// A ping every half second on the connection that holds the lock.
    Ping,
    /// Its own statement.
    Statement,
}

fn notification(verb: Verb) -> Notification {
    match (verb.access(), verb.scope()) {
        (Access::Inside, _) => Notification::Statement,
        (Access::Beside, Scope::Session | Scope::LockSession) => Notification::Guard,
        (Access::Beside, _) => Notification::Ping,
    }
}

/// Takes the lock, and runs the body of `timeline` under it.
pub(crate) fn run(
    verb: Verb,
    lock: &AdvisoryLock,
    pool: &PgPool,
    timeline: Timeline,
) -> Work<'static, Result<bool, Error>> {
    let lock = lock.clone();
    let lock = match verb.scope() {
        Scope::Session | Scope::LockSession => lock.keepalive_interval(PROBING),
        _ => lock,
    };
    verb.run(&lock, pool, |held| {
        Box::pin(async move {
            match held {
                Some(conn) => timeline.work(conn).await?,
                None => timeline.wait().await,
            }
            Ok(())
        })
    })
}

/// How long a body may continue after the fault; `None` if the silence has to end first.
pub(crate) fn bound(verb: Verb, fault: Fault) -> Option<Duration> {
    const EVERY: Duration = Duration::from_millis(500);
    match (fault, notification(verb)) {
        (Fault::Stopped(_), Notification::Guard | Notification::Statement) => Some(Duration::ZERO),
        (Fault::Stopped(_), Notification::Ping) => Some(EVERY),
        (Fault::Silence, Notification::Guard) => Some(PROBING + RESPONSE_TIMEOUT),
        (Fault::Silence, Notification::Ping) => Some(EVERY + RESPONSE_TIMEOUT),
        (Fault::Silence, Notification::Statement) => None,
    }
}

/// True if the error notifies the caller that the lock is lost.
pub(crate) fn is_notification(verb: Verb, error: &Error) -> bool {
    match notification(verb) {
        Notification::Guard | Notification::Ping => error.is_lost(),
        Notification::Statement => matches!(error, Error::Database(_)),
    }
}
