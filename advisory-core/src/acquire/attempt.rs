//! The engine: one call of a method that acquires a lock, in any scope.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use sqlx::postgres::PgPool;
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument as _;

use super::deadline::Deadline;
use super::pool::check_runtime;
use super::queue::{Answer, Body, Position};
use crate::error::{Error, Holder, UnsupportedReason};
use crate::lock::{AdvisoryLock, LockId, ScopedSetting, Wait};
use crate::nesting::{held_around, is_under_a_lock};
use crate::sql::send::within;
use crate::sql::{origin, sqlstate};
use crate::telemetry::{AcquireSpan, Outcome, Scope, Waiting};

/// How one scope asks for a lock.
pub(crate) trait TryOnce: Send {
    const SCOPE: Scope;

    /// The settings that this scope has a use for, of those that not all scopes have.
    const SETTINGS: &'static [ScopedSetting];

    /// What a grant hands out.
    type Granted: Send;

    /// The pool on whose database the lock is held. `None` if the connection is the caller's.
    fn pool(&self) -> Option<PgPool> {
        None
    }

    /// What the body needs of the pool, if a connection of the pool keeps the lock.
    fn body(&self) -> Option<Body> {
        None
    }

    /// Keeps the place of a grant until the lock is released.
    fn keep(_granted: &mut Self::Granted, _place: OwnedSemaphorePermit) {}

    /// Asks the server once, and waits there for as long as [`Attempt::wait`] says. `None` if the
    /// lock was not granted in time; nothing is held then.
    fn try_once(
        &mut self,
        attempt: &Attempt<'_>,
    ) -> impl Future<Output = Result<Option<Self::Granted>, Error>> + Send;

    /// Asks until the lock is granted or the deadline has passed.
    fn ask(
        &mut self,
        attempt: &mut Attempt<'_>,
    ) -> impl Future<Output = Result<Option<Self::Granted>, Error>> + Send
    where
        Self: Sized,
    {
        attempt.poll(self)
    }

    /// Cleans up after the last refusal. Returns the holders if [`Attempt::explains`] says so.
    fn refused(
        &mut self,
        attempt: &Attempt<'_>,
    ) -> impl Future<Output = Result<Vec<Holder>, Error>> + Send;
}

/// Acquires a lock. If it is not granted in time, the error names its holders.
pub(crate) async fn acquire<S: TryOnce>(
    lock: &AdvisoryLock,
    scope: S,
) -> Result<S::Granted, Error> {
    let granted = run(lock, lock.wait(), OnRefusal::Explain, scope).await?;
    granted.map_err(|Refusal { waited, holders }| Error::not_acquired(lock.id(), waited, holders))
}

/// Acquires a lock; `None` if it is not granted in time.
pub(crate) async fn try_acquire<S: TryOnce>(
    lock: &AdvisoryLock,
    scope: S,
) -> Result<Option<S::Granted>, Error> {
    let granted = run(lock, lock.try_wait(), OnRefusal::Report, scope).await?;
    Ok(granted.ok())
}

async fn run<S: TryOnce>(
    lock: &AdvisoryLock,
    wait: Wait,
    on_refusal: OnRefusal,
    scope: S,
) -> Result<Result<S::Granted, Refusal>, Error> {
    // Boxed, so that what the caller awaits stays small.
    Box::pin(async move {
        check_settings::<S>(lock)?;
        // A call that reports needs no error for that.
        if on_refusal == OnRefusal::Explain && wait != Wait::No {
            check_nesting(lock, &scope)?;
        }
        let mut attempt = Attempt::new::<S>(lock, wait, on_refusal);
        attempt.run(scope).await
    })
    .await
}

/// Refuses a setting that the scope has no use for, and permits that the lock cannot have.
fn check_settings<S: TryOnce>(lock: &AdvisoryLock) -> Result<(), Error> {
    lock.check_permits()?;
    let mut settings = lock.scoped_settings();
    match settings.find(|setting| !S::SETTINGS.contains(setting)) {
        None => Ok(()),
        Some(unused) => Err(Error::unsupported(UnsupportedReason::UnusedSetting {
            setting: unused.name(),
            belongs_to: unused.belongs_to(),
        })),
    }
}

/// Refuses to wait for a lock that is held around this call.
fn check_nesting<S: TryOnce>(lock: &AdvisoryLock, scope: &S) -> Result<(), Error> {
    match scope.pool().and_then(|pool| held_around(lock.id(), &pool)) {
        None => Ok(()),
        Some(lock) => {
            let lock = Box::new(lock);
            Err(Error::unsupported(UnsupportedReason::NestedWait { lock }))
        }
    }
}

/// One call of a method that acquires a lock.
pub(crate) struct Attempt<'l> {
    lock: &'l AdvisoryLock,
    pub(super) deadline: Deadline,
    on_refusal: OnRefusal,
    /// `None` on a connection of the caller's. Boxed, so that ten thousand waits on a
    /// [`LockSession`](crate::LockSession), which have none, stay small.
    pub(super) position: Option<Box<Position>>,
    pub(super) span: AcquireSpan,
}

/// Whether a refusal is worth finding the holders.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OnRefusal {
    Explain,
    Report,
}

/// The lock was not granted in time.
struct Refusal {
    waited: Duration,
    holders: Vec<Holder>,
}

impl<'l> Attempt<'l> {
    /// Starts the clock.
    pub(super) fn new<S: TryOnce>(
        lock: &'l AdvisoryLock,
        wait: Wait,
        on_refusal: OnRefusal,
    ) -> Self {
        Self {
            lock,
            deadline: Deadline::start(wait),
            on_refusal,
            position: None,
            span: AcquireSpan::start(lock.id(), S::SCOPE),
        }
    }

    async fn run<S: TryOnce>(
        &mut self,
        mut scope: S,
    ) -> Result<Result<S::Granted, Refusal>, Error> {
        let span = self.span.span();
        let result = async {
            let error = match scope.ask(self).await {
                Ok(Some(granted)) => {
                    self.position = None;
                    return Ok(Ok(granted));
                }
                Ok(None) => None,
                Err(error) => Some(error),
            };
            Box::pin(self.give_up(scope, error)).await.map(Err)
        }
        .instrument(span)
        .await;
        self.span.set_outcome(match &result {
            Ok(Ok(_)) => Outcome::Acquired,
            Ok(Err(_)) => Outcome::NotAcquired,
            Err(Error::Deadlock { .. }) => Outcome::Deadlock,
            Err(_) => Outcome::Error,
        });
        result
    }

    /// Waits for its turn, and asks until the lock is granted or the deadline has passed.
    async fn poll<S: TryOnce>(&mut self, scope: &mut S) -> Result<Option<S::Granted>, Error> {
        if let (Some(pool), Some(body)) = (scope.pool(), scope.body()) {
            check_runtime()?;
            let is_nested = is_under_a_lock(&pool);
            if !self.take_turn(pool, body, is_nested).await? {
                return Ok(None);
            }
        }
        loop {
            let place = self.take_place().await?;
            let answer = if place.is_some() {
                let _waiting = (self.wait() != Wait::No).then(|| Waiting::on_server(S::SCOPE));
                let question = pin!(scope.try_once(self));
                self.in_place(question).await?
            } else {
                Answer::Refused
            };
            let pause = match answer {
                Answer::Granted(mut granted) => {
                    if let Some(place) = place.and_then(|place| place.for_body) {
                        S::keep(&mut granted, place);
                    }
                    return Ok(Some(granted));
                }
                Answer::Refused => {
                    let pause = self.lock.polling_interval();
                    pause.or_else(|| self.pause_in_queue())
                }
                Answer::Left => {
                    self.note_leaving();
                    Some(Duration::ZERO)
                }
            };
            drop(place);
            let again = match pause {
                Some(pause) => Box::pin(self.pause(pause)).await,
                None => false,
            };
            if !again {
                return Ok(None);
            }
        }
    }

    /// What becomes of an attempt that was not granted the lock. Its turn passes to the next one
    /// before the holders are listed.
    async fn give_up<S: TryOnce>(
        &mut self,
        mut scope: S,
        error: Option<Error>,
    ) -> Result<Refusal, Error> {
        if let Some(error) = &error {
            self.note_failure(error);
        }
        self.position = None;
        let waited = self.deadline.waited();
        match error {
            None => {
                let holders = scope.refused(self).await?;
                Ok(Refusal { waited, holders })
            }
            Some(error) => Err(self.explain(scope, waited, error).await),
        }
    }

    /// Names the lock in an error that has ended the wait, and its holders where the server can
    /// still be asked.
    async fn explain<S: TryOnce>(&self, mut scope: S, waited: Duration, error: Error) -> Error {
        if !error.is_interruption() || self.deadline.is_immediate() {
            return error;
        }
        let holders = match &error {
            Error::Database(error) if sqlstate::is_answer(error) => scope.refused(self).await,
            _ => Ok(Vec::new()),
        };
        error.during_wait(self.id(), waited, holders.unwrap_or_default())
    }

    pub(super) fn lock(&self) -> &'l AdvisoryLock {
        self.lock
    }

    pub(super) fn id(&self) -> &'l LockId {
        self.lock.id()
    }

    /// A message that asks for the lock, with the comment that says where it comes from.
    pub(super) fn mark(&self, message: &str) -> String {
        origin::mark(self.lock.statement_tag(), message)
    }

    /// How long the server is to wait now: what is left of the deadline, or not at all if the lock
    /// polls or the pool has no connection for a wait.
    pub(super) fn wait(&self) -> Wait {
        match self.lock.polling_interval() {
            Some(_) => Wait::No,
            None => self.permitted(self.deadline.left()),
        }
    }

    /// Whether a refusal becomes an error that names the holders.
    pub(super) fn explains(&self) -> bool {
        self.on_refusal == OnRefusal::Explain
    }

    /// The answer to a message that waits for a lock, or an error after the wait and the response
    /// timeout.
    pub(super) async fn within<T, E: From<sqlx::Error>>(
        &self,
        wait: Wait,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        within(self.lock.response_limit(), wait, answer).await
    }
}
