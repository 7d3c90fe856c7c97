//! Leader election: a body that runs on one instance of a fleet at a time.
//!
//! [`lead`](AdvisoryLock::lead) is a loop around `acquire` and `until_lost`. A [term](term) is one
//! turn of the loop, and [`retry`] says which errors end the loop.

mod retry;
mod term;

use std::ops::ControlFlow::{self, Break, Continue};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use self::retry::Backoff;
pub use self::term::Term;
use self::term::{Office, first_of};
use crate::acquire::SessionSource;
use crate::error::{Error, UnsupportedReason};
use crate::lock::{AdvisoryLock, Mode, Wait};
use crate::session::{HeldLock, until_lost};
use crate::time_bounds::{CANDIDATE_POLL, LONGEST_BACKOFF};

impl AdvisoryLock {
    /// Runs a closure on one instance of a fleet at a time: stands for election until this instance
    /// leads, runs the closure for a [`Term`], and stands again if the lock is lost. Returns what
    /// the closure returns.
    ///
    /// The lock is held in a session of its own on a pool, or on a
    /// [`LockSession`](crate::LockSession). On a pool it takes one connection while it leads, and
    /// one for a moment with every poll.
    ///
    /// - The closure is dropped *before* the lock is released, in every case: when it has returned,
    ///   when the session is lost, when a [health check](Term::while_healthy) fails, when it
    ///   panics, and when this future is dropped.
    /// - When the session is lost, the closure is dropped as by
    ///   [`until_lost`](crate::SessionGuard::until_lost), and the instance stands again. It does so
    ///   while the server is away, restarts or fails over, however long that takes; see *Errors*.
    /// - When the closure fails and its session proves to be lost, that is a loss as well: a
    ///   statement of the closure may notice first that the server is gone.
    /// - After [`Term::resign`] the return of the closure ends the term and not the call. Another
    ///   instance that waits leads first.
    ///
    /// The closure is cloned for each term: what it captures is `Clone`, or a shared reference. It
    /// is no `AsyncFnMut`, because the compiler refuses to spawn a future that calls one in a loop.
    ///
    /// While it stands it polls, because a wait in the server's queue may last for days, and holds
    /// a snapshot for which vacuum and `CREATE INDEX CONCURRENTLY` wait. The
    /// [`polling`](Self::polling) interval is 500 ms if not set, so that a candidate leads at most
    /// 750 ms after the lock is free. The [`timeout`](Self::timeout) bounds each time of standing;
    /// if not set, there is no limit, whatever the server's `lock_timeout` is.
    ///
    /// The time between the loss of a session and its notice remains, as for every session lock: a
    /// moment when the connection closes, the [`keepalive_interval`](Self::keepalive_interval) and
    /// the [`response_timeout`](Self::response_timeout) on a silent network. A process that was
    /// stopped and continues may run its closure for a moment, too. For what must not be done twice
    /// then, [`Term::number`] is a fencing token.
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error, Term};
    ///
    /// # async fn sweep(_: &sqlx::PgPool, _: i64) -> Result<(), Error> { Ok(()) }
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// # use std::time::Duration;
    /// let lock = AdvisoryLock::new("sweeper");
    /// lock.lead(pool, async |term: Term| {
    ///     loop {
    ///         sweep(pool, term.number()).await?;
    ///         tokio::time::sleep(Duration::from_secs(60)).await;
    ///     }
    /// })
    /// .await
    /// # }
    /// ```
    ///
    /// If the closure can return `Ok`, name its error type, which the compiler cannot infer:
    /// `Ok::<_, Error>(())`.
    ///
    /// # Errors
    ///
    /// An error of the closure ends the call and is returned, unless the session was lost: to keep
    /// leading after an error, handle it in the closure. After an error that can pass by itself,
    /// `lead` tries again. The pause grows to at most 7.5 seconds, and the first such error is
    /// logged as a warning:
    ///
    /// - the server cannot be reached, starts, shuts down, or has no connection left;
    /// - the connection breaks; the pool has no connection in time ([`sqlx::Error::PoolTimedOut`]);
    /// - the server is a standby, as in a failover;
    /// - the pool leads to different servers, as in a failover; after 30 seconds this error is
    ///   returned;
    /// - a statement is cancelled, a deadlock is broken, the lock table is full.
    ///
    /// It returns all others, which need a change: [`Error::NotAcquired`] if a
    /// [`timeout`](Self::timeout) is set; a refused login, a missing right or database, a wrong
    /// configuration; a closed pool; any other [`Error::Unsupported`]. A
    /// [`shared`](Self::shared) lock and one with several [`permits`](Self::permits) are refused,
    /// because they would have several leaders, and so is one with [`at_least`](Self::at_least).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the closure, and then releases the lock: its release is sent at
    /// once. Dropped while it stands, as [`acquire`](Self::acquire).
    pub async fn lead<S, T, E, F>(&self, sessions: &S, body: F) -> Result<T, E>
    where
        S: SessionSource + ?Sized,
        F: AsyncFnOnce(Term) -> Result<T, E> + Clone,
        E: From<Error>,
    {
        let candidate = Candidate::new(self)?;
        let mut backoff = Backoff::default();
        loop {
            // Boxed, so that what the caller awaits stays small.
            let guard = Box::pin(candidate.stand(sessions, &mut backoff)).await?;
            let elected = Instant::now();
            match Box::pin(candidate.serve(guard, body.clone())).await {
                Ok(Break(returned)) => return returned,
                Ok(Continue(End::Resigned)) => {
                    backoff = Backoff::default();
                    // Longer than the pause between two polls of another candidate.
                    sleep(candidate.interval.saturating_mul(2)).await;
                }
                Ok(Continue(End::Lost)) => {
                    if elected.elapsed() > LONGEST_BACKOFF {
                        backoff = Backoff::default();
                    }
                    backoff.pause().await;
                }
                Err(error) => backoff.pause_after(self.id(), error).await?,
            }
        }
    }
}

/// How a term has ended after which the instance stands again.
enum End {
    Lost,
    /// Given up, by the body or by a health check.
    Resigned,
}

/// An instance that stands for election.
struct Candidate {
    lock: AdvisoryLock,
    /// How long it may stand each time.
    limit: Option<Duration>,
    interval: Duration,
}

impl Candidate {
    fn new(lock: &AdvisoryLock) -> Result<Self, Error> {
        if lock.mode() == Mode::Shared {
            return Err(Error::unsupported(UnsupportedReason::UnusedSetting {
                setting: "shared",
                belongs_to: "a lock that several may hold; a leader is alone",
            }));
        }
        if lock.id().permits() > 1 {
            return Err(Error::unsupported(UnsupportedReason::UnusedSetting {
                setting: "permits",
                belongs_to: "a lock that several may hold; a leader is alone",
            }));
        }
        if lock.least_time().is_some() {
            return Err(Error::unsupported(UnsupportedReason::UnusedSetting {
                setting: "at_least",
                belongs_to: "a job; a leader that resigns would keep others from leading",
            }));
        }
        let limit = match lock.wait() {
            Wait::No => Some(Duration::ZERO),
            Wait::For(limit) => Some(limit),
            Wait::Server | Wait::Forever => None,
        };
        let interval = lock.polling_interval().unwrap_or(CANDIDATE_POLL);
        let lock = lock.clone().polling(interval).wait_forever();
        Ok(Self {
            lock,
            limit,
            interval,
        })
    }

    /// Waits until this instance leads.
    async fn stand<S>(&self, sessions: &S, backoff: &mut Backoff) -> Result<S::Guard, Error>
    where
        S: SessionSource + ?Sized,
    {
        let started = Instant::now();
        loop {
            let left = self
                .limit
                .map(|limit| limit.saturating_sub(started.elapsed()));
            let acquired = match left {
                Some(left) => self.lock.clone().timeout(left).acquire(sessions).await,
                None => self.lock.acquire(sessions).await,
            };
            match acquired {
                Err(error) if self.limit.is_none_or(|limit| started.elapsed() < limit) => {
                    backoff.pause_after(self.lock.id(), error).await?;
                }
                acquired => {
                    backoff.has_led();
                    return acquired;
                }
            }
        }
    }

    /// Leads for a term. The result of the body, or how the term has ended without one.
    async fn serve<G, T, E, F>(
        &self,
        mut guard: G,
        body: F,
    ) -> Result<ControlFlow<Result<T, E>, End>, Error>
    where
        G: HeldLock,
        F: AsyncFnOnce(Term) -> Result<T, E>,
    {
        let number = guard.begin_term().await?;
        let lock = self.lock.id();
        // Dropped before the guard: `lost` resolves before the lock is free.
        let office = Office::new();
        tracing::debug!(%lock, number, "leads");
        office.end_with(guard.lost());
        let term = office.term(number);
        let over = first_of(guard.lost(), term.lost());
        let body = body(term);
        let held = guard.held().clone();
        let returned = held.around(until_lost(lock, over, body)).await;
        let (is_unhealthy, has_resigned) = (office.is_unhealthy(), office.has_resigned());
        drop(office);
        match returned {
            Err(_) if is_unhealthy => {
                tracing::warn!(%lock, number, "a health check has failed: gives up the leadership");
            }
            Err(_) => {
                tracing::warn!(%lock, number, "lost the leadership");
                return Ok(Continue(End::Lost));
            }
            Ok(_) => {}
        }
        let released = guard.release().await;
        let was_lost = released.is_err_and(|error| error.is_lost());
        Ok(match returned {
            // A body often fails first when its server goes away.
            Ok(Err(_)) if was_lost => {
                tracing::warn!(%lock, number, "lost the leadership, and the body has failed");
                Continue(End::Lost)
            }
            Ok(Ok(_)) if has_resigned => Continue(End::Resigned),
            Ok(returned) => Break(returned),
            Err(_) => Continue(End::Resigned),
        })
    }
}
