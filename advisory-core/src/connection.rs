//! A lock with a transaction on the caller's connection: joins the one it is in, or opens one.

use std::mem;

use sqlx::postgres::{PgConnection, PgTransactionManager};
use sqlx::{AssertSqlSafe, Connection as _};
use sqlx_core::transaction::TransactionManager as _;

use crate::abandon::poll_once;
use crate::executor::ready;
use crate::fitness::check_lock_on;
use crate::metric::Hold;
use crate::observe::observe;
use crate::patience::answer;
use crate::sql::message::Platform;
use crate::sql::{backend, holder, message, state};
use crate::wait::{Deadline, Wait};
use crate::watch::{gone, until};
use crate::{AdvisoryLock, Error, xact};

/// Gives the connection back, of the very type it came in, while the lock is held.
///
/// sqlx's own `Transaction` would hide the connection behind another type. It is used to begin, and then forgotten; from there
/// on this does what it would do.
#[derive(Debug)]
pub struct ConnectionScope<'c, C: AsMut<PgConnection>> {
    lock: AdvisoryLock,
    conn: &'c mut C,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing of ours is open: the transaction is the caller's, or has ended.
    Nothing,
    /// The message that opens a transaction has been sent, and not been answered.
    Opening,
    /// A transaction of ours is open, and sqlx counts it.
    Open { _hold: Hold },
}

impl<'c, C: AsMut<PgConnection> + Send> ConnectionScope<'c, C> {
    fn new(conn: &'c mut C, lock: &AdvisoryLock) -> Self {
        Self {
            lock: lock.for_error(),
            conn,
            state: State::Nothing,
        }
    }

    pub(crate) async fn enter(conn: &'c mut C, lock: &AdvisoryLock) -> Result<Self, Error> {
        let mut scope = Self::new(conn, lock);
        if scope.conn.as_mut().is_in_transaction() {
            lock.acquire_xact(scope.conn.as_mut()).await?;
            return Ok(scope);
        }
        let deadline = Deadline::start(lock.wait());
        let opened = async {
            if scope.open(lock, deadline).await? {
                return Ok(());
            }
            Err(scope.refusal(lock, deadline).await)
        };
        observe(lock, "xact", opened, |()| true).await?;
        Ok(scope)
    }

    pub(crate) async fn try_enter(
        conn: &'c mut C,
        lock: &AdvisoryLock,
    ) -> Result<Option<Self>, Error> {
        let mut scope = Self::new(conn, lock);
        let acquired = if scope.conn.as_mut().is_in_transaction() {
            xact::try_join(lock, scope.conn.as_mut(), lock.wait()).await?
        } else {
            let opened = scope.open(lock, Deadline::start(lock.wait()));
            observe(lock, "xact", opened, |acquired| *acquired).await?
        };
        Ok(acquired.then_some(scope))
    }

    /// The connection, inside the transaction that holds the lock.
    pub fn connection(&mut self) -> &mut C {
        self.conn
    }

    /// For a body that does not use the connection. In a transaction of the caller's it is the caller's to watch it.
    pub fn until_lost<F: Future>(
        &mut self,
        body: F,
    ) -> impl Future<Output = Result<F::Output, Error>> {
        let ours = matches!(self.state, State::Open { .. });
        let (lock, conn) = (&self.lock, self.conn.as_mut());
        let lost = async move {
            if ours {
                gone(lock, conn).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        until(lock, lost, body)
    }

    /// Commits or rolls back, if the transaction is ours.
    pub async fn finish(mut self, commit: bool) -> Result<(), Error> {
        if matches!(self.state, State::Open { .. }) {
            if commit {
                PgTransactionManager::commit(self.conn.as_mut()).await?;
            } else {
                // The body's error is the one to tell. sqlx sends this when what the body has given up is answered; where that takes
                // too long it is dropped unsent, and sent with this scope.
                let rollback = PgTransactionManager::rollback(self.conn.as_mut());
                if answer(&self.lock, Wait::No, rollback).await.is_err() {
                    return Ok(());
                }
            }
            self.state = State::Nothing;
        }
        Ok(())
    }

    /// Opens a transaction that holds the lock; `false`, and no transaction, if it was not to be had in time.
    async fn open(&mut self, lock: &AdvisoryLock, deadline: Deadline) -> Result<bool, Error> {
        if lock.isolation_level().is_some() {
            let what = "a connection of the caller's takes no isolation level with a lock; begin its transaction first, or give a pool";
            return Err(Error::Unsupported { what: what.into() });
        }
        ready(self.conn.as_mut()).await?;
        let surroundings = backend::surroundings(self.conn.as_mut());
        let surroundings = answer(lock, Wait::No, surroundings).await;
        let (in_transaction, server) = surroundings.map_err(|error| state::failure(error, lock))?;
        if in_transaction {
            let what = "the connection is in a transaction that sqlx does not know of; begin it with sqlx instead of a statement";
            return Err(Error::Unsupported { what: what.into() });
        }
        let Some(interval) = lock.polling_interval() else {
            let left = deadline.left();
            return answer(lock, left, self.attempt(lock, &server, left)).await;
        };
        loop {
            let acquired = answer(lock, Wait::No, self.attempt(lock, &server, Wait::No)).await?;
            if acquired || !deadline.pause(interval).await {
                return Ok(acquired);
            }
        }
    }

    async fn attempt(
        &mut self,
        lock: &AdvisoryLock,
        server: &str,
        wait: Wait,
    ) -> Result<bool, Error> {
        if wait == Wait::No {
            self.begin(message::begin(lock, Platform::Unknown))
                .await
                .map_err(|error| state::failure(error, lock))?;
            let acquired = xact::try_lock(lock, self.conn.as_mut()).await?;
            if !acquired {
                PgTransactionManager::rollback(self.conn.as_mut()).await?;
                self.state = State::Nothing;
            }
            return Ok(acquired);
        }
        match self
            .begin(message::begin_and_lock(lock, wait, Platform::Unknown))
            .await
        {
            Ok(()) => {
                // A transaction that fails here is rolled back with the scope.
                check_lock_on(server, lock, self.conn.as_mut()).await?;
                Ok(true)
            }
            Err(error) if state::is_lock_timeout(&error) => Ok(false),
            Err(error) => Err(state::failure(error, lock)),
        }
    }

    async fn begin(&mut self, message: String) -> Result<(), sqlx::Error> {
        self.state = State::Opening;
        let begun = self.conn.as_mut().begin_with(AssertSqlSafe(message)).await;
        // The message opens a transaction or leaves nothing behind: see `message::begin_and_lock`.
        self.state = if begun.is_ok() {
            State::Open {
                _hold: Hold::start("xact"),
            }
        } else {
            State::Nothing
        };
        begun.map(mem::forget)
    }

    async fn refusal(&mut self, lock: &AdvisoryLock, deadline: Deadline) -> Error {
        let waited = deadline.waited();
        let found = holder::ask(self.conn.as_mut(), holder::message(lock));
        let found = answer(lock, Wait::No, found).await;
        lock.not_acquired(waited, found.unwrap_or_default())
    }
}

impl<C: AsMut<PgConnection>> Drop for ConnectionScope<'_, C> {
    /// Sends the rollback, where sqlx would leave it in the connection's buffer until the next statement.
    fn drop(&mut self) {
        let conn = self.conn.as_mut();
        match self.state {
            State::Nothing => {}
            // sqlx counts no transaction yet and would not roll back. This message follows the first one at once, and is
            // answered after it: behind a wait for the lock, too.
            State::Opening => drop(poll_once(conn.begin_with("ROLLBACK"))),
            State::Open { .. } => {
                PgTransactionManager::start_rollback(conn);
                let _ = poll_once(conn.ping());
            }
        }
    }
}
