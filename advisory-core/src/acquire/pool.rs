//! Connections of the caller's pool.

use std::future::Future;
use std::pin::Pin;

use sqlx::Acquire as _;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgListener, PgPool, Postgres};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::attempt::Attempt;
use super::queue::wait_to_ask;
use crate::error::{Error, Holder, UnsupportedReason};
use crate::lock::Wait;
use crate::on_drop::DiscardOnDrop;
use crate::session::beside;
use crate::sql::holder::holders;
use crate::sql::send::{drain, send_in_own_transaction};
use crate::time_bounds::{HOLDERS_LOOKUP, SHORTEST_CHECK_OUT};

/// The pool's clock, and ours, are tokio's.
pub(super) fn check_runtime() -> Result<(), Error> {
    match Handle::try_current() {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::unsupported(UnsupportedReason::NoRuntime)),
    }
}

impl Attempt<'_> {
    /// A connection of the pool, within the deadline. A hook of the pool may have dropped a
    /// statement on it, whose answer is read first.
    pub(super) async fn check_out(&self, pool: &PgPool) -> Result<PoolConnection<Postgres>, Error> {
        let conn = self.within_deadline(Box::pin(pool.acquire())).await?;
        self.note_asking();
        let drained = async move {
            let mut conn = conn;
            drain(&mut conn).await.map(|()| conn)
        };
        let drained = DiscardOnDrop::new(drained);
        Ok(self.within(self.wait(), drained).await?)
    }

    /// A connection of the pool that can be read without a request, within the deadline.
    pub(super) async fn check_out_listener(&self, pool: &PgPool) -> Result<PgListener, Error> {
        // A lock that is kept after its release must not keep a connection of the pool.
        let beside = self.lock().least_time().map(|_| beside(pool));
        let pool = beside.as_ref().unwrap_or(pool);
        let connecting = Box::pin(PgListener::connect_with(pool));
        let mut listener = self.within_deadline(connecting).await?;
        self.note_asking();
        // After a loss another session would not hold the lock. A pool that closes waits for its
        // connections.
        listener.eager_reconnect(false);
        listener.ignore_pool_close_event(true);
        let drained = async move {
            drain(listener.acquire().await?).await?;
            Ok::<_, sqlx::Error>(listener)
        };
        let drained = DiscardOnDrop::new(drained);
        Ok(self.within(self.wait(), drained).await?)
    }

    /// The future is boxed by the caller: it takes some 8 KiB, which every future around it would
    /// copy.
    pub(super) async fn within_deadline<T>(
        &self,
        check_out: Pin<Box<impl Future<Output = Result<T, sqlx::Error>>>>,
    ) -> Result<T, Error> {
        let left = match self.deadline.left() {
            Wait::For(left) => Some(left),
            _ => None,
        };
        let limits = [left, self.check_out_limit()];
        let checked_out = match limits.into_iter().flatten().min() {
            Some(limit) => timeout(limit.max(SHORTEST_CHECK_OUT), check_out).await,
            None => Ok(check_out.await),
        };
        let checked_out = checked_out.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        checked_out.map_err(Error::of_message)
    }

    /// The holders of the lock, if the attempt explains a refusal and they can be found quickly.
    pub(super) async fn holders_via(&self, pool: &PgPool) -> Vec<Holder> {
        if !self.explains() {
            return Vec::new();
        }
        let lookup = async {
            // A thousand waits may end at once; the pool has other work.
            let _asking = wait_to_ask(pool).await;
            let mut conn = Box::pin(pool.acquire()).await?;
            let rows = send_in_own_transaction(&mut conn, &holders(self.id())).await;
            Holder::read_all(&rows?)
        };
        let found = timeout(HOLDERS_LOOKUP, lookup).await;
        found
            .unwrap_or_else(|_elapsed| Ok(Vec::new()))
            .unwrap_or_default()
    }
}
