//! Watches a session by its socket, and by asking where the socket says nothing.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use sqlx::postgres::{PgListener, PgNotification};
use sqlx::{Acquire as _, Connection as _};
use tokio::task::coop::unconstrained;
use tokio::time::Instant;

use crate::abandon::in_context;
use crate::metric::Hold;
use crate::patience::patience;
use crate::sql::session::Kept;
use crate::sql::state;

/// The least time between two questions.
const LEAST_INTERVAL: Duration = Duration::from_millis(100);
/// The most that is added to a clock.
const MOST_INTERVAL: Duration = Duration::from_hours(24);

/// A session, and what is known of its life. The state is kept here and not in the futures that watch, so that many short watches see
/// as much as a long one.
pub(crate) struct Vigil {
    pub(crate) session: PgListener,
    pub(crate) kept: Kept,
    interval: Duration,
    /// When the last sign of life came.
    heard: Instant,
    /// When the server was asked for one; `None` if it has answered.
    asked: Option<Instant>,
    watchers: Arc<Watchers>,
    _hold: Hold,
}

/// What a look at the session has shown.
pub(crate) enum Sign {
    Gone,
    /// Worth another look at this time at the latest, if nothing happens before; `None` if the session is busy.
    Alive(Option<Instant>),
}

impl Vigil {
    pub(crate) fn new(session: PgListener, kept: Kept, interval: Duration) -> Self {
        Self {
            session,
            kept,
            interval: interval.clamp(LEAST_INTERVAL, MOST_INTERVAL),
            heard: Instant::now(),
            asked: None,
            watchers: Arc::default(),
            _hold: Hold::start("session"),
        }
    }

    /// Whether the server owes an answer to a question of ours.
    pub(crate) fn was_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// Looks at the session without waiting. The watcher, if there is one, is woken when there is more to see.
    pub(crate) fn look(&mut self, watcher: Option<&Waker>) -> Sign {
        if let Some(waker) = watcher {
            self.watchers.add(waker);
        }
        // One task at a time is woken by a socket; this one wakes them all.
        let waker = Waker::from(Arc::clone(&self.watchers));
        in_context(|| self.read(&mut Context::from_waker(&waker)))
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Sign {
        loop {
            match self.poll_answers(cx) {
                Poll::Ready(true) => self.note_answer(),
                Poll::Ready(false) => return Sign::Gone,
                // A statement that was given up still runs: only the socket can tell of the session's end.
                Poll::Pending if self.asked.is_none() => return Sign::Alive(None),
                Poll::Pending => return self.wait_for_answer(),
            }
            match self.poll_socket(cx) {
                Poll::Ready(Some(_)) => self.heard = Instant::now(),
                Poll::Ready(None) => return Sign::Gone,
                Poll::Pending => {
                    let due = self.heard + self.interval;
                    if Instant::now() < due {
                        return Sign::Alive(Some(due));
                    }
                    self.ask();
                }
            }
        }
    }

    /// Takes in what was asked for before, by us or by a statement that was dropped; false if the session has ended.
    fn poll_answers(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            let answers = async { self.session.acquire().await?.flush().await };
            return match pin!(unconstrained(answers)).poll(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Ok(())) => Poll::Ready(true),
                Poll::Ready(Err(error)) if state::is_loss(&error) => Poll::Ready(false),
                Poll::Ready(Err(_)) => continue,
            };
        }
    }

    /// Reads what nobody has asked for: the end of the session, as a rule.
    fn poll_socket(&mut self, cx: &mut Context<'_>) -> Poll<Option<PgNotification>> {
        let unasked = pin!(unconstrained(self.session.try_recv()));
        // sqlx counts answers down unchecked, and a `COPY` that was given up answers once too often. What follows cannot be trusted,
        // so it is as good as gone.
        let read = catch_unwind(AssertUnwindSafe(|| unasked.poll(cx)));
        match read {
            Ok(Poll::Pending) => Poll::Pending,
            // Somebody listens on this connection: not our business, but a sign of life.
            Ok(Poll::Ready(Ok(Some(notification)))) => Poll::Ready(Some(notification)),
            Ok(Poll::Ready(Ok(None) | Err(_))) | Err(_) => Poll::Ready(None),
        }
    }

    fn note_answer(&mut self) {
        if self.asked.take().is_some() {
            self.heard = Instant::now();
        }
    }

    fn wait_for_answer(&self) -> Sign {
        let due = self.asked.unwrap_or(self.heard) + patience(self.interval);
        if Instant::now() < due {
            Sign::Alive(Some(due))
        } else {
            Sign::Gone
        }
    }

    /// Sends a bare `Sync`, whose answer is read like any other.
    fn ask(&mut self) {
        let ping = async { self.session.acquire().await?.ping().await };
        let _ = crate::abandon::poll_once(ping);
        self.asked = Some(Instant::now());
    }
}

/// Those who wait for a sign.
#[derive(Default)]
struct Watchers(Mutex<Vec<Waker>>);

impl Watchers {
    fn add(&self, waker: &Waker) {
        let mut wakers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
    }
}

impl Wake for Watchers {
    fn wake(self: Arc<Self>) {
        let wakers = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        wakers.into_iter().for_each(Waker::wake);
    }
}
