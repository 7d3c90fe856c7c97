//! The term of a leader.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// The time for which an instance leads; see [`AdvisoryLock::lead`](crate::AdvisoryLock::lead).
///
/// Clones are the same term, and may be given to tasks that the closure spawns: such tasks are not
/// dropped with the closure, so they have to watch [`lost`](Self::lost).
#[derive(Clone, Debug)]
pub struct Term {
    number: i64,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    phase: watch::Sender<Phase>,
    has_resigned: AtomicBool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    /// A health check has failed.
    Unhealthy,
    Lost,
    Over,
}

impl State {
    fn end_as(&self, end: Phase) {
        self.phase.send_if_modified(|phase| {
            let is_serving = *phase == Phase::Serving;
            if is_serving {
                *phase = end;
            }
            is_serving
        });
    }

    /// Resolves when the term is over.
    async fn over(self: Arc<Self>) {
        let mut phase = self.phase.subscribe();
        // The sender is in `self`.
        let _ = phase.wait_for(|phase| *phase != Phase::Serving).await;
    }
}

impl Term {
    /// The number of the term: a [fencing token](crate::fencing_token), greater than that of every
    /// term before.
    ///
    /// A leader that has lost its lock may not know it yet. Send the number with every write, and
    /// let the system that stores it refuse a number that is smaller than the greatest one it has
    /// seen.
    pub fn number(&self) -> i64 {
        self.number
    }

    /// Gives up the leadership when the closure returns: `lead` does not return then. It drops what
    /// the closure has returned as `Ok`, releases the lock, lets another instance lead first if one
    /// waits, and stands again. An error of the closure is returned all the same.
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error, Term};
    ///
    /// # async fn sweep(_: i64) -> Result<(), Error> { Ok(()) }
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// // Each instance sweeps in its turn.
    /// let lock = AdvisoryLock::new("sweeper");
    /// lock.lead(pool, async |term: Term| {
    ///     sweep(term.number()).await?;
    ///     term.resign();
    ///     Ok::<_, Error>(())
    /// })
    /// .await
    /// # }
    /// ```
    pub fn resign(&self) {
        self.state.has_resigned.store(true, Ordering::SeqCst);
    }

    /// Resolves when the term is over: the session was lost, the closure has ended or was dropped,
    /// or a [health check](Self::while_healthy) has failed. It resolves before the lock is
    /// released.
    ///
    /// The future borrows nothing: it can be spawned. The closure itself needs it only to clean up;
    /// it is dropped when the session is lost.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        Arc::clone(&self.state).over()
    }

    /// Checks whether this instance is fit to lead, at once and again at this interval after each
    /// check. When a check returns `false`, or takes longer than the interval, the term ends as
    /// after [`resign`](Self::resign), except that the closure is dropped at once: another instance
    /// leads first, and this one stands again.
    ///
    /// It checks while it is awaited, beside the work or in a task of its own, and resolves when a
    /// check has failed or the term is over. The interval is at least a millisecond.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use advisory_core::{AdvisoryLock, Error, Term};
    ///
    /// # async fn reaches_its_provider() -> bool { true }
    /// # async fn work(_: i64) -> Result<(), Error> { Ok(()) }
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let interval = Duration::from_secs(5);
    /// AdvisoryLock::new("sender").lead(pool, async |term: Term| {
    ///     tokio::select! {
    ///         () = term.while_healthy(async || reaches_its_provider().await, interval) => Ok(()),
    ///         done = work(term.number()) => done,
    ///     }
    /// })
    /// .await
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops a check and ends nothing.
    pub async fn while_healthy<C>(&self, check: C, interval: Duration)
    where
        C: AsyncFnOnce() -> bool + Clone,
    {
        let interval = interval.max(Duration::from_millis(1));
        let fails = async {
            while let Ok(true) = timeout(interval, check.clone()()).await {
                sleep(interval).await;
            }
            self.state.has_resigned.store(true, Ordering::SeqCst);
            self.state.end_as(Phase::Unhealthy);
        };
        first_of(self.lost(), fails).await;
    }
}

/// What `lead` keeps of a term. Dropped, the term is over.
pub(super) struct Office(Arc<State>);

impl Office {
    pub(super) fn new() -> Self {
        Self(Arc::new(State {
            phase: watch::channel(Phase::Serving).0,
            has_resigned: AtomicBool::new(false),
        }))
    }

    pub(super) fn term(&self, number: i64) -> Term {
        let state = Arc::clone(&self.0);
        Term { number, state }
    }

    /// Ends the term with its session, also while nobody polls the future of the leader: tasks that
    /// the closure has spawned depend on it.
    pub(super) fn end_with(&self, session_lost: impl Future<Output = ()> + Send + 'static) {
        let state = Arc::clone(&self.0);
        tokio::spawn(async move {
            first_of(session_lost, Arc::clone(&state).over()).await;
            state.end_as(Phase::Lost);
        });
    }

    pub(super) fn is_unhealthy(&self) -> bool {
        *self.0.phase.borrow() == Phase::Unhealthy
    }

    pub(super) fn has_resigned(&self) -> bool {
        self.0.has_resigned.load(Ordering::SeqCst)
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        self.0.phase.send_replace(Phase::Over);
    }
}

/// Resolves with the first of two futures.
pub(super) async fn first_of(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|cx| {
        if one.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        other.as_mut().poll(cx)
    })
    .await;
}
