//! Takes a dropped wait on the caller's connection off the server's queue.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};

use crate::sql::{backend, state};
use crate::tag::unique;

/// How long a connection for the cancel may be waited for: the server, or a pooler before it, may be full.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to look for the wait: its message may still be on its way when the cancel is.
const SEARCH: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(50);

/// Cancels the message with its tag if it is dropped before it is told that the message was answered.
pub(crate) struct CancelOnDrop<'p> {
    /// The pool beside which to cancel, and the tag to look for.
    wait: Option<(&'p PgPool, String)>,
}

impl<'p> CancelOnDrop<'p> {
    pub(crate) fn new(pool: Option<&'p PgPool>) -> Self {
        Self {
            wait: pool.map(|pool| (pool, unique("advisory wait"))),
        }
    }

    /// The message, in which its backend can be recognised.
    pub(crate) fn tagged(&self, message: String) -> String {
        match &self.wait {
            Some((_, tag)) => backend::tagged(tag, &message),
            None => message,
        }
    }

    pub(crate) fn answered(mut self) {
        self.wait = None;
    }
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let (Some((pool, tag)), Ok(runtime)) = (self.wait.take(), Handle::try_current()) {
            let options = pool.connect_options();
            runtime.spawn(async move {
                let cancelled = timeout(PATIENCE, cancel(&options, &tag)).await;
                if let Err(error) = cancelled.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
                    tracing::warn!(%error, "a dropped wait for an advisory lock was not cancelled");
                }
            });
        }
    }
}

/// Looks for the wait until it is found; it may also have ended by itself.
async fn cancel(options: &PgConnectOptions, tag: &str) -> Result<(), sqlx::Error> {
    let mut conn = loop {
        match options.connect().await {
            Ok(conn) => break conn,
            // The server has no room, and may have some soon.
            Err(error) if state::is_answer(&error) => sleep(PAUSE).await,
            Err(error) => return Err(error),
        }
    };
    // A pooler answers the first question when it has room.
    let mut found = backend::cancel(&mut conn, tag).await?;
    let asked = Instant::now();
    while !found && asked.elapsed() < SEARCH {
        sleep(PAUSE).await;
        found = backend::cancel(&mut conn, tag).await?;
    }
    conn.close().await
}
