//! Whether locks lock, as the library sees it: its own verbs are asked, so that it and the doctor cannot disagree.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, Mode, monitor};
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use tokio::time::timeout;

use super::check::Check;
use crate::{chance, sql};

/// How long a look at a lock may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long somebody else may take to be kept out.
const RIVALS_PATIENCE: Duration = Duration::from_secs(3);

const TRANSACTION: &str = "transaction lock";
const SESSION: &str = "session lock";
const INTERVAL: &str = "client_connection_check_interval";

/// What has become of locks.
pub(super) struct Locking {
    transaction: Result<Grant, Error>,
    session: Result<(), Error>,
}

/// What a transaction lock was like while it was held.
struct Grant {
    is_exclusive: bool,
    /// `None` if nobody could be found who would be kept out.
    keeps_others_out: Option<bool>,
    /// The `client_connection_check_interval` that the library has set.
    check_interval: String,
}

pub(super) async fn look(pool: &PgPool) -> Locking {
    Locking {
        transaction: look_at_transaction(pool).await,
        session: look_at_session(pool).await,
    }
}

async fn look_at_transaction(pool: &PgPool) -> Result<Grant, Error> {
    let lock = chance::lock("doctor").timeout(PATIENCE);
    let mut tx = lock.begin(pool).await?;
    let check_interval = sql::check_interval(&mut tx).await?;
    let is_exclusive = is_exclusive(&lock, &mut tx).await?;
    let keeps_others_out = keeps_others_out(&lock, pool).await;
    tx.commit().await?;
    Ok(Grant {
        is_exclusive,
        keeps_others_out,
        check_interval,
    })
}

/// Asks for the same lock, as a program of its own would.
async fn keeps_others_out(lock: &AdvisoryLock, pool: &PgPool) -> Option<bool> {
    let connect = pool.connect_options().as_ref().clone();
    let options = PgPoolOptions::new().acquire_timeout(RIVALS_PATIENCE);
    let rival = options.connect_lazy_with(connect);
    let lock = lock.clone().timeout(Duration::ZERO);
    // A pooler may let it connect, and have no session left to lend.
    match timeout(RIVALS_PATIENCE, lock.try_begin(&rival))
        .await
        .ok()?
    {
        Ok(tx) => Some(tx.is_none()),
        // Granted, and not held: the library has looked.
        Err(Error::Unsupported { .. }) => Some(false),
        Err(_) => None,
    }
}

async fn is_exclusive(lock: &AdvisoryLock, conn: &mut PgConnection) -> Result<bool, Error> {
    let mut held = Vec::new();
    for key in lock.keys() {
        held.extend(monitor::holders(&mut *conn, *key).await?);
    }
    Ok(held.iter().any(|lock| lock.mode == Mode::Exclusive))
}

async fn look_at_session(pool: &PgPool) -> Result<(), Error> {
    let lock = chance::lock("doctor").timeout(PATIENCE);
    lock.acquire(pool).await?.release().await
}

impl Locking {
    /// Whether the library has found that connections are not sessions: it refuses session locks, and transaction locks work.
    pub(super) fn no_session(&self) -> bool {
        self.transaction.is_ok() && matches!(self.session, Err(Error::Unsupported { .. }))
    }

    pub(super) fn checks(&self) -> [Check; 3] {
        [self.transaction(), self.session(), self.check_interval()]
    }

    fn transaction(&self) -> Check {
        let nothing = "connect to PostgreSQL itself";
        match &self.transaction {
            Ok(grant) if !grant.is_exclusive => Check::fail(
                TRANSACTION,
                "the server granted a lock that is not held exclusively",
                nothing,
            ),
            Ok(grant) => match grant.keeps_others_out {
                Some(true) => Check::pass(TRANSACTION, "granted, held, and others are kept out"),
                Some(false) => Check::fail(TRANSACTION, "two sessions got it at once", nothing),
                None => Check::warn(
                    TRANSACTION,
                    "granted and held; there is no second session to see that it is kept out",
                    "allow this role another connection",
                ),
            },
            Err(error) => failure(TRANSACTION, error),
        }
    }

    fn session(&self) -> Check {
        match &self.session {
            Ok(()) => Check::pass(SESSION, "granted, held, and its connection is a session"),
            Err(error) => {
                let mut check = failure(SESSION, error);
                if self.no_session() {
                    check.found.push_str("; transaction locks work");
                }
                check
            }
        }
    }

    fn check_interval(&self) -> Check {
        match &self.transaction {
            Ok(grant) if grant.check_interval == "0" => Check::warn(
                INTERVAL,
                "not supported: who waits stays in the queue when its program has gone",
                "give every wait a timeout; run the server on Linux, or PostgreSQL 15 or later on a BSD or macOS",
            ),
            Ok(grant) => Check::pass(
                INTERVAL,
                format!(
                    "supported: who waits leaves within {} of its program",
                    grant.check_interval
                ),
            ),
            Err(_) => Check::warn(
                INTERVAL,
                "cannot tell: no lock was granted",
                "see `transaction lock`",
            ),
        }
    }
}

/// The library says what is wrong and what to do, with a semicolon in between.
fn failure(name: &'static str, error: &Error) -> Check {
    let text = error.to_string();
    match text.rsplit_once("; ") {
        Some((found, advice)) => Check::fail(name, found, advice),
        None => Check::fail(name, text, "see what the server's log says about it"),
    }
}
