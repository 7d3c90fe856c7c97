//! What happens to a connection whose owner is dropped.
//!
//! A future that owns a pooled connection can be dropped while the server still works for it: the
//! server waits for a lock, opens a transaction, or runs a long statement. sqlx would return that
//! connection to the pool once the server answers, perhaps hours later, perhaps inside an open
//! transaction that holds the lock. Here the connection is closed instead, at once or after a grace
//! period. The server's backend checks whether its client is there
//! (`client_connection_check_interval`), and ends by itself.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use tokio::runtime::{Builder, Handle};
use tokio::task::coop::unconstrained;
use tokio::time::timeout;

use crate::time_bounds::GRACE_PERIOD;

/// A runtime that has ended: a task spawned on it is dropped and never runs.
static ENDED: LazyLock<Handle> = LazyLock::new(|| {
    // A runtime without drivers or workers takes no system resource that could be refused.
    let runtime = Builder::new_current_thread()
        .build()
        .expect("BUG: an idle runtime was refused");
    let handle = runtime.handle().clone();
    runtime.shutdown_background();
    handle
});

/// Drops the owner of a pooled connection so that the connection is closed, and its slot in the
/// pool is free at once.
///
/// A dropped pooled connection returns itself to the pool in a task that it spawns. sqlx handles a
/// task that never runs, as in a runtime that is shutting down: it closes the socket and frees the
/// slot. The connection is dropped in such a runtime here.
pub(crate) fn discard<T>(owner: T) {
    let _ended = ENDED.enter();
    drop(owner);
}

/// Runs code that may drop a pooled connection. Outside a runtime the connection is closed.
pub(crate) fn with_runtime<T>(run: impl FnOnce() -> T) -> T {
    let _ended = Handle::try_current().is_err().then(|| ENDED.enter());
    run()
}

/// Runs a future that ends a transaction or a lock to its end in the background. Its connection is
/// closed after the grace period, and at once where there is no runtime.
pub(crate) fn finish_in_background<F>(future: F)
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    finish_later(DiscardOnDrop::new(future));
}

fn finish_later<F>(mut future: DiscardOnDrop<F>)
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    // Without a runtime, `future` is dropped here.
    if let Ok(runtime) = Handle::try_current() {
        // Sends the message now: the runtime may be busy for a long time.
        if poll_once(&mut future).is_pending() {
            runtime.spawn(timeout(GRACE_PERIOD, future));
        }
    }
}

/// Gives a future that owns a connection the grace period, then closes the connection.
pub(crate) async fn within_grace_period<F: Future>(future: F) {
    let _ = timeout(GRACE_PERIOD, DiscardOnDrop::new(future)).await;
}

/// Polls a future once, which sends its message.
pub(crate) fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    let future = pin!(unconstrained(future));
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// A future that owns a connection, and closes it if it is dropped before it has finished.
pub(crate) struct DiscardOnDrop<F>(Option<Pin<Box<F>>>);

impl<F: Future> DiscardOnDrop<F> {
    pub(crate) fn new(future: F) -> Self {
        Self(Some(Box::pin(future)))
    }
}

impl<F: Future> Future for DiscardOnDrop<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        poll_slot(&mut self.0, cx)
    }
}

impl<F> Drop for DiscardOnDrop<F> {
    fn drop(&mut self) {
        if let Some(future) = self.0.take() {
            discard(future);
        }
    }
}

/// A future that owns a connection and ends a transaction or a lock on it. If it is dropped before
/// it has finished, it [finishes in the background](finish_in_background).
pub(crate) struct FinishOnDrop<F>(Option<DiscardOnDrop<F>>)
where
    F: Future + Send + 'static,
    F::Output: Send;

impl<F> FinishOnDrop<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    pub(crate) fn new(future: F) -> Self {
        Self(Some(DiscardOnDrop::new(future)))
    }
}

impl<F> Future for FinishOnDrop<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        poll_slot(&mut self.0, cx)
    }
}

impl<F> Drop for FinishOnDrop<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn drop(&mut self) {
        if let Some(future) = self.0.take() {
            finish_later(future);
        }
    }
}

/// Polls a future, and drops it as soon as it has finished.
fn poll_slot<F: Future + Unpin>(slot: &mut Option<F>, cx: &mut Context<'_>) -> Poll<F::Output> {
    let future = slot.as_mut().expect("a future polled after it finished");
    let polled = Pin::new(future).poll(cx);
    if polled.is_ready() {
        *slot = None;
    }
    polled
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Spawns a task when it is dropped, as a pooled connection does, and shows whether the task
    /// ran or was dropped.
    struct Spawner(Arc<AtomicBool>, Arc<()>);

    impl Drop for Spawner {
        fn drop(&mut self) {
            let (ran, alive) = (self.0.clone(), self.1.clone());
            tokio::spawn(async move {
                ran.store(true, Ordering::SeqCst);
                drop(alive);
            });
        }
    }

    fn spawner() -> (Spawner, Arc<AtomicBool>, Arc<()>) {
        let (ran, alive) = (Arc::default(), Arc::default());
        (Spawner(Arc::clone(&ran), Arc::clone(&alive)), ran, alive)
    }

    #[tokio::test]
    async fn a_task_of_a_discarded_owner_is_dropped_at_once() {
        let (owner, ran, alive) = spawner();
        discard(owner);
        assert_eq!(Arc::strong_count(&alive), 1, "the task still exists");
        assert!(!ran.load(Ordering::SeqCst));
    }

    #[test]
    fn an_owner_can_be_discarded_outside_a_runtime() {
        let (owner, ran, alive) = spawner();
        discard(owner);
        assert_eq!(Arc::strong_count(&alive), 1);
        assert!(!ran.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn a_finished_future_is_dropped_as_usual() {
        let (owner, ran, _alive) = spawner();
        DiscardOnDrop::new(async move { drop(owner) }).await;
        tokio::task::yield_now().await;
        assert!(ran.load(Ordering::SeqCst));
    }

    #[tokio::test(start_paused = true)]
    async fn a_future_that_exceeds_the_grace_period_is_discarded() {
        let (owner, ran, alive) = spawner();
        drop(FinishOnDrop::new(async move {
            std::future::pending::<()>().await;
            drop(owner);
        }));
        tokio::time::sleep(GRACE_PERIOD * 2).await;
        assert_eq!(Arc::strong_count(&alive), 1);
        assert!(!ran.load(Ordering::SeqCst));
    }
}
