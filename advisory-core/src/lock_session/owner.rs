//! The task that owns the sessions of a [`LockSession`](super::LockSession).
//!
//! Requests reach it by a channel. What arrives while a message is under way travels in the next
//! one. The [table](super::table) decides; this file keeps the clocks and the connections.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::{Future, poll_fn};
use std::io::Error as IoError;
use std::mem::{replace, take};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use sqlx::postgres::PgPool;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Sleep, sleep_until};

use super::LockSession;
use super::connection::{Connection, Loss, Opening, Reply};
use super::link::{Event, Link, Underway};
use super::request::{Acquire, Grant, Pending, Request, Settings};
use super::table::{Limits, Look, Manner, Message, Outcome, RequestId, SessionId, Table};
use crate::error::{Error, SharedError};
use crate::lock::{AdvisoryLock, Wait, jitter};
use crate::probe::Capabilities;
use crate::sql::lock_session::{BackendId, Waits};
use crate::sql::sqlstate;
use crate::sql::tcp_keepalive::TcpKeepalive;
use crate::time_bounds::{
    DEFAULT_KEEPALIVE_INTERVAL, DEFAULT_RESPONSE_TIMEOUT, FIRST_SWEEP, HAND_OVER_TIME,
    IDLE_SESSION, LONGEST_SWEEP, REOPEN_PAUSE, SHORTEST_CHECK_OUT, WORTH_QUEUEING,
};

/// How often a key may go from one local holder to the next before others get their chance.
const MOST_HAND_OVERS: u32 = 16;
/// The most keys in one message, which is then some 200 kB long.
const MOST_KEYS: usize = 10_000;
/// How often others may run between an answer and the next message.
const MOST_YIELDS: u32 = 4;

/// The first link is that of the session that tries and unlocks; the others queue.
const MAIN: usize = 0;

pub(super) struct Owner {
    pool: PgPool,
    capabilities: Arc<Capabilities>,
    queueing: Arc<AtomicUsize>,
    requests: mpsc::UnboundedReceiver<Request>,
    /// For the guards. Weak, so that the channel closes with the last clone and the last guard.
    sender: mpsc::WeakUnboundedSender<Request>,
    /// Keeps the sessions of a pool open between two locks.
    _kept: Option<LockSession>,
    table: Table,
    started: Instant,
    pending: BTreeMap<RequestId, Pending>,
    releases: HashMap<RequestId, oneshot::Sender<bool>>,
    /// The locks that stay held without a guard, until these times.
    kept: BTreeMap<(Instant, RequestId), Grant>,
    /// Whether a token is sent before a message.
    is_token_next: bool,
    tokens: Vec<(SessionId, oneshot::Sender<Result<i64, Error>>)>,
    losses: HashMap<SessionId, Arc<Loss>>,
    /// The backends of lost sessions, which the server may still take for alive.
    to_terminate: Vec<BackendId>,
    links: Vec<Link>,
    next_session: SessionId,
    deadlines: BTreeSet<(Instant, RequestId)>,
    /// The requests whose time is over, and since when. They are refused by a message that was
    /// sent after that: the server has the last word.
    expired: BTreeMap<RequestId, Instant>,
    /// Since when the server has refused each message with an error, and the last error.
    refused_since: Option<Instant>,
    failure: Option<SharedError>,
    /// The lock that was asked for last.
    newest: AdvisoryLock,
    /// When the message was sent that was sent last to the first session.
    sent_at: Instant,
    polls: BTreeSet<(Instant, RequestId)>,
    sweep_pause: Duration,
    sweep_at: Option<Instant>,
    last_look: Instant,
    /// When the first session, and another one, may be opened again.
    open_at: [Option<Instant>; 2],
    idle_since: Option<Instant>,
    lock_timeout: Option<Wait>,
    keepalive: Duration,
    response_timeout: Option<Duration>,
    timer: Pin<Box<Sleep>>,
}

impl Owner {
    pub(super) fn new(
        pool: PgPool,
        queueing: Arc<AtomicUsize>,
        requests: mpsc::UnboundedReceiver<Request>,
        sender: mpsc::WeakUnboundedSender<Request>,
        kept: Option<LockSession>,
    ) -> Self {
        let now = Instant::now();
        Self {
            capabilities: Capabilities::of(&pool),
            pool,
            queueing,
            requests,
            sender,
            _kept: kept,
            table: Table::new(Limits {
                hand_overs: MOST_HAND_OVERS,
                time: HAND_OVER_TIME,
                keys: MOST_KEYS,
            }),
            started: now,
            pending: BTreeMap::new(),
            releases: HashMap::new(),
            kept: BTreeMap::new(),
            is_token_next: false,
            tokens: Vec::new(),
            losses: HashMap::new(),
            to_terminate: Vec::new(),
            links: vec![Link::Closed],
            next_session: 1,
            deadlines: BTreeSet::new(),
            expired: BTreeMap::new(),
            refused_since: None,
            failure: None,
            newest: AdvisoryLock::new(0),
            sent_at: now,
            polls: BTreeSet::new(),
            sweep_pause: FIRST_SWEEP,
            sweep_at: None,
            last_look: now,
            open_at: [None; 2],
            idle_since: None,
            lock_timeout: None,
            keepalive: DEFAULT_KEEPALIVE_INTERVAL,
            response_timeout: None,
            timer: Box::pin(sleep_until(now.into())),
        }
    }

    /// Runs until nobody can ask for anything more, the pool closes, or nothing has happened for a
    /// while.
    pub(super) async fn run(mut self) {
        let mut closed = Box::pin(self.pool.close_event());
        loop {
            let now = Instant::now();
            self.proceed(now);
            let event = self.next_event(now, closed.as_mut()).await;
            // Many were answered at once.
            let is_answered =
                matches!(&event, Event::Answered(MAIN, _, message, _) if message.len() > 1);
            match event {
                Event::Request(None) => return,
                Event::PoolClosed => return self.close(None).await,
                Event::Request(Some(Request::Close(reply))) => {
                    return self.close(Some(reply)).await;
                }
                event => self.handle(event),
            }
            let mut yields = if is_answered { MOST_YIELDS } else { 0 };
            // What has arrived together travels together, and those who were answered may ask
            // again.
            loop {
                let mut has_more = false;
                while let Ok(request) = self.requests.try_recv() {
                    has_more = true;
                    match request {
                        Request::Close(reply) => return self.close(Some(reply)).await,
                        request => self.take(request),
                    }
                }
                if yields == 0 || !(has_more || yields == MOST_YIELDS) {
                    break;
                }
                yields -= 1;
                yield_now().await;
            }
            let is_idle = |since: Instant| since.elapsed() >= IDLE_SESSION;
            if self.idle_since.is_some_and(is_idle) {
                // A later request finds the channel closed, and starts another owner.
                self.requests.close();
                return;
            }
        }
    }

    async fn next_event(
        &mut self,
        now: Instant,
        mut closed: Pin<&mut impl Future<Output = ()>>,
    ) -> Event {
        let wake_at = self.next_time(now);
        if let Some(at) = wake_at {
            self.timer.as_mut().reset(at.into());
        }
        poll_fn(|cx| {
            for (index, link) in self.links.iter_mut().enumerate() {
                if let Poll::Ready(event) = link.poll(index, cx) {
                    return Poll::Ready(event);
                }
            }
            if let Poll::Ready(request) = self.requests.poll_recv(cx) {
                return Poll::Ready(Event::Request(request));
            }
            if closed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Event::PoolClosed);
            }
            if wake_at.is_some() && self.timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Event::Time);
            }
            Poll::Pending
        })
        .await
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn response_timeout(&self) -> Duration {
        self.response_timeout.unwrap_or(DEFAULT_RESPONSE_TIMEOUT)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Request(Some(request)) => self.take(request),
            Event::Request(None) | Event::PoolClosed | Event::Time => {}
            Event::Opened(index, opened) => self.opened(index, opened),
            Event::Answered(index, connection, message, reply) => {
                self.answered(index, connection, &message, reply);
            }
            Event::Queued(index, connection, waited) => self.queued(index, connection, waited),
            Event::Done(index, connection, is_alive) => {
                if is_alive {
                    self.links[index] = Link::Idle(connection);
                    if index == MAIN {
                        self.refuse_expired();
                    }
                } else {
                    self.lost(index, connection, None);
                }
            }
            Event::Ended(index) => {
                let link = replace(&mut self.links[index], Link::Closed);
                if let Link::Idle(connection) = link {
                    self.lost(index, connection, None);
                }
            }
        }
    }

    fn take(&mut self, request: Request) {
        let now = self.now();
        match request {
            Request::Acquire(acquire) => self.arrive(acquire),
            Request::Withdraw(id) => {
                self.forget(id);
                let outcomes = self.table.withdraw(id, now);
                self.tell(outcomes);
            }
            Request::Release(id, reply) => {
                if let Some(reply) = reply {
                    if !self.table.is_held(id) {
                        let _ = reply.send(false);
                        return;
                    }
                    self.releases.insert(id, reply);
                }
                let outcomes = self.table.release(id, now);
                self.tell(outcomes);
            }
            Request::Keep(grant, until) => {
                self.kept.insert((until, grant.id), grant);
            }
            Request::FencingToken(session, reply) => {
                // Dropped, the reply says that the session is lost.
                if self.losses.contains_key(&session) {
                    self.tokens.push((session, reply));
                }
            }
            Request::Close(_) => {}
        }
    }

    fn arrive(&mut self, acquire: Acquire) {
        let Acquire {
            id,
            lock,
            wait,
            is_first,
            reply,
        } = acquire;
        let arrived = Instant::now();
        let (keepalive, response_timeout) = lock.liveness_settings();
        self.keepalive = self.keepalive.min(keepalive.unwrap_or(self.keepalive));
        let response_timeout = response_timeout.unwrap_or(DEFAULT_RESPONSE_TIMEOUT);
        let limits = [self.response_timeout, Some(response_timeout)];
        self.response_timeout = limits.into_iter().flatten().min();
        let manner = match (wait, lock.polling_interval()) {
            (Wait::No, _) if is_first => Manner::TriesFirst,
            (Wait::No, _) => Manner::Tries,
            (_, Some(_)) => Manner::Polls,
            (_, None) => Manner::Waits,
        };
        let lock_id = lock.id().clone();
        let mut pending = Pending {
            reply,
            arrived,
            deadline: None,
            is_bounded_by_server: wait == Wait::Server && manner == Manner::Waits,
            settings: Settings::of(&lock).map(Box::new),
        };
        pending.bound(wait);
        if let Some(wait) = self.lock_timeout {
            pending.bound_by_server(wait);
        }
        self.deadlines.extend(pending.deadline.map(|at| (at, id)));
        self.pending.insert(id, pending);
        self.newest = lock;
        let outcomes = self.table.arrive(id, lock_id, manner, self.now());
        self.tell(outcomes);
    }

    /// The answer to a request is of no use any more.
    fn forget(&mut self, id: RequestId) -> Option<Pending> {
        self.expired.remove(&id);
        let pending = self.pending.remove(&id)?;
        if let Some(at) = pending.deadline {
            self.deadlines.remove(&(at, id));
        }
        let settings = pending.settings.as_deref();
        if let Some(at) = settings.and_then(|settings| settings.poll_at) {
            self.polls.remove(&(at, id));
        }
        Some(pending)
    }

    fn tell(&mut self, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            match outcome {
                Outcome::Granted(id, session) => self.granted(id, session),
                Outcome::Refused(id) => self.answer(id, Ok(None)),
                Outcome::Failed(id) => {
                    let failure = self.failure.as_ref().map(SharedError::to_error);
                    self.answer(id, Err(failure.unwrap_or(Error::LockTableFull)));
                }
                Outcome::Paused(id) => self.pause(id),
                Outcome::Released(id, was_held) => {
                    if let Some(reply) = self.releases.remove(&id) {
                        let _ = reply.send(was_held);
                    }
                }
                Outcome::EndWait(session) => self.end_wait(session),
            }
        }
    }

    fn pause(&mut self, id: RequestId) {
        let pending = self.pending.get_mut(&id);
        if let Some(settings) = pending.and_then(|pending| pending.settings.as_mut()) {
            let interval = settings.polling.unwrap_or(LONGEST_SWEEP);
            settings.poll_at = Instant::now().checked_add(jitter(interval));
            self.polls.extend(settings.poll_at.map(|at| (at, id)));
        }
    }

    fn granted(&mut self, id: RequestId, session: SessionId) {
        let (Some(pending), Some(owner), Some(loss)) = (
            self.forget(id),
            self.sender.upgrade(),
            self.losses.get(&session),
        ) else {
            let outcomes = self.table.release(id, self.now());
            return self.tell(outcomes);
        };
        let grant = Grant {
            id,
            session,
            loss: Arc::clone(loss),
            owner,
        };
        // If nobody waits for it, the grant is dropped here, which releases it.
        let _ = pending.reply.send(Ok(Some(grant)));
    }

    fn answer(&mut self, id: RequestId, answer: Result<Option<Grant>, Error>) {
        if let Some(pending) = self.forget(id) {
            let _ = pending.reply.send(answer);
        }
    }

    /// Closes the session that waits for what nobody wants.
    fn end_wait(&mut self, session: SessionId) {
        let waits =
            |link: &Link| matches!(link, Link::Queueing { session: of, .. } if *of == session);
        if let Some(index) = self.links.iter().position(waits) {
            self.close_link(index, session);
        }
    }

    /// Closes a session that holds nothing.
    fn close_link(&mut self, index: usize, session: SessionId) {
        self.links[index] = Link::Closed;
        self.losses.remove(&session);
    }

    /// Closes a session that queues. Its request waits on.
    fn end_queueing(&mut self, index: usize, session: SessionId) {
        self.close_link(index, session);
        let outcomes = self.table.queue_ended(session, self.now());
        self.tell(outcomes);
    }

    fn opened(&mut self, index: usize, opened: Result<Connection, Error>) {
        let connection = match opened {
            Ok(connection) => connection,
            Err(error) => {
                self.links[index] = Link::Closed;
                if index == MAIN {
                    self.fail_all(error);
                } else {
                    // The sweeps serve its request as well.
                    tracing::debug!(%error, "cannot open a session that queues for locks");
                    self.open_at[1] = Instant::now().checked_add(REOPEN_PAUSE * 10);
                }
                return;
            }
        };
        self.losses
            .insert(connection.id, Arc::clone(&connection.loss));
        if index == MAIN {
            self.table.open(connection.id);
            self.table.sweep();
            self.sweep_pause = FIRST_SWEEP;
            self.capabilities.note_lock_timeout(connection.lock_timeout);
            let lock_timeout = Wait::of_lock_timeout(connection.lock_timeout);
            self.lock_timeout = Some(lock_timeout);
            for (id, pending) in &mut self.pending {
                if pending.is_bounded_by_server && pending.deadline.is_none() {
                    pending.bound_by_server(lock_timeout);
                    self.deadlines.extend(pending.deadline.map(|at| (at, *id)));
                }
            }
        }
        self.links[index] = Link::Idle(Box::new(connection));
    }

    /// No session can be opened: all that wait for one get the error.
    fn fail_all(&mut self, error: Error) {
        let error = SharedError::from(error);
        let waiting: Vec<_> = self.table.waiting().iter().copied().collect();
        for id in waiting {
            self.end(id, Err(error.to_error()));
        }
    }

    fn answered(
        &mut self,
        index: usize,
        connection: Box<Connection>,
        message: &Message,
        reply: Reply,
    ) {
        let now = self.now();
        if message.looks {
            self.last_look = Instant::now();
        }
        let outcomes = match reply {
            Reply::Answered(answer, waits) => {
                self.refused_since = None;
                if let Some(waits) = waits {
                    self.find_silent_waits(&waits);
                }
                if answer.grants() {
                    self.sweep_pause = FIRST_SWEEP;
                }
                self.links[index] = Link::Idle(connection);
                self.table.answered(message, &answer, now)
            }
            Reply::Refused(error) => {
                self.links[index] = Link::Idle(connection);
                self.refused(message, error, now)
            }
            Reply::Lost => return self.lost(index, connection, Some(message)),
            Reply::Unfit(error) => {
                self.fail_all(error);
                return self.lost(index, connection, Some(message));
            }
        };
        self.tell(outcomes);
        if index == MAIN {
            self.refuse_expired();
        }
    }

    /// The server has refused a message with an error, which belongs to one of its requests. The
    /// error of a cancelled statement belongs to none, unless messages are cancelled for longer
    /// than the response timeout.
    fn refused(&mut self, message: &Message, error: sqlx::Error, now: Duration) -> Vec<Outcome> {
        tracing::debug!(%error, "a message of a lock session was refused");
        let since = *self.refused_since.get_or_insert_with(Instant::now);
        let is_late = since.elapsed() > self.response_timeout();
        let is_of_one = !sqlstate::is_cancelled(&error) || is_late;
        let error = match message.tries.first() {
            Some((_, lock)) => Error::of_lock(error, lock),
            None => Error::of_message(error),
        };
        self.failure = Some(error.into());
        self.table.failed(message, is_of_one, now)
    }

    /// The server no longer knows the wait of a session. Its answer is on its way, or the network
    /// to that session is silent.
    fn find_silent_waits(&mut self, waits: &Waits) {
        let now = Instant::now();
        let limit = self.response_timeout();
        for index in 1..self.links.len() {
            let Link::Queueing {
                session,
                backend,
                over_since,
                ..
            } = &mut self.links[index]
            else {
                continue;
            };
            if waits.pids.contains(&backend.pid) {
                *over_since = None;
            } else if *over_since.get_or_insert(now) + limit <= now {
                let session = *session;
                self.to_terminate.push(take(backend));
                self.end_queueing(index, session);
            }
        }
    }

    /// The server has answered: those whose time was over before it was asked are refused.
    fn refuse_expired(&mut self) {
        let sent_at = self.sent_at;
        for (id, at) in take(&mut self.expired) {
            // It may not have fitted into that message.
            if at > sent_at || self.table.is_being_asked(id) {
                self.expired.insert(id, at);
            } else {
                self.end(id, Ok(None));
            }
        }
    }

    /// Ends a wait, unless the end of another one has granted it the lock.
    fn end(&mut self, id: RequestId, answer: Result<Option<Grant>, Error>) {
        if !self.table.waiting().contains(&id) {
            return;
        }
        let outcomes = self.table.withdraw(id, self.now());
        self.tell(outcomes);
        self.answer(id, answer);
    }

    fn queued(
        &mut self,
        index: usize,
        connection: Box<Connection>,
        waited: Result<(), sqlx::Error>,
    ) {
        let (session, now) = (connection.id, self.now());
        match waited {
            Ok(()) => {
                self.links[index] = Link::Idle(connection);
                self.sweep_pause = FIRST_SWEEP;
                let outcomes = self.table.queue_granted(session, now);
                self.tell(outcomes);
            }
            Err(error) => {
                let queueing = self.table.queueing(session);
                // After any error, the session may hold the lock.
                self.lost(index, connection, None);
                let Some((id, lock)) = queueing else { return };
                match Error::of_lock(error, &lock) {
                    error @ (Error::Deadlock { .. } | Error::LockTableFull) => {
                        self.end(id, Err(error));
                    }
                    error => {
                        tracing::debug!(%error, %lock, "a session that queues was lost");
                        // Whatever it was, the sweeps go on.
                        self.open_at[1] = Instant::now().checked_add(REOPEN_PAUSE * 10);
                    }
                }
            }
        }
    }

    /// A session has ended: its guards are notified, and its connection is closed.
    fn lost(&mut self, index: usize, connection: Box<Connection>, under_way: Option<&Message>) {
        let (session, opened) = (connection.id, connection.opened);
        self.to_terminate.push(connection.backend.clone());
        self.links[index] = Link::Closed;
        drop(connection);
        self.losses.remove(&session);
        self.tokens.retain(|(of, _)| *of != session);
        // A call that does not wait does not wait for another session.
        let asked = under_way.into_iter().flat_map(Message::tried);
        let tries = asked.filter(|id| self.table.is_try(*id));
        let tries: Vec<_> = tries.collect();
        let outcomes = self.table.lost(session, under_way, self.now());
        self.tell(outcomes);
        for id in tries {
            let lost =
                IoError::other("the session of the lock was lost, or its server does not answer");
            self.end(id, Err(sqlx::Error::Io(lost).into()));
        }
        // A server that ends each session at once is not asked without a pause.
        if opened.elapsed() < REOPEN_PAUSE * 10 {
            self.open_at[usize::from(index != MAIN)] = Instant::now().checked_add(REOPEN_PAUSE);
        }
        if index == MAIN {
            for (id, _) in take(&mut self.expired) {
                self.expire(id, Instant::now());
            }
            // The sessions that queue can have lost their server as well, and nobody waits for
            // what only they know.
            for spare in 1..self.links.len() {
                if let Link::Queueing { session, .. } = &self.links[spare] {
                    self.end_queueing(spare, *session);
                }
            }
        }
    }

    /// Does everything that can be done now.
    fn proceed(&mut self, now: Instant) {
        self.note_time(now);
        self.open_main(now);
        for index in 0..self.links.len() {
            self.send(index, now);
            self.close_if_unused(index, now);
        }
        self.queue_on_server(now);
        let is_idle = self.table.is_empty() && self.pending.is_empty();
        if !is_idle {
            self.idle_since = None;
        } else if self.idle_since.is_none() {
            self.idle_since = Some(now);
        }
    }

    fn note_time(&mut self, now: Instant) {
        while let Some((at, id)) = self.deadlines.first().copied()
            && at <= now
        {
            self.deadlines.pop_first();
            self.expire(id, at);
        }
        // Dropped, they are released.
        while let Some(((at, _), _)) = self.kept.first_key_value()
            && *at <= now
        {
            self.kept.pop_first();
        }
        while let Some((at, id)) = self.polls.first().copied()
            && at <= now
        {
            self.polls.pop_first();
            let outcomes = self.table.ask_again(id, self.now());
            self.tell(outcomes);
        }
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.sweep_at = None;
            self.table.sweep();
        }
        if self.sweep_at.is_none() && self.table.longest_refused().is_some() {
            self.sweep_at = now.checked_add(jitter(self.sweep_pause));
            self.sweep_pause = (self.sweep_pause * 2).min(LONGEST_SWEEP);
        }
    }

    /// The time of a request is over. Without a session that could be asked, that is a fault.
    fn expire(&mut self, id: RequestId, at: Instant) {
        let now = Instant::now();
        if !self.table.waiting().contains(&id) {
            return;
        }
        let is_connected = matches!(
            self.links[MAIN],
            Link::Idle(_) | Link::Talking { .. } | Link::Busy(_)
        );
        if is_connected {
            // A grant takes it out again.
            self.expired.insert(id, at);
            let outcomes = self.table.ask_again(id, self.now());
            self.tell(outcomes);
        } else if self.has_time_to_open(id, now) {
            self.deadlines.insert((now + SHORTEST_CHECK_OUT, id));
        } else {
            self.end(id, Err(sqlx::Error::PoolTimedOut.into()));
        }
    }

    /// Whether a session may still be opened for this request.
    fn has_time_to_open(&self, id: RequestId, now: Instant) -> bool {
        let arrived = self.pending.get(&id).map(|pending| pending.arrived);
        arrived.is_some_and(|arrived| now < arrived + SHORTEST_CHECK_OUT)
    }

    fn open_main(&mut self, now: Instant) {
        let is_needed = !self.table.waiting().is_empty();
        let may_open = self.open_at[0].is_none_or(|at| at <= now);
        if is_needed && may_open && matches!(self.links[MAIN], Link::Closed) {
            self.links[MAIN] = self.opening(true);
        }
    }

    fn opening(&mut self, is_checked: bool) -> Link {
        let id = self.next_session;
        self.next_session += 1;
        let opening = Opening {
            id,
            pool: self.pool.clone(),
            lock: self.newest.clone(),
            keepalive: TcpKeepalive::of(self.keepalive, self.response_timeout()),
            response_timeout: self.response_timeout(),
            is_checked,
        };
        Link::Opening(Box::pin(opening.open()))
    }

    /// Sends what is next to a session that does nothing.
    fn send(&mut self, index: usize, now: Instant) {
        let Link::Idle(connection) = &self.links[index] else {
            return;
        };
        let is_overdue = connection.last_answer + self.keepalive <= now;
        if index == MAIN {
            self.sent_at = now;
        }
        if index == MAIN && !self.to_terminate.is_empty() {
            return self.terminate_lost();
        }
        // In turns, so that neither keeps the other out.
        let is_sent = self.is_token_next && self.send_token(index);
        let is_sent = is_sent || self.send_message(index, now) || self.send_token(index);
        let has_expired = index == MAIN && !self.expired.is_empty();
        if !is_sent && (is_overdue || has_expired) {
            let limit = self.response_timeout();
            self.start(index, |mut connection| {
                Box::pin(async move {
                    let is_alive = connection.ping(limit).await.is_ok();
                    (connection, is_alive)
                })
            });
        }
    }

    fn terminate_lost(&mut self) {
        let (lost, limit) = (take(&mut self.to_terminate), self.response_timeout());
        self.start(MAIN, |mut connection| {
            Box::pin(async move {
                let is_alive = connection.terminate(&lost, limit).await;
                (connection, is_alive)
            })
        });
    }

    fn send_message(&mut self, index: usize, now: Instant) -> bool {
        let Link::Idle(connection) = &self.links[index] else {
            return false;
        };
        let may_look = self.last_look + HAND_OVER_TIME <= now;
        let is_awaited = may_look && self.table.is_awaited();
        let is_due = self.queue_check_at().is_some_and(|at| at <= now);
        let look = if is_awaited || is_due {
            Look::Now
        } else if may_look {
            Look::IfNeeded
        } else {
            Look::Not
        };
        let Some(message) = self.table.message(connection.id, look, self.now()) else {
            return false;
        };
        self.is_token_next = true;
        let (message, limit) = (Arc::new(message), self.response_timeout());
        let (sent, capabilities) = (Arc::clone(&message), Arc::clone(&self.capabilities));
        if let Link::Idle(mut connection) = replace(&mut self.links[index], Link::Closed) {
            self.links[index] = Link::Talking {
                message,
                talk: Box::pin(async move {
                    let reply = connection.talk(&sent, limit, &capabilities).await;
                    (connection, reply)
                }),
            };
        }
        true
    }

    fn send_token(&mut self, index: usize) -> bool {
        self.tokens.retain(|(_, reply)| !reply.is_closed());
        let Link::Idle(connection) = &self.links[index] else {
            return false;
        };
        let session = connection.id;
        let Some(next) = self.tokens.iter().position(|(of, _)| *of == session) else {
            return false;
        };
        let (_, reply) = self.tokens.remove(next);
        self.is_token_next = false;
        let limit = self.response_timeout();
        self.start(index, |mut connection| {
            Box::pin(async move {
                let token = connection.fencing_token(limit).await;
                let is_alive = !matches!(
                    &token,
                    Err(Error::Database(error)) if sqlstate::is_loss(error)
                );
                let _ = reply.send(token);
                (connection, is_alive)
            })
        });
        true
    }

    /// When the server is to be asked whether the sessions that queue still do; `None` if none
    /// does.
    fn queue_check_at(&self) -> Option<Instant> {
        let queues = |link: &Link| matches!(link, Link::Queueing { .. });
        let is_queueing = self.links.iter().any(queues);
        is_queueing.then(|| self.last_look + self.keepalive)
    }

    /// Closes a session that has queued, when it is not needed any more.
    fn close_if_unused(&mut self, index: usize, now: Instant) {
        if let Link::Idle(connection) = &self.links[index]
            && index != MAIN
            && connection.last_used + IDLE_SESSION <= now
            && !self.table.holds(connection.id)
        {
            self.close_link(index, connection.id);
        }
    }

    fn start(
        &mut self,
        index: usize,
        work: impl FnOnce(Box<Connection>) -> Underway<(Box<Connection>, bool)>,
    ) {
        let link = replace(&mut self.links[index], Link::Closed);
        if let Link::Idle(connection) = link {
            self.links[index] = Link::Busy(work(connection));
        }
    }

    /// Lets the spare sessions queue for those that have waited longest.
    fn queue_on_server(&mut self, now: Instant) {
        let oldest = self.table.longest_refused();
        let Some(oldest) = oldest.and_then(|id| self.pending.get(&id)) else {
            return;
        };
        if matches!(self.links[MAIN], Link::Closed) {
            return;
        }
        let is_worth_it = oldest.arrived + WORTH_QUEUEING <= now;
        let mut may_open = is_worth_it && self.open_at[1].is_none_or(|at| at <= now);
        for index in 1..=self.queueing.load(Ordering::Relaxed) {
            if index == self.links.len() {
                if !may_open {
                    break;
                }
                self.links.push(Link::Closed);
            }
            match &self.links[index] {
                Link::Idle(connection) if !self.table.holds(connection.id) => self.queue(index),
                Link::Closed if may_open => {
                    self.links[index] = self.opening(false);
                    may_open = false;
                }
                // One after the other.
                Link::Opening(_) => may_open = false,
                _ => {}
            }
        }
    }

    fn queue(&mut self, index: usize) {
        let Link::Idle(connection) = &self.links[index] else {
            return;
        };
        let (session, backend) = (connection.id, connection.backend.clone());
        let Some((id, lock)) = self.table.queue(session, self.now()) else {
            return;
        };
        let pending = self.pending.get(&id);
        let settings = pending.and_then(|pending| pending.settings.as_ref());
        let tag = settings.and_then(|settings| settings.tag.clone());
        if let Link::Idle(mut connection) = replace(&mut self.links[index], Link::Closed) {
            self.links[index] = Link::Queueing {
                session,
                backend,
                over_since: None,
                wait: Box::pin(async move {
                    let waited = connection.queue(&lock, tag.as_deref()).await;
                    (connection, waited)
                }),
            };
        }
    }

    /// When there is something to do, whatever else happens. What is due already waits for
    /// something else.
    fn next_time(&self, now: Instant) -> Option<Instant> {
        let keepalive = self.links.iter().filter_map(|link| match link {
            Link::Idle(connection) => Some(connection.last_answer + self.keepalive),
            _ => None,
        });
        let first = |times: &BTreeSet<(Instant, RequestId)>| times.first().map(|(at, _)| *at);
        let is_closed = matches!(self.links[MAIN], Link::Closed);
        let reopen = self.open_at[0].filter(|_| is_closed && !self.table.waiting().is_empty());
        let is_to_look = self.table.is_to_look();
        let look = is_to_look.then(|| self.last_look + HAND_OVER_TIME);
        let times = [
            self.queue_check_at(),
            first(&self.deadlines),
            first(&self.polls),
            self.kept.keys().next().map(|(at, _)| *at),
            self.sweep_at,
            reopen,
            look,
            self.idle_since.map(|since| since + IDLE_SESSION),
        ];
        let times = times.into_iter().flatten().chain(keepalive);
        times.filter(|at| *at > now).min()
    }

    /// Frees all locks, and tells everybody.
    async fn close(mut self, reply: Option<oneshot::Sender<()>>) {
        let waiting: Vec<_> = self.table.waiting().iter().copied().collect();
        for id in waiting {
            self.answer(id, Err(sqlx::Error::PoolClosed.into()));
        }
        let limit = self.response_timeout();
        for loss in self.losses.values() {
            loss.tell();
        }
        let mut closing = JoinSet::new();
        for link in take(&mut self.links) {
            closing.spawn(async move {
                // A session that queues has nothing to free.
                let connection = match link {
                    Link::Idle(connection) => connection,
                    Link::Talking { talk, .. } => talk.await.0,
                    Link::Busy(answer) => answer.await.0,
                    Link::Opening(_) | Link::Queueing { .. } | Link::Closed => return,
                };
                connection.close(limit).await;
            });
        }
        closing.join_all().await;
        if let Some(reply) = reply {
            let _ = reply.send(());
        }
    }
}
