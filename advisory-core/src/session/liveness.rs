//! Whether a session that holds a lock is alive.
//!
//! A closed connection shows on its socket. A silent network shows when the server is probed and
//! does not answer within the response timeout.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sqlx::postgres::{PgConnection, PgListener, PgNotification};
use sqlx::{Acquire as _, Connection as _};
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, sleep, timeout};

use crate::error::Error;
use crate::lock::{AdvisoryLock, LockId};
use crate::on_drop::{poll_once, with_runtime};
use crate::sql::session::LockHolder;
use crate::telemetry::Scope;
use crate::telemetry::metric::Hold;
use crate::time_bounds::TRANSACTION_PING_INTERVAL;

/// A session that holds a lock, and what is known of its life. The state is kept here and not in
/// the futures that watch, so that many short watches see as much as a long one.
pub(crate) struct Liveness {
    pub(super) session: PgListener,
    pub(super) holder: LockHolder,
    pub(super) response_timeout: Duration,
    /// Whether the connection returns to the pool.
    pub(super) is_reusable: bool,
    keepalive_interval: Duration,
    /// When the server last answered.
    last_answer: Instant,
    /// When the pending probe was sent; `None` if there is none.
    probe_sent: Option<Instant>,
    _hold: Hold,
    /// Dropped when the lock is released, or its session closed.
    _held_with: Option<Box<dyn Any + Send + Sync>>,
}

/// What a look at the session has shown.
pub(super) enum Sign {
    Lost,
    /// The session is alive. Look again at this time, or when the waker is called; `None` if only
    /// the socket can show more.
    Alive(Option<Instant>),
}

impl Liveness {
    pub(crate) fn new(
        lock: &AdvisoryLock,
        session: PgListener,
        holder: LockHolder,
        held_with: Option<Box<dyn Any + Send + Sync>>,
    ) -> Self {
        Self {
            session,
            holder,
            response_timeout: lock.response_limit(),
            // It is beside the pool otherwise.
            is_reusable: lock.least_time().is_none(),
            keepalive_interval: lock.keepalive(),
            last_answer: Instant::now(),
            probe_sent: None,
            _hold: Hold::start(lock.id(), Scope::Session),
            _held_with: held_with,
        }
    }

    /// Whether the server has not answered a probe yet.
    pub(super) fn is_probing(&self) -> bool {
        self.probe_sent.is_some()
    }

    /// Looks at the session without waiting. The waker is called when there is more to see.
    pub(super) fn check(&mut self, waker: &Waker, notify: impl FnMut(PgNotification)) -> Sign {
        with_runtime(|| self.read(&mut Context::from_waker(waker), notify))
    }

    fn read(&mut self, cx: &mut Context<'_>, mut notify: impl FnMut(PgNotification)) -> Sign {
        loop {
            match self.poll_responses(cx) {
                Poll::Ready(true) => self.note_answer(),
                Poll::Ready(false) => return Sign::Lost,
                // A dropped statement still runs: only the socket can show the session's end.
                Poll::Pending if !self.is_probing() => return Sign::Alive(None),
                Poll::Pending => return self.await_probe(),
            }
            match poll_socket(&mut self.session, cx) {
                Poll::Ready(Some(notification)) => {
                    self.last_answer = Instant::now();
                    notify(notification);
                }
                Poll::Ready(None) => return Sign::Lost,
                // Without a probe, no response is pending, unless sqlx has miscounted: see below.
                Poll::Pending if self.poll_responses(cx).is_pending() => return Sign::Lost,
                Poll::Pending => {
                    let due = self.last_answer + self.keepalive_interval;
                    if Instant::now() < due {
                        return Sign::Alive(Some(due));
                    }
                    self.send_probe();
                }
            }
        }
    }

    /// Reads the pending responses to probes and to dropped statements; false if the session has
    /// ended.
    fn poll_responses(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            let responses = async { self.session.acquire().await?.flush().await };
            return match pin!(unconstrained(responses)).poll(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Ok(())) => Poll::Ready(true),
                Poll::Ready(Err(error)) if self.holder.level.is_ended_by(&error) => {
                    Poll::Ready(false)
                }
                Poll::Ready(Err(_)) => continue,
            };
        }
    }

    fn note_answer(&mut self) {
        if self.probe_sent.take().is_some() {
            self.last_answer = Instant::now();
        }
    }

    fn await_probe(&self) -> Sign {
        let due = self.probe_sent.unwrap_or(self.last_answer) + self.response_timeout;
        if Instant::now() < due {
            Sign::Alive(Some(due))
        } else {
            Sign::Lost
        }
    }

    /// Sends a bare `Sync`, whose response is read like any other.
    fn send_probe(&mut self) {
        let ping = async { self.session.acquire().await?.ping().await };
        let _ = poll_once(ping);
        self.probe_sent = Some(Instant::now());
    }
}

/// Reads what the server sends unasked: a notification, or the end of the session.
pub(crate) fn poll_socket(
    session: &mut PgListener,
    cx: &mut Context<'_>,
) -> Poll<Option<PgNotification>> {
    let unasked = pin!(unconstrained(session.try_recv()));
    // sqlx counts responses down without a check. After a dropped `COPY`, which has one response
    // too many, it panics or, without overflow checks, waits for responses without end. Nothing
    // that follows on that connection can be trusted.
    let read = catch_unwind(AssertUnwindSafe(|| unasked.poll(cx)));
    match read {
        Ok(Poll::Pending) => Poll::Pending,
        // A notification is a sign of life.
        Ok(Poll::Ready(Ok(Some(notification)))) => Poll::Ready(Some(notification)),
        Ok(Poll::Ready(Ok(None) | Err(_))) | Err(_) => Poll::Ready(None),
    }
}

/// Runs a body until the lock is lost; the body is dropped then, and the result is [`Error::Lost`].
/// The body is boxed once, so that the future stays small.
pub(crate) fn until_lost<F: Future>(
    lock: &LockId,
    lost: impl Future<Output = ()>,
    body: F,
) -> impl Future<Output = Result<F::Output, Error>> {
    let (mut lost, mut body) = (Box::pin(lost), Some(Box::pin(body)));
    poll_fn(move |cx| {
        if lost.as_mut().poll(cx).is_ready() {
            // At once: the caller may keep this future for a long time.
            body = None;
            return Poll::Ready(Err(Error::lost(lock)));
        }
        let body = body
            .as_mut()
            .expect("`until_lost` polled after it finished");
        body.as_mut().poll(cx).map(Ok)
    })
}

/// Resolves when the connection of a transaction, which nobody else uses meanwhile, is closed or
/// does not answer.
pub(crate) async fn transaction_lost(response_timeout: Duration, conn: &mut PgConnection) {
    loop {
        sleep(TRANSACTION_PING_INTERVAL).await;
        if !matches!(timeout(response_timeout, conn.ping()).await, Ok(Ok(()))) {
            return;
        }
    }
}
