//! What the guards of both kinds of session have in common.

use std::future::Future;
use std::time::Duration;

use sqlx::postgres::{PgPool, PgRow};

use super::guard::SessionGuard;
use crate::error::Error;
use crate::lock::Wait;
use crate::nesting::Held;
use crate::on_drop::DiscardOnDrop;
use crate::sql::send::{send_in_own_transaction, within};

/// A session lock that is held, by a [`SessionGuard`] or a
/// [`LockSessionGuard`](crate::LockSessionGuard).
pub trait HeldLock: Send {
    #[doc(hidden)]
    fn held(&self) -> &Held;

    #[doc(hidden)]
    fn lost(&self) -> impl Future<Output = ()> + Send + 'static;

    #[doc(hidden)]
    fn fencing_token(&mut self) -> impl Future<Output = Result<i64, Error>> + Send;

    /// A fencing token, whose time the server shows as the beginning of the term if the session
    /// runs nothing else.
    #[doc(hidden)]
    fn begin_term(&mut self) -> impl Future<Output = Result<i64, Error>> + Send {
        self.fencing_token()
    }

    /// Sends a statement to be committed: on the session, or on the pool if many locks share the
    /// session or a transaction stands for it. The server has this time to answer.
    #[doc(hidden)]
    fn send(
        &mut self,
        pool: &PgPool,
        statement: String,
        limit: Duration,
    ) -> impl Future<Output = Result<Vec<PgRow>, Error>> + Send;

    #[doc(hidden)]
    fn release(self) -> impl Future<Output = Result<(), Error>> + Send;
}

impl HeldLock for SessionGuard {
    fn held(&self) -> &Held {
        self.held()
    }

    fn lost(&self) -> impl Future<Output = ()> + Send + 'static {
        self.lost()
    }

    async fn fencing_token(&mut self) -> Result<i64, Error> {
        self.fencing_token().await
    }

    async fn begin_term(&mut self) -> Result<i64, Error> {
        self.begin_term().await
    }

    async fn send(
        &mut self,
        pool: &PgPool,
        statement: String,
        limit: Duration,
    ) -> Result<Vec<PgRow>, Error> {
        self.send(pool, statement, limit).await
    }

    async fn release(self) -> Result<(), Error> {
        self.release().await
    }
}

/// Sends a statement on the pool, to be committed. If the server does not answer in time, the
/// connection is closed, and with it whatever the statement waits for.
pub(crate) async fn send_on_pool(
    pool: &PgPool,
    statement: &str,
    limit: Duration,
) -> Result<Vec<PgRow>, Error> {
    let mut conn = pool.acquire().await?;
    let statement = statement.to_owned();
    let sent =
        DiscardOnDrop::new(async move { send_in_own_transaction(&mut conn, &statement).await });
    Ok(within(limit, Wait::No, sent).await?)
}
