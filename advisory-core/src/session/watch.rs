//! A session, as its guard shares it with the futures that watch it.
//!
//! A watcher reads the socket of the session while nobody else does. While the caller uses the
//! connection, only the caller's statements read it: a watcher then asks the server, from another
//! connection, whether the session still exists.

use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::mem::{replace, take};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use sqlx::Acquire as _;
use sqlx::postgres::{PgNotification, PgPool};
use tokio::time::{Instant, Sleep, sleep_until};

use super::backend::Backend;
use super::liveness::{Liveness, Sign};
use super::release::release;
use crate::error::{Error, UnsupportedReason};
use crate::fencing::{TokenOf, token};
use crate::lock::{LockId, Wait};
use crate::on_drop::{FinishOnDrop, discard};
use crate::sql::send::within;
use crate::sql::session::LockLevel;

/// A session that holds locks, shared by its guard and its watchers.
pub(crate) struct SharedSession {
    /// Never locked across an await, so that no watcher keeps another from looking.
    shared: Mutex<Shared>,
    watchers: Arc<Watchers>,
}

struct Shared {
    state: State,
    backend: Backend,
    inbox: Inbox,
}

enum State {
    /// Nobody uses the connection: a watcher reads its socket.
    Idle(Box<Liveness>),
    /// The guard has the session, for the caller's statements.
    InUse,
    Lost,
    /// The guard has been released or dropped.
    Ended,
}

/// What a watcher sees.
enum Look {
    /// Look again at this time, or when the watcher is woken.
    Alive(Option<Instant>),
    InUse(Backend),
    Over,
}

/// One watcher, and what it waits for besides the socket.
struct Watch {
    watchers: Arc<Watchers>,
    number: u64,
    timer: Option<Pin<Box<Sleep>>>,
    /// Resolves when the server no longer has the session. Only while the session is in use.
    gone: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Watch {
    /// Waits until this time, also with a timer that has fired before.
    fn poll_timer(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = &mut self.timer;
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        timer.as_mut().reset(due);
        timer.as_mut().poll(cx)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watchers.remove(self.number);
    }
}

impl SharedSession {
    pub(super) fn new(liveness: Liveness, backend: Backend) -> Arc<Self> {
        let state = State::Idle(Box::new(liveness));
        Arc::new(Self {
            shared: Mutex::new(Shared {
                state,
                backend,
                inbox: Inbox::default(),
            }),
            watchers: Arc::default(),
        })
    }

    /// Takes the session for statements; `None` if it is lost.
    ///
    /// It waits for the answer to a pending probe, which a statement would read: the probe would
    /// seem unanswered for as long as a dropped statement runs.
    pub(super) async fn take(&self) -> Option<Box<Liveness>> {
        let mut watch = self.watch();
        poll_fn(|cx| self.poll_probe(&mut watch, cx)).await;
        drop(watch);
        self.leave_idle(State::InUse)
    }

    /// Resolves when no probe is pending.
    fn poll_probe(&self, watch: &mut Watch, cx: &mut Context<'_>) -> Poll<()> {
        self.watchers.add(watch, cx);
        loop {
            let Some(due) = self.probe_due() else {
                return Poll::Ready(());
            };
            ready!(watch.poll_timer(due, cx));
        }
    }

    /// When the session is lost unless a pending probe is answered.
    fn probe_due(&self) -> Option<Instant> {
        let shared = &mut *self.lock();
        let Look::Alive(due) = self.look(shared) else {
            return None;
        };
        match &shared.state {
            State::Idle(liveness) if liveness.is_probing() => due,
            _ => None,
        }
    }

    /// Takes the session to release it; `None` if it is lost.
    pub(super) fn end(&self) -> Option<Box<Liveness>> {
        self.leave_idle(State::Ended)
    }

    fn leave_idle(&self, next: State) -> Option<Box<Liveness>> {
        let shared = &mut *self.lock();
        if !matches!(shared.state, State::Idle(_)) {
            return None;
        }
        match self.enter(shared, next) {
            State::Idle(liveness) => Some(liveness),
            _ => None,
        }
    }

    /// Gives the session back after the caller's statements.
    pub(super) fn put_back(&self, liveness: Box<Liveness>) {
        let shared = &mut *self.lock();
        if matches!(shared.state, State::InUse) {
            self.enter(shared, State::Idle(liveness));
        } else {
            // A watcher has found out that it is lost.
            discard(liveness);
        }
    }

    /// Releases the lock although its guard still exists, which counts as lost.
    pub(crate) async fn take_away(&self, lock: LockId) {
        match self.leave_idle(State::Lost) {
            Some(liveness) => drop(FinishOnDrop::new(release(lock, liveness)).await),
            None => self.mark_lost(),
        }
    }

    /// A fencing token of the session, which is in use meanwhile.
    pub(super) async fn fencing_token(&self, lock: &LockId, of: TokenOf) -> Result<i64, Error> {
        let limit = self.response_timeout();
        let lost = || Error::lost(lock);
        let mut in_use = InUse {
            session: self,
            liveness: Some(self.take().await.ok_or_else(lost)?),
        };
        let Some(liveness) = &mut in_use.liveness else {
            return Err(lost());
        };
        let level = liveness.holder.level;
        let token = async { token(liveness.session.acquire().await?, level, of).await };
        match within(limit, Wait::No, token).await {
            Err(error) if is_end_of_lock(level, &error) => {
                drop(in_use);
                self.mark_lost();
                // Others say what to change.
                let is_plain = matches!(error, Error::Database(_));
                Err(if is_plain { lost() } else { error })
            }
            token => token,
        }
    }

    #[cfg(feature = "migrate")]
    pub(super) fn close_after_release(&self) {
        if let State::Idle(liveness) = &mut self.lock().state {
            liveness.is_reusable = false;
        }
    }

    pub(super) fn pool(&self) -> PgPool {
        self.lock().backend.pool.clone()
    }

    pub(super) fn response_timeout(&self) -> Duration {
        self.lock().backend.response_timeout
    }

    /// Looks at the session without waiting.
    pub(super) fn is_lost(&self) -> bool {
        let shared = &mut *self.lock();
        self.look(shared);
        matches!(shared.state, State::Lost)
    }

    /// Closes the rest of the session, which releases whatever it still holds.
    pub(super) fn mark_lost(&self) {
        self.lose(&mut self.lock());
    }

    fn lose(&self, shared: &mut Shared) {
        if matches!(shared.state, State::Idle(_) | State::InUse) {
            discard(self.enter(shared, State::Lost));
        }
    }

    /// Enters a state, in which every watcher looks again.
    fn enter(&self, shared: &mut Shared, next: State) -> State {
        self.watchers.wake_by_ref();
        replace(&mut shared.state, next)
    }

    /// Resolves when the session is lost, or its guard has ended.
    pub(crate) async fn lost(self: Arc<Self>) {
        let mut watch = self.watch();
        poll_fn(|cx| self.poll_lost(&mut watch, cx)).await;
    }

    /// The next notification; `None` if the session is lost, or its guard has ended.
    pub(super) async fn notification(self: Arc<Self>) -> Option<PgNotification> {
        let mut watch = self.watch();
        poll_fn(|cx| {
            let lost = self.poll_lost(&mut watch, cx);
            match self.lock().inbox.arrived.pop_front() {
                None => lost.map(|()| None),
                notification => Poll::Ready(notification),
            }
        })
        .await
    }

    fn watch(&self) -> Watch {
        let number = &mut self.watchers.lock().last_number;
        *number += 1;
        Watch {
            watchers: Arc::clone(&self.watchers),
            number: *number,
            timer: None,
            gone: None,
        }
    }

    fn poll_lost(&self, watch: &mut Watch, cx: &mut Context<'_>) -> Poll<()> {
        self.watchers.add(watch, cx);
        loop {
            let look = self.look(&mut self.lock());
            let due = match look {
                Look::Alive(due) => due,
                Look::InUse(backend) => {
                    let gone = watch.gone.get_or_insert_with(|| Box::pin(backend.gone()));
                    ready!(gone.as_mut().poll(cx));
                    self.mark_lost();
                    return Poll::Ready(());
                }
                Look::Over => return Poll::Ready(()),
            };
            watch.gone = None;
            let Some(due) = due else {
                return Poll::Pending;
            };
            ready!(watch.poll_timer(due, cx));
        }
    }

    fn look(&self, shared: &mut Shared) -> Look {
        match &mut shared.state {
            State::InUse => Look::InUse(shared.backend.clone()),
            State::Lost | State::Ended => Look::Over,
            State::Idle(liveness) => {
                // A socket wakes one task; this waker wakes all watchers.
                let waker = Waker::from(Arc::clone(&self.watchers));
                let sign = liveness.check(&waker, |notification| {
                    shared.inbox.push(notification);
                    // Another watcher may wait for it.
                    self.watchers.wake_by_ref();
                });
                match sign {
                    Sign::Alive(due) => Look::Alive(due),
                    Sign::Lost => {
                        self.lose(shared);
                        Look::Over
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the lock has ended with the message for a fencing token.
fn is_end_of_lock(level: LockLevel, error: &Error) -> bool {
    match error {
        Error::Database(error) => level.is_ended_by(error),
        Error::Unsupported { reason } => {
            let is_answer = matches!(reason, UnsupportedReason::FencingTokenOverflow { .. });
            level == LockLevel::Transaction && !is_answer
        }
        _ => level == LockLevel::Transaction,
    }
}

/// A session in use, which is given back when this value is dropped.
struct InUse<'s> {
    session: &'s SharedSession,
    liveness: Option<Box<Liveness>>,
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        if let Some(liveness) = self.liveness.take() {
            self.session.put_back(liveness);
        }
    }
}

/// The notifications that have arrived and were not taken yet.
#[derive(Default)]
struct Inbox {
    arrived: VecDeque<PgNotification>,
    has_dropped: bool,
}

impl Inbox {
    /// The oldest notification is dropped when there are more.
    const MOST: usize = 1024;

    fn push(&mut self, notification: PgNotification) {
        if self.arrived.len() == Self::MOST {
            self.arrived.pop_front();
            if !replace(&mut self.has_dropped, true) {
                tracing::warn!("notifications are dropped: take them with `notification`");
            }
        }
        self.arrived.push_back(notification);
    }
}

/// The tasks that wait for a sign.
#[derive(Default)]
struct Watchers(Mutex<Wakers>);

#[derive(Default)]
struct Wakers {
    last_number: u64,
    /// By the number of the watch.
    wakers: HashMap<u64, Waker>,
}

impl Watchers {
    fn add(&self, watch: &Watch, cx: &Context<'_>) {
        let waker = cx.waker().clone();
        let _before = self.lock().wakers.insert(watch.number, waker);
    }

    /// The waker is dropped when the mutex is free: it may be the last handle of a task that owns
    /// other watches.
    fn remove(&self, number: u64) {
        let _waker = self.lock().wakers.remove(&number);
    }

    fn lock(&self) -> MutexGuard<'_, Wakers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Watchers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let wakers = take(&mut self.lock().wakers);
        wakers.into_values().for_each(Waker::wake);
    }
}
