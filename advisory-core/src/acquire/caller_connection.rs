//! A lock on the caller's connection: it joins the transaction that the connection is in, or opens
//! one.

use std::future::Future;
use std::mem;
use std::time::Duration;

use sqlx::postgres::{PgConnection, PgTransactionManager};
use sqlx::{AssertSqlSafe, Connection as _};
use sqlx_core::transaction::TransactionManager as _;

use super::attempt::{Attempt, TryOnce, acquire, try_acquire};
use super::caller_transaction::{CallerTransaction, try_lock};
use super::cancel::CancelOnDrop;
use crate::error::{Error, Holder, UnsupportedReason};
use crate::key::Key;
use crate::lock::{AdvisoryLock, LockId, ScopedSetting, Wait};
use crate::nesting::Held;
use crate::on_drop::poll_once;
use crate::probe::check_lock_on;
use crate::session::{transaction_lost, until_lost};
use crate::sql::backend::{HELD_KEYS, IdleState, idle_state, read_keys};
use crate::sql::holder::holders;
use crate::sql::send::{drain, send, send_for_row, send_wait, within};
use crate::sql::{ClientCheck, caller_transaction, is_granted, sqlstate, transaction};
use crate::telemetry::Scope;
use crate::telemetry::metric::Hold;

/// A transaction on the caller's connection that holds a lock. It hands out the connection in its
/// own type.
///
/// sqlx's `Transaction` would hide the connection behind another type. It is used to begin, and is
/// then forgotten; from there on, this type does what `Transaction` would do.
#[derive(Debug)]
pub struct ConnectionScope<'c, C: AsMut<PgConnection>> {
    lock: LockId,
    response_timeout: Duration,
    conn: &'c mut C,
    state: State,
}

#[derive(Debug)]
enum State {
    /// No transaction of ours is open: it is the caller's, or has ended.
    Nothing,
    /// The message that opens a transaction was sent, and has not been answered.
    Opening,
    /// As `Opening`, and the message first takes the lock in the session, which had held these keys
    /// before.
    OpeningInSession(Vec<Key>),
    /// A transaction of ours is open, and sqlx tracks it.
    Open { _hold: Hold },
}

impl<'c, C: AsMut<PgConnection> + Send> ConnectionScope<'c, C> {
    fn new(conn: &'c mut C, lock: &AdvisoryLock) -> Self {
        Self {
            lock: lock.id().clone(),
            response_timeout: lock.response_limit(),
            conn,
            state: State::Nothing,
        }
    }

    pub(crate) async fn enter(conn: &'c mut C, lock: &AdvisoryLock) -> Result<Self, Error> {
        let mut scope = Self::new(conn, lock);
        if scope.conn.as_mut().is_in_transaction() {
            acquire(lock, CallerTransaction::new(scope.conn.as_mut())).await?;
        } else {
            acquire(lock, CallerConnection::new(&mut scope)).await?;
        }
        Ok(scope)
    }

    pub(crate) async fn try_enter(
        conn: &'c mut C,
        lock: &AdvisoryLock,
    ) -> Result<Option<Self>, Error> {
        let mut scope = Self::new(conn, lock);
        let granted = if scope.conn.as_mut().is_in_transaction() {
            try_acquire(lock, CallerTransaction::new(scope.conn.as_mut())).await?
        } else {
            try_acquire(lock, CallerConnection::new(&mut scope)).await?
        };
        Ok(granted.map(|()| scope))
    }

    /// The connection, inside the transaction that holds the lock.
    pub fn connection(&mut self) -> &mut C {
        self.conn
    }

    /// What the body knows that it runs under.
    pub fn held(&self) -> Held {
        Held::on_connection(&self.lock)
    }

    /// Runs a body that does not use the connection. The caller watches over a transaction of its
    /// own.
    pub fn until_lost<F: Future>(
        &mut self,
        body: F,
    ) -> impl Future<Output = Result<F::Output, Error>> {
        let is_ours = matches!(self.state, State::Open { .. });
        let (limit, conn) = (self.response_timeout, self.conn.as_mut());
        let lost = async move {
            if is_ours {
                transaction_lost(limit, conn).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        until_lost(&self.lock, lost, body)
    }

    /// Commits or rolls back, if the transaction is ours.
    pub async fn finish(mut self, commit: bool) -> Result<(), Error> {
        if matches!(self.state, State::Open { .. }) {
            if commit {
                if PgTransactionManager::get_transaction_depth(self.conn.as_mut()) != 1 {
                    // Dropping this scope rolls back what is left.
                    return Err(Error::lost(&self.lock));
                }
                PgTransactionManager::commit(self.conn.as_mut()).await?;
            } else {
                // The body's error is the one to return. sqlx sends this rollback after the
                // response to the statement that the body has dropped. If that takes too long,
                // dropping this scope sends it.
                let rollback = PgTransactionManager::rollback(self.conn.as_mut());
                let rolled_back = within(self.response_timeout, Wait::No, rollback).await;
                if rolled_back.is_err() {
                    return Ok(());
                }
            }
            self.state = State::Nothing;
        }
        Ok(())
    }

    async fn begin_with(&mut self, message: String) -> Result<(), sqlx::Error> {
        self.state = State::Opening;
        let begun = self.conn.as_mut().begin_with(AssertSqlSafe(message)).await;
        // The message opens a transaction or leaves nothing behind: see `sql::transaction`.
        self.state = match begun {
            Ok(_) => State::Open {
                _hold: Hold::start(&self.lock, Scope::CallerConnection),
            },
            Err(_) => State::Nothing,
        };
        begun.map(mem::forget)
    }
}

impl<C: AsMut<PgConnection>> Drop for ConnectionScope<'_, C> {
    /// Sends the rollback, which sqlx would leave in the connection's buffer until the next
    /// statement.
    fn drop(&mut self) {
        let conn = self.conn.as_mut();
        match &mut self.state {
            State::Nothing => {}
            // sqlx tracks no transaction yet and would not roll back. The server runs this message
            // after the first one, and after its wait for the lock.
            State::Opening => drop(poll_once(conn.begin_with(transaction::ROLLBACK))),
            State::OpeningInSession(before) => {
                let message = clean_up(&self.lock, before);
                drop(poll_once(conn.begin_with(AssertSqlSafe(message))));
            }
            State::Open { .. } => {
                PgTransactionManager::start_rollback(conn);
                let _ = poll_once(conn.ping());
            }
        }
    }
}

/// The scope of a lock in a transaction that is opened on the caller's connection.
struct CallerConnection<'s, 'c, C: AsMut<PgConnection>> {
    scope: &'s mut ConnectionScope<'c, C>,
    /// The state in which the connection was found.
    state: Option<IdleState>,
}

impl<'s, 'c, C: AsMut<PgConnection> + Send> CallerConnection<'s, 'c, C> {
    fn new(scope: &'s mut ConnectionScope<'c, C>) -> Self {
        Self { scope, state: None }
    }

    fn conn(&mut self) -> &mut PgConnection {
        self.scope.conn.as_mut()
    }

    /// Checks that no transaction is open.
    async fn check_idle(&mut self, attempt: &Attempt<'_>) -> Result<IdleState, Error> {
        attempt.within(attempt.wait(), drain(self.conn())).await?;
        let row = send_for_row(self.conn(), idle_state());
        let row = attempt.within(Wait::No, row).await;
        let row = row.map_err(|error| Error::of_lock(error, attempt.id()))?;
        let state = IdleState::read(&row)?;
        if state.in_transaction {
            return Err(Error::unsupported(UnsupportedReason::UntrackedTransaction));
        }
        Ok(state)
    }

    /// Opens a transaction that holds the lock; `None`, and no transaction, if the lock was not
    /// granted.
    async fn open(
        &mut self,
        attempt: &Attempt<'_>,
        state: &IdleState,
        wait: Wait,
    ) -> Result<Option<()>, Error> {
        if !state.is_read_committed {
            return self.open_isolated(attempt, state, wait).await;
        }
        if wait == Wait::No {
            return self.open_and_try(attempt).await;
        }
        let lock = attempt.id();
        let cancel = CancelOnDrop::new(attempt.lock().cancel_pool());
        let message = transaction::begin_and_lock(lock, wait, None, ClientCheck::Unknown);
        let begun = self
            .scope
            .begin_with(cancel.mark(attempt.mark(&message)))
            .await;
        cancel.answered();
        match begun {
            Ok(()) => self.check_lock(attempt, state).await.map(Some),
            Err(error) if sqlstate::is_lock_timeout(&error) => Ok(None),
            // A pooler has given the message another session than the last one.
            Err(error) if sqlstate::is_old_snapshot(&error) => {
                self.open_isolated(attempt, state, wait).await
            }
            Err(error) => Err(Error::of_lock(error, lock)),
        }
    }

    async fn open_and_try(&mut self, attempt: &Attempt<'_>) -> Result<Option<()>, Error> {
        let lock = attempt.id();
        let begun = self.scope.begin_with(transaction::begin());
        begun.await.map_err(|error| Error::of_lock(error, lock))?;
        let message = caller_transaction::try_lock(lock);
        let granted = try_lock(attempt, self.conn(), message).await?;
        if granted.is_none() {
            PgTransactionManager::rollback(self.conn()).await?;
            self.scope.state = State::Nothing;
        }
        Ok(granted)
    }

    /// The same, where the default isolation level is not `READ COMMITTED`; see
    /// [`transaction::begin_isolated`].
    async fn open_isolated(
        &mut self,
        attempt: &Attempt<'_>,
        state: &IdleState,
        wait: Wait,
    ) -> Result<Option<()>, Error> {
        let lock = attempt.id();
        let held_before = self.held_keys(attempt).await?;
        let cancel = CancelOnDrop::new(attempt.lock().cancel_pool());
        let message = transaction::begin_isolated(lock, wait, None, ClientCheck::Unknown);
        self.scope.state = State::OpeningInSession(held_before.clone());
        let rows = send_wait(self.conn(), wait, cancel.mark(attempt.mark(&message))).await;
        cancel.answered();
        match rows.and_then(|rows| is_granted(rows.as_deref())) {
            Ok(true) => {
                let begun = self
                    .scope
                    .begin_with(attempt.mark(transaction::EMPTY_QUERY));
                begun.await.map_err(|error| Error::of_lock(error, lock))?;
                self.check_lock(attempt, state).await.map(Some)
            }
            Ok(false) => {
                send(self.conn(), transaction::ROLLBACK).await?;
                self.scope.state = State::Nothing;
                Ok(None)
            }
            Err(error) => {
                let is_refused = sqlstate::is_lock_timeout(&error);
                if !is_refused && sqlstate::is_answer(&error) {
                    // Until it is sent, dropping this scope sends it.
                    send(self.conn(), clean_up(lock, &held_before)).await?;
                }
                self.scope.state = State::Nothing;
                if is_refused {
                    return Ok(None);
                }
                Err(Error::of_lock(error, lock))
            }
        }
    }

    /// The keys of this lock that the session holds.
    async fn held_keys(&mut self, attempt: &Attempt<'_>) -> Result<Vec<Key>, sqlx::Error> {
        let rows = attempt
            .within(Wait::No, send(self.conn(), HELD_KEYS))
            .await?;
        let mut keys = read_keys(&rows);
        let of_lock = attempt.id().held_keys();
        keys.retain(|key| of_lock.contains(key));
        Ok(keys)
    }

    /// A transaction whose lock is found not to be held is rolled back with the scope.
    async fn check_lock(&mut self, attempt: &Attempt<'_>, state: &IdleState) -> Result<(), Error> {
        let limit = attempt.lock().response_limit();
        check_lock_on(&state.server, attempt.id(), limit, self.conn()).await
    }
}

/// Cleans up after [`transaction::begin_isolated`]: rolls back, and unlocks the keys of the lock
/// that the session had not held before.
fn clean_up(lock: &LockId, before: &[Key]) -> String {
    let mut keys = lock.held_keys();
    keys.retain(|key| !before.contains(key));
    transaction::roll_back_and_unlock(lock.mode(), &keys)
}

impl<C: AsMut<PgConnection> + Send> TryOnce for CallerConnection<'_, '_, C> {
    const SCOPE: Scope = Scope::CallerConnection;
    const SETTINGS: &'static [ScopedSetting] = &[ScopedSetting::CancelVia];
    type Granted = ();

    async fn try_once(&mut self, attempt: &Attempt<'_>) -> Result<Option<()>, Error> {
        let state = match self.state.take() {
            Some(state) => state,
            None => self.check_idle(attempt).await?,
        };
        let wait = attempt.wait();
        let opened = attempt.within(wait, self.open(attempt, &state, wait)).await;
        self.state = Some(state);
        opened
    }

    async fn refused(&mut self, attempt: &Attempt<'_>) -> Result<Vec<Holder>, Error> {
        if !attempt.explains() {
            return Ok(Vec::new());
        }
        let rows = send(self.conn(), holders(attempt.id()));
        let rows = attempt.within(Wait::No, rows).await;
        Ok(rows
            .and_then(|rows| Holder::read_all(&rows))
            .unwrap_or_default())
    }
}
