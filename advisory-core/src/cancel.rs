//! Takes a dropped wait on the caller's connection off the server's queue.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use crate::sql::{backend, state};
use crate::tag::unique;

/// How long to look for the wait: its message may still be on its way when the cancel is.
const PATIENCE: Duration = Duration::from_secs(1);
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
                match timeout(PATIENCE, cancel(&options, &tag)).await {
                    Ok(Ok(())) | Err(_) => {}
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "a dropped wait for an advisory lock was not cancelled");
                    }
                }
            });
        }
    }
}

/// Looks for the wait until it is found; it may also have ended by itself. A server that has no room for a connection may have it
/// soon.
async fn cancel(options: &PgConnectOptions, tag: &str) -> Result<(), sqlx::Error> {
    let mut conn = loop {
        match options.connect().await {
            Ok(conn) => break conn,
            Err(error) if state::is_answer(&error) => sleep(PAUSE).await,
            Err(error) => return Err(error),
        }
    };
    while !backend::cancel(&mut conn, tag).await? {
        sleep(PAUSE).await;
    }
    conn.close().await
}
