//! Tells a session from a connection that a pooler lends a session to, for a transaction at a time.
//!
//! A connection beside the pool locks a random key, and closes. Where connections are sessions, the
//! lock ends with it. Behind a pooler that lends sessions, the lock stays in one of them until a
//! look gets that session, and releases the lock. No other session is affected. The next question
//! is then whether the pooler lends a session for a whole transaction.

use std::future::Future;
use std::io::{Error as IoError, ErrorKind};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener};
use sqlx::{Acquire as _, ConnectOptions as _, Connection as _, Row as _};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::error::{Error, UnsupportedReason};
use crate::lock::{AdvisoryLock, LockId, Wait};
use crate::sql::send::{send, send_for_row};
use crate::sql::session::{LockLevel, find_probe, is_in_transaction, leave_probe};
use crate::sql::{sqlstate, transaction};
use crate::time_bounds::{
    LONGEST_PROBE_PAUSE, MOST_PROBED_SESSIONS, PROBE_LIMIT, PROBE_PAUSE, SHORTEST_PROBE,
};

/// Why a pool is not known to have sessions.
pub(super) enum ProbeError {
    /// No connection beside the pool could be opened, or a look has failed.
    Inconclusive {
        /// Whether another probe, now, would show no more.
        is_lasting: bool,
    },
    Failed(Error),
}

/// What a look has shown. Of several looks at once, the greatest counts: after one has released the
/// lock, others find none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ProbeState {
    /// A session still holds the lock.
    Held,
    /// The lock ended with its connection.
    Ended,
    /// This session held the lock, and has released it: a pooler has lent it.
    Lent,
    /// The pool leads to more than one server, or to another run of it; or a pooler refuses
    /// transactions.
    Unfit,
    /// The lock has ended, perhaps because of a look that was abandoned.
    Unknown,
}

/// What holds a session lock on a pool: the session, or a transaction where a pooler lends sessions
/// for a transaction at a time.
///
/// A pool always probes with the same key: what a probe has left whose connection failed is found
/// by the next one.
pub(super) async fn probe_pooler(
    probe: &LockId,
    lock: &AdvisoryLock,
    listener: &mut PgListener,
    options: &PgConnectOptions,
    wait: Wait,
) -> Result<LockLevel, ProbeError> {
    let longest = lock.response_limit() / 2;
    let limit = match wait {
        Wait::For(left) => left.min(longest),
        _ => longest,
    };
    let limit = limit.max(SHORTEST_PROBE);
    let started = Instant::now();
    // A cancelled message has shown nothing, and may have released the lock. So the probe begins
    // again.
    let is_cancelled =
        |error: &sqlx::Error| sqlstate::is_cancelled(error) && started.elapsed() < limit;
    let mut was_slow = false;
    let found = loop {
        let begun = Instant::now();
        let conn = within_limit(limit, options.connect()).await;
        let conn = conn.map_err(|error| ProbeError::Inconclusive {
            // Unless the connection was cut.
            is_lasting: !matches!(warn(lock, &error), sqlx::Error::Io(_)),
        })?;
        let server = match within_limit(limit, lock_and_close(conn, probe)).await {
            Err(error) if is_cancelled(&error) => continue,
            left => left.map_err(|error| failure(lock, error))?,
        };
        let connect_limit = begun.elapsed() * 2 + SHORTEST_PROBE;
        let mut others = Others {
            options,
            connect_limit,
            have_looked: false,
            was_abandoned: false,
        };
        match find(listener, &mut others, probe, &server).await {
            // A lock that stayed for a while may have ended with a session that a pooler has
            // closed, as it does if a client leaves during a statement. That does not happen twice.
            Ok(ProbeState::Ended) if others.have_looked && !was_slow => was_slow = true,
            Err(error) if is_cancelled(&error) => {
                let rolled_back = roll_back(listener).await;
                rolled_back.map_err(|error| failure(lock, error))?;
            }
            found => break found,
        }
    };
    match found {
        Ok(ProbeState::Ended) => Ok(LockLevel::Session),
        Ok(ProbeState::Lent) => Ok(LockLevel::Transaction),
        Ok(ProbeState::Unfit) => Err(ProbeError::Failed(Error::unsupported(
            UnsupportedReason::UnfitPool,
        ))),
        // The network may have lost the end of the connection.
        Ok(ProbeState::Held) => {
            let stays = "a lock stays though its connection was closed";
            warn(lock, &IoError::new(ErrorKind::TimedOut, stays).into());
            Err(ProbeError::Inconclusive { is_lasting: true })
        }
        Ok(ProbeState::Unknown) => {
            let silent = "a connection beside the pool got no answer in time";
            warn(lock, &IoError::new(ErrorKind::TimedOut, silent).into());
            Err(ProbeError::Inconclusive { is_lasting: false })
        }
        Err(error) if sqlstate::is_loss(&error) || sqlstate::is_aborted_before(&error) => {
            Err(ProbeError::Failed(error.into()))
        }
        Err(error) => Err(failure(lock, error)),
    }
}

/// Ends the transaction in which a message may have been cancelled.
async fn roll_back(listener: &mut PgListener) -> Result<(), sqlx::Error> {
    loop {
        match send(listener.acquire().await?, transaction::ROLLBACK).await {
            Err(error) if sqlstate::is_cancelled(&error) => {}
            rolled_back => return rolled_back.map(drop),
        }
    }
}

/// The error of a message of the probe. That of a missing right, say, is the error of every lock.
fn failure(lock: &AdvisoryLock, error: sqlx::Error) -> ProbeError {
    match Error::of_lock(error, lock.id()) {
        Error::Database(error) => {
            warn(lock, &error);
            ProbeError::Inconclusive { is_lasting: false }
        }
        error => ProbeError::Failed(error),
    }
}

fn warn<'e>(lock: &AdvisoryLock, error: &'e sqlx::Error) -> &'e sqlx::Error {
    tracing::warn!(%lock, %error, "cannot tell whether the pool's connections are sessions");
    error
}

async fn within_limit<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let answer = timeout(limit, answer).await;
    answer.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Locks the key on a connection, and closes the connection. Returns the server.
async fn lock_and_close(mut conn: PgConnection, probe: &LockId) -> Result<String, sqlx::Error> {
    let row = send_for_row(&mut conn, leave_probe(probe)).await?;
    conn.close().await?;
    row.try_get(0)
}

async fn find(
    listener: &mut PgListener,
    others: &mut Others<'_>,
    probe: &LockId,
    server: &str,
) -> Result<ProbeState, sqlx::Error> {
    let state = follow(listener, others, probe, server).await?;
    if state == ProbeState::Lent && !keeps_transaction(listener).await? {
        return Ok(ProbeState::Unfit);
    }
    Ok(state)
}

/// Follows the lock until it has ended with its connection, or was found in a session that was lent
/// to us. A lock that stays and is not found proves nothing: the network may have lost the end of
/// its connection.
async fn follow(
    listener: &mut PgListener,
    others: &mut Others<'_>,
    probe: &LockId,
    server: &str,
) -> Result<ProbeState, sqlx::Error> {
    let (started, mut pause, mut count) = (Instant::now(), PROBE_PAUSE, 1);
    while started.elapsed() < PROBE_LIMIT {
        let conn = listener.acquire().await?;
        let mut state = look(conn, probe, server).await?;
        if state == ProbeState::Held && pause == LONGEST_PROBE_PAUSE {
            state = others.look(count, conn, probe, server).await?;
            count = MOST_PROBED_SESSIONS.min(count * 4);
        }
        match state {
            ProbeState::Held => {}
            ProbeState::Ended if others.was_abandoned => return Ok(ProbeState::Unknown),
            state => return Ok(state),
        }
        sleep(pause).await;
        pause = LONGEST_PROBE_PAUSE.min(pause * 2);
    }
    Ok(ProbeState::Held)
}

/// Connections beside the pool.
struct Others<'o> {
    options: &'o PgConnectOptions,
    /// How long one may take to connect and to look. A pooler may accept it, and have no session.
    connect_limit: Duration,
    /// Whether they were needed: the lock has stayed for a while.
    have_looked: bool,
    /// Whether a look was given up after it was sent. It may have released the lock unseen, or have
    /// made a pooler close the session that held the lock.
    was_abandoned: bool,
}

impl Others<'_> {
    /// Looks from so many other connections while this one is in a transaction. A pooler may lend
    /// us the same session again and again; a transaction keeps it, so that the next connection
    /// gets another one.
    async fn look(
        &mut self,
        count: usize,
        conn: &mut PgConnection,
        probe: &LockId,
        server: &str,
    ) -> Result<ProbeState, sqlx::Error> {
        self.have_looked = true;
        if !begins(conn).await? {
            return Ok(ProbeState::Unfit);
        }
        let mut looks = JoinSet::new();
        for _ in 0..count {
            let (options, probe) = (self.options.clone(), probe.clone());
            let (limit, server) = (self.connect_limit, server.to_owned());
            looks.spawn(async move {
                // Without a connection there is nothing to see.
                let other = within_limit(limit, options.connect()).await.ok()?;
                Some(within_limit(limit, look_and_keep(other, &probe, &server)).await)
            });
        }
        // Each keeps its session until all have looked.
        let (mut kept, mut state) = (Vec::new(), ProbeState::Held);
        let mut cancelled = None;
        while let Some(look) = looks.join_next().await {
            match look {
                Ok(Some(Ok((other, seen)))) => {
                    kept.push(other);
                    state = state.max(seen);
                }
                Ok(Some(Err(error))) if sqlstate::is_cancelled(&error) => cancelled = Some(error),
                Ok(None) => {}
                Ok(Some(Err(_))) | Err(_) => self.was_abandoned = true,
            }
        }
        send(conn, transaction::ROLLBACK).await?;
        for mut other in kept {
            send(&mut other, transaction::ROLLBACK).await?;
            other.close().await?;
        }
        cancelled.map_or(Ok(state), Err)
    }
}

/// Looks from a connection, which keeps its session until it is dropped.
async fn look_and_keep(
    mut other: PgConnection,
    probe: &LockId,
    server: &str,
) -> Result<(PgConnection, ProbeState), sqlx::Error> {
    send(&mut other, transaction::BEGIN).await?;
    let state = look(&mut other, probe, server).await?;
    Ok((other, state))
}

/// Whether the pooler lends a session for a whole transaction.
async fn keeps_transaction(listener: &mut PgListener) -> Result<bool, sqlx::Error> {
    let conn = listener.acquire().await?;
    if !begins(conn).await? {
        return Ok(false);
    }
    let row = send_for_row(&mut *conn, is_in_transaction()).await?;
    send(conn, transaction::ROLLBACK).await?;
    row.try_get(0)
}

/// Opens a transaction. A pooler in statement mode refuses to, and closes the connection.
async fn begins(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    match send(conn, transaction::BEGIN).await {
        Ok(_) => Ok(true),
        Err(error) if sqlstate::is_answer(&error) && !sqlstate::is_cancelled(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn look(
    conn: &mut PgConnection,
    probe: &LockId,
    server: &str,
) -> Result<ProbeState, sqlx::Error> {
    let row = send_for_row(conn, find_probe(probe)).await?;
    let (is_held, was_ours, here): (bool, bool, &str) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    Ok(match is_held {
        _ if here != server => ProbeState::Unfit,
        _ if was_ours => ProbeState::Lent,
        true => ProbeState::Held,
        false => ProbeState::Ended,
    })
}
