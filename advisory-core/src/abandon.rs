//! What becomes of a connection whose owner is dropped half-way.
//!
//! A future that owns a pooled connection can be dropped while the server is still at work: it waits for a lock, it is about
//! to open a transaction, it runs a long statement. sqlx would hand that connection back to the pool once the server answers,
//! perhaps hours later, perhaps inside an open transaction that holds the lock. Here it is closed instead, at once or after a
//! grace period, and the server's backend, which watches its client (see `sql::message`), leaves by itself.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::task::coop::unconstrained;
use tokio::time::timeout;

/// How long a rollback, a commit or a release may take after its owner has gone, before its connection is closed.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

/// A runtime that has ended: a task spawned on it is dropped, never run.
static ENDED: LazyLock<Handle> = LazyLock::new(|| {
    // A runtime without drivers or workers takes nothing from the system that could be refused.
    let runtime = Builder::new_current_thread()
        .build()
        .expect("BUG: an idle runtime was refused");
    let handle = runtime.handle().clone();
    runtime.shutdown_background();
    handle
});

/// Drops the owner of a pooled connection so that the connection is closed and its place in the pool free at once.
///
/// A pooled connection hands itself back from a task that it spawns when it is dropped. It is written to survive that this task
/// never runs, as in a runtime that is ending: then the socket is closed and the place in the pool given up. Such a runtime is
/// what it finds here.
pub(crate) fn close<T>(owner: T) {
    let _ended = ENDED.enter();
    drop(owner);
}

/// Runs something that may drop a pooled connection, also where there is no runtime: there the connection is closed.
pub(crate) fn in_context<T>(run: impl FnOnce() -> T) -> T {
    let _ended = Handle::try_current().is_err().then(|| ENDED.enter());
    run()
}

/// Lets a future that ends a transaction come to its end in the background, for a while; then closes its connection.
pub(crate) fn settle<F>(future: F)
where
    F: Future + Send + Unpin + 'static,
    F::Output: Send,
{
    let mut future = CloseOnDrop::new(future);
    // Without a runtime there is nobody to wait for the server, and `future` is dropped here.
    if let Ok(runtime) = Handle::try_current() {
        // Sends its message now: the runtime may be busy for a long time.
        if poll_once(&mut future).is_pending() {
            runtime.spawn(in_time(future));
        }
    }
}

/// Gives a future that owns a connection the grace period; then closes its connection.
pub(crate) async fn in_time<F: Future + Unpin>(future: CloseOnDrop<F>) {
    let _ = timeout(GRACE, future).await;
}

/// Polls a future once, which puts its message on the wire.
pub(crate) fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    let future = pin!(unconstrained(future));
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// A future that owns a connection, and closes it if it is dropped before it is done.
pub(crate) struct CloseOnDrop<F>(Option<F>);

impl<F> CloseOnDrop<F> {
    pub(crate) fn new(future: F) -> Self {
        Self(Some(future))
    }
}

impl<F: Future + Unpin> Future for CloseOnDrop<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        poll_and_take(&mut self.0, cx)
    }
}

impl<F> Drop for CloseOnDrop<F> {
    fn drop(&mut self) {
        if let Some(future) = self.0.take() {
            close(future);
        }
    }
}

/// A future that owns a connection and ends a transaction on it, and [settles](settle) if it is dropped before it is done.
pub(crate) struct SettleOnDrop<F>(Option<F>)
where
    F: Future + Send + Unpin + 'static,
    F::Output: Send;

impl<F> SettleOnDrop<F>
where
    F: Future + Send + Unpin + 'static,
    F::Output: Send,
{
    pub(crate) fn new(future: F) -> Self {
        Self(Some(future))
    }
}

impl<F> Future for SettleOnDrop<F>
where
    F: Future + Send + Unpin + 'static,
    F::Output: Send,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        poll_and_take(&mut self.0, cx)
    }
}

impl<F> Drop for SettleOnDrop<F>
where
    F: Future + Send + Unpin + 'static,
    F::Output: Send,
{
    fn drop(&mut self) {
        if let Some(future) = self.0.take() {
            settle(future);
        }
    }
}

fn poll_and_take<F: Future + Unpin>(slot: &mut Option<F>, cx: &mut Context<'_>) -> Poll<F::Output> {
    let future = slot.as_mut().expect("a future polled after it was done");
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

    /// Spawns when it is dropped, as a pooled connection does, and tells whether the task ran or was dropped.
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
    async fn what_a_closed_owner_spawns_is_dropped_at_once() {
        let (owner, ran, alive) = spawner();
        close(owner);
        assert_eq!(Arc::strong_count(&alive), 1, "the task still exists");
        assert!(!ran.load(Ordering::SeqCst));
    }

    #[test]
    fn an_owner_can_be_closed_outside_a_runtime() {
        let (owner, ran, alive) = spawner();
        close(owner);
        assert_eq!(Arc::strong_count(&alive), 1);
        assert!(!ran.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn a_future_that_is_done_is_dropped_as_usual() {
        let (owner, ran, _alive) = spawner();
        CloseOnDrop::new(Box::pin(async move { drop(owner) })).await;
        tokio::task::yield_now().await;
        assert!(ran.load(Ordering::SeqCst));
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_settle_in_time_is_closed() {
        let (owner, ran, alive) = spawner();
        drop(SettleOnDrop::new(Box::pin(async move {
            std::future::pending::<()>().await;
            drop(owner);
        })));
        tokio::time::sleep(GRACE * 2).await;
        assert_eq!(Arc::strong_count(&alive), 1);
        assert!(!ran.load(Ordering::SeqCst));
    }
}
