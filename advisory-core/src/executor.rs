use sqlx::{Connection as _, PgTransaction};

use crate::sql::state;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, Postgres};

/// An executor that is **one** connection: `&mut` of a transaction, of a pooled or of a plain connection.
///
/// An advisory lock belongs to a session. A pool runs each statement on whichever connection is free, so the compiler refuses it
/// here: nobody could say where the lock has landed, nor release it. This trait is sealed.
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
    note = "a pool runs each statement on any of its connections, so the lock would land on one that nobody can name",
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

/// Takes in the answers to statements that were dropped before they were answered. sqlx would give an error among them to the
/// next statement, where a lock timeout of another wait would pass for this one's. Costs nothing where there are none.
pub(crate) async fn ready(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    loop {
        match conn.flush().await {
            Ok(()) => return Ok(()),
            // The owner of that statement is gone. If its transaction was aborted, the next statement says so.
            Err(error) if state::is_answer(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

mod sealed {
    use super::{PgConnection, PgTransaction, PoolConnection, Postgres};

    pub trait Sealed {}

    impl Sealed for &mut PgConnection {}
    impl Sealed for &mut PoolConnection<Postgres> {}
    impl Sealed for &mut PgTransaction<'_> {}
}
