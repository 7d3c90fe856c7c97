//! Whether a session exists, asked of its server from another connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::time::{Instant, sleep, timeout};

use crate::lock::AdvisoryLock;
use crate::on_drop::DiscardOnDrop;
use crate::sql::backend::BackendStart;
use crate::sql::send::{last_row, send_in_own_transaction};
use crate::time_bounds::DEFAULT_KEEPALIVE_INTERVAL;

/// The backend of a session.
#[derive(Clone)]
pub(crate) struct Backend {
    pid: i32,
    pub(super) pool: PgPool,
    check_interval: Duration,
    pub(super) response_timeout: Duration,
    checks: Arc<Mutex<Checks>>,
}

/// What the watchers of one session share.
#[derive(Default)]
struct Checks {
    asked_at: Option<Instant>,
    /// When the backend was started.
    start: Option<String>,
}

impl Backend {
    pub(crate) fn new(lock: &AdvisoryLock, pool: &PgPool, pid: i32) -> Self {
        Self {
            pid,
            pool: pool.clone(),
            check_interval: lock.keepalive().min(DEFAULT_KEEPALIVE_INTERVAL),
            response_timeout: lock.response_limit(),
            checks: Arc::default(),
        }
    }

    /// Resolves when the server says that the backend is gone, or answers nobody any more. Of all
    /// who wait for it, one asks in each interval.
    pub(super) async fn gone(self) {
        loop {
            sleep(self.check_interval).await;
            if !self.is_check_due() {
                continue;
            }
            // A pooled connection must not wait for an answer that may never come.
            let start = DiscardOnDrop::new(self.start());
            match timeout(self.response_timeout, start).await {
                Ok(Ok(BackendStart::Standby | BackendStart::Hidden)) => {}
                Ok(Ok(BackendStart::Gone)) => return,
                // A process id can be used again.
                Ok(Ok(BackendStart::At(start))) => {
                    if *self.checks().start.get_or_insert_with(|| start.clone()) != start {
                        return;
                    }
                }
                Ok(Err(error)) => {
                    tracing::debug!(%error, "cannot ask whether a session exists");
                }
                // It may be this check's own connection that has failed.
                Err(_elapsed) if self.is_silent().await => return,
                Err(_elapsed) => {}
            }
        }
    }

    /// Whether the server does not even answer a new connection. An error is an answer, and a
    /// pooler that has no session left answers as well.
    async fn is_silent(&self) -> bool {
        let options = self.pool.connect_options();
        let connecting = timeout(self.response_timeout, options.connect());
        connecting.await.is_err()
    }

    fn is_check_due(&self) -> bool {
        let checks = &mut *self.checks();
        let is_due = checks
            .asked_at
            .is_none_or(|at| at.elapsed() >= self.check_interval);
        if is_due {
            checks.asked_at = Some(Instant::now());
        }
        is_due
    }

    fn checks(&self) -> MutexGuard<'_, Checks> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks on an idle connection of the pool, or on one beside it.
    async fn start(&self) -> Result<BackendStart, sqlx::Error> {
        if let Some(mut conn) = self.pool.try_acquire() {
            return self.start_on(&mut conn).await;
        }
        let mut conn = self.pool.connect_options().connect().await?;
        let start = self.start_on(&mut conn).await;
        let _ = conn.close().await;
        start
    }

    async fn start_on(&self, conn: &mut PgConnection) -> Result<BackendStart, sqlx::Error> {
        let rows = send_in_own_transaction(conn, &BackendStart::of(self.pid)).await?;
        BackendStart::read(&last_row(rows)?)
    }
}
