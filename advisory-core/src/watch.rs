//! Runs what needs a lock for as long as the lock is held.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use tokio::time::{sleep, timeout};

use crate::patience::patience;
use crate::{AdvisoryLock, Error};

/// How often a connection that has nothing else to do is asked whether it is still there. It also keeps
/// `idle_in_transaction_session_timeout` from ending what waits for a body on purpose.
const INTERVAL: Duration = Duration::from_millis(500);

/// What the body returns, or the loss if that comes first; the body is dropped then. It is boxed, once, so that what awaits it stays
/// small.
pub(crate) fn until<F: Future>(
    lock: &AdvisoryLock,
    lost: impl Future<Output = ()>,
    body: F,
) -> impl Future<Output = Result<F::Output, Error>> {
    let (mut lost, mut body) = (Box::pin(lost), Some(Box::pin(body)));
    poll_fn(move |cx| {
        if lost.as_mut().poll(cx).is_ready() {
            // At once: who awaits this may keep it for long.
            body = None;
            return Poll::Ready(Err(lock.loss()));
        }
        let body = body.as_mut().expect("`until` polled after it was done");
        body.as_mut().poll(cx).map(Ok)
    })
}

/// Resolves when a connection that nobody else uses is closed, within the interval, or answers no more.
pub(crate) async fn gone(lock: &AdvisoryLock, conn: &mut PgConnection) {
    let patience = patience(lock.probe_interval());
    loop {
        sleep(INTERVAL).await;
        if !matches!(timeout(patience, conn.ping()).await, Ok(Ok(()))) {
            return;
        }
    }
}
