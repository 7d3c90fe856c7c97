//! One session of a [`LockSession`](super::LockSession), and what is sent there.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnection, PgListener, PgPool, PgRow};
use sqlx::{Acquire as _, AssertSqlSafe, Connection as _};
use tokio::sync::watch;
use tokio::time::sleep;

use super::table::{self, Answer, Message, SessionId};
use crate::error::{Error, UnsupportedReason};
use crate::fencing::{TokenOf, token};
use crate::key::Key;
use crate::lock::{AdvisoryLock, LockId, Mode, Wait};
use crate::on_drop::discard;
use crate::probe::Capabilities;
use crate::session::{beside, poll_socket};
use crate::sql::lock_session::{
    AnswerOrder, BackendId, Batch, Call, Opened, Pick, Waits, open, prepared, prepared_pick,
    terminate,
};
use crate::sql::send::{drain, send, send_for_row, send_wait, within};
use crate::sql::session::{LockLevel, queue};
use crate::sql::tcp_keepalive::TcpKeepalive;
use crate::sql::{origin, permits, sqlstate};
use crate::time_bounds::{PROBE_LIMIT, REOPEN_PAUSE};

/// Tells the guards of a session that it has ended.
#[derive(Debug)]
pub(super) struct Loss(watch::Sender<bool>);

impl Loss {
    pub(super) fn has_happened(&self) -> bool {
        *self.0.borrow()
    }

    /// Tells the guards before their locks are free.
    pub(super) fn tell(&self) {
        self.0.send_replace(true);
    }

    pub(super) fn watch(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }
}

/// A session. Dropped, it is closed at once, and its guards are notified.
pub(super) struct Connection {
    pub(super) id: SessionId,
    pub(super) loss: Arc<Loss>,
    pub(super) lock_timeout: u64,
    pub(super) backend: BackendId,
    pub(super) opened: Instant,
    pub(super) last_answer: Instant,
    /// When it last queued or unlocked.
    pub(super) last_used: Instant,
    listener: Option<PgListener>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.loss.tell();
        discard(self.listener.take());
    }
}

/// How to open a session, and what is known of its server.
#[derive(Clone)]
pub(super) struct Opening {
    pub(super) id: SessionId,
    pub(super) pool: PgPool,
    /// A lock that is asked for, whose settings and name stand for all.
    pub(super) lock: AdvisoryLock,
    pub(super) keepalive: TcpKeepalive,
    pub(super) response_timeout: Duration,
    /// Whether it is checked that connections of the pool are sessions.
    pub(super) is_checked: bool,
}

impl Opening {
    /// Opens a session beside the pool, with its options and hooks. While the server is away it
    /// tries again, for as long as the pool lets a caller wait for a connection.
    pub(super) async fn open(self) -> Result<Connection, Error> {
        let started = Instant::now();
        let limit = self.pool.options().get_acquire_timeout();
        loop {
            let error = match self.open_once().await {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            let may_pass = matches!(
                &error,
                Error::Database(error)
                    if sqlstate::is_interruption(error) && !sqlstate::is_lasting(error)
            );
            if !may_pass || started.elapsed() + REOPEN_PAUSE >= limit {
                return Err(error);
            }
            sleep(REOPEN_PAUSE).await;
        }
    }

    async fn open_once(&self) -> Result<Connection, Error> {
        let (capabilities, options) = (Capabilities::of(&self.pool), self.pool.connect_options());
        let mut listener = PgListener::connect_with(&beside(&self.pool))
            .await
            .map_err(Error::of_message)?;
        listener.eager_reconnect(false);
        let (loss, _) = watch::channel(false);
        let now = Instant::now();
        let mut connection = Connection {
            id: self.id,
            loss: Arc::new(Loss(loss)),
            lock_timeout: 0,
            backend: BackendId::default(),
            opened: now,
            last_answer: now,
            last_used: now,
            listener: Some(listener),
        };
        // A hook of the pool may have dropped a statement.
        let drained = drain(connection.get().await?);
        within(self.response_timeout, Wait::No, drained).await?;
        if self.is_checked {
            let listener = connection.listener();
            let level = capabilities.lock_level(&self.lock, listener, &options, Wait::Forever);
            let level = within(self.response_timeout, Wait::For(PROBE_LIMIT), level).await?;
            if level == LockLevel::Transaction {
                // Its requests are answered without a session.
                return Err(Error::unsupported(UnsupportedReason::HeldByTransaction));
            }
        }
        let message = open(capabilities.client_check(), &self.keepalive);
        let row = within(
            self.response_timeout,
            Wait::No,
            send_for_row(connection.get().await?, message),
        );
        let row = row
            .await
            .map_err(|error| capabilities.failure(error, self.lock.id()))?;
        let opened = Opened::read(&row)?;
        (connection.lock_timeout, connection.backend) = (opened.lock_timeout, opened.backend);
        Ok(connection)
    }
}

/// How a message has ended.
pub(super) enum Reply {
    /// With the requests that queue on the server, if it was asked for them.
    Answered(Answer, Option<Waits>),
    /// An error of the server's, after which everything in the message was unlocked.
    Refused(sqlx::Error),
    Lost,
    /// The server's locks are none.
    Unfit(Error),
}

impl Connection {
    fn listener(&mut self) -> &mut PgListener {
        let listener = self.listener.as_mut();
        listener.expect("BUG: a session used after it was closed")
    }

    async fn get(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        self.listener().acquire().await
    }

    /// Ready when the idle session has ended.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match poll_socket(self.listener(), cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Ready(Some(_)) => self.last_answer = Instant::now(),
            }
        }
    }

    async fn exchange(
        &mut self,
        message: String,
        limit: Duration,
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        let rows = async { send(self.get().await?, message).await };
        let rows = within(limit, Wait::No, rows).await?;
        self.last_answer = Instant::now();
        Ok(rows)
    }

    /// Sends a message, and reads its answer.
    pub(super) async fn talk(
        &mut self,
        message: &Message,
        limit: Duration,
        capabilities: &Capabilities,
    ) -> Reply {
        self.last_used = Instant::now();
        let (answer, waits) = match self.ask(message, limit).await {
            Ok(answer) => answer,
            Err(error) if sqlstate::is_loss(&error) => return Reply::Lost,
            Err(error) => return self.undo(message, error, limit).await,
        };
        let granted = message.tries.iter().zip(&answer.granted);
        let granted = granted.filter(|((_, lock), granted)| **granted && !lock.keys().is_empty());
        let picked = message.picks.iter().zip(&answer.picked);
        let picked = picked.filter_map(|(pick, slots)| Some(pick.lock.of_slot(*slots.first()?)));
        let mut held = granted.map(|((_, lock), _)| lock.clone()).chain(picked);
        if let Some(lock) = held.next() {
            let lock = AdvisoryLock::from(lock);
            let checked = match self.get().await {
                Ok(conn) => capabilities.check_lock(&lock, conn).await,
                Err(error) => Err(error.into()),
            };
            match checked {
                Ok(()) => {}
                Err(Error::Database(error)) if sqlstate::is_loss(&error) => return Reply::Lost,
                Err(Error::Database(error)) => return self.undo(message, error, limit).await,
                Err(error) => return Reply::Unfit(error),
            }
        }
        Reply::Answered(answer, waits)
    }

    async fn ask(
        &mut self,
        message: &Message,
        limit: Duration,
    ) -> Result<(Answer, Option<Waits>), sqlx::Error> {
        let (calls, picks) = (calls(message), picks(message));
        if let ([], [pick], false) = (&calls[..], &picks[..], message.looks) {
            let numbers = self.pick(pick, limit).await?.unwrap_or_default();
            let answer = Answer {
                picked: read_slots(message, &[numbers]),
                ..Answer::default()
            };
            return Ok((answer, None));
        }
        if let ([call], []) = (&calls[..], &picks[..])
            && let Some((statement, key)) = prepared(call)
            && !message.looks
        {
            let answer = self.call(statement, key, limit).await?;
            let (unlocked, granted) = match call {
                Call::Unlock(..) => (vec![answer], Vec::new()),
                Call::Try(_) => (Vec::new(), vec![answer]),
            };
            let answer = Answer {
                unlocked,
                granted,
                ..Answer::default()
            };
            return Ok((answer, None));
        }
        let mut batch = Batch::new(&calls, &picks);
        if message.looks {
            batch = batch.looking();
        }
        let (text, order) = batch.into_message();
        let rows = self.exchange(text, limit).await?;
        read_answer(message, &order, &rows)
    }

    async fn call(
        &mut self,
        statement: String,
        key: Key,
        limit: Duration,
    ) -> Result<bool, sqlx::Error> {
        let call = sqlx::query_scalar(AssertSqlSafe(statement));
        let call = match key {
            Key::BigInt(key) => call.bind(key),
            Key::IntPair(a, b) => call.bind(a).bind(b),
        };
        let answer = async { call.fetch_one(self.get().await?).await };
        let answer = within(limit, Wait::No, answer).await?;
        self.last_answer = Instant::now();
        Ok(answer)
    }

    /// Tries slots, and returns the numbers of those that were granted.
    async fn pick(
        &mut self,
        pick: &Pick<'_>,
        limit: Duration,
    ) -> Result<Option<Vec<i64>>, sqlx::Error> {
        let statement = sqlx::query_scalar(AssertSqlSafe(prepared_pick(pick)));
        let statement = statement.bind(i64::try_from(pick.most).unwrap_or(i64::MAX));
        let mut slots = pick.slots.to_vec();
        permits::shuffle(&mut slots);
        let numbers = slots.into_iter().map(permits::number);
        let turnstile = pick.key.slot(0);
        let statement =
            if let (Key::IntPair(first, _), Key::IntPair(_, turnstile)) = (pick.key, turnstile) {
                let numbers: Result<Vec<i32>, _> = numbers.map(i32::try_from).collect();
                let numbers = numbers.map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
                statement.bind(turnstile).bind(numbers).bind(first)
            } else {
                let numbers: Vec<i64> = numbers.collect();
                statement.bind(permits::number(turnstile)).bind(numbers)
            };
        let answer = async { statement.fetch_one(self.get().await?).await };
        let answer = within(limit, Wait::No, answer).await?;
        self.last_answer = Instant::now();
        Ok(answer)
    }

    /// After an error in the middle, it is not known what the session holds of the message, so
    /// everything in it is unlocked.
    async fn undo(&mut self, message: &Message, error: sqlx::Error, limit: Duration) -> Reply {
        let tried = message.tries.iter().flat_map(|(_, lock)| {
            let mode = lock.mode();
            lock.keys().iter().map(move |key| Call::Unlock(*key, mode))
        });
        let picked = message.picks.iter().flat_map(|pick| {
            let slots = pick.slots.iter();
            slots.map(|slot| Call::Unlock(*slot, Mode::Exclusive))
        });
        let calls: Vec<_> = unlocks(message).chain(tried).chain(picked).collect();
        let (text, _) = Batch::new(&calls, &[]).into_message();
        match self.exchange(text, limit).await {
            Ok(_) => Reply::Refused(error),
            Err(_) => Reply::Lost,
        }
    }

    /// Waits for a lock in the server's queue.
    pub(super) async fn queue(
        &mut self,
        lock: &LockId,
        tag: Option<&str>,
    ) -> Result<(), sqlx::Error> {
        let message = origin::mark(tag, &queue(lock));
        let conn = self.get().await?;
        let waited = send_wait(conn, Wait::Forever, message).await;
        self.last_answer = Instant::now();
        self.last_used = self.last_answer;
        waited.map(drop)
    }

    pub(super) async fn ping(&mut self, limit: Duration) -> Result<(), sqlx::Error> {
        let ping = async { self.get().await?.ping().await };
        within(limit, Wait::No, ping).await?;
        self.last_answer = Instant::now();
        Ok(())
    }

    /// Ends the backends of lost sessions. A role that may not do that leaves it to the server.
    pub(super) async fn terminate(&mut self, lost: &[BackendId], limit: Duration) -> bool {
        for backend in lost {
            let ended = self.exchange(terminate(backend), limit).await;
            if ended.is_err_and(|error| sqlstate::is_loss(&error)) {
                return false;
            }
        }
        true
    }

    pub(super) async fn fencing_token(&mut self, limit: Duration) -> Result<i64, Error> {
        let token = async { token(self.get().await?, LockLevel::Session, TokenOf::Holder).await };
        let token = within(limit, Wait::No, token).await;
        self.last_answer = Instant::now();
        token
    }

    /// Frees all locks before the session is closed.
    pub(super) async fn close(mut self, limit: Duration) {
        let unlock_all = "SELECT pg_catalog.pg_advisory_unlock_all()".to_owned();
        let _ = self.exchange(unlock_all, limit).await;
    }
}

fn calls(message: &Message) -> Vec<Call> {
    let tries = message.tries.iter();
    let tries = tries.map(|(_, lock)| Call::Try(lock.clone()));
    unlocks(message).chain(tries).collect()
}

fn picks(message: &Message) -> Vec<Pick<'_>> {
    let picks = message.picks.iter().filter_map(|pick| {
        Some(Pick {
            most: pick.ids.len(),
            key: pick.lock.semaphore()?,
            slots: &pick.slots,
            makes_way: pick.makes_way,
        })
    });
    picks.collect()
}

/// The slots of each pick, by their numbers.
fn read_slots(message: &Message, numbers: &[Vec<i64>]) -> Vec<Vec<Key>> {
    let picks = message.picks.iter().zip(numbers);
    let read = |(pick, numbers): (&table::Pick, &Vec<i64>)| {
        let numbers = numbers.iter();
        numbers
            .filter_map(|number| permits::slot(&pick.lock, *number))
            .collect()
    };
    picks.map(read).collect()
}

fn unlocks(message: &Message) -> impl Iterator<Item = Call> {
    let unlocks = message.unlocks.iter();
    unlocks.map(|unlock| Call::Unlock(unlock.key, unlock.mode))
}

fn read_answer(
    message: &Message,
    order: &AnswerOrder,
    rows: &[PgRow],
) -> Result<(Answer, Option<Waits>), sqlx::Error> {
    let mut unlocked = order.read(rows)?;
    let granted = unlocked.split_off(message.unlocks.len());
    let waits = message.looks.then(|| Waits::read(rows)).transpose()?;
    let rows = &rows[..rows.len() - usize::from(message.looks)];
    let numbers = order.read_picks(rows)?;
    let picked = read_slots(message, &numbers);
    let awaited = waits.as_ref().map(|waits| waits.exclusive.clone());
    let answer = Answer {
        unlocked,
        granted,
        picked,
        awaited: awaited.unwrap_or_default(),
    };
    Ok((answer, waits))
}
