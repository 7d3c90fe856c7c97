//! Cancels a dropped wait on the caller's connection on the server.

use sqlx::postgres::{PgConnectOptions, PgPool};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};

use crate::probe::Capabilities;
use crate::sql::send::send;
use crate::sql::{cancel, sqlstate, unique_name};
use crate::time_bounds::{CANCEL_CONNECT, CANCEL_PAUSE, CANCEL_SEARCH};

/// Cancels its message if it is dropped before the message was answered.
pub(super) struct CancelOnDrop<'p> {
    /// The pool beside which to cancel, and the marker of the message.
    wait: Option<(&'p PgPool, String)>,
}

impl<'p> CancelOnDrop<'p> {
    /// Does nothing without a pool.
    pub(super) fn new(pool: Option<&'p PgPool>) -> Self {
        Self {
            wait: pool.map(|pool| (pool, unique_name("advisory wait"))),
        }
    }

    /// The message, with the marker by which its backend is found.
    pub(super) fn mark(&self, message: String) -> String {
        match &self.wait {
            Some((_, marker)) => cancel::with_marker(marker, &message),
            None => message,
        }
    }

    pub(super) fn answered(mut self) {
        self.wait = None;
    }
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let (Some((pool, marker)), Ok(runtime)) = (self.wait.take(), Handle::try_current()) {
            let (options, capabilities) = (pool.connect_options(), Capabilities::of(pool));
            runtime.spawn(async move {
                let cancelled = timeout(CANCEL_CONNECT, find_and_cancel(&options, &marker)).await;
                match cancelled.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
                    Ok(true) => {}
                    // It may also have ended by itself, which is no fault: once is enough.
                    Ok(false) if capabilities.is_first_lost_wait() => tracing::warn!(
                        "a dropped wait for an advisory lock was not found, and so not cancelled; does the role of \
                         `cancel_via` see the statements of the session that waits?"
                    ),
                    Ok(false) => tracing::debug!("a dropped wait for an advisory lock was not found"),
                    Err(error) => {
                        tracing::warn!(%error, "a dropped wait for an advisory lock was not cancelled");
                    }
                }
            });
        }
    }
}

/// Looks for the wait for a while; false if it was not found.
async fn find_and_cancel(options: &PgConnectOptions, marker: &str) -> Result<bool, sqlx::Error> {
    let mut conn = loop {
        match options.connect().await {
            Ok(conn) => break conn,
            Err(error) if sqlstate::is_refused_login(&error) => return Err(error),
            // The server is full, and may have a slot soon.
            Err(error) if sqlstate::is_answer(&error) => sleep(CANCEL_PAUSE).await,
            Err(error) => return Err(error),
        }
    };
    // A full pooler delays the first answer.
    let mut found = !send(&mut conn, cancel::cancel(marker)).await?.is_empty();
    let searching = Instant::now();
    while !found && searching.elapsed() < CANCEL_SEARCH {
        sleep(CANCEL_PAUSE).await;
        found = !send(&mut conn, cancel::cancel(marker)).await?.is_empty();
    }
    conn.close().await?;
    Ok(found)
}
