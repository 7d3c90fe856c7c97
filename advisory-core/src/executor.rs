//! The executors that a lock function takes.

use std::future::Future;

use sqlx::PgTransaction;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, Postgres};

use crate::error::Error;
use crate::lock::AdvisoryLock;

/// An executor that is **one** connection: `&mut` of a transaction, of a pooled or of a plain
/// connection.
///
/// An advisory lock belongs to a session. A pool runs each statement on any free connection, so the
/// compiler refuses a pool here: the lock would be on an unknown connection, and could not be
/// released. This trait is sealed.
///
/// ```no_run
/// # async fn example(pool: &sqlx::PgPool) -> Result<(), advisory_core::Error> {
/// let mut tx = pool.begin().await?;
/// advisory_core::xact_lock(&mut tx, "sync(4)").await?;
/// advisory_core::xact_lock(&mut *tx, "sync(5)").await?;
///
/// let mut conn = pool.acquire().await?;
/// advisory_core::lock(&mut conn, (1, 7)).await?;
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "an advisory lock needs one connection, and `{Self}` is not one",
    label = "expected `&mut` of a transaction or a connection",
    note = "a pool runs each statement on any of its connections, so the lock would be on an unknown one",
    note = "take `&mut pool.acquire().await?` or `&mut pool.begin().await?`, or use the verbs of `AdvisoryLock`, which take a pool"
)]
pub trait LockExecutor: sealed::Sealed + Send {
    #[doc(hidden)]
    fn connection(&mut self) -> &mut PgConnection;
}

impl LockExecutor for &mut PgConnection {
    fn connection(&mut self) -> &mut PgConnection {
        self
    }
}

impl LockExecutor for &mut PoolConnection<Postgres> {
    fn connection(&mut self) -> &mut PgConnection {
        self
    }
}

impl LockExecutor for &mut PgTransaction<'_> {
    fn connection(&mut self) -> &mut PgConnection {
        self
    }
}

/// A transaction that a lock can join: any [`LockExecutor`] in a transaction and, with the feature
/// `sea-orm`, `&` of sea-orm's `DatabaseTransaction`. This trait is sealed.
#[diagnostic::on_unimplemented(
    message = "an advisory lock needs one transaction, and `{Self}` is not one",
    label = "expected `&mut` of a transaction, or of a connection inside one",
    note = "a pool runs each statement on any of its connections, so the lock would be on an unknown one",
    note = "take `&mut pool.begin().await?`, or use the verbs of `AdvisoryLock`, which take a pool",
    note = "sea-orm's `&DatabaseTransaction` needs the feature `sea-orm` of `advisory-core`"
)]
pub trait TransactionExecutor: sealed::Sealed + Send {
    #[doc(hidden)]
    fn acquire_xact(self, lock: &AdvisoryLock) -> impl Future<Output = Result<(), Error>> + Send;

    #[doc(hidden)]
    fn try_acquire_xact(
        self,
        lock: &AdvisoryLock,
    ) -> impl Future<Output = Result<bool, Error>> + Send;
}

pub(crate) mod sealed {
    use super::{PgConnection, PgTransaction, PoolConnection, Postgres};

    pub trait Sealed {}

    impl Sealed for &mut PgConnection {}
    impl Sealed for &mut PoolConnection<Postgres> {}
    impl Sealed for &mut PgTransaction<'_> {}
}
