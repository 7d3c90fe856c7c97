//! Tells a session from a connection that is lent one for a transaction at a time, by what is left behind.
//!
//! A connection beside the pool locks a key of chance, and closes. Where connections are sessions the lock is gone with it. Behind a
//! pooler that lends sessions out for a transaction it stays in one of them, until a look happens to be lent that one, and takes
//! the lock back. Nobody else is told of anything, or waits.

use std::io::{Error as IoError, ErrorKind};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener};
use sqlx::{
    Acquire as _, AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _,
};
use tokio::time::{sleep, timeout};

use crate::patience::patience;
use crate::sql::{message, session, state};
use crate::tag::unique;
use crate::wait::{Deadline, Wait};
use crate::{AdvisoryLock, Error};

/// The least time in which a connection beside the pool is to be opened.
const LEAST_PATIENCE: Duration = Duration::from_millis(100);
/// How long to look for a mark that stays. A server that is not very busy takes a millisecond to notice that a connection was closed.
pub(crate) const REACTION: Duration = Duration::from_secs(3);
/// How long a server is given at first to end a session whose connection was closed.
const PAUSE: Duration = Duration::from_millis(1);
/// The longest pause; from then on another connection looks as well.
const LONGEST_PAUSE: Duration = Duration::from_millis(8);

/// Why it is not known that a pool has sessions.
pub(crate) enum Doubt {
    /// No connection could be had to leave a mark.
    Unanswered,
    Denied(Error),
}

/// What a look has shown.
enum Sight {
    Gone,
    Left,
    /// In a session that was lent to us, or on another server than we are on.
    Lent,
}

/// Whether this pool's connections are sessions, of one server.
pub(crate) async fn look_for_session(
    lock: &AdvisoryLock,
    listener: &mut PgListener,
    options: &PgConnectOptions,
    deadline: Deadline,
) -> Result<(), Doubt> {
    let mark = AdvisoryLock::new(unique("advisory session"));
    let most = patience(lock.probe_interval()) / 2;
    let patience = match deadline.left() {
        Wait::For(left) => left.clamp(LEAST_PATIENCE, most),
        _ => most,
    };
    let left = timeout(patience, leave(options, &mark)).await;
    let server = left
        .unwrap_or(Err(sqlx::Error::PoolTimedOut))
        .map_err(|error| {
            tracing::warn!(%lock, %error, "cannot tell whether the pool's connections are sessions");
            Doubt::Unanswered
        })?;
    match has_gone(listener, options, &mark, &server).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Doubt::Denied(Error::Unsupported {
            what: NO_SESSION.into(),
        })),
        Err(error) => Err(Doubt::Denied(state::failure(error, lock))),
    }
}

/// Leaves a mark on a session, and closes its connection. Returns the server.
async fn leave(options: &PgConnectOptions, mark: &AdvisoryLock) -> Result<String, sqlx::Error> {
    let mut conn = options.connect().await?;
    let message = session::leave(mark);
    let rows = conn
        .fetch_all(sqlx::raw_sql(AssertSqlSafe(message)))
        .await?;
    conn.close().await?;
    rows.last().ok_or(sqlx::Error::RowNotFound)?.try_get(0)
}

/// Whether the mark has gone with its connection; false if it was found in a session that was lent to us. One that stays, and is
/// not found, proves nothing: the network may have swallowed the end of its connection.
async fn has_gone(
    listener: &mut PgListener,
    options: &PgConnectOptions,
    mark: &AdvisoryLock,
    server: &str,
) -> Result<bool, sqlx::Error> {
    let (started, mut pause) = (Instant::now(), PAUSE);
    while started.elapsed() < REACTION {
        let conn = listener.acquire().await?;
        let mut sight = look(conn, mark, server).await?;
        if matches!(sight, Sight::Left) && pause == LONGEST_PAUSE {
            sight = look_elsewhere(conn, options, mark, server).await?;
        }
        match sight {
            Sight::Gone => return Ok(true),
            Sight::Lent => return Ok(false),
            Sight::Left => {}
        }
        sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
    let doubt = "cannot tell whether the pool's connections are sessions: a lock stays though its connection was closed";
    Err(IoError::new(ErrorKind::TimedOut, doubt).into())
}

/// A pooler may lend us the same session again and again, and not the one with the mark: keeps it, and is lent another one.
async fn look_elsewhere(
    conn: &mut PgConnection,
    options: &PgConnectOptions,
    mark: &AdvisoryLock,
    server: &str,
) -> Result<Sight, sqlx::Error> {
    conn.execute(sqlx::raw_sql(message::BEGIN)).await?;
    let elsewhere = async {
        let mut other = options.connect().await?;
        let sight = look(&mut other, mark, server).await?;
        other.close().await?;
        Ok::<_, sqlx::Error>(sight)
    };
    let sight = timeout(LEAST_PATIENCE, elsewhere).await;
    conn.execute(sqlx::raw_sql(message::ROLLBACK)).await?;
    // Where no other connection is to be had, there is nothing to be seen.
    Ok(sight.unwrap_or(Ok(Sight::Left)).unwrap_or(Sight::Left))
}

async fn look(
    conn: &mut PgConnection,
    mark: &AdvisoryLock,
    server: &str,
) -> Result<Sight, sqlx::Error> {
    let message = session::take_back(mark);
    let row = conn
        .fetch_one(sqlx::raw_sql(AssertSqlSafe(message)))
        .await?;
    let (is_left, is_ours, here): (bool, bool, &str) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    Ok(match is_left {
        _ if is_ours || here != server => Sight::Lent,
        true => Sight::Left,
        false => Sight::Gone,
    })
}

const NO_SESSION: &str = "this pool's connections are not sessions of one server: a pooler in transaction mode (PgBouncer's \
                          `pool_mode = transaction`) lends them out, and a session lock would stay behind; use a transaction \
                          lock, or connect past the pooler or to one in session mode";
