//! Whether locks work. The checks use the library's own verbs, so that they agree with the library.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, Mode, monitor};
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use tokio::time::timeout;

use super::check::Check;
use crate::exit::describe_lock_error;
use crate::{random_key, sql};

const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a second session may take to try the lock.
const RIVAL_TIMEOUT: Duration = Duration::from_secs(3);

const TRANSACTION: &str = "transaction lock";
const SESSION: &str = "session lock";
const INTERVAL: &str = "client_connection_check_interval";

/// What happened when a lock of each scope was taken.
pub(super) struct Locking {
    transaction: Result<Grant, Error>,
    session: Result<Holder, Error>,
}

/// What holds a session lock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    Session,
    /// A pooler lends sessions for a transaction at a time.
    Transaction,
}

/// What was observed while a transaction lock was held.
struct Grant {
    is_exclusive: bool,
    /// `None` if a second session could not try the lock.
    excludes_others: Option<bool>,
    /// The `client_connection_check_interval` that the library has set.
    check_interval: String,
}

pub(super) async fn examine(pool: &PgPool) -> Locking {
    Locking {
        transaction: take_transaction_lock(pool).await,
        session: take_session_lock(pool).await,
    }
}

async fn take_transaction_lock(pool: &PgPool) -> Result<Grant, Error> {
    let lock = random_key::lock("doctor").timeout(LOCK_TIMEOUT);
    let mut tx = lock.begin(pool).await?;
    let check_interval = sql::check_interval(&mut tx).await?;
    let is_exclusive = is_exclusive(&lock, &mut tx).await?;
    let excludes_others = excludes_others(&lock, pool).await;
    tx.commit().await?;
    Ok(Grant {
        is_exclusive,
        excludes_others,
        check_interval,
    })
}

async fn is_exclusive(lock: &AdvisoryLock, conn: &mut PgConnection) -> Result<bool, Error> {
    let mut locks = monitor::locks(conn).await?.into_iter();
    Ok(locks.any(|row| lock.keys() == [row.key] && row.granted && row.mode == Mode::Exclusive))
}

/// Tries the same lock on a second pool, as another program would.
async fn excludes_others(lock: &AdvisoryLock, pool: &PgPool) -> Option<bool> {
    let connect = pool.connect_options().as_ref().clone();
    let options = PgPoolOptions::new().acquire_timeout(RIVAL_TIMEOUT);
    let rival = options.connect_lazy_with(connect);
    let lock = lock.clone().timeout(Duration::ZERO);
    // A pooler may accept the connection and have no session for it.
    let tried = timeout(RIVAL_TIMEOUT, lock.try_begin(&rival)).await;
    match tried.ok()? {
        Ok(tx) => Some(tx.is_none()),
        // The lock was granted, and the library found that it is not held.
        Err(Error::Unsupported { .. }) => Some(false),
        Err(_) => None,
    }
}

async fn take_session_lock(pool: &PgPool) -> Result<Holder, Error> {
    let lock = random_key::lock("doctor").timeout(LOCK_TIMEOUT);
    let mut guard = lock.acquire(pool).await?;
    let holder = match guard.connection().await {
        Ok(_) => Holder::Session,
        Err(Error::Unsupported { .. }) => Holder::Transaction,
        Err(error) => return Err(error),
    };
    guard.release().await?;
    Ok(holder)
}

impl Locking {
    /// Whether a transaction holds a session lock here.
    pub(super) fn has_no_sessions(&self) -> bool {
        matches!(self.session, Ok(Holder::Transaction))
    }

    pub(super) fn checks(&self) -> [Check; 3] {
        [self.transaction(), self.session(), self.check_interval()]
    }

    fn transaction(&self) -> Check {
        let advice = "connect to PostgreSQL itself";
        let grant = match &self.transaction {
            Ok(grant) => grant,
            Err(error) => return failure(TRANSACTION, error),
        };
        match grant.excludes_others {
            _ if !grant.is_exclusive => Check::fail(
                TRANSACTION,
                "the server granted a lock that is not held exclusively",
                advice,
            ),
            Some(true) => Check::pass(TRANSACTION, "granted, held, and others are kept out"),
            Some(false) => Check::fail(TRANSACTION, "two sessions got it at once", advice),
            None => Check::warn(
                TRANSACTION,
                "granted and held; there is no second session to check that it is kept out",
                "allow this role another connection",
            ),
        }
    }

    fn session(&self) -> Check {
        match &self.session {
            Ok(Holder::Session) => {
                Check::pass(SESSION, "granted, held, and its connection is a session")
            }
            Ok(Holder::Transaction) => Check::pass(
                SESSION,
                "granted, and held by an idle transaction, which keeps a server connection of the pooler",
            ),
            Err(error) => failure(SESSION, error),
        }
    }

    fn check_interval(&self) -> Check {
        match &self.transaction {
            Ok(grant) if grant.check_interval == "0" => Check::warn(
                INTERVAL,
                "not supported: a session keeps waiting after its program has gone",
                "give every wait a timeout; run the server on Linux, or PostgreSQL 15 or later on \
                 a BSD or macOS",
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

/// An error of the library ends with what to do, after a semicolon.
fn failure(name: &'static str, error: &Error) -> Check {
    let text = describe_lock_error(error);
    match text.rsplit_once("; ") {
        Some((found, advice)) => Check::fail(name, found, advice),
        None => Check::fail(name, text, "see the server's log"),
    }
}
