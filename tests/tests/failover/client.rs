//! Who holds a lock or waits for it, in every way there is to do so.

use std::pin::Pin;
use std::time::Duration;

use advisory_core::__private::SessionTarget;
use advisory_core::{AdvisoryLock, Error, advisory};
use sqlx::pool::PoolConnection;
use sqlx::{Executor as _, PgPool, PgTransaction, Postgres};
use tokio::sync::Mutex;

use crate::life::Life;
use crate::pair::Fault;
use crate::{PATIENCE, PROBING};

type Run = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

pub(crate) struct Client {
    pub(crate) name: &'static str,
    notice: Notice,
    run: fn(AdvisoryLock, PgPool, Life) -> Run,
}

/// What tells a body that its lock is gone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Notice {
    /// The guard of its session.
    Guard,
    /// A question every half second, on the connection beside which it runs.
    Question,
    /// Its own statement.
    Statement,
}

impl Client {
    /// Takes the lock, and lives under it.
    pub(crate) fn run(&self, lock: AdvisoryLock, pool: &PgPool, life: Life) -> Run {
        (self.run)(lock, pool.clone(), life)
    }

    /// How long a body may go on after the fault; `None` if the silence has to end first.
    pub(crate) fn bound(&self, fault: Fault) -> Option<Duration> {
        const EVERY: Duration = Duration::from_millis(500);
        match (fault, self.notice) {
            (Fault::Ends(_), Notice::Guard | Notice::Statement) => Some(Duration::ZERO),
            (Fault::Ends(_), Notice::Question) => Some(EVERY),
            (Fault::Silence, Notice::Guard) => Some(PROBING + PATIENCE),
            (Fault::Silence, Notice::Question) => Some(EVERY + PATIENCE),
            (Fault::Silence, Notice::Statement) => None,
        }
    }

    /// Whether the error is the one by which a body is told.
    pub(crate) fn is_told(&self, error: &Error) -> bool {
        match self.notice {
            Notice::Guard | Notice::Question => error.is_lost(),
            Notice::Statement => matches!(error, Error::Database(_)),
        }
    }
}

const fn client(
    name: &'static str,
    notice: Notice,
    run: fn(AdvisoryLock, PgPool, Life) -> Run,
) -> Client {
    Client { name, notice, run }
}

pub(crate) static CLIENTS: [Client; 9] = [
    client("acquire", Notice::Guard, |lock, pool, life| {
        Box::pin(async move {
            let guard = lock.keepalive_interval(PROBING).acquire(&pool).await?;
            guard.until_lost(life.rest()).await?;
            guard.release().await
        })
    }),
    client(
        "#[advisory(scope = session)]",
        Notice::Guard,
        |lock, pool, life| Box::pin(async move { in_session(&pool, lock, life).await }),
    ),
    client(
        "#[advisory(scope = session, side_effect = Skip)]",
        Notice::Guard,
        |lock, pool, life| Box::pin(async move { skipping(&pool, lock, life).await }),
    ),
    client(
        "#[advisory] beside a transaction",
        Notice::Question,
        |lock, pool, life| Box::pin(async move { beside(&pool, lock, life).await }),
    ),
    client(
        "#[advisory(on = …)] beside a connection",
        Notice::Question,
        |lock, pool, life| {
            Box::pin(async move {
                let conn = Mutex::new(pool.acquire().await?);
                beside_connection(&conn, lock, life).await
            })
        },
    ),
    client("#[advisory(tx)]", Notice::Statement, |lock, pool, life| {
        Box::pin(async move { inside(&pool, lock, life).await })
    }),
    client("transaction", Notice::Statement, |lock, pool, life| {
        Box::pin(async move {
            let body = async |tx: &mut PgTransaction<'_>| Ok(life.work(tx).await?);
            lock.transaction(&pool, body).await
        })
    }),
    client("begin", Notice::Statement, |lock, pool, life| {
        Box::pin(async move {
            let mut tx = lock.begin(&pool).await?;
            life.work(&mut tx).await?;
            Ok(tx.commit().await?)
        })
    }),
    client("acquire_xact", Notice::Statement, |lock, pool, life| {
        Box::pin(async move {
            let mut tx = pool.begin().await?;
            // A lock that is granted at once leaves the caller's transaction as it is: its server looks for its client in the
            // middle of a statement only if it is told to.
            tx.execute("SET LOCAL client_connection_check_interval = '500ms'")
                .await?;
            lock.acquire_xact(&mut tx).await?;
            life.work(&mut tx).await?;
            Ok(tx.commit().await?)
        })
    }),
];

#[advisory(key = lock.keepalive_interval(PROBING), scope = session)]
async fn in_session(pool: &PgPool, lock: AdvisoryLock, life: Life) -> Result<(), Error> {
    life.rest().await;
    Ok(())
}

/// If it is skipped, that is no error and no loss: those who wait for one find out.
///
/// This is the expansion of the attribute, which itself would need a timeout in place of the lock's own.
async fn skipping(pool: &PgPool, lock: AdvisoryLock, life: Life) -> Result<(), Error> {
    let Some(mut scope) = SessionTarget::try_enter(pool, &lock.keepalive_interval(PROBING)).await?
    else {
        return Ok(());
    };
    scope.until_lost(life.rest()).await?;
    scope.finish(true).await
}

#[advisory(key = lock)]
async fn beside(pool: &PgPool, lock: AdvisoryLock, life: Life) -> Result<(), Error> {
    life.rest().await;
    Ok(())
}

#[advisory(key = lock, on = place.lock().await)]
async fn beside_connection(
    place: &Mutex<PoolConnection<Postgres>>,
    lock: AdvisoryLock,
    life: Life,
) -> Result<(), Error> {
    life.rest().await;
    Ok(())
}

#[advisory(key = lock, tx)]
async fn inside(pool: &PgPool, lock: AdvisoryLock, life: Life) -> Result<(), Error> {
    Ok(life.work(tx).await?)
}
