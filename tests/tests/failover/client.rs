//! Clients that hold a lock or wait for it, one for each verb.

use std::pin::Pin;
use std::time::Duration;

use advisory_core::__private::SessionTarget;
use advisory_core::{AdvisoryLock, Error, advisory};
use sqlx::pool::PoolConnection;
use sqlx::{Executor as _, PgPool, PgTransaction, Postgres};
use tokio::sync::Mutex;

use crate::pair::Fault;
use crate::timeline::Timeline;
use crate::{PROBING, RESPONSE_TIMEOUT};

type Run = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

pub(crate) struct Client {
    pub(crate) name: &'static str,
    notification: Notification,
    run: fn(AdvisoryLock, PgPool, Timeline) -> Run,
}

/// What notifies a body that its lock is lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Notification {
    /// The guard of its session.
    Guard,
    /// A ping every half second on the connection that holds the lock.
    Ping,
    /// Its own statement.
    Statement,
}

impl Client {
    /// Takes the lock, and runs the body of `timeline` under it.
    pub(crate) fn run(&self, lock: AdvisoryLock, pool: &PgPool, timeline: Timeline) -> Run {
        (self.run)(lock, pool.clone(), timeline)
    }

    /// How long a body may continue after the fault; `None` if the silence has to end first.
    pub(crate) fn bound(&self, fault: Fault) -> Option<Duration> {
        const EVERY: Duration = Duration::from_millis(500);
        match (fault, self.notification) {
            (Fault::Stopped(_), Notification::Guard | Notification::Statement) => {
                Some(Duration::ZERO)
            }
            (Fault::Stopped(_), Notification::Ping) => Some(EVERY),
            (Fault::Silence, Notification::Guard) => Some(PROBING + RESPONSE_TIMEOUT),
            (Fault::Silence, Notification::Ping) => Some(EVERY + RESPONSE_TIMEOUT),
            (Fault::Silence, Notification::Statement) => None,
        }
    }

    /// True if the error notifies the caller that the lock is lost.
    pub(crate) fn is_notification(&self, error: &Error) -> bool {
        match self.notification {
            Notification::Guard | Notification::Ping => error.is_lost(),
            Notification::Statement => matches!(error, Error::Database(_)),
        }
    }
}

const fn client(
    name: &'static str,
    notification: Notification,
    run: fn(AdvisoryLock, PgPool, Timeline) -> Run,
) -> Client {
    Client {
        name,
        notification,
        run,
    }
}

pub(crate) static CLIENTS: [Client; 9] = [
    client("acquire", Notification::Guard, |lock, pool, timeline| {
        Box::pin(async move {
            let guard = lock.keepalive_interval(PROBING).acquire(&pool).await?;
            guard.until_lost(timeline.wait()).await?;
            guard.release().await
        })
    }),
    client(
        "#[advisory(scope = session)]",
        Notification::Guard,
        |lock, pool, timeline| Box::pin(async move { in_session(&pool, lock, timeline).await }),
    ),
    client(
        "#[advisory(scope = session, side_effect = Skip)]",
        Notification::Guard,
        |lock, pool, timeline| Box::pin(async move { skipping(&pool, lock, timeline).await }),
    ),
    client(
        "#[advisory] beside a transaction",
        Notification::Ping,
        |lock, pool, timeline| Box::pin(async move { beside(&pool, lock, timeline).await }),
    ),
    client(
        "#[advisory(on = …)] beside a connection",
        Notification::Ping,
        |lock, pool, timeline| {
            Box::pin(async move {
                let conn = Mutex::new(pool.acquire().await?);
                beside_connection(&conn, lock, timeline).await
            })
        },
    ),
    client(
        "#[advisory(tx)]",
        Notification::Statement,
        |lock, pool, timeline| Box::pin(async move { inside(&pool, lock, timeline).await }),
    ),
    client(
        "transaction",
        Notification::Statement,
        |lock, pool, timeline| {
            Box::pin(async move {
                let body = async |tx: &mut PgTransaction<'_>| Ok(timeline.work(tx).await?);
                lock.transaction(&pool, body).await
            })
        },
    ),
    client("begin", Notification::Statement, |lock, pool, timeline| {
        Box::pin(async move {
            let mut tx = lock.begin(&pool).await?;
            timeline.work(&mut tx).await?;
            Ok(tx.commit().await?)
        })
    }),
    client(
        "acquire_xact",
        Notification::Statement,
        |lock, pool, timeline| {
            Box::pin(async move {
                let mut tx = pool.begin().await?;
                // A lock that is granted at once does not change settings of the caller's
                // transaction. The server checks during a statement whether its client is connected
                // only if the interval is set.
                tx.execute("SET LOCAL client_connection_check_interval = '500ms'")
                    .await?;
                lock.acquire_xact(&mut tx).await?;
                timeline.work(&mut tx).await?;
                Ok(tx.commit().await?)
            })
        },
    ),
];

#[advisory(key = lock.keepalive_interval(PROBING), scope = session)]
async fn in_session(pool: &PgPool, lock: AdvisoryLock, timeline: Timeline) -> Result<(), Error> {
    timeline.wait().await;
    Ok(())
}

/// A skipped call returns no error. The tests that expect an error would fail.
///
/// This is the expansion of the attribute, which itself would need a timeout in place of the lock's
/// own.
async fn skipping(pool: &PgPool, lock: AdvisoryLock, timeline: Timeline) -> Result<(), Error> {
    let lock = lock.keepalive_interval(PROBING);
    let Some(mut scope) = SessionTarget::try_enter(pool, &lock).await? else {
        return Ok(());
    };
    scope.until_lost(timeline.wait()).await?;
    scope.finish(true).await
}

#[advisory(key = lock)]
async fn beside(pool: &PgPool, lock: AdvisoryLock, timeline: Timeline) -> Result<(), Error> {
    timeline.wait().await;
    Ok(())
}

#[advisory(key = lock, on = conn.lock().await)]
async fn beside_connection(
    conn: &Mutex<PoolConnection<Postgres>>,
    lock: AdvisoryLock,
    timeline: Timeline,
) -> Result<(), Error> {
    timeline.wait().await;
    Ok(())
}

#[advisory(key = lock, tx)]
async fn inside(pool: &PgPool, lock: AdvisoryLock, timeline: Timeline) -> Result<(), Error> {
    Ok(timeline.work(tx).await?)
}
